//! The record of changes in the store.

use rusqlite::{Transaction, params};

use super::{Result, Store, next};
use crate::audit::Record;

/// Records that are kept; the oldest go first.
const KEPT: u64 = 1_000_000;
/// Records between two looks at what is too much.
const SWEEP_EVERY: u64 = 1_000;

impl Store {
    /// Records a call that changes something outside the store.
    ///
    /// # Errors
    /// When the database fails.
    pub fn record_call(&self) -> Result<()> {
        // Whatever is due is carried by any write.
        self.write(|_| Ok(()))
    }

    /// A page of the changes in a project, or in all, the newest first: those with numbers below `before`.
    ///
    /// # Errors
    /// When the database fails.
    pub fn audit(&self, project: Option<&str>, before: Option<u64>, limit: usize) -> Result<Vec<(u64, Record)>> {
        let connection = self.connection();
        let mut statement = connection.prepare_cached(
            "SELECT number, body FROM audit WHERE (?1 IS NULL OR project = ?1) AND number < ?2
             ORDER BY number DESC LIMIT ?3",
        )?;
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let values = params![project, number(before.unwrap_or(u64::MAX)), number(limit as u64)];
        let rows = statement.query_map(values, |row| Ok((row.get::<_, u64>(0)?, row.get::<_, String>(1)?)))?;
        rows.map(|row| {
            let (number, body) = row?;
            Ok((number, serde_json::from_str(&body)?))
        })
        .collect()
    }
}

/// Writes a record, and removes what is too old by its number.
pub(super) fn write(transaction: &Transaction<'_>, record: &Record) -> Result<()> {
    let number = next(transaction, "audit")?;
    transaction.execute(
        "INSERT INTO audit (number, project, body) VALUES (?1, ?2, ?3)",
        params![number, record.project, serde_json::to_string(record)?],
    )?;
    if number.is_multiple_of(SWEEP_EVERY) {
        transaction.execute("DELETE FROM audit WHERE number <= ?1", [number.saturating_sub(KEPT)])?;
    }
    Ok(())
}
