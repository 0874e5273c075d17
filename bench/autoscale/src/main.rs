//! How many GPU-seconds homerun's scaler needs for some traces and how long requests wait, beside Knative's KPA.
//!
//! `bench/autoscale/run [SEED...]`, by default seeds 1, 2 and 3. Nothing is measured: everything is simulated, so the
//! same seeds print the same table. Exits with 1 where homerun with an idle timeout of 30 s, as the target is meant,
//! needs more GPU-seconds than KPA or lets requests wait longer at the 99th percentile. With the default of 10 minutes
//! it needs more on most traces, and is meant to: what is idle gives way to who waits.

mod homerun;
mod kpa;
mod replay;
mod trace;

use std::process::ExitCode;

use homerun::Homerun;
use kpa::Kpa;
use replay::{Outcome, Scaler, replay};

/// The scalers compared; the first is what the others are divided by.
const SCALERS: [&str; 4] = ["KPA", "KPA, 30 s window", "homerun, idle 30 s", "homerun, idle 600 s"];

/// The one that must not be worse than the first.
const MEASURED: usize = 2;

fn scaler(index: usize) -> Box<dyn Scaler> {
    match index {
        0 => Box::new(Kpa::new(60.0)),
        1 => Box::new(Kpa::new(30.0)),
        2 => Box::new(Homerun::new(30)),
        _ => Box::new(Homerun::new(600)),
    }
}

fn main() -> ExitCode {
    let given: Result<Vec<u64>, _> = std::env::args().skip(1).map(|seed| seed.parse()).collect();
    let Ok(mut seeds) = given else {
        eprintln!("usage: bench/autoscale/run [SEED...], whole numbers");
        return ExitCode::from(2);
    };
    if seeds.is_empty() {
        seeds = vec![1, 2, 3];
    }
    println!(
        "Simulated: each trace {} times, seeds {seeds:?}. Instances start in 5 s; at most 8; GPU-seconds from",
        seeds.len()
    );
    println!("each decision to start one until it is gone. Medians of the seeds; x: beside KPA's.\n");
    println!(
        "{:<20} {:>18} {:>8} {:>8} {:>14} {:>8} {:>7}",
        "", "GPU-seconds", "wait p50", "p90", "p99", "refused", "starts"
    );
    let mut worse = Vec::new();
    for index in 0..trace::all(0).len() {
        let traces: Vec<_> = seeds.iter().map(|seed| trace::all(*seed).swap_remove(index)).collect();
        println!("{}: {}; {} at a time", traces[0].name, traces[0].about, traces[0].concurrency);
        let mut base = None;
        for (number, name) in SCALERS.iter().enumerate() {
            let outcomes: Vec<Outcome> = traces.iter().map(|trace| replay(trace, &mut *scaler(number))).collect();
            let median = |value: &dyn Fn(&Outcome) -> f64| median(outcomes.iter().map(value).collect());
            let (gpu, p99) = (median(&|outcome| outcome.gpu_seconds), median(&|outcome| outcome.wait(0.99)));
            let (base_gpu, base_p99) = *base.get_or_insert((gpu, p99));
            if number == MEASURED && (gpu > base_gpu || p99 > base_p99) {
                worse.push(traces[0].name);
            }
            println!(
                "  {name:<18} {gpu:>10.0} x {:<5.2} {:>8.2} {:>8.2} {p99:>6.2} x {:<5.2} {:>8.0} {:>7.0}",
                gpu / base_gpu,
                median(&|outcome| outcome.wait(0.5)),
                median(&|outcome| outcome.wait(0.9)),
                p99 / base_p99,
                median(&|outcome| outcome.refused as f64),
                median(&|outcome| outcome.starts as f64),
            );
        }
    }
    if worse.is_empty() {
        return ExitCode::SUCCESS;
    }
    eprintln!("\n{} is worse than KPA on: {}", SCALERS[MEASURED], worse.join(", "));
    ExitCode::FAILURE
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
