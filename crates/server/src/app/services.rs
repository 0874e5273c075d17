//! Services: create, replace, delete, read.

use homerun_api::error::ApiError;
use homerun_model::names::{Project, ProjectId, Region, RevisionName, ServiceKey};
use homerun_model::plan::status;
use homerun_model::service::{self, Change, Service, ServiceSpec};

use super::stored;
use crate::auth::Caller;
use crate::ids;
use crate::platform::Platform;
use crate::store::Versioned;

const KIND: &str = "Service";

/// What a caller asks for.
pub struct Request<'a> {
    /// The project that the service is in.
    pub project: &'a Project,
    /// The service.
    pub key: ServiceKey,
    /// What it is to be.
    pub spec: ServiceSpec,
    /// Check everything and store nothing.
    pub dry_run: bool,
}

/// Creates a service and its first revision.
///
/// # Errors
/// `AlreadyExists`, or every rule that it breaks.
pub fn create(platform: &Platform, caller: &Caller, request: Request<'_>) -> Result<Versioned<Service>, ApiError> {
    let name = request.key.name.as_str();
    if platform.store.service(&request.key).map_err(|error| stored(error, KIND, name))?.is_some() {
        return Err(ApiError::AlreadyExists { kind: KIND, name: name.to_owned() });
    }
    let regions = platform.config.all_regions();
    let around = platform.surroundings(request.project, &regions);
    let origin = service::Origin {
        uid: ids::uuid(),
        revision_uid: ids::uuid(),
        suffix: ids::letters(3),
        actor: caller.email.clone(),
        now: platform.clock.now(),
    };
    let change = Service::create(&request.key, request.spec, &around, origin).map_err(ApiError::InvalidArgument)?;
    store(platform, change, None, request.dry_run)
}

/// Replaces a service's configuration. `expected` is the version that the caller has read, if it says.
///
/// # Errors
/// `NotFound`, `Conflict`, or every rule that it breaks.
pub fn replace(
    platform: &Platform,
    caller: &Caller,
    request: Request<'_>,
    expected: Option<u64>,
) -> Result<Versioned<Service>, ApiError> {
    let present = get(platform, &request.key)?;
    if expected.is_some_and(|expected| expected != present.version) {
        return Err(stored(crate::store::StoreError::Conflict, KIND, request.key.name.as_str()));
    }
    if present.value.deleted_at.is_some() {
        return Err(ApiError::FailedPrecondition(format!("Service '{}' is being deleted.", request.key.name)));
    }
    let regions = platform.config.all_regions();
    let around = platform.surroundings(request.project, &regions);
    let existing: Vec<RevisionName> = platform
        .store
        .revisions(&request.key)
        .map_err(|error| stored(error, KIND, request.key.name.as_str()))?
        .into_iter()
        .map(|revision| revision.value.key.name)
        .collect();
    let origin = service::Origin {
        uid: present.value.uid.clone(),
        revision_uid: ids::uuid(),
        suffix: ids::letters(3),
        actor: caller.email.clone(),
        now: platform.clock.now(),
    };
    let change = present.value.apply(request.spec, &existing, &around, origin).map_err(ApiError::InvalidArgument)?;
    if change.service == present.value {
        return Ok(present);
    }
    store(platform, change, Some(present.version), request.dry_run)
}

/// Asks for a service's deletion. Its URL stops answering at once; it is gone when its instances are.
///
/// # Errors
/// `NotFound`, or `Conflict` if it changes at the same moment.
pub fn delete(platform: &Platform, key: &ServiceKey) -> Result<(), ApiError> {
    let present = get(platform, key)?;
    if present.value.deleted_at.is_some() {
        return Ok(());
    }
    let now = platform.clock.now();
    let mut gone = Service { deleted_at: Some(now), ..present.value };
    gone.status = status::service(&gone, &[], now);
    let change = Change { service: gone, revision: None };
    store(platform, change, Some(present.version), false).map(drop)
}

/// A service.
///
/// # Errors
/// `NotFound`.
pub fn get(platform: &Platform, key: &ServiceKey) -> Result<Versioned<Service>, ApiError> {
    let found = platform.store.service(key).map_err(|error| stored(error, KIND, key.name.as_str()))?;
    found.ok_or_else(|| ApiError::NotFound { kind: KIND, name: key.name.to_string() })
}

/// The services of a project, of one region or of all.
///
/// # Errors
/// When the store fails.
pub fn list(
    platform: &Platform,
    project: &ProjectId,
    region: Option<&Region>,
) -> Result<Vec<Versioned<Service>>, ApiError> {
    platform.store.services(project, region).map_err(|error| stored(error, KIND, project.as_str()))
}

fn store(
    platform: &Platform,
    change: Change,
    expected: Option<u64>,
    dry_run: bool,
) -> Result<Versioned<Service>, ApiError> {
    let Change { service, revision } = change;
    if dry_run {
        return Ok(Versioned { version: expected.unwrap_or(0), value: service });
    }
    let version = platform
        .store
        .put_service(&service, revision.as_ref(), expected)
        .map_err(|error| stored(error, KIND, service.key.name.as_str()))?;
    Ok(Versioned { version, value: service })
}
