//! A request's hold on an instance.

use std::sync::Arc;
use tokio::time::Instant;

use crate::instance::Instance;
use crate::pool::Pool;

/// A slot of an instance, held until dropped.
pub(crate) struct Lease {
    pool: Arc<Pool>,
    instance: Arc<Instance>,
    /// When the request's time is over, if it is its first.
    pub(crate) until: Instant,
    /// Whether its client is to come back to this instance.
    pub(crate) sticky: bool,
    /// Whether the request found no instance at all.
    pub(crate) cold_start: bool,
}

impl std::fmt::Debug for Lease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Lease").field(self.instance.id()).finish()
    }
}

impl Lease {
    pub(crate) fn new(pool: Arc<Pool>, instance: Arc<Instance>, until: Instant, sticky: bool) -> Self {
        Self { pool, instance, until, sticky, cold_start: false }
    }

    pub(crate) fn instance(&self) -> &Arc<Instance> {
        &self.instance
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.pool.release(&self.instance);
    }
}
