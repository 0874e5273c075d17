//! Row S08: connections that a container ends just when the next request is written to them.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
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
        // A container that gets no turn for 40 ms: its kernel acknowledges what it has not read. It is seldom, where
        // one of ten failed before.
        assert!(failed <= CLIENTS * REQUESTS / 100, "{failed} failed in {way}");
        assert_eq!(read.load(Ordering::SeqCst), CLIENTS * REQUESTS - failed, "{way}");
    }
}
