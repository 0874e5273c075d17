//! What homerun must not forget: services, revisions, policies, projects.
//!
//! One embedded SQLite file. Every write is one transaction, durable when the call returns, guarded by
//! the version that the caller read, and followed by a change signal. The statements are plain SQL that
//! PostgreSQL takes too; only [`Store::open`] knows which database it is.

mod accounts;
mod policies;
mod projects;
mod revisions;
mod services;

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use homerun_model::iam::Policy;
use rusqlite::Connection;
use tokio::sync::watch;

pub use accounts::ServiceAccount;
pub use projects::StoredProject;

/// The tables. Bodies are JSON of the model's types; columns are what queries need.
const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS counters (name TEXT PRIMARY KEY, value BIGINT NOT NULL);
CREATE TABLE IF NOT EXISTS projects (id TEXT PRIMARY KEY, number BIGINT NOT NULL UNIQUE, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS services (
    project TEXT NOT NULL, region TEXT NOT NULL, name TEXT NOT NULL,
    version BIGINT NOT NULL, body TEXT NOT NULL, status TEXT NOT NULL,
    PRIMARY KEY (project, region, name));
CREATE TABLE IF NOT EXISTS revisions (
    project TEXT NOT NULL, region TEXT NOT NULL, name TEXT NOT NULL, service TEXT NOT NULL,
    version BIGINT NOT NULL, body TEXT NOT NULL,
    PRIMARY KEY (project, region, name));
CREATE INDEX IF NOT EXISTS revisions_by_service ON revisions (project, region, service);
CREATE TABLE IF NOT EXISTS policies (resource TEXT PRIMARY KEY, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS service_accounts (
    email TEXT PRIMARY KEY, unique_id TEXT NOT NULL UNIQUE, project TEXT NOT NULL, body TEXT NOT NULL);
";

/// The database.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    connection: Mutex<Connection>,
    writes: AtomicU64,
    changes: watch::Sender<u64>,
    /// Every policy: each call and each private request asks for some.
    policies: RwLock<HashMap<String, Arc<Policy>>>,
}

/// A stored thing and the version that a later write must name.
#[derive(Debug, Clone, PartialEq)]
pub struct Versioned<T> {
    /// Grows with every write of the thing.
    pub version: u64,
    /// The thing.
    pub value: T,
}

/// Why the store could not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Somebody else changed it since it was read.
    #[error("it was changed by somebody else since it was read")]
    Conflict,
    /// It was to be created and is there already.
    #[error("it exists already")]
    Exists,
    /// The database failed.
    #[error("the database failed")]
    Database(#[source] rusqlite::Error),
    /// What the database holds cannot be read, for instance after a downgrade.
    #[error("a record of the database cannot be read")]
    Record(#[source] serde_json::Error),
    /// The data directory could not be made or entered.
    #[error("the database could not be opened at {path}")]
    Open {
        /// The file.
        path: String,
        /// What went wrong.
        #[source]
        source: rusqlite::Error,
    },
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::ConstraintViolation) => Self::Exists,
            _ => Self::Database(error),
        }
    }
}

impl From<serde_json::Error> for StoreError {
    fn from(error: serde_json::Error) -> Self {
        Self::Record(error)
    }
}

/// What calls of the store return.
pub type Result<T> = std::result::Result<T, StoreError>;

impl Store {
    /// Opens or creates the database file.
    ///
    /// # Errors
    /// When the file cannot be opened or is no database of homerun.
    pub fn open(path: &Path) -> Result<Self> {
        let failed = |source| StoreError::Open { path: path.display().to_string(), source };
        let connection = Connection::open(path).map_err(failed)?;
        connection
            .execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA busy_timeout = 5000;")
            .and_then(|()| connection.execute_batch(SCHEMA))
            .map_err(failed)?;
        let policies = policies::read_all(&connection)?;
        Ok(Self {
            inner: Arc::new(Inner {
                connection: Mutex::new(connection),
                writes: AtomicU64::new(0),
                changes: watch::Sender::new(0),
                policies: RwLock::new(policies),
            }),
        })
    }

    /// Fires after every change of a service, revision, project or policy that a user made.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.inner.changes.subscribe()
    }

    /// Counts the writes since the database was opened; who has read everything at a version need not
    /// read again while it stays.
    pub fn version(&self) -> u64 {
        self.inner.writes.load(Ordering::SeqCst)
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        // A panic inside a transaction has rolled it back, so the connection is fit for use.
        self.inner.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `work` in one transaction, durable when this returns.
    fn write<T>(&self, work: impl FnOnce(&rusqlite::Transaction<'_>) -> Result<T>) -> Result<T> {
        let mut connection = self.connection();
        let transaction = connection.transaction()?;
        let value = work(&transaction)?;
        transaction.commit()?;
        self.inner.writes.fetch_add(1, Ordering::SeqCst);
        Ok(value)
    }

    fn signal(&self) {
        self.inner.changes.send_modify(|count| *count += 1);
    }
}

/// The next number of a counter, from 1.
fn next(transaction: &rusqlite::Transaction<'_>, counter: &str) -> Result<u64> {
    transaction.execute(
        "INSERT INTO counters (name, value) VALUES (?1, 1) ON CONFLICT (name) DO UPDATE SET value = counters.value + 1",
        [counter],
    )?;
    Ok(transaction.query_row("SELECT value FROM counters WHERE name = ?1", [counter], |row| row.get(0))?)
}
