//! Axes: which values and times are marked, and how they are written.

use chrono::{DateTime, Datelike, Days, FixedOffset, Months, NaiveDate, NaiveTime, TimeDelta, Timelike};
use homerun_model::Timestamp;

/// What values are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Unit<'a> {
    /// Milliseconds; from a thousand on they are written as seconds.
    Millis,
    /// Bytes, written as KiB, MiB, GiB or TiB.
    Bytes,
    /// A share of 0 to 1, written in percent. The axis goes to 100 %.
    Share,
    /// Things that are whole but on average.
    Count,
    /// Something per second, by this name: `req/s`.
    Rate(&'a str),
    /// Money of this currency.
    Money(&'a str),
}

/// What values of one axis are divided by, and the sign that says so.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Scale<'a> {
    by: f64,
    sign: &'a str,
}

impl<'a> Unit<'a> {
    /// The scale of values up to `most`.
    fn scale(self, most: f64) -> Scale<'a> {
        const BYTES: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
        match self {
            Self::Millis if most >= 1000.0 => Scale { by: 1000.0, sign: "s" },
            Self::Millis => Scale { by: 1.0, sign: "ms" },
            Self::Bytes => {
                let power = (1..BYTES.len()).rev().find(|power| most >= 1024_f64.powi(*power as i32)).unwrap_or(0);
                Scale { by: 1024_f64.powi(power as i32), sign: BYTES[power] }
            }
            Self::Share => Scale { by: 0.01, sign: "%" },
            Self::Count => Scale { by: 1.0, sign: "" },
            Self::Rate(sign) | Self::Money(sign) => Scale { by: 1.0, sign },
        }
    }

    /// A value by itself, with its sign: `1.5 GiB`.
    pub fn write(self, value: f64) -> String {
        let scale = self.scale(value);
        let scaled = value / scale.by;
        let digits = match self {
            // Prices per second are very small.
            Self::Money(_) if scaled.abs() < 1.0 => 6,
            _ if scaled.abs() >= 100.0 => 0,
            _ if scaled.abs() >= 10.0 => 1,
            _ => 2,
        };
        format!("{} {}", plain(scaled, digits), scale.sign).trim_end().to_owned()
    }
}

/// Marks of an axis of values, from 0 on.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Values {
    /// Where the axis ends.
    pub(super) top: f64,
    /// Each mark's value and text, the signs left out.
    pub(super) marks: Vec<(f64, String)>,
    /// The sign of all of them; empty if there is none.
    pub(super) sign: String,
}

/// Marks of an axis that has values up to `most`: 1, 2 or 5 of a power of ten apart (of two for bytes), three to six.
pub(super) fn values(unit: Unit<'_>, most: f64) -> Values {
    let most = match unit {
        Unit::Share => 1.0,
        _ if most.is_finite() && most > 0.0 => most,
        _ => 1.0,
    };
    let scale = unit.scale(most);
    let wanted = most / scale.by / 4.0;
    let mut step = match unit {
        Unit::Bytes => 2_f64.powf(wanted.log2().ceil()),
        Unit::Share => 25.0,
        _ => {
            let power = 10_f64.powf(wanted.log10().floor());
            let by = [1.0, 2.0, 5.0, 10.0].into_iter().find(|by| by * power >= wanted * 0.999).unwrap_or(10.0);
            by * power
        }
    };
    if unit == Unit::Count {
        step = step.max(1.0);
    }
    let count = (most / scale.by / step - 1e-9).ceil().max(1.0) as u32;
    let digits = (0..9).find(|digits| (step * 10_f64.powi(*digits)).fract().min(1.0) < 1e-6).unwrap_or(9) as usize;
    let mark = |number: u32| {
        let scaled = f64::from(number) * step;
        (scaled * scale.by, plain(scaled, digits))
    };
    Values {
        top: f64::from(count) * step * scale.by,
        marks: (0..=count).map(mark).collect(),
        sign: scale.sign.to_owned(),
    }
}

/// A number with so many digits after its point, without zeros at its end and with thousands set apart.
fn plain(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$}");
    let (whole, rest) = text.split_once('.').unwrap_or((&text, ""));
    let mut set = String::new();
    for (index, digit) in whole.chars().enumerate() {
        let left = whole.len() - index;
        if index > 0 && left % 3 == 0 && digit.is_ascii_digit() && !set.ends_with('-') {
            // A narrow space that is not broken, as international standards have it.
            set.push('\u{202f}');
        }
        set.push(digit);
    }
    match rest.trim_end_matches('0') {
        "" => set,
        rest => format!("{set}.{rest}"),
    }
}

