//! A clock that costs next to nothing, for times that are measured in seconds.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// The time since some moment of the past, as it was at the kernel's last tick: some milliseconds ago at most. It never
/// goes back.
pub(crate) fn now() -> Duration {
    // Linux has this clock, and with it there is nothing else to go wrong.
    clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE).map(Duration::from).unwrap_or_default()
}
