//! Row S09: hosts, traffic splits, headers.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use homerun_ingress::{Outcome, Route};
use http::{HeaderValue, Method, Request, Response};
use http_body_util::BodyExt;
use support::container;
use support::*;
use tokio::sync::mpsc;

#[tokio::test]
async fn s09_the_host_decides_and_an_unknown_one_is_a_404() {
    let mut bench = bench().await;
    for name in ["old", "new", "other"] {
        bench.instance(name, container::named(name).await);
    }
    let tag = format!("next---{HOST}");
    bench.publish(tables(
        &[
            (HOST, route(&[("old", 100), ("new", 0)])),
            (&tag, route(&[("new", 100)])),
            ("o.test", route(&[("other", 100)])),
        ],
        &[("old", revision(80, &["old"])), ("new", revision(80, &["new"])), ("other", revision(80, &["other"]))],
    ));
    let upper = format!("{}:8080", HOST.to_uppercase());
    for (host, name) in [(HOST, "old"), (upper.as_str(), "old"), (tag.as_str(), "new"), ("o.test.", "other")] {
        let response = bench.send(to(request(Method::GET, "/", empty()), host)).await;
        assert_eq!(text(&response), name, "{host}");
        assert_eq!(bench.record().await.revision.unwrap().name.as_str(), name);
    }
    let response = bench.send(to(request(Method::GET, "/missing?q=1", empty()), "nobody.test")).await;
    assert_eq!(response.status(), 404);
    assert!(response.headers()["content-type"].to_str().unwrap().starts_with("text/html"));
    assert!(text(&response).contains("404 Not Found"), "{}", text(&response));
    let record = bench.record().await;
    assert_eq!((record.status, record.outcome, record.service), (404, Outcome::Refused, None));
    assert_eq!((record.host, record.path.as_str()), (HeaderValue::from_static("nobody.test"), "/missing?q=1"));
}

#[tokio::test]
async fn b08_publishing_a_service_leaves_the_others_alone_and_those_at_rest_are_not_sampled() {
    let bench = bench().await;
    for name in ["one", "two"] {
        bench.instance(name, container::named(name).await);
    }
    let other = |instances: &[&str]| {
        let route = Route { service: service("other"), ..route(&[("two", 100)]) };
        tables(&[("o.test", route)], &[("two", revision(80, instances))])
    };
    let get = async |host: &str| bench.send(to(request(Method::GET, "/", empty()), host)).await;
    bench.ingress.publish(&service("other"), other(&[]));
    bench.publish(table("one", revision(80, &["one"])));
    assert_eq!(bench.ingress.sample().into_keys().collect::<Vec<_>>(), [key("one")], "nobody asks for the other");
    bench.ingress.publish(&service("other"), other(&["two"]));
    assert_eq!((text(&get(HOST).await), text(&get("o.test").await)), ("one", "two"));
    assert_eq!(bench.load("two").arrivals, 1);
    bench.publish(tables(&[], &[]));
    assert_eq!((get(HOST).await.status().as_u16(), text(&get("o.test").await)), (404, "two"));
    assert_eq!(bench.load("two").arrivals, 2);
}

#[tokio::test]
async fn s09_a_split_is_exact_over_each_hundred_requests() {
    let bench = bench().await;
    for name in ["a", "b", "c"] {
        bench.instance(name, container::named(name).await);
    }
    let split = tables(
        &[(HOST, route(&[("a", 90), ("b", 7), ("c", 3)]))],
        &[("a", revision(80, &["a"])), ("b", revision(80, &["b"])), ("c", revision(80, &["c"]))],
    );
    bench.publish(split.clone());
    let mut sender = bench.http1().await;
    let mut counts: HashMap<Bytes, u32> = HashMap::new();
    for turn in 0..200 {
        if turn % 9 == 0 {
            // Publishing the same again does not begin the split anew.
            bench.publish(split.clone());
        }
        sender.ready().await.unwrap();
        let response = sender.send_request(to(request(Method::GET, "/", empty()), HOST)).await.unwrap();
        *counts.entry(response.collect().await.unwrap().to_bytes()).or_default() += 1;
    }
    assert_eq!(["a", "b", "c"].map(|name| counts[name.as_bytes()]), [180, 14, 6]);
}

