//! Revisions: read.

use homerun_api::error::ApiError;
use homerun_model::names::{ProjectId, Region, RevisionKey};
use homerun_model::revision::Revision;

use super::stored;
use crate::platform::Platform;
use crate::store::Versioned;

const KIND: &str = "Revision";

/// A revision.
///
/// # Errors
/// `NotFound`.
pub fn get(platform: &Platform, key: &RevisionKey) -> Result<Versioned<Revision>, ApiError> {
    let found = platform.store.revision(key).map_err(|error| stored(error, KIND, key.name.as_str()))?;
    found.ok_or_else(|| ApiError::NotFound { kind: KIND, name: key.name.to_string() })
}

/// The revisions of a project, of one region or of all, newest first.
///
/// # Errors
/// When the store fails.
pub fn list(
    platform: &Platform,
    project: &ProjectId,
    region: Option<&Region>,
) -> Result<Vec<Versioned<Revision>>, ApiError> {
    let all = platform.store.all_revisions().map_err(|error| stored(error, KIND, project.as_str()))?;
    let mut found: Vec<_> = all
        .into_iter()
        .filter(|revision| &revision.value.key.project == project)
        .filter(|revision| region.is_none_or(|region| &revision.value.key.region == region))
        .collect();
    found.sort_by_key(|revision| std::cmp::Reverse(revision.value.created_at));
    Ok(found)
}
