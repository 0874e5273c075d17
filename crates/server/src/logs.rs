//! What containers write, and what ingress did, as JSON lines: one file per service under `logs/` in
//! the data directory, and the file before it.
//!
//! A thread of its own writes. When it cannot keep up, lines are dropped and counted rather than
//! letting a container stall homerun; a file is turned at [`TURN_BYTES`], so a service keeps at most
//! twice that.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use homerun_backend::{LogLine, LogSink, LogStream};
use homerun_ingress::{Observe, RequestRecord};
use homerun_model::names::ServiceKey;
use serde_json::json;

/// Size at which a file is turned, in bytes.
const TURN_BYTES: u64 = 10 << 20;
/// Lines that may wait for the writer.
const QUEUE: usize = 8192;

/// Takes log lines and request records.
#[derive(Clone)]
pub struct Logs {
    queue: SyncSender<Entry>,
    dropped: Arc<AtomicU64>,
}

struct Entry {
    service: ServiceKey,
    line: String,
}

impl Logs {
    /// Starts the writer.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn open(dir: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(dir)?;
        let (queue, entries) = sync_channel(QUEUE);
        let dropped = Arc::new(AtomicU64::new(0));
        let writer = Writer { dir: dir.to_owned(), files: HashMap::new(), dropped: dropped.clone() };
        std::thread::Builder::new().name("logs".to_owned()).spawn(move || writer.run(&entries))?;
        Ok(Self { queue, dropped })
    }

    fn put(&self, service: ServiceKey, line: String) {
        if self.queue.try_send(Entry { service, line }).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl LogSink for Logs {
    fn line(&self, line: LogLine<'_>) {
        let stream = match line.stream {
            LogStream::Stdout => "stdout",
            LogStream::Stderr => "stderr",
            LogStream::System => "system",
        };
        let revision = &line.spec.revision;
        let service = ServiceKey {
            project: revision.project.clone(),
            region: revision.region.clone(),
            name: line.spec.service.clone(),
        };
        let entry = json!({
            "time": line.time, "revision": revision.name, "instance": line.spec.id,
            "container": line.container, "stream": stream, "text": line.text,
        });
        self.put(service, entry.to_string());
    }
}

impl Observe for Logs {
    fn request(&self, record: RequestRecord) {
        let Some(service) = record.service else {
            return;
        };
        let entry = json!({
            "time": record.arrived, "revision": record.revision.as_ref().map(|key| &key.name),
            "instance": record.instance.as_deref(), "stream": "requests", "method": record.method.as_str(),
            "path": record.path.as_str(), "status": record.status, "cold_start": record.cold_start,
            "latency_ms": record.latency.as_secs_f64() * 1000.0, "wait_ms": record.waited.as_secs_f64() * 1000.0,
            "text": record.message,
        });
        self.put(service.as_ref().clone(), entry.to_string());
    }
}

/// The file of a service's log below the log folder.
pub fn file(dir: &Path, service: &ServiceKey) -> PathBuf {
    dir.join(service.project.as_str()).join(service.region.as_str()).join(format!("{}.jsonl", service.name))
}

struct Writer {
    dir: PathBuf,
    files: HashMap<ServiceKey, (File, u64)>,
    dropped: Arc<AtomicU64>,
}

impl Writer {
    fn run(mut self, entries: &Receiver<Entry>) {
        while let Ok(entry) = entries.recv() {
            let dropped = self.dropped.swap(0, Ordering::Relaxed);
            if dropped > 0 {
                tracing::warn!("{dropped} log lines were dropped: containers write faster than the disk");
            }
            if let Err(error) = self.write(&entry) {
                self.files.remove(&entry.service);
                tracing::warn!(service = %entry.service, %error, "a log line could not be written");
            }
        }
    }

    fn write(&mut self, entry: &Entry) -> io::Result<()> {
        let path = file(&self.dir, &entry.service);
        if self.files.get(&entry.service).is_some_and(|(_, size)| *size >= TURN_BYTES) {
            self.files.remove(&entry.service);
            std::fs::rename(&path, path.with_extension("jsonl.1"))?;
        }
        if !self.files.contains_key(&entry.service) {
            std::fs::create_dir_all(path.parent().unwrap_or(&self.dir))?;
            let file = OpenOptions::new().append(true).create(true).open(&path)?;
            let size = file.metadata()?.len();
            self.files.insert(entry.service.clone(), (file, size));
        }
        let Some((file, size)) = self.files.get_mut(&entry.service) else {
            return Ok(());
        };
        file.write_all(format!("{}\n", entry.line).as_bytes())?;
        *size += entry.line.len() as u64 + 1;
        Ok(())
    }
}
