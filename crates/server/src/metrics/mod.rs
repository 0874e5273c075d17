//! What the console plots: collected as it happens, kept in memory for the current minute, and then written.
//!
//! The rules are `homerun_model::metrics`'. Requests are counted where they end ([`requests`]); instances and GPUs are
//! looked at by the meter's loop, which sees every instance once at least. A minute that is over is written at the first
//! look after it, so what happened within a second of its end may be counted for it. Only services that have something
//! to tell are known here. Whoever kills homerun loses the current minute.

mod instances;
mod requests;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use homerun_backend::gpu::GpuUse;
use homerun_model::Timestamp;
use homerun_model::billing::Moment;
use homerun_model::instance::ObservedInstance;
use homerun_model::metrics::{Grain, Point};
use homerun_model::names::ServiceKey;

use crate::store::{Due, MetricsStore, Result};
use instances::Instances;
use requests::Requests;

pub use requests::Fan;

/// Longest time between two looks that what is seen is said to have lasted, in milliseconds. Of what was before, for
/// instance while the machine slept, nobody knows.
const MOST_MILLIS: u64 = 10_000;
/// Minutes that are kept in memory at most while the database does not take them.
const MOST_DUE: i64 = 60;

/// See the module's page.
pub struct Metrics {
    store: MetricsStore,
    requests: Requests,
    state: Mutex<State>,
    /// Grows with every write.
    written: AtomicU64,
}

#[derive(Default)]
struct State {
    last: Option<Moment>,
    instances: Instances,
    /// Of the minute that `last` is in, requests aside.
    points: BTreeMap<ServiceKey, Point>,
    /// Minutes that are over, or parts of one, and are not written yet.
    due: Due,
    /// The last minute that is over, by number, and how many requests services had in it.
    before: (i64, BTreeMap<ServiceKey, u64>),
}

impl Metrics {
    /// Collects into a store.
    pub fn new(store: MetricsStore) -> Self {
        Self { store, requests: Requests::default(), state: Mutex::default(), written: AtomicU64::new(0) }
    }

    /// What it has written.
    pub fn store(&self) -> &MetricsStore {
        &self.store
    }

    /// Looks once. `instances` are all that the backend knows.
    ///
    /// # Errors
    /// When the store fails; what could not be written is written at the end of the next minute.
    pub fn look(&self, now: Moment, instances: &[ObservedInstance]) -> Result<()> {
        let mut state = self.lock();
        let state = &mut *state;
        let last = state.last.replace(now).unwrap_or(now);
        let millis = now.steady.0.saturating_sub(last.steady.0).min(MOST_MILLIS);
        let minute = Grain::Minute.number(last.wall);
        if minute == Grain::Minute.number(now.wall) {
            state.instances.look(instances, millis, now.steady, &mut state.points);
            return Ok(());
        }
        let end = (minute + 1) * Grain::Minute.seconds() * 1000;
        let until_end = u64::try_from(end - last.wall.timestamp_millis()).unwrap_or(0).min(millis);
        state.instances.look(instances, until_end, now.steady, &mut state.points);
        let written = self.write(state, minute);
        state.instances.look(instances, millis - until_end, now.steady, &mut state.points);
        written
    }

    /// Writes what there is of the current minute, too.
    ///
    /// # Errors
    /// When the store fails.
    pub fn flush(&self) -> Result<()> {
        let mut state = self.lock();
        let Some(last) = state.last else { return Ok(()) };
        self.write(&mut state, Grain::Minute.number(last.wall))
    }

    /// Writes a minute, and those that could not be written before.
    fn write(&self, state: &mut State, minute: i64) -> Result<()> {
        let requests = self.requests.take();
        state.before = (minute, requests.iter().map(|(key, point)| (key.clone(), point.all_requests())).collect());
        let points = std::mem::take(&mut state.points).into_iter().chain(requests);
        for (service, point) in points.filter(|(_, point)| !point.is_empty()) {
            state.due.entry((minute, service)).or_default().merge(&point);
        }
        let result = self.store.write(&state.due);
        if result.is_ok() {
            state.due.clear();
        } else {
            state.due.retain(|(time, _), _| minute - time < MOST_DUE);
        }
        self.written.fetch_add(1, Ordering::Release);
        result
    }

