//! `services` of the v1 API.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Extension, Query, State};
use homerun_api::error::ApiError;
use homerun_api::run_v1::{self, convert};
use homerun_model::names::{ServiceKey, ServiceName};
use homerun_model::service::Service;
use serde::Deserialize;

use super::Api;
use super::error::Failure;
use super::path::Place;
use crate::app;
use crate::auth::Caller;
use crate::store::Versioned;

/// Flags of a change.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ChangeQuery {
    /// `all`: check everything and store nothing.
    dry_run: Option<String>,
}

impl ChangeQuery {
    fn dry_run(&self) -> Result<bool, Failure> {
        match self.dry_run.as_deref() {
            None | Some("") => Ok(false),
            Some("all") => Ok(true),
            Some(other) => Err(Failure(ApiError::FailedPrecondition(format!(
                "dryRun: '{other}' is not supported; it can only be 'all'"
            )))),
        }
    }
}

pub(super) async fn create(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Query(query): Query<ChangeQuery>,
    place: Place,
    body: Bytes,
) -> Result<Json<run_v1::Service>, Failure> {
    app::projects::require_api(&place.project, "run.googleapis.com")?;
    let wire: run_v1::Service = run_v1::parse_strict(&body).map_err(ApiError::from)?;
    let name = wire.metadata.as_ref().and_then(|metadata| metadata.name.clone()).unwrap_or_default();
    let (parsed, key) = request(&place, wire, &name)?;
    let request =
        app::services::Request { project: &place.project.project, key, spec: parsed.spec, dry_run: query.dry_run()? };
    let made = app::services::create(&api.platform, &caller, request)?;
    Ok(Json(render(&api, &made)))
}

pub(super) async fn replace(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Query(query): Query<ChangeQuery>,
    place: Place,
    body: Bytes,
) -> Result<Json<run_v1::Service>, Failure> {
    let wire: run_v1::Service = run_v1::parse_strict(&body).map_err(ApiError::from)?;
    let given = wire.metadata.as_ref().and_then(|metadata| metadata.name.clone());
    if let Some(given) = given.filter(|given| !given.is_empty() && *given != place.name) {
        let message = format!("The name in the body ('{given}') must be the name in the URL ('{}').", place.name);
        return Err(Failure(ApiError::InvalidArgument(vec![homerun_model::violation::Violation::new(
            "metadata.name",
            message,
        )])));
    }
    let (parsed, key) = request(&place, wire, &place.name.clone())?;
    let expected = parsed.resource_version;
    let request =
        app::services::Request { project: &place.project.project, key, spec: parsed.spec, dry_run: query.dry_run()? };
    let replaced = app::services::replace(&api.platform, &caller, request, expected)?;
    Ok(Json(render(&api, &replaced)))
}

pub(super) async fn get(State(api): State<Api>, place: Place) -> Result<axum::response::Response, Failure> {
    if place.verb.is_some() {
        return super::iam::get(&api, &place);
    }
    let found = app::services::get(&api.platform, &key(&place, &place.name)?)?;
    Ok(axum::response::IntoResponse::into_response(Json(render(&api, &found))))
}

pub(super) async fn delete(State(api): State<Api>, place: Place) -> Result<Json<run_v1::Status>, Failure> {
    app::services::delete(&api.platform, &key(&place, &place.name)?)?;
    Ok(Json(run_v1::Status { status: Some("Success".to_owned()), ..run_v1::Status::default() }))
}

pub(super) async fn list(State(api): State<Api>, place: Place) -> Result<Json<run_v1::ListServicesResponse>, Failure> {
    app::projects::require_api(&place.project, "run.googleapis.com")?;
    let found = app::services::list(&api.platform, &place.project_id(), place.region.as_ref())?;
    Ok(Json(run_v1::ListServicesResponse {
        api_version: Some("serving.knative.dev/v1".to_owned()),
        kind: Some("ServiceList".to_owned()),
        items: found.iter().map(|service| render(&api, service)).collect(),
        metadata: Some(run_v1::ListMeta::default()),
        ..run_v1::ListServicesResponse::default()
    }))
}

/// The key of the service that a path names.
pub(super) fn key(place: &Place, name: &str) -> Result<ServiceKey, Failure> {
    Ok(ServiceKey { project: place.project_id(), region: place.one_region()?, name: ServiceName::new(name) })
}

fn request(place: &Place, wire: run_v1::Service, name: &str) -> Result<(convert::ParsedService, ServiceKey), Failure> {
    let (parsed, violations) = convert::service_from_wire(wire);
    if !violations.is_empty() {
        return Err(Failure(ApiError::InvalidArgument(violations)));
    }
    Ok((parsed, key(place, name)?))
}

fn render(api: &Api, service: &Versioned<Service>) -> run_v1::Service {
    let key = &service.value.key;
    let tag_url = |tag: &str| api.platform.url(key, Some(tag));
    convert::service_to_wire(
        &service.value,
        &convert::Place {
            project_number: api.platform.project_number(&key.project),
            resource_version: service.version,
            url: api.platform.url(key, None),
            tag_url: &tag_url,
        },
    )
}
