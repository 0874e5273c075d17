//! Client connections that do nothing, or too little: unused ones and slow headers.
//!
//! One timer per connection, looked at a few times per minute, instead of one per request.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;

use crate::coarse;
use crate::settings::Settings;

/// The first bytes of an HTTP/2 connection; no HTTP/1 method is called this.
const HTTP2_PREFACE: &[u8] = b"PRI ";

/// What a client's connection is doing. Times are milliseconds since it was accepted.
pub(crate) struct Activity {
    accepted: Duration,
    /// Requests that are not answered in full.
    active: AtomicU32,
    /// When the last request ended.
    unused_since: AtomicU64,
    /// When the first bytes of the next request's headers came; [`NONE`] before that.
    headers_since: AtomicU64,
    http2: AtomicBool,
    ending: AtomicBool,
    cut: Notify,
}

/// What a look at a connection says.
pub(crate) enum Look {
    /// Look again after this.
    Later(Duration),
    /// It has been without a request for too long.
    Unused,
    /// A request's headers take too long.
    TooSlow,
}

const NONE: u64 = u64::MAX;

impl Activity {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            accepted: coarse::now(),
            active: AtomicU32::new(0),
            unused_since: AtomicU64::new(0),
            headers_since: AtomicU64::new(0),
            http2: AtomicBool::new(false),
            ending: AtomicBool::new(false),
            cut: Notify::new(),
        })
    }

    /// A request's headers are complete. It counts until the value is dropped.
    pub(crate) fn begin(self: &Arc<Self>) -> Active {
        self.active.fetch_add(1, Ordering::Relaxed);
        self.headers_since.store(NONE, Ordering::Relaxed);
        Active(self.clone())
    }

    /// The connection is to end with the request that is on it.
    pub(crate) fn end(&self) {
        self.ending.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Relaxed)
    }

    /// Closes the connection at once, with all requests on it.
    fn cut(&self) {
        self.cut.notify_one();
    }

    /// Ready when the connection is to be closed at once.
    pub(crate) async fn until_cut(&self) {
        self.cut.notified().await;
    }

    /// Whether the connection may go on.
    pub(crate) fn look(&self, settings: &Settings) -> Look {
        if self.active.load(Ordering::Relaxed) > 0 {
            return Look::Later(settings.header_timeout);
        }
        let headers_since = self.headers_since.load(Ordering::Relaxed);
        let (end, over) = if headers_since != NONE && !self.http2.load(Ordering::Relaxed) {
            (Duration::from_millis(headers_since) + settings.header_timeout, Look::TooSlow)
        } else {
            let unused_since = Duration::from_millis(self.unused_since.load(Ordering::Relaxed));
            (unused_since + settings.idle_timeout, Look::Unused)
        };
        match end.checked_sub(self.elapsed()) {
            None => over,
            // A request may begin meanwhile, and its headers must not take longer.
            Some(left) => Look::Later(left.min(settings.header_timeout).max(Duration::from_millis(1))),
        }
    }

    fn elapsed(&self) -> Duration {
        coarse::now().saturating_sub(self.accepted)
    }

    fn now(&self) -> u64 {
        self.elapsed().as_millis() as u64
    }

    fn received(&self, bytes: &[u8]) {
        if self.active.load(Ordering::Relaxed) > 0 {
            return;
        }
        match self.headers_since.load(Ordering::Relaxed) {
            NONE => self.headers_since.store(self.now(), Ordering::Relaxed),
            0 if bytes.starts_with(HTTP2_PREFACE) => self.http2.store(true, Ordering::Relaxed),
            _ => {}
        }
    }
}

/// A request that is not answered in full.
pub(crate) struct Active(Arc<Activity>);

impl Active {
    /// Closes the connection that the request came on, at once.
    pub(crate) fn cut_connection(&self) -> impl FnOnce() + Send + use<> {
        let activity = self.0.clone();
        move || activity.cut()
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.unused_since.store(self.0.now(), Ordering::Relaxed);
        self.0.active.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A connection whose reading is noted.
pub(crate) struct Watched<S> {
    stream: S,
    activity: Arc<Activity>,
    /// What has been read and given back.
    unread: Bytes,
}

impl<S> Watched<S> {
    pub(crate) fn new(stream: S, activity: Arc<Activity>) -> Self {
        Self { stream, activity, unread: Bytes::new() }
    }

    pub(crate) fn activity(&self) -> &Arc<Activity> {
        &self.activity
    }

    /// Reads what is not noted: whoever reads so says of each request that it begins, or gives it back.
    pub(crate) fn unnoted(&mut self) -> &mut S {
        &mut self.stream
    }

    /// What is to be read again, before all else.
    pub(crate) fn unread(&mut self, bytes: Bytes) {
        self.activity.received(&bytes);
        self.unread = bytes;
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.unread.is_empty() {
            let here = self.unread.len().min(buffer.remaining());
            buffer.put_slice(&self.unread.split_to(here));
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        if let read @ [_, ..] = &buffer.filled()[before..] {
            self.activity.received(read);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
