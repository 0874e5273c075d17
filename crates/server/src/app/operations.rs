//! Operations: what became of changes of services.

use std::time::Duration;

use homerun_api::error::ApiError;
use homerun_model::iam::Resource;
use homerun_model::names::{Project, Region};
use homerun_model::operation::Operation;
use homerun_model::service::Service;

use super::{access, stored};
use crate::auth::Caller;
use crate::platform::Platform;

const KIND: &str = "Operation";

/// An operation.
///
/// # Errors
/// `PermissionDenied` or `NotFound`.
pub fn get(
    platform: &Platform,
    caller: &Caller,
    permission: &str,
    (project, region): (&Project, &Region),
    id: &str,
) -> Result<Operation, ApiError> {
    access::require(platform, caller, permission, &Resource::Project(project.id.clone()))?;
    let found = platform.store.operation(&project.id, region, id).map_err(|error| stored(error, KIND, id))?;
    found.ok_or_else(|| ApiError::NotFound { kind: KIND, name: id.to_owned() })
}

/// An operation once it is over, or as it is after `longest`.
///
/// # Errors
/// See [`get`].
pub async fn wait(
    platform: &Platform,
    caller: &Caller,
    at: (&Project, &Region),
    id: &str,
    longest: Duration,
) -> Result<Operation, ApiError> {
    let mut ended = platform.store.operations_ended();
    let deadline = tokio::time::Instant::now() + longest;
    loop {
        let found = get(platform, caller, "run.operations.get", at, id)?;
        if found.ended.is_some() || tokio::time::timeout_at(deadline, ended.changed()).await.is_err() {
            return Ok(found);
        }
    }
}

/// A page of operations, the newest first, each with its number.
///
/// # Errors
/// `PermissionDenied`.
pub fn list(
    platform: &Platform,
    caller: &Caller,
    (project, region): (&Project, Option<&Region>),
    done: Option<bool>,
    (before, count): (Option<u64>, usize),
) -> Result<Vec<(u64, Operation)>, ApiError> {
    access::require(platform, caller, "run.operations.list", &Resource::Project(project.id.clone()))?;
    let found = platform.store.operations((&project.id, region), done, before, count);
    found.map_err(|error| stored(error, KIND, project.id.as_str()))
}

/// Forgets an operation; the change that it is about goes on.
///
/// # Errors
/// See [`get`].
pub fn delete(platform: &Platform, caller: &Caller, at: (&Project, &Region), id: &str) -> Result<(), ApiError> {
    get(platform, caller, "run.operations.delete", at, id)?;
    platform.store.delete_operation(id).map(drop).map_err(|error| stored(error, KIND, id))
}

/// The service that an operation was about, if it is still there.
pub fn subject(platform: &Platform, operation: &Operation) -> Option<crate::store::Versioned<Service>> {
    let found = platform.store.service(&operation.service).ok().flatten();
    found.filter(|service| service.value.uid == operation.uid)
}
