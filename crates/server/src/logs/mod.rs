//! What containers write, and what ingress did: taken in without ever making anybody wait, kept for a
//! while, and read with filters as Cloud Logging does.
//!
//! A thread of its own writes ([`writer`]). What waits for it is bounded per service and in all: a
//! service that writes faster than its rate loses lines, which are counted and told by an entry of its
//! own; other services lose nothing.

pub mod entry;
pub mod filter;
pub mod read;
mod request;
mod segment;
#[cfg(test)]
mod tests;
mod writer;

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use foldhash::fast::RandomState;
use homerun_backend::{LogLine, LogSink};
use homerun_ingress::{Observe, RequestRecord};
use homerun_model::names::{RevisionName, ServiceKey};

use crate::clock::Clock;
use crate::config::LogsConfig;
use entry::{Dropped, Line};
use request::Lines;
use writer::Writer;

/// Most bytes that wait for the writer, of all services together, besides everybody's [`SHARE_BYTES`]. They are counted
/// as they count against a service's rate: a request waits as a line of JSON, which has some three times as many.
const QUEUE_BYTES: u64 = 64 << 20;
/// The same of one service.
const SERVICE_QUEUE_BYTES: u64 = 16 << 20;
/// Bytes of a service that may wait whatever others do.
const SHARE_BYTES: u64 = 64 << 10;
/// Bytes of a service that are written before it is another's turn.
const TURN_BYTES: u64 = 1 << 20;
/// What an entry takes besides its text, roughly, so that many empty lines count too.
const ENTRY_BYTES: u64 = 200;
/// A service may be ahead of its rate by what it may write in this time: programs write much when they start.
const BURST: Duration = Duration::from_secs(4);
/// After it has written, the writer lets this time pass, so that under load it writes much at once, and nobody spends
/// time on waking it for every line.
const GATHER: Duration = Duration::from_millis(20);
/// Dropped lines are counted this long before an entry tells about them.
const TELL_DROPPED_AFTER: Duration = Duration::from_secs(1);

/// Takes log lines and request records.
#[derive(Clone)]
pub struct Logs {
    shared: Arc<Shared>,
    thread: Arc<Thread>,
}

/// The writer's thread, which ends with the last holder.
struct Thread {
    shared: Arc<Shared>,
    handle: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    queues: Mutex<Queues>,
    woken: Condvar,
    /// Bytes per second that a service may write.
    rate: u64,
    /// That of services' URLs.
    scheme: String,
}

#[derive(Default)]
struct Queues {
    services: HashMap<ServiceKey, Queue, RandomState>,
    /// Services whose queues have items.
    ready: Vec<ServiceKey>,
    /// Services that have lost something that no entry tells about yet.
    dropping: Vec<ServiceKey>,
    /// Bytes of all services' items, those that are being written included.
    bytes: u64,
    closed: bool,
    /// Whether the writer waits to be woken.
    asleep: bool,
}

struct Queue {
    items: Items,
    /// Bytes of the items, those that are being written included.
    bytes: u64,
    /// Bytes that the service may still write now.
    allowance: u64,
    refilled: Instant,
    dropped: Option<(Instant, Dropped)>,
}

/// Something to be written.
enum Item {
    Line(Line),
    Requests(Lines),
    Dropped(Dropped),
}

/// With their sizes.
type Items = VecDeque<(u64, Item)>;

/// What the writer does next.
struct Batch {
    service: ServiceKey,
    items: Items,
    bytes: u64,
}

impl Logs {
    /// Starts the writer. `scheme` is that of services' URLs.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn open(dir: &Path, config: &LogsConfig, scheme: &str, clock: Arc<dyn Clock>) -> io::Result<Self> {
        std::fs::create_dir_all(dir)?;
        let rate = u64::from(config.service_mib_per_second.get()) << 20;
        let scheme = scheme.to_owned();
        let shared = Arc::new(Shared { queues: Mutex::default(), woken: Condvar::new(), rate, scheme });
        let writer = Writer::new(dir, config.clone(), clock);
        let source = shared.clone();
        let thread = std::thread::Builder::new().name("logs".to_owned()).spawn(move || writer.run(&source))?;
        let thread = Thread { shared: shared.clone(), handle: Mutex::new(Some(thread)) };
        Ok(Self { shared, thread: Arc::new(thread) })
    }

    /// Writes what waits and ends the writer; what comes later is lost.
    pub fn close(&self) {
        self.thread.end();
    }
}

