//! An instance as ingress knows it: its count of requests and its connections.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use homerun_model::Timestamp;
use homerun_model::billing::Served;
use homerun_model::instance::IngressPort;
use homerun_model::names::InstanceId;
use homerun_model::receipt::Receipt;

use crate::Notice;
use crate::account::Account;
use crate::affinity;
use crate::route::Endpoint;
use crate::upstream::{Connect, Connections};

/// One instance. It outlives its being published for as long as a request is on it.
pub(crate) struct Instance {
    id: Arc<InstanceId>,
    ingress: IngressPort,
    receipt: Receipt,
    /// What a client's cookie says of it.
    mark: u64,
    /// Leases that are held. Changed under the mutex of the instance's pool alone, read anywhere.
    in_flight: AtomicU32,
    /// When the last lease ended, in milliseconds since 1970; 0 before the first.
    last_busy: AtomicI64,
    published: AtomicBool,
    /// `None` for one that always has its CPU.
    rest: Option<Rest>,
    account: Account,
    notice: Arc<Notice>,
    pub(crate) connections: Connections,
}

/// Whether an instance without requests has lost its CPU.
struct Rest {
    /// Set before the count of leases is looked at, and looked at after that was raised: so either who gives it a
    /// request sees that it rests, or who wants it to rest sees the request.
    rests: AtomicBool,
    /// Held while its CPU is given or taken.
    change: Mutex<()>,
}

impl Default for Rest {
    /// Nobody here knows whether it rests, so its first request asks for its CPU.
    fn default() -> Self {
        Self { rests: AtomicBool::new(true), change: Mutex::new(()) }
    }
}

impl Instance {
    pub(crate) fn new(endpoint: &Endpoint, keep_alive: Duration, notice: Arc<Notice>) -> Self {
        Self {
            id: Arc::new(endpoint.instance.clone()),
            ingress: endpoint.ingress.clone(),
            receipt: endpoint.receipt.clone(),
            mark: affinity::mark(&endpoint.instance),
            in_flight: AtomicU32::new(0),
            last_busy: AtomicI64::new(0),
            published: AtomicBool::new(true),
            rest: endpoint.throttled.then(Rest::default),
            account: Account::default(),
            notice,
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

    /// See [`affinity`].
    pub(crate) fn mark(&self) -> u64 {
        self.mark
    }

    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Acquire)
    }

    /// Whether it is the only lease.
    pub(crate) fn begin_lease(&self) -> bool {
        // In one order with looking at whether it rests.
        let first = self.in_flight.fetch_add(1, Ordering::SeqCst) == 0;
        if first {
            self.account.begin();
        }
        first
    }

    /// Counts a request that is sent to it.
    pub(crate) fn count_request(&self) {
        self.account.count();
    }

    /// What it has served since this was last asked.
    pub(crate) fn take_served(&self) -> Served {
        self.account.take()
    }

    /// Takes its CPU, unless it has a request.
    pub(crate) fn rest(&self, connect: &dyn Connect) {
        let Some(rest) = &self.rest else { return };
        let _changing = rest.change.lock().unwrap_or_else(PoisonError::into_inner);
        rest.rests.store(true, Ordering::SeqCst);
        if self.in_flight.load(Ordering::SeqCst) > 0 {
            // It may have been set before, and then its CPU is gone.
            connect.set_cpu(&self.id, true);
            rest.rests.store(false, Ordering::SeqCst);
        } else {
            connect.set_cpu(&self.id, false);
        }
    }

    /// Gives it its CPU, if that is gone. Who calls this has a lease.
    pub(crate) fn work(&self, connect: &dyn Connect) {
        let Some(rest) = self.rest.as_ref().filter(|rest| rest.rests.load(Ordering::SeqCst)) else { return };
        let _changing = rest.change.lock().unwrap_or_else(PoisonError::into_inner);
        connect.set_cpu(&self.id, true);
        rest.rests.store(false, Ordering::SeqCst);
    }

    /// When the last lease ended, if there was one.
    pub(crate) fn last_busy(&self) -> Option<Timestamp> {
        Timestamp::from_timestamp_millis(self.last_busy.load(Ordering::Acquire)).filter(|last| last.timestamp() > 0)
    }

    /// How many leases are left.
    pub(crate) fn end_lease(&self, now: Timestamp) -> u32 {
        self.last_busy.store(now.timestamp_millis(), Ordering::Release);
        let left = self.in_flight.fetch_sub(1, Ordering::AcqRel) - 1;
        if left == 0 {
            self.account.end();
        }
        left
    }

    pub(crate) fn is_published(&self) -> bool {
        self.published.load(Ordering::Acquire)
    }

    /// Whether new requests may come; while not, connections are not kept when their request is over.
    pub(crate) fn set_published(&self, published: bool) {
        self.published.store(published, Ordering::Release);
    }
}

impl Drop for Instance {
    /// Leaves what nobody has asked for yet.
    fn drop(&mut self) {
        let served = self.take_served();
        if served != Served::default() {
            self.notice.left().served.push((InstanceId::clone(&self.id), served));
        }
    }
}
