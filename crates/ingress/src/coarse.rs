//! Clocks that cost next to nothing, for times that are measured in seconds: each shows the time as it was at the kernel's
//! last tick, some milliseconds ago at most.

use std::time::Duration;

use homerun_model::Timestamp;
use nix::time::{ClockId, clock_gettime};

/// The time since some moment of the past. It never goes back.
pub(crate) fn now() -> Duration {
    read(ClockId::CLOCK_MONOTONIC_COARSE)
}

/// The time of day.
pub(crate) fn wall() -> Timestamp {
    let since = read(ClockId::CLOCK_REALTIME_COARSE);
    Timestamp::UNIX_EPOCH + since
}

fn read(clock: ClockId) -> Duration {
    // Linux has these clocks, and with them there is nothing else to go wrong.
    clock_gettime(clock).map(Duration::from).unwrap_or_default()
}
