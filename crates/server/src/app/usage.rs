//! Usage and what it costs.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::sync::Arc;

use chrono::{Datelike as _, NaiveDate, TimeDelta};
use homerun_api::error::ApiError;
use homerun_model::Timestamp;
use homerun_model::billing::prices::{Sku, Sum};
use homerun_model::billing::report::{Dimension, Line, Query, Row, report};
use homerun_model::billing::{Delta, Moment, Money, Subject, SubjectId};
use homerun_model::names::{ProjectId, Region, RevisionName, ServiceKey, ServiceName};
use homerun_model::violation::Violation;

use super::stored;
use crate::platform::Platform;
use crate::store::{Ended, Grain, StoreError};

/// What reading usage needs.
pub const READ: &str = "homerun.usage.get";

/// Whose usage.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    /// One project's; every project's without.
    pub project: Option<ProjectId>,
    /// One service's.
    pub service: Option<ServiceName>,
    /// One region's.
    pub region: Option<Region>,
}

impl Scope {
    /// Whether everybody's usage is meant.
    pub fn is_everything(&self) -> bool {
        self.project.is_none() && self.service.is_none() && self.region.is_none()
    }

    /// Whether a subject's usage is meant.
    pub fn has(&self, subject: &Subject) -> bool {
        self.project.as_ref().is_none_or(|project| *project == subject.project)
            && self.service.as_ref().is_none_or(|service| *service == subject.service)
            && self.region.as_ref().is_none_or(|region| *region == subject.region)
    }
}

/// A report.
#[derive(Debug)]
pub struct Usage {
    /// What was asked for, its times made whole hours.
    pub query: Query,
    /// The lines.
    pub lines: Vec<Line>,
    /// Free usage.
    pub credits: Vec<Credit>,
    /// What the reader should know.
    pub notes: Vec<String>,
}

/// Free usage of one month.
#[derive(Debug)]
pub struct Credit {
    /// The month's first day.
    pub month: Timestamp,
    /// What was free.
    pub sku: Sku,
    /// How much of it, in parts of a unit.
    pub amount: u128,
    /// What that is worth.
    pub cost: Money,
}

/// The subjects by number.
pub type Subjects = BTreeMap<SubjectId, Arc<Subject>>;

/// The time that is asked about; without words it is this month until now.
///
/// # Errors
/// `InvalidArgument` at `from`.
pub fn period(
    from: Option<Timestamp>,
    to: Option<Timestamp>,
    now: Timestamp,
) -> Result<(Timestamp, Timestamp), ApiError> {
    let (from, to) = (from.unwrap_or_else(|| first_of_month(now)), to.unwrap_or(now));
    let wrong = |message: &str| Err(ApiError::InvalidArgument(vec![Violation::new("from", message)]));
    if from >= to {
        return wrong("must be before 'to'.");
    }
    if from > now {
        return wrong("lies in the future; nothing has been used then.");
    }
    Ok((from, to))
}

/// A day's first moment (UTC), and what each service cost on it. Services of one name in several regions are told apart
/// by their region, as in `api (europe-west1)`.
pub type DayCosts = (Timestamp, BTreeMap<String, Money>);

/// What each service cost on each day of a time, days with usage only, in the order of time.
///
/// # Errors
/// When the store fails.
pub fn cost_series(
    platform: &Platform,
    scope: &Scope,
    (from, to): (Timestamp, Timestamp),
) -> Result<Vec<DayCosts>, ApiError> {
    let by = vec![Dimension::Day, Dimension::Region, Dimension::Service];
    Ok(by_day(&usage(platform, scope, Query { from, to, by })?.lines))
}

