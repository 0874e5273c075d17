//! Brings the images of new revisions here, several at a time, outside the reconcile loop.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use homerun_backend::{PullError, PulledImage};
use homerun_model::names::RevisionKey;
use homerun_model::plan::status;
use homerun_model::revision::Revision;

use crate::platform::Platform;

/// The pulls under way.
#[derive(Clone, Default)]
pub(super) struct Pulls {
    under_way: Arc<Mutex<BTreeSet<RevisionKey>>>,
}

impl Pulls {
    /// Begins to pull the images of a revision, unless that is under way. Its progress and its end are
    /// written to the revision, and reconcile is woken.
    pub(super) fn begin(&self, platform: &Arc<Platform>, revision: &Revision) {
        if !self.lock().insert(revision.key.clone()) {
            return;
        }
        let (pulls, platform, revision) = (self.clone(), platform.clone(), revision.clone());
        tokio::spawn(async move {
            let outcome = pull_all(&platform, &revision).await;
            finish(&platform, &revision.key, outcome);
            pulls.lock().remove(&revision.key);
            platform.live.reconcile.notify_one();
        });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeSet<RevisionKey>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn pull_all(platform: &Arc<Platform>, revision: &Revision) -> Result<Vec<PulledImage>, PullError> {
    let mut images = Vec::new();
    for container in &revision.template.containers {
        let tell = |text: String| say(platform, &revision.key, &text);
        images.push(platform.backend.pull(&container.image, &tell).await?);
    }
    Ok(images)
}

/// Writes what is happening into the revision's condition, where gcloud shows it.
fn say(platform: &Platform, key: &RevisionKey, text: &str) {
    let Ok(Some(stored)) = platform.store.revision(key) else {
        return;
    };
    if let Some(revision) = status::progress(&stored.value, "Deploying", text, platform.clock.now()) {
        // Progress that could not be written is progress not shown; the pull itself goes on.
        let _ = platform.store.update_revision(&revision);
    }
}

fn finish(platform: &Platform, key: &RevisionKey, outcome: Result<Vec<PulledImage>, PullError>) {
    let Ok(Some(stored)) = platform.store.revision(key) else {
        return;
    };
    let revision = match outcome {
        Ok(images) => {
            let driver = platform.backend.driver().map(|driver| driver.cuda);
            let gpu = stored.value.template.gpu_container();
            let warning = gpu.zip(driver).and_then(|(index, cuda)| {
                let own =
                    stored.value.template.containers[index].env.iter().map(|var| format!("{}={}", var.name, var.value));
                let mut env: Vec<String> = images.get(index)?.env.iter().cloned().chain(own).collect();
                if stored.value.template.cuda_compat == Some(true) {
                    homerun_backend::gpu::prefer_compat(&mut env);
                }
                homerun_backend::gpu::driver_warning(&env, cuda)
            });
            Revision {
                images: images.into_iter().map(|image| image.pinned).collect(),
                images_at: Some(platform.clock.now()),
                warnings: warning.into_iter().collect(),
                ..stored.value
            }
        }
        Err(error) => {
            let reason = match &error {
                PullError::NotFound(_) => "ContainerMissing",
                PullError::Denied { .. } => "ContainerImageUnauthorized",
                PullError::Unusable { .. } => "ContainerImageUnusable",
                PullError::Unavailable { .. } => "ContainerImageUnavailable",
            };
            status::without_image(&stored.value, reason, &error.to_string(), platform.clock.now())
        }
    };
    if let Err(error) = platform.store.update_revision(&revision) {
        tracing::error!(revision = %key, %error, "the pulled image could not be recorded; it is pulled again");
    }
}
