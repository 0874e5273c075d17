//! The files of a service's log: `LOGS/PROJECT/REGION/SERVICE/FIRST.jsonl` is being written, and
//! `FIRST-LAST-FROM-TO.jsonl` is complete. FIRST and LAST are when its first and last entry were
//! received, FROM and TO the least and greatest `timestamp`, each in nanoseconds since 1970. So a reader
//! knows by their names which files it need not open.

use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use homerun_model::names::{ProjectId, Region, ServiceKey, ServiceName};

/// How far the time that a file system gives a file may lag behind, in nanoseconds.
const CLOCK_TICK: i64 = 1_000_000_000;

/// A file of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) path: PathBuf,
    /// When its first entry was received.
    pub(super) first: i64,
    /// What is known since it is complete.
    pub(super) span: Option<Span>,
    /// Bytes.
    pub(super) size: u64,
    /// When it was last written to.
    pub(super) modified: i64,
}

/// What a complete file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    /// When its last entry was received.
    pub(super) last: i64,
    /// The least `timestamp`.
    pub(super) from: i64,
    /// The greatest `timestamp`.
    pub(super) to: i64,
}

impl Segment {
    /// No entry has been received later.
    pub(super) fn last_received(&self) -> i64 {
        self.span.map_or(self.modified.saturating_add(CLOCK_TICK), |span| span.last)
    }

    /// The least `timestamp`, if known.
    pub(super) fn from(&self) -> Option<i64> {
        self.span.map(|span| span.from)
    }

    /// No `timestamp` is greater: none is later than its entry was received.
    pub(super) fn to(&self) -> i64 {
        self.span.map_or(self.last_received(), |span| span.to)
    }
}

/// The folder of a service's log.
pub(super) fn folder(logs: &Path, service: &ServiceKey) -> PathBuf {
    logs.join(service.project.as_str()).join(service.region.as_str()).join(service.name.as_str())
}

/// The name of a file that is being written.
pub(super) fn open_name(first: i64) -> String {
    format!("{first:020}.jsonl")
}

/// The name of a complete file.
pub(super) fn complete_name(first: i64, span: Span) -> String {
    format!("{first:020}-{:020}-{:020}-{:020}.jsonl", span.last, span.from, span.to)
}

/// The files of a log, oldest first; none if there is no such folder.
pub(super) fn list(folder: &Path) -> io::Result<Vec<Segment>> {
    let mut segments = Vec::new();
    for entry in entries(folder)? {
        let entry = entry?;
        let Some((first, span)) = entry.file_name().to_str().and_then(parse) else { continue };
        // It may have been turned or removed since it was listed.
        let Ok(meta) = entry.metadata() else { continue };
        let modified = meta.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
        let modified = i64::try_from(modified.as_nanos()).unwrap_or(i64::MAX);
        segments.push(Segment { path: entry.path(), first, span, size: meta.len(), modified });
    }
    segments.sort_by_key(|segment| segment.first);
    Ok(segments)
}

fn parse(name: &str) -> Option<(i64, Option<Span>)> {
    let numbers: Option<Vec<i64>> = name.strip_suffix(".jsonl")?.split('-').map(|number| number.parse().ok()).collect();
    match numbers?[..] {
        [first] => Some((first, None)),
        [first, last, from, to] => Some((first, Some(Span { last, from, to }))),
        _ => None,
    }
}

/// Every service that has a log, of one project or of all.
pub(super) fn services(logs: &Path, project: Option<&ProjectId>) -> io::Result<Vec<ServiceKey>> {
    let projects = match project {
        Some(project) => vec![project.as_str().to_owned()],
        None => folders(logs)?,
    };
    let mut services = Vec::new();
    for project in projects {
        let in_project = logs.join(&project);
        for region in folders(&in_project)? {
            let key = |name| ServiceKey {
                project: ProjectId::new(&project),
                region: Region::new(&region),
                name: ServiceName::new(name),
            };
            services.extend(folders(&in_project.join(&region))?.into_iter().map(key));
        }
    }
    Ok(services)
}

fn folders(folder: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in entries(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            names.extend(entry.file_name().into_string().ok());
        }
    }
    Ok(names)
}

/// What is in a folder; nothing if it is not there.
fn entries(folder: &Path) -> io::Result<Box<dyn Iterator<Item = io::Result<std::fs::DirEntry>>>> {
    match std::fs::read_dir(folder) {
        Ok(entries) => Ok(Box::new(entries)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Box::new(std::iter::empty())),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s12_a_file_tells_by_its_name_what_is_in_it() {
        let span = Span { last: 1_777_000_000_000_000_009, from: 5, to: 1_777_000_000_000_000_001 };
        assert_eq!(parse(&complete_name(7, span)), Some((7, Some(span))));
        assert_eq!(parse(&open_name(7)), Some((7, None)));
        for foreign in ["x.jsonl", "7-8.jsonl", "7", "7.txt", ".jsonl", "7.jsonl.1"] {
            assert_eq!(parse(foreign), None, "{foreign}");
        }
    }
}
