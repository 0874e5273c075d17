//! Access policies: `getIamPolicy`, `setIamPolicy`, `testIamPermissions` of whatever has a policy.

use axum::Json;
use axum::body::Bytes;
use axum::response::{IntoResponse, Response};
use homerun_api::error::ApiError;
use homerun_api::run_v1::{self, convert};
use homerun_model::iam::Resource;

use super::Api;
use super::error::Failure;
use crate::app;
use crate::auth::Caller;

/// Answers a verb on a resource's policy; `None` if the verb is another.
pub(super) fn answer(
    api: &Api,
    caller: &Caller,
    resource: &Resource,
    verb: &str,
    body: &Bytes,
) -> Option<Result<Response, Failure>> {
    match verb {
        "getIamPolicy" => Some(get(api, caller, resource)),
        "setIamPolicy" => Some(set(api, caller, resource, body)),
        "testIamPermissions" => Some(test(api, caller, resource, body)),
        _ => None,
    }
}

fn get(api: &Api, caller: &Caller, resource: &Resource) -> Result<Response, Failure> {
    let policy = app::policies::get(&api.platform, caller, resource)?;
    Ok(Json(convert::policy_to_wire(&policy)).into_response())
}

fn set(api: &Api, caller: &Caller, resource: &Resource, body: &Bytes) -> Result<Response, Failure> {
    let request: run_v1::SetIamPolicyRequest = run_v1::parse_strict(body).map_err(ApiError::from)?;
    let (policy, violations) = convert::policy_from_wire(request.policy.unwrap_or_default());
    if !violations.is_empty() {
        return Err(Failure(ApiError::InvalidArgument(violations)));
    }
    let set = app::policies::set(&api.platform, caller, resource, policy)?;
    Ok(Json(convert::policy_to_wire(&set)).into_response())
}

fn test(api: &Api, caller: &Caller, resource: &Resource, body: &Bytes) -> Result<Response, Failure> {
    let request: run_v1::TestIamPermissionsRequest = run_v1::parse_strict(body).map_err(ApiError::from)?;
    let permissions = app::policies::test(&api.platform, caller, resource, request.permissions);
    Ok(Json(run_v1::TestIamPermissionsResponse { permissions }).into_response())
}
