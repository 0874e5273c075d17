//! A plain request's try on an instance, up to its response's head.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use homerun_model::container::Protocol;
use http::Method;
use tokio::net::TcpStream;

use super::body::{Body, Malformed, Taken};
use super::request::Plain;
use super::response::{self, Asked, Head, Read};
use crate::Ingress;
use crate::client::Client;
use crate::deliver::{Exchange, TryError};
use crate::heard::{End, was_unread};
use crate::idle::Activity;
use crate::instance::Instance;
use crate::lease::Lease;
use crate::outgoing::Outgoing;
use crate::respond::Failure;
use crate::route::HostRoute;
use crate::scratch;
use crate::timer::Timer;
use crate::trace::TraceContext;

/// A plain request on its way.
pub(super) struct Attempt<'a> {
    client: &'a Arc<Client>,
    activity: &'a Activity,
    plain: &'a Plain,
    /// All that is sent, again for each try.
    outbound: Outgoing,
    /// Ends when the request's time is over, which begins with the first lease.
    timer: &'a mut Option<Timer>,
    begun: bool,
}

/// Why no instance answers.
pub(super) enum Stop {
    /// The client is to be told this.
    Failed {
        failure: Failure,
        /// Bytes of the request's body that went to an instance.
        body_sent: u64,
    },
    /// The request is not for the lane after all. Nothing of it was sent.
    HandOver,
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed { failure, body_sent: 0 }
    }
}

/// What an instance answers, as far as it has come.
pub(super) struct Answer {
    pub(super) head: Head,
    /// Whether the client's connection ends with it.
    pub(super) close: bool,
    pub(super) stream: TcpStream,
    /// The request, of which the instance may not have taken all yet.
    pub(super) request: Outgoing,
    /// Bytes of the request before its body.
    pub(super) request_head: usize,
    /// What the client is to have: the head and the beginning of the body.
    pub(super) out: Vec<u8>,
    /// What there was of the body.
    pub(super) taken: Result<Taken, Malformed>,
}

impl Answer {
    /// Bytes of the request's body that went to the instance.
    pub(super) fn body_sent(&self) -> u64 {
        self.request.written().saturating_sub(self.request_head) as u64
    }

    /// Whether its body announces that it is larger.
    pub(super) fn exceeds(&self, most: Option<u64>) -> bool {
        let taken = self.taken.as_ref().map_or(0, |taken| taken.data as u64);
        most.is_some_and(|most| matches!(self.head.body, Body::Length(left) if left + taken > most))
    }
}

impl<'a> Attempt<'a> {
    pub(super) fn new(
        plain: &'a mut Plain,
        client: &'a Arc<Client>,
        activity: &'a Activity,
        trace: &TraceContext,
        timer: &'a mut Option<Timer>,
    ) -> Self {
        let outbound = Outgoing::new(plain.outbound(client, trace));
        Self { client, activity, plain, outbound, timer, begun: false }
    }
}

impl Exchange for Attempt<'_> {
    type Answer = Answer;
    type Stop = Stop;

    fn host(&self) -> &str {
        self.plain.host.to_str().unwrap_or_default()
    }

    fn client(&self) -> &Client {
        self.client
    }

    async fn enter(&mut self, _: &Ingress, route: &HostRoute) -> Result<Option<u64>, Stop> {
        if route.plain { Ok(None) } else { Err(Stop::HandOver) }
    }

    async fn attempt(&mut self, ingress: &Ingress, lease: &Lease) -> Result<Answer, TryError<Stop>> {
        let instance = lease.instance();
        // Its route would have said so.
        if instance.ingress().protocol != Protocol::Http1 {
            return Err(TryError::Over(Stop::HandOver));
        }
        let timer = self.timer.get_or_insert_with(|| Timer::new(lease.until));
        if !std::mem::replace(&mut self.begun, true) {
            timer.set(lease.until);
        }
        instance.work(&*ingress.connect);
        let (plain, activity, outbound) = (self.plain, self.activity, &mut self.outbound);
        let attempt = try_connections(ingress, instance, plain, activity, outbound);
        let result = tokio::select! {
            // The time first: an instance that sends without a pause would leave it no turn.
            biased;
            () = timer => Err(failed(Failure::Timeout)),
            result = attempt => result,
        };
        let head = self.outbound.len().saturating_sub(self.plain.body.len());
        let result = result.map_err(|error| match error {
            TryError::Over(Stop::Failed { failure, .. }) => {
                let body_sent = self.outbound.written().saturating_sub(head) as u64;
                TryError::Over(Stop::Failed { failure, body_sent })
            }
            other => other,
        });
        if !matches!(result, Err(TryError::NotSent(_))) {
            instance.count_request();
        }
        result
    }
}

