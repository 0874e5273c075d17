//! Metrics over time, in a database of their own: a point for each service and minute, hour and day that has something
//! to tell. What is written is merged into what is there, so a minute may be written in parts.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use homerun_model::Timestamp;
use homerun_model::metrics::{Grain, Point};
use homerun_model::names::{ProjectId, Region, ServiceKey, ServiceName};
use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::{Result, away_from_tasks};

/// The tables. Times are counted in their grain since 1970; bodies are points as bytes. `WITHOUT ROWID` (SQLite's) keeps
/// each service's points next to each other, as they are read; PostgreSQL would have `CLUSTER`.
const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS series (
    id INTEGER PRIMARY KEY, project TEXT NOT NULL, region TEXT NOT NULL, service TEXT NOT NULL,
    UNIQUE (project, region, service));
CREATE TABLE IF NOT EXISTS minutes (
    series BIGINT NOT NULL, time BIGINT NOT NULL, body BLOB NOT NULL, PRIMARY KEY (series, time)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS hours (
    series BIGINT NOT NULL, time BIGINT NOT NULL, body BLOB NOT NULL, PRIMARY KEY (series, time)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS days (
    series BIGINT NOT NULL, time BIGINT NOT NULL, body BLOB NOT NULL, PRIMARY KEY (series, time)) WITHOUT ROWID;
";

/// Points that are to be written, by minute since 1970 and service.
pub type Due = BTreeMap<(i64, ServiceKey), Point>;

/// The metrics' database.
pub struct MetricsStore {
    writer: Mutex<Connection>,
    /// Apart from the writer, so that no reader waits for the disk.
    reader: Mutex<Connection>,
    /// The number of each service that has points. Changed only by who holds the writer.
    series: Mutex<BTreeMap<ServiceKey, i64>>,
}

impl MetricsStore {
    /// Opens or creates the database file.
    ///
    /// # Errors
    /// When the file cannot be opened or is no database of homerun.
    pub fn open(path: &Path) -> Result<Self> {
        let (writer, reader) = super::open(path, SCHEMA)?;
        let series = read_series(&writer)?;
        Ok(Self { writer: Mutex::new(writer), reader: Mutex::new(reader), series: Mutex::new(series) })
    }

    /// Merges points into their minutes, hours and days, all of it or nothing.
    ///
    /// # Errors
    /// When the database fails; nothing has been written then.
    pub fn write(&self, due: &Due) -> Result<()> {
        if due.is_empty() {
            return Ok(());
        }
        away_from_tasks(|| {
            let mut writer = lock(&self.writer);
            let mut series = lock(&self.series).clone();
            let transaction = writer.transaction()?;
            for ((minute, service), point) in due {
                let id = series_id(&transaction, &mut series, service)?;
                for grain in Grain::ALL {
                    let time = (minute * Grain::Minute.seconds()).div_euclid(grain.seconds());
                    add(&transaction, grain, (id, time), point)?;
                }
            }
            transaction.commit()?;
            *lock(&self.series) = series;
            Ok(())
        })
    }

    /// The services of a project that have points.
    pub fn services(&self, project: &ProjectId) -> Vec<ServiceKey> {
        lock(&self.series).keys().filter(|key| key.project == *project).cloned().collect()
    }

    /// Hands over what is kept of some services, point by point with its beginning, for a range of whole grains.
    ///
    /// # Errors
    /// When the database or `take` fails.
    pub fn read(
        &self,
        grain: Grain,
        (from, to): (Timestamp, Timestamp),
        services: &[ServiceKey],
        mut take: impl FnMut(Timestamp, &[u8]) -> Result<()>,
    ) -> Result<()> {
        let (first, last) = (grain.number(from), grain.number(to - chrono::TimeDelta::milliseconds(1)));
        let known = lock(&self.series);
        let ids: Vec<i64> = services.iter().filter_map(|key| known.get(key).copied()).collect();
        drop(known);
        away_from_tasks(|| {
            let reader = lock(&self.reader);
            let mut statement = reader.prepare_cached(&format!(
                "SELECT time, body FROM {} WHERE series = ?1 AND time >= ?2 AND time <= ?3",
                table(grain)
            ))?;
            for id in ids {
                let mut rows = statement.query([id, first, last])?;
                while let Some(row) = rows.next()? {
                    let time = Timestamp::from_timestamp(row.get::<_, i64>(0)? * grain.seconds(), 0);
                    take(time.unwrap_or_default(), row.get_ref(1)?.as_blob().map_err(super::not_text)?)?;
                }
            }
            Ok(())
        })
    }

    /// Forgets minutes before `minutes`, everything before `hours`, and services of which nothing is left.
    ///
    /// # Errors
    /// When the database fails.
    pub fn forget(&self, minutes: Timestamp, hours: Timestamp) -> Result<()> {
        // Else a service could be forgotten that has minutes, and its number, with them, would be another's.
        let minutes = minutes.max(hours);
        away_from_tasks(|| {
            let mut writer = lock(&self.writer);
            let ids: Vec<i64> = lock(&self.series).values().copied().collect();
            let transaction = writer.transaction()?;
            for (grain, time) in [(Grain::Minute, minutes), (Grain::Hour, hours), (Grain::Day, hours)] {
                let sql = format!("DELETE FROM {} WHERE series = ?1 AND time < ?2", table(grain));
                let mut statement = transaction.prepare_cached(&sql)?;
                for id in &ids {
                    statement.execute([*id, grain.number(time)])?;
                }
            }
            // Whatever has a minute or an hour has a day.
            transaction.execute(
                "DELETE FROM series WHERE NOT EXISTS (SELECT 1 FROM days WHERE days.series = series.id)",
                [],
            )?;
            transaction.commit()?;
            *lock(&self.series) = read_series(&writer)?;
            Ok(())
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic inside a transaction has rolled it back, so a connection is fit for use.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn table(grain: Grain) -> &'static str {
    match grain {
        Grain::Minute => "minutes",
        Grain::Hour => "hours",
        Grain::Day => "days",
    }
}

fn read_series(connection: &Connection) -> Result<BTreeMap<ServiceKey, i64>> {
    let mut statement = connection.prepare("SELECT id, project, region, service FROM series")?;
    let rows = statement.query_map([], |row| {
        let key = ServiceKey {
            project: ProjectId::new(row.get::<_, String>(1)?),
            region: Region::new(row.get::<_, String>(2)?),
            name: ServiceName::new(row.get::<_, String>(3)?),
        };
        Ok((key, row.get(0)?))
    })?;
    rows.map(|row| Ok(row?)).collect()
}

/// The number of a service, which is stored if it is new.
fn series_id(
    transaction: &Transaction<'_>,
    series: &mut BTreeMap<ServiceKey, i64>,
    service: &ServiceKey,
) -> Result<i64> {
    if let Some(id) = series.get(service) {
        return Ok(*id);
    }
    transaction.execute(
        "INSERT INTO series (project, region, service) VALUES (?1, ?2, ?3)",
        params![service.project.as_str(), service.region.as_str(), service.name.as_str()],
    )?;
    let id = transaction.last_insert_rowid();
    series.insert(service.clone(), id);
    Ok(id)
}

/// Merges a point into what is there.
fn add(transaction: &Transaction<'_>, grain: Grain, (id, time): (i64, i64), point: &Point) -> Result<()> {
    let table = table(grain);
    let found: Option<Vec<u8>> = transaction
        .prepare_cached(&format!("SELECT body FROM {table} WHERE series = ?1 AND time = ?2"))?
        .query_row([id, time], |row| row.get(0))
        .optional()?;
    let mut sum = Point::default();
    if let Some(Err(error)) = found.map(|bytes| sum.merge_bytes(&bytes)) {
        tracing::warn!(%error, table, time, "a record of metrics is replaced");
        sum = Point::default();
    }
    sum.merge(point);
    transaction
        .prepare_cached(&format!(
            "INSERT INTO {table} (series, time, body) VALUES (?1, ?2, ?3)
             ON CONFLICT (series, time) DO UPDATE SET body = excluded.body"
        ))?
        .execute(params![id, time, sum.to_bytes()])?;
    Ok(())
}
