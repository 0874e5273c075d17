//! For which revisions sandboxes are made ahead of need.
//!
//! A sandbox that stands by makes the next start some milliseconds shorter and costs some memory. So there are a
//! few: for those who wait for a GPU, whose turn ends the sooner the sooner they run, and for those who were
//! used last, who are the likeliest to be asked for again. Where memory runs short there are none; where it nearly
//! does, those that are there stay and no others are made, so that none are made and ended by turns.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::Timestamp;
use crate::names::RevisionKey;

/// The least share of the machine's memory, in percent, that must be available while sandboxes stand by.
const LEAST_MEMORY_PERCENT: u64 = 10;
/// The share that must be available for another one to be made.
const ENOUGH_MEMORY_PERCENT: u64 = 15;

/// The machine's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// Bytes that programs can have without anything being swapped out.
    pub available: u64,
    /// Bytes that there are.
    pub total: u64,
}

impl Memory {
    fn is_below(self, percent: u64) -> bool {
        self.available < self.total / 100 * percent
    }
}

/// A revision without instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AtZero {
    /// Whether it waits for a GPU.
    pub waits: bool,
    /// When it last had an instance; `None` if that is not known.
    pub used: Option<Timestamp>,
    /// Whether it was to have a sandbox when it was last looked at.
    pub stands_by: bool,
}

/// The revisions that get a sandbox, `most` at most, the most important one first.
pub fn standby(at_zero: &BTreeMap<RevisionKey, AtZero>, most: u32, memory: Memory) -> Vec<RevisionKey> {
    if memory.is_below(LEAST_MEMORY_PERCENT) {
        return Vec::new();
    }
    let enough = !memory.is_below(ENOUGH_MEMORY_PERCENT);
    let wants = |seen: &AtZero| (seen.waits || seen.used.is_some()) && (enough || seen.stands_by);
    let mut chosen: Vec<_> = at_zero.iter().filter(|(_, seen)| wants(seen)).collect();
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
        let seen = |waits, used, stands_by| AtZero { waits, used, stands_by };
        let at_zero = BTreeMap::from([
            (key("never"), seen(false, None, false)),
            (key("old"), seen(false, at(1), true)),
            (key("new"), seen(false, at(2), false)),
            (key("waits"), seen(true, None, false)),
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
        assert_eq!(chosen(4, Memory { available: 16 << 30, ..PLENTY }).len(), 3);
    }

    #[test]
    fn b03_where_memory_is_nearly_short_what_stands_by_stays_and_nothing_is_made() {
        for available in [11, 14] {
            assert_eq!(chosen(4, Memory { available: available << 30, ..PLENTY }), ["old"]);
        }
    }
}
