//! The one place that turns errors into HTTP.

use axum::Json;
use axum::response::{IntoResponse, Response};
use homerun_api::error::ApiError;
use http::{Method, StatusCode, Uri};

/// An error on its way to the caller.
pub(super) struct Failure(pub(super) ApiError);

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Self(error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        if let ApiError::Internal(message) = &self.0 {
            tracing::error!("{message}");
        }
        let status = StatusCode::from_u16(self.0.code()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, Json(self.0.body())).into_response()
    }
}

/// Marks the answer to a method that is not served, so that the test of `api/unserved.txt` can tell it
/// from a resource that is not there.
pub const UNSERVED: &str = "x-homerun-unserved";

/// The answer to a method that is not served.
pub(super) async fn unserved(method: Method, uri: Uri) -> Response {
    not_served(&method, uri.path())
}

/// See [`unserved`]; for handlers that find out by the path's verb.
pub(super) fn not_served(method: &Method, path: &str) -> Response {
    let error = ApiError::Unimplemented(format!("{method} {path} is not supported by this version of homerun."));
    ([(UNSERVED, "1")], Failure(error)).into_response()
}
