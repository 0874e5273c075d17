//! One instance: its state changes, folded into what it is billed for.

use serde::{Deserialize, Serialize};

use super::{Billing, MINIMUM_STEPS, Steady, steps};
use crate::instance::STARTUP_BOOST;

const BOOST_MILLIS: u64 = STARTUP_BOOST.num_milliseconds() as u64;

/// What happened to an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It passed its startup probes.
    Ready,
    /// It has served this since it was last asked.
    Served(Served),
    /// It was asked to end.
    Stopping,
    /// Its last process ended.
    Ended,
}

/// Requests, and the time in which there was at least one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Served {
    /// Steps.
    pub steps: u64,
    /// Requests that were sent to it.
    pub requests: u64,
}

/// What an instance is billed for, from its start to some moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Used {
    /// Steps.
    pub active: u64,
    /// Those of them in which it had the startup CPU boost.
    pub boosted: u64,
    /// Requests; they cost something with request-based billing only.
    pub requests: u64,
}

/// An instance's life as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Life {
    billing: Billing,
    started: Steady,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ready: Option<Steady>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stopping: Option<Steady>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ended: Option<Steady>,
    #[serde(default)]
    served: Served,
}

impl Life {
    /// The life of an instance whose first container started at `started`.
    pub fn new(billing: Billing, started: Steady) -> Self {
        Self { billing, started, ready: None, stopping: None, ended: None, served: Served::default() }
    }

    /// When its first container started.
    pub fn started(&self) -> Steady {
        self.started
    }

    /// When it ended, if it has.
    pub fn ended(&self) -> Option<Steady> {
        self.ended
    }

    /// Takes in a change that happened at `at`. All but [`Change::Served`] may be told again, for instance after a
    /// restart, and change nothing then; nothing happens to an instance that has ended.
    pub fn note(&mut self, change: Change, at: Steady) {
        if self.ended.is_some() {
            return;
        }
        match change {
            Change::Ready => drop(self.ready.get_or_insert(at)),
            Change::Served(served) => {
                // While it ends, all of its time is billed anyway.
                self.served.steps += if self.stopping.is_none() { served.steps } else { 0 };
                self.served.requests += served.requests;
            }
            Change::Stopping => drop(self.stopping.get_or_insert(at)),
            Change::Ended => self.ended = Some(at),
        }
    }

    /// What it is billed for until `at`. Grows with time.
    pub fn used(&self, at: Steady) -> Used {
        let end = self.ended.map_or(at, |ended| ended.min(at));
        let life = steps(end.since(self.started));
        let up = [self.ready, self.stopping].into_iter().flatten().fold(end, Steady::min);
        let requests = self.served.requests;
        match self.billing {
            Billing::Instance => {
                let boosted =
                    self.ready.map_or(life, |ready| steps(ready.since(self.started) + BOOST_MILLIS).min(life));
                Used { active: life.max(MINIMUM_STEPS), boosted, requests }
            }
            Billing::Request => {
                let starting = steps(up.since(self.started));
                let ending = self.stopping.map_or(0, |stopping| steps(end.since(stopping)));
                // Each part is rounded up by itself; together they are no more than the life.
                let active = (starting + self.served.steps + ending).min(life);
                // Whether the boost is billed when no request follows is not published; here it is not.
                Used { active, boosted: starting, requests }
            }
        }
    }
}

/// The time in which an instance has at least one request, as whoever sends them counts it.
///
/// A time is rounded up to whole steps once it ends. One that begins before the last one's rounding is over goes on
/// with that one, so that no step is billed twice however short and many the requests are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Busy {
    /// Steps of the times that are over for good.
    closed: u64,
    /// The last one: when it began, and when it ended if it has.
    last: Option<(Steady, Option<Steady>)>,
}

impl Busy {
    /// The first request begins.
    pub fn begin(&mut self, at: Steady) {
        match self.last {
            Some((began, Some(ended))) if at.since(began) < length(began, ended) * super::STEP_MILLIS => {
                self.last = Some((began, None));
            }
            Some((_, None)) => {}
            _ => {
                self.closed = self.steps(at);
                self.last = Some((at, None));
            }
        }
    }

    /// The last request has ended.
    pub fn end(&mut self, at: Steady) {
        if let Some((_, ended)) = &mut self.last {
            ended.get_or_insert(at);
        }
    }

    /// Steps until `at`. Grows with time.
    pub fn steps(&self, at: Steady) -> u64 {
        self.closed + self.last.map_or(0, |(began, ended)| length(began, ended.unwrap_or(at)))
    }
}

/// Steps from one to the other: the shortest request takes one.
fn length(began: Steady, ended: Steady) -> u64 {
    steps(ended.since(began).max(1))
}
