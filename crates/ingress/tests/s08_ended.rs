//! Row S08: connections that a container ends just when the next request is written to them.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use support::{HOST, bench, container, in_time, revision, table};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const CLIENTS: usize = 2;
const REQUESTS: usize = 1500;

/// Sleeping is too coarse for what is looked for here.
fn pause(turn: usize) {
    let until = Instant::now() + Duration::from_micros((turn * 37 % 150) as u64);
    while Instant::now() < until {
        std::thread::yield_now();
    }
}

/// A container that ends each connection, without a word, some moments after its second response; and how many
/// requests it has read.
async fn short_lived() -> (SocketAddr, Arc<AtomicUsize>) {
    let read = Arc::<AtomicUsize>::default();
    let counter = read.clone();
    let address = container::raw(move |mut stream| {
        let counter = counter.clone();
        async move {
            for _ in 0..2 {
                if container::read_head(&mut stream).await.is_empty() {
                    return;
                }
                counter.fetch_add(1, Ordering::SeqCst);
                stream.write_all(OK.as_bytes()).await.unwrap();
            }
            pause(counter.load(Ordering::SeqCst));
        }
    })
    .await;
    (address, read)
}

/// Sends a request again and again on one connection; how many were not answered with 200.
async fn ask(ingress: SocketAddr, request: String) -> usize {
    let mut client = TcpStream::connect(ingress).await.unwrap();
    let mut failed = 0;
    for turn in 0..REQUESTS {
        client.write_all(request.as_bytes()).await.unwrap();
        if container::read_head(&mut client).await.starts_with("HTTP/1.1 200 ") {
            client.read_exact(&mut [0; 2]).await.unwrap();
        } else {
            failed += 1;
            client = TcpStream::connect(ingress).await.unwrap();
        }
        pause(turn);
    }
    failed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn s08_a_request_that_meets_the_end_of_a_kept_connection_is_answered_and_was_read_once() {
    let traced = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01\r\n";
    for (way, header) in [("the short way", ""), ("hyper's way", traced)] {
        let (address, read) = short_lived().await;
        let mut bench = bench().await;
        bench.instance("i1", address);
        bench.publish(table("r1", revision(80, &["i1"])));
        let request = format!("GET / HTTP/1.1\r\nhost: {HOST}\r\n{header}\r\n");
        let asking: Vec<_> = (0..CLIENTS).map(|_| tokio::spawn(ask(bench.address, request.clone()))).collect();
        for _ in 0..CLIENTS * REQUESTS {
            bench.record().await;
        }
        let mut failed = 0;
        for asked in asking {
            failed += in_time("the end", asked).await.unwrap();
        }
        assert_eq!(failed, 0, "{way}");
        assert_eq!(read.load(Ordering::SeqCst), CLIENTS * REQUESTS, "{way}");
    }
}

/// A container that closes its first connection without having read its second request, which resets it; and the
/// requests that it has read.
async fn leaves_unread() -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let (read, connections) = (Arc::<Mutex<Vec<String>>>::default(), AtomicUsize::new(0));
    let list = read.clone();
    let address = container::raw(move |mut stream| {
        let (list, first) = (list.clone(), connections.fetch_add(1, Ordering::SeqCst) == 0);
        async move {
            loop {
                let head = container::read_head(&mut stream).await;
                let Some(line) = head.lines().next() else { return };
                list.lock().unwrap().push(line.to_owned());
                if head.contains("content-length: 2") {
                    stream.read_exact(&mut [0; 2]).await.unwrap();
                }
                stream.write_all(OK.as_bytes()).await.unwrap();
                if first {
                    stream.peek(&mut [0]).await.unwrap();
                    return;
                }
            }
        }
    })
    .await;
    (address, read)
}

#[tokio::test]
async fn s08_a_request_that_a_container_may_have_begun_to_read_is_sent_again_if_that_does_no_harm() {
    let body = "content-length: 2\r\n\r\nhi";
    let traced = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01\r\n";
    let cases = [
        ("GET", "\r\n".to_owned(), true),
        ("GET", format!("{traced}\r\n"), true),
        ("PUT", body.to_owned(), true),
        ("POST", body.to_owned(), false),
        ("POST", format!("{traced}content-length: 0\r\n\r\n"), false),
        // Its body is not kept.
        ("PUT", format!("{traced}{body}"), false),
    ];
    for (method, rest, again) in cases {
        let (address, read) = leaves_unread().await;
        let bench = bench().await;
        bench.instance("i1", address);
        bench.publish(table("r1", revision(80, &["i1"])));
        // A connection of its own each: what one way has begun the other does not take over.
        assert_eq!(
            bench.raw(&format!("GET /1 HTTP/1.1\r\nhost: {HOST}\r\nconnection: close\r\n\r\n")).await.get(9..12),
            Some("200")
        );
        let answer = bench.raw(&format!("{method} /2 HTTP/1.1\r\nhost: {HOST}\r\nconnection: close\r\n{rest}")).await;
        let (status, expected) = if again { ("200", 2) } else { ("503", 1) };
        assert_eq!(answer.get(9..12), Some(status), "{method} {rest:?}: {answer}");
        assert_eq!(read.lock().unwrap().len(), expected, "{method} {rest:?}");
    }
}
