//! What instances have served, for whoever bills it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use homerun_model::billing::{Busy, Served, Steady};
use homerun_model::names::{InstanceId, RevisionKey};

/// What has been served since this was last asked: see [`Ingress::take_usage`](crate::Ingress::take_usage).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage {
    /// By instance: requests, and the time with at least one.
    pub served: Vec<(InstanceId, Served)>,
    /// By revision: milliseconds in which instances were kept by a minimum and had nothing to do, all of them
    /// together.
    pub idle: Vec<(RevisionKey, u64)>,
}

/// What those have left who are gone and have not been asked.
pub(crate) type Left = Mutex<Usage>;

/// The time that busy times are measured by; it has meaning in this process only.
pub(crate) fn now() -> Steady {
    static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);
    Steady(BEGAN.elapsed().as_millis() as u64)
}

/// One instance's account.
#[derive(Debug, Default)]
pub(crate) struct Account {
    entries: Mutex<Entries>,
    requests: AtomicU64,
}

#[derive(Debug, Default)]
struct Entries {
    busy: Busy,
    told: Served,
}

impl Account {
    /// Its first request begins.
    pub(crate) fn begin(&self) {
        self.entries().busy.begin(now());
    }

    /// Its last request has ended.
    pub(crate) fn end(&self) {
        self.entries().busy.end(now());
    }

    /// A request is sent to it.
    pub(crate) fn count(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// What it has served since this was last asked.
    pub(crate) fn take(&self) -> Served {
        let mut entries = self.entries();
        let total = Served { steps: entries.busy.steps(now()), requests: self.requests.load(Ordering::Relaxed) };
        let told = std::mem::replace(&mut entries.told, total);
        Served { steps: total.steps - told.steps, requests: total.requests - told.requests }
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Adds up the time in which fewer instances of a revision have requests than its minimum keeps: as many as are
/// missing, and are there, are idle.
#[derive(Debug, Default)]
pub(crate) struct Idle {
    /// Idle instances at the moment.
    count: u64,
    since: Steady,
    millis: u64,
}

impl Idle {
    /// From now on there are so many.
    pub(crate) fn set(&mut self, count: u64) {
        self.settle();
        self.count = count;
    }

    fn settle(&mut self) {
        let now = now();
        self.millis += self.count * now.since(std::mem::replace(&mut self.since, now));
    }

    /// Milliseconds since this was last asked.
    pub(crate) fn take(&mut self) -> u64 {
        self.settle();
        std::mem::take(&mut self.millis)
    }
}
