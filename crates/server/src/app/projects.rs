//! Projects.

use homerun_api::error::ApiError;

use super::stored;
use crate::platform::Platform;
use crate::store::StoredProject;

/// A project by its id or number.
///
/// # Errors
/// `PermissionDenied` if there is none, as Google does so that names of projects don't leak.
pub fn find(platform: &Platform, id_or_number: &str) -> Result<StoredProject, ApiError> {
    let found = platform.store.project(id_or_number).map_err(|error| stored(error, "Project", id_or_number))?;
    found.ok_or_else(|| ApiError::PermissionDenied {
        permission: "run.services.list".to_owned(),
        resource: format!("projects/{id_or_number} (or the project does not exist)"),
    })
}

/// An API's name and whether it is enabled in a project.
///
/// # Errors
/// When the API must be enabled and is not (row G23).
pub fn require_api(project: &StoredProject, api: &str) -> Result<(), ApiError> {
    if project.enabled_apis.contains(api) {
        return Ok(());
    }
    let id = &project.project.id;
    Err(ApiError::ServiceDisabled { api: api.to_owned(), project: id.to_string() })
}

/// Enables an API.
///
/// # Errors
/// When the store fails.
pub fn enable_api(platform: &Platform, project: &StoredProject, api: &str) -> Result<(), ApiError> {
    let id = &project.project.id;
    platform.store.enable_api(id, api).map_err(|error| stored(error, "Project", id.as_str()))
}