impl Thread {
    fn end(&self) {
        self.shared.lock().closed = true;
        self.shared.woken.notify_one();
        let handle = self.handle.lock().unwrap_or_else(PoisonError::into_inner).take();
        if handle.is_some_and(|handle| handle.join().is_err()) {
            tracing::error!("the writer of logs has panicked; lines were lost");
        }
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.end();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Most bytes that a service may be ahead by.
    fn burst(&self) -> u64 {
        self.rate * BURST.as_secs()
    }

    /// `add` is called with the size if the service may log so much.
    fn put(
        &self,
        service: &ServiceKey,
        revision: Option<&RevisionName>,
        text_bytes: usize,
        add: impl FnOnce(&mut Items, u64),
    ) {
        let (bytes, now) = (text_bytes as u64 + ENTRY_BYTES, Instant::now());
        let mut queues = self.lock();
        let queues = &mut *queues;
        if !queues.services.contains_key(service) {
            queues.services.insert(service.clone(), Queue::new(self.burst(), now));
        }
        let Some(queue) = queues.services.get_mut(service) else { return };
        queue.refill(now, self.rate, self.burst());
        let fits = queue.bytes + bytes <= SERVICE_QUEUE_BYTES
            && (queues.bytes + bytes <= QUEUE_BYTES || queue.bytes + bytes <= SHARE_BYTES);
        if bytes > queue.allowance || !fits {
            if queue.drop_one(now, revision, bytes) {
                queues.dropping.push(service.clone());
                self.wake(queues);
            }
            return;
        }
        queue.allowance -= bytes;
        queue.bytes += bytes;
        queues.bytes += bytes;
        let first = queue.items.is_empty();
        add(&mut queue.items, bytes);
        if first {
            queues.ready.push(service.clone());
            self.wake(queues);
        }
    }

    fn wake(&self, queues: &mut Queues) {
        if std::mem::take(&mut queues.asleep) {
            self.woken.notify_one();
        }
    }

    /// Lets [`GATHER`] pass, less if it is closed.
    fn gather(&self) {
        // How it ended does not matter: whoever takes next looks for itself.
        drop(self.woken.wait_timeout_while(self.lock(), GATHER, |queues| !queues.closed));
    }

    /// Waits for something to write, at most until `deadline`; `None` when closed and all is written.
    fn take(&self, deadline: Instant) -> Option<Vec<Batch>> {
        let mut queues = self.lock();
        loop {
            let now = Instant::now();
            let batches = queues.drain(now);
            if !batches.is_empty() || now >= deadline {
                return Some(batches);
            }
            if queues.closed {
                return None;
            }
            let wait = deadline - now;
            let wait = if queues.dropping.is_empty() { wait } else { wait.min(TELL_DROPPED_AFTER) };
            queues.asleep = true;
            queues = self.woken.wait_timeout(queues, wait).unwrap_or_else(PoisonError::into_inner).0;
            queues.asleep = false;
        }
    }

    /// Makes room again for what has been written.
    fn written(&self, service: &ServiceKey, bytes: u64) {
        let mut queues = self.lock();
        queues.bytes -= bytes;
        if let Some(queue) = queues.services.get_mut(service) {
            queue.bytes -= bytes;
        }
    }

    /// Forgets services that have been quiet for so long that nothing about them needs to be known.
    fn forget_quiet(&self) {
        let now = Instant::now();
        self.lock().services.retain(|_, queue| {
            queue.bytes > 0 || queue.dropped.is_some() || now.duration_since(queue.refilled) < BURST
        });
    }
}

impl Queues {
    fn drain(&mut self, now: Instant) -> Vec<Batch> {
        let mut batches = Vec::new();
        for service in std::mem::take(&mut self.ready) {
            let Some(queue) = self.services.get_mut(&service) else { continue };
            let (items, bytes) = queue.take_turn();
            if !queue.items.is_empty() {
                self.ready.push(service.clone());
            }
            batches.push(Batch { service, items, bytes });
        }
        for service in std::mem::take(&mut self.dropping) {
            let Some(queue) = self.services.get_mut(&service) else { continue };
            match queue.dropped.take() {
                Some((since, dropped)) if self.closed || now.duration_since(since) >= TELL_DROPPED_AFTER => {
                    batches.push(Batch { service, items: [(0, Item::Dropped(dropped))].into(), bytes: 0 });
                }
                early => {
                    queue.dropped = early;
                    self.dropping.push(service);
                }
            }
        }
        batches
    }
}

impl Queue {
    fn new(burst: u64, now: Instant) -> Self {
        Self { items: VecDeque::new(), bytes: 0, allowance: burst, refilled: now, dropped: None }
    }

