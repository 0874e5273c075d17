//! What instances answer to plain requests, and what of it goes to the client.

use std::mem::MaybeUninit;

use http::StatusCode;

use super::body::{Body, Malformed};
use super::chunked::Decoder;
use super::date;
use crate::headers;

/// Headers of a response, at most; as many as hyper takes for `proxy`.
const MAX_HEADERS: usize = 100;
/// Bytes of a response's head; as many as hyper takes for `proxy`.
pub(super) const MAX_HEAD: usize = 408 * 1024;

/// What is known of the request when its response comes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    /// Whether it was a `HEAD`.
    pub(super) head: bool,
    /// Whether the client's connection ends with the response.
    pub(super) close: bool,
}

/// A response's head.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) status: StatusCode,
    /// The body that follows.
    pub(super) body: Body,
    /// Whether the instance keeps the connection.
    pub(super) keep: bool,
    /// Bytes of it.
    pub(super) length: usize,
}

/// What the beginning of an instance's bytes is.
#[derive(Debug)]
pub(super) enum Read {
    /// A response's head.
    Head(Head),
    /// So many bytes that only announce it (1xx) and end here.
    Skip(usize),
    /// No whole head yet.
    More,
}

/// Whether the end of a head may lie in what is new.
pub(super) fn may_end(input: &[u8], new: usize) -> bool {
    let tail = &input[new.saturating_sub(3)..];
    tail.windows(2).any(|pair| pair == b"\n\n") || tail.windows(3).any(|three| three == b"\n\r\n")
}

/// Reads a response's head and writes it as the client is to have it.
pub(super) fn read(input: &[u8], asked: Asked, out: &mut Vec<u8>) -> Result<Read, Malformed> {
    let mut headers = [const { MaybeUninit::<httparse::Header<'_>>::uninit() }; MAX_HEADERS];
    let mut parsed = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    let length = match config.parse_response_with_uninit_headers(&mut parsed, input, &mut headers) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if input.len() <= MAX_HEAD => return Ok(Read::More),
        _ => return Err(Malformed),
    };
    match parsed.code {
        Some(100 | 102..=199) => Ok(Read::Skip(length)),
        _ => write(&parsed, length, asked, out).map(Read::Head),
    }
}

/// How a response's `Transfer-Encoding` ends its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Coding {
    #[default]
    None,
    /// The last coding is chunked.
    Chunked,
    /// It is another: the body ends with the connection (RFC 9112, section 6.3).
    Other,
}

/// What a response's headers say of its connection and its length.
#[derive(Default)]
struct Said<'a> {
    /// Names of headers that are for this connection only.
    connection: Vec<&'a [u8]>,
    close: bool,
    coding: Coding,
    length: Option<Result<u64, Malformed>>,
    date: bool,
}

fn write(
    parsed: &httparse::Response<'_, '_>,
    length: usize,
    asked: Asked,
    out: &mut Vec<u8>,
) -> Result<Head, Malformed> {
    let status = parsed.code.and_then(|code| StatusCode::from_u16(code).ok()).ok_or(Malformed)?;
    if status == StatusCode::SWITCHING_PROTOCOLS {
        return Err(Malformed);
    }
    let said = look(parsed.headers);
    let old = parsed.version != Some(1);
    write_status(out, status, parsed.reason.unwrap_or_default());
    for header in parsed.headers.iter() {
        if !said.connection.iter().any(|name| name.eq_ignore_ascii_case(header.name.as_bytes())) {
            write_header(out, header);
        }
    }
    let bodiless = asked.head || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let body = said.body(bodiless, old)?;
    match (&said.length, &body) {
        (Some(Ok(length)), Body::Length(_)) if status != StatusCode::NO_CONTENT && said.coding == Coding::None => {
            write_line(out, b"content-length", length.to_string().as_bytes());
        }
        (_, Body::Length(_)) => {}
        _ => write_line(out, b"transfer-encoding", b"chunked"),
    }
    if !said.date {
        date::write(out);
    }
    if asked.close {
        write_line(out, b"connection", b"close");
    }
    out.extend_from_slice(b"\r\n");
    let keep = !old && !said.close && body != Body::Close && said.is_sure(bodiless, asked.head);
    Ok(Head { status, body, keep, length })
}

