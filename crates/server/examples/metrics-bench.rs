//! Measures metrics: see `bench/metrics`, which runs this.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use homerun_ingress::{Observe, Outcome, RequestRecord, TraceContext};
use homerun_model::Timestamp;
use homerun_model::billing::{Moment, Steady};
use homerun_model::metrics::{Point, Resolution};
use homerun_model::names::ServiceKey;
use homerun_server::metrics::{Fan, Metrics};
use homerun_server::store::{Due, MetricsStore};
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Version};

type Ended = Result<(), Box<dyn std::error::Error>>;

const SERVICES: u64 = 50;
const HOURS: i64 = 24 * 365;

fn main() -> Ended {
    println!("{:<66}{:>12}  target", "", "median of 9");
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("metrics.db");
    let mut met = vec![year(&path)?];
    met.push(requests(&folder.path().join("requests.db"))?);
    if met.contains(&false) { Err("a target was missed".into()) } else { Ok(()) }
}

/// Says a figure that has a target; whether it is met.
fn judge(what: &str, value: f64, most: f64) -> bool {
    let word = if value <= most { "met" } else { "MISSED" };
    println!("{what:<66}{value:>12.2}  <= {most}  {word}");
    value <= most
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// 2025-10-01, and so many hours after it.
fn at(hours: i64) -> Timestamp {
    Timestamp::from_timestamp(1_759_276_800 + hours * 3600, 0).unwrap_or_default()
}

fn key(number: u64) -> ServiceKey {
    let name = format!("service-{number:05}");
    ServiceKey { project: "demo".into(), region: "us-central1".into(), name: name.as_str().into() }
}

/// An hour of a service that is used: latencies over three powers of ten, starts, an instance, a GPU.
fn point(seed: u64) -> Point {
    let mut point = Point::default();
    for number in 0..200_u64 {
        let micros = 1000 + (seed * 7919 + number * 104_729) % 1000 * (1 + number % 900);
        point.request(if number % 50 == 0 { 500 } else { 200 }, Duration::from_micros(micros));
    }
    point.instances([0, 0, 1 + seed % 3, 0], 3_000_000);
    let device = format!("GPU-5d6d1d9e-0000-0000-0000-00000000000{}", seed % 4);
    point.devices.entry(device.as_str().into()).or_default().add(0.4, 8 << 30, 3_000_000);
    point
}

/// A year in which 50 services were used in every hour.
fn year(path: &Path) -> Result<bool, Box<dyn std::error::Error>> {
    let store = MetricsStore::open(path)?;
    let begun = Instant::now();
    for day in 0..HOURS / 24 {
        let hours = day * 24..(day + 1) * 24;
        let due: Due = hours
            .flat_map(|hour| (0..SERVICES).map(move |number| (hour, number)))
            .map(|(hour, number)| ((at(hour).timestamp() / 60, key(number)), point(number + hour as u64)))
            .collect();
        store.write(&due)?;
    }
    // The last days minute by minute.
    for hour in HOURS - 50..HOURS {
        let minutes = (1..60).flat_map(|minute| (0..SERVICES).map(move |number| (minute, number)));
        let of = |(minute, number)| ((at(hour).timestamp() / 60 + minute, key(number)), point(number + minute as u64));
        store.write(&minutes.map(of).collect())?;
    }
    let written = begun.elapsed().as_secs_f64();
    store.forget(at(HOURS) - TimeDelta::days(7), at(0))?;
    let size = std::fs::metadata(path).map(|file| file.len() as f64 / f64::from(1 << 20)).unwrap_or_default();
    println!("{:<66}{written:>12.0}", "writing 585,500 minutes of 50 services, s");
    println!("{:<66}{size:>12.0}", "the database, MiB (what minutes took is free again, not given back)");
    let metrics = Metrics::new(store);
    let all: BTreeSet<ServiceKey> = (0..SERVICES).map(key).collect();
    let one = BTreeSet::from([key(7)]);
    let mut met = true;
    for (what, services, days, most) in [
        ("a year of one service, ms", &one, 365, 5.0),
        ("its 75 days, the most hours that are read at a time, ms", &one, 75, 10.0),
        ("its last two days, the most minutes, ms", &one, 2, 10.0),
        ("a year of all 50 services, ms", &all, 365, 200.0),
        ("their 75 days, ms", &all, 75, 200.0),
        ("their last two days, ms", &all, 2, 200.0),
    ] {
        let range = (at(HOURS) - TimeDelta::days(days), at(HOURS));
        let resolution = Resolution::of(range, at(HOURS) - TimeDelta::days(7));
        let starts = resolution.starts(range).count();
        let first = resolution.floor(range.0);
        let end = first + TimeDelta::seconds(resolution.step * starts as i64);
        let place = |time: Timestamp| {
            usize::try_from((time - first).num_seconds().div_euclid(resolution.step))
                .ok()
                .filter(|index| *index < starts)
        };
        let mut times = Vec::new();
        for _ in 0..9 {
            let begun = Instant::now();
            let points = metrics.read((resolution.grain, (first, end)), services, starts, place)?;
            assert!(points.iter().any(|point| point.latency.percentile(990).is_some()), "there is something");
            times.push(begun.elapsed().as_secs_f64() * 1000.0);
        }
        met &= judge(what, median(times), most);
    }
    Ok(met)
}

/// Takes records and does nothing with them.
struct Nowhere;

impl Observe for Nowhere {
    fn request(&self, record: &RequestRecord) {
        std::hint::black_box(record);
    }
}

/// Requests of 100 services, counted by two threads at the same time.
fn requests(path: &Path) -> Result<bool, Box<dyn std::error::Error>> {
    const EACH: u64 = 500_000;
    let metrics = Arc::new(Metrics::new(MetricsStore::open(path)?));
    metrics.look(Moment { wall: at(0), steady: Steady(0) }, &[])?;
    let fan = Fan { metrics: metrics.clone(), logs: Nowhere };
    let records: Vec<RequestRecord> = (0..100).map(record).collect();
    let run = |observe: &(dyn Fn(&RequestRecord) + Sync)| {
        let begun = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for number in 0..EACH {
                        observe(&records[number as usize % records.len()]);
                    }
                });
            }
        });
        begun.elapsed().as_nanos() as f64 / EACH as f64
    };
    let mut times = Vec::new();
    for _ in 0..9 {
        let without = run(&|record| Nowhere.request(record));
        times.push(run(&|record| fan.request(record)) - without);
    }
    Ok(judge("counting a request while another thread counts too, ns", median(times), 1000.0))
}

/// A request of one of the services.
fn record(number: u64) -> RequestRecord {
    RequestRecord {
        arrived: at(0),
        service: Some(Arc::new(key(number))),
        revision: None,
        instance: None,
        host: HeaderValue::from_static("service.example"),
        method: Method::GET,
        path: PathAndQuery::from_static("/"),
        version: Version::HTTP_11,
        status: 200,
        request_bytes: 0,
        response_bytes: 5,
        latency: Duration::from_micros(1000 + number * 977),
        waited: Duration::ZERO,
        cold_start: false,
        trace: TraceContext { trace_id: 1, span_id: 1, sampled: false },
        user_agent: None,
        referer: None,
        remote: ([127, 0, 0, 1], 40_000).into(),
        outcome: Outcome::Served,
        message: None,
    }
}
