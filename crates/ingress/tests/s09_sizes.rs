//! Row S09: how large bodies may be on HTTP/1, where the settings say so.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use bytes::Bytes;
use homerun_ingress::Settings;
use http::{Method, Request, Response};
use http_body_util::BodyExt;
use support::container;
use support::*;

const LIMIT: usize = 64 * 1024;

fn limited() -> Settings {
    Settings { max_http1_request: Some(LIMIT as u64), max_http1_response: Some(LIMIT as u64), ..Settings::default() }
}

/// Answers with the length of what came, or with as much as the path says.
async fn container() -> std::net::SocketAddr {
    container::serve(|request: Request<hyper::body::Incoming>| async move {
        let asked: Option<usize> = request.uri().path().trim_start_matches('/').parse().ok();
        match (asked, request.into_body().collect().await) {
            (Some(length), _) => Response::new(full(Bytes::from(vec![b'x'; length]))),
            (None, Ok(body)) => Response::new(full(Bytes::from(body.to_bytes().len().to_string()))),
            (None, Err(_)) => Response::new(full("broken off")),
        }
    })
    .await
}

#[tokio::test]
async fn s09_a_request_that_is_too_large_is_a_413_on_http1_alone() {
    let bench = bench_with(limited()).await;
    bench.instance("i1", container().await);
    bench.publish(table("r1", revision(1, &["i1"])));
    let upload = |length: usize| request(Method::POST, "/", full(Bytes::from(vec![b'x'; length])));
    assert_eq!(text(&bench.send(upload(LIMIT)).await), LIMIT.to_string());
    assert_eq!(bench.send(upload(LIMIT + 1)).await.status(), 413);
    // Without a length it shows on the way.
    let chunk = "x".repeat(LIMIT);
    let head = format!("POST / HTTP/1.1\r\nhost: {HOST}\r\ntransfer-encoding: chunked\r\n\r\n");
    let answer = bench.raw(&format!("{head}{LIMIT:x}\r\n{chunk}\r\n1\r\nx\r\n0\r\n\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");

    let mut sender = bench.http2().await;
    let large = Request::post(format!("http://{HOST}/")).body(full(Bytes::from(vec![b'x'; LIMIT * 4]))).unwrap();
    let response = in_time("headers", sender.send_request(large)).await.unwrap();
    assert_eq!(response.collect().await.unwrap().to_bytes(), (LIMIT * 4).to_string());
    until("all slots are free", || bench.load("r1").in_flight == 0).await;
}

#[tokio::test]
async fn s09_a_response_that_announces_too_much_is_a_500_on_http1_alone() {
    let mut bench = bench_with(limited()).await;
    bench.instance("i1", container().await);
    bench.publish(table("r1", revision(1, &["i1"])));
    assert_eq!(bench.get(&format!("/{LIMIT}")).await.body().len(), LIMIT);
    assert_eq!(bench.record().await.status, 200);
    assert_eq!(bench.get(&format!("/{}", LIMIT + 1)).await.status(), 500);
    let record = bench.record().await;
    assert!(record.message.unwrap().contains("Response size was too large"));
    let mut sender = bench.http2().await;
    let asked = Request::get(format!("http://{HOST}/{}", LIMIT * 2)).body(empty()).unwrap();
    let response = in_time("headers", sender.send_request(asked)).await.unwrap();
    assert_eq!(response.collect().await.unwrap().to_bytes().len(), LIMIT * 2);
    until("all slots are free", || bench.load("r1").in_flight == 0).await;
}

#[tokio::test]
async fn s09_without_a_limit_any_size_goes() {
    let bench = bench().await;
    bench.instance("i1", container().await);
    bench.publish(table("r1", revision(1, &["i1"])));
    let length = 40 << 20;
    let upload = request(Method::POST, "/", full(Bytes::from(vec![b'x'; length])));
    assert_eq!(text(&bench.send(upload).await), length.to_string());
}
