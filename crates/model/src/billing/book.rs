//! The instances that are not billed to their end yet, and the deltas that are added to the roll-ups.
//!
//! Of each instance the book knows what it is billed for so far and how much of that has been rolled up already.
//! The difference is handed out at every full hour and when the instance ends. So the sum of what was handed out is
//! what its life amounts to, however often the book is read, written and read again, as long as what it hands out is
//! stored together with the book.

use std::collections::{BTreeMap, BTreeSet};

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

use super::{Billing, Change, Life, STEP_MILLIS, Served, Steady, SubjectId, Used};
use crate::Timestamp;
use crate::instance::SteadyStamps;
use crate::names::InstanceId;

/// A moment on both clocks: time is measured by the one, and belongs to the day of the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// What a calendar is made by. May be set at any time.
    pub wall: Timestamp,
    /// What lengths are measured by.
    pub steady: Steady,
}

impl Moment {
    /// The hour it belongs to, in hours since 1970.
    pub fn hour(self) -> i64 {
        self.wall.timestamp().div_euclid(3600)
    }

    /// The same moment `millis` earlier.
    fn earlier(self, millis: u64) -> Self {
        let wall = self.wall - TimeDelta::milliseconds(i64::try_from(millis).unwrap_or(0));
        Self { wall, steady: Steady(self.steady.0.saturating_sub(millis)) }
    }
}

/// What is seen of an instance.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sighting {
    /// When it reached the steps of its life.
    pub stamps: SteadyStamps,
    /// Whether nothing of it is left.
    pub over: bool,
    /// What it has served since it was last seen.
    pub served: Served,
}

/// An instance that is not rolled up to its end yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Open {
    /// Whom it is billed to.
    pub subject: SubjectId,
    /// When its first container started.
    pub started: Timestamp,
    /// Its life so far.
    pub life: Life,
    /// What has been rolled up.
    #[serde(default)]
    pub counted: Used,
    /// Whether its start has been rolled up.
    #[serde(default)]
    pub start_counted: bool,
}

/// What is to be added to a subject's roll-up of an hour.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Delta {
    /// Hours since 1970.
    pub hour: i64,
    /// Whom it is billed to.
    pub subject: SubjectId,
    /// Steps at the full rate.
    pub active: i64,
    /// Those of them with the startup CPU boost.
    pub boosted: i64,
    /// Steps at the idle rate.
    pub idle: i64,
    /// Requests.
    pub requests: i64,
    /// Instances that started.
    pub starts: i64,
    /// Most instances at the same time; the greatest counts.
    pub peak: i64,
}

/// How many instances a subject has, and had at most since that was last rolled up.
#[derive(Debug, Clone, Copy, Default)]
struct Count {
    now: i64,
    most: i64,
}

/// See the module's page.
#[derive(Debug, Default)]
pub struct Book {
    open: BTreeMap<InstanceId, Open>,
    /// Those of them that have changed since this was last asked.
    changed: BTreeSet<InstanceId>,
    counts: BTreeMap<SubjectId, Count>,
    /// Milliseconds at the idle rate that have not been rolled up.
    idle: BTreeMap<SubjectId, u64>,
    /// Until when everything that was due has been rolled up.
    rolled: Option<Moment>,
    /// When an earlier homerun was last known to run.
    before: Option<Steady>,
}

impl Book {
    /// The book as an earlier homerun left it at `alive`; of its instances, those in `present` are still known to the
    /// backend. The others ended at an unknown moment, and are billed until `alive`: nobody pays for time that nobody
    /// saw. Hands out what is due for them. `same_boot` says whether the machine has run ever since: else its clock
    /// that is never set has begun anew.
    pub fn resume(
        open: BTreeMap<InstanceId, Open>,
        (alive, same_boot): (Option<Moment>, bool),
        present: &BTreeSet<InstanceId>,
    ) -> (Self, Vec<Delta>) {
        let mut book = Self { rolled: alive, before: alive.map(|moment| moment.steady), ..Self::default() };
        for (id, instance) in open {
            book.count(instance.subject, 1);
            book.open.insert(id, instance);
        }
        let lost: Vec<InstanceId> = book.open.keys().filter(|id| !present.contains(*id)).cloned().collect();
        let Some(alive) = alive else { return (book, Vec::new()) };
        lost.iter().for_each(|id| book.note(id, Change::Ended, alive.steady));
        let deltas = book.roll(alive);
        if !same_boot {
            (book.rolled, book.before) = (None, None);
        }
        (book, deltas)
    }