/// How far marks of an axis of times are apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Apart {
    Minutes(i64),
    Days(u64),
    Months(u32),
}

const APART: [Apart; 18] = [
    Apart::Minutes(1),
    Apart::Minutes(5),
    Apart::Minutes(10),
    Apart::Minutes(15),
    Apart::Minutes(30),
    Apart::Minutes(60),
    Apart::Minutes(120),
    Apart::Minutes(180),
    Apart::Minutes(360),
    Apart::Minutes(720),
    Apart::Days(1),
    Apart::Days(2),
    Apart::Days(7),
    Apart::Days(14),
    Apart::Months(1),
    Apart::Months(2),
    Apart::Months(3),
    Apart::Months(12),
];

/// Marks of an axis of times at most.
const MOST_MARKS: i64 = 7;

impl Apart {
    fn minutes(self) -> i64 {
        match self {
            Self::Minutes(minutes) => minutes,
            Self::Days(days) => days as i64 * 1440,
            // The shortest.
            Self::Months(months) => i64::from(months) * 28 * 1440,
        }
    }

    /// The mark at or before a time, and the one after a mark.
    fn floor(self, time: DateTime<FixedOffset>) -> Option<DateTime<FixedOffset>> {
        let day = time.date_naive();
        let midnight = |day: NaiveDate| day.and_time(NaiveTime::MIN).and_local_timezone(*time.offset()).single();
        match self {
            Self::Minutes(minutes) => {
                let minute = i64::from(time.num_seconds_from_midnight()) / 60 / minutes * minutes;
                Some(midnight(day)? + TimeDelta::minutes(minute))
            }
            Self::Days(days) => {
                let number = u64::try_from(day.num_days_from_ce()).unwrap_or(0);
                midnight(day.checked_sub_days(Days::new(number % days))?)
            }
            Self::Months(months) => midnight(day.with_day(1)?.with_month(day.month0() / months * months + 1)?),
        }
    }

    fn next(self, mark: DateTime<FixedOffset>) -> Option<DateTime<FixedOffset>> {
        match self {
            Self::Minutes(minutes) => mark.checked_add_signed(TimeDelta::minutes(minutes)),
            Self::Days(days) => mark.checked_add_days(Days::new(days)),
            Self::Months(months) => mark.checked_add_months(Months::new(months)),
        }
    }
}

/// Marks of an axis from one time to another, on round times of this offset from UTC.
pub(super) fn times((from, to): (Timestamp, Timestamp), offset: FixedOffset) -> Vec<(Timestamp, String)> {
    let minutes = (to - from).num_minutes().max(1);
    let apart = APART.into_iter().find(|apart| minutes / apart.minutes() < MOST_MARKS).unwrap_or(Apart::Months(12));
    let first = apart.floor(from.with_timezone(&offset));
    let marks = std::iter::successors(first, |mark| apart.next(*mark)).take_while(|mark| *mark <= to);
    let write = |mark: DateTime<FixedOffset>| {
        let midnight = mark.num_seconds_from_midnight() == 0;
        let form = match apart {
            Apart::Minutes(_) if !midnight => "%H:%M",
            Apart::Minutes(_) | Apart::Days(_) => "%m-%d",
            Apart::Months(_) => "%Y-%m",
        };
        (mark.to_utc(), mark.format(form).to_string())
    };
    let marks: Vec<(Timestamp, String)> = marks.filter(|mark| *mark >= from).map(write).collect();
    // Of more than some years, every other year and so on.
    let every = marks.len().div_ceil(MOST_MARKS as usize + 1).max(1);
    marks.into_iter().step_by(every).collect()
}

