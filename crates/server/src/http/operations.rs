//! `operations` of the v1 API.

use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use homerun_api::error::ApiError;
use homerun_api::operations::{self as wire, ListOperations, WaitOperation};
use homerun_api::run_v1::parse_strict;
use homerun_model::operation::{Operation, Outcome};
use homerun_model::violation::Violation;
use http::Method;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Api;
use super::error::{Failure, not_served};
use super::path::Place;
use crate::app::operations;

/// Items of a page, as the definition states it: at most and usually.
const PAGE: usize = 100;
/// How long a call waits where it does not say, and at most.
const WAIT: Duration = Duration::from_secs(30);
const WAIT_MAX: Duration = Duration::from_secs(300);

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Page {
    filter: Option<String>,
    page_size: Option<i64>,
    page_token: Option<String>,
}

pub(super) async fn list(
    State(api): State<Api>,
    place: Place,
    Query(page): Query<Page>,
) -> Result<Json<ListOperations>, Failure> {
    let done = done(page.filter.as_deref().unwrap_or_default())?;
    let size = match page.page_size.unwrap_or(0) {
        ..=0 => PAGE,
        size => usize::try_from(size).unwrap_or(PAGE).min(PAGE),
    };
    let token = page.page_token.filter(|token| !token.is_empty());
    let before =
        token.map(|token| token.parse::<u64>().map_err(|_| wrong("pageToken", &token, "the token of an earlier page")));
    let at = (&place.project, place.region.as_ref());
    let found = operations::list(&api.platform, &place.caller, at, done, (before.transpose()?, size))?;
    let next_page_token = (found.len() == size).then(|| found.last().map(|(number, _)| number.to_string())).flatten();
    let operations = found.iter().map(|(_, operation)| render(&api, operation)).collect();
    Ok(Json(ListOperations { operations, next_page_token }))
}

pub(super) async fn get(State(api): State<Api>, place: Place) -> Result<Json<wire::Operation>, Failure> {
    let region = place.one_region()?;
    let at = (&place.project, &region);
    let found = operations::get(&api.platform, &place.caller, "run.operations.get", at, &place.name)?;
    Ok(Json(render(&api, &found)))
}

/// `:wait`.
pub(super) async fn post(State(api): State<Api>, place: Place, body: Bytes) -> Result<Response, Failure> {
    if place.verb.as_deref() != Some("wait") {
        let verb = place.verb.unwrap_or_default();
        return Ok(not_served(&Method::POST, &format!("operations/{}:{verb}", place.name)));
    }
    let request: WaitOperation = parse_strict(&body).map_err(ApiError::from)?;
    let longest = match request.timeout.as_deref().filter(|timeout| !timeout.is_empty()) {
        None => WAIT,
        Some(text) => {
            let seconds = text.strip_suffix('s').and_then(|number| number.parse::<f64>().ok());
            let wait = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
            wait.ok_or_else(|| wrong("timeout", text, "seconds such as '30s'"))?.min(WAIT_MAX)
        }
    };
    let region = place.one_region()?;
    let at = (&place.project, &region);
    let found = operations::wait(&api.platform, &place.caller, at, &place.name, longest).await?;
    Ok(Json(render(&api, &found)).into_response())
}

pub(super) async fn delete(State(api): State<Api>, place: Place) -> Result<Json<Value>, Failure> {
    let region = place.one_region()?;
    operations::delete(&api.platform, &place.caller, (&place.project, &region), &place.name)?;
    Ok(Json(json!({})))
}

/// `done:true` and its like; the formats that the definition lists.
fn done(filter: &str) -> Result<Option<bool>, Failure> {
    let text: String = filter.chars().filter(|letter| !letter.is_whitespace()).collect();
    match text.replace('=', ":").to_ascii_lowercase().as_str() {
        "" => Ok(None),
        "done:true" => Ok(Some(true)),
        "done:false" => Ok(Some(false)),
        _ => Err(wrong("filter", filter, "done:true or done:false")),
    }
}

fn wrong(field: &str, text: &str, right: &str) -> Failure {
    let violation = Violation::new(field, format!("'{text}' is not valid; it must be {right}."));
    Failure(ApiError::InvalidArgument(vec![violation]))
}

fn render(api: &Api, operation: &Operation) -> wire::Operation {
    let (project, region, name) = (&operation.service.project, &operation.service.region, &operation.service.name);
    let open = wire::Operation {
        name: format!("projects/{project}/locations/{region}/operations/{}", operation.id),
        ..wire::Operation::default()
    };
    // Codes of google.rpc.Code.
    let failed = |code, message: String| wire::Operation {
        done: true,
        error: Some(wire::Status { code, message }),
        ..open.clone()
    };
    match operation.ended.as_ref().map(|ended| &ended.outcome) {
        None => open,
        Some(Outcome::Ready) => wire::Operation { done: true, response: Some(response(api, operation)), ..open },
        Some(Outcome::Failed(message)) => failed(9, message.clone()),
        Some(Outcome::Superseded) => failed(10, format!("Service '{name}' was changed again before this was done.")),
        Some(Outcome::Deleted) => failed(10, format!("Service '{name}' was deleted before this was done.")),
    }
}

/// The service as it is now; empty once it is gone.
fn response(api: &Api, operation: &Operation) -> Map<String, Value> {
    let service = operations::subject(&api.platform, operation);
    let rendered =
        service.and_then(|service| serde_json::to_value(crate::app::wire::service(&api.platform, &service)).ok());
    match rendered {
        Some(Value::Object(mut service)) => {
            service.insert("@type".to_owned(), json!("type.googleapis.com/google.cloud.run.v1.Service"));
            service
        }
        _ => Map::from_iter([("@type".to_owned(), json!("type.googleapis.com/google.protobuf.Empty"))]),
    }
}
