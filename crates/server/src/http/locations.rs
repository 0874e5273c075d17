//! `GET /v1/projects/P/locations`: the regions that services can be deployed to.

use axum::Json;
use axum::extract::State;
use homerun_api::run_v1::{ListLocationsResponse, Location};
use homerun_model::iam::Resource;

use super::Api;
use super::error::Failure;
use super::path::Place;
use crate::app;

pub(super) async fn list(State(api): State<Api>, place: Place) -> Result<Json<ListLocationsResponse>, Failure> {
    let project = &place.project.id;
    app::access::require(&api.platform, &place.caller, "run.locations.list", &Resource::Project(project.clone()))?;
    let locations = api.platform.config.all_regions().into_iter().map(|region| Location {
        name: Some(format!("projects/{project}/locations/{region}")),
        location_id: Some(region.to_string()),
        display_name: Some(region.to_string()),
        ..Location::default()
    });
    Ok(Json(ListLocationsResponse { locations: locations.collect(), next_page_token: None }))
}
