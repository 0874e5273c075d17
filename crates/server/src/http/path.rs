//! What a call's path names.

use std::collections::BTreeSet;

use axum::extract::{FromRequestParts, Path};
use homerun_api::error::ApiError;
use homerun_model::Timestamp;
use homerun_model::names::{Project, Region};
use http::request::Parts;
use serde::Deserialize;

use super::Api;
use super::error::Failure;
use super::wrapper::HostRegion;
use crate::auth::Caller;
use crate::store::StoredProject;

/// Project, region and resource of a call, whichever of the two path families it came by.
pub(super) struct Place {
    /// Who calls.
    pub(super) caller: Caller,
    /// The project, found by id or number.
    pub(super) project: Project,
    /// APIs that are enabled in it.
    pub(super) enabled_apis: BTreeSet<String>,
    /// When it was made, if known.
    pub(super) created_at: Option<Timestamp>,
    /// The region; `None` for all (`locations/-`).
    pub(super) region: Option<Region>,
    /// The last segment, without its verb; empty for a collection.
    pub(super) name: String,
    /// What stands after a colon in the last segment, whether that names the project or a resource in it.
    pub(super) verb: Option<String>,
}

#[derive(Deserialize)]
struct Segments {
    project: String,
    location: Option<String>,
    name: Option<String>,
}

impl Place {
    /// The region; an error where the path names all of them and one is needed.
    pub(super) fn one_region(&self) -> Result<Region, Failure> {
        self.region
            .clone()
            .ok_or_else(|| Failure(ApiError::FailedPrecondition("name one region instead of -".to_owned())))
    }
}

impl FromRequestParts<Api> for Place {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Failure> {
        let Path(segments) = Path::<Segments>::from_request_parts(parts, api)
            .await
            .map_err(|error| Failure(ApiError::FailedPrecondition(error.body_text())))?;
        let host = parts.extensions.get::<HostRegion>().and_then(|host| host.0.clone());
        let region = match segments.location.as_deref() {
            Some("-") => None,
            Some(region) => Some(Region::new(region)),
            None => Some(host.unwrap_or_else(|| Region::new(&api.platform.config.region))),
        };
        let last = segments.name.unwrap_or_default();
        let (name, verb) = match last.split_once(':') {
            Some((name, verb)) => (name.to_owned(), Some(verb.to_owned())),
            None => (last, None),
        };
        let (project, own_verb) = match segments.project.split_once(':') {
            Some((project, verb)) => (project.to_owned(), Some(verb.to_owned())),
            None => (segments.project, None),
        };
        let caller = parts.extensions.get::<Caller>().cloned().ok_or(Failure(ApiError::Unauthenticated))?;
        let StoredProject { project, enabled_apis, created_at } = crate::app::projects::find(&api.platform, &project)?;
        Ok(Self { caller, project, enabled_apis, created_at, region, name, verb: verb.or(own_verb) })
    }
}