    /// What is not written yet of some services, or of all of a project's: by minute since 1970.
    fn pending(&self, meant: impl Fn(&ServiceKey) -> bool) -> Vec<(i64, Point)> {
        let state = self.lock();
        let due = state.due.iter().filter(|((_, key), _)| meant(key)).map(|((minute, _), point)| (*minute, point));
        let mut pending: Vec<(i64, Point)> = due.map(|(minute, point)| (minute, point.clone())).collect();
        let Some(last) = state.last else { return pending };
        let minute = Grain::Minute.number(last.wall);
        let keys: BTreeSet<ServiceKey> = state.points.keys().cloned().chain(self.requests.services()).collect();
        pending.extend(keys.iter().filter(|key| meant(key)).map(|key| {
            let mut point = state.points.get(key).cloned().unwrap_or_default();
            self.requests.merge_into(key, &mut point);
            (minute, point)
        }));
        pending
    }

    /// Merges what is kept and what is not written yet into points: `place` says into which a time belongs, if into any.
    ///
    /// # Errors
    /// When the store fails.
    pub fn read(
        &self,
        (grain, range): (Grain, (Timestamp, Timestamp)),
        services: &BTreeSet<ServiceKey>,
        points: usize,
        place: impl Fn(Timestamp) -> Option<usize>,
    ) -> Result<Vec<Point>> {
        let keys: Vec<ServiceKey> = services.iter().cloned().collect();
        let read = || {
            let mut found = vec![Point::default(); points];
            self.store.read(grain, range, &keys, |time, bytes| match place(time) {
                Some(index) => Ok(found[index].merge_bytes(bytes)?),
                None => Ok(()),
            })?;
            for (minute, point) in self.pending(|key| services.contains(key)) {
                let time = Timestamp::from_timestamp(minute * Grain::Minute.seconds(), 0);
                if let Some(index) = time.and_then(&place) {
                    found[index].merge(&point);
                }
            }
            Ok(found)
        };
        let written = self.written.load(Ordering::Acquire);
        let found = read()?;
        // What was written in between is in neither. That does not happen twice in a row: a minute lies between.
        if self.written.load(Ordering::Acquire) == written { Ok(found) } else { read() }
    }

    /// The services of which something is known that is not written yet.
    pub fn pending_services(&self) -> BTreeSet<ServiceKey> {
        let state = self.lock();
        let due = state.due.keys().map(|(_, key)| key.clone());
        due.chain(state.points.keys().cloned()).chain(self.requests.services()).collect()
    }

    /// Requests per second of every service that had some lately: those of this minute, and so much of the minute before
    /// as makes it a whole one, as if they had come evenly in it.
    pub fn request_rates(&self, now: Timestamp) -> BTreeMap<ServiceKey, f64> {
        let state = self.lock();
        let minute = Grain::Minute.number(now);
        let length = Grain::Minute.seconds() as f64;
        let over = (now.timestamp_millis() - minute * Grain::Minute.seconds() * 1000) as f64 / 1000.0;
        let mut rates: BTreeMap<ServiceKey, f64> = BTreeMap::new();
        if state.before.0 == minute - 1 {
            let share = (1.0 - over / length) / length;
            rates.extend(state.before.1.iter().map(|(key, requests)| (key.clone(), *requests as f64 * share)));
        }
        for (key, requests) in self.requests.counts() {
            *rates.entry(key).or_default() += requests as f64 / length;
        }
        rates
    }

    /// Whether instances hold GPUs, so that it is worth while to ask how busy these are.
    pub fn wants_gpu_use(&self) -> bool {
        self.lock().instances.hold_gpus()
    }

    /// How much of each GPU is in use from now on.
    pub fn set_gpu_use(&self, usage: Vec<GpuUse>) {
        self.lock().instances.set_gpu_use(usage);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Opens the metrics' database.
///
/// # Errors
/// When it cannot be opened.
pub fn open(data_dir: &std::path::Path) -> Result<Arc<Metrics>> {
    Ok(Arc::new(Metrics::new(MetricsStore::open(&data_dir.join("metrics.db"))?)))
}
