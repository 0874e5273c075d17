//! Threads that carry clients' connections, each with an event loop of its own.
//!
//! A client's connection, its requests and the connections to instances that these use stay on one thread. Where the
//! halves of an exchange run on two, every message between them wakes a sleeping thread, which costs more than all
//! else that a small request needs.

use std::cell::Cell;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

use tokio::runtime::{Builder, Handle};
use tokio::sync::watch;

thread_local! {
    static NUMBER: Cell<usize> = const { Cell::new(0) };
}

/// The threads. They end when this is dropped, and whatever still runs on them with them.
pub(crate) struct Workers {
    workers: Vec<Worker>,
    _end: watch::Sender<()>,
}

struct Worker {
    handle: Handle,
    /// Clients' connections that it carries.
    carries: Arc<AtomicUsize>,
}

/// How many there are: one per core that this process may use when it is first asked.
pub(crate) fn count() -> usize {
    static COUNT: LazyLock<usize> = LazyLock::new(|| std::thread::available_parallelism().map_or(1, usize::from));
    *COUNT
}

/// Which of them this thread is, below [`count`].
pub(crate) fn current() -> usize {
    NUMBER.get()
}

impl Workers {
    /// # Errors
    /// When a thread or its event loop cannot be made.
    pub(crate) fn start() -> io::Result<Self> {
        let (end, ending) = watch::channel(());
        let workers = (0..count()).map(|number| Worker::start(number, ending.clone())).collect::<io::Result<_>>()?;
        Ok(Self { workers, _end: end })
    }

    /// Runs a connection on the thread that carries the fewest.
    pub(crate) fn carry<F: Future<Output = ()> + Send + 'static>(&self, connection: F) {
        let Some(worker) = self.workers.iter().min_by_key(|worker| worker.carries.load(Ordering::Relaxed)) else {
            return;
        };
        let counted = Counted::new(&worker.carries);
        // Whoever waits for a future has room for it twice: for the one that is given and the one that is waited for.
        let connection = Box::pin(connection);
        worker.handle.spawn(async move {
            let _counted = counted;
            connection.await;
        });
    }
}

impl Worker {
    fn start(number: usize, mut ending: watch::Receiver<()>) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        std::thread::Builder::new().name(format!("ingress-{number}")).spawn(move || {
            NUMBER.set(number);
            // It never changes; it ends with its sender.
            runtime.block_on(async { while ending.changed().await.is_ok() {} });
        })?;
        Ok(Self { handle, carries: Arc::default() })
    }
}

/// One connection in a worker's count, for as long as it lives.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
