//! Logs on disk: what is written comes back in order, and no more is kept than is allowed.

mod requests;

use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use homerun_api::logging::LogEntry;
use homerun_backend::{LogLine, LogSink, LogStream};
use homerun_model::container::Protocol;
use homerun_model::instance::{ContainerSpec, IngressPort, InstanceSpec};
use homerun_model::names::{InstanceId, ProjectId, Region, RevisionKey, RevisionName, ServiceName};
use homerun_model::quantity::{Cpu, Memory};
use proptest::prelude::*;
use serde_json::json;

use super::Logs;
use super::filter::Filter;
use super::read::{Query, page};
use crate::clock::Clock;
use crate::config::LogsConfig;

/// A clock that stands until it is moved.
struct Standing(AtomicI64);

impl Standing {
    fn new() -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(1_780_000_000_000_000_000)))
    }

    fn advance(&self, by: TimeDelta) {
        self.0.fetch_add(by.num_nanoseconds().expect("less than 292 years"), Ordering::Relaxed);
    }
}

impl Clock for Standing {
    fn now(&self) -> DateTime<Utc> {
        DateTime::from_timestamp_nanos(self.0.load(Ordering::Relaxed))
    }
}

fn count(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).expect("more than 0")
}

/// So little that files turn often.
fn small() -> LogsConfig {
    LogsConfig { service_mib: count(1), ..LogsConfig::default() }
}

fn open(dir: &Path, config: &LogsConfig, clock: &Arc<Standing>) -> Logs {
    Logs::open(dir, config, "http", clock.clone()).expect("logs")
}

fn instance(service: &str) -> InstanceSpec {
    InstanceSpec {
        id: InstanceId::new(format!("{service}-i")),
        revision: RevisionKey {
            project: ProjectId::new("demo"),
            region: Region::new("us-central1"),
            name: RevisionName::new(format!("{service}-00001-abc")),
        },
        service: ServiceName::new(service),
        containers: vec![ContainerSpec {
            name: "app".to_owned(),
            image: "i".to_owned(),
            command: Vec::new(),
            args: Vec::new(),
            working_dir: None,
            env: std::collections::BTreeMap::new(),
            cpu: Cpu::from_millis(1000),
            startup_cpu: None,
            memory: Memory::from_bytes(1 << 30),
            gpu: false,
            cuda_compat: false,
            startup_probe: None,
            liveness_probe: None,
            readiness_probe: None,
            port: None,
            volume_mounts: Vec::new(),
        }],
        start_waves: vec![vec![0]],
        volumes: Vec::new(),
        gpus: Vec::new(),
        gpu_zonal_redundancy: false,
        ingress: IngressPort { port: 8080, protocol: Protocol::Http1 },
        decided_at: DateTime::UNIX_EPOCH,
    }
}

fn print(logs: &Logs, spec: &InstanceSpec, time: DateTime<Utc>, text: &str) {
    logs.line(LogLine { spec, container: "app", stream: LogStream::Stdout, time, text });
}

fn query(filter: &str, newest_first: bool, limit: usize) -> Query {
    let filter = Filter::parse(filter).expect(filter);
    Query { projects: vec![ProjectId::new("demo")], filter, newest_first, after: None, limit, scan_bytes: u64::MAX }
}

/// Every entry, page by page.
fn read_all(dir: &Path, config: &LogsConfig, clock: &Standing, mut query: Query) -> Vec<LogEntry> {
    let mut entries = Vec::new();
    loop {
        let page = page(dir, config, &query, clock.now()).expect("a page");
        assert!(page.entries.len() <= query.limit);
        entries.extend(page.entries);
        match page.next {
            Some(next) => query.after = Some(next),
            None => return entries,
        }
    }
}

fn texts(entries: &[LogEntry]) -> Vec<&str> {
    entries.iter().filter_map(|entry| entry.text_payload.as_deref()).collect()
}

