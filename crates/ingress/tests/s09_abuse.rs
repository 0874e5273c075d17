//! Row S09: what bad clients and bad containers try, as a table: case, expected, got.
//!
//! `cargo test --package homerun-ingress --test s09_abuse -- --nocapture` shows it. While each case runs, a neighbour's
//! requests must be answered as ever.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use support::abuse::{Neighbour, abused, line};
use support::container;
use support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What came of sending bytes: the statuses of the answers, and whether the connection was closed.
async fn send(address: SocketAddr, pieces: &[&[u8]]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    for piece in pieces {
        // It may have been closed already.
        if stream.write_all(piece).await.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut answer = Vec::new();
    let closed = tokio::time::timeout(Duration::from_secs(2), stream.read_to_end(&mut answer)).await.is_ok();
    let text = String::from_utf8_lossy(&answer);
    let mut got = String::new();
    for (at, _) in text.match_indices("HTTP/1.1 ") {
        write!(got, "{} ", &text[at + 9..at + 12]).unwrap();
    }
    got + if closed { "closed" } else { "open" }
}

/// What is sent on a connection, and how that ends.
fn cases() -> Vec<(&'static str, String, &'static str)> {
    let head = format!("POST / HTTP/1.1\r\nhost: {HOST}\r\n");
    let long = "x".repeat(64 * 1024);
    let many: String = (0..1000).map(|number| format!("h{number}: 1\r\n")).collect();
    let smuggled = format!("GET /smuggled HTTP/1.1\r\nhost: {HOST}\r\n\r\n");
    let both = "content-length: 4\r\ntransfer-encoding: chunked\r\n";
    let chunked = "transfer-encoding: chunked\r\n\r\n";
    // One answer at most: what follows it is never taken for another request.
    vec![
        ("CL and TE", format!("{head}{both}\r\n0\r\n\r\n{smuggled}"), "200 closed or 400 closed"),
        (
            "TE and CL",
            format!("{head}transfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n0\r\n\r\n{smuggled}"),
            "200 closed or 400 closed",
        ),
        ("two different CL", format!("{head}content-length: 0\r\ncontent-length: 5\r\n\r\n{smuggled}"), "400 closed"),
        ("CL with a sign", format!("{head}content-length: +5\r\n\r\nhello{smuggled}"), "400 closed"),
        ("CL that is a list", format!("{head}content-length: 5, 6\r\n\r\nhello{smuggled}"), "400 closed"),
        ("CL in hexadecimal", format!("{head}content-length: 0x5\r\n\r\nhello{smuggled}"), "400 closed"),
        (
            "CL beyond 64 bits",
            format!("{head}content-length: 18446744073709551621\r\n\r\nhello{smuggled}"),
            "400 closed",
        ),
        ("negative CL", format!("{head}content-length: -1\r\n\r\n{smuggled}"), "400 closed"),
        ("TE other than chunked", format!("{head}transfer-encoding: identity\r\n\r\n{smuggled}"), "400 closed"),
        ("TE with a coding before", format!("{head}transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n"), "400 closed"),
        ("TE twice", format!("{head}transfer-encoding: chunked\r\n{chunked}0\r\n\r\n{smuggled}"), "400 closed"),
        ("TE with a vertical tab", format!("{head}transfer-encoding:\x0bchunked\r\n\r\n0\r\n\r\n"), "400 closed"),
        ("TE on HTTP/1.0", format!("POST / HTTP/1.0\r\nhost: {HOST}\r\n{chunked}0\r\n\r\n{smuggled}"), "400 closed"),
        ("whitespace before the colon", format!("{head}content-length : 5\r\n\r\nhello"), "400 closed"),
        ("obsolete folding", format!("{head}a: b\r\n c: d\r\n\r\n"), "400 closed"),
        ("folding before any header", format!("GET / HTTP/1.1\r\n host: {HOST}\r\n\r\n"), "400 closed"),
        // RFC 9112, section 2.2, lets a server take it; the container gets CRLF and the same body.
        ("lines that end with a bare LF", format!("GET / HTTP/1.1\nhost: {HOST}\n\n"), "200 closed"),
        (
            "a bare LF before TE, and a CL",
            format!("{head}content-length: 5\r\na: b\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}"),
            "200 closed or 400 closed",
        ),
        ("bare CR in a value", format!("{head}a: b\rc\r\n\r\n"), "400 closed"),
        ("NUL in a value", format!("{head}a: b\0c\r\n\r\n"), "400 closed"),
        ("NUL in a name", format!("{head}a\0b: c\r\n\r\n"), "400 closed"),
        ("no colon", format!("{head}nonsense\r\n\r\n"), "400 closed"),
        ("an empty name", format!("{head}: x\r\n\r\n"), "400 closed"),
        ("chunk size with a sign", format!("{head}{chunked}+5\r\nhello\r\n0\r\n\r\n{smuggled}"), "400 closed"),
        ("chunk size in 0x", format!("{head}{chunked}0x5\r\nhello\r\n0\r\n\r\n{smuggled}"), "400 closed"),
        ("chunk size beyond 64 bits", format!("{head}{chunked}10000000000000005\r\nhello\r\n0\r\n\r\n"), "400 closed"),
        ("chunk longer than its size", format!("{head}{chunked}3\r\nhello\r\n0\r\n\r\n{smuggled}"), "400 closed"),
        ("chunk size with a bare LF", format!("{head}{chunked}5\nhello\r\n0\r\n\r\n{smuggled}"), "400 closed"),
        ("chunk without a size", format!("{head}{chunked}\r\nhello\r\n0\r\n\r\n{smuggled}"), "400 closed"),
        ("chunk extensions without end", format!("{head}{chunked}5;{long}\r\nhello\r\n0\r\n\r\n"), "400 closed"),
        ("trailers without end", format!("{head}{chunked}0\r\nt: {long}{long}\r\n\r\n"), "400 closed"),
        ("no Host", "GET / HTTP/1.1\r\n\r\n".to_owned(), "400 closed"),
        ("two Hosts", format!("GET / HTTP/1.1\r\nhost: {HOST}\r\nhost: b.test\r\n\r\n"), "400 closed"),
        ("a Host with a path", "GET / HTTP/1.1\r\nhost: a.test/b\r\n\r\n".to_owned(), "400 closed"),
        ("a Host with a user", "GET / HTTP/1.1\r\nhost: a@b.test\r\n\r\n".to_owned(), "400 closed"),
        ("CONNECT", format!("CONNECT {HOST}:443 HTTP/1.1\r\nhost: {HOST}\r\n\r\n"), "400 closed"),
        ("a URI of 64 KiB", format!("GET /{long} HTTP/1.1\r\nhost: {HOST}\r\n\r\n"), "414 closed or 431 closed"),
        ("a header of 64 KiB", format!("{head}a: {long}\r\n\r\n"), "431 closed"),
        ("1000 headers", format!("{head}{many}\r\n"), "431 closed"),
        ("HTTP/0.9", "GET /\r\n".to_owned(), "400 closed"),
        ("HTTP/3.0", format!("GET / HTTP/3.0\r\nhost: {HOST}\r\n\r\n"), "400 closed"),
        ("not HTTP", "\x16\x03\x01\x02\x00\x01\x00\r\n\r\n".to_owned(), "400 closed"),
        ("headers that never end", format!("{head}a: b"), "closed"),
        ("a request line that never ends", "GET /".to_owned(), "closed"),
        ("nothing at all", String::new(), "closed"),
    ]
}

/// The ways to hide a body's length that have been published, by the names they go by: TE.TE, CL.CL, CL.0, 0.CL. Each
/// ends in one answer at most, or the request within is the body's.
fn hidden_lengths() -> Vec<(&'static str, String, &'static str)> {
    let head = format!("POST / HTTP/1.1\r\nhost: {HOST}\r\n");
    let smuggled = format!("GET /smuggled HTTP/1.1\r\nhost: {HOST}\r\n\r\n");
    let body = format!("\r\n\r\n0\r\n\r\n{smuggled}");
    let te = |text: &str| format!("{head}{text}{body}");
    let length = smuggled.len();
    // The coding is what it says, so that the body ends where its last chunk does: what follows is a request.
    let understood = "200 200 closed";
    vec![
        ("TE.TE: xchunked", te("transfer-encoding: xchunked"), "400 closed"),
        ("TE.TE: chunked, identity", te("transfer-encoding: chunked, identity"), "400 closed"),
        ("TE.TE: identity, chunked", te("transfer-encoding: identity, chunked"), "400 closed"),
        ("TE.TE: chunked, then another TE", te("transfer-encoding: chunked\r\ntransfer-encoding: x"), "400 closed"),
        ("TE.TE: in quotes", te("transfer-encoding: \"chunked\""), "400 closed"),
        ("TE.TE: with a parameter", te("transfer-encoding: chunked;q=1"), "400 closed"),
        ("TE.TE: NUL behind it", te("transfer-encoding: chunked\0"), "400 closed"),
        ("TE.TE: a form feed before it", te("transfer-encoding: \x0cchunked"), "400 closed"),
        ("TE.TE: 0x85 before it", te("transfer-encoding: \u{85}chunked"), "400 closed"),
        ("TE.TE: a space before the colon", te("transfer-encoding : chunked"), "400 closed"),
        ("TE.TE: a line feed before the colon", te("transfer-encoding\n: chunked"), "400 closed"),
        ("TE.TE: on the next line", te("transfer-encoding:\r\n chunked"), "400 closed"),
        ("TE.TE: empty", te("transfer-encoding:"), "400 closed"),
        ("TE.TE: a bare CR before it", te("a: b\rtransfer-encoding: chunked"), "400 closed"),
        ("TE.TE: in capitals, behind a tab", te("Transfer-Encoding:\tCHUNKED"), understood),
        (
            "TE.CL: CL in another case",
            te("CONTENT-LENGTH: 3\r\ntransfer-encoding: chunked"),
            "200 closed or 400 closed",
        ),
        (
            "CL.CL: the same twice",
            format!("{head}content-length: 0\r\ncontent-length: 0\r\n\r\n"),
            "200 closed or 400 closed",
        ),
        ("CL.CL: the same as a list", format!("{head}content-length: 0, 0\r\n\r\n"), "400 closed or 200 closed"),
        ("CL with a fraction", format!("{head}content-length: 0.0\r\n\r\n{smuggled}"), "400 closed"),
        ("CL with an exponent", format!("{head}content-length: 1e1\r\n\r\n{smuggled}"), "400 closed"),
        ("CL with an underscore", format!("{head}content-length: 1_0\r\n\r\n{smuggled}"), "400 closed"),
        ("CL that is empty", format!("{head}content-length:\r\n\r\n{smuggled}"), "400 closed"),
        (
            "CL with a space before the colon",
            format!("{head}content-length : {length}\r\n\r\n{smuggled}"),
            "400 closed",
        ),
        ("CL.0: the body is a request", format!("{head}content-length: {length}\r\n\r\n{smuggled}"), "200 closed"),
        (
            "0.CL: the body of a GET is a request",
            format!("GET / HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: {length}\r\n\r\n{smuggled}"),
            "200 closed",
        ),
        (
            "0.CL: behind Expect",
            format!("{head}expect: 100-continue\r\ncontent-length: {length}\r\n\r\n{smuggled}"),
            "200 closed or 100 200 closed",
        ),
        (
            "Expect of something else",
            format!("{head}expect: y 100-continue\r\ncontent-length: 0\r\n\r\n"),
            "200 closed or 417 closed",
        ),
    ]
}

/// The same for chunks (TERM.EXT, EXT.TERM, TERM.SPILL, ONE.TWO) and first lines.
fn hidden_chunks_and_lines() -> Vec<(&'static str, String, &'static str)> {
    let head = format!("POST / HTTP/1.1\r\nhost: {HOST}\r\n");
    let smuggled = format!("GET /smuggled HTTP/1.1\r\nhost: {HOST}\r\n\r\n");
    let chunks = |text: &str| format!("{head}transfer-encoding: chunked\r\n\r\n{text}{smuggled}");
    vec![
        ("TERM.EXT: LF within an extension", chunks("0;a\nb\r\n\r\n"), "400 closed"),
        ("EXT.TERM: LF ends an extension", chunks("5;a\nhello\r\n0\r\n\r\n"), "400 closed"),
        ("TERM.SPILL: LF ends a chunk's data", chunks("5\r\nhello\n0\r\n\r\n"), "400 closed"),
        ("ONE.TWO: one byte for CRLF behind data", chunks("5\r\nhelloX0\r\n\r\n"), "400 closed"),
        ("SPILL: two other bytes behind data", chunks("5\r\nhelloXX0\r\n\r\n"), "400 closed"),
        ("a CR within an extension", chunks("0;a\rb\r\n\r\n"), "400 closed"),
        ("a chunk's size with a space before it", chunks(" 0\r\n\r\n"), "400 closed"),
        ("a chunk's size that is negative", chunks("-1\r\n\r\n"), "400 closed"),
        ("a chunk's size with an underscore", chunks("0_0\r\n\r\n"), "400 closed"),
        ("LF ends the last chunk", chunks("0\n\n"), "400 closed"),
        (
            "trailers that name a host and a length",
            chunks("0\r\nhost: b.test\r\ncontent-length: 9\r\n\r\n"),
            // The last chunk ends the body: what follows is a request.
            "200 200 closed",
        ),
        ("CR alone ends lines", format!("GET / HTTP/1.1\rhost: {HOST}\r\r{smuggled}"), "400 closed"),
        ("a space before the first line", format!(" GET / HTTP/1.1\r\nhost: {HOST}\r\n\r\n"), "400 closed"),
        ("a tab within the first line", format!("GET\t/ HTTP/1.1\r\nhost: {HOST}\r\n\r\n"), "400 closed"),
        ("a target of two words", format!("GET / / HTTP/1.1\r\nhost: {HOST}\r\n\r\n"), "400 closed"),
        ("a target with a fragment", format!("GET /#/ HTTP/1.1\r\nhost: {HOST}\r\n\r\n"), "200 closed or 400 closed"),
        (
            "a target elsewhere, a Host here",
            format!("GET http://b.test/ HTTP/1.1\r\nhost: {HOST}\r\n\r\n"),
            "404 closed",
        ),
        ("HTTP/1.1 in small letters", format!("GET / http/1.1\r\nhost: {HOST}\r\n\r\n"), "400 closed"),
        ("HTTP/1.10", format!("GET / HTTP/1.10\r\nhost: {HOST}\r\n\r\n"), "400 closed"),
    ]
}

#[tokio::test]
async fn s09_what_hides_a_request_in_another_is_refused_or_understood_as_written() {
    let bench = abused().await;
    println!("       {:<58} {:<28} got", "case", "expected");
    let sent = hidden_lengths().into_iter().chain(hidden_chunks_and_lines()).map(async |(case, bytes, expected)| {
        (case, expected, in_time(case, send(bench.address, &[bytes.as_bytes()])).await)
    });
    let went = futures_util::future::join_all(sent).await;
    let wrong: Vec<_> = went.iter().filter(|(case, expected, got)| !line(case, expected, got)).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    until("no request is left", || bench.load("r1").in_flight == 0).await;
}

#[tokio::test]
async fn s09_abuse_by_clients_that_speak_http1() {
    let bench = abused().await;
    let neighbour = Neighbour::watch(&bench);
    let mut wrong = Vec::new();
    println!("       {:<58} {:<28} got", "case", "expected");
    for (case, bytes, expected) in cases() {
        let got = in_time(case, send(bench.address, &[bytes.as_bytes()])).await;
        if !line(case, expected, &got) {
            wrong.push(case);
        }
    }
    // Byte by byte, within the time for headers and beyond it.
    let slow: Vec<&[u8]> = b"GET / HTTP/1.1\r\nhost: x".chunks(1).collect();
    let endless: Vec<&[u8]> = std::iter::repeat_n(&b"a: b\r\n"[..], 200).collect();
    let endless = [&[b"GET / HTTP/1.1\r\n" as &[u8]][..], &endless].concat();
    for (case, pieces) in [("headers byte by byte, then none", slow), ("a header each 5 ms, for ever", endless)] {
        let got = in_time(case, send(bench.address, &pieces)).await;
        if !line(case, "closed or 431 closed", &got) {
            wrong.push(case);
        }
    }
    neighbour.was_served().await;
    assert!(wrong.is_empty(), "{wrong:?}");
    until("no request is left", || bench.load("r1").in_flight == 0).await;
}

/// What a container does with a request, and what its client is told.
#[tokio::test]
async fn s09_abuse_by_containers() {
    let bench = abused().await;
    let neighbour = Neighbour::watch(&bench);
    let endless = format!("HTTP/1.1 200 OK\r\na: {}", "x".repeat(1 << 20));
    let cases: Vec<(&str, String, &str)> = vec![
        ("answers garbage", "\x01\x02garbage\r\n\r\n".to_owned(), "503"),
        ("answers HTTP/0.9", "hello".to_owned(), "503"),
        ("closes without a word", String::new(), "503"),
        ("closes within its headers", "HTTP/1.1 200 OK\r\ncontent-le".to_owned(), "503"),
        ("answers with headers of 1 MiB", endless, "503"),
        ("answers 101 to who did not ask", "HTTP/1.1 101 Switching\r\nupgrade: x\r\n\r\n".to_owned(), "503"),
        (
            "answers with two lengths",
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab".to_owned(),
            "503",
        ),
        ("answers with a length that is none", "HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n".to_owned(), "503"),
        ("answers with a status that is none", "HTTP/1.1 99 Odd\r\n\r\n".to_owned(), "503"),
        ("answers with NUL in a header", "HTTP/1.1 200 OK\r\na: \0\r\n\r\n".to_owned(), "503"),
        ("closes within its body", "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf".to_owned(), "200, broken off"),
        (
            "breaks its chunks",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n".to_owned(),
            "broken off or 200, broken off or 503",
        ),
        (
            "says more than its length",
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n\r\n".to_owned(),
            "200, ok",
        ),
    ];
    let mut wrong = Vec::new();
    println!("       {:<58} {:<28} got", "container", "expected");
    for (number, (case, answer, expected)) in cases.into_iter().enumerate() {
        let address = container::raw(move |mut stream| {
            let answer = answer.clone();
            async move {
                container::read_head(&mut stream).await;
                // The other side may have seen enough.
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        })
        .await;
        let got = in_time(case, ask(&bench, &format!("c{number}"), address, 0)).await;
        if !line(case, expected, &got) {
            wrong.push(case);
        }
    }
    let silent = container::raw(|mut stream| async move {
        container::read_head(&mut stream).await;
        std::future::pending::<()>().await;
    })
    .await;
    let deaf = container::raw(|stream| async move {
        let _kept = stream;
        std::future::pending::<()>().await;
    })
    .await;
    for (case, name, address) in [("never ends its headers", "silent", silent), ("never reads", "deaf", deaf)] {
        let got = in_time(case, ask(&bench, name, address, 1 << 20)).await;
        if !line(case, "504", &got) {
            wrong.push(case);
        }
    }
    neighbour.was_served().await;
    assert!(wrong.is_empty(), "{wrong:?}");
}

/// Sends a request with so many bytes to a container of its own, which may take 400 ms; its status and how its body
/// ended.
async fn ask(bench: &Arc<Bench>, name: &str, address: SocketAddr, bytes: usize) -> String {
    use http_body_util::BodyExt;

    bench.instance(name, address);
    let brief = homerun_ingress::RevisionRoute { timeout: Duration::from_millis(400), ..revision(1, &[name]) };
    bench.ingress.publish(&service(name), tables(&[("bad.test", route(&[(name, 100)]))], &[(name, brief)]));
    let upload = to(request(Method::POST, "/", full(vec![b'x'; bytes])), "bad.test");
    let response = match bench.open(upload).await {
        Ok(response) => response,
        Err(_) => return "broken off".to_owned(),
    };
    match (response.status().as_u16(), response.into_body().collect().await) {
        (200, Ok(body)) => format!("200, {}", String::from_utf8_lossy(&body.to_bytes())),
        (200, Err(_)) => "200, broken off".to_owned(),
        (status, _) => status.to_string(),
    }
}
