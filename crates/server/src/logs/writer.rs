//! The thread that writes logs, turns their files and removes what is too much or too old.

use std::collections::{HashMap, VecDeque};
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use foldhash::fast::RandomState;
use homerun_api::logging::LogEntry;
use homerun_ingress::RequestRecord;
use homerun_model::names::ServiceKey;

use super::segment::{self, Segment, Span};
use super::{Item, Shared, request};
use crate::clock::Clock;
use crate::config::LogsConfig;

/// Size at which a file is turned, in bytes; less where a service may keep little.
const SEGMENT_BYTES: u64 = 2 << 20;
/// A service's log has at least this many files, so that turning one gives up a small part of it.
const SEGMENTS: u64 = 16;
/// Age at which a file is turned however small it is, so that what is too old can go.
const SEGMENT_AGE: TimeDelta = TimeDelta::days(1);
/// Bytes that are written at once, about.
const WRITE_BYTES: usize = 256 << 10;
/// Pause between two looks at what is kept, and bytes written after which the next look comes earlier.
const SWEEP_EVERY: Duration = Duration::from_secs(60);
const SWEEP_AFTER_BYTES: u64 = 64 << 20;
/// Pause between two warnings that the disk cannot be written.
const WARN_EVERY: Duration = Duration::from_secs(60);

pub(super) struct Writer {
    dir: PathBuf,
    config: LogsConfig,
    scheme: String,
    clock: Arc<dyn Clock>,
    /// Room for a line, used again and again.
    line: Vec<u8>,
    /// Files that are being written.
    open: HashMap<ServiceKey, Open, RandomState>,
    /// When the last entry was received, in nanoseconds since 1970: each has its own time.
    received: i64,
    /// Bytes written since the last look at what is kept.
    written: u64,
    warned: Option<Instant>,
}

/// A file that is being written. It is opened for each write: there may be more services than open files.
struct Open {
    path: PathBuf,
    first: i64,
    /// Bytes, those that wait included.
    size: u64,
    /// `None` while it is empty.
    span: Option<Span>,
    /// Lines that wait to be written.
    waiting: Vec<u8>,
}

/// An entry, ready for the file.
struct Record {
    line: Vec<u8>,
    received: i64,
    timestamp: i64,
}

impl Writer {
    pub(super) fn new(dir: &Path, config: LogsConfig, scheme: &str, clock: Arc<dyn Clock>) -> Self {
        let (dir, scheme) = (dir.to_owned(), scheme.to_owned());
        Self {
            dir,
            config,
            scheme,
            clock,
            line: Vec::new(),
            open: HashMap::default(),
            received: 0,
            written: 0,
            warned: None,
        }
    }

    /// Writes until the source is closed.
    pub(super) fn run(mut self, source: &Shared) {
        let mut next_sweep = Instant::now();
        while let Some(batches) = source.take(next_sweep) {
            let wrote = !batches.is_empty();
            for batch in batches {
                self.write(&batch.service, batch.items, source.rate);
                source.written(&batch.service, batch.bytes);
            }
            if Instant::now() >= next_sweep || self.written >= SWEEP_AFTER_BYTES {
                let swept = self.sweep();
                self.report(swept);
                source.forget_quiet();
                next_sweep = Instant::now() + SWEEP_EVERY;
            }
            if wrote {
                source.gather();
            }
        }
    }

    /// Warns about a disk that cannot be written, now and then.
    fn report(&mut self, outcome: io::Result<()>) {
        let Err(error) = outcome else { return };
        if self.warned.is_none_or(|warned| warned.elapsed() >= WARN_EVERY) {
            self.warned = Some(Instant::now());
            tracing::warn!(%error, folder = %self.dir.display(), "logs cannot be written; what came is lost");
        }
    }

    fn write(&mut self, service: &ServiceKey, items: VecDeque<(u64, Item)>, rate: u64) {
        let outcome = self.append(service, items, rate);
        if outcome.is_err() {
            // What the file holds now is not known.
            self.open.remove(service);
        }
        self.report(outcome);
    }

