//! Counts requests as they end, on their own threads: nobody waits there but for who counts one of the same service, and
//! nothing is allocated for a service that is known.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use foldhash::fast::RandomState;
use homerun_ingress::{Observe, RequestRecord};
use homerun_model::metrics::{Histogram, Point};
use homerun_model::names::ServiceKey;

/// The longest latency that is counted without allocating, in microseconds: requests end after an hour at most.
const ROOM: u64 = 3_600_000_000;

/// Requests that have ended since they were last taken.
#[derive(Default)]
pub(super) struct Requests {
    services: RwLock<HashMap<ServiceKey, Mutex<Point>, RandomState>>,
}

impl Requests {
    /// Counts one, if its host was a service's.
    pub(super) fn count(&self, record: &RequestRecord) {
        let Some(service) = record.service.as_deref() else { return };
        // The map is held while it is counted, so that nobody takes the counts away in between.
        let known = self.services.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(point) = known.get(service) {
            lock(point).request(record.status, record.latency);
            return;
        }
        drop(known);
        let mut services = self.services.write().unwrap_or_else(PoisonError::into_inner);
        let point = services.entry(service.clone()).or_insert_with(|| Mutex::new(empty()));
        lock(point).request(record.status, record.latency);
    }

    /// Takes the counts away. A service without any since the last time is forgotten.
    pub(super) fn take(&self) -> Vec<(ServiceKey, Point)> {
        let mut services = self.services.write().unwrap_or_else(PoisonError::into_inner);
        services.retain(|_, point| !lock(point).is_empty());
        services.iter().map(|(key, point)| (key.clone(), std::mem::replace(&mut *lock(point), empty()))).collect()
    }

    /// Merges the counts of a service into a point.
    pub(super) fn merge_into(&self, service: &ServiceKey, sum: &mut Point) {
        let services = self.services.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(point) = services.get(service) {
            sum.merge(&lock(point));
        }
    }

    /// How many requests of each service have ended since they were last taken.
    pub(super) fn counts(&self) -> Vec<(ServiceKey, u64)> {
        let services = self.services.read().unwrap_or_else(PoisonError::into_inner);
        services.iter().map(|(key, point)| (key.clone(), lock(point).all_requests())).collect()
    }

    /// The services that have counts.
    pub(super) fn services(&self) -> Vec<ServiceKey> {
        self.services.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }
}

fn empty() -> Point {
    Point { latency: Histogram::with_room_for(ROOM), ..Point::default() }
}

fn lock(point: &Mutex<Point>) -> MutexGuard<'_, Point> {
    point.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Tells both about each request: metrics by a look, logs for good.
pub struct Fan<L> {
    /// Counts it.
    pub metrics: Arc<super::Metrics>,
    /// Keeps it.
    pub logs: L,
}

impl<L: Observe> Observe for Fan<L> {
    fn request(&self, record: &RequestRecord) {
        self.metrics.requests.count(record);
        self.logs.request(record);
    }
}
