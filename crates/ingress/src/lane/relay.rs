//! A response on its way from the instance to the client.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};

use super::body::{Body, Malformed};
use super::exchange::Answer;
use crate::lease::Lease;
use crate::observe::{Ledger, Outcome};
use crate::outgoing::Outgoing;
use crate::respond;
use crate::scratch;
use crate::timer::Timer;

/// A response that has begun, and all that is held until it ends.
pub(super) struct Relay {
    answer: Answer,
    out: Outgoing,
    lease: Lease,
    ledger: Ledger,
    /// Whether the instance can be sent another request on this connection.
    keep: bool,
    broken: bool,
}

impl Relay {
    pub(super) fn new(mut answer: Answer, lease: Lease, mut ledger: Ledger) -> Self {
        let out = Outgoing::new(std::mem::take(&mut answer.out));
        let record = ledger.record();
        record.status = answer.head.status.as_u16();
        let (mut keep, broken) = (answer.head.keep, answer.taken.is_err());
        if let Ok(taken) = &answer.taken {
            record.response_bytes = taken.data as u64;
            keep &= taken.behind == 0;
        }
        Self { answer, out, lease, ledger, keep, broken }
    }

    /// Passes it on until it ends; whether the client has got it whole.
    pub(super) async fn pass<S: AsyncRead + AsyncWrite + Unpin>(
        mut self,
        client: &mut S,
        early: &mut Bytes,
        timer: &mut Option<Timer>,
    ) -> bool {
        // There is one since the first try.
        let timer = timer.get_or_insert_with(|| Timer::new(self.lease.until));
        let outcome = tokio::select! {
            // The time first: a body that comes and goes without a pause would leave it no turn.
            biased;
            () = &mut *timer => Outcome::TimedOut,
            outcome = std::future::poll_fn(|cx| self.poll_body(client, early, cx)) => outcome,
        };
        let mut out = self.finish(outcome);
        if matches!(outcome, Outcome::TimedOut | Outcome::ClientGone) {
            return false;
        }
        // What is left for the client is held by nobody but the client.
        let left = std::future::poll_fn(|cx| {
            ready!(out.poll_write(Pin::new(&mut *client), cx))?;
            Pin::new(&mut *client).poll_flush(cx)
        });
        let sent = tokio::select! {
            biased;
            sent = left => sent.is_ok(),
            () = timer => false,
        };
        sent && outcome == Outcome::Served
    }

    /// Frees the connection, then the slot, so that who gets the slot finds the connection; then hands in the record.
    fn finish(self, outcome: Outcome) -> Outgoing {
        let Self { answer, out, lease, mut ledger, keep, .. } = self;
        let record = ledger.record();
        record.outcome = outcome;
        record.message = respond::break_off(outcome).map(str::to_owned);
        record.request_bytes = answer.body_sent();
        if outcome == Outcome::Served && keep && answer.request.is_done() {
            lease.instance().keep_plain(answer.stream);
        } else {
            drop(answer.stream);
        }
        drop(lease);
        out
    }

    /// Ready when the instance has nothing more to say.
    fn poll_body<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        client: &mut S,
        early: &mut Bytes,
        cx: &mut Context<'_>,
    ) -> Poll<Outcome> {
        loop {
            if self.answer.head.body.is_whole() {
                return Poll::Ready(Outcome::Served);
            }
            if self.broken {
                return Poll::Ready(Outcome::InstanceGone);
            }
            if let Poll::Ready(Err(_)) = self.answer.request.poll_write(Pin::new(&mut self.answer.stream), cx) {
                self.keep = false;
            }
            let written = match self.out.poll_write(Pin::new(&mut *client), cx) {
                Poll::Ready(Ok(())) => Pin::new(&mut *client).poll_flush(cx),
                other => other,
            };
            match written {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(Outcome::ClientGone),
                Poll::Pending => return poll_gone(client, cx, early).map(|()| Outcome::ClientGone),
            }
            let Self { answer, out, .. } = self;
            let (stream, body) = (Pin::new(&mut answer.stream), &mut answer.head.body);
            match scratch::poll_read(stream, cx, |cx, read| pass_piece(read, body, out, client, cx)) {
                Poll::Pending => return poll_gone(client, cx, early).map(|()| Outcome::ClientGone),
                Poll::Ready(Ok((data, behind))) => {
                    self.ledger.record().response_bytes += data as u64;
                    self.keep &= behind == 0;
                }
                Poll::Ready(Err(Malformed)) => self.broken = true,
            }
        }
    }
}

/// Passes on a piece of a body; how much of it that was, and how much came behind it.
fn pass_piece<S: AsyncWrite + Unpin>(
    read: io::Result<&[u8]>,
    body: &mut Body,
    out: &mut Outgoing,
    client: &mut S,
    cx: &mut Context<'_>,
) -> Result<(usize, usize), Malformed> {
    let bytes = match read {
        Ok([]) if body.end(out.more()) => return Ok((0, 1)),
        Ok([]) | Err(_) => return Err(Malformed),
        Ok(bytes) => bytes,
    };
    let mut done = 0;
    // What needs no other form goes from one socket to the other; what the client does not take is kept.
    if let Body::Length(left) = body {
        let most = bytes.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
        done = scratch::write_through(Pin::new(&mut *client), cx, &bytes[..most]);
        *left -= done as u64;
    }
    let taken = body.take(&bytes[done..], out.more())?;
    Ok((done + taken.data, taken.behind))
}

/// Ready when the client has gone. What it sends meanwhile is kept for later, one piece of it: a client that sends more
/// before it is answered has to wait.
pub(super) fn poll_gone<S: AsyncRead + Unpin>(stream: &mut S, cx: &mut Context<'_>, early: &mut Bytes) -> Poll<()> {
    while early.is_empty() {
        let gone = ready!(scratch::poll_read(Pin::new(&mut *stream), cx, |_, read| match read {
            Ok([]) | Err(_) => true,
            Ok(bytes) => {
                *early = Bytes::copy_from_slice(bytes);
                false
            }
        }));
        if gone {
            return Poll::Ready(());
        }
    }
    Poll::Pending
}