/// Lines by day, region and service as the costs of each day.
fn by_day(lines: &[Line]) -> Vec<DayCosts> {
    let mut regions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for line in lines {
        if let [_, region, service] = line.key.as_slice() {
            regions.entry(service).or_default().insert(region);
        }
    }
    let mut days: BTreeMap<Timestamp, BTreeMap<String, Money>> = BTreeMap::new();
    for line in lines {
        let [day, region, service] = line.key.as_slice() else { continue };
        let day = NaiveDate::parse_from_str(day, "%Y-%m-%d").ok().and_then(|day| day.and_hms_opt(0, 0, 0));
        let Some(day) = day else { continue };
        let several = regions.get(service.as_str()).is_some_and(|regions| regions.len() > 1);
        let label = if several { format!("{service} ({region})") } else { service.clone() };
        *days.entry(day.and_utc()).or_default().entry(label).or_default() += line.cost;
    }
    days.into_iter().collect()
}

/// Makes a report.
///
/// # Errors
/// When the store fails.
pub fn usage(platform: &Platform, scope: &Scope, query: Query) -> Result<Usage, ApiError> {
    let now = platform.clock.now();
    let query = Query { from: hour(query.from), to: up(query.to).min(now), ..query };
    let by_hour = query.by.contains(&Dimension::Hour);
    let subjects = platform.meter.store().all_subjects();
    let mut rows = rows(platform, (query.from, query.to), by_hour).map_err(unread)?;
    rows.retain(|row| subjects.get(&row.subject).is_some_and(|subject| scope.has(subject)));
    let serves = |subject: &Subject| serves(platform, subject);
    let lookup = |id: SubjectId| subjects.get(&id).map(|subject| &**subject);
    let lines = report(&query, &platform.prices, rows, (lookup, serves));
    let everything = scope.is_everything();
    let credits =
        if platform.config.usage.free_tier && everything { credits(platform, &query, &subjects)? } else { Vec::new() };
    let notes = notes(platform, &query, &lines, by_hour, everything);
    Ok(Usage { query, lines, credits, notes })
}

/// The store's failure as the caller is told it.
pub fn unread(error: StoreError) -> ApiError {
    stored(error, "Usage", "records")
}

fn hour(time: Timestamp) -> Timestamp {
    floor(time, Grain::Hour.seconds())
}

fn up(time: Timestamp) -> Timestamp {
    let floor = hour(time);
    if floor == time { time } else { floor + TimeDelta::hours(1) }
}

/// The last moment until `time` that is a whole number of so many seconds since 1970.
pub fn floor(time: Timestamp, seconds: i64) -> Timestamp {
    Timestamp::from_timestamp(time.timestamp().div_euclid(seconds) * seconds, 0).unwrap_or(time)
}

/// What was used in a time, whole days by their roll-ups where hours are not asked for, and what has not been rolled up.
///
/// # Errors
/// When the store fails.
pub fn rows(platform: &Platform, time: (Timestamp, Timestamp), by_hour: bool) -> Result<Vec<Row>, StoreError> {
    // What is rolled up in between would be in neither.
    for _ in 0..READS {
        let written = platform.meter.written();
        let mut rows = written_rows(platform, time, by_hour)?;
        rows.extend(pending_rows(platform, time));
        if platform.meter.written() == written {
            return Ok(rows);
        }
    }
    // Where something ends all the time: what is read first may be in both.
    let mut rows = pending_rows(platform, time);
    rows.extend(written_rows(platform, time, by_hour)?);
    Ok(rows)
}

/// How often the roll-ups are read in the hope that nothing is written meanwhile.
const READS: u32 = 5;

fn written_rows(
    platform: &Platform,
    (from, to): (Timestamp, Timestamp),
    by_hour: bool,
) -> Result<Vec<Row>, StoreError> {
    let mut rows = Vec::new();
    let day = Grain::Day.seconds();
    let first = floor(from + TimeDelta::seconds(day - 1), day);
    let last = floor(to, day);
    let parts = match by_hour || first >= last {
        true => vec![(Grain::Hour, (from, to))],
        false => vec![(Grain::Hour, (from, first)), (Grain::Day, (first, last)), (Grain::Hour, (last, to))],
    };
    for (grain, time) in parts.into_iter().filter(|(_, (from, to))| from < to) {
        platform.meter.store().rows(grain, time, &mut rows)?;
    }
    Ok(rows)
}

