//! For which revisions sandboxes are made ahead of need.
//!
//! A sandbox that stands by makes the next start some milliseconds shorter and costs some memory. So there are a
//! few: for those who wait for a GPU, whose turn ends the sooner the sooner they run, and for those who were
//! used last, who are the likeliest to be asked for again. Where memory runs short there are none.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::Timestamp;
use crate::names::RevisionKey;

/// The least share of the machine's memory, in percent, that must be available while sandboxes stand by.
const LEAST_MEMORY_PERCENT: u64 = 10;

/// The machine's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// Bytes that programs can have without anything being swapped out.
    pub available: u64,
    /// Bytes that there are.
    pub total: u64,
}

impl Memory {
    /// Whether there is too little for what is not needed.
    fn is_short(self) -> bool {
        self.available < self.total / 100 * LEAST_MEMORY_PERCENT
    }
}

/// A revision without instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AtZero {
    /// Whether it waits for a GPU.
    pub waits: bool,
    /// When it last had an instance; `None` if that is not known.
    pub used: Option<Timestamp>,
}

/// The revisions that get a sandbox, `most` at most, the most important one first.
pub fn standby(at_zero: &BTreeMap<RevisionKey, AtZero>, most: u32, memory: Memory) -> Vec<RevisionKey> {
    if memory.is_short() {
        return Vec::new();
    }
    let mut chosen: Vec<_> = at_zero.iter().filter(|(_, seen)| seen.waits || seen.used.is_some()).collect();
    chosen.sort_by_key(|(_, seen)| Reverse((seen.waits, seen.used)));
    chosen.into_iter().take(most as usize).map(|(key, _)| key.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLENTY: Memory = Memory { available: 50 << 30, total: 100 << 30 };

    fn key(name: &str) -> RevisionKey {
        RevisionKey { project: "demo".into(), region: "us-central1".into(), name: name.into() }
    }

    fn chosen(most: u32, memory: Memory) -> Vec<String> {
        let at = |seconds| Timestamp::from_timestamp(seconds, 0);
        let at_zero = BTreeMap::from([
            (key("never"), AtZero { waits: false, used: None }),
            (key("old"), AtZero { waits: false, used: at(1) }),
            (key("new"), AtZero { waits: false, used: at(2) }),
            (key("waits"), AtZero { waits: true, used: None }),
        ]);
        standby(&at_zero, most, memory).into_iter().map(|key| key.name.to_string()).collect()
    }

    #[test]
    fn b03_who_waits_comes_first_and_then_who_was_used_last() {
        assert_eq!(chosen(4, PLENTY), ["waits", "new", "old"]);
        assert_eq!(chosen(2, PLENTY), ["waits", "new"]);
        assert_eq!(chosen(0, PLENTY), [""; 0]);
    }

    #[test]
    fn b03_nothing_stands_by_where_memory_is_short() {
        assert_eq!(chosen(4, Memory { available: 9 << 30, ..PLENTY }), [""; 0]);
        assert_eq!(chosen(4, Memory { available: 11 << 30, ..PLENTY }).len(), 3);
    }
}