    fn append(&mut self, service: &ServiceKey, items: VecDeque<(u64, Item)>, rate: u64) -> io::Result<()> {
        let now = self.clock.now();
        let oldest = self.oldest(now);
        for (_, item) in items {
            let record = match item {
                Item::Line(line) => self.record(line.entry(oldest), now)?,
                Item::Request(request) => self.request_record(&request, service, now)?,
                Item::Dropped(dropped) => self.record(dropped.entry(now, rate), now)?,
            };
            let turn_at = self.segment_bytes();
            let mut open = self.opened(service, record.received)?;
            if open.size > 0 && open.size + record.line.len() as u64 > turn_at {
                self.turn(service)?;
                open = self.opened(service, record.received)?;
            }
            open.take(&record);
            if open.waiting.len() >= WRITE_BYTES {
                let written = open.flush()?;
                self.written += written;
            }
            self.line = record.line;
        }
        let flushed = self.open.get_mut(service).map_or(Ok(0), Open::flush)?;
        self.written += flushed;
        Ok(())
    }

    /// Entries received before this are too old.
    fn oldest(&self, now: DateTime<Utc>) -> DateTime<Utc> {
        now - TimeDelta::days(self.config.retention_days.get().into())
    }

    /// The time of receipt of the next entry.
    fn receive(&mut self, timestamp: i64, now: DateTime<Utc>) -> DateTime<Utc> {
        self.received = nanos(now).max(self.received + 1).max(timestamp);
        DateTime::from_timestamp_nanos(self.received)
    }

    fn request_record(
        &mut self,
        request: &RequestRecord,
        service: &ServiceKey,
        now: DateTime<Utc>,
    ) -> io::Result<Record> {
        let timestamp = nanos(request.arrived);
        let received = self.receive(timestamp, now);
        let mut line = std::mem::take(&mut self.line);
        line.clear();
        request::line(&mut line, request, &service.project, &self.scheme, received)?;
        Ok(Record { line, received: self.received, timestamp })
    }

    /// Gives the entry its time of receipt and its id.
    fn record(&mut self, mut entry: LogEntry, now: DateTime<Utc>) -> io::Result<Record> {
        let timestamp = nanos(entry.timestamp);
        entry.receive_timestamp = self.receive(timestamp, now);
        if entry.insert_id.is_empty() {
            entry.insert_id = format!("{:016x}", self.received);
        }
        let mut line = serde_json::to_vec(&entry)?;
        line.push(b'\n');
        Ok(Record { line, received: self.received, timestamp })
    }

    fn segment_bytes(&self) -> u64 {
        SEGMENT_BYTES.min((u64::from(self.config.service_mib.get()) << 20) / SEGMENTS)
    }

