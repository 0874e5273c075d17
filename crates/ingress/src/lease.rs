//! A request's hold on an instance.

use std::sync::Arc;
use std::time::Duration;

use crate::instance::Instance;
use crate::pool::Pool;

/// A slot of an instance, held until dropped.
pub(crate) struct Lease {
    pool: Arc<Pool>,
    instance: Arc<Instance>,
    /// How long the request may take from now on.
    pub(crate) timeout: Duration,
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
    pub(crate) fn new(pool: Arc<Pool>, instance: Arc<Instance>, timeout: Duration, sticky: bool) -> Self {
        Self { pool, instance, timeout, sticky, cold_start: false }
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
