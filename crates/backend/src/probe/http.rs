//! Asks a path by HTTP/1.1, or by HTTP/2 where the container's port is named so.

use bytes::Bytes;
use http_body_util::Empty;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Dial, reason};

/// Longest head of an answer that is read.
const MOST_HEAD: usize = 8 << 10;
const AGENT: &str = "GoogleHC/1.0";

/// 200 to 399 passes.
///
/// A program that speaks HTTP/2 on its port may answer its health checks by HTTP/1.1 nevertheless, which programs that
/// tell the two apart by the first bytes do; so where there is no HTTP/2 that is tried too.
pub(super) async fn check(dial: &impl Dial, port: u16, path: &str, headers: &[(String, String)]) -> Result<(), String> {
    let connect = || async { dial.dial(port).await.map_err(|error| reason(&error)) };
    let status = match dial.speaks_h2c(port) {
        true => match http2(connect().await?, path, headers).await {
            Some(status) => Some(status),
            None => http1(connect().await?, path, headers).await?,
        },
        false => http1(connect().await?, path, headers).await?,
    };
    match status {
        Some(200..=399) => Ok(()),
        Some(other) => Err(format!("GET {path} answered {other}")),
        None => Err(format!("GET {path} answered no HTTP")),
    }
}

/// The status of the answer by HTTP/2, with prior knowledge; `None` if there is none.
async fn http2(stream: TcpStream, path: &str, headers: &[(String, String)]) -> Option<u16> {
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.ok()?;
    let connection = tokio::spawn(connection);
    let host = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("host"));
    let host = host.map_or("localhost", |(_, host)| host);
    let mut request = http::Request::get(format!("http://{host}{path}")).header("user-agent", AGENT);
    for (name, value) in headers.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("host")) {
        request = request.header(name, value);
    }
    let answer = sender.send_request(request.body(Empty::<Bytes>::new()).ok()?).await;
    connection.abort();
    Some(answer.ok()?.status().as_u16())
}

/// The status of the answer by HTTP/1.1; `None` if it is no HTTP.
async fn http1(mut stream: TcpStream, path: &str, headers: &[(String, String)]) -> Result<Option<u16>, String> {
    let mut request = format!("GET {path} HTTP/1.1\r\nConnection: close\r\nUser-Agent: {AGENT}\r\n");
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        request.push_str("Host: localhost\r\n");
    }
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    stream.write_all(request.as_bytes()).await.map_err(|error| reason(&error))?;
    let mut head = Vec::new();
    while !head.contains(&b'\n') && head.len() < MOST_HEAD {
        if stream.read_buf(&mut head).await.map_err(|error| reason(&error))? == 0 {
            break;
        }
    }
    let line = String::from_utf8_lossy(head.split(|byte| *byte == b'\n').next().unwrap_or_default()).trim().to_owned();
    Ok(line.strip_prefix("HTTP/").and_then(|rest| rest.split(' ').nth(1)).and_then(|code| code.parse().ok()))
}
