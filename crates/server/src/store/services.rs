//! Services in the store. Their status is written apart from what users say, so that the loops'
//! findings never make a user's change conflict.

use homerun_model::names::{ProjectId, Region, ServiceKey};
use homerun_model::revision::Revision;
use homerun_model::service::{Service, ServiceStatus};
use rusqlite::{OptionalExtension, Row, params};

use super::{Result, Store, StoreError, Versioned, next, revisions};

impl Store {
    /// A service, if it exists.
    ///
    /// # Errors
    /// When the database fails.
    pub fn service(&self, key: &ServiceKey) -> Result<Option<Versioned<Service>>> {
        self.connection()
            .prepare_cached(
                "SELECT version, body, status FROM services WHERE project = ?1 AND region = ?2 AND name = ?3",
            )?
            .query_row(params![key.project.as_str(), key.region.as_str(), key.name.as_str()], columns)
            .optional()?
            .map(read)
            .transpose()
    }

    /// The services of a project, ordered by name and region; of one region or of all.
    ///
    /// # Errors
    /// When the database fails.
    pub fn services(&self, project: &ProjectId, region: Option<&Region>) -> Result<Vec<Versioned<Service>>> {
        let connection = self.connection();
        let mut statement = connection.prepare_cached(
            "SELECT version, body, status FROM services WHERE project = ?1 AND (?2 IS NULL OR region = ?2) ORDER BY name, region",
        )?;
        let rows = statement.query_map(params![project.as_str(), region.map(Region::as_str)], columns)?;
        rows.map(|row| read(row?)).collect()
    }

    /// Every service of every project.
    ///
    /// # Errors
    /// When the database fails.
    pub fn all_services(&self) -> Result<Vec<Versioned<Service>>> {
        let connection = self.connection();
        let mut statement =
            connection.prepare_cached("SELECT version, body, status FROM services ORDER BY project, region, name")?;
        let rows = statement.query_map([], columns)?;
        rows.map(|row| read(row?)).collect()
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
        let version = self.write(|transaction| {
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
            if let Some(revision) = revision {
                revisions::insert(transaction, revision)?;
            }
            Ok(version)
        })?;
        self.signal();
        Ok(version)
    }

    /// Stores what the loops found out about a service. Does nothing if a user has changed it since
    /// `version`: what was found is out of date then.
    ///
    /// # Errors
    /// When the database fails.
    pub fn put_status(&self, key: &ServiceKey, version: u64, status: &ServiceStatus) -> Result<()> {
        let status = serde_json::to_string(status)?;
        self.write(|transaction| {
            transaction.execute(
                "UPDATE services SET status = ?5 WHERE project = ?1 AND region = ?2 AND name = ?3 AND version = ?4",
                params![key.project.as_str(), key.region.as_str(), key.name.as_str(), version, status],
            )?;
            Ok(())
        })
    }

    /// Removes a service with its revisions and its policy.
    ///
    /// # Errors
    /// When the database fails.
    pub fn delete_service(&self, key: &ServiceKey) -> Result<()> {
        self.write(|transaction| {
            let names = params![key.project.as_str(), key.region.as_str(), key.name.as_str()];
            transaction.execute("DELETE FROM services WHERE project = ?1 AND region = ?2 AND name = ?3", names)?;
            transaction.execute("DELETE FROM revisions WHERE project = ?1 AND region = ?2 AND service = ?3", names)?;
            transaction.execute("DELETE FROM policies WHERE resource = ?1", [key.to_string()])?;
            Ok(())
        })?;
        self.forget_policy(&key.to_string());
        self.signal();
        Ok(())
    }
}

type Columns = (u64, String, String);

fn columns(row: &Row<'_>) -> rusqlite::Result<Columns> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?))
}

fn read((version, body, status): Columns) -> Result<Versioned<Service>> {
    let mut value: Service = serde_json::from_str(&body)?;
    value.status = serde_json::from_str(&status)?;
    Ok(Versioned { version, value })
}

fn encode(service: &Service) -> Result<(String, String)> {
    let status = serde_json::to_string(&service.status)?;
    let bare = Service { status: ServiceStatus::default(), ..service.clone() };
    Ok((serde_json::to_string(&bare)?, status))
}
