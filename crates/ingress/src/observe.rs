//! What is told about each request once it is over.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::Utc;
use homerun_model::Timestamp;
use homerun_model::names::{InstanceId, RevisionKey, ServiceKey};
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Version};

use crate::client::Client;
use crate::trace::TraceContext;

/// Receives one record per request. Implementations must not block: they run on the request's thread.
pub trait Observe: Send + Sync + 'static {
    /// A request is over: answered, refused, or left by its client.
    fn request(&self, record: &RequestRecord);
}

/// One request, from its arrival to the last byte of its response.
#[derive(Debug, Clone)]
pub struct RequestRecord {
    /// When its headers had arrived.
    pub arrived: Timestamp,
    /// The service, if the host is one's.
    pub service: Option<Arc<ServiceKey>>,
    /// The revision that was picked.
    pub revision: Option<Arc<RevisionKey>>,
    /// The instance that took it.
    pub instance: Option<Arc<InstanceId>>,
    /// Its `Host` header or authority as sent; empty if it had none.
    pub host: HeaderValue,
    /// Its method.
    pub method: Method,
    /// Its path and query.
    pub path: PathAndQuery,
    /// The version its client spoke.
    pub version: Version,
    /// The status that the client was sent; 499 if the client left before there was one.
    pub status: u16,
    /// Bytes of the request's body that went to the instance.
    pub request_bytes: u64,
    /// Bytes of the response's body.
    pub response_bytes: u64,
    /// From arrival to the end.
    pub latency: Duration,
    /// How much of it the request waited for an instance.
    pub waited: Duration,
    /// Whether it found its revision without any instance and so waited for the first to start.
    pub cold_start: bool,
    /// Its trace, given or generated.
    pub trace: TraceContext,
    /// Its `User-Agent`.
    pub user_agent: Option<HeaderValue>,
    /// Its `Referer`.
    pub referer: Option<HeaderValue>,
    /// The client's address.
    pub remote: SocketAddr,
    /// How it ended.
    pub outcome: Outcome,
    /// The sentence for the service's log where ingress answered or broke off by itself.
    pub message: Option<String>,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The instance's response went through whole.
    Served,
    /// Ingress answered by itself.
    Refused,
    /// The client left before the end.
    ClientGone,
    /// The instance broke off in the middle of its response.
    InstanceGone,
    /// The request's time was over in the middle of its response.
    TimedOut,
}

/// The status recorded when a client left before any response; nginx's convention, sent to nobody.
const CLIENT_CLOSED_REQUEST: u16 = 499;

/// A record in the making. Dropping it hands it in, so that no request can end unrecorded.
pub(crate) struct Ledger {
    client: Arc<Client>,
    began: Instant,
    /// `None` once it is handed in.
    record: Option<Box<RequestRecord>>,
}

/// What a request says of itself when it comes.
pub(crate) struct Arrival {
    pub(crate) host: HeaderValue,
    pub(crate) method: Method,
    pub(crate) path: PathAndQuery,
    pub(crate) version: Version,
    pub(crate) trace: TraceContext,
    pub(crate) user_agent: Option<HeaderValue>,
    pub(crate) referer: Option<HeaderValue>,
}

impl Ledger {
    /// For a request whose headers have arrived now.
    pub(crate) fn begin(client: Arc<Client>, arrival: Arrival) -> Self {
        let Arrival { host, method, path, version, trace, user_agent, referer } = arrival;
        let record = Box::new(RequestRecord {
            arrived: Utc::now(),
            service: None,
            revision: None,
            instance: None,
            host,
            method,
            path,
            version,
            status: CLIENT_CLOSED_REQUEST,
            request_bytes: 0,
            response_bytes: 0,
            latency: Duration::ZERO,
            waited: Duration::ZERO,
            cold_start: false,
            trace,
            user_agent,
            referer,
            remote: client.peer,
            // Until something else is known: the request may be given up at any time.
            outcome: Outcome::ClientGone,
            message: None,
        });
        Self { client, began: Instant::now(), record: Some(record) }
    }

    /// When the request arrived.
    pub(crate) fn began(&self) -> Instant {
        self.began
    }

    /// Hands in nothing: the request is another's to record.
    pub(crate) fn withdraw(mut self) {
        self.record = None;
    }

    pub(crate) fn record(&mut self) -> &mut RequestRecord {
        self.record.as_mut().expect("a record is taken by drop alone")
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        if let Some(mut record) = self.record.take() {
            record.latency = self.began.elapsed();
            if record.outcome == Outcome::ClientGone && record.instance.is_none() {
                // It left the queue.
                record.waited = record.latency;
            }
            self.client.observe.request(&record);
        }
    }
}
