//! Access policies of projects, services and service accounts.

use homerun_api::error::ApiError;
use homerun_model::iam::{Policy, Resource};

use super::{access, stored};
use crate::auth::Caller;
use crate::platform::Platform;

/// A resource's policy.
///
/// # Errors
/// `PermissionDenied`, or `NotFound` if there is no such resource.
pub fn get(platform: &Platform, caller: &Caller, resource: &Resource) -> Result<Policy, ApiError> {
    access::require(platform, caller, permission(resource, "getIamPolicy"), resource)?;
    exists(platform, resource)?;
    Ok(Policy::clone(&platform.store.policy(&resource.policy_name())))
}

/// Replaces a resource's policy.
///
/// # Errors
/// `PermissionDenied`, `NotFound`, what is wrong with the policy, or `Conflict` if its etag is no
/// longer the present one.
pub fn set(platform: &Platform, caller: &Caller, resource: &Resource, policy: Policy) -> Result<Policy, ApiError> {
    access::require(platform, caller, permission(resource, "setIamPolicy"), resource)?;
    exists(platform, resource)?;
    let violations = policy.validate();
    if !violations.is_empty() {
        return Err(ApiError::InvalidArgument(violations));
    }
    let name = resource.policy_name();
    platform.store.put_policy(&name, policy).map_err(|error| stored(error, "Policy", &name))
}

/// Those of the permissions that the caller has.
pub fn test(platform: &Platform, caller: &Caller, resource: &Resource, permissions: Vec<String>) -> Vec<String> {
    permissions.into_iter().filter(|permission| access::has(platform, caller, permission, resource)).collect()
}

fn exists(platform: &Platform, resource: &Resource) -> Result<(), ApiError> {
    let (found, kind, name) = match resource {
        // A project was found before its policy could be asked for.
        Resource::Platform | Resource::Project(_) => return Ok(()),
        Resource::Service(key) => {
            (platform.store.service(key).map(|found| found.is_some()), "Service", key.name.to_string())
        }
        Resource::ServiceAccount { email, .. } => {
            (platform.store.service_account(email).map(|found| found.is_some()), "Service account", email.clone())
        }
    };
    match found {
        Ok(true) => Ok(()),
        Ok(false) => Err(ApiError::NotFound { kind, name }),
        Err(error) => Err(stored(error, kind, &name)),
    }
}

/// The permission for reading or writing a policy, which differs with what it belongs to.
fn permission(resource: &Resource, verb: &str) -> &'static str {
    match (resource, verb) {
        (Resource::Service(_), "getIamPolicy") => "run.services.getIamPolicy",
        (Resource::Service(_), _) => "run.services.setIamPolicy",
        (Resource::ServiceAccount { .. }, "getIamPolicy") => "iam.serviceAccounts.getIamPolicy",
        (Resource::ServiceAccount { .. }, _) => "iam.serviceAccounts.setIamPolicy",
        (Resource::Platform | Resource::Project(_), "getIamPolicy") => "resourcemanager.projects.getIamPolicy",
        (Resource::Platform | Resource::Project(_), _) => "resourcemanager.projects.setIamPolicy",
    }
}