impl Said<'_> {
    fn body(&self, bodiless: bool, old: bool) -> Result<Body, Malformed> {
        if bodiless {
            return Ok(Body::Length(0));
        }
        // A length beside a coding counts for nothing (RFC 9112, section 6.3).
        match (self.coding, &self.length) {
            (Coding::Chunked | Coding::Other, _) if old => Err(Malformed),
            (Coding::Chunked, _) => Ok(Body::Chunked(Decoder::new())),
            (Coding::None, Some(Ok(length))) => Ok(Body::Length(*length)),
            (Coding::None, Some(Err(Malformed))) => Err(Malformed),
            (Coding::Other, _) | (Coding::None, None) => Ok(Body::Close),
        }
    }

    /// Whether what follows on the connection can only be the next response. Who sends a length and a coding means one
    /// of them, and who announces a body where none may be could send it later.
    fn is_sure(&self, bodiless: bool, head: bool) -> bool {
        match self.coding {
            Coding::None => !bodiless || head || self.length.as_ref().is_none_or(|length| *length == Ok(0)),
            Coding::Chunked => self.length.is_none() && (!bodiless || head),
            Coding::Other => false,
        }
    }

    /// Lengths may be said more than once, as long as they are the same.
    fn take_length(&mut self, value: &[u8]) {
        for part in value.split(|byte| *byte == b',') {
            let length = digits(part.trim_ascii()).ok_or(Malformed);
            let same = self.length.as_ref().is_none_or(|known| *known == length);
            self.length = Some(if same { length } else { Err(Malformed) });
        }
    }
}

fn look<'a>(headers: &[httparse::Header<'a>]) -> Said<'a> {
    let mut said = Said::default();
    for header in headers {
        let (name, value) = (header.name, header.value);
        let words = || value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        if name.eq_ignore_ascii_case("connection") {
            said.connection.extend(words());
            said.close |= words().any(|word| word.eq_ignore_ascii_case(b"close"));
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            let chunked = words().next_back().is_some_and(|last| last.eq_ignore_ascii_case(b"chunked"));
            said.coding = if chunked { Coding::Chunked } else { Coding::Other };
        } else if name.eq_ignore_ascii_case("content-length") {
            said.take_length(value);
        } else if name.eq_ignore_ascii_case("date") {
            said.date = true;
        }
    }
    said
}

fn digits(text: &[u8]) -> Option<u64> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    digits.then(|| std::str::from_utf8(text).ok()?.parse().ok())?
}

