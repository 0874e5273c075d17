//! What an operator can set about the data plane.

use std::time::Duration;

use crate::origin::Network;
use crate::tls::Tls;

/// Limits and timeouts; see [`Settings::default`] for the values and their reasons.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The scheme that clients see, for `X-Forwarded-Proto` and `Forwarded`: `https` where something in
    /// front of ingress ends TLS.
    pub scheme: &'static str,
    /// The certificate; without one, requests come in clear text.
    pub tls: Option<Tls>,
    /// From where requests reach services that take internal ones only.
    pub internal: Vec<Network>,
    /// Where the load balancers in front are. What comes from there is not internal.
    pub load_balancers: Vec<Network>,
    /// Bytes that a request's body may have on HTTP/1. `None` for any number.
    pub max_http1_request: Option<u64>,
    /// Bytes that a response may announce as its length on HTTP/1. `None` for any number.
    pub max_http1_response: Option<u64>,
    /// How long a client may take for a request's headers, from their first byte; for a new connection
    /// from its being accepted.
    pub header_timeout: Duration,
    /// How long a client's connection may be without a request.
    pub idle_timeout: Duration,
    /// Bytes of a request's line and headers.
    pub max_header_bytes: usize,
    /// Number of a request's headers, on HTTP/1.
    pub max_headers: usize,
    /// Requests that a client may have open at the same time on an HTTP/2 connection.
    pub max_streams: u32,
    /// Requests of one revision that may wait at the same time.
    pub max_waiting: usize,
    /// How long a connection to an instance may take to open.
    pub connect_timeout: Duration,
    /// How long an unused connection to an instance is kept for reuse.
    pub keep_alive: Duration,
    /// How long requests may go on after shutdown was asked for.
    pub drain: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            scheme: "http",
            tls: None,
            internal: Vec::new(),
            load_balancers: Vec::new(),
            // Cloud Run's own are 32 MiB; who owns the machine has no need of them.
            max_http1_request: None,
            max_http1_response: None,
            header_timeout: Duration::from_secs(30),
            // Longer than the 600 s for which Google's load balancers keep a connection, so that one in
            // front never finds it closed.
            idle_timeout: Duration::from_secs(620),
            max_header_bytes: 64 * 1024,
            max_headers: 100,
            // Cloud Run's own limit.
            max_streams: 100,
            // 3000 requests per second that all wait for 3 s; some 20 KiB each make 200 MiB.
            max_waiting: 10_000,
            connect_timeout: Duration::from_secs(5),
            // Common servers close unused connections after 5 s (Node, uvicorn); being first avoids
            // sending into a connection that is just being closed.
            keep_alive: Duration::from_secs(4),
            drain: Duration::from_secs(10),
        }
    }
}
