//! Row S09: HTTP/1.1, HTTP/2, trailers, WebSocket.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use homerun_ingress::Outcome;
use http::{HeaderValue, Method, Request, Response, Version};
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use support::container;
use support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Echoes a body and its trailers, and answers with trailers of its own.
async fn grpc_like(request: Request<hyper::body::Incoming>) -> Response<AnyBody> {
    assert_eq!(request.version(), Version::HTTP_2);
    assert_eq!(request.headers()["te"], "trailers");
    assert_eq!(request.uri().authority().unwrap(), HOST);
    let (frames, body) = piped();
    tokio::spawn(async move {
        let mut body = request.into_body();
        while let Some(Ok(frame)) = body.frame().await {
            if frame.is_data() && frames.send(frame).await.is_err() {
                return;
            }
        }
        let _ = frames.send(trailers("grpc-status", "0")).await;
    });
    Response::builder().header("content-type", "application/grpc").body(body).unwrap()
}

#[tokio::test]
async fn s09_http2_goes_through_both_ways_with_trailers() {
    let mut bench = bench().await;
    bench.instance("i1", container::serve(grpc_like).await);
    bench.publish(table("r1", h2c(&["i1"])));
    let mut sender = bench.http2().await;
    let mut calls = Vec::new();
    for _ in 0..10 {
        let (frames, body) = piped();
        let request =
            Request::post(format!("http://{HOST}/pkg.Service/Chat")).header("te", "trailers").body(body).unwrap();
        let mut response = in_time("headers", sender.send_request(request)).await.unwrap();
        assert_eq!((response.status().as_u16(), response.version()), (200, Version::HTTP_2));
        for part in ["ping", "pong"] {
            frames.send(data(part)).await.unwrap();
            let frame = in_time("the echo", response.frame()).await.unwrap().unwrap();
            assert_eq!(frame.into_data().unwrap(), part);
        }
        calls.push((frames, response));
    }
    assert_eq!(bench.ingress.in_flight(&"i1".into()), 10);
    assert_eq!(bench.machines.connections.load(Ordering::SeqCst), 1, "calls share a connection");
    for (frames, mut response) in calls {
        drop(frames);
        let end = in_time("the trailers", response.frame()).await.unwrap().unwrap();
        assert_eq!(end.into_trailers().unwrap()["grpc-status"], "0");
        assert!(in_time("the end", response.frame()).await.is_none());
        let record = bench.record().await;
        assert_eq!((record.outcome, record.response_bytes, record.request_bytes), (Outcome::Served, 8, 8));
    }
}

#[tokio::test]
async fn s09_http1_and_http2_translate_into_each_other() {
    let bench = bench().await;
    let echo = |request: Request<hyper::body::Incoming>| async move {
        let version = format!("{:?} {}", request.version(), request.headers().contains_key("cookie"));
        let cookie = request.headers().get("cookie").cloned().unwrap_or(HeaderValue::from_static(""));
        let body = request.collect().await.unwrap().to_bytes();
        Response::builder()
            .header("x-version", version)
            .header("x-cookie", cookie)
            .header("connection", "keep-alive")
            .body(full(body))
            .unwrap()
    };
    let address = container::serve(echo).await;
    bench.instance("one", address);
    bench.instance("two", address);
    bench.publish(tables(
        &[("one.test", route(&[("one", 100)])), ("two.test", route(&[("two", 100)]))],
        &[("one", revision(80, &["one"])), ("two", h2c(&["two"]))],
    ));
    let response = bench.send(to(request(Method::POST, "/", full("up")), "two.test")).await;
    assert_eq!((response.headers()["x-version"].to_str().unwrap(), text(&response)), ("HTTP/2.0 false", "up"));

    let mut sender = bench.http2().await;
    let mut down = Request::post("http://one.test/").body(full("down")).unwrap();
    down.headers_mut().append("cookie", HeaderValue::from_static("a=1"));
    down.headers_mut().append("cookie", HeaderValue::from_static("b=2"));
    let response = in_time("headers", sender.send_request(down)).await.unwrap();
    assert_eq!(response.headers()["x-version"], "HTTP/1.1 true");
    assert_eq!(response.headers()["x-cookie"], "a=1; b=2");
    assert!(!response.headers().contains_key("connection"));
    assert_eq!(response.collect().await.unwrap().to_bytes(), "down");
}