/// A time of a bucket by itself.
pub(super) fn write_time(time: Timestamp, offset: FixedOffset) -> String {
    time.with_timezone(&offset).format("%Y-%m-%d %H:%M").to_string()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn texts(unit: Unit<'_>, most: f64) -> String {
        let values = values(unit, most);
        let texts: Vec<String> = values.marks.into_iter().map(|(_, text)| text).collect();
        format!("{} {}", texts.join(" "), values.sign).trim_end().to_owned()
    }

    #[test]
    fn g24_values_are_marked_in_round_numbers_of_units_that_people_read() {
        for (unit, most, expected) in [
            (Unit::Millis, 87.0, "0 50 100 ms"),
            (Unit::Millis, 3700.0, "0 1 2 3 4 s"),
            (Unit::Millis, 0.7, "0 0.2 0.4 0.6 0.8 ms"),
            (Unit::Bytes, 24e9, "0 8 16 24 GiB"),
            (Unit::Bytes, 700.0, "0 256 512 768 B"),
            (Unit::Share, 0.02, "0 25 50 75 100 %"),
            (Unit::Count, 2.0, "0 1 2"),
            (Unit::Count, 0.5, "0 1"),
            (Unit::Rate("req/s"), 12_000.0, "0 5\u{202f}000 10\u{202f}000 15\u{202f}000 req/s"),
            (Unit::Money("USD"), 0.0011, "0 0.0005 0.001 0.0015 USD"),
            (Unit::Millis, 0.0, "0 0.5 1 ms"),
            (Unit::Millis, f64::NAN, "0 0.5 1 ms"),
        ] {
            assert_eq!(texts(unit, most), expected, "{unit:?} {most}");
        }
    }

    #[test]
    fn g24_a_value_by_itself_has_its_own_unit() {
        let written = [
            Unit::Millis.write(12.345),
            Unit::Millis.write(61_000.0),
            Unit::Bytes.write(1.5 * f64::from(1 << 30)),
            Unit::Share.write(0.256),
            Unit::Count.write(3.0),
            Unit::Rate("req/s").write(1234.5),
            Unit::Money("USD").write(0.000_12),
            Unit::Millis.write(-1234.0),
        ];
        let expected =
            ["12.3 ms", "61 s", "1.5 GiB", "25.6 %", "3", "1\u{202f}234 req/s", "0.00012 USD", "-1\u{202f}234 ms"];
        assert_eq!(written, expected);
    }

    #[test]
    fn g24_times_are_marked_where_the_readers_clock_is_round() {
        let offset = FixedOffset::east_opt(9 * 3600).expect("an offset");
        let marks = |from: &str, to: &str| {
            let time = |text: &str| text.parse::<Timestamp>().expect("a time");
            let marks = times((time(from), time(to)), offset);
            marks.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(marks("2026-11-26T10:03:00Z", "2026-11-26T11:03:00Z"), "19:10 19:20 19:30 19:40 19:50 20:00");
        assert_eq!(marks("2026-11-26T10:03:00Z", "2026-11-27T10:03:00Z"), "11-27 06:00 12:00 18:00");
        assert_eq!(marks("2026-01-01T00:00:00Z", "2026-12-31T00:00:00Z"), "2026-03 2026-05 2026-07 2026-09 2026-11");
    }

    proptest! {
        #[test]
        fn g24_an_axis_reaches_its_values_by_few_marks(most in 1e-9..1e15_f64, which in 0..6_usize) {
            let unit = [Unit::Millis, Unit::Bytes, Unit::Share, Unit::Count, Unit::Rate("/s"), Unit::Money("USD")][which];
            let found = values(unit, most);
            prop_assert!(found.top >= if unit == Unit::Share { 1.0 } else { most * 0.999 }, "{found:?}");
            prop_assert!((2..=6).contains(&found.marks.len()), "{found:?}");
            let distinct: std::collections::BTreeSet<&String> = found.marks.iter().map(|(_, text)| text).collect();
            prop_assert_eq!(distinct.len(), found.marks.len());
        }

        #[test]
        fn g24_an_axis_of_times_has_few_marks_within(from in 0..2_000_000_000_i64, length in 60..300_000_000_i64, hours in -12..=14) {
            let at = |seconds| Timestamp::from_timestamp(seconds, 0).expect("in range");
            let offset = FixedOffset::east_opt(hours * 3600).expect("an offset");
            let marks = times((at(from), at(from + length)), offset);
            prop_assert!(marks.len() <= 8, "{marks:?}");
            prop_assert!(marks.iter().all(|(time, _)| *time >= at(from) && *time <= at(from + length)));
        }
    }
}
