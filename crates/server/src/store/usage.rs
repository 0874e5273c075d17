//! What the meter must not forget, in a database of its own: it writes every second, and nobody else waits for it.
//!
//! Each instance that has ended is kept for some days; what subjects used is rolled up by hour for some months, and by
//! day for good. All that is written at one look of the meter is one transaction.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::TimeDelta;
use homerun_model::Timestamp;
use homerun_model::billing::prices::Sum;
use homerun_model::billing::report::Row;
use homerun_model::billing::{Delta, Moment, Open, Subject, SubjectId, Used};
use homerun_model::names::InstanceId;
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use serde::{Deserialize, Serialize};

use super::{Result, StoreError, away_from_tasks};

/// The tables. Times of instances are milliseconds since 1970, hours and days are counted since then.
const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS subjects (id INTEGER PRIMARY KEY, body TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS open_instances (id TEXT PRIMARY KEY, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS instances (
    id TEXT PRIMARY KEY, subject BIGINT NOT NULL, started BIGINT NOT NULL, ended BIGINT NOT NULL,
    active BIGINT NOT NULL, boosted BIGINT NOT NULL, requests BIGINT NOT NULL);
CREATE INDEX IF NOT EXISTS instances_by_end ON instances (ended);
CREATE TABLE IF NOT EXISTS hours (
    time BIGINT NOT NULL, subject BIGINT NOT NULL, active BIGINT NOT NULL, boosted BIGINT NOT NULL,
    idle BIGINT NOT NULL, requests BIGINT NOT NULL, starts BIGINT NOT NULL, peak BIGINT NOT NULL,
    PRIMARY KEY (time, subject));
CREATE TABLE IF NOT EXISTS days (
    time BIGINT NOT NULL, subject BIGINT NOT NULL, active BIGINT NOT NULL, boosted BIGINT NOT NULL,
    idle BIGINT NOT NULL, requests BIGINT NOT NULL, starts BIGINT NOT NULL, peak BIGINT NOT NULL,
    PRIMARY KEY (time, subject));
CREATE TABLE IF NOT EXISTS meter (name TEXT PRIMARY KEY, body TEXT NOT NULL);
";

/// How long a row of a roll-up is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grain {
    /// An hour.
    Hour,
    /// A day, UTC.
    Day,
}

impl Grain {
    /// Its length in seconds.
    pub fn seconds(self) -> i64 {
        match self {
            Self::Hour => 3600,
            Self::Day => 86_400,
        }
    }

    fn table(self) -> &'static str {
        match self {
            Self::Hour => "hours",
            Self::Day => "days",
        }
    }
}

/// When the meter last looked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alive {
    /// That moment.
    pub moment: Moment,
    /// The machine's start that the steady clock counts from.
    pub boot: String,
}

/// An instance that has been billed to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Its id.
    pub id: InstanceId,
    /// Whom it was billed to.
    pub subject: SubjectId,
    /// When its first container started.
    pub started: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// What it was billed for.
    pub used: Used,
}

/// What a look of the meter writes.
#[derive(Debug)]
pub struct Look<'a> {
    /// What is added to the roll-ups.
    pub deltas: &'a [Delta],
    /// Instances that have changed, those that have ended among them.
    pub changed: &'a [(InstanceId, Open)],
    /// When it was.
    pub alive: &'a Alive,
}

/// The meter's database.
pub struct UsageStore {
    writer: Mutex<Connection>,
    /// Apart from the writer, so that no report waits for the disk.
    reader: Mutex<Connection>,
    subjects: Mutex<Subjects>,
}

#[derive(Default)]
struct Subjects {
    by_body: BTreeMap<String, SubjectId>,
    by_id: BTreeMap<SubjectId, Arc<Subject>>,
}

impl UsageStore {
    /// Opens or creates the database file.
    ///
    /// # Errors
    /// When the file cannot be opened or is no database of homerun.
    pub fn open(path: &Path) -> Result<Self> {
        let (writer, reader) = super::open(path, SCHEMA)?;
        let mut subjects = Subjects::default();
        for row in reader
            .prepare("SELECT id, body FROM subjects")?
            .query_map([], |row| Ok((row.get::<_, SubjectId>(0)?, row.get::<_, String>(1)?)))?
        {
            let (id, body) = row?;
            subjects.by_id.insert(id, Arc::new(serde_json::from_str(&body)?));
            subjects.by_body.insert(body, id);
        }
        Ok(Self { writer: Mutex::new(writer), reader: Mutex::new(reader), subjects: Mutex::new(subjects) })
    }

