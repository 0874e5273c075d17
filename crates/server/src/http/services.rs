//! `services` of the v1 API, and `configurations` and `routes`, which are other views of a service.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use homerun_api::error::ApiError;
use homerun_api::run_v1::{self, convert};
use homerun_model::iam::Resource;
use homerun_model::names::{ServiceKey, ServiceName};
use homerun_model::service::Service;
use homerun_model::violation::Violation;
use http::Method;
use serde::Deserialize;

use super::error::{Failure, not_served};
use super::list::ListQuery;
use super::path::Place;
use super::{Api, RUN_API, iam};
use crate::app;
use crate::store::Versioned;

/// Flags of a change.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ChangeQuery {
    /// `all`: check everything and store nothing.
    dry_run: Option<String>,
}

impl ChangeQuery {
    pub(super) fn dry_run(&self) -> Result<bool, Failure> {
        match self.dry_run.as_deref() {
            None | Some("") => Ok(false),
            Some("all") => Ok(true),
            Some(other) => Err(Failure(ApiError::InvalidArgument(vec![Violation::new(
                "dryRun",
                format!("'{other}' is not supported; it can only be 'all'."),
            )]))),
        }
    }
}

pub(super) async fn create(
    State(api): State<Api>,
    Query(query): Query<ChangeQuery>,
    place: Place,
    body: Bytes,
) -> Result<Json<run_v1::Service>, Failure> {
    let wire: run_v1::Service = run_v1::parse_strict(&body).map_err(ApiError::from)?;
    let name = wire.metadata.as_ref().and_then(|metadata| metadata.name.clone()).unwrap_or_default();
    let (parsed, key) = app::wire::parse(&place.project, place.one_region()?, wire, &name)?;
    let request = app::services::Request { project: &place.project, key, spec: parsed.spec, dry_run: query.dry_run()? };
    let made = app::services::create(&api.platform, &place.caller, request)?;
    Ok(Json(app::wire::service(&api.platform, &made)))
}

pub(super) async fn replace(
    State(api): State<Api>,
    Query(query): Query<ChangeQuery>,
    place: Place,
    body: Bytes,
) -> Result<Json<run_v1::Service>, Failure> {
    let wire: run_v1::Service = run_v1::parse_strict(&body).map_err(ApiError::from)?;
    app::wire::require_name(&wire, &place.name)?;
    let (parsed, key) = app::wire::parse(&place.project, place.one_region()?, wire, &place.name)?;
    let expected = parsed.resource_version;
    let request = app::services::Request { project: &place.project, key, spec: parsed.spec, dry_run: query.dry_run()? };
    let replaced = app::services::replace(&api.platform, &place.caller, request, expected)?;
    Ok(Json(app::wire::service(&api.platform, &replaced)))
}

/// A service, or its policy.
pub(super) async fn get(State(api): State<Api>, place: Place) -> Result<Response, Failure> {
    let key = key(&place)?;
    match place.verb.as_deref() {
        None => {
            let found = app::services::get(&api.platform, &place.caller, "run.services.get", &key)?;
            Ok(Json(app::wire::service(&api.platform, &found)).into_response())
        }
        Some(verb @ "getIamPolicy") => {
            let answer = iam::answer(&api, &place.caller, &Resource::Service(key), verb, &Bytes::new());
            answer.unwrap_or_else(|| Ok(not_served(&Method::GET, verb)))
        }
        Some(verb) => Ok(not_served(&Method::GET, &format!("{}:{verb}", place.name))),
    }
}

/// POSTs to a service are verbs on its policy.
pub(super) async fn post(State(api): State<Api>, place: Place, body: Bytes) -> Result<Response, Failure> {
    let verb = place.verb.clone().unwrap_or_default();
    let resource = Resource::Service(key(&place)?);
    let answer = if verb == "getIamPolicy" { None } else { iam::answer(&api, &place.caller, &resource, &verb, &body) };
    answer.unwrap_or_else(|| Ok(not_served(&Method::POST, &format!("{}:{verb}", place.name))))
}

pub(super) async fn delete(
    State(api): State<Api>,
    Query(query): Query<ChangeQuery>,
    place: Place,
) -> Result<Json<run_v1::Status>, Failure> {
    let uid = app::services::delete(&api.platform, &place.caller, &key(&place)?, query.dry_run()?)?;
    Ok(Json(deleted(SERVING, "services", &place.name, uid)))
}

/// The group of services and revisions.
pub(super) const SERVING: &str = "serving.knative.dev";

