//! Service accounts in the store.

use homerun_model::Timestamp;
use homerun_model::names::ProjectId;
use rusqlite::{OptionalExtension, params};
use serde::{Deserialize, Serialize};

use super::{Result, Store, StoreError};

/// An identity that instances and programs can have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceAccount {
    /// The project that it belongs to.
    pub project: ProjectId,
    /// Its email, which is its name.
    pub email: String,
    /// Unique for all time, in digits.
    pub unique_id: String,
    /// For people.
    pub display_name: String,
    /// For people.
    pub description: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// Whether it may not be used.
    #[serde(default)]
    pub disabled: bool,
}

impl Store {
    /// A service account by its email or unique id, of whatever project.
    ///
    /// # Errors
    /// When the database fails.
    pub fn service_account(&self, email_or_id: &str) -> Result<Option<ServiceAccount>> {
        let connection = self.connection();
        let mut statement =
            connection.prepare_cached("SELECT body FROM service_accounts WHERE email = ?1 OR unique_id = ?1")?;
        let body: Option<String> = statement.query_row([email_or_id], |row| row.get(0)).optional()?;
        Ok(body.map(|body| serde_json::from_str(&body)).transpose()?)
    }

    /// The service accounts of a project, by email.
    ///
    /// # Errors
    /// When the database fails.
    pub fn service_accounts(&self, project: &ProjectId) -> Result<Vec<ServiceAccount>> {
        let connection = self.connection();
        let mut statement =
            connection.prepare_cached("SELECT body FROM service_accounts WHERE project = ?1 ORDER BY email")?;
        let rows = statement.query_map([project.as_str()], |row| row.get::<_, String>(0))?;
        rows.map(|body| Ok(serde_json::from_str(&body?)?)).collect()
    }

    /// Creates a service account, or changes it if `replace`.
    ///
    /// # Errors
    /// [`StoreError::Exists`] if there is one of its email and `replace` is not set;
    /// [`StoreError::Conflict`] if there is none and it is.
    pub fn put_service_account(&self, account: &ServiceAccount, replace: bool) -> Result<()> {
        let statement = if replace {
            "UPDATE service_accounts SET body = ?4 WHERE email = ?1 AND unique_id = ?2 AND project = ?3"
        } else {
            "INSERT INTO service_accounts (email, unique_id, project, body) VALUES (?1, ?2, ?3, ?4)"
        };
        let body = serde_json::to_string(account)?;
        self.write(|transaction| {
            let values = params![account.email, account.unique_id, account.project.as_str(), body];
            let changed = transaction.execute(statement, values)?;
            if changed == 0 { Err(StoreError::Conflict) } else { Ok(()) }
        })
    }

    /// Removes a service account and its policy.
    ///
    /// # Errors
    /// When the database fails.
    pub fn delete_service_account(&self, account: &ServiceAccount, policy: &str) -> Result<()> {
        self.write(|transaction| {
            transaction.execute("DELETE FROM service_accounts WHERE email = ?1", [&account.email])?;
            transaction.execute("DELETE FROM policies WHERE resource = ?1", [policy])?;
            Ok(())
        })?;
        self.forget_policy(policy);
        Ok(())
    }
}
