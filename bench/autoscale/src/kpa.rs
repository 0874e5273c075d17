//! Knative's pod autoscaler (KPA) as its documentation describes it, with its defaults: the average number of requests
//! within the last 60 seconds over 70 % of the container's concurrency; and panic, in which an average over 6 seconds
//! that asks for twice as many pods as are ready counts, and nothing is taken away until 60 seconds after.
//!
//! <https://knative.dev/docs/serving/autoscaling/kpa-specific/>

use std::collections::VecDeque;

use crate::replay::{Decision, Scaler, View};

const TARGET: f64 = 0.7;
const PANIC_THRESHOLD: f64 = 2.0;
const MAX_SCALE_UP_RATE: f64 = 1000.0;
const MAX_SCALE_DOWN_RATE: f64 = 2.0;

/// The algorithm's memory.
pub struct Kpa {
    /// Its stable window, in seconds; the panic window is a tenth of it.
    stable: f64,
    /// Ends of times, and the request-seconds within each.
    buckets: VecDeque<(f64, f64)>,
    panic_since: Option<f64>,
    panic_pods: f64,
    seen: (f64, f64),
}

impl Kpa {
    /// One with this stable window, in seconds; Knative's default is 60.
    pub fn new(stable: f64) -> Self {
        Self { stable, buckets: VecDeque::new(), panic_since: None, panic_pods: 0.0, seen: (0.0, 0.0) }
    }

    /// The average over the last `window` seconds; less at the beginning, when there was no more yet.
    fn average(&self, window: f64, now: f64) -> f64 {
        let within = self.buckets.iter().filter(|(end, _)| *end > now - window + 1e-9);
        within.map(|(_, request_seconds)| request_seconds).sum::<f64>() / window.min(now.max(1.0))
    }
}

impl Scaler for Kpa {
    fn period(&self) -> f64 {
        2.0
    }

    fn decide(&mut self, view: &View<'_>, now: f64) -> Decision {
        let (time, total) = self.seen;
        if now > time {
            self.buckets.push_back((now, view.request_seconds - total));
            self.seen = (now, view.request_seconds);
        }
        while self.buckets.front().is_some_and(|(end, _)| *end <= now - self.stable) {
            self.buckets.pop_front();
        }
        let target = TARGET * f64::from(view.trace.concurrency);
        let ready = f64::from(view.ready.max(1));
        let (most, least) =
            ((MAX_SCALE_UP_RATE * ready).ceil(), (f64::from(view.ready.max(1)) / MAX_SCALE_DOWN_RATE).floor());
        let stable_wish = (self.average(self.stable, now) / target).ceil();
        let panic_wish = (self.average(self.stable / 10.0, now) / target).ceil();
        let (stable, panic) = (stable_wish.max(least).min(most), panic_wish.max(least).min(most));
        let over = panic_wish / ready >= PANIC_THRESHOLD;
        if over {
            self.panic_since = Some(now);
        } else if self.panic_since.is_some_and(|since| since + self.stable < now) {
            self.panic_since = None;
            self.panic_pods = 0.0;
        }
        let mut desired = stable;
        if self.panic_since.is_some() {
            self.panic_pods = self.panic_pods.max(stable.max(panic));
            desired = self.panic_pods;
        }
        // The activator reports the first request at zero without waiting for the next tick.
        if view.waiting > 0 {
            desired = desired.max(1.0);
        }
        let desired = (desired as u32).min(view.trace.max);
        Decision { keep: desired, start: desired }
    }
}
