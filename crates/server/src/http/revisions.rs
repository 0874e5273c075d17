//! `revisions` of the v1 API: read only so far.

use axum::Json;
use axum::extract::{Query, State};
use homerun_api::run_v1::{self, convert};
use homerun_model::names::{RevisionKey, RevisionName};
use homerun_model::revision::Revision;
use serde::Deserialize;

use super::Api;
use super::error::Failure;
use super::path::Place;
use crate::app;
use crate::store::Versioned;

/// What of a list is asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ListQuery {
    label_selector: Option<String>,
}

pub(super) async fn list(
    State(api): State<Api>,
    Query(query): Query<ListQuery>,
    place: Place,
) -> Result<Json<run_v1::ListRevisionsResponse>, Failure> {
    let selector = app::selector::parse(query.label_selector.as_deref().unwrap_or_default())?;
    let found = app::revisions::list(&api.platform, &place.project_id(), place.region.as_ref())?;
    let items = found.iter().map(|revision| render(&api, revision)).filter(|revision| {
        let labels = revision.metadata.as_ref().map(|metadata| &metadata.labels);
        selector.matches(|name| labels.and_then(|labels| labels.get(name)).map(String::as_str))
    });
    Ok(Json(run_v1::ListRevisionsResponse {
        api_version: Some("serving.knative.dev/v1".to_owned()),
        kind: Some("RevisionList".to_owned()),
        items: items.collect(),
        metadata: Some(run_v1::ListMeta::default()),
        ..run_v1::ListRevisionsResponse::default()
    }))
}

pub(super) async fn get(State(api): State<Api>, place: Place) -> Result<Json<run_v1::Revision>, Failure> {
    let key =
        RevisionKey { project: place.project_id(), region: place.one_region()?, name: RevisionName::new(&place.name) };
    Ok(Json(render(&api, &app::revisions::get(&api.platform, &key)?)))
}

fn render(api: &Api, revision: &Versioned<Revision>) -> run_v1::Revision {
    convert::revision_to_wire(
        &revision.value,
        api.platform.project_number(&revision.value.key.project),
        revision.version,
    )
}
