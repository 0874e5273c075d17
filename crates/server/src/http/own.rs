//! homerun's own calls, beyond what Cloud Run has.

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Extension, Query, State};
use futures_util::TryStreamExt as _;
use homerun_api::error::ApiError;
use homerun_api::own;
use homerun_backend::PullError;
use homerun_model::iam::Resource;
use serde::Deserialize;
use tokio_util::io::StreamReader;

use super::Api;
use super::error::Failure;
use super::path::Place;
use crate::app;
use crate::audit::{self, Record};
use crate::auth::{Caller, TOKEN_SECONDS};
use crate::store::StoreError;

pub(super) async fn status(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<own::Status>, Failure> {
    app::access::require(&api.platform, &caller, "homerun.status.get", &home(&api))?;
    Ok(Json(app::status::status(&api.platform)?))
}

pub(super) async fn images(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<own::Images>, Failure> {
    let images = app::images::list(&api.platform, &caller)?;
    let image = |image: homerun_backend::LocalImage| own::Image {
        name: image.name,
        digest: image.digest,
        size_bytes: image.size_bytes,
        create_time: image.created_at,
    };
    Ok(Json(own::Images { images: images.into_iter().map(image).collect() }))
}

/// What concerns the whole machine is a matter of the project that exists from the start.
fn home(api: &Api) -> Resource {
    Resource::Project(api.platform.config.default_project().id)
}

/// Where an imported image comes from and what it is called.
#[derive(Deserialize)]
pub(super) struct Import {
    name: String,
    /// A folder on this machine; without it the body is an archive.
    path: Option<std::path::PathBuf>,
    entrypoint: Option<String>,
}

pub(super) async fn import(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Query(import): Query<Import>,
    body: Body,
) -> Result<Json<own::Imported>, Failure> {
    app::access::require(&api.platform, &caller, "homerun.images.import", &home(&api))?;
    if let Some(path) = import.path.as_ref().filter(|_| !caller.owner) {
        // homerun reads it with its own rights, so it could be any of the machine's folders.
        let resource = format!("folder {} of homerun's machine; send an archive instead", path.display());
        return Err(Failure(ApiError::PermissionDenied { permission: "homerun.images.import".to_owned(), resource }));
    }
    let refused = |error: PullError| match error {
        PullError::Unavailable { .. } => ApiError::Internal(error.to_string()),
        other => ApiError::FailedPrecondition(other.to_string()),
    };
    let uploads = api.platform.config.data_dir.join("uploads");
    let upload = match &import.path {
        Some(_) => None,
        None => Some(
            receive(&uploads, body).await.map_err(|error| ApiError::Internal(format!("the upload failed: {error}")))?,
        ),
    };
    let path = import.path.as_deref().or(upload.as_ref().map(tempfile::NamedTempFile::path));
    let path = path.ok_or_else(|| ApiError::FailedPrecondition("name a path or send an archive".to_owned()))?;
    let entrypoint = import.entrypoint.into_iter().collect();
    audit::creates(&import.name);
    api.platform.store.record_call().map_err(unrecorded)?;
    let pinned = api.platform.backend.import(path, &import.name, entrypoint).await.map_err(refused)?;
    Ok(Json(own::Imported { reference: pinned.reference, digest: pinned.digest }))
}

/// Makes a token of a principal.
pub(super) async fn token(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    body: Bytes,
) -> Result<Json<own::Token>, Failure> {
    let request: own::TokenRequest = homerun_api::run_v1::parse_strict(&body).map_err(ApiError::from)?;
    let email = request.account.as_deref().unwrap_or(caller.email());
    let lifetime = request.lifetime_seconds.unwrap_or(TOKEN_SECONDS);
    let asked = (email, request.audience.as_deref(), lifetime);
    let (token, expire_time) = app::accounts::token(&api.platform, &caller, &api.auth, asked)?;
    Ok(Json(own::Token { token, expire_time }))
}

/// Makes a new signing key.
pub(super) async fn rotate_keys(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<serde_json::Value>, Failure> {
    app::access::require(&api.platform, &caller, "homerun.tokens.create", &Resource::Platform)?;
    api.platform.store.record_call().map_err(unrecorded)?;
    api.auth.rotate().map_err(|error| ApiError::Internal(format!("the keys cannot be written: {error}")))?;
    Ok(Json(api.auth.public_keys()))
}

fn unrecorded(error: StoreError) -> ApiError {
    ApiError::Internal(format!("the call could not be recorded: {error}"))
}

/// Who changed what in a project.
pub(super) async fn audit_log(
    State(api): State<Api>,
    place: Place,
    Query(page): Query<AuditPage>,
) -> Result<Json<own::Audit>, Failure> {
    let size = page.page_size.filter(|size| *size > 0).unwrap_or(AUDIT_PAGE).min(AUDIT_PAGE_MAX);
    let found = app::audit::page(&api.platform, &place.caller, &place.project.id, page.page_token, size)?;
    let next_page_token = (found.len() == size).then(|| found.last().map(|(number, _)| number.to_string())).flatten();
    let render = |(_, record): (u64, Record)| own::AuditRecord {
        time: record.at,
        by: record.by,
        verb: record.verb,
        path: record.path,
    };
    Ok(Json(own::Audit { records: found.into_iter().map(render).collect(), next_page_token }))
}

/// Which page of the record of changes.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AuditPage {
    page_size: Option<usize>,
    page_token: Option<u64>,
}

/// Records of a page where the call does not say, and at most.
const AUDIT_PAGE: usize = 50;
const AUDIT_PAGE_MAX: usize = 1000;

/// Where the local issuer's keys are, for programs that check identity tokens. Nothing secret.
pub(super) async fn openid_configuration(State(api): State<Api>) -> Json<serde_json::Value> {
    Json(serde_json::json!({
        "issuer": api.auth.issuer(),
        "jwks_uri": format!("http://{}/oauth2/v3/certs", api.control),
        "id_token_signing_alg_values_supported": ["ES256"],
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
    }))
}

/// The local issuer's public keys.
pub(super) async fn public_keys(State(api): State<Api>) -> Json<serde_json::Value> {
    Json(api.auth.public_keys())
}

/// Writes the body to a file that goes away with the value.
async fn receive(folder: &std::path::Path, body: Body) -> std::io::Result<tempfile::NamedTempFile> {
    tokio::fs::create_dir_all(folder).await?;
    let file = tempfile::NamedTempFile::new_in(folder)?;
    let mut reader = StreamReader::new(body.into_data_stream().map_err(std::io::Error::other));
    let mut writer = tokio::fs::File::from_std(file.reopen()?);
    tokio::io::copy(&mut reader, &mut writer).await?;
    tokio::io::AsyncWriteExt::flush(&mut writer).await?;
    Ok(file)
}
