//! Row S09: bodies stream both ways, and nothing is gathered.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use homerun_ingress::{Outcome, RevisionRoute};
use http::{Method, Response};
use http_body::Frame;
use http_body_util::BodyExt;
use support::container;
use support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Notes that it was dropped.
struct Dropped(Arc<AtomicBool>, AnyBody);

impl http_body::Body for Dropped {
    type Data = Bytes;
    type Error = hyper::Error;
    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        Pin::new(&mut self.1).poll_frame(cx)
    }
}

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn s09_a_response_arrives_while_it_is_being_made() {
    let mut bench = bench().await;
    let (first, body) = piped();
    let body = Arc::new(std::sync::Mutex::new(Some(body)));
    let address = container::serve(move |_| {
        let body = body.lock().unwrap().take().unwrap();
        async move { Response::builder().header("content-type", "text/event-stream").body(body).unwrap() }
    })
    .await;
    bench.instance("i1", address);
    bench.publish(table("r1", revision(1, &["i1"])));

    let mut response = in_time("headers", bench.open(request(Method::GET, "/", empty()))).await.unwrap();
    for part in ["data: 1\n\n", "data: 2\n\n"] {
        first.send(data(part)).await.unwrap();
        let frame = in_time("a part", response.frame()).await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), part);
    }
    assert_eq!(bench.ingress.in_flight(&"i1".into()), 1, "the slot is held until the response ends");
    assert!(bench.no_more_records());
    drop(first);
    assert!(in_time("the end", response.frame()).await.is_none());
    let record = bench.record().await;
    assert_eq!((record.status, record.outcome, record.response_bytes), (200, Outcome::Served, 18));
    assert_eq!(bench.ingress.in_flight(&"i1".into()), 0);
}

