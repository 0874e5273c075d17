//! Connections that change to another protocol, for instance WebSocket.

use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::header::{CONNECTION, UPGRADE};
use http::{HeaderValue, Response};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::body::{Body, Held};
use crate::client::Deadline;
use crate::headers;
use crate::observe::Outcome;

/// How long one side may still send after the other has ended.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Bytes read at once.
const CHUNK: usize = 16 * 1024;

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
    let (mut up, mut down) = (0, 0);
    let both_ways = async {
        let (client, instance) = tokio::try_join!(client, instance).map_err(io::Error::other)?;
        let (client_in, client_out) = tokio::io::split(TokioIo::new(client));
        let (instance_in, instance_out) = tokio::io::split(TokioIo::new(instance));
        let mut upward = std::pin::pin!(copy(client_in, instance_out, &mut up));
        let mut downward = std::pin::pin!(copy(instance_in, client_out, &mut down));
        let (ended, rest) = tokio::select! {
            ended = &mut upward => (ended, tokio::time::timeout(LAST_WORDS, downward).await),
            ended = &mut downward => (ended, tokio::time::timeout(LAST_WORDS, upward).await),
        };
        // A side that says nothing more in time has nothing more to say.
        ended.and(rest.unwrap_or(Ok(())))
    };
    let outcome = tokio::select! {
        result = both_ways => result.map_or(Outcome::ClientGone, |()| Outcome::Served),
        () = deadline => Outcome::TimedOut,
    };
    held.ledger.record().response_bytes = down;
    held.request_bytes.store(up, Ordering::Relaxed);
    // The connection has become the tunnel's and is gone.
    held.finish(outcome);
}

async fn copy(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, total: &mut u64) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    loop {
        let read = from.read(&mut chunk).await?;
        if read == 0 {
            return to.shutdown().await;
        }
        to.write_all(&chunk[..read]).await?;
        to.flush().await?;
        *total += read as u64;
    }
}
