//! How finely a range of time is shown.

use chrono::TimeDelta;

use crate::Timestamp;

/// Points that a range is shown by, at most; one more where it begins in the middle of one.
pub const MOST_POINTS: i64 = 300;

/// Lengths of a point in seconds. Each is a whole number of its grain, and not a large one: that is how many are read.
const STEPS: [i64; 11] = [
    60, 120, 300, 600, // minutes
    3600, 7200, 10_800, 21_600, // hours
    86_400, 172_800, 604_800, // days
];

/// What is kept: a point for each of these, if there is something to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grain {
    /// A minute.
    Minute,
    /// An hour.
    Hour,
    /// A day, UTC.
    Day,
}

impl Grain {
    /// All of them, the shortest first.
    pub const ALL: [Self; 3] = [Self::Minute, Self::Hour, Self::Day];

    /// Its length in seconds.
    pub fn seconds(self) -> i64 {
        match self {
            Self::Minute => 60,
            Self::Hour => 3600,
            Self::Day => 86_400,
        }
    }

    /// The number of the one that a time is in, counted since 1970.
    pub fn number(self, time: Timestamp) -> i64 {
        time.timestamp().div_euclid(self.seconds())
    }
}

/// How finely a range of time is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resolution {
    /// How long each point is, in seconds.
    pub step: i64,
    /// What the points are made of.
    pub grain: Grain,
}

impl Resolution {
    /// The finest that needs no more than [`MOST_POINTS`], of what is kept: minutes are there since `minutes_since`.
    pub fn of((from, to): (Timestamp, Timestamp), minutes_since: Timestamp) -> Self {
        let seconds = (to - from).num_seconds().max(1);
        let least = if from < minutes_since { Grain::Hour.seconds() } else { 0 };
        let fits = |step: &i64| *step >= least && (seconds + step - 1) / step <= MOST_POINTS;
        let step = STEPS.into_iter().find(fits).unwrap_or_else(|| {
            // Of more than five years: as many whole weeks as it takes.
            let week = STEPS[STEPS.len() - 1];
            let weeks = (seconds + week * MOST_POINTS - 1) / (week * MOST_POINTS);
            weeks * week
        });
        let made_of = |grain: &&Grain| step >= grain.seconds();
        Self { step, grain: *Grain::ALL.iter().rev().find(made_of).unwrap_or(&Grain::Minute) }
    }

    /// Where the point begins that a time is in.
    pub fn floor(self, time: Timestamp) -> Timestamp {
        Timestamp::from_timestamp(time.timestamp().div_euclid(self.step) * self.step, 0).unwrap_or(time)
    }

    /// Where the points of a range begin.
    pub fn starts(self, (from, to): (Timestamp, Timestamp)) -> impl Iterator<Item = Timestamp> {
        let first = self.floor(from);
        let step = TimeDelta::seconds(self.step);
        std::iter::successors(Some(first), move |time| time.checked_add_signed(step)).take_while(move |time| *time < to)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_timestamp(1_790_000_000 + seconds, 0).expect("in range")
    }

    #[test]
    fn g24_short_ranges_are_shown_by_minutes_and_long_ones_by_hours_and_days() {
        let hour = 3600;
        for (range, step, grain) in [
            (hour, 60, Grain::Minute),
            (24 * hour, 300, Grain::Minute),
            (7 * 24 * hour, hour, Grain::Hour),
            (30 * 24 * hour, 3 * hour, Grain::Hour),
            (365 * 24 * hour, 48 * hour, Grain::Day),
        ] {
            let found = Resolution::of((at(0), at(range)), at(-1));
            assert_eq!((found.step, found.grain), (step, grain), "{range} s");
        }
        let old = Resolution::of((at(0), at(hour)), at(1));
        assert_eq!((old.step, old.grain), (hour, Grain::Hour), "minutes of that time are not kept any more");
        assert_eq!(Resolution::of((at(0), at(0)), at(0)).starts((at(0), at(0))).count(), 1);
    }

    proptest! {
        #[test]
        fn g24_a_range_has_few_points_that_cover_it(seconds in 1..1_000_000_000_i64, shift in 0..200_000_i64, old: bool) {
            let range = (at(shift), at(shift + seconds));
            let found = Resolution::of(range, at(if old { 1_000_000_000 } else { 0 }));
            let starts: Vec<Timestamp> = found.starts(range).collect();
            prop_assert!(starts.len() as i64 <= MOST_POINTS + 1);
            prop_assert_eq!(found.step % found.grain.seconds(), 0);
            prop_assert!(starts[0] <= range.0);
            let end = *starts.last().expect("one at least") + TimeDelta::seconds(found.step);
            prop_assert!(end >= range.1);
        }
    }
}
