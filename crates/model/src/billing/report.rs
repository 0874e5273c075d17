//! Reports: usage and its cost, grouped.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use chrono::{NaiveDate, TimeDelta};

use super::money::{Money, Rate};
use super::prices::{Prices, Sku, Sum, sold};
use super::{Billing, Subject, SubjectId, steps};
use crate::Timestamp;
use crate::names::{ProjectId, Region, RevisionName};

/// What lines are made by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dimension {
    /// The project.
    Project,
    /// The region.
    Region,
    /// The service.
    Service,
    /// The revision.
    Revision,
    /// The value of a label.
    Label(String),
    /// The SKU.
    Sku,
    /// The day, UTC.
    Day,
    /// The hour, UTC.
    Hour,
}

impl fmt::Display for Dimension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Label(key) => return write!(f, "label:{key}"),
            Self::Project => "project",
            Self::Region => "region",
            Self::Service => "service",
            Self::Revision => "revision",
            Self::Sku => "sku",
            Self::Day => "day",
            Self::Hour => "hour",
        })
    }
}

impl FromStr for Dimension {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(key) = text.strip_prefix("label:").filter(|key| !key.is_empty()) {
            return Ok(Self::Label(key.to_owned()));
        }
        let all = [Self::Project, Self::Region, Self::Service, Self::Revision, Self::Sku, Self::Day, Self::Hour];
        all.into_iter().find(|dimension| dimension.to_string() == text).ok_or_else(|| {
            format!("by: '{text}' is unknown; it must be one of project, region, service, revision, label:KEY, sku, day, hour")
        })
    }
}

impl Dimension {
    fn value(&self, subject: &Subject, time: Timestamp, sku: &Sku) -> String {
        match self {
            Self::Project => subject.project.to_string(),
            Self::Region => subject.region.to_string(),
            Self::Service => subject.service.to_string(),
            Self::Revision => subject.revision.to_string(),
            Self::Label(key) => subject.labels.get(key).cloned().unwrap_or_default(),
            Self::Sku => sku.to_string(),
            Self::Day => time.format("%Y-%m-%d").to_string(),
            Self::Hour => time.format("%Y-%m-%dT%H:00Z").to_string(),
        }
    }
}

/// What a subject used in an hour or on a day.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// When that began.
    pub time: Timestamp,
    /// How long it is.
    pub length: TimeDelta,
    /// Whose it is.
    pub subject: SubjectId,
    /// What it is billed for.
    pub sum: Sum,
    /// Instances that started.
    pub starts: u64,
    /// Most instances at the same time.
    pub peak: u64,
}

/// What is reported.
#[derive(Debug, Clone)]
pub struct Query {
    /// The first moment.
    pub from: Timestamp,
    /// The first moment after it; never later than now.
    pub to: Timestamp,
    /// What lines are made by, in this order.
    pub by: Vec<Dimension>,
}

/// Something that was sold, at one price.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// What.
    pub sku: Sku,
    /// How much, in parts of a unit.
    pub amount: u128,
    /// What a unit costs; `None` where the price list does not say.
    pub rate: Option<Rate>,
    /// What it costs; nothing where there is no price.
    pub cost: Money,
}

/// One line of a report.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Line {
    /// A value for each dimension.
    pub key: Vec<String>,
    /// What was sold.
    pub items: Vec<Item>,
    /// What all of it costs.
    pub cost: Money,
    /// What it would have cost if the most instances that ran at the same time had always run: from a revision's
    /// first use in the period to its last, or to the period's end where it still serves.
    pub always_on: Money,
    /// Instances that started.
    pub starts: u64,
    /// Requests, whether they cost something or not.
    pub requests: u64,
}

/// What a subject has used at the same prices and, where lines are made by time, in the same time.
struct Part {
    time: Timestamp,
    sum: Sum,
    starts: u64,
}

/// When a revision was used, and how many instances it had at most. Its subjects differ by labels.
struct Span {
    latest: SubjectId,
    first: Timestamp,
    last: Timestamp,
    peak: u64,
}