    /// Whether it knows an instance.
    pub fn knows(&self, id: &InstanceId) -> bool {
        self.open.contains_key(id)
    }

    /// How many instances there are.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Puts in an instance whose first container started at `started`, unless it is known.
    pub fn begin(&mut self, id: InstanceId, subject: SubjectId, billing: Billing, started: Moment) {
        if self.knows(&id) {
            return;
        }
        self.count(subject, 1);
        self.changed.insert(id.clone());
        let life = Life::new(billing, started.steady);
        let counted = Used::default();
        self.open.insert(id, Open { subject, started: started.wall, life, counted, start_counted: false });
    }

    /// Takes in what is seen of an instance that is known.
    pub fn see(&mut self, id: &InstanceId, seen: &Sighting, now: Steady) {
        let Sighting { stamps, over, served } = *seen;
        if let Some(at) = stamps.ready {
            self.note(id, Change::Ready, at);
        }
        if served != Served::default() {
            self.note(id, Change::Served(served), now);
        }
        if let Some(at) = stamps.stopping {
            self.note(id, Change::Stopping, at);
        }
        if over {
            // Nobody pays for time that nobody saw.
            let seen = stamps.ended.or(self.before).or(stamps.stopping).or(stamps.ready).or(stamps.started);
            self.note(id, Change::Ended, seen.unwrap_or(now));
        }
    }

    /// Takes in time for which instances of a subject were kept by its minimum and had nothing to do, all of them
    /// together.
    pub fn idle(&mut self, subject: SubjectId, millis: u64) {
        *self.idle.entry(subject).or_default() += millis;
    }

    /// Whom an instance is billed to.
    pub fn subject(&self, id: &InstanceId) -> Option<SubjectId> {
        self.open.get(id).map(|open| open.subject)
    }

    /// Takes in one change.
    pub fn note(&mut self, id: &InstanceId, change: Change, at: Steady) {
        let Some(instance) = self.open.get_mut(id) else { return };
        let before = instance.life.clone();
        instance.life.note(change, at);
        if instance.life != before {
            self.changed.insert(id.clone());
        }
        if before.ended().is_none() && instance.life.ended().is_some() {
            let subject = instance.subject;
            self.count(subject, -1);
        }
    }

    fn count(&mut self, subject: SubjectId, change: i64) {
        let count = self.counts.entry(subject).or_default();
        count.now += change;
        count.most = count.most.max(count.now);
    }

    /// What is due until `now`: of all instances at each full hour since the last time, of those that have ended
    /// now.
    pub fn roll(&mut self, now: Moment) -> Vec<Delta> {
        let mut deltas = Vec::new();
        for boundary in boundaries(self.rolled, now) {
            let ids: Vec<InstanceId> = self.open.keys().cloned().collect();
            // The hour that ends there.
            let hour = boundary.hour() - 1;
            self.take(&ids, boundary.steady, hour, &mut deltas);
        }
        let ended = self.open.iter().filter(|(_, open)| open.life.ended().is_some()).map(|(id, _)| id.clone());
        let ended: Vec<InstanceId> = ended.collect();
        // To their end, whichever start of the machine that was in.
        self.take(&ended, Steady(u64::MAX), now.hour(), &mut deltas);
        self.take_idle(now.hour(), &mut deltas);
        self.rolled = Some(now);
        deltas
    }

    /// Whole steps; what is less is kept for the next time.
    fn take_idle(&mut self, hour: i64, deltas: &mut Vec<Delta>) {
        for (subject, millis) in &mut self.idle {
            let idle = (*millis / STEP_MILLIS) as i64;
            *millis %= STEP_MILLIS;
            if idle > 0 {
                deltas.push(Delta { hour, subject: *subject, idle, ..Delta::default() });
            }
        }
        self.idle.retain(|_, millis| *millis > 0);
    }