    /// The file that the service's entries go to; a new one begins at `received`.
    fn opened(&mut self, service: &ServiceKey, received: i64) -> io::Result<&mut Open> {
        if !self.open.contains_key(service) {
            let folder = segment::folder(&self.dir, service);
            fs::create_dir_all(&folder)?;
            let last = segment::list(&folder)?.into_iter().rfind(|segment| segment.span.is_none());
            let open = match last {
                Some(segment) => Open::again(segment)?,
                None => Open::new(folder.join(segment::open_name(received)), received),
            };
            self.open.insert(service.clone(), open);
        }
        self.open.get_mut(service).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Closes the service's file, gives it its final name, and removes what the service has too much.
    fn turn(&mut self, service: &ServiceKey) -> io::Result<()> {
        if let Some(mut open) = self.open.remove(service) {
            self.written += open.flush()?;
            if let Some(span) = open.span {
                fs::rename(&open.path, open.path.with_file_name(segment::complete_name(open.first, span)))?;
            }
        }
        let segments = segment::list(&segment::folder(&self.dir, service))?;
        // The next file comes on top of what is there.
        let most = (u64::from(self.config.service_mib.get()) << 20) - self.segment_bytes();
        let mut total: u64 = segments.iter().map(|segment| segment.size).sum();
        for segment in segments {
            if total <= most {
                break;
            }
            remove(&segment.path)?;
            total -= segment.size;
        }
        Ok(())
    }

    /// Removes what is too old, and what is too much in all.
    fn sweep(&mut self) -> io::Result<()> {
        self.written = 0;
        let now = self.clock.now();
        let oldest = nanos(self.oldest(now));
        let mut kept: Vec<(ServiceKey, Vec<Segment>)> = Vec::new();
        let mut total = 0;
        for service in segment::services(&self.dir, None)? {
            let aged = |open: &Open| nanos(now) - open.first >= SEGMENT_AGE.num_nanoseconds().unwrap_or(i64::MAX);
            if self.open.get(&service).is_some_and(aged) {
                self.turn(&service)?;
            }
            let mut segments = segment::list(&segment::folder(&self.dir, &service))?;
            for old in segments.extract_if(.., |segment| segment.last_received() < oldest) {
                self.give_up(&service, &old)?;
            }
            total += segments.iter().map(|segment| segment.size).sum::<u64>();
            kept.push((service, segments));
        }
        self.shrink(kept, total)?;
        self.remove_empty_folders()
    }

    /// Takes the oldest file from the largest log until all of them are small enough together.
    fn shrink(&mut self, mut kept: Vec<(ServiceKey, Vec<Segment>)>, mut total: u64) -> io::Result<()> {
        let most = u64::from(self.config.total_mib.get()) << 20;
        while total > most {
            let size = |segments: &[Segment]| segments.iter().map(|segment| segment.size).sum::<u64>();
            let Some((service, segments)) = kept.iter_mut().max_by_key(|(_, segments)| size(segments)) else { break };
            if segments.is_empty() {
                break;
            }
            let oldest = segments.remove(0);
            self.give_up(service, &oldest)?;
            total -= oldest.size;
        }
        Ok(())
    }

    fn give_up(&mut self, service: &ServiceKey, segment: &Segment) -> io::Result<()> {
        if segment.span.is_none() {
            self.open.remove(service);
        }
        remove(&segment.path)
    }

    /// Folders of services without a log, and of regions and projects without such.
    fn remove_empty_folders(&self) -> io::Result<()> {
        for service in segment::services(&self.dir, None)? {
            if self.open.contains_key(&service) {
                continue;
            }
            let folder = segment::folder(&self.dir, &service);
            for folder in folder.ancestors().take(3) {
                if fs::remove_dir(folder).is_err() {
                    break;
                }
            }
        }
        Ok(())
    }
}

impl Open {
    fn new(path: PathBuf, first: i64) -> Self {
        Self { path, first, size: 0, span: None, waiting: Vec::new() }
    }

    /// A file that an earlier homerun has begun, or that an error has left behind. What a crash left of
    /// its last line becomes a line of its own, which readers pass over.
    fn again(segment: Segment) -> io::Result<Self> {
        let content = fs::read(&segment.path)?;
        let mut open = Self::new(segment.path, segment.first);
        open.size = content.len() as u64;
        for line in content.split(|byte| *byte == b'\n') {
            if let Ok(entry) = serde_json::from_slice::<LogEntry>(line) {
                open.cover(nanos(entry.receive_timestamp), nanos(entry.timestamp));
            }
        }
        if content.last().is_some_and(|byte| *byte != b'\n') {
            open.waiting.push(b'\n');
            open.size += 1;
        }
        Ok(open)
    }

    fn take(&mut self, record: &Record) {
        self.waiting.extend_from_slice(&record.line);
        self.size += record.line.len() as u64;
        self.cover(record.received, record.timestamp);
    }

    /// Writes what waits; how many bytes that was.
    fn flush(&mut self) -> io::Result<u64> {
        if self.waiting.is_empty() {
            return Ok(0);
        }
        OpenOptions::new().append(true).create(true).open(&self.path)?.write_all(&self.waiting)?;
        // Not cleared: most services write little, and there may be many.
        Ok(std::mem::take(&mut self.waiting).len() as u64)
    }

    fn cover(&mut self, received: i64, timestamp: i64) {
        let span = self.span.get_or_insert(Span { last: received, from: timestamp, to: timestamp });
        *span = Span { last: received.max(span.last), from: span.from.min(timestamp), to: span.to.max(timestamp) };
    }
}

/// Nanoseconds since 1970; never before.
pub(super) fn nanos(time: DateTime<Utc>) -> i64 {
    time.timestamp_nanos_opt().unwrap_or(i64::MAX).max(0)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
