//! Trace context: `traceparent` (W3C Trace Context) and `X-Cloud-Trace-Context` (Google's older form).

use std::cell::Cell;
use std::fmt;
use std::hash::{BuildHasher, RandomState};

use bytes::Bytes;
use data_encoding::HEXLOWER;
use http::{HeaderMap, HeaderName, HeaderValue};

/// W3C Trace Context's header.
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// `TRACE_ID/SPAN_ID;o=OPTIONS`, the trace in hexadecimal and the span in decimal digits.
const CLOUD_TRACE: HeaderName = HeaderName::from_static("x-cloud-trace-context");

/// Which trace a request belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace, never 0.
    pub trace_id: u128,
    /// The caller's span, or one made for the request; never 0.
    pub span_id: u64,
    /// Whether the caller asked for the trace to be kept.
    pub sampled: bool,
}

impl TraceContext {
    /// The context that the headers give, else a new one. Afterwards the headers carry it in both forms;
    /// a form that was given and understood is passed on as it is.
    pub(crate) fn take(headers: &mut HeaderMap) -> Self {
        let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let parent = text(TRACEPARENT).and_then(Self::parse_traceparent);
        let cloud = text(CLOUD_TRACE).and_then(Self::parse_cloud);
        let context = parent.or(cloud).unwrap_or_else(Self::generate);
        if parent.is_none() || cloud.is_none() {
            context.write(headers, parent.is_none(), cloud.is_none());
        }
        context
    }

    /// A new one.
    pub(crate) fn generate() -> Self {
        let trace_id = (u128::from(random()) << 64) | u128::from(random());
        Self { trace_id: trace_id.max(1), span_id: random().max(1), sampled: false }
    }

    fn parse_traceparent(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let known = version.len() == 2 && version != "ff" && (version != "00" || parts.next().is_none());
        if !known || trace.len() != 32 || span.len() != 16 || flags.len() != 2 {
            return None;
        }
        hexadecimal(version)?;
        let trace_id = hexadecimal(trace)?;
        let span_id = u64::try_from(hexadecimal(span)?).ok()?;
        let sampled = hexadecimal(flags)? & 1 == 1;
        (trace_id != 0 && span_id != 0).then_some(Self { trace_id, span_id, sampled })
    }

    fn parse_cloud(text: &str) -> Option<Self> {
        let (ids, options) = text.split_once(';').unwrap_or((text, ""));
        let (trace, span) = ids.split_once('/').unwrap_or((ids, "0"));
        let trace_id = (trace.len() == 32).then(|| hexadecimal(trace))??;
        let given: u64 = span.parse().ok()?;
        let span_id = if given == 0 { random().max(1) } else { given };
        (trace_id != 0).then_some(Self { trace_id, span_id, sampled: options == "o=1" })
    }

    /// Appends the trace in 32 hexadecimal digits.
    pub fn write_trace_id(&self, out: &mut Vec<u8>) {
        hex(out, &self.trace_id.to_be_bytes());
    }

    /// Appends the span in 16 hexadecimal digits.
    pub fn write_span_id(&self, out: &mut Vec<u8>) {
        hex(out, &self.span_id.to_be_bytes());
    }

    fn write_parent(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"00-");
        self.write_trace_id(out);
        out.push(b'-');
        self.write_span_id(out);
        out.extend_from_slice(if self.sampled { b"-01" } else { b"-00" });
    }

    fn write_cloud(&self, out: &mut Vec<u8>) {
        self.write_trace_id(out);
        out.push(b'/');
        out.extend_from_slice(itoa::Buffer::new().format(self.span_id).as_bytes());
        out.extend_from_slice(if self.sampled { b";o=1" } else { b";o=0" });
    }

    /// Both forms as lines of a request's head.
    pub(crate) fn write_headers(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"traceparent: ");
        self.write_parent(out);
        out.extend_from_slice(b"\r\nx-cloud-trace-context: ");
        self.write_cloud(out);
        out.extend_from_slice(b"\r\n");
    }

    /// Puts in the forms that are wanted, both in one piece of memory.
    fn write(&self, headers: &mut HeaderMap, parent: bool, cloud: bool) {
        let mut text = Vec::with_capacity(PARENT_LENGTH + CLOUD_LENGTH_MAX);
        self.write_parent(&mut text);
        self.write_cloud(&mut text);
        let mut text = Bytes::from(text);
        let rest = text.split_off(PARENT_LENGTH);
        for (name, text, wanted) in [(TRACEPARENT, text, parent), (CLOUD_TRACE, rest, cloud)] {
            if wanted {
                let value = HeaderValue::from_maybe_shared(text).expect("digits and punctuation only");
                headers.insert(name, value);
            }
        }
    }
}

