//! An instance as ingress knows it: its count of requests and its connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering};
use std::time::Duration;

use homerun_model::Timestamp;
use homerun_model::instance::IngressPort;
use homerun_model::names::InstanceId;
use homerun_model::receipt::Receipt;

use crate::route::Endpoint;
use crate::upstream::Connections;

/// One instance. It outlives its being published for as long as a request is on it.
pub(crate) struct Instance {
    id: Arc<InstanceId>,
    ingress: IngressPort,
    receipt: Receipt,
    /// Leases that are held. Changed under the mutex of the instance's pool alone, read anywhere.
    in_flight: AtomicU32,
    /// When the last lease ended, in milliseconds since 1970; 0 before the first.
    last_busy: AtomicI64,
    published: AtomicBool,
    pub(crate) connections: Connections,
}

impl Instance {
    pub(crate) fn new(endpoint: &Endpoint, keep_alive: Duration) -> Self {
        Self {
            id: Arc::new(endpoint.instance.clone()),
            ingress: endpoint.ingress.clone(),
            receipt: endpoint.receipt.clone(),
            in_flight: AtomicU32::new(0),
            last_busy: AtomicI64::new(0),
            published: AtomicBool::new(true),
            connections: Connections::new(keep_alive),
        }
    }

    pub(crate) fn id(&self) -> &Arc<InstanceId> {
        &self.id
    }

    pub(crate) fn ingress(&self) -> &IngressPort {
        &self.ingress
    }

    /// How long its start took.
    pub(crate) fn receipt(&self) -> &Receipt {
        &self.receipt
    }

    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Acquire)
    }

    pub(crate) fn begin_lease(&self) {
        self.in_flight.fetch_add(1, Ordering::AcqRel);
    }

    /// When the last lease ended, if there was one.
    pub(crate) fn last_busy(&self) -> Option<Timestamp> {
        Timestamp::from_timestamp_millis(self.last_busy.load(Ordering::Acquire)).filter(|last| last.timestamp() > 0)
    }

    /// How many leases are left.
    pub(crate) fn end_lease(&self, now: Timestamp) -> u32 {
        self.last_busy.store(now.timestamp_millis(), Ordering::Release);
        self.in_flight.fetch_sub(1, Ordering::AcqRel) - 1
    }

    pub(crate) fn is_published(&self) -> bool {
        self.published.load(Ordering::Acquire)
    }

    /// Whether new requests may come; while not, connections are not kept when their request is over.
    pub(crate) fn set_published(&self, published: bool) {
        self.published.store(published, Ordering::Release);
    }
}
