//! Lane: the short way of plain HTTP/1.1 requests, which most are.
//!
//! hyper drives the client's end and the instance's end of an exchange as two machines that talk through channels, and
//! makes maps of all headers. Here one task reads a request, sends it to the instance and passes the answer on, with
//! nothing between the two sockets; a connection without a request holds no memory for one. Each piece that comes is
//! read into a buffer that all connections of a thread share.
//!
//! What is not plain (see [`request`]) goes to `proxy`, and the connection's later requests with it.

mod body;
mod chunked;
mod date;
mod exchange;
mod relay;
mod request;
mod response;

use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Response, Version};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use crate::Ingress;
use crate::body::Body;
use crate::client::Client;
use crate::idle::Activity;
use crate::observe::{Arrival, Ledger};
use crate::respond::{self, Failure};
use crate::scratch;
use crate::timer::Timer;
use crate::trace::TraceContext;

use exchange::{Attempt, Stop};
use relay::Relay;
use request::Plain;

/// How long a client may take for its connection's end.
const GOODBYE: Duration = Duration::from_secs(1);
/// How long a client may take for an answer of ingress's own, which is small.
const OWN_ANSWER: Duration = Duration::from_secs(5);

/// How a request on the lane ended.
enum Next {
    /// The connection takes another.
    GoOn,
    /// The connection ends.
    End,
    /// It was not answered: it is not for the lane.
    HandOver(Bytes),
}

/// A client's connection, as the lane drives it.
pub(crate) struct Lane<'a, S> {
    ingress: &'a Ingress,
    stream: &'a mut S,
    client: &'a Arc<Client>,
    activity: &'a Arc<Activity>,
    /// What has come while the request before was answered.
    early: Bytes,
    /// The time of its requests, once there was one.
    timer: Option<Timer>,
}

impl<'a, S: AsyncRead + AsyncWrite + Unpin> Lane<'a, S> {
    pub(crate) fn new(
        ingress: &'a Ingress,
        stream: &'a mut S,
        client: &'a Arc<Client>,
        activity: &'a Arc<Activity>,
    ) -> Self {
        Self { ingress, stream, client, activity, early: Bytes::new(), timer: None }
    }

    /// Answers requests until the connection is over or one is not plain: then what has been read and is not answered.
    pub(crate) async fn run(mut self) -> Option<Bytes> {
        loop {
            let Some(bytes) = self.read().await else {
                self.end().await;
                return None;
            };
            let Some(plain) = Plain::read(&bytes, &self.ingress.settings) else { return Some(bytes) };
            let active = self.activity.begin();
            let next = self.answer(plain).await;
            drop(active);
            match next {
                Next::GoOn => {}
                Next::End => {
                    self.end().await;
                    return None;
                }
                Next::HandOver(bytes) => return Some(joined(bytes, &self.early)),
            }
        }
    }

    /// Says goodbye, whether or not the client takes it.
    async fn end(&mut self) {
        let _ = tokio::time::timeout(GOODBYE, self.stream.shutdown()).await;
    }

    /// What comes next; `None` if the client has gone or the connection is to end.
    async fn read(&mut self) -> Option<Bytes> {
        if !self.early.is_empty() {
            return Some(std::mem::take(&mut self.early));
        }
        std::future::poll_fn(|cx| {
            if self.activity.is_ending() {
                return Poll::Ready(None);
            }
            scratch::poll_read(Pin::new(&mut *self.stream), cx, |_, read| match read {
                Ok([]) | Err(_) => None,
                Ok(bytes) => Some(Bytes::copy_from_slice(bytes)),
            })
        })
        .await
    }

    async fn answer(&mut self, mut plain: Plain) -> Next {
        let trace = TraceContext::generate();
        let mut ledger = self.begin_record(&plain, trace);
        let mut attempt = Attempt::new(&mut plain, self.client, self.activity, &trace, &mut self.timer);
        let answered = {
            let deliver = std::pin::pin!(self.ingress.deliver(&mut attempt, &mut ledger));
            tokio::select! {
                biased;
                answered = deliver => answered,
                () = std::future::poll_fn(|cx| relay::poll_gone(self.stream, cx, &mut self.early)) => return Next::End,
            }
        };
        let (answer, lease) = match answered {
            Ok(answered) => answered,
            Err(Stop::HandOver) => {
                ledger.withdraw();
                return Next::HandOver(plain.bytes);
            }
            Err(Stop::Failed { failure, body_sent }) => {
                ledger.record().request_bytes = body_sent;
                return self.refuse(&failure, ledger, &plain).await;
            }
        };
        if answer.exceeds(self.ingress.settings.max_http1_response) {
            ledger.record().request_bytes = answer.body_sent();
            drop((answer, lease));
            return self.refuse(&Failure::ResponseTooLarge, ledger, &plain).await;
        }
        let close = answer.close;
        let whole = Relay::new(answer, lease, ledger).pass(self.stream, &mut self.early, &mut self.timer).await;
        if whole && !close { Next::GoOn } else { Next::End }
    }

    fn begin_record(&self, plain: &Plain, trace: TraceContext) -> Ledger {
        let arrival = Arrival {
            host: plain.host.clone(),
            method: plain.method.clone(),
            path: plain.path.clone(),
            version: Version::HTTP_11,
            trace,
            user_agent: plain.user_agent.clone(),
            referer: plain.referer.clone(),
        };
        Ledger::begin(self.client.clone(), arrival)
    }

    /// Answers by itself.
    async fn refuse(&mut self, failure: &Failure, ledger: Ledger, plain: &Plain) -> Next {
        let close = plain.close || self.activity.is_ending();
        let bytes = own_answer(respond::refuse(failure, ledger), plain, close);
        let sent = tokio::time::timeout(OWN_ANSWER, async {
            self.stream.write_all(&bytes).await?;
            self.stream.flush().await
        });
        if matches!(sent.await, Ok(Ok(()))) && !close { Next::GoOn } else { Next::End }
    }
}

/// Ingress's own words as they are sent.
fn own_answer(response: Response<Body>, plain: &Plain, close: bool) -> Vec<u8> {
    let (parts, body) = response.into_parts();
    let text = body.into_text();
    let mut out = Vec::with_capacity(512 + text.len());
    response::write_status(&mut out, parts.status, "");
    for (name, value) in &parts.headers {
        response::write_line(&mut out, name.as_str().as_bytes(), value.as_bytes());
    }
    response::write_line(&mut out, b"content-length", text.len().to_string().as_bytes());
    date::write(&mut out);
    if close {
        response::write_line(&mut out, b"connection", b"close");
    }
    out.extend_from_slice(b"\r\n");
    if plain.method != http::Method::HEAD {
        out.extend_from_slice(&text);
    }
    out
}

fn joined(first: Bytes, then: &Bytes) -> Bytes {
    if then.is_empty() {
        return first;
    }
    let mut both = BytesMut::from(first);
    both.extend_from_slice(then);
    both.freeze()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    /// One of these words, or now and then a few bytes of any kind.
    pub(super) fn piece_of(words: &[&'static str]) -> impl Strategy<Value = Vec<u8>> + use<> {
        prop_oneof![
            9 => proptest::sample::select(words.to_vec()).prop_map(|word| word.as_bytes().to_vec()),
            1 => proptest::collection::vec(any::<u8>(), 0..4),
        ]
    }
}
