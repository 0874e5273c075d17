//! Service Usage: whether an API is enabled in a project, and enabling it (row G23).

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use homerun_api::service_usage;
use http::Method;

use super::Api;
use super::error::{Failure, not_served};
use crate::app;

pub(super) async fn get(
    State(api): State<Api>,
    Path((project, service)): Path<(String, String)>,
) -> Result<Json<service_usage::Service>, Failure> {
    let found = app::projects::find(&api.platform, &project)?;
    let enabled = found.enabled_apis.contains(&service);
    Ok(Json(service_usage::Service::new(found.project.number, &service, enabled)))
}

pub(super) async fn enable(
    State(api): State<Api>,
    Path((project, service)): Path<(String, String)>,
) -> Result<Response, Failure> {
    let Some(name) = service.strip_suffix(":enable") else {
        return Ok(not_served(&Method::POST, &format!("projects/{project}/services/{service}")));
    };
    let found = app::projects::find(&api.platform, &project)?;
    app::projects::enable_api(&api.platform, &found, name)?;
    Ok(Json(service_usage::Operation::enabled(found.project.number, name)).into_response())
}
