//! Resource Manager: what a project is.

use axum::Json;
use axum::extract::{Path, State};
use homerun_api::resource_manager::Project;

use super::Api;
use super::error::Failure;
use crate::app;

pub(super) async fn get(State(api): State<Api>, Path(project): Path<String>) -> Result<Json<Project>, Failure> {
    let found = app::projects::find(&api.platform, &project)?.project;
    Ok(Json(Project::active(found.id.as_str(), found.number)))
}
