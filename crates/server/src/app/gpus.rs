//! The machine's GPUs, who holds them and who waits for one, as far as a caller may know.

use homerun_api::error::ApiError;
use homerun_backend::gpu::Device;
use homerun_model::Timestamp;
use homerun_model::iam::Resource;
use homerun_model::names::{InstanceId, ProjectId, RevisionKey, ServiceKey};
use homerun_model::plan::place::{Denied, DeniedCause};

use super::access;
use crate::auth::Caller;
use crate::platform::Platform;

/// A GPU of this machine.
#[derive(Debug, Clone)]
pub struct Gpu {
    /// The device.
    pub device: Device,
    /// Who holds it.
    pub holder: Option<Holder>,
}

/// Who holds a GPU.
#[derive(Debug, Clone)]
pub struct Holder {
    /// Since when.
    pub since: Timestamp,
    /// Which instance it is; `None` if its project is not the caller's to know about.
    pub instance: Option<Instance>,
}

/// An instance that holds a GPU.
#[derive(Debug, Clone)]
pub struct Instance {
    /// Its id.
    pub id: InstanceId,
    /// Its service.
    pub service: ServiceKey,
    /// Its revision.
    pub revision: RevisionKey,
}

/// A revision that waits for a GPU.
#[derive(Debug, Clone)]
pub struct Waiting {
    /// Its service, unless that is gone.
    pub service: Option<ServiceKey>,
    /// The revision.
    pub revision: RevisionKey,
    /// Since when.
    pub since: Timestamp,
    /// What for, and who holds what it waits for.
    pub message: String,
}

/// Every GPU. Whoever may see the machine's status is told every holder, others those of the project.
///
/// # Errors
/// `PermissionDenied`.
pub fn held(platform: &Platform, caller: &Caller, project: &ProjectId) -> Result<Vec<Gpu>, ApiError> {
    require(platform, caller, project)?;
    let everything = sees_everything(platform, caller);
    let instances = platform.backend.list();
    let holder = |device: &Device| {
        let mut live = instances.iter().filter(|instance| !instance.state.is_over());
        let spec = &live.find(|instance| instance.spec.gpus.contains(&device.id))?.spec;
        let told = everything || spec.revision.project == *project;
        let (project, region) = (spec.revision.project.clone(), spec.revision.region.clone());
        let instance = told.then(|| Instance {
            id: spec.id.clone(),
            service: ServiceKey { project, region, name: spec.service.clone() },
            revision: spec.revision.clone(),
        });
        Some(Holder { since: spec.decided_at, instance })
    };
    let gpu = |device: Device| Gpu { holder: holder(&device), device };
    Ok(platform.backend.devices().into_iter().map(gpu).collect())
}

/// The revisions that wait for a GPU, the longest wait first: all of them for whoever may see the machine's status,
/// else those of the project. What a budget holds back waits for no GPU, and may need none.
///
/// # Errors
/// `PermissionDenied`.
pub fn waiting(platform: &Platform, caller: &Caller, project: &ProjectId) -> Result<Vec<Waiting>, ApiError> {
    require(platform, caller, project)?;
    let everything = sees_everything(platform, caller);
    let mut waiting = held_back(platform, |denied| !matches!(denied.cause, DeniedCause::Budget(_)));
    waiting.retain(|waiting| everything || waiting.revision.project == *project);
    Ok(waiting)
}

/// Every revision that waits, be it for a GPU or for a budget, the longest wait first.
pub(super) fn all_waiting(platform: &Platform) -> Vec<Waiting> {
    held_back(platform, |_| true)
}

fn held_back(platform: &Platform, why: impl Fn(&Denied) -> bool) -> Vec<Waiting> {
    let denied = platform.live.lock().denied.clone();
    let waiting = denied.into_iter().filter(|(_, denied)| why(denied)).map(|(revision, denied)| Waiting {
        service: platform.store.owners([&revision]).pop_first(),
        since: denied.since,
        message: format!("{denied:#}"),
        revision,
    });
    let mut waiting: Vec<Waiting> = waiting.collect();
    waiting.sort_by_key(|waiting| waiting.since);
    waiting
}

/// What is listed are services, by their GPUs.
fn require(platform: &Platform, caller: &Caller, project: &ProjectId) -> Result<(), ApiError> {
    access::require(platform, caller, "run.services.list", &Resource::Project(project.clone()))
}

fn sees_everything(platform: &Platform, caller: &Caller) -> bool {
    let home = Resource::Project(platform.config.default_project().id);
    access::has(platform, caller, "homerun.status.get", &home)
}