    /// The number of a subject, which is stored if it is new.
    ///
    /// # Errors
    /// When the database fails.
    pub fn subject_id(&self, subject: &Subject) -> Result<SubjectId> {
        let body = serde_json::to_string(subject)?;
        let mut subjects = self.subjects();
        if let Some(id) = subjects.by_body.get(&body) {
            return Ok(*id);
        }
        let id = away_from_tasks(|| {
            let writer = self.writer();
            writer.execute("INSERT INTO subjects (body) VALUES (?1)", [&body])?;
            Ok::<_, StoreError>(writer.last_insert_rowid())
        })?;
        subjects.by_id.insert(id, Arc::new(subject.clone()));
        subjects.by_body.insert(body, id);
        Ok(id)
    }

    /// Every subject by its number.
    pub fn all_subjects(&self) -> BTreeMap<SubjectId, Arc<Subject>> {
        self.subjects().by_id.clone()
    }

    /// What an earlier meter left: the instances that had not ended, and when it last looked.
    ///
    /// # Errors
    /// When the database fails.
    pub fn left(&self) -> Result<(BTreeMap<InstanceId, Open>, Option<Alive>)> {
        let reader = self.reader();
        let mut statement = reader.prepare("SELECT id, body FROM open_instances")?;
        let rows = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
        let open = rows.map(|row| {
            let (id, body) = row?;
            Ok((InstanceId::new(id), serde_json::from_str(&body)?))
        });
        let open = open.collect::<Result<_>>()?;
        let alive: Option<String> =
            reader.query_row("SELECT body FROM meter WHERE name = 'alive'", [], |row| row.get(0)).optional()?;
        Ok((open, alive.map(|body| serde_json::from_str(&body)).transpose()?))
    }

    /// Whether an instance has been billed to its end.
    ///
    /// # Errors
    /// When the database fails.
    pub fn has_ended(&self, id: &InstanceId) -> Result<bool> {
        let reader = self.reader();
        let mut statement = reader.prepare_cached("SELECT 1 FROM instances WHERE id = ?1")?;
        Ok(statement.exists([id.as_str()])?)
    }

    /// Writes what a look has found, all of it or nothing.
    ///
    /// # Errors
    /// When the database fails; nothing has been written then.
    pub fn write(&self, look: &Look<'_>) -> Result<()> {
        away_from_tasks(|| {
            let mut writer = self.writer();
            let transaction = writer.transaction()?;
            for delta in look.deltas {
                add(&transaction, Grain::Hour, delta.hour, delta)?;
                add(&transaction, Grain::Day, delta.hour.div_euclid(24), delta)?;
            }
            for (id, open) in look.changed {
                put(&transaction, id, open)?;
            }
            transaction
                .prepare_cached(
                    "INSERT INTO meter (name, body) VALUES ('alive', ?1)
                     ON CONFLICT (name) DO UPDATE SET body = excluded.body",
                )?
                .execute([serde_json::to_string(look.alive)?])?;
            Ok(transaction.commit()?)
        })
    }

    /// Forgets single instances that ended before `instances`, and hours before `hours`.
    ///
    /// # Errors
    /// When the database fails.
    pub fn forget(&self, instances: Timestamp, hours: Timestamp) -> Result<()> {
        away_from_tasks(|| {
            let writer = self.writer();
            writer.execute("DELETE FROM instances WHERE ended < ?1", [instances.timestamp_millis()])?;
            writer.execute("DELETE FROM hours WHERE time < ?1", [hours.timestamp().div_euclid(3600)])?;
            Ok(())
        })
    }

    /// Single instances of some subjects that ended in a time, the newest first, at most so many.
    ///
    /// # Errors
    /// When the database fails.
    pub fn ended(
        &self,
        (from, to): (Timestamp, Timestamp),
        is_meant: impl Fn(SubjectId) -> bool,
        most: usize,
    ) -> Result<Vec<Ended>> {
        away_from_tasks(|| {
            let reader = self.reader();
            let mut statement = reader.prepare_cached(
                "SELECT id, subject, started, ended, active, boosted, requests FROM instances
             WHERE ended >= ?1 AND ended < ?2 ORDER BY ended DESC, id",
            )?;
            let time = |millis: i64| Timestamp::from_timestamp_millis(millis).unwrap_or_default();
            let rows = statement.query_map([from.timestamp_millis(), to.timestamp_millis()], |row| {
                Ok(Ended {
                    id: InstanceId::new(row.get::<_, String>(0)?),
                    subject: row.get(1)?,
                    started: time(row.get(2)?),
                    ended: time(row.get(3)?),
                    used: Used { active: row.get(4)?, boosted: row.get(5)?, requests: row.get(6)? },
                })
            })?;
            let meant = |row: &rusqlite::Result<Ended>| row.as_ref().map_or(true, |ended| is_meant(ended.subject));
            rows.filter(meant).take(most).map(|row| Ok(row?)).collect()
        })
    }

