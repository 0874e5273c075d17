//! Resource Manager: what a project is, and who may do what in it.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use homerun_api::resource_manager::Project;
use homerun_model::iam::Resource;
use http::Method;

use super::error::{Failure, not_served};
use super::path::Place;
use super::{Api, iam};
use crate::app::access;

pub(super) async fn get(State(api): State<Api>, place: Place) -> Result<Response, Failure> {
    if let Some(verb) = &place.verb {
        return Ok(not_served(&Method::GET, &format!("{}:{verb}", place.project.id)));
    }
    let project = &place.project;
    let resource = Resource::Project(project.id.clone());
    access::require(&api.platform, &place.caller, "resourcemanager.projects.get", &resource)?;
    Ok(Json(Project::active(project.id.as_str(), project.number, place.created_at)).into_response())
}

/// Verbs on a project's policy.
pub(super) async fn post(State(api): State<Api>, place: Place, body: Bytes) -> Result<Response, Failure> {
    let verb = place.verb.clone().unwrap_or_default();
    let resource = Resource::Project(place.project.id.clone());
    let answer = iam::answer(&api, &place.caller, &resource, &verb, &body);
    answer.unwrap_or_else(|| Ok(not_served(&Method::POST, &format!("{}:{verb}", place.project.id))))
}
