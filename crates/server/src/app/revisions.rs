//! Revisions: read, and delete those that nobody needs.

use homerun_api::error::ApiError;
use homerun_model::iam::Resource;
use homerun_model::names::{Project, Region, RevisionKey, RevisionName};
use homerun_model::revision::Revision;
use homerun_model::service::{Service, retention};

use super::{access, stored};
use crate::auth::Caller;
use crate::platform::Platform;
use crate::store::Versioned;

const KIND: &str = "Revision";

/// A revision.
///
/// # Errors
/// `PermissionDenied` or `NotFound`.
pub fn get(platform: &Platform, caller: &Caller, key: &RevisionKey) -> Result<Versioned<Revision>, ApiError> {
    find(platform, caller, "run.revisions.get", key)
}

/// Deletes a revision that receives no requests; its unique id.
///
/// # Errors
/// `PermissionDenied`, `NotFound`, or why the service needs it.
pub fn delete(platform: &Platform, caller: &Caller, key: &RevisionKey, dry_run: bool) -> Result<String, ApiError> {
    let revision = find(platform, caller, "run.revisions.delete", key)?.value;
    let service = platform.store.service(&revision.service_key());
    let service = service.map_err(|error| stored(error, KIND, key.name.as_str()))?;
    if let Some(service) = service.map(|service| service.value) {
        if let Some(reason) = retention::why_kept(&service, &key.name) {
            return Err(ApiError::FailedPrecondition(reason));
        }
        if !dry_run {
            forget(platform, &service, &key.name)?;
        }
    }
    Ok(revision.uid)
}

/// Up to `count` revisions of a project, of one region or of all, of one service if given, after a key
/// and in the order of keys: by service, the newest first.
///
/// # Errors
/// When the store fails.
pub fn page(
    platform: &Platform,
    (project, region): (&Project, Option<&Region>),
    service: Option<&str>,
    after: Option<&str>,
    count: usize,
) -> Result<Vec<(String, Versioned<Revision>)>, ApiError> {
    let page = platform.store.revisions_page((&project.id, region), service, after, count);
    page.map_err(|error| stored(error, KIND, project.id.as_str()))
}

/// Removes a revision from the store; its instances end with the next pass of reconcile.
pub(super) fn forget(platform: &Platform, service: &Service, name: &RevisionName) -> Result<(), ApiError> {
    let key =
        RevisionKey { project: service.key.project.clone(), region: service.key.region.clone(), name: name.clone() };
    platform.store.delete_revision(&key).map_err(|error| stored(error, KIND, name.as_str()))
}

fn find(
    platform: &Platform,
    caller: &Caller,
    permission: &str,
    key: &RevisionKey,
) -> Result<Versioned<Revision>, ApiError> {
    let found = platform.store.revision(key).map_err(|error| stored(error, KIND, key.name.as_str()))?;
    let resource = match &found {
        Some(revision) => Resource::Service(revision.value.service_key()),
        None => Resource::Project(key.project.clone()),
    };
    access::require(platform, caller, permission, &resource)?;
    found.ok_or_else(|| ApiError::NotFound { kind: KIND, name: key.name.to_string() })
}
