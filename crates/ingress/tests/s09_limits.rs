//! Row S09: bad clients, bad containers, limits, shutdown.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use homerun_ingress::{Outcome, Settings};
use http::Method;
use http_body_util::BodyExt;
use support::container;
use support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[tokio::test]
async fn s09_ambiguous_requests_are_refused_and_their_connection_closed() {
    let bench = bench().await;
    bench.instance("i1", container::named("reached").await);
    bench.publish(table("r1", revision(1, &["i1"])));
    let heads = [
        format!("POST / HTTP/1.1\r\nhost: {HOST}\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
        format!("POST / HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello"),
        format!("GET / HTTP/1.1\r\nhost: {HOST}\r\nhost: other.test\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nhost: {HOST}\r\nfolded: a\r\n b\r\n\r\n"),
        "GET / HTTP/1.1\r\n\r\n".to_owned(),
        format!("CONNECT {HOST}:80 HTTP/1.1\r\nhost: {HOST}:80\r\n\r\n"),
    ];
    for head in heads {
        let answer = bench.raw(&head).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{head:?} was answered by {answer:?}");
        assert!(!answer.contains("reached"));
    }
    let lengths =
        ["content-length: 4\r\ntransfer-encoding: chunked", "transfer-encoding: chunked\r\ncontent-length: 4"];
    for both in lengths {
        let smuggled = format!("GET /smuggled HTTP/1.1\r\nhost: {HOST}\r\n\r\n");
        let answer = bench.raw(&format!("POST / HTTP/1.1\r\nhost: {HOST}\r\n{both}\r\n\r\n0\r\n\r\n{smuggled}")).await;
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "one answer, then the connection is closed: {answer}");
    }
    assert_eq!(bench.load("r1").arrivals, 2);
}

#[tokio::test]
async fn s09_garbage_and_early_ends_from_a_container_are_told_apart() {
    let mut bench = bench().await;
    let answers = ["SSH-2.0-OpenSSH\r\n\r\n", "", "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf"];
    for (name, answer) in ["garbage", "nothing", "half"].into_iter().zip(answers) {
        let address = container::raw(move |mut stream| async move {
            container::read_head(&mut stream).await;
            stream.write_all(answer.as_bytes()).await.unwrap();
        })
        .await;
        bench.instance(name, address);
    }
    for (name, reason) in [("garbage", "protocol error"), ("nothing", "connection termination")] {
        bench.publish(table(name, revision(1, &[name])));
        let response = bench.get("/").await;
        assert_eq!(response.status(), 503);
        assert!(text(&response).ends_with(&format!("reset reason: {reason}")), "{name}: {}", text(&response));
        let record = bench.record().await;
        assert!(record.message.unwrap().contains("the HTTP response was malformed or connection to the instance"));
    }
    bench.publish(table("half", revision(1, &["half"])));
    let response = bench.open(request(Method::GET, "/", empty())).await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(response.collect().await.is_err(), "the client sees that the body is not whole");
    let record = bench.record().await;
    assert_eq!((record.outcome, record.response_bytes), (Outcome::InstanceGone, 4));
    assert!(record.message.unwrap().contains("connection to the instance had an error"));
}

#[tokio::test]
async fn s09_a_client_that_leaves_cancels_the_request_in_the_container() {
    let mut bench = bench().await;
    let (gate, address) = container::Gate::serve().await;
    bench.instance("i1", address);
    bench.instance("i2", address);
    bench.publish(tables(
        &[(HOST, route(&[("one", 100)])), ("two.test", route(&[("two", 100)]))],
        &[("one", revision(1, &["i1"])), ("two", h2c(&["i2"]))],
    ));
    for host in [HOST, "two.test"] {
        let mut leaver = TcpStream::connect(bench.address).await.unwrap();
        leaver.write_all(format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n").as_bytes()).await.unwrap();
        until("it is inside", || gate.inside.load(Ordering::SeqCst) == 1).await;
        drop(leaver);
        until("the container is told", || gate.inside.load(Ordering::SeqCst) == 0).await;
        assert_eq!(bench.record().await.outcome, Outcome::ClientGone);
    }
    until("the slots are free", || bench.load("one").in_flight + bench.load("two").in_flight == 0).await;
}

#[tokio::test]
async fn s09_slow_headers_and_unused_connections_are_closed() {
    let settings = Settings {
        header_timeout: Duration::from_millis(150),
        idle_timeout: Duration::from_secs(3),
        ..Settings::default()
    };
    let bench = bench_with(settings).await;
    bench.instance("i1", container::named("ok").await);
    bench.publish(table("r1", revision(1, &["i1"])));
    let complete = format!("GET / HTTP/1.1\r\nhost: {HOST}\r\n\r\n");
    let cases = [("", 150), ("GET / HTTP/1.1\r\nx: ", 150), (complete.as_str(), 3000)];
    for (bytes, least) in cases {
        let begun = Instant::now();
        let answer = bench.raw(bytes).await;
        assert_eq!(answer.ends_with("ok"), bytes.contains("\r\n\r\n"), "{bytes:?} was answered by {answer:?}");
        let took = begun.elapsed().as_millis();
        assert!(took >= least - 10 && took < least + 2500, "{bytes:?} was closed after {took} ms");
    }
    let mut stream = TcpStream::connect(bench.address).await.unwrap();
    stream.write_all(complete.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"ok") {
        answer.push(in_time("the answer", stream.read_u8()).await.unwrap());
    }
    stream.write_all(b"GET / HT").await.unwrap();
    let begun = Instant::now();
    assert_eq!(in_time("the end", stream.read_to_end(&mut answer)).await.unwrap(), 0);
    assert!(begun.elapsed() < Duration::from_millis(2500), "the second request's headers are limited too");
}

#[tokio::test]
async fn s09_headers_that_are_too_large_are_refused() {
    let bench = bench_with(Settings { max_header_bytes: 16 * 1024, ..Settings::default() }).await;
    bench.instance("i1", container::named("ok").await);
    bench.publish(table("r1", revision(1, &["i1"])));
    let with = |bytes: usize| {
        format!("GET / HTTP/1.1\r\nhost: {HOST}\r\nconnection: close\r\nx: {}\r\n\r\n", "x".repeat(bytes))
    };
    assert!(bench.raw(&with(12 * 1024)).await.ends_with("ok"));
    let mut stream = TcpStream::connect(bench.address).await.unwrap();
    stream.write_all(with(64 * 1024).as_bytes()).await.unwrap();
    let mut line = [0; 12];
    in_time("the refusal", stream.read_exact(&mut line)).await.unwrap();
    assert_eq!(std::str::from_utf8(&line).unwrap(), "HTTP/1.1 431");
}

#[tokio::test]
async fn s09_shutdown_lets_requests_end_and_cuts_off_the_rest() {
    let mut bench = bench_with(Settings { drain: Duration::from_millis(400), ..Settings::default() }).await;
    let (gate, address) = container::Gate::serve().await;
    bench.instance("i1", address);
    bench.publish(table("r1", revision(80, &["i1"])));
    let first = tokio::spawn(bench.http1().await.send_request(to(request(Method::GET, "/", empty()), HOST)));
    until("it is inside", || gate.inside.load(Ordering::SeqCst) == 1).await;
    let _unused = bench.http1().await;
    bench.stop();
    until("nobody is accepted", || std::net::TcpStream::connect(bench.address).is_err()).await;
    gate.let_go(1);
    assert_eq!(in_time("the answer", first).await.unwrap().unwrap().status(), 200);
    in_time("the end", &mut bench.served).await.unwrap().unwrap();
}
