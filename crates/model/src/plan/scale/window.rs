//! Averages over the last seconds of what was seen from one sample to the next.

use std::collections::VecDeque;

use chrono::TimeDelta;

use super::Sample;
use crate::Timestamp;

/// The longest time that averages go back, as on Cloud Run.
pub(super) const MINUTE: TimeDelta = TimeDelta::seconds(60);
/// What lies closer together is kept as one.
const GRAIN: TimeDelta = TimeDelta::seconds(1);

/// What was seen within the last minute. A sample holds until the next one.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Window {
    spans: VecDeque<Span>,
    last: Option<(Timestamp, Sample)>,
}

/// A time of at least a second as a rule, and what happened in it.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Span {
    from: Timestamp,
    until: Timestamp,
    request_seconds: f64,
    cpu_seconds: f64,
    arrivals: u64,
    peak: u32,
}

/// Averages over a time before now. What lies before the first sample counts as nothing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Averages {
    /// Requests in flight and waiting.
    pub requests: f64,
    /// CPU in use, in instances' worth of it.
    pub cpu: f64,
    /// Requests that arrived per second.
    pub arrivals: f64,
    /// The most requests at a time.
    pub peak: u32,
}

impl Window {
    /// Adds what is seen at `now`; a time before the sample before counts as that.
    pub(super) fn note(&mut self, sample: &Sample, now: Timestamp) {
        let Some((since, before)) = self.last else {
            self.last = Some((now, *sample));
            return;
        };
        let now = now.max(since);
        // A revision at rest is sampled without its count.
        let sample = &Sample { arrivals: sample.arrivals.max(before.arrivals), ..*sample };
        let seconds = (now - since).as_seconds_f64();
        let level = before.in_flight + before.waiting;
        let span = Span {
            from: since,
            until: now,
            request_seconds: seconds * f64::from(level),
            cpu_seconds: seconds * before.cpu,
            arrivals: sample.arrivals - before.arrivals,
            peak: level.max(sample.in_flight + sample.waiting),
        };
        match self.spans.back_mut().filter(|last| last.until - last.from < GRAIN) {
            Some(last) => {
                last.until = span.until;
                last.request_seconds += span.request_seconds;
                last.cpu_seconds += span.cpu_seconds;
                last.arrivals += span.arrivals;
                last.peak = last.peak.max(span.peak);
            }
            None => self.spans.push_back(span),
        }
        while self.spans.front().is_some_and(|first| first.until <= now - MINUTE) {
            self.spans.pop_front();
        }
        self.last = Some((now, *sample));
    }

    #[cfg(test)]
    pub(super) fn spans(&self) -> usize {
        self.spans.len()
    }

    /// The averages over the last `time`.
    pub(super) fn averages(&self, time: TimeDelta) -> Averages {
        let mut sum = Averages { requests: 0.0, cpu: 0.0, arrivals: 0.0, peak: 0 };
        let Some((now, last)) = self.last else {
            return sum;
        };
        let (begin, seconds) = (now - time, time.as_seconds_f64());
        for span in self.spans.iter().rev().take_while(|span| span.until > begin) {
            let length = (span.until - span.from).as_seconds_f64();
            let within = (span.until - span.from.max(begin)).as_seconds_f64();
            let share = if length > 0.0 { within / length / seconds } else { 1.0 / seconds };
            sum.requests += span.request_seconds * share;
            sum.cpu += span.cpu_seconds * share;
            sum.arrivals += span.arrivals as f64 * share;
            sum.peak = sum.peak.max(span.peak);
        }
        sum.peak = sum.peak.max(last.in_flight + last.waiting);
        sum
    }
}
