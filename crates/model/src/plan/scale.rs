//! How many instances a revision should have.
//!
//! Need is what the requests in flight and waiting ask for. It is met at once when it grows. When it
//! falls, instances are kept until the need has stayed lower for the whole idle timeout; so the number
//! wanted is the greatest need seen within the last idle timeout. The last instance, too, goes only by
//! a lack of requests, never by low CPU.

use std::collections::VecDeque;

use chrono::TimeDelta;

use crate::Timestamp;

/// What a revision's configuration says about its number of instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScaleSpec {
    /// Never fewer than this.
    pub min: u32,
    /// Never more than this.
    pub max: u32,
    /// Requests that one instance serves at the same time, at least 1.
    pub concurrency: u32,
    /// How long an instance may be without need before it goes.
    pub idle_timeout: TimeDelta,
}

/// What ingress saw of a revision.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sample {
    /// Requests that instances are serving.
    pub in_flight: u32,
    /// Requests that wait for an instance.
    pub waiting: u32,
    /// When the revision last had a request, if one has ended since the sample before.
    pub last_busy: Option<Timestamp>,
}

/// What the scaler remembers of a revision from one decision to the next.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScaleState {
    /// When which need was last seen; needs strictly fall and times rise from front to back.
    needs: VecDeque<(Timestamp, u32)>,
}

impl ScaleState {
    /// The state of a revision that has `instances` instances at `now` and no history, for instance
    /// one that was just proven or that a restart found running: they are kept for one idle timeout.
    pub fn seeded(instances: u32, now: Timestamp) -> Self {
        let mut state = Self::default();
        state.note(now, instances);
        state
    }

    fn note(&mut self, time: Timestamp, need: u32) {
        while self.needs.back().is_some_and(|(_, older)| *older <= need) {
            self.needs.pop_back();
        }
        if need > 0 {
            self.needs.push_back((time, need));
        }
    }

    fn forget(&mut self, spec: &ScaleSpec, now: Timestamp) {
        while self.needs.front().is_some_and(|(seen, _)| *seen + spec.idle_timeout <= now) {
            self.needs.pop_front();
        }
    }
}

/// How many instances a revision should have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Scaled {
    /// No more than these are kept.
    pub wanted: u32,
    /// Those that requests need now. No more than these or the minimum are started.
    pub needed: u32,
    /// These never make room for others.
    pub min: u32,
}

/// The number of instances wanted at `now`, and the state to pass next time.
pub fn scale(spec: &ScaleSpec, mut state: ScaleState, sample: &Sample, now: Timestamp) -> (ScaleState, Scaled) {
    if let Some(busy) = sample.last_busy
        && state.needs.back().is_none_or(|(seen, _)| *seen < busy)
    {
        state.note(busy, 1);
    }
    let now_needed = (sample.in_flight + sample.waiting).div_ceil(spec.concurrency.max(1));
    state.note(now, now_needed);
    state.forget(spec, now);
    let lately = state.needs.front().map_or(0, |(_, need)| *need);
    let bounded = |count: u32| count.min(spec.max).max(spec.min);
    (state, Scaled { wanted: bounded(lately), needed: now_needed.min(spec.max), min: spec.min })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_timestamp(1_800_000_000 + seconds, 0).expect("in range")
    }

    fn spec(min: u32, max: u32, concurrency: u32) -> ScaleSpec {
        ScaleSpec { min, max, concurrency, idle_timeout: TimeDelta::seconds(60) }
    }

    fn busy(in_flight: u32, waiting: u32) -> Sample {
        Sample { in_flight, waiting, last_busy: None }
    }

    #[test]
    fn s07_a_request_at_zero_wants_an_instance_at_once() {
        assert_eq!(scale(&spec(0, 3, 80), ScaleState::default(), &busy(0, 1), at(0)).1.wanted, 1);
    }

    #[test]
    fn s07_concurrency_divides_the_requests_and_the_maximum_caps_them() {
        let wanted = |in_flight, waiting| {
            scale(&spec(0, 3, 4), ScaleState::default(), &busy(in_flight, waiting), at(0)).1.wanted
        };
        assert_eq!([wanted(4, 0), wanted(4, 1), wanted(8, 4), wanted(8, 9)], [1, 2, 3, 3]);
    }

    #[test]
    fn g19_an_idle_service_falls_to_zero_after_the_idle_timeout_and_not_before() {
        let (state, _) = scale(&spec(0, 3, 1), ScaleState::default(), &busy(2, 0), at(0));
        let (state, wanted) = scale(&spec(0, 3, 1), state, &busy(1, 0), at(30));
        assert_eq!(wanted.wanted, 2);
        let (state, wanted) = scale(&spec(0, 3, 1), state, &busy(0, 0), at(60));
        assert_eq!(wanted.wanted, 1, "the second instance was needed until second 0");
        let (state, wanted) = scale(&spec(0, 3, 1), state, &busy(0, 0), at(89));
        assert_eq!(wanted.wanted, 1);
        assert_eq!(scale(&spec(0, 3, 1), state, &busy(0, 0), at(90)).1.wanted, 0);
    }

    #[test]
    fn s07_a_request_between_two_samples_keeps_the_instance() {
        let sample = Sample { last_busy: Some(at(50)), ..busy(0, 0) };
        let (state, _) = scale(&spec(0, 3, 1), ScaleState::seeded(1, at(0)), &sample, at(55));
        let (state, wanted) = scale(&spec(0, 3, 1), state, &busy(0, 0), at(100));
        assert_eq!(wanted.wanted, 1);
        assert_eq!(scale(&spec(0, 3, 1), state, &busy(0, 0), at(110)).1.wanted, 0);
    }

    #[test]
    fn s07_minimum_instances_stay() {
        assert_eq!(scale(&spec(2, 3, 1), ScaleState::default(), &busy(0, 0), at(0)).1.wanted, 2);
    }

    proptest! {
        #[test]
        fn s07_never_below_what_the_requests_in_flight_need(
            steps in prop::collection::vec((0_i64..200, 0_u32..50, 0_u32..50), 1..60),
            concurrency in 1_u32..10, max in 1_u32..20, min in 0_u32..3,
        ) {
            let spec = ScaleSpec { min: min.min(max), max, concurrency, idle_timeout: TimeDelta::seconds(60) };
            let (mut state, mut now, mut last_need_above_zero) = (ScaleState::default(), at(0), None);
            for (gap, in_flight, waiting) in steps {
                now += TimeDelta::seconds(gap);
                let (next, Scaled { wanted, needed: next_needed, .. }) = scale(&spec, state, &busy(in_flight, waiting), now);
                let need = (in_flight + waiting).div_ceil(concurrency);
                prop_assert_eq!(next_needed, need.min(max));
                prop_assert!(wanted >= next_needed && wanted <= max);
                if need > 0 { last_need_above_zero = Some(now); }
                let quiet = last_need_above_zero.is_none_or(|seen| now - seen >= spec.idle_timeout);
                if quiet { prop_assert_eq!(wanted, spec.min); }
                state = next;
            }
        }
    }
}
