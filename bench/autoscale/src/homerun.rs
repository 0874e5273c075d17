//! homerun's own scaler, called when homerun calls it: every second, and when a request has to wait.

use chrono::TimeDelta;
use homerun_model::Timestamp;
use homerun_model::plan::scale::{Sample, ScaleSpec, ScaleState, Target, scale};

use crate::replay::{Decision, Scaler, View};

/// The scaler and its memory.
pub struct Homerun {
    idle_timeout: TimeDelta,
    state: ScaleState,
}

impl Homerun {
    /// One that keeps an instance for so many seconds after it was last needed.
    pub fn new(idle_timeout: u32) -> Self {
        Self { idle_timeout: TimeDelta::seconds(idle_timeout.into()), state: ScaleState::default() }
    }
}

fn at(seconds: f64) -> Timestamp {
    Timestamp::UNIX_EPOCH + TimeDelta::microseconds((seconds * 1e6) as i64)
}

impl Scaler for Homerun {
    fn period(&self) -> f64 {
        1.0
    }

    fn on_demand(&self) -> bool {
        true
    }

    fn decide(&mut self, view: &View<'_>, now: f64) -> Decision {
        let spec = ScaleSpec {
            min: 0,
            max: view.trace.max,
            concurrency: view.trace.concurrency,
            concurrency_target: Target::Usual(600),
            cpu_target: Target::Off,
            idle_timeout: self.idle_timeout,
        };
        let sample = Sample {
            in_flight: view.in_flight,
            waiting: view.waiting,
            arrivals: view.arrivals,
            last_busy: view.last_busy.map(at),
            ready: view.ready,
            unready: 0,
            cpu: 0.0,
            start: Some(TimeDelta::microseconds((view.trace.start * 1e6) as i64)),
        };
        let (state, scaled) = scale(&spec, std::mem::take(&mut self.state), &sample, at(now));
        self.state = state;
        Decision { keep: scaled.wanted, start: scaled.needed }
    }
}
