//! Connections that change to another protocol, for instance WebSocket.

use std::io;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::header::{CONNECTION, UPGRADE};
use http::{HeaderValue, Response};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::body::{Body, Held};
use crate::client::Deadline;
use crate::observe::Outcome;
use crate::outgoing::Outgoing;
use crate::{headers, scratch};

/// How long one side may still send after the other has ended.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Bytes read at once. As many are held where the receiver is slow, and there may be many tunnels.
const PIECE: usize = 16 * 1024;

/// Passes the instance's 101 on and from then on carries bytes both ways, until a side ends or the
/// request's time is over. The slot is held all the while.
pub(crate) fn tunnel(
    mut response: Response<Incoming>,
    client: OnUpgrade,
    held: Held,
    deadline: Deadline,
) -> Response<Body> {
    let instance = hyper::upgrade::on(&mut response);
    tokio::spawn(carry(client, instance, held, deadline));
    let (mut parts, _) = response.into_parts();
    let protocol = parts.headers.get(UPGRADE).cloned();
    headers::strip_hop_by_hop(&mut parts.headers);
    parts.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    if let Some(protocol) = protocol {
        parts.headers.insert(UPGRADE, protocol);
    }
    Response::from_parts(parts, Body::text(""))
}

async fn carry(client: OnUpgrade, instance: OnUpgrade, mut held: Held, deadline: Deadline) {
    let (mut up, mut down) = (Way::default(), Way::default());
    let both_ways = async {
        let Ok((client, instance)) = tokio::try_join!(client, instance) else { return Outcome::ClientGone };
        let (mut client, mut instance) = (TokioIo::new(client), TokioIo::new(instance));
        let mut up_first = false;
        let mut over = |cx: &mut Context<'_>| {
            // One that never ends leaves the other no turn when it comes first.
            up_first = !up_first;
            let ways = if up_first {
                [up.poll(&mut client, &mut instance, cx), down.poll(&mut instance, &mut client, cx)]
            } else {
                [down.poll(&mut instance, &mut client, cx), up.poll(&mut client, &mut instance, cx)]
            };
            ways.into_iter().filter(Poll::is_ready).count()
        };
        std::future::poll_fn(|cx| if over(cx) > 0 { Poll::Ready(()) } else { Poll::Pending }).await;
        let both = std::future::poll_fn(|cx| if over(cx) > 1 { Poll::Ready(()) } else { Poll::Pending });
        // A side that says nothing more in time has nothing more to say.
        let _ = tokio::time::timeout(LAST_WORDS, both).await;
        if up.failed || down.failed { Outcome::ClientGone } else { Outcome::Served }
    };
    let outcome = tokio::select! {
        // The time first: what comes and goes without a pause would leave it no turn.
        biased;
        () = deadline => Outcome::TimedOut,
        outcome = both_ways => outcome,
    };
    held.ledger.record().response_bytes = down.passed();
    held.request_bytes.store(up.passed(), Ordering::Relaxed);
    // The connection has become the tunnel's and is gone.
    held.finish(outcome);
}

/// One direction of a tunnel.
#[derive(Default)]
struct Way {
    /// What the receiver has not taken yet.
    waiting: Outgoing,
    /// Bytes that have come.
    bytes: u64,
    /// Whether no more will come.
    ended: bool,
    /// Whether the receiver knows that.
    over: bool,
    failed: bool,
}

impl Way {
    /// Bytes that the receiver has taken.
    fn passed(&self) -> u64 {
        self.bytes - self.waiting.left() as u64
    }

    /// Ready when it is over, for whatever reason.
    fn poll<R, W>(&mut self, from: &mut R, to: &mut W, cx: &mut Context<'_>) -> Poll<()>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        if !self.over {
            self.failed = ready!(self.carry(from, to, cx)).is_err();
            self.over = true;
        }
        Poll::Ready(())
    }

    fn carry<R, W>(&mut self, from: &mut R, to: &mut W, cx: &mut Context<'_>) -> Poll<io::Result<()>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        loop {
            if self.waiting.len() > 0 {
                ready!(self.waiting.poll_write(Pin::new(&mut *to), cx))?;
                self.waiting = Outgoing::default();
            }
            if self.ended {
                return Pin::new(&mut *to).poll_shutdown(cx);
            }
            ready!(Pin::new(&mut *to).poll_flush(cx))?;
            let waiting = &mut self.waiting;
            let pass = |cx: &mut Context<'_>, read: io::Result<&[u8]>| {
                let bytes = read?;
                let taken = scratch::write_through(Pin::new(&mut *to), cx, bytes);
                waiting.more().extend_from_slice(&bytes[taken..]);
                Ok::<_, io::Error>(bytes.len())
            };
            let read = ready!(scratch::poll_read_some(Pin::new(&mut *from), cx, PIECE, pass))?;
            self.bytes += read as u64;
            self.ended = read == 0;
        }
    }
}