#[tokio::test]
async fn s09_connections_to_instances_are_used_again() {
    let bench = bench().await;
    bench.instance("i1", container::named("ok").await);
    bench.publish(table("r1", revision(80, &["i1"])));
    for _ in 0..20 {
        assert_eq!(bench.get("/").await.status(), 200);
    }
    assert_eq!(bench.machines.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn s09_a_container_sees_the_client_and_the_trace_and_no_headers_of_the_hop() {
    let mut bench = bench().await;
    let (sender, mut heads) = mpsc::channel(8);
    let address = container::serve(move |request| {
        sender.try_send((request.uri().clone(), request.headers().clone())).unwrap();
        async { Response::builder().header("keep-alive", "timeout=9").header("x-own", "1").body(full("ok")).unwrap() }
    })
    .await;
    bench.instance("i1", address);
    bench.publish(table("r1", revision(1, &["i1"])));
    let given = Request::get("/a%20b?c=d")
        .header("x-forwarded-for", "192.0.2.9")
        .header("connection", "x-secret")
        .header("x-secret", "1")
        .header("user-agent", "tester/1")
        .header("x-cloud-trace-context", "105445aa7843bc8bf206b12000100000/9;o=1");
    let response = bench.send(given.body(empty()).unwrap()).await;
    assert_eq!(response.headers()["x-own"], "1");
    assert!(!response.headers().contains_key("keep-alive"));
    let (uri, headers) = heads.recv().await.unwrap();
    assert_eq!(uri, "/a%20b?c=d");
    assert_eq!(headers["host"], HOST);
    assert_eq!(headers["x-forwarded-for"], "192.0.2.9, 127.0.0.1");
    assert_eq!(headers["x-forwarded-proto"], "http");
    assert_eq!(headers["forwarded"], "for=\"127.0.0.1\";proto=http");
    assert_eq!(headers["x-cloud-trace-context"], "105445aa7843bc8bf206b12000100000/9;o=1");
    assert_eq!(headers["traceparent"], "00-105445aa7843bc8bf206b12000100000-0000000000000009-01");
    assert!(!headers.contains_key("x-secret") && !headers.contains_key("connection"));

    let record = bench.record().await;
    assert_eq!(record.trace.trace_id, 0x1054_45aa_7843_bc8b_f206_b120_0010_0000);
    assert_eq!(record.service.as_deref(), Some(&service("hello")));
    assert_eq!(record.revision.as_deref(), Some(&key("r1")));
    assert_eq!(record.instance.unwrap().as_str(), "i1");
    assert_eq!((record.method, record.path.as_str()), (Method::GET, "/a%20b?c=d"));
    assert_eq!((record.status, record.response_bytes, record.cold_start), (200, 2, false));
    assert_eq!(record.user_agent.unwrap(), "tester/1");
    assert!(record.remote.ip().is_loopback());
}

#[tokio::test]
async fn s09_head_and_empty_responses_keep_their_headers() {
    let bench = bench().await;
    let address = container::serve(|request| async move {
        let status = if request.uri().path() == "/none" { 204 } else { 200 };
        let body = if status == 204 { empty() } else { full("twelve bytes") };
        Response::builder().status(status).body(body).unwrap()
    })
    .await;
    bench.instance("i1", address);
    bench.publish(table("r1", revision(1, &["i1"])));
    let response = bench.send(request(Method::HEAD, "/", empty())).await;
    assert_eq!((response.headers()["content-length"].as_bytes(), response.body().len()), (&b"12"[..], 0));
    assert_eq!(bench.get("/none").await.status(), 204);
    let unknown = bench.send(to(request(Method::HEAD, "/", empty()), "nobody.test")).await;
    assert_eq!((unknown.status().as_u16(), unknown.body().len()), (404, 0));
    until("the slots are free", || bench.ingress.in_flight(&"i1".into()) == 0).await;
}

#[tokio::test]
async fn s09_every_form_of_target_reaches_the_container() {
    let bench = bench().await;
    let address = container::serve(|request| async move {
        let seen = format!("{} {}", request.method(), request.uri());
        Response::new(full(seen))
    })
    .await;
    bench.instance("one", address);
    bench.instance("two", address);
    bench.publish(tables(
        &[("one.test", route(&[("one", 100)])), ("two.test", route(&[("two", 100)]))],
        &[("one", revision(80, &["one"])), ("two", h2c(&["two"]))],
    ));
    let forms = [
        ("GET http://one.test?x=1", "GET /?x=1"),
        ("GET http://one.test", "GET /"),
        ("OPTIONS *", "OPTIONS *"),
        ("GET //double//", "GET //double//"),
        ("GET http://two.test?x=1", "GET http://two.test/?x=1"),
    ];
    for (line, seen) in forms {
        let answer = bench.raw(&format!("{line} HTTP/1.1\r\nhost: one.test\r\nconnection: close\r\n\r\n")).await;
        assert!(answer.ends_with(&format!("\r\n\r\n{seen}")), "{line}: {answer}");
    }
    let answer = bench.raw("OPTIONS * HTTP/1.1\r\nhost: two.test\r\nconnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}
