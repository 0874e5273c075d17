//! The receipt of a start: which step took how long.

use std::fmt::{self, Write};

use chrono::TimeDelta;

use crate::Timestamp;
use crate::instance::Stamps;

/// A step of a start, in the order of their happening.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// From the decision until the instance was recorded and its turn came.
    Record,
    /// Its container was described: image, files, limits, GPU.
    Prepare,
    /// Its sandbox was made and its program begun.
    Create,
    /// The same with a sandbox that had been made ahead of need.
    Wake,
    /// The program started, until its startup probes had passed.
    Start,
}

impl Step {
    /// One word for it, fit for a `Server-Timing` header.
    pub fn name(self) -> &'static str {
        match self {
            Self::Record => "record",
            Self::Prepare => "prepare",
            Self::Create => "create",
            Self::Wake => "wake",
            Self::Start => "start",
        }
    }
}

/// The steps of one start that are over, and how long each took.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Receipt {
    steps: Vec<(Step, TimeDelta)>,
}

impl Receipt {
    /// The receipt of an instance whose start was decided at `decided`. A step that left no stamp counts as part
    /// of the next one.
    pub fn of(decided: Timestamp, stamps: &Stamps) -> Self {
        let ends = [
            (Step::Record, stamps.creating),
            (Step::Prepare, stamps.prepared),
            (if stamps.woken { Step::Wake } else { Step::Create }, stamps.started),
            (Step::Start, stamps.ready),
        ];
        let mut begin = decided;
        let reached = |(step, end): (Step, Option<Timestamp>)| {
            let took = end? - std::mem::replace(&mut begin, end?);
            // A clock that was set back in between must not make a step look negative.
            Some((step, took.max(TimeDelta::zero())))
        };
        Self { steps: ends.into_iter().filter_map(reached).collect() }
    }

    /// The steps in their order.
    pub fn steps(&self) -> &[(Step, TimeDelta)] {
        &self.steps
    }

    /// All of them together.
    pub fn total(&self) -> TimeDelta {
        self.steps.iter().map(|(_, took)| *took).sum()
    }

    /// The steps as a `Server-Timing` header has them: `record;dur=0.2, prepare;dur=1.1` (milliseconds).
    ///
    /// <https://www.w3.org/TR/server-timing/>
    pub fn server_timing(&self) -> String {
        let mut text = String::new();
        for (step, took) in &self.steps {
            let comma = if text.is_empty() { "" } else { ", " };
            // Writing into a text cannot fail.
            let _ = write!(text, "{comma}{};dur={:.1}", step.name(), millis(*took));
        }
        text
    }
}

impl fmt::Display for Receipt {
    /// `15 ms (record 1, prepare 1, create 8, start 6)`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.0} ms", millis(self.total()))?;
        let steps: Vec<String> =
            self.steps.iter().map(|(step, took)| format!("{} {:.0}", step.name(), millis(*took))).collect();
        if steps.is_empty() { Ok(()) } else { write!(f, " ({})", steps.join(", ")) }
    }
}

/// A time in milliseconds.
pub fn millis(time: TimeDelta) -> f64 {
    time.as_seconds_f64() * 1000.0
}

/// A time as Cloud Run writes it in conditions: `29.86s`, `1m35.4s`, `2h0m1s`.
pub fn duration(time: TimeDelta) -> String {
    let hundredths = (time.max(TimeDelta::zero()).num_milliseconds() + 5) / 10;
    let (minutes, rest) = (hundredths / 6000, hundredths % 6000);
    let seconds = format!("{}.{:02}", rest / 100, rest % 100);
    let seconds = seconds.trim_end_matches('0').trim_end_matches('.');
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{seconds}s"),
        (0, minutes) => format!("{minutes}m{seconds}s"),
        (hours, minutes) => format!("{hours}h{minutes}m{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s17_steps_add_up_and_one_without_a_stamp_belongs_to_the_next() {
        let at = |millis: i64| Timestamp::from_timestamp_millis(1_800_000_000_000 + millis).expect("in range");
        let mut stamps = Stamps { creating: Some(at(1)), prepared: Some(at(2)), ..Stamps::default() };
        assert_eq!(Receipt::of(at(0), &stamps).to_string(), "2 ms (record 1, prepare 1)");
        stamps = Stamps { started: Some(at(10)), ready: Some(at(16)), ..stamps };
        let whole = Receipt::of(at(0), &stamps);
        assert_eq!(whole.to_string(), "16 ms (record 1, prepare 1, create 8, start 6)");
        assert_eq!(whole.server_timing(), "record;dur=1.0, prepare;dur=1.0, create;dur=8.0, start;dur=6.0");
        stamps.prepared = None;
        assert_eq!(Receipt::of(at(0), &stamps).to_string(), "16 ms (record 1, create 9, start 6)");
        assert_eq!(Receipt::of(at(5), &stamps).steps()[0].1, TimeDelta::zero(), "the clock was set back");
        assert_eq!(Receipt::of(at(0), &Stamps::default()).to_string(), "0 ms");
    }

    #[test]
    fn s17_times_are_written_as_cloud_run_writes_them() {
        let text = |millis| duration(TimeDelta::milliseconds(millis));
        assert_eq!([text(29_860), text(95_400), text(13_340), text(0)], ["29.86s", "1m35.4s", "13.34s", "0s"]);
        assert_eq!([text(7), text(600_000), text(7_201_000), text(-5)], ["0.01s", "10m0s", "2h0m1s", "0s"]);
    }
}
