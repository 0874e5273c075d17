//! Budgets in the store, and who has been told of which threshold.

use homerun_model::billing::budget::Budget;
use homerun_model::names::ProjectId;
use rusqlite::{OptionalExtension, params};

use super::{Result, Store, StoreError, audit};
use crate::audit::Record;

/// A threshold that a budget has reached in a month.
#[derive(Debug, Clone, Copy)]
pub struct Notice<'a> {
    /// The budget's project.
    pub project: &'a ProjectId,
    /// The budget. While it is another one, nothing is noted of this one.
    pub budget: &'a Budget,
    /// The month, for instance `2026-11`.
    pub month: &'a str,
    /// The threshold.
    pub percent: u32,
}

/// What must be there for a budget to be stored.
#[derive(Debug, Clone, Copy)]
pub enum Expected<'a> {
    /// Whatever there is.
    Anything,
    /// No budget of the name.
    Nothing,
    /// The budget that was read.
    Budget(&'a Budget),
}

impl Store {
    /// Every budget, by project and name.
    ///
    /// # Errors
    /// When the database fails.
    pub fn budgets(&self) -> Result<Vec<(ProjectId, Budget)>> {
        let connection = self.connection();
        let mut statement = connection.prepare_cached("SELECT project, body FROM budgets ORDER BY project, name")?;
        let rows = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
        rows.map(|row| {
            let (project, body) = row?;
            Ok((ProjectId::new(project), serde_json::from_str(&body)?))
        })
        .collect()
    }

    /// Creates or replaces a budget. Its thresholds are told anew.
    ///
    /// # Errors
    /// [`StoreError::Exists`] or [`StoreError::Conflict`] where something else is there than was expected, or when the
    /// database fails.
    pub fn put_budget(&self, project: &ProjectId, budget: &Budget, expected: Expected<'_>) -> Result<()> {
        let body = serde_json::to_string(budget)?;
        self.write(|transaction| {
            let found: Option<String> = transaction
                .prepare_cached("SELECT body FROM budgets WHERE project = ?1 AND name = ?2")?
                .query_row(params![project.as_str(), budget.name], |row| row.get(0))
                .optional()?;
            let present: Option<Budget> = found.map(|body| serde_json::from_str(&body)).transpose()?;
            match expected {
                Expected::Nothing if present.is_some() => return Err(StoreError::Exists),
                Expected::Budget(read) if present.as_ref() != Some(read) => return Err(StoreError::Conflict),
                _ => {}
            }
            transaction.execute(
                "INSERT INTO budgets (project, name, body) VALUES (?1, ?2, ?3)
                 ON CONFLICT (project, name) DO UPDATE SET body = excluded.body",
                params![project.as_str(), budget.name, body],
            )?;
            transaction.execute(
                "DELETE FROM budget_notices WHERE project = ?1 AND budget = ?2",
                params![project.as_str(), budget.name],
            )?;
            Ok(())
        })
    }

    /// Removes a budget. Whether there was one.
    ///
    /// # Errors
    /// When the database fails.
    pub fn delete_budget(&self, project: &ProjectId, name: &str) -> Result<bool> {
        self.write(|transaction| {
            let key = params![project.as_str(), name];
            transaction.execute("DELETE FROM budget_notices WHERE project = ?1 AND budget = ?2", key)?;
            let key = params![project.as_str(), name];
            Ok(transaction.execute("DELETE FROM budgets WHERE project = ?1 AND name = ?2", key)? > 0)
        })
    }

    /// Remembers that a threshold has been reached, with a record of it. Whether that is news.
    ///
    /// # Errors
    /// When the database fails.
    pub fn note_threshold(&self, notice: &Notice<'_>, record: &Record) -> Result<bool> {
        let body = serde_json::to_string(notice.budget)?;
        self.write(|transaction| {
            let news = transaction.execute(
                "INSERT INTO budget_notices (project, budget, month, percent, told)
                 SELECT project, name, ?3, ?4, 0 FROM budgets WHERE project = ?1 AND name = ?2 AND body = ?5
                 ON CONFLICT (project, budget, month, percent) DO NOTHING",
                params![notice.project.as_str(), notice.budget.name, notice.month, notice.percent, body],
            )? > 0;
            if news {
                audit::write(transaction, record)?;
            }
            Ok(news)
        })
    }

    /// Whether a threshold's webhook is still to be told.
    ///
    /// # Errors
    /// When the database fails.
    pub fn is_to_be_told(&self, notice: &Notice<'_>) -> Result<bool> {
        let connection = self.connection();
        let mut statement = connection.prepare_cached(
            "SELECT 1 FROM budget_notices
             WHERE project = ?1 AND budget = ?2 AND month = ?3 AND percent = ?4 AND told = 0",
        )?;
        Ok(statement.exists(params![notice.project.as_str(), notice.budget.name, notice.month, notice.percent])?)
    }

    /// Remembers that a threshold's webhook has been told.
    ///
    /// # Errors
    /// When the database fails.
    pub fn told(&self, notice: &Notice<'_>) -> Result<()> {
        self.write(|transaction| {
            transaction.execute(
                "UPDATE budget_notices SET told = 1
                 WHERE project = ?1 AND budget = ?2 AND month = ?3 AND percent = ?4",
                params![notice.project.as_str(), notice.budget.name, notice.month, notice.percent],
            )?;
            Ok(())
        })
    }
}