    /// Gives what was forgotten back to the file system. Takes long, and as much room again meanwhile.
    ///
    /// # Errors
    /// When the database fails.
    #[cfg(feature = "bench")]
    pub fn compact(&self) -> Result<()> {
        let writer = self.writer();
        Ok(writer.execute_batch("VACUUM; PRAGMA wal_checkpoint(TRUNCATE);")?)
    }

    /// The rows of a roll-up that begin in a time.
    ///
    /// # Errors
    /// When the database fails.
    pub fn rows(&self, grain: Grain, (from, to): (Timestamp, Timestamp), rows: &mut Vec<Row>) -> Result<()> {
        let length = grain.seconds();
        let first = from.timestamp().div_euclid(length) + i64::from(from.timestamp().rem_euclid(length) != 0);
        let end = to.timestamp().div_euclid(length) + i64::from(to.timestamp().rem_euclid(length) != 0);
        away_from_tasks(|| {
            let reader = self.reader();
            let mut statement = reader.prepare_cached(&format!(
            "SELECT time, subject, active, boosted, idle, requests, starts, peak FROM {} WHERE time >= ?1 AND time < ?2",
            grain.table()
        ))?;
            let found = statement.query_map([first, end], |row| {
                let sum = Sum { active: row.get(2)?, boosted: row.get(3)?, idle: row.get(4)?, requests: row.get(5)? };
                let time = Timestamp::from_timestamp(row.get::<_, i64>(0)? * length, 0).unwrap_or_default();
                Ok(Row {
                    time,
                    length: TimeDelta::seconds(length),
                    subject: row.get(1)?,
                    sum,
                    starts: row.get(6)?,
                    peak: row.get(7)?,
                })
            })?;
            found.into_iter().try_for_each(|row| {
                rows.push(row?);
                Ok(())
            })
        })
    }

    fn writer(&self) -> MutexGuard<'_, Connection> {
        // A panic inside a transaction has rolled it back, so the connection is fit for use.
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reader(&self) -> MutexGuard<'_, Connection> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn subjects(&self) -> MutexGuard<'_, Subjects> {
        self.subjects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn add(transaction: &Transaction<'_>, grain: Grain, time: i64, delta: &Delta) -> Result<()> {
    let table = grain.table();
    transaction
        .prepare_cached(&format!(
            "INSERT INTO {table} (time, subject, active, boosted, idle, requests, starts, peak)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
             ON CONFLICT (time, subject) DO UPDATE SET
                 active = {table}.active + excluded.active, boosted = {table}.boosted + excluded.boosted,
                 idle = {table}.idle + excluded.idle, requests = {table}.requests + excluded.requests,
                 starts = {table}.starts + excluded.starts,
                 peak = CASE WHEN {table}.peak > excluded.peak THEN {table}.peak ELSE excluded.peak END"
        ))?
        .execute(params![
            time,
            delta.subject,
            delta.active,
            delta.boosted,
            delta.idle,
            delta.requests,
            delta.starts,
            delta.peak
        ])?;
    Ok(())
}

fn put(transaction: &Transaction<'_>, id: &InstanceId, open: &Open) -> Result<()> {
    let Some(ended) = open.life.ended() else {
        transaction
            .prepare_cached(
                "INSERT INTO open_instances (id, body) VALUES (?1, ?2)
                 ON CONFLICT (id) DO UPDATE SET body = excluded.body",
            )?
            .execute(params![id.as_str(), serde_json::to_string(open)?])?;
        return Ok(());
    };
    let Used { active, boosted, requests } = open.life.used(ended);
    let length = i64::try_from(ended.since(open.life.started())).unwrap_or(0);
    transaction.prepare_cached("DELETE FROM open_instances WHERE id = ?1")?.execute([id.as_str()])?;
    transaction
        .prepare_cached(
            "INSERT INTO instances (id, subject, started, ended, active, boosted, requests)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![
            id.as_str(),
            open.subject,
            open.started.timestamp_millis(),
            open.started.timestamp_millis() + length,
            active,
            boosted,
            requests
        ])?;
    Ok(())
}