/// Bytes of `00-TRACE-SPAN-FLAGS`.
const PARENT_LENGTH: usize = 55;
/// Bytes of `TRACE/SPAN;o=OPTIONS`, the span having at most 20 digits.
const CLOUD_LENGTH_MAX: usize = 57;

fn hex(out: &mut Vec<u8>, bytes: &[u8]) {
    let at = out.len();
    out.resize(at + 2 * bytes.len(), 0);
    HEXLOWER.encode_mut(bytes, &mut out[at..]);
}

impl fmt::Display for TraceContext {
    /// `TRACE_ID/SPAN_ID`, as in `X-Cloud-Trace-Context`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}/{}", self.trace_id, self.span_id)
    }
}

/// Unlike `from_str_radix` it refuses signs.
fn hexadecimal(text: &str) -> Option<u128> {
    let plain = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    plain.then(|| u128::from_str_radix(text, 16).ok())?
}

thread_local! {
    static STATE: Cell<u64> = Cell::new(RandomState::new().hash_one(0));
}

/// A number that is unlike any other, not one that nobody could guess: SplitMix64 over a counter of the thread's, begun
/// at a place that the operating system's randomness chose.
fn random() -> u64 {
    const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut mixed = STATE.get().wrapping_add(STEP);
    STATE.set(mixed);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(given: &[(&'static str, &str)]) -> (TraceContext, String, String) {
        let mut headers = HeaderMap::new();
        for (name, value) in given {
            headers.insert(*name, value.parse().unwrap());
        }
        let context = TraceContext::take(&mut headers);
        let text = |name| headers[name].to_str().unwrap().to_owned();
        (context, text(TRACEPARENT), text(CLOUD_TRACE))
    }

    #[test]
    fn s09_a_missing_trace_is_made_and_a_given_one_is_passed_on_in_both_forms() {
        let (first, parent, cloud) = taken(&[]);
        assert_eq!(parent, format!("00-{:032x}-{:016x}-00", first.trace_id, first.span_id));
        assert_eq!(cloud, format!("{first};o=0"));
        assert_ne!(taken(&[]).0.trace_id, first.trace_id);

        let given = "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01";
        let (context, parent, cloud) = taken(&[("traceparent", given)]);
        assert!(context.sampled);
        assert_eq!(parent, given);
        assert_eq!(cloud, "0af7651916cd43dd8448eb211c80319c/67667974448284343;o=1");

        let given = "105445aa7843bc8bf206b12000100000/7;o=1";
        let (_, parent, cloud) = taken(&[("x-cloud-trace-context", given)]);
        assert_eq!(
            (parent.as_str(), cloud.as_str()),
            ("00-105445aa7843bc8bf206b12000100000-0000000000000007-01", given)
        );
    }

    #[test]
    fn s09_a_broken_trace_is_replaced() {
        let zero = "00-00000000000000000000000000000000-00f067aa0ba902b7-01";
        for given in ["", "00-1-2-01", zero, "ff-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01", "+/+"] {
            let (context, parent, _) = taken(&[("traceparent", given), ("x-cloud-trace-context", given)]);
            assert_ne!(context.trace_id, 0);
            assert!(TraceContext::parse_traceparent(&parent).is_some(), "{given} became {parent}");
        }
    }
}
