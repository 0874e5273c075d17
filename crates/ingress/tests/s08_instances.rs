//! Row S08: which instance takes a request, and what becomes of one that goes away.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use homerun_ingress::{RevisionRoute, Settings};
use http::Method;
use support::container::{self, Gate};
use support::*;
use tokio::io::AsyncWriteExt;

#[tokio::test]
async fn s08_an_instance_taken_away_serves_out_its_requests_and_gets_no_new_one() {
    let bench = Arc::new(bench().await);
    let (gate, address) = Gate::serve().await;
    bench.instance("i1", address);
    bench.instance("i2", container::named("second").await);
    bench.publish(table("r1", revision(80, &["i1"])));
    let first = begin(&bench, "/first", "r1").await;
    until("it is inside", || gate.inside.load(Ordering::SeqCst) == 1).await;

    bench.publish(table("r1", revision(80, &[])));
    assert_eq!(bench.ingress.in_flight(&"i1".into()), 1);
    let next = begin(&bench, "/next", "r1").await;
    until("the next one waits", || bench.load("r1").waiting == 1).await;
    bench.publish(table("r1", revision(80, &["i2"])));
    assert_eq!(in_time("the next", next).await.unwrap(), (200, "second".to_owned()));

    let mut changes = bench.ingress.changes();
    gate.let_go(1);
    assert_eq!(in_time("the first", first).await.unwrap(), (200, "/first".to_owned()));
    in_time("the signal that it is drained", changes.changed()).await.unwrap();
    assert_eq!(bench.ingress.in_flight(&"i1".into()), 0);
    assert_eq!(gate.seen(), ["/first"]);
}

#[tokio::test]
async fn s05_an_instance_that_rests_has_its_cpu_before_it_has_a_request() {
    let bench = Arc::new(bench().await);
    let (gate, address) = Gate::serve().await;
    bench.instance("i1", address);
    let mut route = revision(80, &["i1"]);
    route.endpoints[0].throttled = true;
    bench.publish(table("r1", route));
    let cpu = || -> Vec<bool> { bench.machines.cpu.lock().unwrap().iter().map(|(_, allocated)| *allocated).collect() };
    let first = begin(&bench, "/first", "r1").await;
    until("it is inside", || gate.inside.load(Ordering::SeqCst) == 1).await;
    assert_eq!(cpu(), [true], "nobody knows what an earlier homerun has left");
    bench.ingress.rest(&"i1".into());
    assert_eq!(cpu(), [true, true], "it serves");
    gate.let_go(2);
    in_time("the first", first).await.unwrap();
    bench.ingress.rest(&"i1".into());
    assert_eq!(cpu(), [true, true, false]);
    for _ in 0..2 {
        let next = begin(&bench, "/next", "r1").await;
        in_time("the next", next).await.unwrap();
        gate.let_go(1);
    }
    assert_eq!(cpu(), [true, true, false, true], "once is enough");
}

#[tokio::test]
async fn s08_the_least_loaded_instance_is_taken_and_the_first_among_equals() {
    let bench = Arc::new(bench().await);
    let (gate, address) = Gate::serve().await;
    bench.instance("busy", address);
    bench.instance("free", container::named("free").await);
    bench.publish(table("r1", revision(80, &["busy", "free"])));
    let first = begin(&bench, "/first", "r1").await;
    until("it is inside", || gate.inside.load(Ordering::SeqCst) == 1).await;
    for _ in 0..3 {
        assert_eq!(text(&bench.get("/").await), "free");
    }
    gate.let_go(1);
    in_time("the first", first).await.unwrap();
}

#[tokio::test]
async fn s08_a_request_that_reached_no_instance_is_tried_on_another() {
    let mut bench = bench().await;
    bench.instance("dead", container::nobody().await);
    bench.instance("alive", container::named("alive").await);
    bench.publish(table("r1", revision(80, &["dead", "alive"])));
    let response = bench.send(request(Method::POST, "/", full("body"))).await;
    assert_eq!(text(&response), "alive");
    let record = bench.record().await;
    assert_eq!(record.instance.unwrap().as_str(), "alive");
    assert_eq!(record.request_bytes, 4);

    bench.publish(table("r1", revision(80, &["dead"])));
    let response = bench.get("/").await;
    assert_eq!(response.status(), 503);
    assert!(text(&response).ends_with("reset reason: connection failure"), "{response:?}");
}

#[tokio::test]
async fn s08_a_request_that_was_sent_is_never_sent_again() {
    let bench = bench().await;
    let received = Arc::new(AtomicUsize::new(0));
    let counter = received.clone();
    let address = container::raw(move |mut stream| {
        let counter = counter.clone();
        async move {
            container::read_head(&mut stream).await;
            counter.fetch_add(1, Ordering::SeqCst);
        }
    })
    .await;
    bench.instance("i1", address);
    bench.instance("i2", address);
    bench.publish(table("r1", revision(80, &["i1", "i2"])));
    let response = bench.get("/").await;
    assert_eq!(response.status(), 503);
    assert!(text(&response).ends_with("reset reason: connection termination"), "{response:?}");
    assert_eq!(received.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn s08_a_kept_connection_that_died_is_replaced() {
    let bench = bench().await;
    let address = container::raw(|mut stream| async move {
        // One answer that promises to keep the connection, which is closed all the same.
        container::read_head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    })
    .await;
    bench.instance("i1", address);
    bench.publish(table("r1", revision(80, &["i1"])));
    for _ in 0..3 {
        let response = bench.send(request(Method::POST, "/", full("once"))).await;
        assert_eq!((response.status().as_u16(), text(&response)), (200, "ok"));
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    assert_eq!(bench.machines.connections.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn s08_an_answer_that_takes_too_long_is_a_504_and_frees_the_slot() {
    let mut bench = bench().await;
    let (gate, address) = Gate::serve().await;
    bench.instance("i1", address);
    let timeout = Duration::from_millis(100);
    bench.publish(table("r1", RevisionRoute { timeout, ..revision(1, &["i1"]) }));
    let response = bench.get("/slow").await;
    assert_eq!((response.status().as_u16(), text(&response)), (504, "upstream request timeout"));
    let record = bench.record().await;
    assert_eq!((record.status, record.instance.unwrap().as_str()), (504, "i1"));
    until("the container is told", || gate.inside.load(Ordering::SeqCst) == 0).await;
    gate.let_go(1);
    assert_eq!(text(&bench.get("/next").await), "/next");
}

#[tokio::test]
async fn s08_connections_are_kept_for_the_time_that_is_set() {
    let keep_alive = Duration::from_millis(150);
    let settings = Settings { keep_alive, ..Settings::default() };
    let bench = bench_with(settings).await;
    bench.instance("i1", container::named("ok").await);
    bench.publish(table("r1", revision(80, &["i1"])));
    for (pause, connections) in [(0, 1), (10, 1), (250, 2), (10, 2)] {
        tokio::time::sleep(Duration::from_millis(pause)).await;
        assert_eq!(bench.get("/").await.status(), 200);
        let opened = bench.machines.connections.load(Ordering::SeqCst);
        assert_eq!(opened, connections, "after a pause of {pause} ms");
    }
}
