//! Has the meter look: every second, and soon when somebody waits for instances to be settled.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use homerun_model::billing::Moment;
use homerun_model::instance::ObservedInstance;

use crate::app::usage::days_ago;
use crate::platform::Platform;

/// Longest time between two looks: what a crash may lose of a running instance's time.
const TICK: Duration = Duration::from_secs(1);
/// How long instances that are over are collected, so that many ends at once are one write.
const COLLECT: Duration = Duration::from_millis(200);

/// Runs until the task is dropped.
pub async fn run(platform: Arc<Platform>) {
    let mut forgotten = None;
    loop {
        let wanted = tokio::select! {
            () = platform.meter.wanted.notified() => true,
            () = tokio::time::sleep(TICK) => false,
        };
        if wanted {
            tokio::time::sleep(COLLECT).await;
        }
        look(&platform, &platform.backend.list());
        if wanted {
            platform.live.reconcile.notify_one();
        }
        let hour = platform.clock.now().timestamp() / 3600;
        if forgotten.replace(hour) != Some(hour) {
            forget(&platform);
        }
    }
}

/// Forgets what is older than the settings say.
fn forget(platform: &Platform) {
    let (now, settings) = (platform.clock.now(), &platform.config.usage);
    let (instances, hours) = (days_ago(now, settings.instance_days), days_ago(now, settings.hour_days));
    let forgotten = platform.meter.store().forget(instances, hours);
    if let Err(error) = forgotten {
        tracing::warn!(error = &error as &dyn Error, "old usage could not be removed");
    }
}

/// Looks once, for usage and for metrics.
pub fn look(platform: &Platform, instances: &[ObservedInstance]) {
    let now = Moment { wall: platform.clock.now(), steady: platform.clock.steady() };
    if let Err(error) = platform.metrics.look(now, instances) {
        tracing::error!(
            error = &error as &dyn Error,
            "metrics could not be written; those of an hour are kept in memory and written as soon as that works"
        );
    }
    if let Err(error) = platform.meter.look(platform, instances) {
        tracing::error!(
            error = &error as &dyn Error,
            "usage could not be written; it is kept in memory and written as soon as that works"
        );
    }
}