pub(super) fn write_status(out: &mut Vec<u8>, status: StatusCode, reason: &str) {
    let reason = if reason.is_empty() { status.canonical_reason().unwrap_or_default() } else { reason };
    for part in ["HTTP/1.1 ", status.as_str(), " ", reason, "\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
}

/// A header with its name in lower case, as `proxy` writes it, unless it ends here.
fn write_header(out: &mut Vec<u8>, header: &httparse::Header<'_>) {
    let at = out.len();
    out.extend(header.name.bytes().map(|byte| byte.to_ascii_lowercase()));
    if out[at..] == *b"content-length" || headers::is_hop_by_hop(&out[at..]) {
        out.truncate(at);
        return;
    }
    out.extend_from_slice(b": ");
    out.extend_from_slice(header.value);
    out.extend_from_slice(b"\r\n");
}

pub(super) fn write_line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    for part in [name, b": ", value, b"\r\n"] {
        out.extend_from_slice(part);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ASKED: Asked = Asked { head: false, close: false };

    /// What the client gets of a response that comes whole and is followed by the connection's end.
    fn pass(input: &[u8], asked: Asked) -> Result<(Vec<u8>, bool), Malformed> {
        let (mut out, mut rest) = (Vec::new(), input);
        let mut head = loop {
            match read(rest, asked, &mut out)? {
                Read::Head(head) => break head,
                Read::Skip(length) => rest = &rest[length..],
                Read::More => return Err(Malformed),
            }
        };
        let taken = head.body.take(&rest[head.length..], &mut out)?;
        let whole = head.body.is_whole();
        let keep = head.keep && whole && taken.behind == 0;
        (whole || head.body.end(&mut out)).then_some(()).ok_or(Malformed)?;
        Ok((out, keep))
    }

    /// The same as lines, without the date.
    fn lines(input: &str, asked: Asked) -> Result<(String, bool), Malformed> {
        let (out, keep) = pass(input.as_bytes(), asked)?;
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<&str> = text.split("\r\n").filter(|line| !line.starts_with("date: ")).collect();
        Ok((lines.join("|"), keep))
    }

    #[test]
    fn s09_a_response_leaves_with_what_is_the_clients() {
        let table = [
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-A: b\r\n\r\nok",
                "HTTP/1.1 200 OK|x-a: b|content-length: 2||ok",
                true,
            ),
            (
                "HTTP/1.1 200\r\nKeep-Alive: 1\r\nConnection: X-B, keep-alive\r\nx-b: 1\r\ncontent-length: 0\r\n\r\n",
                "HTTP/1.1 200 OK|content-length: 0||",
                true,
            ),
            (
                "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 299 Mine\r\ntransfer-encoding: chunked\r\n\r\n2;x\r\nok\r\n0\r\n\r\n",
                "HTTP/1.1 299 Mine|transfer-encoding: chunked||2|ok|0||",
                true,
            ),
            (
                "HTTP/1.0 200 OK\r\n\r\nto the end",
                "HTTP/1.1 200 OK|transfer-encoding: chunked||a|to the end|0||",
                false,
            ),
            ("HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n", "HTTP/1.1 204 No Content||", true),
            (
                "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 1\r\n\r\na",
                "HTTP/1.1 200 OK|content-length: 1||a",
                false,
            ),
            ("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nab", "HTTP/1.1 200 OK|content-length: 1||a", false),
            (
                "HTTP/1.1 200 OK\r\ncontent-length: 9\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
                "HTTP/1.1 200 OK|transfer-encoding: chunked||0||",
                false,
            ),
            ("HTTP/1.1 200 OK\r\ncontent-length: 2, 02\r\n\r\nok", "HTTP/1.1 200 OK|content-length: 2||ok", true),
            (
                "HTTP/1.1 200 OK\r\ntransfer-encoding: identity\r\n\r\nok",
                "HTTP/1.1 200 OK|transfer-encoding: chunked||2|ok|0||",
                false,
            ),
            ("HTTP/1.1 304 Not Modified\r\ntransfer-encoding: gzip\r\n\r\n", "HTTP/1.1 304 Not Modified||", false),
            ("HTTP/1.1 204 No Content\r\ncontent-length: 2\r\n\r\n", "HTTP/1.1 204 No Content||", false),
        ];
        for (input, expected, keep) in table {
            assert_eq!(lines(input, ASKED), Ok((expected.to_owned(), keep)), "{input}");
        }
        let head = "HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n";
        let expected = "HTTP/1.1 200 OK|content-length: 7|connection: close||".to_owned();
        assert_eq!(lines(head, Asked { head: true, close: true }), Ok((expected, true)));
    }

    #[test]
    fn s09_a_response_that_two_could_understand_differently_is_refused() {
        let refused = [
            "content-length: 1\r\ncontent-length: 2\r\n\r\nab",
            "content-length: x\r\n\r\n",
            "content-length: 5\r\n\r\nhalf",
            "content-length: 5, 6\r\n\r\nhello",
            "content-length: +5\r\n\r\nhello",
            "transfer-encoding: chunked\r\n\r\nzz\r\n",
            "a: b\r\n folded: c\r\n\r\n",
        ];
        for rest in refused {
            assert_eq!(lines(&format!("HTTP/1.1 200 OK\r\n{rest}"), ASKED), Err(Malformed), "{rest}");
        }
        assert_eq!(lines("HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", ASKED), Err(Malformed));
        assert_eq!(lines("HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n", ASKED), Err(Malformed));
    }

    fn piece() -> impl Strategy<Value = Vec<u8>> {
        let words = [
            "HTTP/1.1 200 OK\r\n",
            "HTTP/1.0 404\r\n",
            "HTTP/1.1 100 Continue\r\n\r\n",
            "HTTP/1.1 204 \r\n",
            "content-length: 3\r\n",
            "Content-Length: 3, 4\r\n",
            "Transfer-Encoding: chunked\r\n",
            "transfer-encoding: gzip\r\n",
            "connection: close, a\r\n",
            "a: b\r\n",
            "a:b\n",
            "\r\n",
            "3\r\nabc\r\n",
            "0\r\n\r\n",
            "abc",
            "\n",
        ];
        crate::lane::tests::piece_of(&words)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn s09_whatever_containers_send_the_client_gets_one_response(
            start in prop_oneof![Just("HTTP/1.1 200 OK\r\n"), Just("")],
            pieces in proptest::collection::vec(piece(), 0..9),
            head in any::<bool>(),
        ) {
            let input: Vec<u8> = start.bytes().chain(pieces.concat()).collect();
            let Ok((out, _)) = pass(&input, Asked { head, close: false }) else { return Ok(()) };
            let mut headers = [httparse::EMPTY_HEADER; 64];
            let mut parsed = httparse::Response::new(&mut headers);
            let Ok(httparse::Status::Complete(length)) = parsed.parse(&out) else {
                return Err(TestCaseError::fail(String::from_utf8_lossy(&out).into_owned()));
            };
            let values = |name: &str| -> Vec<&[u8]> {
                parsed.headers.iter().filter(|header| header.name == name).map(|header| header.value).collect()
            };
            let (lengths, codings) = (values("content-length"), values("transfer-encoding"));
            prop_assert!(lengths.len() + codings.len() <= 1);
            prop_assert!(values("connection").is_empty());
            let body = &out[length..];
            if head || parsed.code == Some(204) {
                prop_assert!(body.is_empty());
            } else if let Some(said) = lengths.first() {
                prop_assert_eq!(said.to_vec(), body.len().to_string().into_bytes());
            } else {
                let mut again = Body::Chunked(Decoder::new());
                let taken = again.take(body, &mut Vec::new());
                prop_assert!(again.is_whole() && taken.is_ok_and(|taken| taken.behind == 0));
            }
        }
    }
}
