//! What the tests of abuse share: a table, and a neighbour who must not notice.

use std::sync::Arc;
use std::time::{Duration, Instant};

use homerun_ingress::Settings;
use http::Method;

use super::*;

/// Longest that a neighbour's request may take meanwhile, on a machine that does other things too.
const SOON: Duration = Duration::from_secs(1);

fn settings() -> Settings {
    Settings {
        header_timeout: Duration::from_millis(300),
        idle_timeout: Duration::from_millis(800),
        max_header_bytes: 16 * 1024,
        ..Settings::default()
    }
}

/// A service `neighbour.test` whose requests are timed for as long as this lives.
pub struct Neighbour(tokio::task::JoinHandle<Duration>, tokio::sync::watch::Sender<bool>);

impl Neighbour {
    pub fn watch(bench: &Arc<Bench>) -> Self {
        let (end, ended) = tokio::sync::watch::channel(false);
        let bench = bench.clone();
        let task = tokio::spawn(async move {
            let mut slowest = Duration::ZERO;
            while !*ended.borrow() {
                let begun = Instant::now();
                let response = bench.send(to(request(Method::GET, "/", empty()), "neighbour.test")).await;
                assert_eq!((response.status().as_u16(), text(&response)), (200, "neighbour"));
                slowest = slowest.max(begun.elapsed());
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            slowest
        });
        Self(task, end)
    }

    /// It was, and soon, all the while.
    pub async fn was_served(self) {
        self.1.send_replace(true);
        let slowest = self.0.await.unwrap();
        println!("       the neighbour's slowest request meanwhile: {slowest:?}");
        assert!(slowest < SOON, "{slowest:?}");
    }
}

pub async fn abused() -> Arc<Bench> {
    let bench = bench_with(settings()).await;
    bench.instance("i1", container::named("reached").await);
    bench.instance("n1", container::named("neighbour").await);
    bench.publish(tables(
        &[(HOST, route(&[("r1", 100)])), ("neighbour.test", route(&[("n", 100)]))],
        &[("r1", revision(80, &["i1"])), ("n", revision(80, &["n1"]))],
    ));
    Arc::new(bench)
}

/// Prints a line of the table; whether it is as expected.
pub fn line(case: &str, expected: &str, got: &str) -> bool {
    let fits = expected.split(" or ").any(|one| one == got);
    println!("{} {case:<58} {expected:<28} {got}", if fits { "ok    " } else { "FAILED" });
    fits
}
