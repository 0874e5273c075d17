//! The one question before everything that a caller asks for: may they?

use homerun_api::error::ApiError;
use homerun_model::iam::{ACT_AS, Resource};

use super::stored;
use crate::auth::Caller;
use crate::platform::Platform;

/// Whether the caller has a permission on a resource, by its own policy or that of its project.
pub fn has(platform: &Platform, caller: &Caller, permission: &str, resource: &Resource) -> bool {
    caller.owner || platform.store.allows(resource, Some(&caller.principal), permission)
}

/// Demands a permission.
///
/// # Errors
/// `PermissionDenied`, which names permission and resource.
pub fn require(platform: &Platform, caller: &Caller, permission: &str, resource: &Resource) -> Result<(), ApiError> {
    if has(platform, caller, permission, resource) {
        return Ok(());
    }
    Err(ApiError::PermissionDenied { permission: permission.to_owned(), resource: resource.to_string() })
}

/// Demands that the caller may give instances the identity of a service account, which must exist
/// (row G22).
///
/// # Errors
/// `ActAsDenied`, which does not tell whether it exists.
pub fn require_act_as(platform: &Platform, caller: &Caller, email: &str) -> Result<(), ApiError> {
    let found = platform.store.service_account(email).map_err(|error| stored(error, "Service account", email))?;
    let allowed = found.filter(|account| !account.disabled).is_some_and(|account| {
        let resource = Resource::ServiceAccount { project: account.project, email: account.email };
        has(platform, caller, ACT_AS, &resource)
    });
    if allowed { Ok(()) } else { Err(ApiError::ActAsDenied { email: email.to_owned() }) }
}
