//! Metrics of a service over time: requests, latencies, cold starts, instances, GPUs.
//!
//! A [`Point`] says what happened in some time, in integers. Points of neighbouring times, and of several services, are
//! merged into one: the order does not matter, and nothing is lost but when it was. Means are sums over time divided by
//! a length of time that the reader brings, so a service of which nothing was running needs no point.

mod codec;
mod histogram;
mod resolution;

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::TimeDelta;

use crate::instance::InstanceState;
use crate::names::DeviceId;
use crate::receipt::{Receipt, Step};

pub use codec::DecodeError;
pub use histogram::Histogram;
pub use resolution::{Grain, MOST_POINTS, Resolution};

/// Classes of HTTP statuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatusClass {
    /// Below 300. A connection that was switched to another protocol (101) went well and is here too.
    Ok,
    /// 3xx.
    Redirect,
    /// 4xx, and 499: the client left before there was an answer.
    ClientError,
    /// 5xx.
    ServerError,
}

impl StatusClass {
    /// All of them, in their order.
    pub const ALL: [Self; 4] = [Self::Ok, Self::Redirect, Self::ClientError, Self::ServerError];

    /// The class of a status.
    pub fn of(status: u16) -> Self {
        match status {
            ..300 => Self::Ok,
            300..400 => Self::Redirect,
            400..500 => Self::ClientError,
            500.. => Self::ServerError,
        }
    }

    /// `2xx` and so on.
    pub fn name(self) -> &'static str {
        ["2xx", "3xx", "4xx", "5xx"][self as usize]
    }
}

/// Where instances are in their lives, as far as they are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The sandbox is being made.
    Creating,
    /// It runs and is not ready yet.
    Starting,
    /// It can take requests.
    Ready,
    /// It was asked to stop.
    Stopping,
}

impl State {
    /// All of them, in their order.
    pub const ALL: [Self; 4] = [Self::Creating, Self::Starting, Self::Ready, Self::Stopping];

    /// Where an instance is counted; nowhere if it is over.
    pub fn of(state: &InstanceState) -> Option<Self> {
        match state {
            InstanceState::Creating => Some(Self::Creating),
            InstanceState::Starting => Some(Self::Starting),
            InstanceState::Ready => Some(Self::Ready),
            InstanceState::Stopping => Some(Self::Stopping),
            InstanceState::Stopped | InstanceState::Failed(_) => None,
        }
    }

    /// One word for it.
    pub fn name(self) -> &'static str {
        ["creating", "starting", "ready", "stopping"][self as usize]
    }
}

/// A number that goes up and down: what it was, summed over time, and the most of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Gauge {
    /// Its values, each times the milliseconds that it lasted.
    pub sum: u64,
    /// The most of it at a time.
    pub most: u64,
}

impl Gauge {
    /// It was `value` for so many milliseconds.
    pub fn add(&mut self, value: u64, millis: u64) {
        self.sum = self.sum.saturating_add(value.saturating_mul(millis));
        self.most = self.most.max(value);
    }

    /// Takes another in: of another time, or of something else at the same time. `most` is then the most of either,
    /// not of their sum.
    pub fn merge(&mut self, other: &Self) {
        self.sum = self.sum.saturating_add(other.sum);
        self.most = self.most.max(other.most);
    }

    /// Its mean over so many milliseconds, in which it was zero where nothing is known; 0 for no time.
    pub fn mean(&self, millis: u64) -> f64 {
        if millis == 0 { 0.0 } else { self.sum as f64 / millis as f64 }
    }
}

/// How long something took, as often as it happened. In microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Times {
    /// How often.
    pub count: u64,
    /// All together.
    pub total: u64,
    /// The longest.
    pub most: u64,
}

impl Times {
    /// It happened and took so long.
    pub fn add(&mut self, micros: u64) {
        self.merge(&Self { count: 1, total: micros, most: micros });
    }

    /// Takes others in.
    pub fn merge(&mut self, other: &Self) {
        self.count = self.count.saturating_add(other.count);
        self.total = self.total.saturating_add(other.total);
        self.most = self.most.max(other.most);
    }

    /// What one took on average, in milliseconds; `None` if it did not happen.
    pub fn mean_millis(&self) -> Option<f64> {
        (self.count > 0).then(|| self.total as f64 / self.count as f64 / 1000.0)
    }

    /// The longest in milliseconds.
    pub fn most_millis(&self) -> f64 {
        self.most as f64 / 1000.0
    }
}

/// Starts of instances that became ready.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Starts {
    /// From decision to ready.
    pub whole: Times,
    /// The steps of [`STEPS`].
    pub steps: [Times; 5],
}

