//! Row S09: plain requests, which take the short way, beside others that do not.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use homerun_ingress::{Outcome, RevisionRoute, Settings};
use http::{Method, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use support::{HOST, bench, container, full, h2c, in_time, revision, route, table, tables, text};

/// A container that answers with what was asked of it.
async fn echo() -> std::net::SocketAddr {
    container::serve(|request| async move {
        use http_body_util::BodyExt;

        let (parts, body) = request.into_parts();
        let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        Response::new(full(format!("{} {} [{}]", parts.method, parts.uri, String::from_utf8_lossy(&body))))
    })
    .await
}

/// Reads a response that says its length off a raw connection; its body.
async fn response(stream: &mut TcpStream) -> String {
    let head = container::read_head(stream).await.to_ascii_lowercase();
    let length = head.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
    let mut body = vec![0; length.unwrap_or("0").parse().unwrap()];
    stream.read_exact(&mut body).await.unwrap();
    String::from_utf8(body).unwrap()
}

#[tokio::test]
async fn s09_a_connection_brings_plain_requests_and_others_in_any_order() {
    let mut bench = bench().await;
    bench.instance("i1", echo().await);
    bench.publish(table("r1", revision(80, &["i1"])));
    let mut client = TcpStream::connect(bench.address).await.unwrap();
    let host = format!("host: {HOST}\r\n");
    let trace = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01\r\n";
    let steps = [
        (format!("GET /1 HTTP/1.1\r\n{host}\r\n"), "GET /1 []"),
        (format!("POST /2 HTTP/1.1\r\n{host}content-length: 4\r\n\r\nbody"), "POST /2 [body]"),
        (format!("GET /3 HTTP/1.1\r\n{host}\r\n"), "GET /3 []"),
        (format!("GET /4 HTTP/1.1\r\n{host}{trace}\r\n"), "GET /4 []"),
        (format!("GET /5 HTTP/1.1\r\n{host}\r\n"), "GET /5 []"),
        (format!("POST /6 HTTP/1.1\r\n{host}transfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"), "POST /6 [ok]"),
    ];
    for (request, expected) in &steps {
        client.write_all(request.as_bytes()).await.unwrap();
        assert_eq!(in_time(expected, response(&mut client)).await, *expected);
        let record = bench.record().await;
        assert_eq!((record.outcome, record.status), (Outcome::Served, 200), "{expected}");
        assert_eq!(record.response_bytes as usize, expected.len());
    }
    // Two at once, of which the first has to be answered first; and one that comes in pieces.
    let mut client = TcpStream::connect(bench.address).await.unwrap();
    let two = format!("GET /7 HTTP/1.1\r\n{host}\r\nGET /8 HTTP/1.1\r\n{host}\r\n");
    client.write_all(two.as_bytes()).await.unwrap();
    assert_eq!(in_time("7", response(&mut client)).await, "GET /7 []");
    assert_eq!(in_time("8", response(&mut client)).await, "GET /8 []");
    let mut client = TcpStream::connect(bench.address).await.unwrap();
    for piece in ["GET /9 HT", "TP/1.1\r\nho", &host[2..], "\r", "\n"] {
        client.write_all(piece.as_bytes()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(in_time("9", response(&mut client)).await, "GET /9 []");
}

#[tokio::test]
async fn s09_a_split_between_protocols_is_exact_too() {
    let bench = bench().await;
    bench.instance("a", container::named("a").await);
    bench.instance("b", container::named("b").await);
    bench
        .publish(tables(&[(HOST, route(&[("a", 50), ("b", 50)]))], &[("a", revision(80, &["a"])), ("b", h2c(&["b"]))]));
    let mut counts = [0, 0];
    for _ in 0..20 {
        // Each on a connection of its own.
        counts[usize::from(text(&bench.get("/").await) == "b")] += 1;
    }
    assert_eq!(counts, [10, 10]);
    assert_eq!((bench.load("a").arrivals, bench.load("b").arrivals), (10, 10));
}

#[tokio::test]
async fn s09_a_container_that_serves_one_connection_at_a_time_serves_both_ways() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            while container::read_head(&mut stream).await.ends_with("\r\n\r\n") {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
            }
        }
    });
    let bench = bench().await;
    bench.instance("i1", address);
    bench.publish(table("r1", revision(80, &["i1"])));
    for turn in 0..6 {
        let mut request = support::request(Method::GET, "/", support::empty());
        if turn % 2 == 1 {
            request.headers_mut().insert("x-forwarded-for", "192.0.2.1".parse().unwrap());
        }
        assert_eq!(in_time("a request", bench.send(request)).await.status(), 200, "{turn}");
    }
}

