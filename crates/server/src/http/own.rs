//! homerun's own calls, beyond what Cloud Run has.

use axum::Json;
use axum::body::Body;
use axum::extract::{Query, State};
use futures_util::TryStreamExt as _;
use homerun_api::error::ApiError;
use homerun_api::own;
use homerun_backend::PullError;
use serde::Deserialize;
use tokio_util::io::StreamReader;

use super::Api;
use super::error::Failure;
use crate::app;

pub(super) async fn status(State(api): State<Api>) -> Result<Json<own::Status>, Failure> {
    Ok(Json(app::status::status(&api.platform)?))
}

pub(super) async fn images(State(api): State<Api>) -> Json<own::Images> {
    let image = |image: homerun_backend::LocalImage| own::Image {
        name: image.name,
        digest: image.digest,
        size_bytes: image.size_bytes,
        create_time: image.created_at,
    };
    Json(own::Images { images: api.platform.backend.images().into_iter().map(image).collect() })
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
    Query(import): Query<Import>,
    body: Body,
) -> Result<Json<own::Imported>, Failure> {
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
    let pinned = api.platform.backend.import(path, &import.name, entrypoint).await.map_err(refused)?;
    Ok(Json(own::Imported { reference: pinned.reference, digest: pinned.digest }))
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