    fn take(&mut self, ids: &[InstanceId], at: Steady, hour: i64, deltas: &mut Vec<Delta>) {
        let mut sums: BTreeMap<SubjectId, Delta> = BTreeMap::new();
        for id in ids {
            let Some(open) = self.open.get_mut(id).filter(|open| open.life.started() < at) else { continue };
            let delta = open.due(at, hour);
            if delta != (Delta { hour, subject: open.subject, ..Delta::default() }) {
                add(&mut sums, delta);
                open.counted = open.life.used(at);
                open.start_counted = true;
                self.changed.insert(id.clone());
            }
        }
        for (subject, delta) in &mut sums {
            if let Some(count) = self.counts.get_mut(subject) {
                delta.peak = count.most;
                count.most = count.now;
            }
        }
        deltas.extend(sums.into_values());
    }

    /// What would be due if everything were rolled up at `now`.
    pub fn pending(&self, now: Moment) -> Vec<Delta> {
        let mut sums = BTreeMap::new();
        for open in self.open.values() {
            add(&mut sums, open.due(now.steady, now.hour()));
        }
        for (subject, delta) in &mut sums {
            delta.peak = self.counts.get(subject).map_or(0, |count| count.most);
        }
        sums.into_values().collect()
    }

    /// Instances that have changed since this was last asked; those that have ended are forgotten with it.
    pub fn take_changed(&mut self) -> Vec<(InstanceId, Open)> {
        let changed = std::mem::take(&mut self.changed);
        let rows: Vec<(InstanceId, Open)> =
            changed.into_iter().filter_map(|id| Some((id.clone(), self.open.get(&id)?.clone()))).collect();
        for (id, open) in rows.iter().filter(|(_, open)| open.life.ended().is_some()) {
            self.open.remove(id);
            if self.counts.get(&open.subject).is_some_and(|count| count.now == 0) {
                self.counts.remove(&open.subject);
            }
        }
        rows
    }
}

impl Book {
    /// Takes back what could not be written, to be asked for again.
    pub fn put_back(&mut self, rows: Vec<(InstanceId, Open)>) {
        for (id, open) in rows {
            self.changed.insert(id.clone());
            self.open.entry(id).or_insert(open);
        }
    }
}

impl Open {
    /// What has not been rolled up of it at `at`.
    fn due(&self, at: Steady, hour: i64) -> Delta {
        let (now, then) = (self.life.used(at), self.counted);
        let less = |now: u64, then: u64| now as i64 - then as i64;
        Delta {
            hour,
            subject: self.subject,
            active: less(now.active, then.active),
            boosted: less(now.boosted, then.boosted),
            idle: 0,
            requests: less(now.requests, then.requests),
            starts: i64::from(!self.start_counted),
            peak: 0,
        }
    }
}

fn add(sums: &mut BTreeMap<SubjectId, Delta>, delta: Delta) {
    let empty = Delta { hour: delta.hour, subject: delta.subject, ..Delta::default() };
    let sum = sums.entry(delta.subject).or_insert(empty);
    sum.active += delta.active;
    sum.boosted += delta.boosted;
    sum.requests += delta.requests;
    sum.starts += delta.starts;
}

/// The full hours between two moments, as today's calendar has them: those that lie further back than time has
/// really passed are not among them, so that a clock that was set makes no hour twice as long.
fn boundaries(last: Option<Moment>, now: Moment) -> Vec<Moment> {
    const HOUR: u64 = 3_600_000;
    let Some(last) = last else { return Vec::new() };
    let passed = now.steady.since(last.steady);
    let into = now.wall.timestamp_millis().rem_euclid(HOUR as i64) as u64;
    let mut back: Vec<u64> = (0..).map(|hours| into + hours * HOUR).take_while(|back| *back < passed).collect();
    back.reverse();
    back.into_iter().map(|back| now.earlier(back)).collect()
}
