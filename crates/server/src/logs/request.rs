//! A request's line in the log, written as it is: one for every request is the most frequent thing that logs do.
//!
//! No [`LogEntry`](homerun_api::logging::LogEntry) is made on the way; a test holds the line against one.

use std::borrow::Cow;
use std::cell::RefCell;
use std::io::{self, Write};
use std::net::IpAddr;

use chrono::{DateTime, Datelike, Timelike, Utc};
use data_encoding::HEXLOWER;
use homerun_ingress::RequestRecord;
use homerun_model::names::ProjectId;
use http::{HeaderValue, Version};

use super::writer::nanos;

/// What a line begins with: its time of receipt and its id, which it gets when it goes to its file.
const RECEIVED: &[u8] = br#"{"receiveTimestamp":"#;
const TIME_LENGTH: usize = r#""2000-01-01T00:00:00.000000000Z""#.len();
const ID: &[u8] = br#","insertId":""#;
const ID_LENGTH: usize = 16;
const ID_AT: usize = RECEIVED.len() + TIME_LENGTH + ID.len();

/// Bytes of lines that wait in one piece, about, and of most lines.
const LINES_BYTES: usize = 64 << 10;
const LINE_BYTES: usize = 1 << 10;

/// Lines of requests on their way to the file, one behind the other.
pub(super) struct Lines {
    bytes: Vec<u8>,
    /// Of each line its length and its `timestamp`.
    each: Vec<(usize, i64)>,
}

impl Lines {
    /// `many` for room for as many as may be put in.
    pub(super) fn new(many: bool) -> Self {
        Self { bytes: Vec::with_capacity(if many { LINES_BYTES + LINE_BYTES } else { LINE_BYTES }), each: Vec::new() }
    }

    pub(super) fn is_full(&self) -> bool {
        self.bytes.len() >= LINES_BYTES
    }

    pub(super) fn add(&mut self, line: &[u8], arrived: DateTime<Utc>) {
        self.bytes.extend_from_slice(line);
        self.each.push((line.len(), nanos(arrived)));
    }

    /// The lines and their `timestamp`.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (&mut [u8], i64)> {
        let mut rest = &mut self.bytes[..];
        self.each.iter().map(move |(length, timestamp)| {
            let (line, behind) = std::mem::take(&mut rest).split_at_mut(*length);
            rest = behind;
            (line, *timestamp)
        })
    }
}

/// Sets a line's time of receipt and its id. `room` is for this function's own use, again and again.
pub(super) fn stamp(line: &mut [u8], received: DateTime<Utc>, room: &mut Vec<u8>) {
    room.clear();
    time(room, received);
    room.extend_from_slice(ID);
    line[RECEIVED.len()..ID_AT].copy_from_slice(room);
    HEXLOWER.encode_mut(&nanos(received).to_be_bytes(), &mut line[ID_AT..ID_AT + ID_LENGTH]);
}

