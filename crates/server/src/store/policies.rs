//! Access policies in the store.

use homerun_model::iam::Policy;
use rusqlite::{OptionalExtension, params};

use super::{Result, Store, StoreError, next};

impl Store {
    /// The policy of a resource; an empty one where none was ever set.
    ///
    /// # Errors
    /// When the database fails.
    pub fn policy(&self, resource: &str) -> Result<Policy> {
        let body: Option<String> = self
            .connection()
            .prepare_cached("SELECT body FROM policies WHERE resource = ?1")?
            .query_row([resource], |row| row.get(0))
            .optional()?;
        Ok(body.map(|body| serde_json::from_str(&body)).transpose()?.unwrap_or_default())
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
            if !policy.etag.is_empty() && policy.etag != present.etag {
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
        self.signal();
        Ok(stored)
    }
}
