//! Revisions in the store.

use homerun_model::names::{RevisionKey, ServiceKey};
use homerun_model::revision::Revision;
use rusqlite::{OptionalExtension, Row, Transaction, params};

use super::{Result, Store, StoreError, Versioned, next};

impl Store {
    /// A revision, if it exists.
    ///
    /// # Errors
    /// When the database fails.
    pub fn revision(&self, key: &RevisionKey) -> Result<Option<Versioned<Revision>>> {
        self.connection()
            .prepare_cached("SELECT version, body FROM revisions WHERE project = ?1 AND region = ?2 AND name = ?3")?
            .query_row(params![key.project.as_str(), key.region.as_str(), key.name.as_str()], columns)
            .optional()?
            .map(read)
            .transpose()
    }

    /// The revisions of a service, oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub fn revisions(&self, service: &ServiceKey) -> Result<Vec<Versioned<Revision>>> {
        self.select_revisions(
            "SELECT version, body FROM revisions WHERE project = ?1 AND region = ?2 AND service = ?3 ORDER BY name",
            params![service.project.as_str(), service.region.as_str(), service.name.as_str()],
        )
    }

    /// Every revision of every project.
    ///
    /// # Errors
    /// When the database fails.
    pub fn all_revisions(&self) -> Result<Vec<Versioned<Revision>>> {
        self.select_revisions("SELECT version, body FROM revisions ORDER BY project, region, name", params![])
    }

    /// Stores what the loops found out about a revision.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if the revision is gone.
    pub fn update_revision(&self, revision: &Revision) -> Result<()> {
        let body = serde_json::to_string(revision)?;
        self.write(|transaction| {
            let version = next(transaction, "version")?;
            let key = &revision.key;
            let changed = transaction.execute(
                "UPDATE revisions SET version = ?4, body = ?5 WHERE project = ?1 AND region = ?2 AND name = ?3",
                params![key.project.as_str(), key.region.as_str(), key.name.as_str(), version, body],
            )?;
            if changed == 0 { Err(StoreError::Conflict) } else { Ok(()) }
        })
    }

    fn select_revisions(&self, query: &str, values: &[&dyn rusqlite::ToSql]) -> Result<Vec<Versioned<Revision>>> {
        let connection = self.connection();
        let mut statement = connection.prepare_cached(query)?;
        let rows = statement.query_map(values, columns)?;
        let mut revisions: Vec<Versioned<Revision>> = rows.map(|row| read(row?)).collect::<Result<_>>()?;
        revisions.sort_by_key(|revision| revision.value.generation);
        Ok(revisions)
    }
}

pub(super) fn insert(transaction: &Transaction<'_>, revision: &Revision) -> Result<()> {
    let version = next(transaction, "version")?;
    let key = &revision.key;
    transaction.execute(
        "INSERT INTO revisions (project, region, name, service, version, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![
            key.project.as_str(),
            key.region.as_str(),
            key.name.as_str(),
            revision.service.as_str(),
            version,
            serde_json::to_string(revision)?
        ],
    )?;
    Ok(())
}

fn columns(row: &Row<'_>) -> rusqlite::Result<(u64, String)> {
    Ok((row.get(0)?, row.get(1)?))
}

fn read((version, body): (u64, String)) -> Result<Versioned<Revision>> {
    Ok(Versioned { version, value: serde_json::from_str(&body)? })
}