fn bytes_on_disk(dir: &Path) -> u64 {
    std::fs::read_dir(dir)
        .expect("a folder")
        .map(|entry| {
            let entry = entry.expect("an entry");
            if entry.path().is_dir() {
                bytes_on_disk(&entry.path())
            } else {
                entry.metadata().map_or(0, |meta| meta.len())
            }
        })
        .sum()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn s12_pages_in_either_order_are_all_that_was_written_in_order_of_time(
        lines in prop::collection::vec((0..3usize, 0..5000i64, any::<bool>(), 0..3000usize), 1..300),
        limit in 1..60usize,
        restart_at in 0..300usize,
        scan_bytes in prop::sample::select(vec![1, 100_000, u64::MAX]),
    ) {
        let (dir, config, clock) = (tempfile::tempdir().expect("a folder"), small(), Standing::new());
        let mut logs = open(dir.path(), &config, &clock);
        let services = ["red", "green", "blue"].map(instance);
        let mut expected = Vec::new();
        for (index, (service, ago, wanted, padding)) in lines.iter().enumerate() {
            if index == restart_at {
                logs.close();
                logs = open(dir.path(), &config, &clock);
            }
            let time = clock.now() - TimeDelta::milliseconds(*ago);
            let text = json!({"message": format!("{index} {:x<1$}", "", padding), "time": time, "wanted": wanted});
            print(&logs, &services[*service], clock.now(), &text.to_string());
            clock.advance(TimeDelta::milliseconds(10));
            // Ids order entries of one service and time; between services the writer decides.
            expected.push((time, index, *service, *wanted));
        }
        logs.close();
        let number = |entry: &LogEntry| -> usize {
            let message = entry.json_payload.as_ref().and_then(|json| json["message"].as_str()).expect("a message");
            message.split(' ').next().and_then(|number| number.parse().ok()).expect("a number")
        };
        for newest_first in [false, true] {
            for filter in ["", "jsonPayload.wanted=true", "resource.labels.service_name=red"] {
                let query = Query { scan_bytes, ..query(filter, newest_first, limit) };
                let found = read_all(dir.path(), &config, &clock, query);
                let mut wanted: Vec<_> = expected.iter().filter(|(_, _, service, wanted)| match filter {
                    "" => true,
                    "jsonPayload.wanted=true" => *wanted,
                    _ => *service == 0,
                }).collect();
                wanted.sort();
                let mut times: Vec<_> = wanted.iter().map(|(time, ..)| *time).collect();
                if newest_first {
                    times.reverse();
                }
                prop_assert_eq!(found.iter().map(|entry| entry.timestamp).collect::<Vec<_>>(), times, "{}", filter);
                let mut numbers: Vec<usize> = found.iter().map(number).collect();
                numbers.sort_unstable();
                let mut all: Vec<usize> = wanted.iter().map(|(_, index, ..)| *index).collect();
                all.sort_unstable();
                prop_assert_eq!(numbers, all, "{}", filter);
            }
        }
    }
}

#[test]
fn s12_lines_of_one_moment_keep_their_order() {
    let (dir, config, clock) = (tempfile::tempdir().expect("a folder"), small(), Standing::new());
    let logs = open(dir.path(), &config, &clock);
    let spec = instance("hello");
    let lines: Vec<String> = (0..500).map(|number| format!("line {number}")).collect();
    lines.iter().for_each(|line| print(&logs, &spec, clock.now(), line));
    logs.close();
    assert_eq!(texts(&read_all(dir.path(), &config, &clock, query("", false, 7))), lines);
    let mut newest = read_all(dir.path(), &config, &clock, query("", true, 1000));
    newest.reverse();
    assert_eq!(texts(&newest), lines);
}

#[test]
fn s12_a_page_of_the_newest_opens_the_newest_files_only() {
    let (dir, config, clock) = (tempfile::tempdir().expect("a folder"), small(), Standing::new());
    let logs = open(dir.path(), &config, &clock);
    let spec = instance("hello");
    for number in 0..4000 {
        print(&logs, &spec, clock.now(), &format!("line {number}"));
        clock.advance(TimeDelta::milliseconds(1));
    }
    logs.close();
    // What cannot be read is missed only by who reads so far.
    let folder = dir.path().join("demo/us-central1/hello");
    let mut names: Vec<_> =
        std::fs::read_dir(&folder).expect("a folder").map(|file| file.expect("a file").path()).collect();
    names.sort();
    assert!(names.len() > 8, "{names:?}");
    for old in &names[..names.len() - 3] {
        std::fs::remove_file(old).and_then(|()| std::fs::create_dir(old)).expect("a folder in its place");
    }
    let newest = page(dir.path(), &config, &query("", true, 50), clock.now()).expect("the newest files are enough");
    assert_eq!(texts(&newest.entries)[..2], ["line 3999", "line 3998"]);
    let recent =
        query(&format!("timestamp>=\"{}\"", (clock.now() - TimeDelta::milliseconds(100)).to_rfc3339()), true, 1000);
    assert_eq!(
        page(dir.path(), &config, &recent, clock.now()).expect("older files need not be opened").entries.len(),
        100
    );
    assert!(page(dir.path(), &config, &query("", true, 4000), clock.now()).is_err(), "this reads them all");
}