/// The answer to a deletion.
pub(super) fn deleted(group: &str, kind: &str, name: &str, uid: String) -> run_v1::Status {
    run_v1::Status {
        status: Some("Success".to_owned()),
        details: Some(run_v1::StatusDetails {
            name: Some(name.to_owned()),
            group: Some(group.to_owned()),
            kind: Some(kind.to_owned()),
            uid: Some(uid),
            ..run_v1::StatusDetails::default()
        }),
        ..run_v1::Status::default()
    }
}

pub(super) async fn list(
    State(api): State<Api>,
    query: ListQuery,
    place: Place,
) -> Result<Json<run_v1::ListServicesResponse>, Failure> {
    app::services::authorise_list(&api.platform, &place.caller, "run.services.list", &place.project)?;
    let (items, metadata) = page(
        &api,
        &place,
        &query,
        |service| app::wire::service(&api.platform, service),
        |item| item.metadata.as_ref(),
    )?;
    Ok(Json(run_v1::ListServicesResponse {
        api_version: Some(RUN_API.to_owned()),
        kind: Some("ServiceList".to_owned()),
        items,
        metadata: Some(metadata),
        ..run_v1::ListServicesResponse::default()
    }))
}

pub(super) async fn list_configurations(
    State(api): State<Api>,
    query: ListQuery,
    place: Place,
) -> Result<Json<run_v1::ListConfigurationsResponse>, Failure> {
    let render = |service: &_| app::wire::with_place(&api.platform, service, convert::configuration_to_wire);
    app::services::authorise_list(&api.platform, &place.caller, "run.configurations.list", &place.project)?;
    let (items, metadata) = page(&api, &place, &query, render, |item| item.metadata.as_ref())?;
    Ok(Json(run_v1::ListConfigurationsResponse {
        api_version: Some(RUN_API.to_owned()),
        kind: Some("ConfigurationList".to_owned()),
        items,
        metadata: Some(metadata),
        ..run_v1::ListConfigurationsResponse::default()
    }))
}

pub(super) async fn list_routes(
    State(api): State<Api>,
    query: ListQuery,
    place: Place,
) -> Result<Json<run_v1::ListRoutesResponse>, Failure> {
    let render = |service: &_| app::wire::with_place(&api.platform, service, convert::route_to_wire);
    app::services::authorise_list(&api.platform, &place.caller, "run.routes.list", &place.project)?;
    let (items, metadata) = page(&api, &place, &query, render, |item| item.metadata.as_ref())?;
    Ok(Json(run_v1::ListRoutesResponse {
        api_version: Some(RUN_API.to_owned()),
        kind: Some("RouteList".to_owned()),
        items,
        metadata: Some(metadata),
        ..run_v1::ListRoutesResponse::default()
    }))
}

pub(super) async fn configuration(
    State(api): State<Api>,
    place: Place,
) -> Result<Json<run_v1::Configuration>, Failure> {
    let found = app::services::get(&api.platform, &place.caller, "run.configurations.get", &key(&place)?);
    let found = found.map_err(|error| of_kind(error, "Configuration"))?;
    Ok(Json(app::wire::with_place(&api.platform, &found, convert::configuration_to_wire)))
}

pub(super) async fn route(State(api): State<Api>, place: Place) -> Result<Json<run_v1::Route>, Failure> {
    let found = app::services::get(&api.platform, &place.caller, "run.routes.get", &key(&place)?);
    Ok(Json(app::wire::with_place(
        &api.platform,
        &found.map_err(|error| of_kind(error, "Route"))?,
        convert::route_to_wire,
    )))
}

/// A view that is not there is named as what was asked for.
fn of_kind(error: ApiError, kind: &'static str) -> ApiError {
    match error {
        ApiError::NotFound { name, .. } => ApiError::NotFound { kind, name },
        other => other,
    }
}

fn page<W>(
    api: &Api,
    place: &Place,
    query: &ListQuery,
    render: impl Fn(&Versioned<Service>) -> W,
    metadata: impl Fn(&W) -> Option<&run_v1::ObjectMeta>,
) -> Result<(Vec<W>, run_v1::ListMeta), Failure> {
    let at = (&place.project, place.region.as_ref());
    let fetch = |after: Option<&str>, count| app::services::page(&api.platform, at, after, count);
    Ok(query.page(fetch, render, metadata)?)
}

/// The key of the service that a path names.
pub(super) fn key(place: &Place) -> Result<ServiceKey, Failure> {
    key_of(place, &place.name)
}

fn key_of(place: &Place, name: &str) -> Result<ServiceKey, Failure> {
    Ok(ServiceKey { project: place.project.id.clone(), region: place.one_region()?, name: ServiceName::new(name) })
}
