//! When instances have CPU: while they start, serve, are probed and end, and always where the revision says so.
//!
//! Rule and default are Cloud Run's (<https://cloud.google.com/run/docs/configuring/billing-settings>); there the CPU
//! goes with the last request, here a moment later, so that what comes at once does not find it gone.

use chrono::TimeDelta;

use crate::Timestamp;
use crate::revision::Revision;

/// How long an instance keeps its CPU after it has become ready or ended its last request.
const AFTERWARDS: TimeDelta = TimeDelta::seconds(1);

/// Whether a revision's instances have CPU only when they need it. Without a word of the user they do.
pub fn is_throttled(revision: &Revision) -> bool {
    revision.template.cpu_throttling != Some(false)
}

/// Whether an instance of such a revision loses its CPU until its next request; `last_used` is when it became ready or
/// ended its last request, whichever was later.
pub fn rests(in_flight: u32, last_used: Timestamp, now: Timestamp) -> bool {
    in_flight == 0 && now - last_used >= AFTERWARDS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s05_an_instance_rests_a_second_after_its_last_request() {
        let at = |millis| Timestamp::from_timestamp_millis(millis).expect("in range");
        assert!(!rests(0, at(0), at(999)));
        assert!(rests(0, at(0), at(1000)));
        assert!(!rests(1, at(0), at(5000)));
    }
}
