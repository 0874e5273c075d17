//! Amounts of CPU and memory in Kubernetes' notation.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An amount of CPU in thousandths of a vCPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Cpu(u64);

impl Cpu {
    /// `millis` thousandths of a vCPU.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Thousandths of a vCPU.
    pub const fn millis(self) -> u64 {
        self.0
    }

    /// Parses `4`, `0.5` or `500m`; `None` if it is not such a number or finer than a thousandth.
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(millis) = text.strip_suffix('m') {
            return digits(millis).map(Self);
        }
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        if fraction.len() > 3 || (text.contains('.') && fraction.is_empty()) {
            return None;
        }
        let thousandths = if fraction.is_empty() { 0 } else { digits(&format!("{fraction:0<3}"))? };
        digits(whole)?.checked_mul(1000)?.checked_add(thousandths).map(Self)
    }
}

impl fmt::Display for Cpu {
    /// Whole vCPUs as `4`, others as `500m`. Cloud Run prints `1000m` for its own default; that is the
    /// API's affair.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_multiple_of(1000) { write!(f, "{}", self.0 / 1000) } else { write!(f, "{}m", self.0) }
    }
}

/// An amount of memory in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Memory(u64);

/// Kubernetes' suffixes and their factors.
const MEMORY_UNITS: [(&str, u64); 9] = [
    ("Ki", 1 << 10),
    ("Mi", 1 << 20),
    ("Gi", 1 << 30),
    ("Ti", 1 << 40),
    ("k", 1_000),
    ("K", 1_000),
    ("M", 1_000_000),
    ("G", 1_000_000_000),
    ("T", 1_000_000_000_000),
];

impl Memory {
    /// `bytes` bytes.
    pub const fn from_bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// `count` mebibytes.
    pub const fn mib(count: u64) -> Self {
        Self(count << 20)
    }

    /// `count` gibibytes.
    pub const fn gib(count: u64) -> Self {
        Self(count << 30)
    }

    /// Bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// Parses `512Mi`, `16Gi`, `2G` or a plain count of bytes; `None` if it is no such amount.
    pub fn parse(text: &str) -> Option<Self> {
        let unit = MEMORY_UNITS.iter().find(|(suffix, _)| text.ends_with(suffix));
        let (number, factor) = match unit {
            Some((suffix, factor)) => (&text[..text.len() - suffix.len()], *factor),
            None => (text, 1),
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if fraction.len() > 6 || (number.contains('.') && fraction.is_empty()) {
            return None;
        }
        let scale = 10_u64.pow(fraction.len() as u32);
        let part = if fraction.is_empty() { 0 } else { digits(fraction)?.checked_mul(factor)? / scale };
        digits(whole)?.checked_mul(factor)?.checked_add(part).map(Self)
    }
}

impl fmt::Display for Memory {
    /// The largest binary unit that divides it: `16Gi`, `1536Mi`, `1000` (bytes).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (suffix, factor) in [("Ti", 1_u64 << 40), ("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10)] {
            if self.0 > 0 && self.0.is_multiple_of(factor) {
                return write!(f, "{}{suffix}", self.0 / factor);
            }
        }
        write!(f, "{}", self.0)
    }
}

fn digits(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}
