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
    let (parsed, key) = request(&place, wire, &name)?;
    let request = app::services::Request { project: &place.project, key, spec: parsed.spec, dry_run: query.dry_run()? };
    let made = app::services::create(&api.platform, &place.caller, request)?;
    Ok(Json(render(&api, &made)))
}

pub(super) async fn replace(
    State(api): State<Api>,
    Query(query): Query<ChangeQuery>,
    place: Place,
    body: Bytes,
) -> Result<Json<run_v1::Service>, Failure> {
    let wire: run_v1::Service = run_v1::parse_strict(&body).map_err(ApiError::from)?;
    let given = wire.metadata.as_ref().and_then(|metadata| metadata.name.clone());
    if let Some(given) = given.filter(|given| !given.is_empty() && *given != place.name) {
        let message = format!("The name in the body ('{given}') must be the name in the URL ('{}').", place.name);
        return Err(Failure(ApiError::InvalidArgument(vec![Violation::new("metadata.name", message)])));
    }
    let (parsed, key) = request(&place, wire, &place.name.clone())?;
    let expected = parsed.resource_version;
    let request = app::services::Request { project: &place.project, key, spec: parsed.spec, dry_run: query.dry_run()? };
    let replaced = app::services::replace(&api.platform, &place.caller, request, expected)?;
    Ok(Json(render(&api, &replaced)))
}

/// A service, or its policy.
pub(super) async fn get(State(api): State<Api>, place: Place) -> Result<Response, Failure> {
    let key = key(&place)?;
    match place.verb.as_deref() {
        None => {
            let found = app::services::get(&api.platform, &place.caller, "run.services.get", &key)?;
            Ok(Json(render(&api, &found)).into_response())
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
    Ok(Json(deleted("services", &place.name, uid)))
}

/// The answer to a deletion.
pub(super) fn deleted(kind: &str, name: &str, uid: String) -> run_v1::Status {
    run_v1::Status {
        status: Some("Success".to_owned()),
        details: Some(run_v1::StatusDetails {
            name: Some(name.to_owned()),
            group: Some("serving.knative.dev".to_owned()),
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
    let (items, metadata) = page(&api, &place, &query, |service| render(&api, service), |item| item.metadata.as_ref())?;
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
    let render = |service: &_| with_place(&api, service, convert::configuration_to_wire);
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
    let render = |service: &_| with_place(&api, service, convert::route_to_wire);
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
    Ok(Json(with_place(&api, &found, convert::configuration_to_wire)))
}

pub(super) async fn route(State(api): State<Api>, place: Place) -> Result<Json<run_v1::Route>, Failure> {
    let found = app::services::get(&api.platform, &place.caller, "run.routes.get", &key(&place)?);
    Ok(Json(with_place(&api, &found.map_err(|error| of_kind(error, "Route"))?, convert::route_to_wire)))
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

fn request(place: &Place, wire: run_v1::Service, name: &str) -> Result<(convert::ParsedService, ServiceKey), Failure> {
    let namespace = wire.metadata.as_ref().and_then(|metadata| metadata.namespace.clone()).unwrap_or_default();
    let project = &place.project;
    if !namespace.is_empty() && namespace != project.id.as_str() && namespace != project.number.to_string() {
        let message = format!("'{namespace}' must be the project of the URL: {} or {}.", project.id, project.number);
        return Err(Failure(ApiError::InvalidArgument(vec![Violation::new("metadata.namespace", message)])));
    }
    let (parsed, violations) = convert::service_from_wire(wire);
    if !violations.is_empty() {
        return Err(Failure(ApiError::InvalidArgument(violations)));
    }
    Ok((parsed, key_of(place, name)?))
}

pub(super) fn render(api: &Api, service: &Versioned<Service>) -> run_v1::Service {
    with_place(api, service, convert::service_to_wire)
}

/// Renders a service, or a view of it, with what depends on where it is.
fn with_place<W>(api: &Api, service: &Versioned<Service>, render: impl Fn(&Service, &convert::Place<'_>) -> W) -> W {
    let key = &service.value.key;
    let tag_url = |tag: &str| api.platform.url(key, Some(tag));
    render(
        &service.value,
        &convert::Place {
            project_number: api.platform.project_number(&key.project),
            resource_version: service.version,
            url: api.platform.url(key, None),
            tag_url: &tag_url,
        },
    )
}
