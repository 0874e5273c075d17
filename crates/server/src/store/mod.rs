//! What homerun must not forget: services, revisions, policies, projects.
//!
//! One embedded SQLite file. Every write is one transaction, durable when the call returns and guarded by
//! the version that the caller read. Services, revisions and policies are kept in memory too ([`intent`]),
//! from where they are read; a write is seen there when it is durable, and loops are told which services
//! it touches. The statements are plain SQL that PostgreSQL takes too; only [`open`] knows which database
//! it is.

mod accounts;
mod audit;
mod budgets;
mod domains;
mod intent;
mod metrics;
mod operations;
mod policies;
mod projects;
mod quotas;
mod revisions;
mod services;
mod sessions;
mod usage;

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak};

use homerun_model::iam::Policy;
use homerun_model::metrics::DecodeError;
use homerun_model::names::{RevisionKey, ServiceKey};
use rusqlite::Connection;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::watch;

use intent::{Intent, Pending};

pub use accounts::ServiceAccount;
pub use budgets::{Expected, Notice};
pub use intent::{Feed, ServiceIntent};
pub use metrics::{Due, MetricsStore};
pub use projects::StoredProject;
pub use quotas::Override;
pub use sessions::Session;
pub use usage::{Alive, Ended, Grain, Look, UsageStore};

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
CREATE TABLE IF NOT EXISTS domain_mappings (
    project TEXT NOT NULL, region TEXT NOT NULL, domain TEXT NOT NULL, version BIGINT NOT NULL, body TEXT NOT NULL,
    PRIMARY KEY (project, region, domain));
