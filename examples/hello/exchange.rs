//! One HTTP/1.1 request and the answer being written to it.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::Ordering;

use crate::DRAINING;

const MAX_DRAINED_BYTES: u64 = 1024 * 1024;
const MAX_HEAD_BYTES: u64 = 64 * 1024;

enum Body {
    /// Bytes still to come.
    Length(u64),
    /// Bytes still to come of the current chunk.
    Chunked(u64),
    Done,
}

/// One request, and the answer being written to it.
pub struct Exchange<'r, 's> {
    reader: &'r mut BufReader<&'s TcpStream>,
    stream: &'s TcpStream,
    head_only: bool,
    http10: bool,
    pub path: String,
    pub query: BTreeMap<String, String>,
    pub headers: BTreeMap<String, String>,
    body: Body,
    owes_continue: bool,
    pub keep_alive: bool,
}

impl<'r, 's> Exchange<'r, 's> {
    /// The next request on the connection; none if the client closed it between two requests.
    pub fn read(
        reader: &'r mut BufReader<&'s TcpStream>,
        stream: &'s TcpStream,
    ) -> io::Result<Option<Self>> {
        let mut head = reader.by_ref().take(MAX_HEAD_BYTES);
        let request_line = read_line(&mut head)?;
        if request_line.is_empty() {
            return Ok(None);
        }
        let mut words = request_line.split_ascii_whitespace();
        let (Some(method), Some(target), Some(version)) =
            (words.next(), words.next(), words.next())
        else {
            return Err(malformed("request line"));
        };
        let mut headers: BTreeMap<String, String> = BTreeMap::new();
        loop {
            let line = read_line(&mut head)?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').ok_or_else(|| malformed("header"))?;
            let value = value.trim();
            headers
                .entry(name.to_ascii_lowercase())
                .and_modify(|seen| *seen = format!("{seen}, {value}"))
                .or_insert_with(|| value.to_owned());
        }
        let has = |name: &str, word: &str| {
            headers
                .get(name)
                .is_some_and(|v| v.to_ascii_lowercase().contains(word))
        };
        let body = if has("transfer-encoding", "chunked") {
            Body::Chunked(0)
        } else {
            match headers.get("content-length").map(|length| length.parse()) {
                None | Some(Ok(0)) => Body::Done,
                Some(Ok(length)) => Body::Length(length),
                Some(Err(_)) => return Err(malformed("content-length")),
            }
        };
        let http10 = version == "HTTP/1.0";
        let keep_alive = if http10 {
            has("connection", "keep-alive")
        } else {
            !has("connection", "close")
        };
        let owes_continue = has("expect", "100-continue");
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        let query = pairs
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .map(|(k, v)| (decode(k), decode(v)));
        Ok(Some(Exchange {
            reader,
            stream,
            head_only: method == "HEAD",
            http10,
            path: decode(path),
            query: query.collect(),
            headers,
            body,
            owes_continue,
            keep_alive: keep_alive && !DRAINING.load(Ordering::Relaxed),
        }))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// A query parameter; without it the request is answered with 400 and there is nothing to do.
    pub fn parameter(&mut self, name: &str) -> io::Result<Option<String>> {
        let value = self.query.get(name).cloned();
        if value.is_none() {
            self.text(400, &format!("{} needs {name}=\n", self.path.clone()))?;
        }
        Ok(value)
    }

    /// As `parameter`, for a whole number.
    pub fn number(&mut self, name: &str) -> io::Result<Option<u64>> {
        let Some(text) = self.parameter(name)? else {
            return Ok(None);
        };
        let value = text.parse().ok();
        if value.is_none() {
            self.text(400, &format!("{name}={text}: not a whole number\n"))?;
        }
        Ok(value)
    }

    /// Tells a client that waits before it sends the body to send it.
    pub fn expect_body(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.owes_continue) {
            self.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        Ok(())
    }

    /// The next bytes of the request's body as they arrive; 0 at its end.
    pub fn read_body(&mut self, piece: &mut [u8]) -> io::Result<usize> {
        let left = match self.body {
            Body::Done => return Ok(0),
            Body::Length(left) => left,
            Body::Chunked(0) => {
                let line = read_line(&mut self.reader.by_ref().take(MAX_HEAD_BYTES))?;
                let size = line.split(';').next().unwrap_or_default().trim();
                let size = u64::from_str_radix(size, 16).map_err(|_| malformed("chunk size"))?;
                if size == 0 {
                    let mut trailers = self.reader.by_ref().take(MAX_HEAD_BYTES);
                    while !read_line(&mut trailers)?.is_empty() {}
                    self.body = Body::Done;
                    return Ok(0);
                }
                size
            }
            Body::Chunked(left) => left,
        };
        let room = usize::try_from(left).unwrap_or(usize::MAX).min(piece.len());
        let n = self.reader.read(&mut piece[..room])?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let left = left - n as u64;
        self.body = match self.body {
            Body::Chunked(_) if left > 0 => Body::Chunked(left),
            Body::Chunked(_) => {
                read_line(&mut self.reader.by_ref().take(2))?;
                Body::Chunked(0)
            }
            _ if left > 0 => Body::Length(left),
            _ => Body::Done,
        };
        Ok(n)
    }

    pub fn text(&mut self, status: u16, text: &str) -> io::Result<()> {
        self.whole(status, "text/plain; charset=utf-8", text)
    }

    /// An object whose values are JSON already.
    pub fn json<'f>(&mut self, fields: impl IntoIterator<Item = (&'f str, String)>) -> io::Result<()> {
        let fields: Vec<String> = fields
            .into_iter()
            .map(|(name, value)| format!("  {}: {value}", quote(name)))
            .collect();
        self.whole(
            200,
            "application/json",
            &format!("{{\n{}\n}}\n", fields.join(",\n")),
        )
    }

    /// What came of something tried: always a 200, for the trying itself worked.
    pub fn report(&mut self, subject: &str, outcome: io::Result<(&str, String)>) -> io::Result<()> {
        let (ok, detail) = match outcome {
            Ok(detail) => ("true", detail),
            Err(error) => ("false", ("error", quote(&error.to_string()))),
        };
        self.json([("ok", ok.to_owned()), ("subject", quote(subject)), detail])
    }

    fn whole(&mut self, status: u16, kind: &str, body: &str) -> io::Result<()> {
        let mut bytes = self.head(status, kind);
        if status != 204 && status != 304 {
            bytes.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        bytes.push_str("\r\n");
        if !self.head_only && status != 204 && status != 304 {
            bytes.push_str(body);
        }
        self.stream.write_all(bytes.as_bytes())
    }

    fn head(&mut self, status: u16, kind: &str) -> String {
        // A client that was never told to go on may or may not send its body: nothing that follows
        // on this connection could be told apart.
        self.keep_alive &= !self.owes_continue;
        let connection = if self.keep_alive {
            "keep-alive"
        } else {
            "close"
        };
        format!(
            "HTTP/1.1 {status} {}\r\ncontent-type: {kind}\r\nconnection: {connection}\r\n",
            reason(status)
        )
    }

    /// HTTP/1.0 has no chunks: there the body ends with the connection.
    pub fn start_stream(&mut self, kind: &str) -> io::Result<()> {
        self.keep_alive &= !self.http10;
        let mut head = self.head(200, kind);
        if !self.http10 {
            head.push_str("transfer-encoding: chunked\r\n");
        }
        head.push_str("\r\n");
        self.stream.write_all(head.as_bytes())
    }

    pub fn send_chunk(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.head_only {
            return Ok(());
        }
        if self.http10 {
            return self.stream.write_all(bytes);
        }
        let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
        chunk.extend_from_slice(bytes);
        chunk.extend_from_slice(b"\r\n");
        self.stream.write_all(&chunk)
    }

    pub fn end_stream(&mut self) -> io::Result<()> {
        if self.head_only || self.http10 {
            Ok(())
        } else {
            self.stream.write_all(b"0\r\n\r\n")
        }
    }

    /// Reads what the answer left of the body, so that the next request starts where it should.
    pub fn finish(&mut self) -> io::Result<()> {
        let mut piece = [0; 8 * 1024];
        let mut drained = 0;
        while self.keep_alive {
            match self.read_body(&mut piece)? {
                0 => break,
                n => drained += n as u64,
            }
            self.keep_alive = drained <= MAX_DRAINED_BYTES;
        }
        Ok(())
    }
}

/// One line without its end; empty at the end of the input.
fn read_line(reader: &mut impl BufRead) -> io::Result<String> {
    let mut line = Vec::new();
    reader.read_until(b'\n', &mut line)?;
    match line.pop() {
        None => return Ok(String::new()),
        Some(b'\n') => {}
        Some(_) => return Err(malformed("line without an end")),
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    String::from_utf8(line).map_err(|_| malformed("line that is not UTF-8"))
}

fn malformed(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        204 => "No Content",
        304 => "Not Modified",
        400 => "Bad Request",
        404 => "Not Found",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => "As Asked",
    }
}

/// Undoes a query's percent encoding; what is no encoding stays as it is.
fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escape = bytes
            .get(at + 1..at + 3)
            .and_then(|hex| std::str::from_utf8(hex).ok());
        match (
            bytes[at],
            escape.and_then(|hex| u8::from_str_radix(hex, 16).ok()),
        ) {
            (b'%', Some(byte)) => {
                decoded.push(byte);
                at += 2;
            }
            (b'+', _) => decoded.push(b' '),
            (byte, _) => decoded.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

pub fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
