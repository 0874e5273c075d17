//! Reading logs, page by page.
//!
//! Files are opened in the order of the page, and only while one can still hold an entry that belongs on
//! it; what is kept in memory is one page and one file.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use chrono::{DateTime, TimeDelta, Utc};
use homerun_api::logging::LogEntry;
use homerun_model::names::{ProjectId, ServiceKey};

use super::entry;
use super::filter::{Filter, Known};
use super::segment::{self, Segment};
use super::writer::nanos;
use crate::config::LogsConfig;

/// Most bytes of a page, as they are in files. A larger entry is a page of its own.
const PAGE_BYTES: usize = 8 << 20;

/// What a page is to hold.
#[derive(Debug, Clone)]
pub struct Query {
    /// Whose entries.
    pub projects: Vec<ProjectId>,
    /// Which of them.
    pub filter: Filter,
    /// Whether the newest come first.
    pub newest_first: bool,
    /// Where the page before ended.
    pub after: Option<Position>,
    /// Most entries.
    pub limit: usize,
    /// Bytes read after which the page ends early rather than being filled.
    pub scan_bytes: u64,
}

/// A place between two entries: behind the one with this time and id, whether there is one or not.
/// Entries are ordered by `timestamp`, and by `insertId` where that is the same.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Nanoseconds since 1970.
    pub timestamp: i64,
    /// The id.
    pub insert_id: String,
}

/// A page.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// Its entries in order.
    pub entries: Vec<LogEntry>,
    /// Where the next one begins, if there may be one.
    pub next: Option<Position>,
}

/// Reads a page. Blocks on files.
///
/// # Errors
/// When a file cannot be read.
pub fn page(dir: &Path, config: &LogsConfig, query: &Query, now: DateTime<Utc>) -> io::Result<Page> {
    let oldest = now - TimeDelta::days(config.retention_days.get().into());
    let order = Order { newest_first: query.newest_first };
    let mut sources = sources(dir, query, oldest)?;
    sources.sort_by_cached_key(|source| order.key(source.bound(order)));
    let mut best = Best { order, limit: query.limit.max(1), entries: BTreeMap::new(), bytes: 0, end: None };
    let mut scanned = 0;
    for source in &sources {
        let bound = source.bound(order);
        if best.end.as_ref().is_some_and(|end| order.before(end, &bound)) {
            break;
        }
        // A break must be behind where this page began, else the next page would begin there again.
        let progress = query.after.as_ref().is_none_or(|after| order.before(after, &bound));
        if scanned >= query.scan_bytes && progress {
            return Ok(best.cut(bound));
        }
        scanned += source.segment.size;
        source.read(dir, query, oldest, &mut best)?;
    }
    Ok(best.page())
}

/// The order of a page.
#[derive(Debug, Clone, Copy)]
struct Order {
    newest_first: bool,
}

impl Order {
    /// Whether `one` comes before `other`.
    fn before(self, one: &Position, other: &Position) -> bool {
        if self.newest_first { one > other } else { one < other }
    }

    /// A key by which positions are sorted in this order.
    fn key(self, position: Position) -> (Option<Reverse<Position>>, Option<Position>) {
        if self.newest_first { (Some(Reverse(position)), None) } else { (None, Some(position)) }
    }
}

/// The entries that belong on the page as far as is known.
struct Best {
    order: Order,
    limit: usize,
    entries: BTreeMap<Position, (LogEntry, usize)>,
    /// Of `entries`, as they are in files.
    bytes: usize,
    /// The first entry that found no place.
    end: Option<Position>,
}

impl Best {
    fn offer(&mut self, position: Position, entry: LogEntry, size: usize) {
        if self.end.as_ref().is_some_and(|end| !self.order.before(&position, end)) {
            return;
        }
        // Entries of one time and one id are one: a program that names its entries may repeat itself.
        if let Some((_, same)) = self.entries.insert(position, (entry, size)) {
            self.bytes -= same;
        }
        self.bytes += size;
        while self.entries.len() > self.limit || (self.bytes > PAGE_BYTES && self.entries.len() > 1) {
            let last = if self.order.newest_first { self.entries.pop_first() } else { self.entries.pop_last() };
            let Some((position, (_, size))) = last else { return };
            self.bytes -= size;
            self.end = Some(position);
        }
    }

