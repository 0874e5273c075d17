//! Services in the store. Their status is written apart from what users say, so that the loops'
//! findings never make a user's change conflict.

use std::ops::Bound;

use homerun_model::Timestamp;
use homerun_model::names::{ProjectId, Region, ServiceKey, ServiceName};
use homerun_model::revision::Revision;
use homerun_model::service::{Service, ServiceStatus};
use rusqlite::{Connection, Transaction, params};

use super::intent::Intent;
use super::{Result, Store, StoreError, Versioned, next, not_text, operations, revisions};

impl Store {
    /// A service, if it exists.
    ///
    /// # Errors
    /// None at present: it is read from memory.
    pub fn service(&self, key: &ServiceKey) -> Result<Option<Versioned<Service>>> {
        Ok(self.intent().get(key).map(|intent| intent.service.clone()))
    }

    /// Up to `limit` services of a project, of one region or of all, by name and region, those after a
    /// key. Each comes with its key, `NAME/REGION`.
    ///
    /// # Errors
    /// None at present: they are read from memory.
    pub fn services_page(
        &self,
        project: &ProjectId,
        region: Option<&Region>,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Versioned<Service>)>> {
        let start = after.map_or(Bound::Unbounded, |after| {
            let (name, region) = after.split_once('/').unwrap_or((after, ""));
            Bound::Excluded((ServiceName::new(name), Region::new(region)))
        });
        let intent = self.intent();
        let services = intent.from(project, start).map(|intent| &intent.service);
        let wanted = services.filter(|service| region.is_none_or(|region| &service.value.key.region == region));
        let keyed = wanted.map(|service| {
            let key = &service.value.key;
            (format!("{}/{}", key.name, key.region), service.clone())
        });
        Ok(keyed.take(limit).collect())
    }

    /// Every service of every project.
    ///
    /// # Errors
    /// None at present: they are read from memory.
    pub fn all_services(&self) -> Result<Vec<Versioned<Service>>> {
        Ok(self.intent().all().map(|intent| intent.service.clone()).collect())
    }

    /// Stores a user's change of a service together with the revision that it makes. `expected` is the
    /// version that the change is based on; `None` creates. Returns the new version.
    ///
    /// # Errors
    /// [`StoreError::Exists`] or [`StoreError::Conflict`], and then nothing was written.
    pub fn put_service(&self, service: &Service, revision: Option<&Revision>, expected: Option<u64>) -> Result<u64> {
        let (body, status) = encode(service)?;
        let (project, region, name) =
            (service.key.project.as_str(), service.key.region.as_str(), service.key.name.as_str());
        let work = |transaction: &Transaction<'_>| {
            let version = next(transaction, "version")?;
            let changed = match expected {
                None => transaction.execute(
                    "INSERT INTO services (project, region, name, version, body, status) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                    params![project, region, name, version, body, status],
                )?,
                Some(expected) => transaction.execute(
                    "UPDATE services SET version = ?4, body = ?5, status = ?6
                     WHERE project = ?1 AND region = ?2 AND name = ?3 AND version = ?7",
                    params![project, region, name, version, body, status, expected],
                )?,
            };
            if changed == 0 {
                return Err(StoreError::Conflict);
            }
            operations::begin(transaction, service)?;
            let made = revision.map(|revision| revisions::insert(transaction, revision)).transpose()?;
            Ok((version, made))
        };
        let (version, _) = self.write_then(work, |intent, (version, made)| {
            intent.put_service(Versioned { version: *version, value: service.clone() });
            if let (Some(revision), Some(version)) = (revision, made) {
                intent.put_revision(Versioned { version: *version, value: revision.clone() });
            }
        })?;
        self.touch(&service.key);
        // Those before it.
        self.tell_operations_ended();
        Ok(version)
    }

    /// Stores what the loops found out about a service. Does nothing if a user has changed it since
    /// `version`: what was found is out of date then.
    ///
    /// # Errors
    /// When the database fails.
    pub fn put_status(&self, key: &ServiceKey, version: u64, status: &ServiceStatus, now: Timestamp) -> Result<()> {
        let body = serde_json::to_string(status)?;
        let work = |transaction: &Transaction<'_>| {
            let changed = transaction.execute(
                "UPDATE services SET status = ?5 WHERE project = ?1 AND region = ?2 AND name = ?3 AND version = ?4",
                params![key.project.as_str(), key.region.as_str(), key.name.as_str(), version, body],
            )?;
            let ended = changed > 0 && operations::settle(transaction, key, status, now)?;
            Ok((changed, ended))
        };
        let (_, ended) = self.write_then(work, |intent, (changed, _)| {
            if *changed > 0 {
                intent.put_status(key, status.clone());
            }
        })?;
        self.touch(key);
        if ended {
            self.tell_operations_ended();
        }
        Ok(())
    }

    /// Removes a service with its revisions and its policy.
    ///
    /// # Errors
    /// When the database fails.
    pub fn delete_service(&self, key: &ServiceKey) -> Result<()> {
        let work = |transaction: &Transaction<'_>| {
            let names = params![key.project.as_str(), key.region.as_str(), key.name.as_str()];
            transaction.execute("DELETE FROM services WHERE project = ?1 AND region = ?2 AND name = ?3", names)?;
            transaction.execute("DELETE FROM revisions WHERE project = ?1 AND region = ?2 AND service = ?3", names)?;
            transaction.execute("DELETE FROM policies WHERE resource = ?1", [key.to_string()])?;
            Ok(())
        };
        self.write_then(work, |intent, ()| intent.delete_service(key))?;
        self.forget_policy(&key.to_string());
        self.touch(key);
        Ok(())
    }
}

pub(super) fn read_all(connection: &Connection, intent: &mut Intent) -> Result<()> {
    let mut statement = connection.prepare("SELECT version, body, status FROM services")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let mut value: Service = serde_json::from_str(row.get_ref(1)?.as_str().map_err(not_text)?)?;
        value.status = serde_json::from_str(row.get_ref(2)?.as_str().map_err(not_text)?)?;
        // The copy is smaller: a list that was parsed has room for more than is in it.
        intent.put_service(Versioned { version: row.get(0)?, value: value.clone() });
    }
    Ok(())
}

fn encode(service: &Service) -> Result<(String, String)> {
    let status = serde_json::to_string(&service.status)?;
    let bare = Service { status: ServiceStatus::default(), ..service.clone() };
    Ok((serde_json::to_string(&bare)?, status))
}