#[tokio::test]
async fn s09_http1_trailers_pass_to_a_client_that_takes_them() {
    let bench = bench().await;
    let address = container::raw(|mut stream| async move {
        container::read_head(&mut stream).await;
        let answer =
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n2\r\nok\r\n0\r\nx-sum: 7\r\n\r\n";
        stream.write_all(answer.as_bytes()).await.unwrap();
    })
    .await;
    bench.instance("i1", address);
    bench.publish(table("r1", revision(1, &["i1"])));
    let answer =
        bench.raw(&format!("GET / HTTP/1.1\r\nhost: {HOST}\r\nte: trailers\r\nconnection: te, close\r\n\r\n")).await;
    assert!(answer.ends_with("2\r\nok\r\n0\r\nx-sum: 7\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn s09_a_websocket_is_carried_both_ways_and_holds_its_slot() {
    let mut bench = bench().await;
    let address = container::serve(|mut request| async move {
        assert_eq!(request.headers()["upgrade"], "websocket");
        assert_eq!(request.headers()["sec-websocket-key"], "key");
        let upgraded = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let mut stream = TokioIo::new(upgraded.await.unwrap());
            let mut word = [0; 4];
            while stream.read_exact(&mut word).await.is_ok() {
                word.reverse();
                stream.write_all(&word).await.unwrap();
            }
        });
        let accepted = Response::builder().status(101).header("connection", "upgrade").header("upgrade", "websocket");
        accepted.header("sec-websocket-accept", "accept").body(empty()).unwrap()
    })
    .await;
    bench.instance("i1", address);
    bench.publish(table("r1", revision(1, &["i1"])));
    let ask = Request::get("/chat")
        .header("connection", "keep-alive, Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-key", "key");
    let mut response = in_time("the 101", bench.open(ask.body(empty()).unwrap())).await.unwrap();
    assert_eq!(response.status(), 101);
    assert_eq!(response.headers()["sec-websocket-accept"], "accept");
    let mut stream = TokioIo::new(hyper::upgrade::on(&mut response).await.unwrap());
    for (word, reversed) in [(b"ping", b"gnip"), (b"abcd", b"dcba")] {
        stream.write_all(word).await.unwrap();
        let mut answer = [0; 4];
        in_time("the echo", stream.read_exact(&mut answer)).await.unwrap();
        assert_eq!(&answer, reversed);
    }
    assert_eq!(bench.ingress.in_flight(&"i1".into()), 1);
    drop(stream);
    let record = bench.record().await;
    assert_eq!((record.status, record.request_bytes, record.response_bytes), (101, 8, 8));
    until("the slot is free", || bench.ingress.in_flight(&"i1".into()) == 0).await;
}

#[tokio::test]
async fn s09_a_tunnel_waits_for_slow_sides_and_carries_last_words() {
    const SIZE: usize = 8 << 20;
    let words: Arc<Vec<u8>> = Arc::new((0..SIZE).map(|at| (at / 7 % 251) as u8).collect());
    let (given, taken) = (words.clone(), Arc::new(AtomicUsize::new(0)));
    let count = taken.clone();
    let address = container::raw(move |mut stream| {
        let (words, count) = (given.clone(), count.clone());
        async move {
            container::read_head(&mut stream).await;
            let accepted = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: own\r\n\r\n";
            stream.write_all(accepted).await.unwrap();
            tokio::time::sleep(Duration::from_millis(300)).await;
            let (mut heard, mut piece) = (Vec::new(), vec![0; 1 << 16]);
            while let Ok(read @ 1..) = stream.read(&mut piece).await {
                heard.extend_from_slice(&piece[..read]);
                count.fetch_add(read, Ordering::SeqCst);
            }
            assert!(heard == *words, "{} bytes are not what was said", heard.len());
            stream.write_all(&heard).await.unwrap();
        }
    })
    .await;
    let mut bench = bench().await;
    bench.instance("i1", address);
    bench.publish(table("r1", revision(1, &["i1"])));
    let mut client = TcpStream::connect(bench.address).await.unwrap();
    let ask = format!("GET / HTTP/1.1\r\nhost: {HOST}\r\nconnection: upgrade\r\nupgrade: own\r\n\r\n");
    client.write_all(ask.as_bytes()).await.unwrap();
    assert!(container::read_head(&mut client).await.starts_with("HTTP/1.1 101 "));
    in_time("all is said", client.write_all(&words)).await.unwrap();
    client.shutdown().await.unwrap();
    until("the container has heard it", || taken.load(Ordering::SeqCst) == SIZE).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mut echo = Vec::new();
    in_time("the echo", client.read_to_end(&mut echo)).await.unwrap();
    assert!(echo == *words, "{} bytes are not what was said", echo.len());
    let record = bench.record().await;
    assert_eq!((record.outcome, record.request_bytes), (Outcome::Served, SIZE as u64));
    assert_eq!(record.response_bytes, SIZE as u64);
}
