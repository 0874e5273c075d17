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

/// Error codes by number (RFC 9113, section 7).
const CODES: [&str; 14] = [
    "NO_ERROR",
    "PROTOCOL_ERROR",
    "INTERNAL_ERROR",
    "FLOW_CONTROL_ERROR",
    "SETTINGS_TIMEOUT",
    "STREAM_CLOSED",
    "FRAME_SIZE_ERROR",
    "REFUSED_STREAM",
    "CANCEL",
    "COMPRESSION_ERROR",
    "CONNECT_ERROR",
    "ENHANCE_YOUR_CALM",
    "INADEQUATE_SECURITY",
    "HTTP_1_1_REQUIRED",
];

/// How a connection went: the answers, each kind of reset that came, the code that ended it, and whether it is closed. One that was
/// closed for being unused says `GOAWAY NO_ERROR`.
fn told(answer: &[u8], closed: bool) -> String {
    let code = |payload: &[u8]| {
        let number = payload.first_chunk().map_or(u32::MAX, |bytes| u32::from_be_bytes(*bytes));
        CODES.get(number as usize).copied().unwrap_or("unknown")
    };
    let (mut rest, mut words) = (answer, Vec::new());
    while let [a, b, c, kind, _, _, _, _, _, after @ ..] = rest {
        let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        let payload = after.get(..length).unwrap_or(after);
        let word = match *kind {
            // The indexes of HPACK's static table that answers begin with.
            HEADERS => match payload.first() {
                Some(0x88) => "200".to_owned(),
                Some(0x8c) => "400".to_owned(),
                _ => "another status".to_owned(),
            },
            RST_STREAM => format!("RST {}", code(payload)),
            GOAWAY => format!("GOAWAY {}", code(payload.get(4..).unwrap_or_default())),
            _ => String::new(),
        };
        if !word.is_empty() && !words.contains(&word) {
            words.push(word);
        }
        rest = after.get(length..).unwrap_or_default();
    }
    words.push(if closed { "closed" } else { "open" }.to_owned());
    words.join(", ")
}

/// Sends frames until all are sent or the connection is closed; how that went.
async fn flood(address: SocketAddr, frames: impl Iterator<Item = Vec<u8>>) -> String {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut input, mut output) = stream.into_split();
    let read = tokio::spawn(async move {
        let mut answer = Vec::new();
        let ended = tokio::time::timeout(Duration::from_secs(5), input.read_to_end(&mut answer)).await;
        told(&answer, ended.is_ok())
    });
    let begin = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    if output.write_all(&begin).await.is_ok() {
        for frame in frames {
            if output.write_all(&frame).await.is_err() {
                break;
            }
        }
    }
    read.await.unwrap()
}

fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap();
    status.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

type Frames = Box<dyn Iterator<Item = Vec<u8>> + Send>;