/// Appends the line, without what the file's place says of it and without what [`stamp`] sets.
pub(super) fn line(out: &mut Vec<u8>, record: &RequestRecord, project: &ProjectId, scheme: &str) -> io::Result<()> {
    out.extend_from_slice(RECEIVED);
    out.resize(out.len() + ID_AT + ID_LENGTH - RECEIVED.len(), b' ');
    out.extend_from_slice(
        br#"","logName":"run.googleapis.com%2Frequests","resource":{"type":"","labels":{"revision_name":"#,
    );
    text(out, record.revision.as_ref().map_or("", |key| key.name.as_str()))?;
    out.extend_from_slice(br#"}},"timestamp":"#);
    time(out, record.arrived);
    let severity = match record.status {
        500.. => "ERROR",
        400..500 => "WARNING",
        _ => "INFO",
    };
    out.extend_from_slice(br#","severity":""#);
    out.extend_from_slice(severity.as_bytes());
    out.push(b'"');
    if let Some(instance) = &record.instance {
        out.extend_from_slice(br#","labels":{"instanceId":"#);
        text(out, instance.as_str())?;
        out.push(b'}');
    }
    http_request(out, record, scheme)?;
    out.extend_from_slice(br#","trace":"projects/"#);
    within(out, project.as_str())?;
    out.extend_from_slice(b"/traces/");
    record.trace.write_trace_id(out);
    out.extend_from_slice(br#"","spanId":""#);
    record.trace.write_span_id(out);
    out.push(b'"');
    if record.trace.sampled {
        out.extend_from_slice(br#","traceSampled":true"#);
    }
    if let Some(message) = &record.message {
        out.extend_from_slice(br#","textPayload":"#);
        text(out, message)?;
    }
    out.extend_from_slice(b"}\n");
    Ok(())
}

fn http_request(out: &mut Vec<u8>, record: &RequestRecord, scheme: &str) -> io::Result<()> {
    out.extend_from_slice(br#","httpRequest":{"requestMethod":"#);
    text(out, record.method.as_str())?;
    out.extend_from_slice(br#","requestUrl":""#);
    out.extend_from_slice(scheme.as_bytes());
    out.extend_from_slice(b"://");
    within(out, &header(&record.host))?;
    within(out, record.path.as_str())?;
    let bytes = |count: u64| count.min(i64::MAX as u64);
    for (name, number) in [
        (&br#"","requestSize":""#[..], bytes(record.request_bytes)),
        (br#"","status":"#, record.status.into()),
        (br#","responseSize":""#, bytes(record.response_bytes)),
    ] {
        out.extend_from_slice(name);
        decimal(out, number, 1);
    }
    out.push(b'"');
    for (name, value) in [(&br#","userAgent":"#[..], &record.user_agent), (br#","referer":"#, &record.referer)] {
        if let Some(value) = value.as_ref().filter(|value| !value.is_empty()) {
            out.extend_from_slice(name);
            text(out, &header(value))?;
        }
    }
    out.extend_from_slice(br#","remoteIp":""#);
    match record.remote.ip().to_canonical() {
        IpAddr::V4(address) => {
            for (index, byte) in address.octets().into_iter().enumerate() {
                if index > 0 {
                    out.push(b'.');
                }
                decimal(out, byte.into(), 1);
            }
        }
        IpAddr::V6(address) => write!(out, "{address}")?,
    }
    out.extend_from_slice(br#"","latency":""#);
    decimal(out, record.latency.as_secs(), 1);
    out.push(b'.');
    decimal(out, record.latency.subsec_nanos().into(), 9);
    out.extend_from_slice(br#"s","protocol":""#);
    match record.version {
        Version::HTTP_11 => out.extend_from_slice(b"HTTP/1.1"),
        other => write!(out, "{other:?}")?,
    }
    out.extend_from_slice(b"\"}");
    Ok(())
}

fn text(out: &mut Vec<u8>, value: &str) -> io::Result<()> {
    if is_plain(value) {
        out.push(b'"');
        out.extend_from_slice(value.as_bytes());
        out.push(b'"');
        return Ok(());
    }
    Ok(serde_json::to_writer(out, value)?)
}

/// The text as a part of a string that others begin and end.
fn within(out: &mut Vec<u8>, value: &str) -> io::Result<()> {
    if is_plain(value) {
        out.extend_from_slice(value.as_bytes());
        return Ok(());
    }
    let at = out.len();
    text(out, value)?;
    out.pop();
    out.remove(at);
    Ok(())
}

/// Whether it stands in JSON as it is.
fn is_plain(value: &str) -> bool {
    value.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\')
}

/// A header's value, which need not be UTF-8.
fn header(value: &HeaderValue) -> Cow<'_, str> {
    value.to_str().map_or_else(|_| String::from_utf8_lossy(value.as_bytes()), Cow::Borrowed)
}

fn write_second(out: &mut Vec<u8>, time: DateTime<Utc>) {
    // RFC 3339 has four digits for the year; nobody's clock is beyond them.
    decimal(out, time.year().unsigned_abs().into(), 4);
    for (before, number) in
        [(b'-', time.month()), (b'-', time.day()), (b'T', time.hour()), (b':', time.minute()), (b':', time.second())]
    {
        out.push(before);
        decimal(out, number.into(), 2);
    }
}

fn time(out: &mut Vec<u8>, time: DateTime<Utc>) {
    thread_local! {
        /// The second that was written last, and its text: there are many requests in a second.
        static LAST: RefCell<(i64, Vec<u8>)> = const { RefCell::new((i64::MIN, Vec::new())) };
    }
    out.push(b'"');
    LAST.with_borrow_mut(|(second, text)| {
        if *second != time.timestamp() {
            *second = time.timestamp();
            text.clear();
            write_second(text, time);
        }
        out.extend_from_slice(text);
    });
    out.push(b'.');
    decimal(out, time.nanosecond().into(), 9);
    out.extend_from_slice(b"Z\"");
}

/// A number in at least so many digits; what `write!` does, which takes several times as long.
fn decimal(out: &mut Vec<u8>, mut number: u64, least: usize) {
    let mut digits = [b'0'; 20];
    let mut first = digits.len();
    while number > 0 || digits.len() - first < least {
        first -= 1;
        digits[first] = b'0' + (number % 10) as u8;
        number /= 10;
    }
    out.extend_from_slice(&digits[first..]);
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use homerun_api::logging::{HttpRequest, LogEntry, Severity};
    use homerun_ingress::{Outcome, TraceContext};
    use homerun_model::names::{InstanceId, RevisionKey};
    use http::Method;

    use super::super::entry;
    use super::*;

    pub(in crate::logs) fn record() -> RequestRecord {
        RequestRecord {
            arrived: DateTime::from_timestamp_nanos(1_700_000_000_000_000_007),
            service: None,
            revision: None,
            instance: None,
            host: HeaderValue::from_static(""),
            method: Method::GET,
            path: "/".parse().unwrap(),
            version: Version::HTTP_2,
            status: 200,
            request_bytes: 0,
            response_bytes: 0,
            latency: Duration::ZERO,
            waited: Duration::ZERO,
            cold_start: false,
            trace: TraceContext { trace_id: 5, span_id: 6, sampled: false },
            user_agent: None,
            referer: None,
            remote: "[::ffff:192.0.2.1]:7".parse().unwrap(),
            outcome: Outcome::Served,
            message: None,
        }
    }

    fn entry_of(record: RequestRecord, project: &ProjectId, scheme: &str) -> LogEntry {
        let revision = record.revision.as_ref().map(|key| &key.name);
        let mut entry = entry::blank("run.googleapis.com%2Frequests", revision, record.arrived);
        entry.severity = match record.status {
            500.. => Severity::Error,
            400..500 => Severity::Warning,
            _ => Severity::Info,
        };
        if let Some(instance) = &record.instance {
            entry.labels.insert("instanceId".to_owned(), instance.to_string());
        }
        entry.trace = format!("projects/{project}/traces/{:032x}", record.trace.trace_id);
        entry.span_id = format!("{:016x}", record.trace.span_id);
        entry.trace_sampled = record.trace.sampled;
        let text = |value: &Option<http::HeaderValue>| {
            value.as_ref().map_or_else(String::new, |value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        let bytes = |count: u64| Some(i64::try_from(count).unwrap_or(i64::MAX));
        entry.http_request = Some(HttpRequest {
            request_method: record.method.to_string(),
            request_url: format!("{scheme}://{}{}", String::from_utf8_lossy(record.host.as_bytes()), record.path),
            request_size: bytes(record.request_bytes),
            status: Some(record.status.into()),
            response_size: bytes(record.response_bytes),
            user_agent: text(&record.user_agent),
            remote_ip: record.remote.ip().to_canonical().to_string(),
            server_ip: String::new(),
            referer: text(&record.referer),
            latency: format!("{}.{:09}s", record.latency.as_secs(), record.latency.subsec_nanos()),
            protocol: format!("{:?}", record.version),
        });
        entry.text_payload = record.message;
        entry
    }

    #[test]
    fn a_line_says_what_the_entry_says() {
        let key = RevisionKey { project: "demo".into(), region: "us-central1".into(), name: "hello-00001".into() };
        let full = RequestRecord {
            revision: Some(Arc::new(key)),
            instance: Some(Arc::new(InstanceId::new("an \"instance\""))),
            host: HeaderValue::from_bytes(b"h\xffst").unwrap(),
            method: Method::from_bytes(b"ODD'").unwrap(),
            path: "/a\"b\"?c='d'".parse().unwrap(),
            version: Version::HTTP_11,
            status: 503,
            request_bytes: u64::MAX,
            response_bytes: 12,
            latency: Duration::from_micros(1_000_001),
            trace: TraceContext { trace_id: u128::MAX, span_id: u64::MAX, sampled: true },
            user_agent: Some(HeaderValue::from_bytes(b"curl \"\\\t\xe3\x81\x82").unwrap()),
            referer: Some(HeaderValue::from_static("http://a/")),
            message: Some("line\nand \"quotes\"".to_owned()),
            ..record()
        };
        let received = DateTime::from_timestamp_nanos(1_700_000_001_120_000_000);
        for record in [record(), RequestRecord { status: 404, ..record() }, full] {
            let (mut out, mut lines) = (Vec::new(), Lines::new(false));
            line(&mut out, &record, &"demo".into(), "https").unwrap();
            lines.add(b"before\n", received);
            lines.add(&out, record.arrived);
            let (out, timestamp) = lines.iter_mut().nth(1).unwrap();
            stamp(out, received, &mut Vec::new());
            assert_eq!((out.last(), timestamp), (Some(&b'\n'), nanos(record.arrived)));
            let mut expected = entry_of(record, &"demo".into(), "https");
            expected.receive_timestamp = received;
            expected.insert_id = format!("{:016x}", received.timestamp_nanos_opt().unwrap());
            assert_eq!(serde_json::from_slice::<LogEntry>(out).unwrap(), expected);
        }
    }
}