fn pending_rows(platform: &Platform, (from, to): (Timestamp, Timestamp)) -> Vec<Row> {
    let now = platform.clock.now();
    let pending = platform.meter.pending(Moment { wall: now, steady: platform.clock.steady() });
    let count = |number: i64| u64::try_from(number).unwrap_or(0);
    let row = |delta: &Delta| {
        let time = Timestamp::from_timestamp(delta.hour * 3600, 0)?;
        let sum = Sum {
            active: count(delta.active),
            boosted: count(delta.boosted),
            idle: count(delta.idle),
            requests: count(delta.requests),
        };
        let row = Row {
            time,
            length: TimeDelta::hours(1),
            subject: delta.subject,
            sum,
            starts: count(delta.starts),
            peak: count(delta.peak),
        };
        (time >= from && time < to).then_some(row)
    };
    pending.iter().filter_map(row).collect()
}

/// Since when there are roll-ups by hour.
pub fn hours_since(platform: &Platform) -> Timestamp {
    days_ago(platform.clock.now(), platform.config.usage.hour_days)
}

/// So many days ago; the beginning of time for very many.
pub fn days_ago(now: Timestamp, days: NonZeroU32) -> Timestamp {
    now.checked_sub_signed(TimeDelta::days(days.get().into()))
        .unwrap_or(Timestamp::UNIX_EPOCH)
        .max(Timestamp::UNIX_EPOCH)
}

/// Whether a subject's revision gets requests.
fn serves(platform: &Platform, subject: &Subject) -> bool {
    let key =
        ServiceKey { project: subject.project.clone(), region: subject.region.clone(), name: subject.service.clone() };
    let service = platform.store.service(&key).ok().flatten().map(|stored| stored.value);
    let gets = |name: &RevisionName| *name == subject.revision;
    service.is_some_and(|service| {
        service.deleted_at.is_none() && service.status.traffic.iter().any(|t| t.percent > 0 && gets(&t.revision))
    })
}

fn notes(platform: &Platform, query: &Query, lines: &[Line], by_hour: bool, everything: bool) -> Vec<String> {
    let mut notes = Vec::new();
    let items = lines.iter().flat_map(|line| &line.items);
    let mut unpriced: Vec<String> = items.filter(|item| item.rate.is_none()).map(|item| item.sku.to_string()).collect();
    unpriced.sort();
    unpriced.dedup();
    if !unpriced.is_empty() {
        notes.push(format!(
            "The price list has no price for {} there and then: it counts as nothing.",
            unpriced.join(", ")
        ));
    }
    let needs_hours = by_hour || floor(query.from, Grain::Day.seconds()) != query.from;
    if needs_hours && query.from < hours_since(platform) {
        let days = platform.config.usage.hour_days;
        notes.push(format!("Single hours are kept for {days} days; what is older is there by whole days (UTC) only."));
    }
    if platform.config.usage.free_tier && !everything {
        notes.push("Free usage is that of all projects together, and not taken off here.".to_owned());
    }
    if platform.backend.devices().iter().any(|gpu| gpu.simulated) {
        notes.push("GPUs of this machine are simulated; their time is counted like that of real ones.".to_owned());
    }
    notes
}

/// Free usage of the months that a report touches: a discount, used up in the order of time.
fn credits(platform: &Platform, query: &Query, subjects: &Subjects) -> Result<Vec<Credit>, ApiError> {
    let mut credits = Vec::new();
    let mut month = first_of_month(query.from);
    while month < query.to {
        let next = next_month(month);
        let (begin, end) = (query.from.max(month), query.to.min(next));
        let before = spent(platform, (month, begin), subjects)?;
        let until = spent(platform, (month, end), subjects)?;
        for free in &platform.prices.list().free {
            let worth = free.price.cost(u128::from(free.units), 1);
            let used = |spent: &BTreeMap<Sku, Money>| spent.get(&free.sku).copied().unwrap_or_default().min(worth);
            let cost = used(&until) - used(&before);
            if cost > Money::default() {
                let picos = u128::try_from(cost.0).unwrap_or(0) * 1000;
                let amount = picos * free.sku.per() / u128::from(free.price.0.max(1));
                credits.push(Credit { month, sku: free.sku.clone(), amount, cost });
            }
        }
        month = next;
    }
    Ok(credits)
}