#[tokio::test]
async fn s09_a_response_may_come_in_any_pieces() {
    let bodies = [
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\na: b\r\n\r\n",
        "HTTP/1.0 200 OK\r\n\r\nhello",
    ];
    let bench = bench().await;
    for (number, answer) in bodies.into_iter().enumerate() {
        let address = container::raw(move |mut stream| async move {
            container::read_head(&mut stream).await;
            for byte in answer.as_bytes() {
                stream.write_all(&[*byte]).await.unwrap();
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
        let name = ["i0", "i1", "i2"][number];
        bench.instance(name, address);
        bench.publish(table("r1", revision(80, &[name])));
        let response = in_time(answer, bench.get("/")).await;
        assert_eq!((response.status().as_u16(), text(&response)), (200, "hello"), "{answer}");
    }
}

#[tokio::test]
async fn s09_a_large_response_waits_for_a_slow_client_and_not_in_memory() {
    const SIZE: usize = 64 << 20;
    let sent = Arc::new(AtomicUsize::new(0));
    let count = sent.clone();
    let address = container::raw(move |mut stream| {
        let count = count.clone();
        async move {
            container::read_head(&mut stream).await;
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {SIZE}\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            let piece = vec![b'x'; 1 << 16];
            while count.load(Ordering::SeqCst) < SIZE && stream.write_all(&piece).await.is_ok() {
                count.fetch_add(piece.len(), Ordering::SeqCst);
            }
        }
    })
    .await;
    let mut bench = bench().await;
    bench.instance("i1", address);
    bench.publish(table("r1", revision(80, &["i1"])));
    let mut client = TcpStream::connect(bench.address).await.unwrap();
    client.write_all(format!("GET / HTTP/1.1\r\nhost: {HOST}\r\n\r\n").as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let before = sent.load(Ordering::SeqCst);
    assert!(before < SIZE / 2, "the container got rid of {before} bytes that nobody reads");
    container::read_head(&mut client).await;
    let mut body = Vec::new();
    in_time("the body", (&mut client).take(SIZE as u64).read_to_end(&mut body)).await.unwrap();
    assert!(body.len() == SIZE && body.iter().all(|byte| *byte == b'x'));
    let record = bench.record().await;
    assert_eq!((record.outcome, record.response_bytes), (Outcome::Served, SIZE as u64));
}

#[tokio::test]
async fn s09_a_client_that_leaves_takes_its_request_with_it() {
    let (gate, address) = container::Gate::serve().await;
    let mut bench = bench().await;
    bench.instance("i1", address);
    bench.publish(table("r1", revision(1, &["i1"])));
    let mut client = TcpStream::connect(bench.address).await.unwrap();
    client.write_all(format!("GET /gone HTTP/1.1\r\nhost: {HOST}\r\n\r\n").as_bytes()).await.unwrap();
    support::until("it is served", || gate.seen() == ["/gone"]).await;
    drop(client);
    support::until("the slot is free", || bench.load("r1").in_flight == 0).await;
    support::until("the container knows", || gate.inside.load(Ordering::SeqCst) == 0).await;
    let record = bench.record().await;
    assert_eq!((record.outcome, record.status), (Outcome::ClientGone, 499));
}

#[tokio::test]
async fn s09_a_client_that_reads_no_refusals_is_left() {
    let bench = bench().await;
    let mut client = TcpStream::connect(bench.address).await.unwrap();
    let request = b"GET / HTTP/1.1\r\nhost: nobody.test\r\n\r\n";
    let ended = async {
        // One by one, until neither side takes any more; then the connection is closed.
        while client.write_all(request).await.is_ok() {
            tokio::time::sleep(Duration::from_micros(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), ended).await.expect("it is closed");
}

#[tokio::test]
async fn s09_each_request_of_a_connection_has_its_time() {
    let silent = container::raw(|mut stream| async move {
        container::read_head(&mut stream).await;
        std::future::pending::<()>().await;
    })
    .await;
    let bench = bench().await;
    bench.instance("i1", silent);
    bench.instance("i2", container::named("ok").await);
    let mut client = TcpStream::connect(bench.address).await.unwrap();
    for (millis, name, expected) in [
        (80, "i1", "upstream request timeout"),
        (9000, "i2", "ok"),
        (80, "i1", "upstream request timeout"),
        (120, "i1", "upstream request timeout"),
    ] {
        let brief = RevisionRoute { timeout: Duration::from_millis(millis), ..revision(80, &[name]) };
        bench.publish(table("r1", brief));
        client.write_all(format!("GET / HTTP/1.1\r\nhost: {HOST}\r\n\r\n").as_bytes()).await.unwrap();
        assert_eq!(in_time("an answer", response(&mut client)).await, expected);
    }
}

#[tokio::test]
async fn s09_a_container_that_only_announces_its_response_is_left() {
    let endless = container::raw(|mut stream| async move {
        container::read_head(&mut stream).await;
        let announced = "HTTP/1.1 102 Processing\r\n\r\n".repeat(1000);
        while stream.write_all(announced.as_bytes()).await.is_ok() {}
    })
    .await;
    let bench = bench().await;
    bench.instance("i1", endless);
    bench.publish(table("r1", revision(80, &["i1"])));
    assert_eq!(in_time("an answer", bench.get("/")).await.status(), 503);
    support::until("the slot is free", || bench.load("r1").in_flight == 0).await;
}

#[tokio::test]
async fn s09_what_a_container_says_before_it_is_asked_is_no_answer() {
    // Each connection takes one request; then it says goodbye in its own words and is closed.
    let address = container::raw(|mut stream| async move {
        container::read_head(&mut stream).await;
        let (answer, goodbye) =
            ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", "HTTP/1.1 408 Late\r\ncontent-length: 0\r\n\r\n");
        stream.write_all(answer.as_bytes()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
        let _ = stream.write_all(goodbye.as_bytes()).await;
    })
    .await;
    let bench = bench().await;
    bench.instance("i1", address);
    bench.publish(table("r1", revision(80, &["i1"])));
    for _ in 0..5 {
        assert_eq!(in_time("an answer", bench.get("/")).await.status(), 200);
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
}

#[tokio::test]
async fn s09_a_connection_to_an_instance_that_no_request_uses_is_closed_in_time() {
    let kept = Duration::from_millis(500);
    let (begun, ended) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (opened, closed) = (begun.clone(), ended.clone());
    let address = container::raw(move |mut stream| {
        let (opened, closed) = (opened.clone(), closed.clone());
        async move {
            opened.fetch_add(1, Ordering::SeqCst);
            // Until nothing comes any more.
            while container::read_head(&mut stream).await.ends_with("\r\n\r\n") {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
            }
            closed.fetch_add(1, Ordering::SeqCst);
        }
    })
    .await;
    let bench = support::bench_with(Settings { keep_alive: kept, ..Settings::default() }).await;
    bench.instance("i1", address);
    bench.publish(table("r1", revision(80, &["i1"])));
    for _ in 0..2 {
        assert_eq!(in_time("an answer", bench.get("/")).await.status(), 200);
    }
    let since = std::time::Instant::now();
    // Nobody but who asks for the load comes by.
    support::until("it is closed", || bench.load("r1").in_flight == 0 && ended.load(Ordering::SeqCst) == 1).await;
    // The clock that measures it may be some milliseconds behind.
    assert!(since.elapsed() + Duration::from_millis(20) >= kept, "{:?}", since.elapsed());
    assert_eq!(begun.load(Ordering::SeqCst), 1, "it took the second request too");
}

#[tokio::test]
async fn s09_a_request_that_leaves_the_short_way_while_homerun_ends_is_answered() {
    let mut bench = bench().await;
    bench.publish(table("r1", revision(80, &[])));
    let mut client = TcpStream::connect(bench.address).await.unwrap();
    client.write_all(format!("GET / HTTP/1.1\r\nhost: {HOST}\r\n\r\n").as_bytes()).await.unwrap();
    support::until("it waits", || bench.load("r1").waiting == 1).await;
    bench.stop();
    tokio::time::sleep(Duration::from_millis(100)).await;
    // Its service has a new revision by now, which speaks HTTP/2.
    bench.instance("i2", container::named("two").await);
    bench.publish(table("r2", h2c(&["i2"])));
    assert_eq!(in_time("an answer", response(&mut client)).await, "two");
    assert_eq!(in_time("the end", client.read(&mut [0])).await.unwrap(), 0);
    in_time("homerun's end", &mut bench.served).await.unwrap().unwrap();
}