/// Floods and broken frames after the preface, and how that ends. Where more is sent than is read, the end may reach
/// the client as a reset of the connection alone.
fn frames() -> Vec<(&'static str, Frames, &'static str)> {
    let streams = || (0..100_000_u32).map(|number| number * 2 + 1);
    let opened = |stream| frame(HEADERS, END_HEADERS | END_STREAM, stream, &get());
    let taken_back = move |stream| [opened(stream), frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])].concat();
    let begun = || std::iter::once(frame(HEADERS, END_STREAM, 1, &get()));
    let long = [&[0x00, 1, b'a', 127, 0x81, 0x7e][..], &[b'x'; 16_000]].concat();
    let one = |frame| Box::new(std::iter::once(frame)) as Frames;
    let calm = "GOAWAY ENHANCE_YOUR_CALM, closed or closed";
    // A client that asks nothing is closed for that alone.
    let unused = "GOAWAY NO_ERROR, closed";
    vec![
        ("rapid reset: 100 000 requests, each taken back", Box::new(streams().map(taken_back)), calm),
        (
            "headers that go on for ever (CONTINUATION)",
            Box::new(begun().chain(std::iter::repeat_n(frame(CONTINUATION, 0, 1, &long), 10_000))),
            "GOAWAY PROTOCOL_ERROR, closed or closed",
        ),
        (
            "empty CONTINUATION frames for ever",
            Box::new(begun().chain(std::iter::repeat_n(frame(CONTINUATION, 0, 1, &[]), 1_000_000))),
            calm,
        ),
        (
            "more streams at once than allowed, none read",
            Box::new(streams().take(5000).map(|stream| frame(HEADERS, END_HEADERS, stream, &get()))),
            calm,
        ),
        ("100 000 PINGs", Box::new(std::iter::repeat_n(frame(PING, 0, 0, &[0; 8]), 100_000)), unused),
        ("100 000 SETTINGS", Box::new(std::iter::repeat_n(frame(SETTINGS, 0, 0, &[]), 100_000)), unused),
        ("the preface and nothing else", Box::new(std::iter::empty()), unused),
        (
            "the connection's window beyond its limit",
            one(frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff])),
            "GOAWAY FLOW_CONTROL_ERROR, closed",
        ),
        ("a window that grows by nothing", one(frame(WINDOW_UPDATE, 0, 0, &[0; 4])), "GOAWAY PROTOCOL_ERROR, closed"),
        ("DATA on a stream that is not open", one(frame(DATA, 0, 1, b"x")), "GOAWAY PROTOCOL_ERROR, closed"),
        ("a frame larger than allowed", one(frame(DATA, 0, 1, &[0; 20_000])), "GOAWAY FRAME_SIZE_ERROR, closed"),
        ("HEADERS on stream 0", one(frame(HEADERS, END_HEADERS, 0, &get())), "GOAWAY PROTOCOL_ERROR, closed"),
        ("a client's stream with an even number", one(opened(2)), "GOAWAY PROTOCOL_ERROR, closed"),
        ("CONTINUATION of nothing", one(frame(CONTINUATION, END_HEADERS, 1, &get())), "GOAWAY PROTOCOL_ERROR, closed"),
        // RFC 9113, sections 6.7 and 4.3, has codes of their own for the last two; the library gives the general one.
        (
            "a PING of 7 bytes",
            one(frame(PING, 0, 0, &[0; 7])),
            "GOAWAY FRAME_SIZE_ERROR, closed or GOAWAY PROTOCOL_ERROR, closed",
        ),
        (
            "headers that are no HPACK",
            one(frame(HEADERS, END_HEADERS, 1, &[0xff; 40])),
            "GOAWAY COMPRESSION_ERROR, closed or GOAWAY PROTOCOL_ERROR, closed",
        ),
    ]
}

/// Fields of a request as literals.
fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
    let text = |text: &str| [&[text.len() as u8][..], text.as_bytes()].concat();
    fields.iter().flat_map(|(name, value)| [vec![0x00], text(name), text(value)].concat()).collect()
}

