//! Row S08: requests wait for an instance in order, within bounds, and are refused as Cloud Run does.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use homerun_ingress::{Outcome, Refusal, RevisionRoute, Settings};
use http::{Method, Request};
use support::container::{self, Gate};
use support::*;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

#[tokio::test]
async fn s08_a_request_at_zero_is_held_until_an_instance_appears() {
    let mut bench = bench().await;
    bench.instance("i1", container::named("awake").await);
    bench.publish(table("r1", revision(80, &[])));
    let mut changes = bench.ingress.changes();

    let mut sender = bench.http1().await;
    let mut request = request(Method::GET, "/", empty());
    request.headers_mut().insert("host", HOST.parse().unwrap());
    let answer = tokio::spawn(sender.send_request(request));
    in_time("the demand signal", changes.changed()).await.unwrap();
    let load = bench.load("r1");
    assert_eq!((load.waiting, load.in_flight, load.arrivals), (1, 0, 1));
    tokio::time::sleep(Duration::from_millis(60)).await;
    bench.publish(table("r1", revision(80, &["i1"])));

    assert_eq!(in_time("the answer", answer).await.unwrap().unwrap().status(), 200);
    let record = bench.record().await;
    assert!(record.cold_start);
    assert!(record.waited >= Duration::from_millis(60) && record.latency >= record.waited, "{record:?}");
    let load = bench.load("r1");
    assert_eq!((load.waiting, load.in_flight), (0, 0));
    assert!(load.last_busy.is_some());
}

#[tokio::test]
async fn s17_who_asks_is_told_what_took_the_time() {
    let bench = Arc::new(bench().await);
    let (seen, mut asked) = tokio::sync::mpsc::channel(8);
    let answer = move |request: Request<_>| {
        let _ = seen.try_send(request.headers().contains_key("x-homerun-timing"));
        async { http::Response::builder().header("server-timing", "db;dur=3").body(full("hello")).unwrap() }
    };
    bench.instance("i1", container::serve(answer).await);
    bench.publish(table("r1", revision(80, &[])));
    let timings = |response: &http::Response<_>| -> Vec<String> {
        let values = response.headers().get_all("server-timing").iter();
        values.map(|value: &http::HeaderValue| value.to_str().unwrap().to_owned()).collect()
    };
    let ask = |value: &'static str| {
        let mut request = to(request(Method::GET, "/", empty()), HOST);
        request.headers_mut().insert("x-homerun-timing", value.parse().unwrap());
        request
    };
    let waiter = bench.clone();
    let first = ask("1");
    let cold = tokio::spawn(async move { waiter.send(first).await });
    until("the request waits", || bench.load("r1").waiting == 1).await;
    bench.publish(table("r1", revision(80, &["i1"])));
    let cold = timings(&in_time("the answer", cold).await.unwrap());
    assert_eq!(cold[0], "db;dur=3", "what the container says stays");
    let (wait, start) = cold[1].split_once(", ").unwrap();
    assert!(wait.starts_with("wait;dur="), "{wait}");
    assert_eq!(start, "record;dur=1.0, create;dur=8.0, start;dur=6.0");

    let warm = timings(&bench.send(ask("1")).await);
    assert!(warm[1].starts_with("wait;dur=0.") && !warm[1].contains("start"), "{warm:?}");
    assert_eq!(timings(&bench.send(ask("0")).await), ["db;dur=3"]);
    assert_eq!(timings(&bench.get("/").await), ["db;dur=3"]);
    for _ in 0..4 {
        assert_eq!(asked.recv().await, Some(false), "the question is not the container's");
    }
}

