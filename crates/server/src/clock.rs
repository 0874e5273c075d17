//! The one place that asks what time it is.

use homerun_model::Timestamp;
use homerun_model::billing::Steady;

/// Tells the time. Tests have their own.
pub trait Clock: Send + Sync + 'static {
    /// The time now.
    fn now(&self) -> Timestamp;

    /// The time by the clock that instances' lives are measured by: see [`homerun_backend::steady`].
    fn steady(&self) -> Steady {
        homerun_backend::steady()
    }
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        chrono::Utc::now()
    }
}