/// The steps of a start, in the order in which [`Starts::steps`] has them. One has either `Create` or `Wake`.
pub const STEPS: [Step; 5] = [Step::Record, Step::Prepare, Step::Create, Step::Wake, Step::Start];

impl Starts {
    /// An instance became ready.
    pub fn add(&mut self, receipt: &Receipt) {
        let micros = |time: TimeDelta| u64::try_from(time.num_microseconds().unwrap_or(i64::MAX)).unwrap_or(0);
        self.whole.add(micros(receipt.total()));
        for (step, took) in receipt.steps() {
            for (times, _) in self.steps.iter_mut().zip(STEPS).filter(|(_, known)| known == step) {
                times.add(micros(*took));
            }
        }
    }

    fn merge(&mut self, other: &Self) {
        self.whole.merge(&other.whole);
        self.steps.iter_mut().zip(&other.steps).for_each(|(own, other)| own.merge(other));
    }
}

/// A GPU while instances held it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DeviceUse {
    /// For how long it was held and looked at, in milliseconds.
    pub held: u64,
    /// Its busy share, in thousandths.
    pub busy: Gauge,
    /// Memory in use, in bytes divided by [`MEMORY_UNIT`].
    pub memory: Gauge,
}

/// The unit of [`DeviceUse::memory`] in bytes: sums over years stay far below what 64 bits hold.
pub const MEMORY_UNIT: u64 = 1 << 20;

impl DeviceUse {
    /// It was held for so many milliseconds, busy for a share of 0 to 1, with so many bytes in use.
    pub fn add(&mut self, busy: f64, memory_bytes: u64, millis: u64) {
        self.held = self.held.saturating_add(millis);
        self.busy.add((busy.clamp(0.0, 1.0) * 1000.0).round() as u64, millis);
        self.memory.add(memory_bytes.div_ceil(MEMORY_UNIT), millis);
    }

    /// Takes another in.
    pub fn merge(&mut self, other: &Self) {
        self.held = self.held.saturating_add(other.held);
        self.busy.merge(&other.busy);
        self.memory.merge(&other.memory);
    }

    /// The mean busy share while it was held, 0 to 1; `None` if it was not.
    pub fn mean_busy(&self) -> Option<f64> {
        (self.held > 0).then(|| self.busy.mean(self.held) / 1000.0)
    }

    /// The most that it was busy, 0 to 1.
    pub fn most_busy(&self) -> f64 {
        self.busy.most as f64 / 1000.0
    }

    /// The mean memory in use while it was held, in bytes; `None` if it was not.
    pub fn mean_memory(&self) -> Option<f64> {
        (self.held > 0).then(|| self.memory.mean(self.held) * MEMORY_UNIT as f64)
    }

    /// The most memory in use, in bytes.
    pub fn most_memory(&self) -> u64 {
        self.memory.most.saturating_mul(MEMORY_UNIT)
    }
}

/// What happened in some time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Point {
    /// Requests by [`StatusClass`].
    pub requests: [u64; 4],
    /// Requests' latencies in microseconds: from arrival to the last byte of the response.
    pub latency: Histogram,
    /// Instances that became ready.
    pub starts: Starts,
    /// Instances by [`State`].
    pub instances: [Gauge; 4],
    /// All instances that are not over, whatever their state.
    pub all_instances: Gauge,
    /// GPUs that instances held.
    pub devices: BTreeMap<DeviceId, DeviceUse>,
}

impl Point {
    /// A request is over.
    pub fn request(&mut self, status: u16, latency: Duration) {
        self.requests[StatusClass::of(status) as usize] += 1;
        self.latency.record(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
    }

    /// So many instances were in each [`State`] for so many milliseconds.
    pub fn instances(&mut self, by_state: [u64; 4], millis: u64) {
        self.instances.iter_mut().zip(by_state).for_each(|(gauge, count)| gauge.add(count, millis));
        self.all_instances.add(by_state.iter().sum(), millis);
    }

    /// Takes another in.
    pub fn merge(&mut self, other: &Self) {
        self.requests.iter_mut().zip(other.requests).for_each(|(own, more)| *own = own.saturating_add(more));
        self.latency.merge(&other.latency);
        self.starts.merge(&other.starts);
        self.instances.iter_mut().zip(&other.instances).for_each(|(own, more)| own.merge(more));
        self.all_instances.merge(&other.all_instances);
        for (device, more) in &other.devices {
            self.devices.entry(device.clone()).or_default().merge(more);
        }
    }

    /// Requests of all classes.
    pub fn all_requests(&self) -> u64 {
        self.requests.iter().sum()
    }

    /// Whether there is nothing to tell.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
