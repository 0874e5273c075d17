//! Which requests are plain, and what of them goes to the instance.
//!
//! A request is plain if it can be understood in one way only, lies in one piece, and has no header about which
//! ingress does more than pass it on. All others are `proxy`'s, which knows every rule; so what is refused here is
//! never wrong, only slower.

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderValue, Method};

use crate::client::Client;
use crate::headers;
use crate::scratch;
use crate::settings::Settings;
use crate::trace::TraceContext;

/// Bytes of a plain request's body, at most: it is kept while the request waits.
const MAX_BODY: usize = 16 * 1024;
/// Headers of a plain request, at most.
const MAX_HEADERS: usize = 64;
/// Room for what ingress adds to a request's head.
const ADDED: usize = 512;

/// A plain request.
pub(super) struct Plain {
    /// All of it, as it came.
    pub(super) bytes: Bytes,
    pub(super) method: Method,
    pub(super) path: PathAndQuery,
    pub(super) host: HeaderValue,
    pub(super) user_agent: Option<HeaderValue>,
    pub(super) referer: Option<HeaderValue>,
    /// Whether its client wants the connection to end with it.
    pub(super) close: bool,
    pub(super) body: Bytes,
    /// Its request line and the headers that go to the instance, without the end of the head.
    head: Vec<u8>,
}

impl Plain {
    /// A request, if that is plain and there is nothing behind it.
    pub(super) fn read(bytes: &Bytes, settings: &Settings) -> Option<Self> {
        let length = head_length(bytes).filter(|length| *length <= settings.max_header_bytes)?;
        let body = bytes.slice(length..);
        // What is kept of the head for the log must not keep the body with it.
        let head = if body.is_empty() { bytes.clone() } else { Bytes::copy_from_slice(&bytes[..length]) };
        let mut headers = [const { MaybeUninit::<httparse::Header<'_>>::uninit() }; MAX_HEADERS];
        let mut parsed = httparse::Request::new(&mut []);
        let whole = parsed.parse_with_uninit_headers(&head, &mut headers) == Ok(httparse::Status::Complete(length));
        let (Some(method), Some(target), Some(1)) = (parsed.method, parsed.path, parsed.version) else { return None };
        let fits = parsed.headers.len() <= settings.max_headers && body.len() <= MAX_BODY;
        if !whole || !fits || !target.starts_with('/') || target.contains('#') {
            return None;
        }
        let mut reader = Reader::begin(&head, method, target)?;
        for header in parsed.headers.iter() {
            reader.take(header)?;
        }
        let allowed = settings.max_http1_request.is_none_or(|most| body.len() as u64 <= most);
        (allowed && reader.length.unwrap_or(0) == body.len()).then(|| reader.end(bytes.clone(), body))?
    }

    /// What is sent to the instance.
    pub(super) fn outbound(&mut self, client: &Client, trace: &TraceContext) -> Vec<u8> {
        let mut out = std::mem::take(&mut self.head);
        headers::write_forward(&mut out, client, &self.host);
        trace.write_headers(&mut out);
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(&self.body);
        out
    }
}

/// A request's headers on their way.
struct Reader<'a> {
    bytes: &'a Bytes,
    method: Method,
    path: PathAndQuery,
    host: Option<HeaderValue>,
    user_agent: Option<HeaderValue>,
    referer: Option<HeaderValue>,
    close: bool,
    /// Bytes of the body.
    length: Option<usize>,
    cookies: bool,
    head: Vec<u8>,
}

impl<'a> Reader<'a> {
    fn begin(bytes: &'a Bytes, method: &str, target: &str) -> Option<Self> {
        let method = Method::from_bytes(method.as_bytes()).ok()?;
        if matches!(method, Method::CONNECT | Method::TRACE) {
            return None;
        }
        let path = PathAndQuery::from_maybe_shared(bytes.slice_ref(target.as_bytes())).ok()?;
        let mut head = scratch::take_spare();
        head.reserve(bytes.len() + ADDED);
        for part in [method.as_str(), " ", path.as_str(), " HTTP/1.1\r\n"] {
            head.extend_from_slice(part.as_bytes());
        }
        let (host, user_agent, referer) = (None, None, None);
        Some(Self { bytes, method, path, host, user_agent, referer, close: false, length: None, cookies: false, head })
    }