fn spent(
    platform: &Platform,
    (from, to): (Timestamp, Timestamp),
    subjects: &Subjects,
) -> Result<BTreeMap<Sku, Money>, ApiError> {
    if from >= to {
        return Ok(BTreeMap::new());
    }
    let query = Query { from, to, by: Vec::new() };
    let rows = rows(platform, (from, to), false).map_err(unread)?;
    let lookup = |id: SubjectId| subjects.get(&id).map(|subject| &**subject);
    let lines = report(&query, &platform.prices, rows, (lookup, |_: &Subject| false));
    let mut spent = BTreeMap::new();
    for item in lines.into_iter().flat_map(|line| line.items) {
        *spent.entry(item.sku).or_default() += item.cost;
    }
    Ok(spent)
}

/// The first moment of a month.
pub fn first_of_month(time: Timestamp) -> Timestamp {
    let first = time.date_naive().with_day(1).and_then(|day| day.and_hms_opt(0, 0, 0));
    first.map_or(time, |first| first.and_utc())
}

/// The first moment of the month after.
pub fn next_month(month: Timestamp) -> Timestamp {
    first_of_month(first_of_month(month) + TimeDelta::days(32))
}

/// Instances that ended in a time, the newest first, at most so many.
///
/// # Errors
/// When the store fails.
pub fn instances(
    platform: &Platform,
    scope: &Scope,
    time: (Timestamp, Timestamp),
    most: usize,
) -> Result<Vec<(Arc<Subject>, Ended)>, ApiError> {
    let subjects = platform.meter.store().all_subjects();
    let is_meant = |id: SubjectId| subjects.get(&id).is_some_and(|subject| scope.has(subject));
    let ended = platform.meter.store().ended(time, is_meant, most).map_err(unread)?;
    Ok(ended.into_iter().filter_map(|ended| Some((subjects.get(&ended.subject)?.clone(), ended))).collect())
}

/// What the usage of a time costs, by subject.
///
/// # Errors
/// When the store fails.
pub fn costs(
    platform: &Platform,
    (from, to): (Timestamp, Timestamp),
) -> Result<Vec<(Arc<Subject>, Money)>, StoreError> {
    let subjects = platform.meter.store().all_subjects();
    let mut by_subject: BTreeMap<SubjectId, Vec<Row>> = BTreeMap::new();
    for row in rows(platform, (from, to), false)? {
        by_subject.entry(row.subject).or_default().push(row);
    }
    let query = Query { from, to, by: Vec::new() };
    let cost = |(id, rows): (SubjectId, Vec<Row>)| {
        let subject = subjects.get(&id)?.clone();
        let lines = report(&query, &platform.prices, rows, (|_| Some(&*subject), |_: &Subject| false));
        let cost = lines.iter().map(|line| line.cost).sum();
        Some((subject.clone(), cost))
    };
    Ok(by_subject.into_iter().filter_map(cost).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn g24_services_of_one_name_in_two_regions_are_two_series() {
        let line = |day: &str, region: &str, service: &str, cost| Line {
            key: [day, region, service].map(str::to_owned).to_vec(),
            cost: Money(cost),
            ..Line::default()
        };
        let lines = [
            line("2026-11-25", "here", "api", 1),
            line("2026-11-26", "there", "api", 2),
            line("2026-11-26", "here", "web", 4),
        ];
        let days = by_day(&lines);
        let told: Vec<Vec<(&str, i128)>> =
            days.iter().map(|(_, costs)| costs.iter().map(|(name, cost)| (name.as_str(), cost.0)).collect()).collect();
        assert_eq!(told, [vec![("api (here)", 1)], vec![("api (there)", 2), ("web", 4)]]);
    }
}