#[tokio::test]
async fn s09_an_upload_streams_and_a_container_that_does_not_read_stops_the_client() {
    const CHUNK: usize = 64 * 1024;
    const TOTAL: usize = 64 * 1024 * 1024;
    let mut bench = bench().await;
    let reads = Arc::new(tokio::sync::Semaphore::new(0));
    let begin = reads.clone();
    let address = container::serve(move |request| {
        let begin = begin.clone();
        async move {
            begin.acquire().await.unwrap().forget();
            let mut body = request.into_body();
            let mut received = 0;
            while let Some(Ok(frame)) = body.frame().await {
                received += frame.data_ref().map_or(0, Bytes::len);
            }
            Response::new(full(received.to_string()))
        }
    })
    .await;
    bench.instance("i1", address);
    bench.publish(table("r1", revision(1, &["i1"])));

    let stream = TcpStream::connect(bench.address).await.unwrap();
    let (mut answer, mut upload) = stream.into_split();
    let head = format!("POST / HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: {TOTAL}\r\nconnection: close\r\n\r\n");
    upload.write_all(head.as_bytes()).await.unwrap();
    let written = Arc::new(AtomicUsize::new(0));
    let counter = written.clone();
    tokio::spawn(async move {
        let chunk = vec![b'x'; CHUNK];
        while counter.load(Ordering::SeqCst) < TOTAL {
            upload.write_all(&chunk).await.unwrap();
            counter.fetch_add(CHUNK, Ordering::SeqCst);
        }
        // Kept open: the answer is still to come.
        std::future::pending::<()>().await;
    });
    let mut before = usize::MAX;
    while before != written.load(Ordering::SeqCst) {
        before = written.load(Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    assert!(before > 0 && before < TOTAL / 2, "{before} bytes went into buffers before the client was stopped");

    reads.add_permits(1);
    let mut all = String::new();
    in_time("the answer", answer.read_to_string(&mut all)).await.unwrap();
    assert!(all.ends_with(&TOTAL.to_string()), "{all}");
    assert_eq!(bench.record().await.request_bytes as usize, TOTAL);
}

#[tokio::test]
async fn s09_a_client_that_does_not_read_stops_the_container() {
    const CHUNK: usize = 64 * 1024;
    const TOTAL: usize = 64 * 1024 * 1024;
    let bench = bench().await;
    let written = Arc::new(AtomicUsize::new(0));
    let counter = written.clone();
    let address = container::raw(move |mut stream| {
        let counter = counter.clone();
        async move {
            container::read_head(&mut stream).await;
            stream.write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: {TOTAL}\r\n\r\n").as_bytes()).await.unwrap();
            let chunk = vec![b'x'; CHUNK];
            while counter.load(Ordering::SeqCst) < TOTAL && stream.write_all(&chunk).await.is_ok() {
                counter.fetch_add(CHUNK, Ordering::SeqCst);
            }
        }
    })
    .await;
    bench.instance("i1", address);
    bench.publish(table("r1", revision(1, &["i1"])));
    let response = in_time("headers", bench.open(request(Method::GET, "/", empty()))).await.unwrap();
    let mut before = usize::MAX;
    while before != written.load(Ordering::SeqCst) {
        before = written.load(Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    assert!(before > 0 && before < TOTAL / 2, "{before} bytes went into buffers before the container was stopped");
    assert_eq!(in_time("the body", response.collect()).await.unwrap().to_bytes().len(), TOTAL);
}

#[tokio::test]
async fn s09_a_stream_that_outlasts_the_timeout_is_broken_off() {
    let mut bench = bench().await;
    let (frames, body) = piped();
    let body = Arc::new(std::sync::Mutex::new(Some(body)));
    let address = container::serve(move |_| {
        let body = body.lock().unwrap().take().unwrap();
        async move { Response::new(body) }
    })
    .await;
    bench.instance("i1", address);
    let timeout = Duration::from_millis(150);
    bench.publish(table("r1", RevisionRoute { timeout, ..revision(1, &["i1"]) }));
    let mut response = in_time("headers", bench.open(request(Method::GET, "/", empty()))).await.unwrap();
    frames.send(data("begun")).await.unwrap();
    assert!(in_time("a part", response.frame()).await.unwrap().is_ok());
    assert!(in_time("the break", response.frame()).await.unwrap().is_err());
    assert_eq!(bench.record().await.outcome, Outcome::TimedOut);
    in_time("the container is told", frames.closed()).await;
}

#[tokio::test]
async fn s09_a_client_that_stops_reading_holds_its_slot_no_longer_than_the_timeout() {
    let mut bench = bench().await;
    let address = container::raw(|mut stream| async move {
        container::read_head(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n").await;
        while stream.write_all(&[b'x'; 65536]).await.is_ok() {}
    })
    .await;
    bench.instance("i1", address);
    let timeout = Duration::from_millis(300);
    bench.publish(table("r1", RevisionRoute { timeout, ..revision(1, &["i1"]) }));
    let _stalled = in_time("headers", bench.open(request(Method::GET, "/", empty()))).await.unwrap();
    let record = bench.record().await;
    assert_eq!(record.outcome, Outcome::TimedOut);
    assert_eq!(bench.ingress.in_flight(&"i1".into()), 0);
}

#[tokio::test]
async fn s09_an_early_answer_to_an_upload_reaches_the_client() {
    let bench = bench().await;
    let address = container::serve(|_| async { Response::builder().status(413).body(full("too much")).unwrap() }).await;
    bench.instance("i1", address);
    bench.publish(table("r1", revision(1, &["i1"])));
    let (frames, body) = piped();
    let ended = Arc::new(AtomicBool::new(false));
    let body = Dropped(ended.clone(), body).boxed();
    frames.send(data("the beginning")).await.unwrap();
    let response = bench.send(request(Method::POST, "/", body)).await;
    assert_eq!((response.status().as_u16(), text(&response)), (413, "too much"));
    until("the upload is given up", || ended.load(Ordering::SeqCst)).await;
    until("the slot is free", || bench.ingress.in_flight(&"i1".into()) == 0).await;
}