CREATE TABLE IF NOT EXISTS policies (resource TEXT PRIMARY KEY, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS service_accounts (
    email TEXT PRIMARY KEY, unique_id TEXT NOT NULL UNIQUE, project TEXT NOT NULL, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS operations (
    id TEXT PRIMARY KEY, number BIGINT NOT NULL, project TEXT NOT NULL, region TEXT NOT NULL, service TEXT NOT NULL,
    done INTEGER NOT NULL, body TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS operations_by_project ON operations (project, number);
CREATE INDEX IF NOT EXISTS operations_under_way ON operations (project, region, service) WHERE done = 0;
CREATE TABLE IF NOT EXISTS audit (number BIGINT PRIMARY KEY, project TEXT NOT NULL, body TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS audit_by_project ON audit (project, number);
CREATE TABLE IF NOT EXISTS quota_preferences (
    project TEXT NOT NULL, id TEXT NOT NULL, bucket TEXT NOT NULL UNIQUE, version BIGINT NOT NULL, body TEXT NOT NULL,
    PRIMARY KEY (project, id));
CREATE TABLE IF NOT EXISTS quota_overrides (bucket TEXT PRIMARY KEY, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS quota_changes (number BIGINT PRIMARY KEY, project TEXT NOT NULL, body TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS quota_changes_by_project ON quota_changes (project, number);
CREATE TABLE IF NOT EXISTS budgets (
    project TEXT NOT NULL, name TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (project, name));
CREATE TABLE IF NOT EXISTS budget_notices (
    project TEXT NOT NULL, budget TEXT NOT NULL, month TEXT NOT NULL, percent BIGINT NOT NULL, told INTEGER NOT NULL,
    PRIMARY KEY (project, budget, month, percent));
CREATE TABLE IF NOT EXISTS sessions (secret_hash TEXT PRIMARY KEY, expires_at BIGINT NOT NULL, body TEXT NOT NULL);
";

/// The database.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    writer: Mutex<Connection>,
    /// Apart from the writer, so that nobody who reads waits for the disk.
    reader: Mutex<Connection>,
    /// Changed only by who holds the writer, so in the order of the transactions.
    intent: RwLock<Intent>,
    feeds: Mutex<Vec<Weak<Pending>>>,
    /// Grows whenever an operation ends.
    operations_ended: watch::Sender<u64>,
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
    /// A point of metrics cannot be read.
    #[error("a record of metrics cannot be read")]
    Point(#[from] DecodeError),
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
        let (connection, reader) = open(path, SCHEMA)?;
        let policies = policies::read_all(&connection)?;
        let mut intent = Intent::default();
        services::read_all(&connection, &mut intent)?;
        revisions::read_all(&connection, &mut intent)?;
        domains::read_all(&connection, &mut intent)?;
        Ok(Self {
            inner: Arc::new(Inner {
                writer: Mutex::new(connection),
                reader: Mutex::new(reader),
                intent: RwLock::new(intent),
                feeds: Mutex::default(),
                operations_ended: watch::Sender::new(0),
                policies: RwLock::new(policies),
            }),
        })
    }

    /// A feed of its own for a loop; it begins with every service.
    pub fn feed(&self) -> Feed {
        let pending = Arc::new(Pending::default());
        // First, so that no write falls between the two.
        self.feeds().push(Arc::downgrade(&pending));
        pending.add(self.intent().all().map(|intent| intent.service.value.key.clone()));
        Feed { pending }
    }

    /// Those of the services that exist, with their revisions, as they are at one moment.
    pub fn intents(&self, keys: &BTreeSet<ServiceKey>) -> Vec<Arc<ServiceIntent>> {
        let intent = self.intent();
        keys.iter().filter_map(|key| intent.get(key).cloned()).collect()
    }

    /// The services that revisions belong to.
    pub fn owners<'a>(&self, revisions: impl IntoIterator<Item = &'a RevisionKey>) -> BTreeSet<ServiceKey> {
        let intent = self.intent();
        revisions.into_iter().filter_map(|key| intent.owner(key)).collect()
    }

    /// The connection for reading.
    fn connection(&self) -> MutexGuard<'_, Connection> {
        self.inner.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn intent(&self) -> RwLockReadGuard<'_, Intent> {
        self.inner.intent.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn intent_mut(&self) -> RwLockWriteGuard<'_, Intent> {
        self.inner.intent.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn feeds(&self) -> MutexGuard<'_, Vec<Weak<Pending>>> {
        self.inner.feeds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `work` in one transaction, durable when this returns.
    fn write<T>(&self, work: impl FnOnce(&rusqlite::Transaction<'_>) -> Result<T>) -> Result<T> {
        self.write_then(work, |_, _| {})
    }

    /// Runs `work` in one transaction, with the record of who asked for it; once that is durable, `then`
    /// does the same to what is in memory, before anybody else writes.
    fn write_then<T>(
        &self,
        work: impl FnOnce(&rusqlite::Transaction<'_>) -> Result<T>,
        then: impl FnOnce(&mut Intent, &T),
    ) -> Result<T> {
        away_from_tasks(|| {
            // A panic inside a transaction has rolled it back, so the connection is fit for use.
            let mut connection = self.inner.writer.lock().unwrap_or_else(PoisonError::into_inner);
            let record = crate::audit::due();
            let written = (|| {
                let transaction = connection.transaction()?;
                let value = work(&transaction)?;
                record.iter().try_for_each(|record| audit::write(&transaction, record))?;
                transaction.commit()?;
                Ok(value)
            })();
            match &written {
                Ok(value) => then(&mut self.intent_mut(), value),
                Err(_) => record.into_iter().for_each(crate::audit::put_back),
            }
            written
        })
    }

    /// Tells the loops that a service is not as it was.
    fn touch(&self, key: &ServiceKey) {
        self.feeds().retain(|feed| feed.upgrade().inspect(|feed| feed.add([key.clone()])).is_some());
    }

    /// Tells the loops that something has changed that may matter to every service.
    fn signal(&self) {
        let keys: Vec<ServiceKey> = self.intent().all().map(|intent| intent.service.value.key.clone()).collect();
        self.feeds().retain(|feed| feed.upgrade().inspect(|feed| feed.add(keys.iter().cloned())).is_some());
    }
}

/// Opens or creates a database file with these tables: the connection that writes, and one that only reads.
fn open(path: &Path, schema: &str) -> Result<(Connection, Connection)> {
    let failed = |source| StoreError::Open { path: path.display().to_string(), source };
    let writer = Connection::open(path).map_err(failed)?;
    writer
        .execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA busy_timeout = 5000;")
        .and_then(|()| writer.execute_batch(schema))
        .map_err(failed)?;
    let reader = Connection::open(path).map_err(failed)?;
    reader.execute_batch("PRAGMA query_only = ON; PRAGMA busy_timeout = 5000;").map_err(failed)?;
    Ok((writer, reader))
}

/// Does what waits for the disk, without holding up the tasks that share this thread.
#[expect(
    clippy::disallowed_methods,
    reason = "a write must be done when its call returns; the thread's other tasks go on elsewhere meanwhile"
)]
fn away_from_tasks<T>(work: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|runtime| runtime.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        _ => work(),
    }
}

/// A column that is read in place and is no text.
fn not_text(error: rusqlite::types::FromSqlError) -> StoreError {
    StoreError::Database(error.into())
}

/// The next number of a counter, from 1.
fn next(transaction: &rusqlite::Transaction<'_>, counter: &str) -> Result<u64> {
    transaction.execute(
        "INSERT INTO counters (name, value) VALUES (?1, 1) ON CONFLICT (name) DO UPDATE SET value = counters.value + 1",
        [counter],
    )?;
    Ok(transaction.query_row("SELECT value FROM counters WHERE name = ?1", [counter], |row| row.get(0))?)
}
