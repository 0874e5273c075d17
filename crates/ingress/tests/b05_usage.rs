//! Row B05: what instances have served, as whoever bills it is told.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use homerun_ingress::{RevisionRoute, ServiceRoutes};
use homerun_model::billing::Served;
use support::container::Gate;
use support::*;

fn served(bench: &Bench) -> Served {
    let mut sum = Served::default();
    for (instance, served) in bench.ingress.take_usage().served {
        assert_eq!(instance.as_str(), "i1");
        sum.steps += served.steps;
        sum.requests += served.requests;
    }
    sum
}

#[tokio::test]
async fn b05_the_time_of_requests_at_once_is_counted_once_and_told_once() {
    let bench = Arc::new(bench().await);
    let (gate, address) = Gate::serve().await;
    bench.instance("i1", address);
    bench.publish(table("r1", revision(80, &["i1"])));
    assert_eq!(served(&bench), Served::default());
    let begun = Instant::now();
    let (one, other) = (begin(&bench, "/one", "r1").await, begin(&bench, "/other", "r1").await);
    until("both are inside", || gate.inside.load(Ordering::SeqCst) == 2).await;
    tokio::time::sleep(Duration::from_millis(250)).await;
    let so_far = served(&bench);
    assert!(so_far.requests == 0 && so_far.steps >= 3, "while they wait for an answer: {so_far:?}");
    gate.let_go(2);
    in_time("the first", one).await.unwrap();
    in_time("the second", other).await.unwrap();
    until("both have ended", || bench.ingress.in_flight(&"i1".into()) == 0).await;
    let lasted = begun.elapsed().as_millis() as u64 + 1;
    let rest = served(&bench);
    assert!(so_far.steps + rest.steps <= lasted.div_ceil(100) && rest.requests == 2, "{so_far:?} {rest:?} {lasted}");
    assert_eq!(served(&bench), Served::default(), "it is told once");
}

#[tokio::test]
async fn b05_what_an_instance_served_is_told_after_it_has_gone() {
    let bench = Arc::new(bench().await);
    let (gate, address) = Gate::serve().await;
    bench.instance("i1", address);
    bench.publish(table("r1", revision(80, &["i1"])));
    let last = begin(&bench, "/last", "r1").await;
    until("it is inside", || gate.inside.load(Ordering::SeqCst) == 1).await;
    bench.ingress.publish(&service("hello"), ServiceRoutes::default());
    gate.let_go(1);
    in_time("the last", last).await.unwrap();
    until("it is drained", || bench.ingress.in_flight(&"i1".into()) == 0).await;
    let told = served(&bench);
    assert!(told.requests == 1 && told.steps >= 1, "{told:?}");
}

#[tokio::test]
async fn b05_as_many_are_idle_as_the_minimum_has_more_than_have_requests() {
    let bench = Arc::new(bench().await);
    let (gate, address) = Gate::serve().await;
    for name in ["i1", "i2", "i3"] {
        bench.instance(name, address);
    }
    let idle = || -> u64 { bench.ingress.take_usage().idle.into_iter().map(|(_, millis)| millis).sum() };
    bench.publish(table("r1", RevisionRoute { kept: 2, ..revision(80, &["i1", "i2", "i3"]) }));
    // What they are idle for lies between how long the test sleeps and how long that really takes.
    let begun = Instant::now();
    idle();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let (both, took) = (idle(), begun.elapsed().as_millis() as u64 + 1);
    assert!((398..=2 * took).contains(&both), "two of three for {took} ms: {both}");
    let one = begin(&bench, "/one", "r1").await;
    until("it is inside", || gate.inside.load(Ordering::SeqCst) == 1).await;
    let begun = Instant::now();
    idle();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let (other, took) = (idle(), begun.elapsed().as_millis() as u64 + 1);
    assert!((199..=took).contains(&other), "one is busy, one of the minimum is not, for {took} ms: {other}");
    gate.let_go(1);
    in_time("the request", one).await.unwrap();
    bench.publish(table("r1", revision(80, &["i1"])));
    idle();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(idle(), 0, "without a minimum nobody is kept");
}

#[tokio::test]
async fn b05_a_try_that_reached_nobody_is_no_request() {
    let bench = Arc::new(bench().await);
    let (gate, address) = Gate::serve().await;
    // The first has no address, so that nothing can be sent to it.
    bench.instance("i2", address);
    bench.publish(table("r1", revision(1, &["i1", "i2"])));
    let one = begin(&bench, "/one", "r1").await;
    until("it is inside", || gate.inside.load(Ordering::SeqCst) == 1).await;
    gate.let_go(1);
    assert_eq!(in_time("the request", one).await.unwrap().0, 200);
    let served = bench.ingress.take_usage().served;
    let requests: Vec<_> = served.iter().filter(|(_, served)| served.requests > 0).collect();
    assert!(requests.len() == 1 && requests[0].0.as_str() == "i2" && requests[0].1.requests == 1, "{served:?}");
}
