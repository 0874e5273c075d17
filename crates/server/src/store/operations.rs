//! Operations in the store. They begin with the write of a service and end with one, in the same
//! transaction.

use homerun_model::Timestamp;
use homerun_model::names::{ProjectId, Region, ServiceKey};
use homerun_model::operation::{Ended, Operation, Outcome};
use homerun_model::service::{Service, ServiceStatus};
use rusqlite::{OptionalExtension, Transaction, params};

use super::{Result, Store, StoreError, next};

/// Operations that are kept; the oldest go first.
const KEPT: u64 = 10_000;
/// Operations between two looks at what is too much.
const SWEEP_EVERY: u64 = 100;

impl Store {
    /// An operation by its id.
    ///
    /// # Errors
    /// When the database fails.
    pub fn operation(&self, project: &ProjectId, region: &Region, id: &str) -> Result<Option<Operation>> {
        let connection = self.connection();
        let mut statement =
            connection.prepare_cached("SELECT body FROM operations WHERE id = ?1 AND project = ?2 AND region = ?3")?;
        let names = params![id, project.as_str(), region.as_str()];
        let body: Option<String> = statement.query_row(names, |row| row.get(0)).optional()?;
        Ok(body.map(|body| serde_json::from_str(&body)).transpose()?)
    }

    /// Up to `limit` operations of a project, of one region or of all, the newest first: those with numbers
    /// below `before`, and only those that are over or not if `done` says so. Each with its number.
    ///
    /// # Errors
    /// When the database fails.
    pub fn operations(
        &self,
        (project, region): (&ProjectId, Option<&Region>),
        done: Option<bool>,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<(u64, Operation)>> {
        let connection = self.connection();
        let mut statement = connection.prepare_cached(
            "SELECT number, body FROM operations
             WHERE project = ?1 AND (?2 IS NULL OR region = ?2) AND (?3 IS NULL OR done = ?3) AND number < ?4
             ORDER BY number DESC LIMIT ?5",
        )?;
        let before = before.and_then(|number| i64::try_from(number).ok()).unwrap_or(i64::MAX);
        let region = region.map(|region| region.as_str());
        let values = params![project.as_str(), region, done, before, i64::try_from(limit).unwrap_or(i64::MAX)];
        let rows = statement.query_map(values, |row| Ok((row.get::<_, u64>(0)?, row.get::<_, String>(1)?)))?;
        rows.map(|row| {
            let (number, body) = row?;
            Ok((number, serde_json::from_str(&body)?))
        })
        .collect()
    }

    /// Forgets an operation. Whether there was one.
    ///
    /// # Errors
    /// When the database fails.
    pub fn delete_operation(&self, id: &str) -> Result<bool> {
        self.write(|transaction| Ok(transaction.execute("DELETE FROM operations WHERE id = ?1", [id])? > 0))
    }

    /// Changes whenever an operation ends.
    pub fn operations_ended(&self) -> tokio::sync::watch::Receiver<u64> {
        self.inner.operations_ended.subscribe()
    }

    pub(super) fn tell_operations_ended(&self) {
        self.inner.operations_ended.send_modify(|count| *count += 1);
    }
}

/// Begins the operation of a service's change and ends those before it; for a service that is being
/// deleted only the latter.
pub(super) fn begin(transaction: &Transaction<'_>, service: &Service) -> Result<()> {
    let key = &service.key;
    if let Some(deleted_at) = service.deleted_at {
        return end_all(transaction, key, &Outcome::Deleted, deleted_at);
    }
    end_all(transaction, key, &Outcome::Superseded, service.updated_at)?;
    let number = next(transaction, "operation")?;
    transaction.execute(
        "INSERT INTO operations (id, number, project, region, service, done, body) VALUES (?1, ?2, ?3, ?4, ?5, 0, ?6)
         ON CONFLICT (id) DO NOTHING",
        params![
            service.operation_id,
            number,
            key.project.as_str(),
            key.region.as_str(),
            key.name.as_str(),
            serde_json::to_string(&Operation::of(service))?
        ],
    )?;
    if number.is_multiple_of(SWEEP_EVERY) {
        transaction.execute("DELETE FROM operations WHERE number <= ?1 AND done = 1", [number.saturating_sub(KEPT)])?;
    }
    Ok(())
}

/// Ends the operation that a status tells the outcome of. Whether one has ended.
pub(super) fn settle(
    transaction: &Transaction<'_>,
    key: &ServiceKey,
    status: &ServiceStatus,
    now: Timestamp,
) -> Result<bool> {
    let mut ended = false;
    for mut operation in under_way(transaction, key)? {
        if let Some(outcome) = operation.outcome(status) {
            operation.ended = Some(Ended { at: now, outcome });
            put(transaction, &operation)?;
            ended = true;
        }
    }
    Ok(ended)
}

fn end_all(transaction: &Transaction<'_>, key: &ServiceKey, outcome: &Outcome, now: Timestamp) -> Result<()> {
    for mut operation in under_way(transaction, key)? {
        operation.ended = Some(Ended { at: now, outcome: outcome.clone() });
        put(transaction, &operation)?;
    }
    Ok(())
}

fn under_way(transaction: &Transaction<'_>, key: &ServiceKey) -> Result<Vec<Operation>> {
    let mut statement = transaction.prepare_cached(
        "SELECT body FROM operations WHERE project = ?1 AND region = ?2 AND service = ?3 AND done = 0",
    )?;
    let names = params![key.project.as_str(), key.region.as_str(), key.name.as_str()];
    let rows = statement.query_map(names, |row| row.get::<_, String>(0))?;
    rows.map(|body| Ok(serde_json::from_str(&body?)?)).collect()
}

fn put(transaction: &Transaction<'_>, operation: &Operation) -> Result<()> {
    let body = serde_json::to_string(operation).map_err(StoreError::from)?;
    transaction.execute("UPDATE operations SET done = 1, body = ?2 WHERE id = ?1", params![operation.id, body])?;
    Ok(())
}
