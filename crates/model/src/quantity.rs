//! Amounts of CPU and memory in Kubernetes' notation.

use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Serialize};

/// An amount of CPU in thousandths of a vCPU, and which of the two notations it was given in. Amounts are
/// compared without regard to that.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(from = "StoredCpu", into = "StoredCpu")]
pub struct Cpu {
    millis: u64,
    in_millis: bool,
}

/// How an amount of CPU is stored: a plain number is that of thousandths of an amount in whole vCPUs.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum StoredCpu {
    Whole(u64),
    InMillis { millis: u64 },
}

impl From<StoredCpu> for Cpu {
    fn from(stored: StoredCpu) -> Self {
        match stored {
            StoredCpu::Whole(millis) => Self::from_millis(millis),
            StoredCpu::InMillis { millis } => Self::from_millis(millis).in_millis(),
        }
    }
}

impl From<Cpu> for StoredCpu {
    fn from(cpu: Cpu) -> Self {
        if cpu.in_millis { Self::InMillis { millis: cpu.millis } } else { Self::Whole(cpu.millis) }
    }
}

impl PartialEq for Cpu {
    fn eq(&self, other: &Self) -> bool {
        self.millis == other.millis
    }
}

impl Eq for Cpu {}

impl PartialOrd for Cpu {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Cpu {
    fn cmp(&self, other: &Self) -> Ordering {
        self.millis.cmp(&other.millis)
    }
}

impl Cpu {
    /// `millis` thousandths of a vCPU.
    pub const fn from_millis(millis: u64) -> Self {
        Self { millis, in_millis: false }
    }

    /// The same amount, written in thousandths even where it is whole vCPUs.
    pub const fn in_millis(self) -> Self {
        Self { in_millis: true, ..self }
    }

    /// Thousandths of a vCPU.
    pub const fn millis(self) -> u64 {
        self.millis
    }

    /// The amount as it was given: `1000m` where [`Display`](fmt::Display) says `1`.
    pub fn as_given(self) -> String {
        if self.in_millis { format!("{}m", self.millis) } else { self.to_string() }
    }

    /// Parses `4`, `0.5` or `500m`; `None` if it is not such a number or finer than a thousandth.
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(millis) = text.strip_suffix('m') {
            return digits(millis).map(|millis| Self::from_millis(millis).in_millis());
        }
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        if fraction.len() > 3 || (text.contains('.') && fraction.is_empty()) {
            return None;
        }
        let thousandths = if fraction.is_empty() { 0 } else { digits(&format!("{fraction:0<3}"))? };
        digits(whole)?.checked_mul(1000)?.checked_add(thousandths).map(Self::from_millis)
    }
}

impl fmt::Display for Cpu {
    /// Whole vCPUs as `4`, others as `500m`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.millis.is_multiple_of(1000) {
            write!(f, "{}", self.millis / 1000)
        } else {
            write!(f, "{}m", self.millis)
        }
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
