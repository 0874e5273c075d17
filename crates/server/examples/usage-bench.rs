//! Measures metering and reports: see `bench/usage`, which runs this.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use homerun_model::Timestamp;
use homerun_model::billing::report::{Dimension, Query, report};
use homerun_model::billing::{Billing, Book, Delta, Moment, Served, Shape, Sighting, Steady, Subject, SubjectId};
use homerun_model::instance::SteadyStamps;
use homerun_model::names::InstanceId;
use homerun_server::config::UsageConfig;
use homerun_server::store::{Alive, Grain, Look, UsageStore};
use nix::time::{ClockId, clock_gettime};

type Outcome = Result<(), Box<dyn std::error::Error>>;

const DAY: u64 = 86_400_000;

fn main() -> Outcome {
    println!("{:<66}{:>12}  target", "", "median of 5");
    let folder = tempfile::tempdir()?;
    let met = [fold(), month(&folder.path().join("month.db"))?, metering(&folder.path().join("metering.db"))?];
    size(&folder.path().join("size.db"))?;
    if met.contains(&false) { Err("a target was missed".into()) } else { Ok(()) }
}

fn say(what: &str, value: &str) {
    println!("{what:<66}{value:>12}");
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

fn cpu() -> Duration {
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).map(Duration::from).unwrap_or_default()
}

/// 2026-10-01, and so long after it.
fn at(millis: u64) -> Moment {
    let wall = Timestamp::from_timestamp_millis(1_790_812_800_000 + millis as i64).unwrap_or_default();
    Moment { wall, steady: Steady(millis) }
}

fn subject(number: SubjectId) -> Subject {
    let shape = Shape {
        billing: Billing::Instance,
        cpu_millis: 4000,
        boost_millis: 0,
        memory_bytes: 16 << 30,
        gpu: Some("nvidia-l4".into()),
        gpus: 1,
        zonal_redundancy: false,
    };
    Subject {
        project: "demo".into(),
        region: "us-central1".into(),
        service: format!("service-{number:05}").as_str().into(),
        revision: format!("service-{number:05}-00001-abc").as_str().into(),
        shape,
        labels: BTreeMap::from([("team".to_owned(), format!("team-{}", number % 20))]),
    }
}

/// Five changes of each of 200,000 instances.
fn fold() -> bool {
    let times = (0..5).map(|_| {
        let begun = Instant::now();
        let mut book = Book::default();
        for instance in 0..200_000_u64 {
            let id = InstanceId::new(format!("service-00001-abc-{instance:08}"));
            let start = instance * 5;
            book.begin(id.clone(), (instance % 1000) as SubjectId, Billing::Request, at(start));
            let mut seen = Sighting::default();
            seen.stamps = SteadyStamps { started: Some(Steady(start)), ready: Some(Steady(start + 20)), ..seen.stamps };
            book.see(&id, &seen, Steady(start + 20));
            seen.served = Served { steps: 3, requests: 1 };
            book.see(&id, &seen, Steady(start + 400));
            seen.stamps.stopping = Some(Steady(start + 900));
            seen.served = Served::default();
            book.see(&id, &seen, Steady(start + 900));
            (seen.stamps.ended, seen.over) = (Some(Steady(start + 950)), true);
            book.see(&id, &seen, Steady(start + 950));
            if instance % 1000 == 999 {
                book.roll(at(start + 1000));
                book.take_changed();
            }
        }
        begun.elapsed().as_secs_f64()
    });
    judge("folding 1,000,000 state changes, s", median(times.collect()), 2.0)
}

/// A month in which 10,000 services were used every day.
fn month(path: &Path) -> Result<bool, Box<dyn std::error::Error>> {
    let store = UsageStore::open(path)?;
    let numbers = (0..10_000).map(|number| store.subject_id(&subject(number))).collect::<Result<Vec<_>, _>>()?;
    let alive = Alive { moment: at(0), boot: String::new() };
    for day in 0..31 {
        let hour = at(day * DAY).hour() + 9;
        let delta = |subject: &SubjectId| Delta {
            hour,
            subject: *subject,
            active: 6000,
            starts: 3,
            peak: 2,
            ..Delta::default()
        };
        let deltas: Vec<Delta> = numbers.iter().map(delta).collect();
        store.write(&Look { deltas: &deltas, changed: &[], alive: &alive })?;
    }
    let prices = UsageConfig::default().read_prices()?;
    let (from, to) = (at(0).wall, at(31 * DAY).wall);
    let mut met = true;
    for (name, by) in [("by service", Dimension::Service), ("by label", Dimension::Label("team".to_owned()))] {
        let query = Query { from, to, by: vec![by] };
        let mut times = Vec::new();
        for _ in 0..5 {
            let begun = Instant::now();
            let subjects = store.all_subjects();
            let mut rows = Vec::new();
            store.rows(Grain::Day, (from, to), &mut rows)?;
            let lookup = |id: SubjectId| subjects.get(&id).map(|subject| &**subject);
            let lines = report(&query, &prices, rows, (lookup, |_: &Subject| true));
            assert!(lines.len() >= 20, "{} lines", lines.len());
            times.push(begun.elapsed().as_secs_f64());
        }
        met &= judge(&format!("a month's report over 10,000 services, {name}, s"), median(times), 1.0);
    }
    Ok(met)
}