/// Makes a report of rows. `subject` knows the subjects, `serves` says whether one of them
/// still serves. Lines are in the order of their keys.
pub fn report<'a>(
    query: &Query,
    prices: &Prices,
    rows: impl IntoIterator<Item = Row>,
    (subject, serves): (impl Fn(SubjectId) -> Option<&'a Subject>, impl Fn(&Subject) -> bool),
) -> Vec<Line> {
    let mut parts: BTreeMap<(SubjectId, i64, NaiveDate), Part> = BTreeMap::new();
    let mut spans: BTreeMap<(&ProjectId, &Region, &RevisionName), Span> = BTreeMap::new();
    for row in rows {
        let time = bucket(&query.by, row.time);
        let epoch = prices.epoch(row.time.date_naive());
        let part =
            parts.entry((row.subject, time, epoch)).or_insert(Part { time: row.time, sum: Sum::default(), starts: 0 });
        part.sum.active += row.sum.active;
        part.sum.boosted += row.sum.boosted;
        part.sum.idle += row.sum.idle;
        part.sum.requests += row.sum.requests;
        part.starts += row.starts;
        let Some(of) = subject(row.subject) else { continue };
        let (end, latest) = (row.time + row.length, row.subject);
        let key = (&of.project, &of.region, &of.revision);
        let span = spans.entry(key).or_insert(Span { latest, first: row.time, last: end, peak: 0 });
        span.first = span.first.min(row.time);
        span.last = span.last.max(end);
        span.latest = span.latest.max(latest);
        span.peak = span.peak.max(row.peak);
    }
    let mut lines: BTreeMap<Vec<String>, Line> = BTreeMap::new();
    for ((id, _, _), part) in &parts {
        let Some(subject) = subject(*id) else { continue };
        add(&mut lines, query, prices, subject, part);
    }
    if !query.by.iter().any(|by| matches!(by, Dimension::Sku | Dimension::Day | Dimension::Hour)) {
        for span in spans.values() {
            let Some(subject) = subject(span.latest) else { continue };
            let cost = always_on(query, prices, subject, span, serves(subject));
            let key = key(query, subject, span.first, &Sku::Requests);
            lines.entry(key).or_default().always_on += cost;
        }
    }
    let total = |(key, mut line): (Vec<String>, Line)| {
        for item in &mut line.items {
            item.cost = item.rate.map_or(Money::default(), |rate| rate.cost(item.amount, item.sku.per()));
        }
        let cost = line.items.iter().map(|item| item.cost).sum();
        Line { key, cost, ..line }
    };
    lines.into_iter().map(total).collect()
}

/// The time that a row belongs to where lines are made by time.
fn bucket(by: &[Dimension], time: Timestamp) -> i64 {
    let of = |dimension: &Dimension| match dimension {
        Dimension::Hour => time.timestamp().div_euclid(3600),
        Dimension::Day => time.timestamp().div_euclid(86_400),
        _ => 0,
    };
    by.iter().map(of).max().unwrap_or(0)
}

fn key(query: &Query, subject: &Subject, time: Timestamp, sku: &Sku) -> Vec<String> {
    query.by.iter().map(|dimension| dimension.value(subject, time, sku)).collect()
}

fn add(lines: &mut BTreeMap<Vec<String>, Line>, query: &Query, prices: &Prices, subject: &Subject, part: &Part) {
    let by_sku = query.by.contains(&Dimension::Sku);
    for (sku, amount) in sold(&subject.shape, &part.sum) {
        let rate = prices.rate(&sku, &subject.region, part.time.date_naive());
        let line = lines.entry(key(query, subject, part.time, &sku)).or_default();
        match line.items.iter_mut().find(|item| item.sku == sku && item.rate == rate) {
            Some(item) => item.amount += amount,
            None => line.items.push(Item { sku, amount, rate, cost: Money::default() }),
        }
    }
    // Counted once, not for each SKU.
    if !by_sku {
        let line = lines.entry(key(query, subject, part.time, &Sku::Requests)).or_default();
        line.starts += part.starts;
        line.requests += part.sum.requests;
    }
}

/// What a subject's most instances would have cost through its span, with instance-based billing, at the prices of the
/// span's end.
fn always_on(query: &Query, prices: &Prices, subject: &Subject, span: &Span, serves: bool) -> Money {
    let end = if serves { query.to } else { span.last.min(query.to) };
    let millis = (end - span.first.max(query.from)).num_milliseconds().max(0) as u64;
    let shape = super::Shape { billing: Billing::Instance, ..subject.shape.clone() };
    let sum = Sum { active: steps(millis) * span.peak, ..Sum::default() };
    let last = (end - TimeDelta::milliseconds(1)).date_naive();
    let cost = |(sku, amount): (Sku, u128)| prices.cost(&sku, &subject.region, last, amount).unwrap_or_default();
    sold(&shape, &sum).into_iter().map(cost).sum()
}
