//! `domainmappings` of the v1 API, and the domains that may be mapped.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Query, State};
use homerun_api::error::ApiError;
use homerun_api::run_v1::{self, convert};
use homerun_model::domain::{DomainKey, DomainMapping};
use homerun_model::iam::Resource;
use homerun_model::names::DomainName;

use super::Api;
use super::error::Failure;
use super::list::ListQuery;
use super::path::Place;
use super::services::{ChangeQuery, deleted};
use crate::app::{self, domains::Shown};
use crate::ids;

pub(super) async fn create(
    State(api): State<Api>,
    Query(query): Query<ChangeQuery>,
    place: Place,
    body: Bytes,
) -> Result<Json<run_v1::DomainMapping>, Failure> {
    let wire: run_v1::DomainMapping = run_v1::parse_strict(&body).map_err(ApiError::from)?;
    app::wire::require_namespace(&place.project, wire.metadata.as_ref())?;
    let (wish, violations) = convert::domain_from_wire(wire);
    if !violations.is_empty() {
        return Err(Failure(ApiError::InvalidArgument(violations)));
    }
    let mapping = DomainMapping {
        key: key(&place, &wish.domain)?,
        uid: ids::uuid(),
        service: wish.service,
        certificate_mode: wish.certificate_mode,
        force_override: wish.force_override,
        labels: wish.labels,
        annotations: wish.annotations,
        created_at: api.platform.clock.now(),
        creator: place.caller.email().to_owned(),
    };
    let made = app::domains::create(&api.platform, &place.caller, mapping, query.dry_run()?)?;
    Ok(Json(render(&api, &made)))
}

pub(super) async fn get(State(api): State<Api>, place: Place) -> Result<Json<run_v1::DomainMapping>, Failure> {
    let found = app::domains::get(&api.platform, &place.caller, &key(&place, &place.name)?)?;
    Ok(Json(render(&api, &found)))
}

pub(super) async fn delete(
    State(api): State<Api>,
    Query(query): Query<ChangeQuery>,
    place: Place,
) -> Result<Json<run_v1::Status>, Failure> {
    let key = key(&place, &place.name)?;
    let uid = app::domains::delete(&api.platform, &place.caller, &key, query.dry_run()?)?;
    Ok(Json(deleted("domains.cloudrun.com", "domainmappings", &place.name, uid)))
}

pub(super) async fn list(
    State(api): State<Api>,
    query: ListQuery,
    place: Place,
) -> Result<Json<run_v1::ListDomainMappingsResponse>, Failure> {
    app::domains::authorise_list(&api.platform, &place.caller, &place.project)?;
    let at = (&place.project, place.region.as_ref());
    let fetch = |after: Option<&str>, count| Ok(app::domains::page(&api.platform, at, after, count));
    let (items, metadata) = query.page(fetch, |found| render(&api, found), |item| item.metadata.as_ref())?;
    Ok(Json(run_v1::ListDomainMappingsResponse {
        api_version: Some(convert::DOMAINS_API.to_owned()),
        kind: Some("DomainMappingList".to_owned()),
        items,
        metadata: Some(metadata),
        ..run_v1::ListDomainMappingsResponse::default()
    }))
}

/// Domains that may be mapped: the operator says so, and nobody has to prove anything.
pub(super) async fn authorized(State(api): State<Api>, place: Place) -> Result<Json<serde_json::Value>, Failure> {
    let resource = Resource::Project(place.project.id.clone());
    app::access::require(&api.platform, &place.caller, "resourcemanager.projects.get", &resource)?;
    let project = &place.project.id;
    let domains = api.platform.config.ingress.domains.iter();
    let domains: Vec<_> = domains
        .map(|id| serde_json::json!({"id": id, "name": format!("projects/{project}/authorizedDomains/{id}")}))
        .collect();
    Ok(Json(serde_json::json!({"domains": domains})))
}

fn key(place: &Place, domain: &str) -> Result<DomainKey, Failure> {
    Ok(DomainKey { project: place.project.id.clone(), region: place.one_region()?, domain: DomainName::new(domain) })
}

fn render(api: &Api, (mapping, status): &Shown) -> run_v1::DomainMapping {
    let number = api.platform.project_number(&mapping.value.key.project);
    convert::domain_to_wire(&mapping.value, status, number, mapping.version)
}
