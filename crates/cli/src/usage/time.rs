//! Moments as people write them, all UTC.

use chrono::{DateTime, Datelike, Months, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, Utc};

use crate::logs::duration;

/// What `--from` and `--to` take.
pub(super) const FORMS: &str = "a day (2026-11-26), a time (2026-11-26T10:00, UTC, or 2026-11-26T10:00:00+09:00), \
                                an age (7d, 24h, 30m), now, today, yesterday, this-month or last-month";

/// A moment, maybe seen from now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    At(DateTime<Utc>),
    Ago(TimeDelta),
    /// The first moment of the day so many days ago.
    Day(u64),
    /// The first moment of the month so many months ago.
    Month(u32),
}

impl Moment {
    pub(super) const NOW: Self = Self::Ago(TimeDelta::zero());

    /// Reads one.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        match text {
            "now" => return Ok(Self::NOW),
            "today" => return Ok(Self::Day(0)),
            "yesterday" => return Ok(Self::Day(1)),
            "this-month" => return Ok(Self::Month(0)),
            "last-month" => return Ok(Self::Month(1)),
            _ => {}
        }
        if let Ok(time) = DateTime::parse_from_rfc3339(text) {
            return Ok(Self::At(time.to_utc()));
        }
        if let Ok(day) = text.parse::<NaiveDate>() {
            return Ok(Self::At(day.and_time(NaiveTime::MIN).and_utc()));
        }
        for form in ["%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%MZ", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M"] {
            if let Ok(time) = NaiveDateTime::parse_from_str(text, form) {
                return Ok(Self::At(time.and_utc()));
            }
        }
        // A number alone would be seconds, where a year was meant: an age ends with its unit.
        let unit = text.ends_with(|last: char| last.is_ascii_lowercase());
        match duration(text) {
            Ok(age) if unit => Ok(Self::Ago(age)),
            _ => Err(format!("'{text}' is no time; write {FORMS}")),
        }
    }

    /// When that is, to the second.
    pub(super) fn at(self, now: DateTime<Utc>) -> DateTime<Utc> {
        let today = now.date_naive();
        let first = |day: NaiveDate| day.and_time(NaiveTime::MIN).and_utc();
        let time = match self {
            Self::At(time) => time,
            Self::Ago(age) => now - age,
            Self::Day(ago) => first(today - chrono::Days::new(ago)),
            Self::Month(ago) => first(today.with_day(1).unwrap_or(today) - Months::new(ago)),
        };
        DateTime::from_timestamp(time.timestamp(), 0).unwrap_or(time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b05_times_are_read_as_people_write_them() {
        let now = "2026-03-31T10:20:30.5Z".parse().expect("a time");
        for (text, expected) in [
            ("2026-03-01", "2026-03-01T00:00:00Z"),
            ("2026-03-01T10:05", "2026-03-01T10:05:00Z"),
            ("2026-03-01T10:05Z", "2026-03-01T10:05:00Z"),
            ("2026-03-01 10:05", "2026-03-01T10:05:00Z"),
            ("2026-03-01T10:05:07", "2026-03-01T10:05:07Z"),
            ("2026-03-01T10:05:07+09:00", "2026-03-01T01:05:07Z"),
            ("7d", "2026-03-24T10:20:30Z"),
            ("1h30m", "2026-03-31T08:50:30Z"),
            ("now", "2026-03-31T10:20:30Z"),
            ("today", "2026-03-31T00:00:00Z"),
            ("yesterday", "2026-03-30T00:00:00Z"),
            ("this-month", "2026-03-01T00:00:00Z"),
            ("last-month", "2026-02-01T00:00:00Z"),
        ] {
            let time = Moment::parse(text).expect(text).at(now);
            assert_eq!(time.to_rfc3339_opts(chrono::SecondsFormat::Secs, true), expected, "{text}");
        }
    }

    #[test]
    fn b05_what_is_no_time_is_refused_with_what_would_be_one() {
        for text in ["", "2026", "2026-13-01", "26.11.2026", "11/26/2026", "7", "7x", "-7d", "tomorrow", "2026-02-30"] {
            let error = Moment::parse(text).expect_err(text);
            assert!(error.contains("is no time; write a day (2026-11-26)"), "{error}");
        }
    }
}