/// What a request has that it must not: its fields, with a body or none, and how that ends.
type Hidden = (&'static str, Vec<u8>, Option<&'static [u8]>, &'static str);

/// Requests whose fields mean something else, or something more, once they are lines of HTTP/1.1.
fn requests() -> Vec<Hidden> {
    const SMUGGLED: &[u8] = b"GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n";
    // Of what cannot be read as fields at all the whole connection ends.
    let (reset, ended) = ("RST PROTOCOL_ERROR, closed", "GOAWAY PROTOCOL_ERROR, closed");
    let with = |extra: &[(&str, &str)]| [get(), fields(extra)].concat();
    let of = |method: &str, path: &str, authority: &str| {
        fields(&[(":method", method), (":scheme", "http"), (":path", path), (":authority", authority)])
    };
    vec![
        ("transfer-encoding: chunked", with(&[("transfer-encoding", "chunked")]), Some(b"0\r\n\r\n"), reset),
        ("connection: keep-alive", with(&[("connection", "keep-alive")]), None, reset),
        ("upgrade", with(&[("upgrade", "websocket")]), None, reset),
        ("te: gzip", with(&[("te", "gzip")]), None, reset),
        ("a line break in a value", with(&[("a", "b\r\ntransfer-encoding: chunked")]), None, ended),
        ("a line feed in a value", with(&[("a", "b\nx: y")]), None, ended),
        ("NUL in a value", with(&[("a", "b\0")]), None, ended),
        ("a line break in a name", with(&[("a: b\r\nx", "y")]), None, ended),
        ("a colon in a name", with(&[("a:b", "c")]), None, ended),
        ("an upper-case name", with(&[("Content-Length", "5")]), None, ended),
        ("an empty name", with(&[("", "x")]), None, ended),
        ("a length without a body", with(&[("content-length", "5")]), None, reset),
        ("a body longer than its length", with(&[("content-length", "0")]), Some(SMUGGLED), reset),
        ("a body shorter than its length", with(&[("content-length", "500")]), Some(SMUGGLED), reset),
        ("two lengths", with(&[("content-length", "0"), ("content-length", "37")]), Some(SMUGGLED), reset),
        ("a length with a sign", with(&[("content-length", "+0")]), None, reset),
        ("a line break in the path", of("GET", "/ HTTP/1.1\r\nx: y", HOST), None, reset),
        ("a space in the path", of("GET", "/ HTTP/1.1", HOST), None, reset),
        ("an empty path", of("GET", "", HOST), None, reset),
        ("a path that is none", of("GET", "x", HOST), None, reset),
        ("a line break in the method", of("GET / HTTP/1.1\r\n\r\nGET", "/", HOST), None, ended),
        ("a line break in the host", of("GET", "/", "a\r\nx: y"), None, reset),
        ("a user before the host", of("GET", "/", &format!("a@{HOST}")), None, "400, closed"),
        ("another host beside it", with(&[("host", "neighbour.test")]), None, "400, closed"),
        ("two hosts beside it", with(&[("host", HOST), ("host", HOST)]), None, "400, closed"),
        ("two paths", with(&[(":path", "/b")]), None, reset),
        ("a pseudo-header after a header", with(&[("a", "b"), (":path", "/b")]), None, reset),
        ("an unknown pseudo-header", with(&[(":a", "b")]), None, ended),
        ("a response's pseudo-header", with(&[(":status", "200")]), None, reset),
        ("CONNECT", fields(&[(":method", "CONNECT"), (":authority", HOST)]), None, "400, closed"),
        ("nothing wrong", with(&[("a", "b"), ("te", "trailers"), ("host", HOST)]), None, "200, closed"),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s09_abuse_by_clients_that_speak_http2() {
    let bench = abused().await;
    let neighbour = Neighbour::watch(&bench);
    println!("       {:<58} {:<28} got", "case", "expected");
    let (mut wrong, before) = (Vec::new(), resident());
    for (case, frames, expected) in frames() {
        let got = in_time(case, flood(bench.address, frames)).await;
        // Some of the requests among them may have been answered.
        let words = got.split(", ").filter(|word| !word.starts_with("RST") && !word.starts_with("200"));
        if !line(case, expected, &words.collect::<Vec<_>>().join(", ")) {
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
async fn s09_requests_of_http2_that_would_be_others_in_http1_go_nowhere() {
    let bench = abused().await;
    println!("       {:<58} {:<28} got", "request", "expected");
    let sent = requests().into_iter().map(async |(case, fields, body, expected)| {
        let last = if body.is_some() { 0 } else { END_STREAM };
        let head = frame(HEADERS, END_HEADERS | last, 1, &fields);
        let body = body.map(|body| frame(DATA, END_STREAM, 1, body));
        let got = in_time(case, flood(bench.address, std::iter::once(head).chain(body))).await;
        // However a stream ends, its connection is closed for being unused then.
        (case, expected, got.replace("GOAWAY NO_ERROR, ", ""))
    });
    let went = futures_util::future::join_all(sent).await;
    let wrong: Vec<_> = went.iter().filter(|(case, expected, got)| !line(case, expected, got)).collect();
    until("no request is left", || bench.load("r1").in_flight == 0).await;
    assert!(wrong.is_empty(), "{wrong:?}");
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