/// Sends a request to an instance on a connection that was kept, and if the instance has just ended that, on a new one,
/// which also tells whether the instance serves.
async fn try_connections(
    ingress: &Ingress,
    instance: &Instance,
    plain: &Plain,
    activity: &Activity,
    request: &mut Outgoing,
) -> Result<Answer, TryError<Stop>> {
    let mut stream = instance.kept_plain();
    loop {
        let kept = stream.is_some();
        if !kept {
            let opened = instance.new_plain(&*ingress.connect, &ingress.settings).await;
            stream = Some(opened.map_err(|error| TryError::unreachable(instance, &error))?);
        }
        let trip =
            Trip { stream, request: &mut *request, plain, activity, begun: Vec::new(), skipped: 0, refused: false };
        let (ended, end) = match trip.await {
            Ok(answer) => return Ok(answer),
            Err(Broken::Failed(failure)) => return Err(failed(failure)),
            Err(Broken::Ended(stream, end)) => (stream, end),
        };
        let sent = request.written();
        // A new connection that is reset was not ended for want of requests.
        let may_ask = kept || end == End::Closed;
        if sent > 0 && !(may_ask && was_unread(&ended, sent, end, &plain.method).await) {
            return Err(failed(Failure::ConnectionLost));
        }
        request.rewind();
        if !kept {
            return Err(TryError::NotSent(Failure::ConnectionLost));
        }
        stream = None;
    }
}

fn failed(failure: Failure) -> TryError<Stop> {
    TryError::Over(Stop::Failed { failure, body_sent: 0 })
}

/// Sends a request and waits for the response's head.
struct Trip<'a> {
    /// Taken when it has answered.
    stream: Option<TcpStream>,
    request: &'a mut Outgoing,
    plain: &'a Plain,
    activity: &'a Activity,
    /// The beginning of a head that comes in pieces.
    begun: Vec<u8>,
    /// Bytes that only announced the response.
    skipped: usize,
    /// Whether the instance has refused some of the request.
    refused: bool,
}

/// Why a trip brings no answer.
enum Broken {
    /// What the instance says is no answer.
    Failed(Failure),
    /// The instance has ended the connection before it said anything.
    Ended(TcpStream, End),
}

impl Future for Trip<'_> {
    type Output = Result<Answer, Broken>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { stream: slot, request, plain, activity, begun, skipped, refused } = &mut *self;
        let Some(stream) = slot.as_mut() else { return Poll::Ready(Err(Broken::Failed(Failure::ConnectionLost))) };
        // What has come before the request is no answer to it: the instance is closing the connection.
        let early = request.written() == 0 && scratch::poll_read(Pin::new(&mut *stream), cx, |_, _| ()).is_ready();
        if !early && let Poll::Ready(Err(error)) = request.poll_write(Pin::new(&mut *stream), cx) {
            tracing::debug!(%error, "an instance does not take a request");
            // It may have answered before it ended the connection.
            *refused = true;
        }
        let mut end = (early || *refused && request.written() == 0).then_some(End::Closed);
        while end.is_none() {
            let asked = Asked { head: plain.method == Method::HEAD, close: plain.close || activity.is_ending() };
            let read = ready!(scratch::poll_read(Pin::new(&mut *stream), cx, |_, read| {
                end = match read {
                    Ok([]) if !*refused => Some(End::Closed),
                    Ok([]) | Err(_) => Some(End::Reset),
                    Ok(_) => None,
                };
                piece(read, begun, skipped, asked)
            }));
            match read {
                Ok(None) => {}
                Ok(Some((head, out, taken))) => {
                    let Some(stream) = slot.take() else { break };
                    let request_head = request.len() - plain.body.len();
                    let request = std::mem::take(*request);
                    return Poll::Ready(Ok(Answer {
                        head,
                        close: asked.close,
                        stream,
                        request,
                        request_head,
                        out,
                        taken,
                    }));
                }
                Err(_) if end.is_some() && begun.is_empty() && *skipped == 0 => {}
                Err(failure) => return Poll::Ready(Err(Broken::Failed(failure))),
            }
        }
        let ended = slot.take().zip(end).map(|(stream, end)| Broken::Ended(stream, end));
        Poll::Ready(Err(ended.unwrap_or(Broken::Failed(Failure::ConnectionLost))))
    }
}

type Begun = (Head, Vec<u8>, Result<Taken, Malformed>);

/// A piece of what an instance sends before its response's head is whole.
fn piece(
    read: io::Result<&[u8]>,
    begun: &mut Vec<u8>,
    skipped: &mut usize,
    asked: Asked,
) -> Result<Option<Begun>, Failure> {
    let bytes = read.ok().filter(|bytes| !bytes.is_empty()).ok_or(Failure::ConnectionLost)?;
    let before = begun.len();
    if before > 0 {
        begun.extend_from_slice(bytes);
        // Read from its beginning for each of many small pieces, a long head would take for ever.
        if begun.len() <= response::MAX_HEAD && !response::may_end(begun, before) {
            return Ok(None);
        }
    }
    let mut input = if before > 0 { &begun[..] } else { bytes };
    loop {
        let mut out = scratch::take_spare();
        match response::read(input, asked, &mut out) {
            Ok(Read::Head(mut head)) => {
                let taken = head.body.take(&input[head.length..], &mut out);
                return Ok(Some((head, out, taken)));
            }
            Ok(Read::Skip(length)) => {
                input = &input[length..];
                *skipped += length;
                if *skipped > response::MAX_HEAD {
                    return Err(Failure::Malformed);
                }
            }
            Ok(Read::More) => {
                *begun = input.to_vec();
                return Ok(None);
            }
            Err(Malformed) => return Err(Failure::Malformed),
        }
    }
}
