//! Cloud Logging: reading log entries.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Extension, State};
use homerun_api::error::ApiError;
use homerun_api::logging::{ListLogEntriesRequest, ListLogEntriesResponse, LogEntry};
use homerun_api::run_v1::parse_strict;
use http::HeaderMap;
use http::header::USER_AGENT;
use tokio::sync::Semaphore;

use super::Api;
use super::error::Failure;
use crate::app;
use crate::auth::Caller;

/// Pages that are read at the same time; each takes a thread, and memory for a page and a file.
static READERS: Semaphore = Semaphore::const_new(4);

pub(super) async fn list(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<ListLogEntriesResponse>, Failure> {
    let request: ListLogEntriesRequest = parse_strict(&body).map_err(ApiError::from)?;
    let failed = |error: &dyn std::error::Error| ApiError::Internal(format!("the logs were not read: {error}"));
    let _reader = READERS.acquire().await.map_err(|error| failed(&error))?;
    let read = tokio::task::spawn_blocking(move || app::logs::list(&api.platform, &caller, &request));
    let mut response = read.await.map_err(|error| failed(&error))??;
    if prints_text_only(&headers) {
        response.entries.iter_mut().for_each(add_text);
    }
    Ok(Json(response))
}

/// Whether the client is `gcloud run services logs read` or its like: it prints `textPayload`, and ends
/// with a Python error at an entry that has none (SDK 528, `api_lib/logging/formatter.py`).
fn prints_text_only(headers: &HeaderMap) -> bool {
    let agent = headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or("");
    let command = agent.split_whitespace().find_map(|word| word.strip_prefix("command/gcloud."));
    command.is_some_and(|command| command.contains("run.") && command.ends_with(".logs.read"))
}

/// Gives an entry with a JSON payload alone its message, or the JSON, as text too.
fn add_text(entry: &mut LogEntry) {
    if let (None, Some(json)) = (&entry.text_payload, &entry.json_payload) {
        let message = json.get("message").and_then(serde_json::Value::as_str).map(str::to_owned);
        entry.text_payload = message.or_else(|| serde_json::to_string(json).ok());
    }
}
