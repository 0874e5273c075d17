//! Bodies on their way through: frames are passed on one by one, counted and never gathered.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::client::Deadline;
use crate::idle::Active;
use crate::lease::Lease;
use crate::observe::{Ledger, Outcome};
use crate::respond;
use crate::upstream::Sender;

/// A request's body on its way to an instance.
pub(crate) struct RequestBody {
    /// `None` for the copy of one that is empty.
    inner: Option<Incoming>,
    sent: Arc<AtomicU64>,
    /// Bytes that it may have.
    most: u64,
}

/// Why a request's body breaks off.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestBodyError {
    /// The client broke off.
    #[error("the client broke off its request")]
    Client(#[source] hyper::Error),
    /// It is larger than the settings allow.
    #[error("the request's body is too large")]
    TooLarge,
}

impl RequestBody {
    pub(crate) fn new(inner: Incoming, sent: Arc<AtomicU64>, most: u64) -> Self {
        Self { inner: Some(inner), sent, most }
    }

    /// The same once more, if there is nothing of it.
    pub(crate) fn copy(&self) -> Option<Self> {
        self.is_end_stream().then(|| Self { inner: None, sent: self.sent.clone(), most: self.most })
    }
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = RequestBodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RequestBodyError>>> {
        let Some(inner) = &mut self.inner else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(inner).poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            let length = data.len() as u64;
            if self.sent.fetch_add(length, Ordering::Relaxed) + length > self.most {
                return Poll::Ready(Some(Err(RequestBodyError::TooLarge)));
            }
        }
        Poll::Ready(frame.map(|frame| frame.map_err(RequestBodyError::Client)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

/// Why a response breaks off after its headers; the client's connection or stream ends with it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    /// The instance broke off.
    #[error("the instance broke off its response")]
    Instance(#[source] hyper::Error),
    /// The request's time is over.
    #[error("the request has reached its timeout")]
    Timeout,
}

/// How long after the request's time a client may be stuck before its connection is closed.
const STUCK: Duration = Duration::from_secs(1);

/// A response's body on its way to a client.
pub(crate) struct Body {
    kind: Kind,
    /// Keeps the client's connection from being taken for an unused one.
    active: Option<Active>,
}

enum Kind {
    /// Ingress's own words, until they are sent.
    Text(Option<Bytes>),
    /// What the instance sends.
    Relay(Shared, Option<Keeper>),
}

type Shared = Arc<Mutex<Relay>>;

impl Body {
    /// A body that ingress wrote itself.
    pub(crate) fn text(text: impl Into<Bytes>) -> Self {
        let text = text.into();
        Self { kind: Kind::Text((!text.is_empty()).then_some(text)), active: None }
    }

    /// Ingress's own words, if it is made of such.
    pub(crate) fn into_text(self) -> Bytes {
        match self.kind {
            Kind::Text(text) => text.unwrap_or_default(),
            Kind::Relay(..) => Bytes::new(),
        }
    }

    pub(crate) fn relay(relay: Relay) -> Self {
        Self { kind: Kind::Relay(Arc::new(Mutex::new(relay)), None), active: None }
    }

    pub(crate) fn keeping(self, active: Active) -> Self {
        Self { active: Some(active), ..self }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Self { kind, active } = &mut *self;
        match kind {
            Kind::Text(text) => Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
            Kind::Relay(shared, keeper) => {
                let mut relay = lock(shared);
                let frame = relay.poll_frame(cx);
                if keeper.is_none() && frame.is_ready() && relay.held.is_some() {
                    *keeper = active.as_ref().map(|active| Keeper::new(shared, relay.deadline.at(), active));
                }
                frame
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Text(text) => text.is_none(),
            Kind::Relay(shared, _) => lock(shared).inner.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Text(text) => SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64)),
            Kind::Relay(shared, _) => lock(shared).inner.size_hint(),
        }
    }
}

/// Used by one task at a time; a panic in between ends that request alone.
fn lock(shared: &Shared) -> MutexGuard<'_, Relay> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends a response whose client does not read: its body is not polled, so it cannot see by itself that
/// its time is over. Only responses of more than one frame have one.
struct Keeper(AbortHandle);

impl Keeper {
    fn new(shared: &Shared, deadline: Instant, active: &Active) -> Self {
        let (relay, cut_connection) = (Arc::downgrade(shared), active.cut_connection());
        let task = tokio::spawn(async move {
            tokio::time::sleep_until(deadline + STUCK).await;
            let held = relay.upgrade().and_then(|relay| lock(&relay).held.take());
            if let Some(held) = held {
                held.finish(Outcome::TimedOut);
                cut_connection();
            }
        });
        Self(task.abort_handle())
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A response's body together with all that is held until it ends.
pub(crate) struct Relay {
    pub(crate) inner: Incoming,
    pub(crate) deadline: Deadline,
    /// `None` once the response is over.
    pub(crate) held: Option<Held>,
}

/// What a request holds while an instance serves it.
pub(crate) struct Held {
    pub(crate) sender: Sender,
    pub(crate) lease: Lease,
    pub(crate) ledger: Ledger,
    pub(crate) request_bytes: Arc<AtomicU64>,
}

impl Held {
    /// Frees the connection, then the slot, so that who gets the slot finds the connection; then hands
    /// in the record.
    pub(crate) fn finish(mut self, outcome: Outcome) {
        let record = self.ledger.record();
        record.outcome = outcome;
        record.message = respond::break_off(outcome).map(str::to_owned);
        record.request_bytes = self.request_bytes.load(Ordering::Relaxed);
        if outcome == Outcome::Served {
            self.lease.instance().give_back(self.sender);
        }
        drop(self.lease);
    }
}

impl Relay {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.held.is_some() && Pin::new(&mut self.deadline).poll(cx).is_ready() {
            self.finish(Outcome::TimedOut);
        }
        if self.held.is_none() && !self.inner.is_end_stream() {
            return Poll::Ready(Some(Err(BodyError::Timeout)));
        }
        match ready!(Pin::new(&mut self.inner).poll_frame(cx)) {
            Some(Ok(frame)) => {
                if let (Some(data), Some(held)) = (frame.data_ref(), &mut self.held) {
                    held.ledger.record().response_bytes += data.len() as u64;
                }
                if self.inner.is_end_stream() {
                    self.finish(Outcome::Served);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => {
                self.finish(Outcome::InstanceGone);
                Poll::Ready(Some(Err(BodyError::Instance(error))))
            }
            None => {
                self.finish(Outcome::Served);
                Poll::Ready(None)
            }
        }
    }

    fn finish(&mut self, outcome: Outcome) {
        if let Some(held) = self.held.take() {
            held.finish(outcome);
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // A body that is empty or whose length is known is not polled to its end.
        let whole = self.inner.is_end_stream();
        self.finish(if whole { Outcome::Served } else { Outcome::ClientGone });
    }
}
