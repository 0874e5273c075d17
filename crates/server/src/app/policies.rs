//! Access policies of services.

use homerun_api::error::ApiError;
use homerun_model::iam::Policy;
use homerun_model::names::ServiceKey;

use super::{services, stored};
use crate::platform::Platform;

/// A service's policy.
///
/// # Errors
/// `NotFound` if there is no such service.
pub fn get(platform: &Platform, service: &ServiceKey) -> Result<Policy, ApiError> {
    services::get(platform, service)?;
    Ok(Policy::clone(&platform.store.policy(&service.to_string())))
}

/// Replaces a service's policy.
///
/// # Errors
/// `NotFound`, or `Conflict` if the policy's etag is no longer the present one.
pub fn set(platform: &Platform, service: &ServiceKey, policy: Policy) -> Result<Policy, ApiError> {
    services::get(platform, service)?;
    let set = platform.store.put_policy(&service.to_string(), policy);
    set.map_err(|error| stored(error, "Policy", service.name.as_str()))
}
