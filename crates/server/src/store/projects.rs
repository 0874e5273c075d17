//! Projects in the store.

use std::collections::BTreeSet;

use homerun_model::Timestamp;
use homerun_model::names::{Project, ProjectId};
use rusqlite::{OptionalExtension, params};
use serde::{Deserialize, Serialize};

use super::{Result, Store, StoreError};

/// A project and what is switched on in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredProject {
    /// Id and number.
    pub project: Project,
    /// Names of the APIs that are enabled, for instance `run.googleapis.com`.
    pub enabled_apis: BTreeSet<String>,
    /// When it was made; unknown for those that an early version made.
    #[serde(default)]
    pub created_at: Option<Timestamp>,
}

impl Store {
    /// A project by its id or its number written in digits.
    ///
    /// # Errors
    /// When the database fails.
    pub fn project(&self, id_or_number: &str) -> Result<Option<StoredProject>> {
        let number: Option<u64> = id_or_number.parse().ok();
        let body: Option<String> = self
            .connection()
            .prepare_cached("SELECT body FROM projects WHERE id = ?1 OR number = ?2")?
            .query_row(params![id_or_number, number], |row| row.get(0))
            .optional()?;
        Ok(body.map(|body| serde_json::from_str(&body)).transpose()?)
    }

    /// Every project, ordered by id.
    ///
    /// # Errors
    /// When the database fails.
    pub fn projects(&self) -> Result<Vec<StoredProject>> {
        let connection = self.connection();
        let mut statement = connection.prepare_cached("SELECT body FROM projects ORDER BY id")?;
        let rows = statement.query_map([], |row| row.get::<_, String>(0))?;
        rows.map(|body| Ok(serde_json::from_str(&body?)?)).collect()
    }

    /// Creates a project; does nothing if there is one with its id and number.
    ///
    /// # Errors
    /// [`StoreError::Exists`] if the number belongs to another project.
    pub fn ensure_project(&self, project: &StoredProject) -> Result<()> {
        if self.project(project.project.id.as_str())?.is_some() {
            return Ok(());
        }
        self.write(|transaction| {
            transaction.execute(
                "INSERT INTO projects (id, number, body) VALUES (?1, ?2, ?3)",
                params![project.project.id.as_str(), project.project.number, serde_json::to_string(project)?],
            )?;
            Ok(())
        })
    }

    /// Switches an API on or off in a project.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if there is no such project.
    pub fn switch_api(&self, id: &ProjectId, api: &str, enable: bool) -> Result<()> {
        self.write(|transaction| {
            let body: Option<String> = transaction
                .query_row("SELECT body FROM projects WHERE id = ?1", [id.as_str()], |row| row.get(0))
                .optional()?;
            let mut project: StoredProject = serde_json::from_str(&body.ok_or(StoreError::Conflict)?)?;
            if enable {
                project.enabled_apis.insert(api.to_owned());
            } else {
                project.enabled_apis.remove(api);
            }
            let body = serde_json::to_string(&project)?;
            transaction.execute("UPDATE projects SET body = ?2 WHERE id = ?1", params![id.as_str(), body])?;
            Ok(())
        })?;
        self.signal();
        Ok(())
    }
}