#[test]
fn s12_a_half_written_line_is_passed_over_and_the_log_goes_on() {
    let (dir, config, clock) = (tempfile::tempdir().expect("a folder"), small(), Standing::new());
    let spec = instance("hello");
    let logs = open(dir.path(), &config, &clock);
    print(&logs, &spec, clock.now(), "before");
    logs.close();
    let folder = dir.path().join("demo/us-central1/hello");
    let file = std::fs::read_dir(&folder).expect("a folder").next().expect("a file").expect("a file").path();
    let whole = std::fs::read(&file).expect("content");
    std::fs::write(&file, [&whole[..], &whole[..whole.len() / 2]].concat()).expect("written");
    assert_eq!(texts(&read_all(dir.path(), &config, &clock, query("", false, 10))), ["before"]);
    clock.advance(TimeDelta::seconds(1));
    let logs = open(dir.path(), &config, &clock);
    print(&logs, &spec, clock.now(), "after");
    logs.close();
    assert_eq!(texts(&read_all(dir.path(), &config, &clock, query("", false, 10))), ["before", "after"]);
}

#[test]
fn s12_a_service_keeps_no_more_than_its_size_and_loses_the_oldest() {
    let (dir, config, clock) = (tempfile::tempdir().expect("a folder"), small(), Standing::new());
    let logs = open(dir.path(), &config, &clock);
    let (chatty, quiet) = (instance("chatty"), instance("quiet"));
    print(&logs, &quiet, clock.now(), "still here");
    for number in 0..4000 {
        print(&logs, &chatty, clock.now(), &format!("line {number} {:x<1000}", ""));
        clock.advance(TimeDelta::milliseconds(1));
    }
    logs.close();
    let bytes = bytes_on_disk(&dir.path().join("demo/us-central1/chatty"));
    assert!((512 << 10..=1 << 20).contains(&bytes), "{bytes}");
    let kept = read_all(dir.path(), &config, &clock, query("resource.labels.service_name=chatty", true, 1000));
    assert!(texts(&kept)[0].starts_with("line 3999 ") && kept.len() < 1000, "{}", kept.len());
    let quiet = read_all(dir.path(), &config, &clock, query("resource.labels.service_name=quiet", true, 10));
    assert_eq!(texts(&quiet), ["still here"]);
}

#[test]
fn s12_all_logs_together_keep_no_more_than_their_size() {
    let config = LogsConfig { total_mib: count(2), ..small() };
    let (dir, clock) = (tempfile::tempdir().expect("a folder"), Standing::new());
    let logs = open(dir.path(), &config, &clock);
    let quiet = instance("quiet");
    print(&logs, &quiet, clock.now(), "still here");
    for service in ["a", "b", "c", "d"].map(instance) {
        for _ in 0..1000 {
            print(&logs, &service, clock.now(), &"x".repeat(1000));
            clock.advance(TimeDelta::milliseconds(1));
        }
    }
    logs.close();
    assert!(bytes_on_disk(dir.path()) > 3 << 20);
    // The first thing that a homerun does is to look at what is kept.
    open(dir.path(), &config, &clock).close();
    assert!(bytes_on_disk(dir.path()) <= 2 << 20, "{}", bytes_on_disk(dir.path()));
    let quiet = read_all(dir.path(), &config, &clock, query("resource.labels.service_name=quiet", true, 10));
    assert_eq!(texts(&quiet), ["still here"], "the largest give first");
}

