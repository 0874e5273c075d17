//! Quotas in the store: what was asked for and granted, what was lowered, and the record of both.

use homerun_model::names::ProjectId;
use homerun_model::quota::{Bucket, Change, Preference};
use rusqlite::{OptionalExtension, Transaction, params};
use serde::{Deserialize, Serialize};

use super::{Result, Store, StoreError, Versioned, next};

/// A limit that was lowered, whatever is granted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Override {
    /// What the limit is for.
    pub bucket: Bucket,
    /// GPUs.
    pub limit: u32,
}

impl Store {
    /// The preferences of every project, by project and id.
    ///
    /// # Errors
    /// When the database fails.
    pub fn quota_preferences(&self) -> Result<Vec<Versioned<Preference>>> {
        let connection = self.connection();
        let mut statement =
            connection.prepare_cached("SELECT version, body FROM quota_preferences ORDER BY project, id")?;
        let rows = statement.query_map([], |row| Ok((row.get::<_, u64>(0)?, row.get::<_, String>(1)?)))?;
        rows.map(|row| {
            let (version, body) = row?;
            Ok(Versioned { version, value: serde_json::from_str(&body)? })
        })
        .collect()
    }

    /// A preference by its id.
    ///
    /// # Errors
    /// When the database fails.
    pub fn quota_preference(&self, project: &ProjectId, id: &str) -> Result<Option<Versioned<Preference>>> {
        let connection = self.connection();
        let mut statement =
            connection.prepare_cached("SELECT version, body FROM quota_preferences WHERE project = ?1 AND id = ?2")?;
        let row = |row: &rusqlite::Row<'_>| Ok((row.get::<_, u64>(0)?, row.get::<_, String>(1)?));
        let found = statement.query_row([project.as_str(), id], row).optional()?;
        found.map(|(version, body)| Ok(Versioned { version, value: serde_json::from_str(&body)? })).transpose()
    }

    /// Creates a preference (`version` is `None`) or changes the one that was read with `version`, and
    /// records why, in one transaction. Returns its new version.
    ///
    /// # Errors
    /// [`StoreError::Exists`] if its id or its bucket is taken; [`StoreError::Conflict`] if it was changed
    /// since it was read.
    pub fn put_quota_preference(
        &self,
        preference: &Preference,
        version: Option<u64>,
        changes: &[Change],
    ) -> Result<u64> {
        let (project, body) = (preference.bucket.project.as_str(), serde_json::to_string(preference)?);
        self.write(|transaction| {
            let new = next(transaction, "version")?;
            match version {
                None => transaction.execute(
                    "INSERT INTO quota_preferences (project, id, bucket, version, body) VALUES (?1, ?2, ?3, ?4, ?5)",
                    params![project, preference.id, name(&preference.bucket), new, body],
                )?,
                Some(version) => transaction.execute(
                    "UPDATE quota_preferences SET version = ?4, body = ?5 WHERE project = ?1 AND id = ?2 AND version = ?3",
                    params![project, preference.id, version, new, body],
                )?,
            };
            if transaction.changes() == 0 {
                return Err(StoreError::Conflict);
            }
            record(transaction, changes)?;
            Ok(new)
        })
    }

    /// Every override.
    ///
    /// # Errors
    /// When the database fails.
    pub fn quota_overrides(&self) -> Result<Vec<Override>> {
        let connection = self.connection();
        let mut statement = connection.prepare_cached("SELECT body FROM quota_overrides ORDER BY bucket")?;
        let rows = statement.query_map([], |row| row.get::<_, String>(0))?;
        rows.map(|body| Ok(serde_json::from_str(&body?)?)).collect()
    }

    /// Sets overrides, all of them or none, and records it.
    ///
    /// # Errors
    /// When the database fails.
    pub fn put_quota_overrides(&self, overrides: &[Override], changes: &[Change]) -> Result<()> {
        self.write(|transaction| {
            for each in overrides {
                transaction.execute(
                    "INSERT INTO quota_overrides (bucket, body) VALUES (?1, ?2)
                     ON CONFLICT (bucket) DO UPDATE SET body = excluded.body",
                    params![name(&each.bucket), serde_json::to_string(each)?],
                )?;
            }
            record(transaction, changes)
        })
    }

    /// Removes an override and records it. Whether there was one.
    ///
    /// # Errors
    /// When the database fails.
    pub fn delete_quota_override(&self, bucket: &Bucket, change: &Change) -> Result<bool> {
        self.write(|transaction| {
            let gone = transaction.execute("DELETE FROM quota_overrides WHERE bucket = ?1", [name(bucket)])? > 0;
            if gone {
                record(transaction, std::slice::from_ref(change))?;
            }
            Ok(gone)
        })
    }

    /// The newest changes of a project's quotas, newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub fn quota_changes(&self, project: &ProjectId, limit: usize) -> Result<Vec<Change>> {
        let connection = self.connection();
        let mut statement = connection
            .prepare_cached("SELECT body FROM quota_changes WHERE project = ?1 ORDER BY number DESC LIMIT ?2")?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = statement.query_map(params![project.as_str(), limit], |row| row.get::<_, String>(0))?;
        rows.map(|body| Ok(serde_json::from_str(&body?)?)).collect()
    }
}

fn record(transaction: &Transaction<'_>, changes: &[Change]) -> Result<()> {
    for change in changes {
        let number = next(transaction, "quota_change")?;
        transaction.execute(
            "INSERT INTO quota_changes (number, project, body) VALUES (?1, ?2, ?3)",
            params![number, change.bucket.project.as_str(), serde_json::to_string(change)?],
        )?;
    }
    Ok(())
}

/// The key of a bucket. A metric has no space in it, nor has a project or a region.
fn name(bucket: &Bucket) -> String {
    let region = bucket.region.as_ref().map_or("*", |region| region.as_str());
    format!("{} {} {region}", bucket.project, bucket.quota.metric())
}
