//! Service Usage: whether an API is enabled in a project, and enabling it (row G23).

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use homerun_api::error::ApiError;
use homerun_api::service_usage;
use homerun_model::iam::Resource;
use http::Method;

use super::Api;
use super::error::{Failure, not_served};
use super::path::Place;
use crate::app;

pub(super) async fn get(State(api): State<Api>, place: Place) -> Result<Json<service_usage::Service>, Failure> {
    require(&api, &place, "serviceusage.services.get")?;
    let enabled = place.enabled_apis.contains(&place.name);
    Ok(Json(service_usage::Service::new(place.project.number, &place.name, enabled)))
}

/// The APIs that are enabled; those that are not are not listed, whatever the filter.
pub(super) async fn list(State(api): State<Api>, place: Place) -> Result<Json<service_usage::Services>, Failure> {
    require(&api, &place, "serviceusage.services.list")?;
    let number = place.project.number;
    let services = place.enabled_apis.iter().map(|name| service_usage::Service::new(number, name, true));
    Ok(Json(service_usage::Services { services: services.collect() }))
}

pub(super) async fn post(State(api): State<Api>, place: Place) -> Result<Response, Failure> {
    let (enable, permission) = match place.verb.as_deref() {
        Some("enable") => (true, "serviceusage.services.enable"),
        Some("disable") => (false, "serviceusage.services.disable"),
        _ => return Ok(not_served(&Method::POST, &format!("services/{}", place.name))),
    };
    require(&api, &place, permission)?;
    app::projects::switch_api(&api.platform, &place.project.id, &place.name, enable)?;
    let operation = service_usage::Operation::switched(place.project.number, &[&place.name], enable);
    Ok(Json(operation).into_response())
}

/// `services:batchEnable`.
pub(super) async fn batch_enable(
    State(api): State<Api>,
    place: Place,
    body: Bytes,
) -> Result<Json<service_usage::Operation>, Failure> {
    require(&api, &place, "serviceusage.services.enable")?;
    let request: service_usage::BatchEnable = homerun_api::run_v1::parse_strict(&body).map_err(ApiError::from)?;
    for name in &request.service_ids {
        app::projects::switch_api(&api.platform, &place.project.id, name, true)?;
    }
    let names: Vec<&str> = request.service_ids.iter().map(String::as_str).collect();
    Ok(Json(service_usage::Operation::switched(place.project.number, &names, true)))
}

fn require(api: &Api, place: &Place, permission: &str) -> Result<(), Failure> {
    let resource = Resource::Project(place.project.id.clone());
    Ok(app::access::require(&api.platform, &place.caller, permission, &resource)?)
}