#[test]
fn s12_what_is_too_old_is_neither_shown_nor_kept() {
    let config = LogsConfig { retention_days: count(2), ..LogsConfig::default() };
    let (dir, clock) = (tempfile::tempdir().expect("a folder"), Standing::new());
    let spec = instance("hello");
    for day in 0..5 {
        let logs = open(dir.path(), &config, &clock);
        print(&logs, &spec, clock.now(), &format!("day {day}"));
        logs.close();
        clock.advance(TimeDelta::days(1) + TimeDelta::seconds(1));
    }
    assert_eq!(texts(&read_all(dir.path(), &config, &clock, query("", false, 10))), ["day 4"]);
    // Days that are over have files of their own, which go.
    open(dir.path(), &config, &clock).close();
    let kept = |text: &str| {
        let folder = dir.path().join("demo/us-central1/hello");
        let mut files = std::fs::read_dir(folder).into_iter().flatten().flatten();
        files.any(|file| std::fs::read_to_string(file.path()).is_ok_and(|content| content.contains(text)))
    };
    assert!(!kept("day 0") && !kept("day 1") && kept("day 4"));
}

#[test]
fn s12_who_writes_50_mb_per_second_fills_no_disk_and_takes_nothing_from_others() {
    // With a rate that the writer keeps up with in any build, and the one that is the default.
    flooded(1);
    flooded(8);
}

fn flooded(rate: u32) {
    let config = LogsConfig { service_mib_per_second: count(rate), ..LogsConfig::default() };
    let (dir, clock) = (tempfile::tempdir().expect("a folder"), Standing::new());
    let logs = open(dir.path(), &config, &clock);
    let (flood, other) = (instance("flood"), instance("other"));
    let (mut written, mut slowest) = (0_u64, Duration::ZERO);
    let begun = Instant::now();
    let line = "y".repeat(990);
    // 50 MB per second for three seconds.
    for tick in 0..300_u32 {
        for _ in 0..500 {
            let before = Instant::now();
            print(&logs, &flood, clock.now(), &line);
            slowest = slowest.max(before.elapsed());
            written += 1;
        }
        print(&logs, &other, clock.now(), &format!("tick {tick}"));
        clock.advance(TimeDelta::milliseconds(10));
        std::thread::sleep((begun + Duration::from_millis(10) * (tick + 1)).saturating_duration_since(Instant::now()));
    }
    logs.close();
    assert!(slowest < Duration::from_millis(500), "no line waits: {slowest:?}");
    let bytes = bytes_on_disk(&dir.path().join("demo/us-central1/flood"));
    assert!(bytes <= (u64::from(rate) * 12).min(64) << 20, "{bytes} of 150 MB");
    let others = read_all(dir.path(), &config, &clock, query("resource.labels.service_name=other", false, 1000));
    assert_eq!(others.len(), 300, "the others lose nothing");
    let told = query("resource.labels.service_name=flood \"were dropped\" severity=WARNING", false, 1000);
    let told = read_all(dir.path(), &config, &clock, told);
    assert!(told.len() >= 2, "{told:?}");
    assert!(told.iter().all(|entry| entry.log_name == "projects/demo/logs/run.googleapis.com%2Fvarlog%2Fsystem"));
    let dropped: u64 = told
        .iter()
        .map(|entry| {
            entry.text_payload.as_ref().and_then(|text| text.split(' ').next()?.parse::<u64>().ok()).expect("a number")
        })
        .sum();
    // At most what the rate allows for the time it took, and the burst, has come through.
    let through = (u64::from(rate) << 20) * (4 + begun.elapsed().as_secs() + 1) / 1190;
    assert!(dropped < written && written - dropped <= through, "{dropped} of {written} dropped, {through} may pass");
}

#[test]
fn s12_many_services_take_turns_and_lose_nothing() {
    let (dir, config, clock) = (tempfile::tempdir().expect("a folder"), LogsConfig::default(), Standing::new());
    let logs = open(dir.path(), &config, &clock);
    let services: Vec<InstanceSpec> = (0..1500).map(|number| instance(&format!("s{number}"))).collect();
    for round in 0..3 {
        for service in &services {
            print(&logs, service, clock.now(), &format!("round {round}"));
        }
        clock.advance(TimeDelta::seconds(1));
    }
    logs.close();
    let begun = Instant::now();
    assert_eq!(read_all(dir.path(), &config, &clock, query("", true, 1000)).len(), 4500);
    let one = query("resource.labels.service_name=s700", false, 1000);
    assert_eq!(texts(&read_all(dir.path(), &config, &clock, one)), ["round 0", "round 1", "round 2"]);
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}
