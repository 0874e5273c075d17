//! `revisions` of the v1 API: read and delete.

use axum::Json;
use axum::extract::{Query, State};
use homerun_api::run_v1::{self, convert};
use homerun_model::names::{RevisionKey, RevisionName};
use homerun_model::revision::Revision;

use super::error::Failure;
use super::list::ListQuery;
use super::path::Place;
use super::services::{ChangeQuery, SERVING, deleted};
use super::{Api, RUN_API};
use crate::app;
use crate::store::Versioned;

pub(super) async fn list(
    State(api): State<Api>,
    query: ListQuery,
    place: Place,
) -> Result<Json<run_v1::ListRevisionsResponse>, Failure> {
    app::services::authorise_list(&api.platform, &place.caller, "run.revisions.list", &place.project)?;
    let at = (&place.project, place.region.as_ref());
    let fetch =
        |after: Option<&str>, count| app::revisions::page(&api.platform, at, query.service.as_deref(), after, count);
    let (items, metadata) = query.page(fetch, |item| render(&api, item), |item| item.metadata.as_ref())?;
    Ok(Json(run_v1::ListRevisionsResponse {
        api_version: Some(RUN_API.to_owned()),
        kind: Some("RevisionList".to_owned()),
        items,
        metadata: Some(metadata),
        ..run_v1::ListRevisionsResponse::default()
    }))
}

pub(super) async fn get(State(api): State<Api>, place: Place) -> Result<Json<run_v1::Revision>, Failure> {
    Ok(Json(render(&api, &app::revisions::get(&api.platform, &place.caller, &key(&place)?)?)))
}

pub(super) async fn delete(
    State(api): State<Api>,
    Query(query): Query<ChangeQuery>,
    place: Place,
) -> Result<Json<run_v1::Status>, Failure> {
    let uid = app::revisions::delete(&api.platform, &place.caller, &key(&place)?, query.dry_run()?)?;
    Ok(Json(deleted(SERVING, "revisions", &place.name, uid)))
}

fn key(place: &Place) -> Result<RevisionKey, Failure> {
    Ok(RevisionKey {
        project: place.project.id.clone(),
        region: place.one_region()?,
        name: RevisionName::new(&place.name),
    })
}

fn render(api: &Api, revision: &Versioned<Revision>) -> run_v1::Revision {
    let number = api.platform.project_number(&revision.value.key.project);
    convert::revision_to_wire(&revision.value, number, revision.version)
}
