//! Who changed what in a project.

use homerun_api::error::ApiError;
use homerun_model::iam::Resource;
use homerun_model::names::ProjectId;

use super::access;
use crate::audit::Record;
use crate::auth::Caller;
use crate::platform::Platform;

/// What reading the record needs.
pub const READ: &str = "logging.logEntries.list";

/// A page of the record, the newest first: up to `size` changes with numbers below `before`.
///
/// # Errors
/// `PermissionDenied`, or when the store fails.
pub fn page(
    platform: &Platform,
    caller: &Caller,
    project: &ProjectId,
    before: Option<u64>,
    size: usize,
) -> Result<Vec<(u64, Record)>, ApiError> {
    access::require(platform, caller, READ, &Resource::Project(project.clone()))?;
    let found = platform.store.audit(Some(project.as_str()), before, size);
    found.map_err(|error| ApiError::Internal(format!("the record of changes cannot be read: {error}")))
}
