//! What an operator can set about the data plane.

use std::time::Duration;

/// Limits and timeouts; see [`Settings::default`] for the values and their reasons.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The scheme that clients see, for `X-Forwarded-Proto` and `Forwarded`: `https` where something in
    /// front of ingress ends TLS.
    pub scheme: &'static str,
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
