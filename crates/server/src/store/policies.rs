//! Access policies in the store. All of them are kept in memory too, for every call asks for some.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};

use homerun_model::iam::{Policy, Principal, Resource, UNSET_ETAG};
use homerun_model::names::ServiceKey;
use rusqlite::{Connection, OptionalExtension, params};

use super::{Result, Store, StoreError, next};

impl Store {
    /// The policy that is kept under a resource's name; an empty one where none was ever set.
    pub fn policy(&self, resource: &str) -> Arc<Policy> {
        let policies = self.inner.policies.read().unwrap_or_else(PoisonError::into_inner);
        policies.get(resource).cloned().unwrap_or_default()
    }

    /// Whether the policies of a resource and of what it is part of give a permission to a principal;
    /// `None` is somebody who is not signed in.
    pub fn allows(&self, resource: &Resource, principal: Option<&Principal>, permission: &str) -> bool {
        self.policy(&resource.policy_name()).allows(principal, permission)
            || resource.parent().is_some_and(|parent| self.allows(&parent, principal, permission))
    }

    /// Replaces a policy. If `policy.etag` is not empty it must be the present one's. Returns the policy
    /// as stored, with its new etag.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if somebody changed it since.
    pub fn put_policy(&self, resource: &str, policy: Policy) -> Result<Policy> {
        let stored = self.write(|transaction| {
            let present: Option<String> = transaction
                .query_row("SELECT body FROM policies WHERE resource = ?1", [resource], |row| row.get(0))
                .optional()?;
            let present: Policy = present.map(|body| serde_json::from_str(&body)).transpose()?.unwrap_or_default();
            let etag = if present.etag.is_empty() { UNSET_ETAG } else { &present.etag };
            if !policy.etag.is_empty() && policy.etag != etag {
                return Err(StoreError::Conflict);
            }
            let stored = Policy { etag: format!("{:012x}", next(transaction, "version")?), ..policy };
            transaction.execute(
                "INSERT INTO policies (resource, body) VALUES (?1, ?2)
                 ON CONFLICT (resource) DO UPDATE SET body = excluded.body",
                params![resource, serde_json::to_string(&stored)?],
            )?;
            Ok(stored)
        })?;
        let mut policies = self.inner.policies.write().unwrap_or_else(PoisonError::into_inner);
        // Two writers may come here in another order than their transactions were committed in.
        if policies.get(resource).is_none_or(|present| present.etag < stored.etag) {
            policies.insert(resource.to_owned(), Arc::new(stored.clone()));
        }
        drop(policies);
        match service_of(resource) {
            Some(service) => self.touch(&service),
            None => self.signal(),
        }
        Ok(stored)
    }

    /// Forgets a policy that was removed from the database.
    pub(super) fn forget_policy(&self, resource: &str) {
        self.inner.policies.write().unwrap_or_else(PoisonError::into_inner).remove(resource);
    }
}

/// The service whose policy is kept under a name, if it is a service's.
fn service_of(policy: &str) -> Option<ServiceKey> {
    let mut parts = policy.splitn(6, '/');
    let mut after = |kind: &str| parts.next().filter(|part| *part == kind).and_then(|_| parts.next());
    let (project, region, name) = (after("projects")?, after("locations")?, after("services")?);
    Some(ServiceKey { project: project.into(), region: region.into(), name: name.into() })
}

pub(super) fn read_all(connection: &Connection) -> Result<HashMap<String, Arc<Policy>>> {
    let mut statement = connection.prepare("SELECT resource, body FROM policies")?;
    let rows = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
    rows.map(|row| {
        let (resource, body) = row?;
        Ok((resource, Arc::new(serde_json::from_str(&body)?)))
    })
    .collect()
}
