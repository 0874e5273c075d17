//! Services: create, replace, delete, read.

use homerun_api::error::ApiError;
use homerun_model::iam::Resource;
use homerun_model::names::{Project, Region, RevisionName, ServiceKey};
use homerun_model::plan::status;
use homerun_model::service::{self, Change, Service, ServiceSpec, retention};

use super::{access, revisions, stored};
use crate::audit;
use crate::auth::Caller;
use crate::ids;
use crate::platform::Platform;
use crate::store::{StoreError, Versioned};

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
/// `PermissionDenied`, `AlreadyExists`, or every rule that it breaks.
pub fn create(platform: &Platform, caller: &Caller, request: Request<'_>) -> Result<Versioned<Service>, ApiError> {
    let name = request.key.name.as_str();
    access::require(platform, caller, "run.services.create", &Resource::Project(request.project.id.clone()))?;
    if platform.store.service(&request.key).map_err(|error| stored(error, KIND, name))?.is_some() {
        return Err(ApiError::AlreadyExists { kind: KIND, name: name.to_owned() });
    }
    let regions = platform.config.all_regions();
    let quotas = platform.quotas.now();
    let around = platform.surroundings(request.project, &regions, &quotas);
    let change = Service::create(&request.key, request.spec, &around, origin(platform, caller, ids::uuid()));
    let change = change.map_err(ApiError::InvalidArgument)?;
    audit::creates(name);
    store(platform, caller, change, None, request.dry_run)
}

/// Replaces a service's configuration. `expected` is the version that the caller has read, if it says.
///
/// # Errors
/// `PermissionDenied`, `NotFound`, `Conflict`, or every rule that it breaks.
pub fn replace(
    platform: &Platform,
    caller: &Caller,
    request: Request<'_>,
    expected: Option<u64>,
) -> Result<Versioned<Service>, ApiError> {
    let name = request.key.name.as_str();
    let present = get(platform, caller, "run.services.update", &request.key)?;
    if expected.is_some_and(|expected| expected != present.version) {
        return Err(stored(StoreError::Conflict, KIND, name));
    }
    if present.value.deleted_at.is_some() {
        return Err(ApiError::FailedPrecondition(format!("Service '{name}' is being deleted.")));
    }
    let regions = platform.config.all_regions();
    let quotas = platform.quotas.now();
    let around = platform.surroundings(request.project, &regions, &quotas);
    let revisions = platform.store.revisions(&request.key).map_err(|error| stored(error, KIND, name))?;
    let mut existing: Vec<RevisionName> = revisions.into_iter().map(|revision| revision.value.key.name).collect();
    let origin = origin(platform, caller, present.value.uid.clone());
    let change = present.value.apply(request.spec, &existing, &around, origin).map_err(ApiError::InvalidArgument)?;
    if change.service == present.value {
        return Ok(present);
    }
    existing.extend(change.revision.iter().map(|revision| revision.key.name.clone()));
    let stored = store(platform, caller, change, Some(present.version), request.dry_run)?;
    if !request.dry_run {
        for name in retention::excess(&stored.value, &existing) {
            revisions::forget(platform, &stored.value, &name)?;
        }
    }
    Ok(stored)
}

/// Asks for a service's deletion; its unique id. Its URL stops answering at once; it is gone when its
/// instances are.
///
/// # Errors
/// `PermissionDenied`, `NotFound`, or `Conflict` if it changes at the same moment.
pub fn delete(platform: &Platform, caller: &Caller, key: &ServiceKey, dry_run: bool) -> Result<String, ApiError> {
    let present = get(platform, caller, "run.services.delete", key)?;
    let uid = present.value.uid.clone();
    if present.value.deleted_at.is_some() || dry_run {
        return Ok(uid);
    }
    let now = platform.clock.now();
    let mut gone = Service { deleted_at: Some(now), ..present.value };
    gone.status = status::service(&gone, &[], now);
    let put = platform.store.put_service(&gone, None, Some(present.version));
    put.map_err(|error| stored(error, KIND, key.name.as_str()))?;
    Ok(uid)
}

/// A service, for who has the permission.
///
/// # Errors
/// `PermissionDenied` or `NotFound`.
pub fn get(
    platform: &Platform,
    caller: &Caller,
    permission: &str,
    key: &ServiceKey,
) -> Result<Versioned<Service>, ApiError> {
    access::require(platform, caller, permission, &Resource::Service(key.clone()))?;
    let found = platform.store.service(key).map_err(|error| stored(error, KIND, key.name.as_str()))?;
    found.ok_or_else(|| ApiError::NotFound { kind: KIND, name: key.name.to_string() })
}

/// Demands the permission to list what is in a project.
///
/// # Errors
/// `PermissionDenied`.
pub fn authorise_list(
    platform: &Platform,
    caller: &Caller,
    permission: &str,
    project: &Project,
) -> Result<(), ApiError> {
    access::require(platform, caller, permission, &Resource::Project(project.id.clone()))
}

/// Up to `count` services of a project, of one region or of all, after a key and in the order of keys.
///
/// # Errors
/// When the store fails.
pub fn page(
    platform: &Platform,
    (project, region): (&Project, Option<&Region>),
    after: Option<&str>,
    count: usize,
) -> Result<Vec<(String, Versioned<Service>)>, ApiError> {
    let page = platform.store.services_page(&project.id, region, after, count);
    page.map_err(|error| stored(error, KIND, project.id.as_str()))
}

fn origin(platform: &Platform, caller: &Caller, uid: String) -> service::Origin {
    service::Origin {
        uid,
        revision_uid: ids::uuid(),
        suffix: ids::letters(3),
        actor: caller.email().to_owned(),
        now: platform.clock.now(),
    }
}

fn store(
    platform: &Platform,
    caller: &Caller,
    change: Change,
    expected: Option<u64>,
    dry_run: bool,
) -> Result<Versioned<Service>, ApiError> {
    let Change { service, revision } = change;
    if let Some(account) = revision.as_ref().and_then(|revision| revision.template.service_account.as_deref()) {
        access::require_act_as(platform, caller, account)?;
    }
    if dry_run {
        return Ok(Versioned { version: expected.unwrap_or(0), value: service });
    }
    let version = platform
        .store
        .put_service(&service, revision.as_ref(), expected)
        .map_err(|error| stored(error, KIND, service.key.name.as_str()))?;
    Ok(Versioned { version, value: service })
}
