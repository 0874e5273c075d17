//! Asks how busy GPUs are while instances hold some, and forgets old metrics. The rest of what metrics are made of is
//! seen by the meter's loop.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use crate::app::usage::days_ago;
use crate::platform::Platform;

/// Time between two questions: a driver's answer is about the last second at most, and costs it milliseconds.
const TICK: Duration = Duration::from_secs(2);

/// Runs until the task is dropped.
pub async fn run(platform: Arc<Platform>) {
    let mut forgotten = None;
    loop {
        tokio::time::sleep(TICK).await;
        if platform.metrics.wants_gpu_use() {
            let backend = platform.backend.clone();
            // A driver whose device has failed may take long. It fails only by a panic, which has been printed.
            let usage = tokio::task::spawn_blocking(move || backend.gpu_use()).await;
            platform.metrics.set_gpu_use(usage.unwrap_or_default());
        }
        let hour = platform.clock.now().timestamp() / 3600;
        if forgotten.replace(hour) != Some(hour) {
            forget(&platform);
        }
    }
}

/// Forgets what is older than the settings say.
fn forget(platform: &Platform) {
    let (now, settings) = (platform.clock.now(), &platform.config.metrics);
    let (minutes, hours) = (days_ago(now, settings.minute_days), days_ago(now, settings.hour_days));
    if let Err(error) = platform.metrics.store().forget(minutes, hours) {
        tracing::warn!(error = &error as &dyn Error, "old metrics could not be removed");
    }
}

/// Writes what there is of the current minute.
pub fn flush(platform: &Platform) {
    if let Err(error) = platform.metrics.flush() {
        tracing::error!(error = &error as &dyn Error, "the metrics of the last minute could not be written");
    }
}
