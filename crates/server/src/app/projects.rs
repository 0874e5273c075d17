//! Projects.

use std::collections::BTreeSet;

use homerun_api::error::ApiError;
use homerun_model::iam::{Binding, Policy, Principal, Resource};
use homerun_model::names::{Project, ProjectId};

use super::stored;
use crate::auth::OWNER;
use crate::platform::Platform;
use crate::store::{Store, StoreError, StoredProject};

/// A project by its id or number.
///
/// # Errors
/// `PermissionDenied` if there is none, as Google does so that names of projects don't leak.
pub fn find(platform: &Platform, id_or_number: &str) -> Result<StoredProject, ApiError> {
    let found = platform.store.project(id_or_number).map_err(|error| stored(error, "Project", id_or_number))?;
    found.ok_or_else(|| ApiError::PermissionDenied {
        permission: "resourcemanager.projects.get".to_owned(),
        resource: format!("projects/{id_or_number}"),
    })
}

/// Demands that an API is enabled in a project (row G23).
///
/// # Errors
/// `ServiceDisabled`, which says how to enable it.
pub fn require_api(project: &ProjectId, enabled: &BTreeSet<String>, api: &str) -> Result<(), ApiError> {
    if enabled.contains(api) {
        return Ok(());
    }
    Err(ApiError::ServiceDisabled { api: api.to_owned(), project: project.to_string() })
}

/// Demands that Cloud Run's API is enabled in a project (row G23).
///
/// # Errors
/// See [`require_api`].
pub fn require_run(platform: &Platform, project: &Project) -> Result<(), ApiError> {
    let found = find(platform, project.id.as_str())?;
    require_api(&project.id, &found.enabled_apis, "run.googleapis.com")
}

/// Switches an API on or off in a project.
///
/// # Errors
/// When the store fails.
pub fn switch_api(platform: &Platform, project: &ProjectId, api: &str, enable: bool) -> Result<(), ApiError> {
    platform.store.switch_api(project, api, enable).map_err(|error| stored(error, "Project", project.as_str()))
}

/// Gives a project that never had a policy its first one: the owner of the installation owns it.
///
/// # Errors
/// When the database fails.
pub fn ensure_policy(store: &Store, project: &Project) -> Result<(), StoreError> {
    let resource = Resource::Project(project.id.clone()).policy_name();
    if !store.policy(&resource).etag.is_empty() {
        return Ok(());
    }
    let owner = Principal::User(OWNER.to_owned()).to_string();
    let bindings = vec![Binding { role: "roles/owner".to_owned(), members: vec![owner] }];
    store.put_policy(&resource, Policy { bindings, ..Policy::default() }).map(drop)
}