/// A hundred starts and ends per second, a thousand instances that run, a look per second.
fn metering(path: &Path) -> Result<bool, Box<dyn std::error::Error>> {
    let store = UsageStore::open(path)?;
    let mut book = Book::default();
    let mut shares = Vec::new();
    for round in 0..5_u64 {
        let begun = cpu();
        for second in 0..20_u64 {
            let now = (round * 20 + second + 11) * 1000;
            for instance in 0..100_u64 {
                let id = |second: u64| InstanceId::new(format!("service-00001-abc-{second:04}-{instance:04}"));
                let started = now - instance * 10;
                book.begin(id(now / 1000), (instance % 50) as SubjectId, Billing::Instance, at(started));
                let stamps = SteadyStamps { ready: Some(Steady(started + 20)), ..SteadyStamps::default() };
                let seen = Sighting { stamps, ..Sighting::default() };
                book.see(&id(now / 1000), &seen, Steady(now));
                // Each lives for ten seconds.
                let stamps = SteadyStamps { ended: Some(Steady(now - 100)), ..SteadyStamps::default() };
                book.see(&id(now / 1000 - 10), &Sighting { stamps, over: true, ..Sighting::default() }, Steady(now));
            }
            let deltas = book.roll(at(now));
            let changed = book.take_changed();
            let alive = Alive { moment: at(now), boot: String::new() };
            store.write(&Look { deltas: &deltas, changed: &changed, alive: &alive })?;
        }
        shares.push((cpu() - begun).as_secs_f64() / 20.0 * 100.0);
    }
    Ok(judge("writing 100 starts and 100 ends per second, % of a CPU", median(shares), 1.0))
}

/// A day on which 1,000 instances of 1,000 services start and end each minute, and what a year of such days keeps.
fn size(path: &Path) -> Outcome {
    let store = UsageStore::open(path)?;
    let numbers = (0..1000).map(|number| store.subject_id(&subject(number))).collect::<Result<Vec<_>, _>>()?;
    let mut book = Book::default();
    let size = || std::fs::metadata(path).map(|file| file.len() as f64 / f64::from(1 << 20)).unwrap_or_default();
    for minute in 0..1440_u64 {
        let now = minute * 60_000;
        for instance in 0..1000_u64 {
            let id = InstanceId::new(format!("service-{instance:05}-00001-abc-{minute:08}"));
            book.begin(id.clone(), numbers[instance as usize], Billing::Instance, at(now + instance * 20));
            let stamps = SteadyStamps { ended: Some(Steady(now + instance * 20 + 30_000)), ..SteadyStamps::default() };
            let end = Steady(now + 59_000);
            book.see(&id, &Sighting { stamps, over: true, ..Sighting::default() }, end);
        }
        let moment = at(now + 59_000);
        let deltas = book.roll(moment);
        let changed = book.take_changed();
        store.write(&Look { deltas: &deltas, changed: &changed, alive: &Alive { moment, boot: String::new() } })?;
    }
    let all = size();
    let (settings, day) = (UsageConfig::default(), TimeDelta::days(1));
    // Everything of the day but its roll-ups is forgotten, and then the hours too.
    store.forget(at(2 * DAY).wall, at(0).wall)?;
    store.compact()?;
    let rolled = size();
    store.forget(at(2 * DAY).wall, at(0).wall + day + day)?;
    store.compact()?;
    let days = size();
    let (instances, hours) = (all - rolled, rolled - days);
    let kept = (f64::from(settings.instance_days.get()), f64::from(settings.hour_days.get()));
    let year = instances * kept.0 + hours * kept.1 + days * 365.0;
    let what = format!(
        "a year of 1,000 starts per minute, MiB ({} days of instances, {} of hours)",
        settings.instance_days, settings.hour_days
    );
    say(&what, &format!("{year:.0}"));
    say("  a day's instances / hours / days, MiB", &format!("{instances:.0}/{hours:.1}/{days:.1}"));
    Ok(())
}
