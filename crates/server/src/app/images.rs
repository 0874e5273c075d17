//! The images that are on this machine.

use homerun_api::error::ApiError;
use homerun_backend::LocalImage;
use homerun_model::iam::Resource;

use super::access;
use crate::auth::Caller;
use crate::platform::Platform;

/// The images that are here.
///
/// # Errors
/// `PermissionDenied`.
pub fn list(platform: &Platform, caller: &Caller) -> Result<Vec<LocalImage>, ApiError> {
    // What concerns the whole machine is a matter of the project that exists from the start.
    let home = Resource::Project(platform.config.default_project().id);
    access::require(platform, caller, "homerun.images.list", &home)?;
    Ok(platform.backend.images())
}