#[tokio::test]
async fn s08_waiting_requests_are_served_in_the_order_of_their_arrival() {
    let bench = Arc::new(bench().await);
    let (gate, address) = Gate::serve().await;
    bench.instance("i1", address);
    bench.publish(table("r1", revision(1, &[])));
    let paths = ["/0", "/1", "/2", "/3", "/4", "/5"];
    let mut tasks = Vec::new();
    for path in paths {
        tasks.push(begin(&bench, path, "r1").await);
        until("it waits", || bench.load("r1").waiting as usize == tasks.len()).await;
    }
    gate.let_go(paths.len());
    bench.publish(table("r1", revision(1, &["i1"])));
    for task in tasks {
        assert_eq!(in_time("an answer", task).await.unwrap().0, 200);
    }
    assert_eq!(gate.seen(), paths);
    assert_eq!(gate.most_inside.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn s08_control_is_woken_for_each_instance_that_is_needed_and_for_no_other_request() {
    let bench = Arc::new(bench().await);
    bench.publish(table("r1", revision(3, &[])));
    let mut changes = bench.ingress.changes();
    let mut woken = Vec::new();
    let mut tasks = Vec::new();
    for number in 1..=7 {
        tasks.push(begin(&bench, "/", "r1").await);
        until("it waits", || bench.load("r1").waiting == number).await;
        if changes.has_changed().unwrap() {
            changes.mark_unchanged();
            woken.push(number);
        }
    }
    assert_eq!(woken, [1, 4, 7]);
    tasks.iter().for_each(|task| task.abort());
}

#[tokio::test(flavor = "multi_thread")]
async fn s08_no_instance_ever_gets_more_requests_than_its_concurrency() {
    const CLIENTS: usize = 24;
    const REQUESTS: usize = 40;
    let bench = Arc::new(bench().await);
    let mut most = Vec::new();
    for name in ["i0", "i1", "i2"] {
        let (inside, most_inside) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        most.push(most_inside.clone());
        let address = container::serve(move |_| {
            let (inside, most_inside) = (inside.clone(), most_inside.clone());
            async move {
                most_inside.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_micros(300)).await;
                inside.fetch_sub(1, Ordering::SeqCst);
                http::Response::new(full("ok"))
            }
        })
        .await;
        bench.instance(name, address);
    }
    bench.publish(table("r1", revision(2, &["i0"])));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let bench = bench.clone();
            tokio::spawn(async move {
                let mut sender = bench.http1().await;
                for _ in 0..REQUESTS {
                    let mut request = request(Method::GET, "/", empty());
                    request.headers_mut().insert("host", HOST.parse().unwrap());
                    sender.ready().await.unwrap();
                    let response = sender.send_request(request).await.unwrap();
                    assert_eq!(response.status(), 200);
                    http_body_util::BodyExt::collect(response.into_body()).await.unwrap();
                }
            })
        })
        .collect();
    // Instances come and go all the while.
    let sets: [&[&str]; 4] = [&["i0", "i1"], &["i1", "i2"], &["i2"], &["i0", "i1", "i2"]];
    let mut turn = 0;
    while clients.iter().any(|client| !client.is_finished()) {
        bench.publish(table("r1", revision(2, sets[turn % sets.len()])));
        turn += 1;
        // An instance that was taken away only loses requests.
        let mut before = [u32::MAX; 3];
        for _ in 0..3 {
            for (index, name) in ["i0", "i1", "i2"].into_iter().enumerate() {
                let now = bench.ingress.in_flight(&name.into());
                assert!(sets[(turn - 1) % sets.len()].contains(&name) || now <= before[index]);
                before[index] = now;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    for client in clients {
        client.await.unwrap();
    }
    assert_eq!(bench.load("r1").arrivals as usize, CLIENTS * REQUESTS);
    let most: Vec<_> = most.iter().map(|most| most.load(Ordering::SeqCst)).collect();
    assert!(most.iter().all(|most| *most == 2), "every instance is filled and none overfilled: {most:?}");
    until("all slots are free", || bench.load("r1").in_flight == 0).await;
}

#[tokio::test]
async fn s08_a_client_that_hangs_up_leaves_the_queue() {
    let mut bench = bench().await;
    let (gate, address) = Gate::serve().await;
    bench.instance("i1", address);
    bench.publish(table("r1", revision(1, &[])));
    let mut leaver = TcpStream::connect(bench.address).await.unwrap();
    leaver.write_all(format!("GET /left HTTP/1.1\r\nhost: {HOST}\r\n\r\n").as_bytes()).await.unwrap();
    until("it waits", || bench.load("r1").waiting == 1).await;
    drop(leaver);
    until("it has left", || bench.load("r1").waiting == 0).await;
    let record = bench.record().await;
    assert_eq!((record.status, record.outcome, record.instance), (499, Outcome::ClientGone, None));

    let mut sender = bench.http2().await;
    let request = Request::get(format!("http://{HOST}/left")).body(empty()).unwrap();
    let answer = tokio::spawn(sender.send_request(request));
    until("it waits", || bench.load("r1").waiting == 1).await;
    answer.abort();
    until("it has left", || bench.load("r1").waiting == 0).await;
    assert_eq!(bench.record().await.outcome, Outcome::ClientGone);

    gate.let_go(1);
    bench.publish(table("r1", revision(1, &["i1"])));
    assert_eq!(text(&bench.get("/stays").await), "/stays");
    assert_eq!(gate.seen(), ["/stays"]);
}

#[tokio::test]
async fn s08_after_the_longest_wait_control_says_why() {
    let mut bench = bench().await;
    let impatient =
        |refuse_late| RevisionRoute { max_wait: Duration::from_millis(80), refuse_late, ..revision(1, &[]) };
    bench.publish(table("r1", impatient(Refusal::NoInstance)));
    let begun = Instant::now();
    let response = bench.get("/").await;
    assert!(begun.elapsed() >= Duration::from_millis(80));
    assert_eq!((response.status().as_u16(), text(&response)), (429, "Rate exceeded."));
    let record = bench.record().await;
    let sentence = "The request was aborted because there was no available instance.";
    assert_eq!((record.status, record.outcome), (429, Outcome::Refused));
    assert_eq!(record.message.as_deref(), Some(sentence));

    let message = "The request failed because the project exceeded its quota limit for \
                   run.googleapis.com/nvidia_l4_gpu_allocation_no_zonal_redundancy: ocr holds 1 of 1."
        .to_owned();
    bench.publish(table("r1", impatient(Refusal::QuotaExceeded { message: message.clone() })));
    let response = bench.get("/").await;
    assert_eq!((response.status().as_u16(), text(&response)), (503, message.as_str()));
    bench.publish(table("r1", impatient(Refusal::ScalingFailed)));
    assert_eq!(bench.get("/").await.status(), 500);
}

#[tokio::test]
async fn s08_a_wait_that_control_prolongs_goes_on() {
    let bench = Arc::new(bench().await);
    bench.instance("i1", container::named("late").await);
    let short = RevisionRoute { max_wait: Duration::from_millis(100), ..revision(1, &[]) };
    bench.publish(table("r1", short));
    let task = begin(&bench, "/", "r1").await;
    bench.publish(table("r1", revision(1, &[])));
    tokio::time::sleep(Duration::from_millis(200)).await;
    bench.publish(table("r1", revision(1, &["i1"])));
    assert_eq!(in_time("the answer", task).await.unwrap(), (200, "late".to_owned()));
}

#[tokio::test]
async fn s08_when_the_container_cannot_start_nobody_waits() {
    let bench = Arc::new(bench().await);
    bench.instance("i1", container::named("still here").await);
    bench.publish(table("r1", revision(1, &[])));
    let waiting = begin(&bench, "/", "r1").await;
    let message = "The container exited with code 1.".to_owned();
    let failing =
        RevisionRoute { refuse_now: Some(Refusal::CannotStart { message: message.clone() }), ..revision(1, &[]) };
    bench.publish(table("r1", failing.clone()));
    assert_eq!(in_time("the answer", waiting).await.unwrap(), (503, message.clone()));
    let response = bench.get("/").await;
    assert_eq!((response.status().as_u16(), text(&response)), (503, message.as_str()));

    let endpoints = revision(1, &["i1"]).endpoints;
    bench.publish(table("r1", RevisionRoute { endpoints, ..failing }));
    assert_eq!(text(&bench.get("/").await), "still here", "a free instance serves all the same");
}

#[tokio::test]
async fn s08_a_full_queue_takes_nobody() {
    let bench = Arc::new(bench_with(Settings { max_waiting: 2, ..Settings::default() }).await);
    bench.publish(table("r1", revision(1, &[])));
    let first = begin(&bench, "/", "r1").await;
    let second = begin(&bench, "/", "r1").await;
    until("both wait", || bench.load("r1").waiting == 2).await;
    assert_eq!(bench.get("/").await.status(), 429);
    first.abort();
    second.abort();
}

#[tokio::test]
async fn s08_those_who_wait_for_a_revision_that_vanishes_take_the_new_route() {
    let bench = Arc::new(bench().await);
    bench.instance("i2", container::named("new").await);
    bench.publish(table("r1", revision(1, &[])));
    let moved = begin(&bench, "/", "r1").await;
    until("it waits", || bench.load("r1").waiting == 1).await;
    bench.publish(table("r2", revision(1, &["i2"])));
    assert_eq!(in_time("the answer", moved).await.unwrap(), (200, "new".to_owned()));
    assert!(!bench.ingress.sample().contains_key(&key("r1")));

    bench.publish(table("r3", revision(1, &[])));
    let deleted = begin(&bench, "/", "r3").await;
    until("it waits", || bench.load("r3").waiting == 1).await;
    bench.publish(tables(&[], &[]));
    assert_eq!(in_time("the answer", deleted).await.unwrap().0, 404);
}

#[tokio::test]
async fn s08_a_service_without_a_ready_revision_says_so() {
    let bench = bench().await;
    bench.publish(tables(&[(HOST, route(&[]))], &[]));
    let response = bench.get("/").await;
    assert_eq!((response.status().as_u16(), text(&response)), (503, "Service Unavailable"));
    let message = "The image does not exist.".to_owned();
    let unready = Some(Refusal::CannotStart { message: message.clone() });
    let unready = homerun_ingress::Route { unready, ..route(&[]) };
    bench.publish(tables(&[(HOST, unready)], &[]));
    assert_eq!(text(&bench.get("/").await), message);
}
