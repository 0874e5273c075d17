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
    clock: Arc<dyn Clock>,
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

/// When an entry was received, and its `timestamp`; in nanoseconds since 1970.
#[derive(Clone, Copy)]
struct Times {
    received: i64,
    timestamp: i64,
}

impl Writer {
    pub(super) fn new(dir: &Path, config: LogsConfig, clock: Arc<dyn Clock>) -> Self {
        Self { dir: dir.to_owned(), config, clock, open: HashMap::default(), received: 0, written: 0, warned: None }
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
        // After an error it is not put back: what the file holds then is not known.
        let mut open = self.open.remove(service);
        let outcome = self.append(service, &mut open, items, rate);
        if outcome.is_ok() {
            self.open.extend(open.map(|open| (service.clone(), open)));
        }
        self.report(outcome);
    }

    fn append(
        &mut self,
        service: &ServiceKey,
        open: &mut Option<Open>,
        items: VecDeque<(u64, Item)>,
        rate: u64,
    ) -> io::Result<()> {
        let now = self.clock.now();
        let oldest = self.oldest(now);
        let mut room = Vec::new();
        for (_, item) in items {
            let entry = match item {
                Item::Line(line) => line.entry(oldest),
                Item::Dropped(dropped) => dropped.entry(now, rate),
                Item::Requests(mut lines) => {
                    for (line, timestamp) in lines.iter_mut() {
                        let times = self.receive(timestamp, now);
                        request::stamp(line, DateTime::from_timestamp_nanos(times.received), &mut room);
                        self.put(service, open, line, times)?;
                    }
                    continue;
                }
            };
            let (line, times) = self.line(entry, now)?;
            self.put(service, open, &line, times)?;
        }
        self.written += open.as_mut().map_or(Ok(0), Open::flush)?;
        Ok(())
    }

    /// Adds a line to the service's file, or to the next one where that is full.
    fn put(&mut self, service: &ServiceKey, open: &mut Option<Open>, line: &[u8], times: Times) -> io::Result<()> {
        let full = |open: &mut Open| open.size > 0 && open.size + line.len() as u64 > self.segment_bytes();
        if let Some(full) = open.take_if(full) {
            self.turn(service, full)?;
            *open = Some(Open::new(&segment::folder(&self.dir, service), times.received));
        }
        let open = match open {
            Some(open) => open,
            None => open.insert(self.begin(service, times.received)?),
        };
        open.take(line, times);
        if open.waiting.len() >= WRITE_BYTES {
            self.written += open.flush()?;
        }
        Ok(())
    }

    /// Entries received before this are too old.
    fn oldest(&self, now: DateTime<Utc>) -> DateTime<Utc> {
        now - TimeDelta::days(self.config.retention_days.get().into())
    }

    /// The times of the next entry, which is received after all before it, and not before its `timestamp`.
    fn receive(&mut self, timestamp: i64, now: DateTime<Utc>) -> Times {
        self.received = nanos(now).max(self.received + 1).max(timestamp);
        Times { received: self.received, timestamp }
    }

    /// The entry as it goes to the file, with its time of receipt and its id.
    fn line(&mut self, mut entry: LogEntry, now: DateTime<Utc>) -> io::Result<(Vec<u8>, Times)> {
        let times = self.receive(nanos(entry.timestamp), now);
        entry.receive_timestamp = DateTime::from_timestamp_nanos(times.received);
        if entry.insert_id.is_empty() {
            entry.insert_id = format!("{:016x}", times.received);
        }
        let mut line = serde_json::to_vec(&entry)?;
        line.push(b'\n');
        Ok((line, times))
    }

    fn segment_bytes(&self) -> u64 {
        SEGMENT_BYTES.min((u64::from(self.config.service_mib.get()) << 20) / SEGMENTS)
    }

    /// The file that an earlier homerun has left, or a new one that begins at `received`.
    fn begin(&self, service: &ServiceKey, received: i64) -> io::Result<Open> {
        let folder = segment::folder(&self.dir, service);
        fs::create_dir_all(&folder)?;
        let last = segment::list(&folder)?.into_iter().rfind(|segment| segment.span.is_none());
        last.map_or_else(|| Ok(Open::new(&folder, received)), Open::again)
    }

    /// Closes a file of the service, gives it its final name, and removes what the service has too much.
    fn turn(&mut self, service: &ServiceKey, mut open: Open) -> io::Result<()> {
        self.written += open.flush()?;
        if let Some(span) = open.span {
            fs::rename(&open.path, open.path.with_file_name(segment::complete_name(open.first, span)))?;
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
            if let Some(open) = self.open.get(&service).is_some_and(aged).then(|| self.open.remove(&service)).flatten()
            {
                self.turn(&service, open)?;
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
    fn new(folder: &Path, first: i64) -> Self {
        Self::at(folder.join(segment::open_name(first)), first)
    }

    fn at(path: PathBuf, first: i64) -> Self {
        Self { path, first, size: 0, span: None, waiting: Vec::new() }
    }

    /// A file that an earlier homerun has begun, or that an error has left behind. What a crash left of
    /// its last line becomes a line of its own, which readers pass over.
    fn again(segment: Segment) -> io::Result<Self> {
        let content = fs::read(&segment.path)?;
        let mut open = Self::at(segment.path, segment.first);
        open.size = content.len() as u64;
        for line in content.split(|byte| *byte == b'\n') {
            if let Ok(entry) = serde_json::from_slice::<LogEntry>(line) {
                open.cover(Times { received: nanos(entry.receive_timestamp), timestamp: nanos(entry.timestamp) });
            }
        }
        if content.last().is_some_and(|byte| *byte != b'\n') {
            open.waiting.push(b'\n');
            open.size += 1;
        }
        Ok(open)
    }

    fn take(&mut self, line: &[u8], times: Times) {
        self.waiting.extend_from_slice(line);
        self.size += line.len() as u64;
        self.cover(times);
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

    fn cover(&mut self, Times { received, timestamp }: Times) {
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
