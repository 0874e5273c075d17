//! Connections to instances.
//!
//! HTTP/1.1 connections carry one request at a time and are kept for reuse; an h2c connection is shared. Each of
//! ingress's threads has its own, see [`crate::workers`].

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use homerun_model::container::Protocol;
use homerun_model::names::InstanceId;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;

use crate::body::RequestBody;
use crate::coarse;
use crate::heard::{Counted, Heard, Mark};
use crate::instance::Instance;
use crate::settings::Settings;
use crate::workers;

/// Reaches instances.
#[async_trait]
pub trait Connect: Send + Sync + 'static {
    /// Opens a connection to a port of an instance.
    ///
    /// # Errors
    /// What `connect` says; `NotFound` for an instance that does not run.
    async fn connect(&self, instance: &InstanceId, port: u16) -> io::Result<TcpStream>;

    /// Gives an instance its CPU, or takes it away. Is asked before a request is sent to an instance that rests, and
    /// so must be quick.
    fn set_cpu(&self, instance: &InstanceId, allocated: bool);
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    /// The instance does not take the connection.
    #[error("cannot connect to the instance")]
    Connect(#[source] io::Error),
    /// The instance neither took nor refused it in time.
    #[error("the instance did not take the connection within {0:?}")]
    Timeout(Duration),
    /// The connection broke while HTTP began.
    #[error("cannot begin HTTP on the connection to the instance")]
    Handshake(#[source] hyper::Error),
}

/// How long a connection whose response is over may need until it can be reused, for instance to send
/// the rest of a request's body that the container did not wait for.
const SETTLE: Duration = Duration::from_secs(1);

/// The connections of one instance.
pub(crate) struct Connections {
    /// How long an unused one is kept.
    keep_alive: Duration,
    /// By thread.
    shelves: Box<[Shelf]>,
}

/// The connections of one instance that one thread drives.
#[derive(Default)]
struct Shelf {
    /// Unused HTTP/1.1 connections that hyper drives.
    unused: Unused<Http1>,
    /// Unused HTTP/1.1 connections of `lane`.
    plain: Unused<TcpStream>,
    shared: Mutex<Option<http2::SendRequest<RequestBody>>>,
    /// Held while the shared connection is opened, so that many requests at once open one only.
    opening: tokio::sync::Mutex<()>,
}

/// Unused connections and since when, the most recently used last.
struct Unused<C>(Mutex<VecDeque<(Duration, C)>>);

impl<C> Default for Unused<C> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<C> Unused<C> {
    /// The most recently used one that is as it should be.
    fn take(&self, keep_alive: Duration, is_good: impl Fn(&C) -> bool) -> Option<C> {
        let (now, mut unused) = (coarse::now(), self.lock());
        while let Some((since, connection)) = unused.pop_back() {
            if now.saturating_sub(since) > keep_alive {
                // All below are older.
                unused.clear();
            } else if is_good(&connection) {
                return Some(connection);
            }
        }
        None
    }

    fn keep(&self, connection: C, keep_alive: Duration) {
        let (now, mut unused) = (coarse::now(), self.lock());
        unused.push_back((now, connection));
        // With little to do only the last one is used, and those before it would stay for ever.
        while unused.front().is_some_and(|(since, _)| now.saturating_sub(*since) > keep_alive) {
            unused.pop_front();
        }
    }

    fn close_old(&self, keep_alive: Duration) {
        let now = coarse::now();
        let mut unused = self.lock();
        let old = unused.iter().take_while(|(since, _)| now.saturating_sub(*since) > keep_alive).count();
        let old: Vec<(Duration, C)> = unused.drain(..old).collect();
        drop(unused);
        // Not while requests wait for the others.
        drop(old);
    }

    fn clear(&self) {
        drop(std::mem::take(&mut *self.lock()));
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(Duration, C)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An HTTP/1.1 connection that hyper drives.
pub(crate) struct Http1 {
    sender: http1::SendRequest<RequestBody>,
    heard: Arc<Heard>,
    /// Before its last request.
    mark: Mark,
    /// Whether it has carried a request before this one.
    kept: bool,
    /// The thread that drives it.
    worker: usize,
}

/// The sending end of a connection.
pub(crate) enum Sender {
    Http1(Http1),
    H2c(http2::SendRequest<RequestBody>),
}

impl Sender {
    /// Sends a request and waits for the response's headers. The error has the request again if nothing
    /// of it was sent.
    pub(crate) async fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, TrySendError<Request<RequestBody>>> {
        match self {
            Self::Http1(connection) => {
                connection.mark = connection.heard.mark();
                connection.sender.try_send_request(request).await
            }
            Self::H2c(sender) => sender.try_send_request(request).await,
        }
    }

    /// Whether the instance may have ended it for want of requests, just when the next one came.
    pub(crate) fn is_kept(&self) -> bool {
        matches!(self, Self::Http1(connection) if connection.kept)
    }

    /// Whether the instance has ended it without having read the last request, as far as an idempotent one needs that.
    pub(crate) fn is_untouched(&self) -> bool {
        matches!(self, Self::Http1(connection) if connection.heard.is_untouched_since(connection.mark))
    }
}

impl Connections {
    pub(crate) fn new(keep_alive: Duration) -> Self {
        Self { keep_alive, shelves: (0..workers::count()).map(|_| Shelf::default()).collect() }
    }

    /// Closes those that have been unused for too long.
    pub(crate) fn close_old(&self) {
        for shelf in &self.shelves {
            shelf.unused.close_old(self.keep_alive);
            shelf.plain.close_old(self.keep_alive);
        }
    }

    /// Closes those that no request uses.
    pub(crate) fn close_unused(&self) {
        for shelf in &self.shelves {
            shelf.unused.clear();
            shelf.plain.clear();
            drop(shelf.shared.lock().unwrap_or_else(PoisonError::into_inner).take());
        }
    }

    fn own(&self) -> &Shelf {
        &self.shelves[workers::current()]
    }

    /// An unused connection: of this thread, or of any if `of_any`.
    fn take_unused(&self, of_any: bool) -> Option<Http1> {
        let take = |shelf: &Shelf| shelf.unused.take(self.keep_alive, |connection| connection.sender.is_ready());
        let own = take(self.own());
        let others = || self.shelves.iter().find_map(take);
        own.or_else(|| of_any.then(others)?)
    }

    /// As [`take_unused`](Self::take_unused); another thread's goes over to this one.
    fn take_plain(&self, of_any: bool) -> Option<TcpStream> {
        // One on which something has come is being closed, or is not what it should be.
        let is_quiet = |stream: &TcpStream| matches!(stream.try_read(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock);
        let take = |shelf: &Shelf| shelf.plain.take(self.keep_alive, is_quiet);
        if let Some(own) = take(self.own()) {
            return Some(own);
        }
        let other = of_any.then(|| self.shelves.iter().find_map(take))??;
        other.into_std().and_then(TcpStream::from_std).ok()
    }

    fn keep(&self, connection: Http1) {
        self.shelves[connection.worker].unused.keep(Http1 { kept: true, ..connection }, self.keep_alive);
    }
}

impl Shelf {
    fn shared(&self) -> Option<http2::SendRequest<RequestBody>> {
        let shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        shared.as_ref().filter(|sender| !sender.is_closed()).cloned()
    }
}

impl Instance {
    /// A connection that can take a request: an unused one, the shared one, or a new one.
    pub(crate) async fn connection(&self, connect: &dyn Connect, settings: &Settings) -> Result<Sender, OpenError> {
        // With little to do another thread's is better than a new one; with much, each thread soon has its own.
        let alone = self.in_flight() <= 1;
        match self.ingress().protocol {
            Protocol::Http1 => match self.connections.take_unused(alone) {
                Some(connection) => Ok(Sender::Http1(connection)),
                None => match self.connections.take_plain(alone) {
                    Some(stream) => self.begin_http1(stream, true).await,
                    None => self.new_connection(connect, settings).await,
                },
            },
            Protocol::H2c => match self.connections.own().shared() {
                Some(sender) => Ok(Sender::H2c(sender)),
                None => self.open_shared(connect, settings).await.map(Sender::H2c),
            },
        }
    }

    /// A new connection for one HTTP/1.1 request after the other.
    pub(crate) async fn new_connection(&self, connect: &dyn Connect, settings: &Settings) -> Result<Sender, OpenError> {
        self.begin_http1(self.open(connect, settings).await?, false).await
    }

    /// An unused connection for `lane`, which this thread drives from now on.
    pub(crate) fn kept_plain(&self) -> Option<TcpStream> {
        self.connections.take_plain(self.in_flight() <= 1)
    }

    /// A new connection for `lane` that this thread drives.
    pub(crate) async fn new_plain(&self, connect: &dyn Connect, settings: &Settings) -> Result<TcpStream, OpenError> {
        if self.in_flight() <= 1 {
            // A container that serves one connection at a time would take none besides it.
            self.connections.shelves.iter().for_each(|shelf| shelf.unused.clear());
        }
        self.open(connect, settings).await
    }

    /// Keeps a connection of `lane` whose response is over. Who calls this is on the thread that drives it.
    pub(crate) fn keep_plain(&self, stream: TcpStream) {
        if self.is_published() {
            self.connections.own().plain.keep(stream, self.connections.keep_alive);
        }
    }

    async fn open(&self, connect: &dyn Connect, settings: &Settings) -> Result<TcpStream, OpenError> {
        let limit = settings.connect_timeout;
        let stream = tokio::time::timeout(limit, connect.connect(self.id(), self.ingress().port))
            .await
            .map_err(|_| OpenError::Timeout(limit))?
            .map_err(OpenError::Connect)?;
        stream.set_nodelay(true).map_err(OpenError::Connect)?;
        Ok(stream)
    }

    async fn begin_http1(&self, stream: TcpStream, kept: bool) -> Result<Sender, OpenError> {
        let (stream, heard) = Counted::new(stream);
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(OpenError::Handshake)?;
        let id = self.id().clone();
        tokio::spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(instance = %id, %error, "connection to an instance ended");
            }
        });
        let mark = heard.mark();
        Ok(Sender::Http1(Http1 { sender, heard, mark, kept, worker: workers::current() }))
    }

    async fn open_shared(
        &self,
        connect: &dyn Connect,
        settings: &Settings,
    ) -> Result<http2::SendRequest<RequestBody>, OpenError> {
        let shelf = self.connections.own();
        let _one_at_a_time = shelf.opening.lock().await;
        if let Some(sender) = shelf.shared() {
            return Ok(sender);
        }
        let stream = self.open(connect, settings).await?;
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .handshake(TokioIo::new(stream))
            .await
            .map_err(OpenError::Handshake)?;
        let id = self.id().clone();
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(instance = %id, %error, "connection to an instance ended");
            }
        });
        *shelf.shared.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender.clone());
        Ok(sender)
    }

    /// Keeps a connection whose response is over, if it can be used again.
    pub(crate) fn give_back(self: &Arc<Self>, sender: Sender) {
        let Sender::Http1(mut connection) = sender else {
            return;
        };
        if connection.sender.is_ready() {
            self.keep(connection);
        } else if !connection.sender.is_closed() {
            let instance = self.clone();
            tokio::spawn(async move {
                if let Ok(Ok(())) = tokio::time::timeout(SETTLE, connection.sender.ready()).await {
                    instance.keep(connection);
                }
            });
        }
    }

    fn keep(&self, connection: Http1) {
        if self.is_published() {
            self.connections.keep(connection);
        }
    }
}
