//! Row S09: floods of HTTP/2 frames, and thousands of connections that do nothing.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::net::SocketAddr;
use std::time::Duration;

use support::abuse::{Neighbour, abused, line};
use support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// Memory of this process that a flood may add, the test's own part included.
const BOUND: usize = 64 << 20;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = payload.len() as u32;
    [&length.to_be_bytes()[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// `GET /` by the static table's indexes; the host is a literal.
fn get() -> Vec<u8> {
    [&[0x82, 0x84, 0x86, 0x01, HOST.len() as u8][..], HOST.as_bytes()].concat()
}

/// Sends frames until all are sent or the connection is closed, reading nothing but how it ends.
async fn flood(address: SocketAddr, frames: impl Iterator<Item = Vec<u8>>) -> String {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut input, mut output) = stream.into_split();
    let read = tokio::spawn(async move {
        let mut answer = Vec::new();
        let ended = tokio::time::timeout(Duration::from_secs(5), input.read_to_end(&mut answer)).await;
        (answer, ended.is_ok())
    });
    let begin = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    if output.write_all(&begin).await.is_ok() {
        for frame in frames {
            if output.write_all(&frame).await.is_err() {
                break;
            }
        }
    }
    let (answer, closed) = read.await.unwrap();
    let mut rest = &answer[..];
    let mut goaway = "";
    while let [a, b, c, kind, ..] = *rest {
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        if kind == GOAWAY {
            goaway = "GOAWAY, ";
        }
        rest = rest.get(9 + length..).unwrap_or_default();
    }
    format!("{goaway}{}", if closed { "closed" } else { "open" })
}

fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap();
    status.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

type Frames = Box<dyn Iterator<Item = Vec<u8>> + Send>;

/// What is sent after the preface, and how that ends.
fn cases() -> Vec<(&'static str, Frames, &'static str)> {
    let streams = || (0..100_000_u32).map(|number| number * 2 + 1);
    let opened = |stream| frame(HEADERS, END_HEADERS | END_STREAM, stream, &get());
    let continuations = std::iter::once(frame(HEADERS, END_STREAM, 1, &get())).chain(std::iter::repeat_n(
        frame(CONTINUATION, 0, 1, &[&[0x00, 1, b'a', 127, 0x81, 0x7e][..], &[b'x'; 16_000]].concat()),
        10_000,
    ));
    vec![
        (
            "rapid reset: 100 000 requests, each taken back",
            Box::new(
                streams().map(move |stream| [opened(stream), frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])].concat()),
            ),
            "GOAWAY, closed or closed",
        ),
        ("headers that go on for ever (CONTINUATION)", Box::new(continuations), "GOAWAY, closed or closed"),
        (
            "empty CONTINUATION frames for ever",
            Box::new(
                std::iter::once(frame(HEADERS, END_STREAM, 1, &get()))
                    .chain(std::iter::repeat_n(frame(CONTINUATION, 0, 1, &[]), 1_000_000)),
            ),
            "GOAWAY, closed or closed",
        ),
        (
            "more streams at once than allowed, none read",
            Box::new(streams().take(5000).map(move |stream| frame(HEADERS, END_HEADERS, stream, &get()))),
            "GOAWAY, closed or closed",
        ),
        (
            "100 000 PINGs, then silence",
            Box::new(std::iter::repeat_n(frame(PING, 0, 0, &[0; 8]), 100_000)),
            "GOAWAY, closed or closed",
        ),
        (
            "100 000 SETTINGS, then silence",
            Box::new(std::iter::repeat_n(frame(SETTINGS, 0, 0, &[]), 100_000)),
            "GOAWAY, closed or closed",
        ),
        (
            "a stream's window beyond its limit",
            Box::new([frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff])].into_iter()),
            "GOAWAY, closed or closed",
        ),
        (
            "DATA on a stream that is not open",
            Box::new([frame(DATA, 0, 1, b"x")].into_iter()),
            "GOAWAY, closed or closed",
        ),
        (
            "a frame larger than allowed",
            Box::new([frame(DATA, 0, 1, &[0; 20_000])].into_iter()),
            "GOAWAY, closed or closed",
        ),
        (
            "HEADERS on stream 0",
            Box::new([frame(HEADERS, END_HEADERS, 0, &get())].into_iter()),
            "GOAWAY, closed or closed",
        ),
        (
            "headers that are no HPACK",
            Box::new([frame(HEADERS, END_HEADERS, 1, &[0xff; 40])].into_iter()),
            "GOAWAY, closed or closed",
        ),
        ("the preface and nothing else", Box::new(std::iter::empty()), "GOAWAY, closed or closed"),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s09_abuse_by_clients_that_speak_http2() {
    let bench = abused().await;
    let neighbour = Neighbour::watch(&bench);
    println!("       {:<58} {:<28} got", "case", "expected");
    let (mut wrong, before) = (Vec::new(), resident());
    for (case, frames, expected) in cases() {
        let got = in_time(case, flood(bench.address, frames)).await;
        if !line(case, expected, &got) {
            wrong.push(case);
        }
        until("no request is left", || bench.load("r1").in_flight == 0).await;
    }
    let grown = resident().saturating_sub(before);
    println!("       memory that was added: {} MiB", grown >> 20);
    neighbour.was_served().await;
    assert!(wrong.is_empty(), "{wrong:?}");
    assert!(grown < BOUND, "{grown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s09_thousands_of_idle_connections_cost_little_and_are_closed() {
    const CONNECTIONS: usize = 2000;
    let bench = abused().await;
    let neighbour = Neighbour::watch(&bench);
    let before = resident();
    let mut open = Vec::with_capacity(CONNECTIONS);
    for _ in 0..CONNECTIONS {
        open.push(TcpStream::connect(bench.address).await.unwrap());
    }
    let each = resident().saturating_sub(before) / CONNECTIONS;
    println!("       {CONNECTIONS} idle connections: {} KiB each, both sides", each >> 10);
    assert!(each < 40 << 10, "{each}");
    for mut stream in open {
        let ended = in_time("an idle connection's end", stream.read(&mut [0; 1])).await;
        assert!(matches!(ended, Ok(0)) || ended.is_err(), "nothing is said to who asks nothing");
    }
    neighbour.was_served().await;
}