    /// `None` where the header makes the request one that is not plain.
    fn take(&mut self, header: &httparse::Header<'_>) -> Option<()> {
        let at = self.head.len();
        self.head.extend(header.name.bytes().map(|byte| byte.to_ascii_lowercase()));
        let name = &self.head[at..];
        if headers::needs_more(name) {
            return None;
        }
        match name {
            b"connection" => {
                self.head.truncate(at);
                let close = header.value.eq_ignore_ascii_case(b"close");
                self.close |= close;
                return (close || header.value.eq_ignore_ascii_case(b"keep-alive")).then_some(());
            }
            b"host" => {
                let good = self.host.is_none() && is_plain_host(header.value);
                self.host = Some(good.then(|| self.shared(header.value))??);
            }
            b"content-length" => {
                let good = self.length.is_none();
                self.length = Some(good.then(|| length(header.value))??);
            }
            b"cookie" if std::mem::replace(&mut self.cookies, true) => return None,
            b"user-agent" if self.user_agent.is_none() => self.user_agent = Some(self.shared(header.value)?),
            b"referer" if self.referer.is_none() => self.referer = Some(self.shared(header.value)?),
            _ => {}
        }
        self.head.extend_from_slice(b": ");
        self.head.extend_from_slice(header.value);
        self.head.extend_from_slice(b"\r\n");
        Some(())
    }

    fn shared(&self, value: &[u8]) -> Option<HeaderValue> {
        HeaderValue::from_maybe_shared(self.bytes.slice_ref(value)).ok()
    }