    /// What is written of it before others have their turn, and its size.
    fn take_turn(&mut self) -> (Items, u64) {
        let mut bytes = 0;
        let mut fits = |size: u64| {
            let more = bytes < TURN_BYTES;
            bytes += if more { size } else { 0 };
            more
        };
        let count = self.items.iter().take_while(|(size, _)| fits(*size)).count();
        // The shorter part moves: who logs waits meanwhile.
        if count <= self.items.len() / 2 {
            return (self.items.drain(..count).collect(), bytes);
        }
        let rest = self.items.split_off(count);
        (std::mem::replace(&mut self.items, rest), bytes)
    }

    fn refill(&mut self, now: Instant, rate: u64, burst: u64) {
        let micros = u64::try_from(now.duration_since(self.refilled).as_micros()).unwrap_or(u64::MAX);
        let more = rate.saturating_mul(micros) / 1_000_000;
        // Less than a byte stays for later.
        if more > 0 {
            self.allowance = self.allowance.saturating_add(more).min(burst);
            self.refilled = now;
        }
    }

    /// Whether it is the first since an entry told about them.
    fn drop_one(&mut self, now: Instant, revision: Option<&RevisionName>, bytes: u64) -> bool {
        let first = self.dropped.is_none();
        let (_, dropped) =
            self.dropped.get_or_insert_with(|| (now, Dropped { revision: revision.cloned(), entries: 0, bytes: 0 }));
        dropped.entries += 1;
        dropped.bytes += bytes - ENTRY_BYTES;
        first
    }
}

impl LogSink for Logs {
    fn line(&self, line: LogLine<'_>) {
        let revision = &line.spec.revision;
        let service = ServiceKey {
            project: revision.project.clone(),
            region: revision.region.clone(),
            name: line.spec.service.clone(),
        };
        self.shared.put(&service, Some(&revision.name), line.text.len(), |items, bytes| {
            items.push_back((bytes, Item::Line(Line::of(line))));
        });
    }
}

impl Observe for Logs {
    fn request(&self, record: &RequestRecord) {
        thread_local! {
            /// Written here before the queue is locked, on the thread that knows it all.
            static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
        }
        let Some(service) = &record.service else { return };
        let header = |value: &Option<http::HeaderValue>| value.as_ref().map_or(0, http::HeaderValue::len);
        let bytes = record.path.as_str().len() + header(&record.user_agent) + header(&record.referer);
        let revision = record.revision.as_ref().map(|key| &key.name);
        LINE.with_borrow_mut(|line| {
            line.clear();
            if let Err(error) = request::line(line, record, &service.project, &self.shared.scheme) {
                tracing::error!(%error, "a request cannot be written to the log");
                return;
            }
            self.shared.put(service, revision, bytes, |items, bytes| add_request(items, bytes, line, record.arrived));
        });
    }
}

/// Adds a request's line to those before it, if that is what came before.
fn add_request(items: &mut Items, bytes: u64, line: &[u8], arrived: DateTime<Utc>) {
    let mut many = false;
    if let Some((all, Item::Requests(lines))) = items.back_mut() {
        if !lines.is_full() {
            *all += bytes;
            lines.add(line, arrived);
            return;
        }
        many = true;
    }
    let mut lines = Lines::new(many);
    lines.add(line, arrived);
    items.push_back((bytes, Item::Requests(lines)));
}
