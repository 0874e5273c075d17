//! How long a revision whose instances fail is left alone before the next start.

use chrono::TimeDelta;
use homerun_model::Timestamp;

use crate::platform::Failures;

/// The pause after the second failure in a row; it doubles with each further one. After a single failure the
/// next start comes at once, so that one crash costs those who wait no more than a start.
const FIRST: TimeDelta = TimeDelta::seconds(1);
/// The longest pause.
const LONGEST: TimeDelta = TimeDelta::seconds(60);
/// After this long without a failure the count begins anew.
const FORGIVEN: TimeDelta = TimeDelta::minutes(10);

/// How long an instance must serve before earlier failures are forgotten.
const PROVEN: TimeDelta = TimeDelta::seconds(10);

/// Whether an instance that has been ready since `ready` makes the failures forgotten. One that served before
/// the last failure says nothing about what fails now.
pub(super) fn forgiven(failures: &Failures, ready: Timestamp, now: Timestamp) -> bool {
    ready > failures.last && now - ready >= PROVEN
}

/// When the next instance may be started.
pub(super) fn until(failures: &Failures) -> Timestamp {
    if failures.count < 2 {
        return failures.last;
    }
    let factor = 1_i32 << (failures.count - 2).min(16);
    failures.last + (FIRST * factor).min(LONGEST)
}

/// The failures with one more at `now`.
pub(super) fn add(before: Option<&Failures>, (reason, message): (&'static str, String), now: Timestamp) -> Failures {
    let count = before.filter(|failures| now - failures.last < FORGIVEN).map_or(0, |failures| failures.count);
    Failures { count: count + 1, last: now, reason, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failure_costs_no_pause_more_double_it_up_to_a_minute_and_a_quiet_time_forgives() {
        let start = Timestamp::from_timestamp(1_800_000_000, 0).expect("in range");
        let mut failures = None;
        let mut pauses = Vec::new();
        for _ in 0..8 {
            let now = failures.as_ref().map_or(start, until);
            failures = Some(add(failures.as_ref(), ("X", "x".to_owned()), now));
            pauses.push((until(failures.as_ref().expect("just set")) - now).num_seconds());
        }
        assert_eq!(pauses, [0, 1, 2, 4, 8, 16, 32, 60]);
        let last = failures.as_ref().expect("just set");
        let since = |ready: i64, now: i64| {
            forgiven(last, last.last + TimeDelta::seconds(ready), last.last + TimeDelta::seconds(now))
        };
        assert!(!since(-3600, 3600), "an instance from before the failure");
        assert!(!since(1, 10) && since(1, 11), "one that was started since");
        let later = start + TimeDelta::hours(1);
        assert_eq!(add(failures.as_ref(), ("X", "x".to_owned()), later).count, 1);
    }
}