    fn end(mut self, bytes: Bytes, body: Bytes) -> Option<Plain> {
        // Servers may wait for the length where there usually is a body.
        if self.length.is_none() && matches!(self.method, Method::POST | Method::PUT | Method::PATCH) {
            self.head.extend_from_slice(b"content-length: 0\r\n");
        }
        let Self { method, path, host, user_agent, referer, close, head, .. } = self;
        Some(Plain { bytes, method, path, host: host?, user_agent, referer, close, body, head })
    }
}

/// Bytes of the head, if it is whole and none of its lines ends with a line feed alone, which some servers take for a
/// line's end and others do not.
fn head_length(bytes: &[u8]) -> Option<usize> {
    let mut begin = 0;
    loop {
        let feed = begin + memchr::memchr(b'\n', &bytes[begin..])?;
        match feed - begin {
            0 => return None,
            _ if bytes[feed - 1] != b'\r' => return None,
            // An empty line before the first is one that some servers pass over.
            1 => return (begin > 0).then_some(feed + 1),
            _ => begin = feed + 1,
        }
    }
}

/// A name or an IPv4 address, with a port or without.
fn is_plain_host(value: &[u8]) -> bool {
    let mut parts = value.splitn(2, |byte| *byte == b':');
    let name = parts.next().unwrap_or_default();
    let port = parts.next().unwrap_or(b"80");
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    !name.is_empty() && name.iter().all(is_name) && (1..=5).contains(&port.len()) && port.iter().all(u8::is_ascii_digit)
}

/// A `Content-Length`: digits and nothing else (RFC 9110, section 8.6).
fn length(value: &[u8]) -> Option<usize> {
    let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    digits.then(|| std::str::from_utf8(value).ok()?.parse().ok())?
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Option<Plain> {
        Plain::read(&Bytes::copy_from_slice(text.as_bytes()), &Settings::default())
    }

    #[test]
    fn s09_a_plain_request_goes_on_with_what_is_added() {
        let mut plain = read(
            "POST /a?b HTTP/1.1\r\nHost: a.test:80\r\nX-Own:  1\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        )
        .expect("plain");
        assert!(plain.close);
        let client = Client::untold("192.0.2.1:9".parse().unwrap(), "http");
        let trace = TraceContext { trace_id: 1, span_id: 2, sampled: false };
        let text = String::from_utf8(plain.outbound(&client, &trace)).unwrap();
        let lines: Vec<&str> = text.split("\r\n").collect();
        let expected = [
            "POST /a?b HTTP/1.1",
            "host: a.test:80",
            "x-own: 1",
            "content-length: 2",
            "x-forwarded-for: 192.0.2.1",
            "forwarded: for=\"192.0.2.1\";proto=http",
            "x-forwarded-proto: http",
            "x-forwarded-host: a.test:80",
            "traceparent: 00-00000000000000000000000000000001-0000000000000002-00",
            "x-cloud-trace-context: 00000000000000000000000000000001/2;o=0",
            "",
            "ok",
        ];
        assert_eq!(lines, expected);
        let plain = read("PUT / HTTP/1.1\r\nhost: a\r\n\r\n").expect("plain");
        assert!(String::from_utf8_lossy(&plain.head).ends_with("content-length: 0\r\n"));
    }

    #[test]
    fn s09_what_needs_more_than_passing_on_is_not_plain() {
        let get = "GET / HTTP/1.1\r\nhost: a.test\r\n";
        let others = [
            format!("{get}\r\nGET / HTTP/1.1\r\n"),
            format!("{get}content-length: 2\r\n\r\nx"),
            format!("{get}content-length: 1\r\ncontent-length: 1\r\n\r\nx"),
            format!("{get}content-length: +1\r\n\r\nx"),
            format!("{get}transfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
            format!("{get}connection: keep-alive, upgrade\r\nupgrade: websocket\r\n\r\n"),
            format!("{get}connection: x-own\r\nx-own: 1\r\n\r\n"),
            format!("{get}Expect: 100-continue\r\ncontent-length: 0\r\n\r\n"),
            format!("{get}Host: b.test\r\n\r\n"),
            format!("{get}a: b\n\r\n"),
            format!("{get}a: b\r\n c\r\n\r\n"),
            format!("{get}a : b\r\n\r\n"),
            format!("{get}X-Forwarded-For: 1.2.3.4\r\n\r\n"),
            format!("{get}cookie: a=1\r\ncookie: b=2\r\n\r\n"),
            format!("\r\n{get}\r\n"),
            "GET / HTTP/1.0\r\nhost: a.test\r\n\r\n".to_owned(),
            "GET / HTTP/1.1\r\n\r\n".to_owned(),
            "GET / HTTP/1.1\r\nhost: a@b\r\n\r\n".to_owned(),
            "GET http://b.test/ HTTP/1.1\r\nhost: a.test\r\n\r\n".to_owned(),
            "OPTIONS * HTTP/1.1\r\nhost: a.test\r\n\r\n".to_owned(),
            "CONNECT a.test:80 HTTP/1.1\r\nhost: a.test\r\n\r\n".to_owned(),
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
        ];
        for text in &others {
            assert!(read(text).is_none(), "{text:?}");
        }
        assert!(read(&format!("{get}\r\n")).is_some());
    }

    /// Pieces of requests, among them such as two servers understand differently.
    fn piece() -> impl Strategy<Value = Vec<u8>> {
        let words = [
            "GET / HTTP/1.1\r\n",
            "POST /x HTTP/1.1\r\n",
            "host: a.test\r\n",
            "Host: b.test:1\r\n",
            "Content-Length: 3\r\n",
            "content-length: 0\r\n",
            "Transfer-Encoding: chunked\r\n",
            "transfer-encoding : chunked\r\n",
            "Connection: close\r\n",
            "a: b\r\n",
            "a: \r\n",
            " folded\r\n",
            "\r\n",
            "\n",
            "\r",
            "abc",
            "\0",
            ":",
        ];
        crate::lane::tests::piece_of(&words)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn s09_a_plain_request_leaves_as_one_request_that_has_one_meaning(
            start in prop_oneof![Just("GET / HTTP/1.1\r\nhost: a.test\r\n"), Just("")],
            pieces in proptest::collection::vec(piece(), 0..9),
        ) {
            let bytes: Vec<u8> = start.bytes().chain(pieces.concat()).collect();
            let Some(mut plain) = Plain::read(&Bytes::from(bytes.clone()), &Settings::default()) else { return Ok(()) };
            let client = Client::untold("192.0.2.1:9".parse().unwrap(), "http");
            let out = plain.outbound(&client, &TraceContext::generate());
            let mut headers = [httparse::EMPTY_HEADER; 64];
            let mut parsed = httparse::Request::new(&mut headers);
            let length = match parsed.parse(&out) {
                Ok(httparse::Status::Complete(length)) => length,
                other => return Err(TestCaseError::fail(format!("{other:?}"))),
            };
            let values = |name: &str| -> Vec<&[u8]> {
                parsed.headers.iter().filter(|header| header.name == name).map(|header| header.value).collect()
            };
            prop_assert!(parsed.headers.iter().all(|header| !header.name.bytes().any(|byte| byte.is_ascii_uppercase())));
            prop_assert_eq!(values("host").len(), 1);
            prop_assert!(values("transfer-encoding").is_empty() && values("connection").is_empty());
            let said = values("content-length");
            prop_assert!(said.len() <= 1);
            let said = said.first().map_or(0, |text| std::str::from_utf8(text).unwrap().parse().unwrap());
            prop_assert_eq!(out.len() - length, said);
            prop_assert!(bytes.ends_with(&out[length..]));
        }
    }
}
