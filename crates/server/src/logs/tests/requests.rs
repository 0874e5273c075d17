//! Requests' lines, which are written on many threads and gathered.

use std::collections::{BTreeSet, HashMap};

use homerun_ingress::{Observe, RequestRecord};
use homerun_model::names::ServiceKey;

use super::super::request::tests::record;
use super::*;

/// A request of the service that arrived so many milliseconds after the clock's beginning.
fn request(service: &str, path: &str, after: i64) -> RequestRecord {
    let key = ServiceKey { project: "demo".into(), region: "us-central1".into(), name: service.into() };
    let arrived = Standing::new().now() + TimeDelta::milliseconds(after);
    RequestRecord { service: Some(Arc::new(key)), path: path.parse().expect("a path"), arrived, ..record() }
}

fn path(entry: &LogEntry) -> &str {
    let request = entry.http_request.as_ref().expect("a request's entry");
    request.request_url.rsplit('/').next().expect("a path")
}

#[test]
fn s12_requests_of_many_threads_and_lines_between_them_are_all_there_once() {
    const THREADS: i64 = 3;
    const EACH: i64 = 3000;
    // Files of 1 MiB, so that pieces go over from one to the next, and none is given up.
    let config = LogsConfig { service_mib: count(16), service_mib_per_second: count(64), ..LogsConfig::default() };
    let (dir, clock) = (tempfile::tempdir().expect("a folder"), Standing::new());
    let logs = open(dir.path(), &config, &clock);
    let spec = instance("hello");
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (logs, spec, clock) = (&logs, &spec, &clock);
            scope.spawn(move || {
                for number in 0..EACH {
                    logs.request(&request("hello", &format!("/{thread}-{number}"), number));
                    if number % 300 == 299 {
                        print(logs, spec, clock.now(), &format!("{thread}-{number}"));
                    }
                    if number == EACH / 2 {
                        clock.advance(TimeDelta::milliseconds(100));
                    }
                }
            });
        }
    });
    logs.close();

    let folder = dir.path().join("demo/us-central1/hello");
    let files = std::fs::read_dir(&folder).expect("a folder").count();
    assert!(files > 2, "{files}");
    let entries = read_all(dir.path(), &config, &clock, query("httpRequest:*", false, 1000));
    let ids: BTreeSet<&str> = entries.iter().map(|entry| entry.insert_id.as_str()).collect();
    assert_eq!(ids.len(), entries.len());
    assert!(entries.iter().all(|entry| entry.receive_timestamp >= entry.timestamp));
    let mut of_threads: HashMap<&str, Vec<i64>> = HashMap::new();
    for entry in &entries {
        let (thread, number) = path(entry).split_once('-').expect("a thread and a number");
        of_threads.entry(thread).or_default().push(number.parse().expect("a number"));
    }
    assert_eq!(of_threads.len(), THREADS as usize);
    for (thread, numbers) in of_threads {
        assert_eq!(numbers, (0..EACH).collect::<Vec<_>>(), "{thread}");
    }
    // The times that files tell by their names leave nothing out.
    let at = request("hello", "/", 2500).arrived.to_rfc3339();
    let late = read_all(dir.path(), &config, &clock, query(&format!("httpRequest:* timestamp>=\"{at}\""), true, 70));
    assert_eq!(late.len(), 500 * THREADS as usize);
    assert_eq!(read_all(dir.path(), &config, &clock, query("NOT httpRequest:*", false, 100)).len(), 30);
}
