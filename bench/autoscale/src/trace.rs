//! Arrivals and service times, written by a generator with a seed.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Exp, LogNormal, Pareto};

/// One request: when it arrives and how long an instance works on it, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Request {
    /// Seconds since the trace's beginning.
    pub arrives: f64,
    /// Seconds that it takes once an instance has it.
    pub takes: f64,
}

/// A service and what is asked of it.
pub struct Trace {
    /// Its name in the table.
    pub name: &'static str,
    /// What it is like, in a few words.
    pub about: &'static str,
    /// How long it lasts, in seconds.
    pub seconds: f64,
    /// Requests that an instance serves at the same time.
    pub concurrency: u32,
    /// Most instances: the GPUs that there are.
    pub max: u32,
    /// Seconds from the decision to start an instance until it is ready.
    pub start: f64,
    /// In the order of arrival.
    pub requests: Vec<Request>,
}

/// Every trace, from one seed. The same seed gives the same traces.
pub fn all(seed: u64) -> Vec<Trace> {
    let hours = |count: f64| count * 3600.0;
    vec![
        make(
            "steady",
            "Poisson, 2 requests/s of 1 s each",
            (4, hours(6.0)),
            seed,
            |_, _| 2.0,
            |rng| log_normal(rng, 1.0, 0.4),
        ),
        make(
            "diurnal",
            "0 to 6 requests/s over the day, 0.8 s each",
            (4, hours(24.0)),
            seed,
            |_, time| 3.0 * (1.0 - (std::f64::consts::TAU * time / hours(24.0)).cos()),
            |rng| log_normal(rng, 0.8, 0.5),
        ),
        make("bursty", "30 s of 4 requests/s about every 5 min, 1 s each", (1, hours(6.0)), seed, burst, |rng| {
            log_normal(rng, 1.0, 0.3)
        }),
        make(
            "heavy-tailed",
            "Poisson, 1 request/s, Pareto of mean 1.5 s, most 120 s",
            (1, hours(6.0)),
            seed,
            |_, _| 1.0,
            pareto,
        ),
        make(
            "rare",
            "one request about every 4 min, 3 s",
            (1, hours(24.0)),
            seed,
            |_, _| 1.0 / 240.0,
            |rng| log_normal(rng, 3.0, 0.3),
        ),
    ]
}

/// What the moment of a thinned Poisson process may depend on.
#[derive(Default)]
struct Bursts {
    until: f64,
    next: f64,
}

fn make(
    name: &'static str,
    about: &'static str,
    (concurrency, seconds): (u32, f64),
    seed: u64,
    rate: impl Fn(&mut (ChaCha8Rng, Bursts), f64) -> f64,
    takes: impl Fn(&mut ChaCha8Rng) -> f64,
) -> Trace {
    // Every trace has a stream of its own, so that a change of one leaves the others as they are.
    let stream = |number: u64| {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(number + name.bytes().fold(0, |hash: u64, byte| hash * 31 + u64::from(byte)));
        rng
    };
    let (mut arrivals, mut service) = (stream(0), stream(1));
    let mut state = (stream(2), Bursts::default());
    let mut requests = Vec::new();
    let (mut time, most) = (0.0, 8.0);
    let gap = Exp::new(most).expect("a positive rate");
    loop {
        time += gap.sample(&mut arrivals);
        if time >= seconds {
            break;
        }
        // Thinning: an arrival of the fastest process counts with the probability of the slower one.
        if arrivals.random::<f64>() * most < rate(&mut state, time) {
            requests.push(Request { arrives: time, takes: takes(&mut service) });
        }
    }
    Trace { name, about, seconds, concurrency, max: 8, start: 5.0, requests }
}

fn burst((rng, bursts): &mut (ChaCha8Rng, Bursts), time: f64) -> f64 {
    if time >= bursts.next {
        bursts.until = bursts.next + 30.0;
        bursts.next = bursts.until + Exp::new(1.0 / 270.0).expect("a positive rate").sample(rng);
    }
    if time < bursts.until { 4.0 } else { 0.0 }
}

/// Log-normal with this mean.
fn log_normal(rng: &mut ChaCha8Rng, mean: f64, sigma: f64) -> f64 {
    LogNormal::new(mean.ln() - sigma * sigma / 2.0, sigma).expect("a positive deviation").sample(rng)
}

/// Pareto of mean 1.5 seconds and infinite variance, cut off at two minutes.
fn pareto(rng: &mut ChaCha8Rng) -> f64 {
    Pareto::new(0.5_f64, 1.5).expect("positive numbers").sample(rng).min(120.0)
}