    /// The page, where every file that matters has been read.
    fn page(self) -> Page {
        let last = if self.order.newest_first { self.entries.first_key_value() } else { self.entries.last_key_value() };
        let next = self.end.and(last.map(|(position, _)| position.clone()));
        Page { entries: in_order(self.order, self.entries), next }
    }

    /// The page, where what comes behind `bound` has not been looked for.
    fn cut(mut self, bound: Position) -> Page {
        self.entries.retain(|position, _| self.order.before(position, &bound));
        Page { entries: in_order(self.order, self.entries), next: Some(bound) }
    }
}

fn in_order(order: Order, entries: BTreeMap<Position, (LogEntry, usize)>) -> Vec<LogEntry> {
    let entries = entries.into_values().map(|(entry, _)| entry);
    if order.newest_first { entries.rev().collect() } else { entries.collect() }
}

/// A file that may hold entries of the page.
struct Source {
    service: ServiceKey,
    segment: Segment,
}

/// The files that may hold entries that the query asks for, by all that can be told from outside.
fn sources(dir: &Path, query: &Query, oldest: DateTime<Utc>) -> io::Result<Vec<Source>> {
    let mut sources = Vec::new();
    for project in &query.projects {
        for service in segment::services(dir, Some(project))? {
            let mut resource = entry::blank("", None, DateTime::UNIX_EPOCH);
            entry::complete(&mut resource, &service);
            let known = Known { resource: &resource, timestamp: (None, None), receive_timestamp: (None, None) };
            if !query.filter.may_match(&known) {
                continue;
            }
            let segments = segment::list(&segment::folder(dir, &service))?.into_iter();
            let wanted = segments.filter(|segment| {
                let at = DateTime::from_timestamp_nanos;
                let known = Known {
                    resource: &resource,
                    timestamp: (segment.from().map(at), Some(at(segment.to()))),
                    receive_timestamp: (Some(at(segment.first)), Some(at(segment.last_received()))),
                };
                let passed = query.after.as_ref().is_some_and(|after| match query.newest_first {
                    true => segment.from().is_some_and(|from| from > after.timestamp),
                    false => segment.to() < after.timestamp,
                });
                !passed && segment.last_received() >= nanos(oldest) && query.filter.may_match(&known)
            });
            sources.extend(wanted.map(|segment| Source { service: service.clone(), segment }));
        }
    }
    Ok(sources)
}

impl Source {
    /// A place that none of the file's entries comes before.
    fn bound(&self, order: Order) -> Position {
        if order.newest_first {
            Position { timestamp: self.segment.to(), insert_id: char::MAX.to_string() }
        } else {
            Position { timestamp: self.segment.from().unwrap_or(0), insert_id: String::new() }
        }
    }

    fn read(&self, dir: &Path, query: &Query, oldest: DateTime<Utc>, best: &mut Best) -> io::Result<()> {
        for line in self.content(dir)?.split(|byte| *byte == b'\n') {
            // What a crash has left of a line is passed over.
            let Ok(mut entry) = serde_json::from_slice::<LogEntry>(line) else { continue };
            if entry.receive_timestamp < oldest {
                continue;
            }
            let position = Position { timestamp: nanos(entry.timestamp), insert_id: entry.insert_id.clone() };
            if query.after.as_ref().is_some_and(|after| !best.order.before(after, &position)) {
                continue;
            }
            entry::complete(&mut entry, &self.service);
            if query.filter.matches(&entry) {
                best.offer(position, entry, line.len());
            }
        }
        Ok(())
    }

    /// The file's bytes; none if it has been removed since it was listed.
    fn content(&self, dir: &Path) -> io::Result<Vec<u8>> {
        let missing = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
        match std::fs::read(&self.segment.path) {
            Err(error) if missing(&error) => {}
            content => return content,
        }
        // It may have been turned.
        let segments = segment::list(&segment::folder(dir, &self.service))?;
        let Some(turned) = segments.into_iter().find(|segment| segment.first == self.segment.first) else {
            return Ok(Vec::new());
        };
        match std::fs::read(&turned.path) {
            Err(error) if missing(&error) => Ok(Vec::new()),
            content => content,
        }
    }
}
