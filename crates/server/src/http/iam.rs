//! Access policies of services: `getIamPolicy`, `setIamPolicy`, `testIamPermissions`.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use homerun_api::error::ApiError;
use homerun_api::run_v1::{self, convert};
use http::Method;

use super::Api;
use super::error::{Failure, not_served};
use super::path::Place;
use super::services::key;
use crate::app;

/// GETs with a verb.
pub(super) fn get(api: &Api, place: &Place) -> Result<Response, Failure> {
    match place.verb.as_deref() {
        Some("getIamPolicy") => {
            let policy = app::policies::get(&api.platform, &key(place, &place.name)?)?;
            Ok(Json(convert::policy_to_wire(&policy)).into_response())
        }
        other => Ok(not_served(&Method::GET, &format!("{}:{}", place.name, other.unwrap_or_default()))),
    }
}

/// POSTs with a verb.
pub(super) async fn post(State(api): State<Api>, place: Place, body: Bytes) -> Result<Response, Failure> {
    match place.verb.as_deref() {
        Some("setIamPolicy") => {
            let request: run_v1::SetIamPolicyRequest = run_v1::parse_strict(&body).map_err(ApiError::from)?;
            let (policy, violations) = convert::policy_from_wire(request.policy.unwrap_or_default());
            if !violations.is_empty() {
                return Err(Failure(ApiError::InvalidArgument(violations)));
            }
            let set = app::policies::set(&api.platform, &key(&place, &place.name)?, policy)?;
            Ok(Json(convert::policy_to_wire(&set)).into_response())
        }
        // The one principal there is may do everything.
        Some("testIamPermissions") => {
            let request: run_v1::TestIamPermissionsRequest = run_v1::parse_strict(&body).map_err(ApiError::from)?;
            let permissions = request.permissions;
            Ok(Json(run_v1::TestIamPermissionsResponse { permissions }).into_response())
        }
        other => Ok(not_served(&Method::POST, &format!("{}:{}", place.name, other.unwrap_or_default()))),
    }
}
