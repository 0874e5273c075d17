//! Health checks, the same for every backend that must make them itself.

use std::io;
use std::time::{Duration, Instant};

use homerun_model::container::{Check, Probe};
use tokio::net::TcpStream;

/// First pause between tries while a container starts; it doubles up to the probe's own period.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
/// Longest pause during the first seconds of a start, whatever the period: a program that has just
/// opened its port should not wait out a period made for slow ones.
const LONGEST_EARLY_PAUSE: Duration = Duration::from_millis(100);

/// Opens a connection to a port of the container.
pub(crate) trait Dial: Sync {
    /// Connects.
    fn dial(&self, port: u16) -> impl Future<Output = io::Result<TcpStream>> + Send;

    /// Whether what listens on the port is to speak HTTP/2 without TLS.
    fn speaks_h2c(&self, port: u16) -> bool;

    /// A probe begins: the container needs its CPU until it [`ends`](Self::ends).
    fn begins(&self);

    /// The probe has ended.
    fn ends(&self);
}

/// A probe that is under way.
struct Probing<'a, D: Dial>(&'a D);

impl<'a, D: Dial> Probing<'a, D> {
    fn new(dial: &'a D) -> Self {
        dial.begins();
        Self(dial)
    }
}

impl<D: Dial> Drop for Probing<'_, D> {
    fn drop(&mut self) {
        self.0.ends();
    }
}

fn seconds(value: Option<u32>, default: u32) -> Duration {
    Duration::from_secs(u64::from(value.unwrap_or(default)))
}

/// Tries until the probe passes or its budget (initial delay + failure threshold x period) is over; then
/// what the last try said.
pub(crate) async fn startup(probe: &Probe, port: u16, dial: &impl Dial) -> Result<(), String> {
    tokio::time::sleep(seconds(probe.initial_delay_seconds, 0)).await;
    let period = seconds(probe.period_seconds, 10);
    let budget = Duration::from_secs(u64::from(probe.budget_seconds()));
    let (begun, mut pause) = (Instant::now(), FIRST_PAUSE);
    let own_timeout = seconds(probe.timeout_seconds, 1);
    let mut before = None;
    loop {
        let timeout = own_timeout.min(budget.saturating_sub(begun.elapsed())).max(FIRST_PAUSE);
        let tried = Instant::now();
        let Err(mut reason) = once(&probe.check, port, dial, timeout).await else {
            return Ok(());
        };
        // A try that the end of the budget has cut short says less than the one before it.
        if timeout < own_timeout && tried.elapsed() >= timeout {
            reason = before.take().unwrap_or(reason);
        }
        if begun.elapsed() + pause >= budget {
            return Err(reason);
        }
        before = Some(reason);
        tokio::time::sleep(pause).await;
        let early = begun.elapsed() < Duration::from_secs(10);
        pause = (pause * 2).min(if early { LONGEST_EARLY_PAUSE } else { period });
    }
}

/// Runs a liveness probe; returns when it has failed as often in a row as its threshold allows.
pub(crate) async fn liveness(probe: &Probe, port: u16, dial: &impl Dial) -> String {
    tokio::time::sleep(seconds(probe.initial_delay_seconds, 0)).await;
    let mut failures = 0;
    loop {
        match once(&probe.check, port, dial, seconds(probe.timeout_seconds, 1)).await {
            Ok(()) => failures = 0,
            Err(reason) => {
                failures += 1;
                if failures >= probe.failure_threshold.unwrap_or(3) {
                    return reason;
                }
            }
        }
        tokio::time::sleep(seconds(probe.period_seconds, 10)).await;
    }
}

/// A readiness probe and how it has gone lately.
pub(crate) struct Readiness<'a> {
    probe: &'a Probe,
    ready: bool,
    begun: bool,
    /// Tries in a row that say otherwise than `ready`.
    against: u32,
}

impl<'a> Readiness<'a> {
    /// One that has not been tried yet by this process.
    pub(crate) fn new(probe: &'a Probe, ready: bool) -> Self {
        Self { probe, ready, begun: false, against: 0 }
    }

    /// Waits for the next try and makes it. What it has changed: that requests may come again, or why they may
    /// not.
    pub(crate) async fn next(&mut self, port: u16, dial: &impl Dial) -> Option<Result<(), String>> {
        if std::mem::replace(&mut self.begun, true) {
            tokio::time::sleep(seconds(self.probe.period_seconds, 10)).await;
        } else {
            tokio::time::sleep(seconds(self.probe.initial_delay_seconds, 0)).await;
        }
        let tried = once(&self.probe.check, port, dial, seconds(self.probe.timeout_seconds, 1)).await;
        if tried.is_ok() == self.ready {
            self.against = 0;
            return None;
        }
        self.against += 1;
        let threshold = if self.ready {
            self.probe.failure_threshold.unwrap_or(3)
        } else {
            self.probe.success_threshold.unwrap_or(1)
        };
        if self.against < threshold {
            return None;
        }
        (self.ready, self.against) = (tried.is_ok(), 0);
        Some(tried)
    }
}

async fn once(check: &Check, port: u16, dial: &impl Dial, timeout: Duration) -> Result<(), String> {
    let given = |own: &Option<u32>| own.and_then(|own| u16::try_from(own).ok()).unwrap_or(port);
    let _probing = Probing::new(dial);
    let tried = async {
        match check {
            Check::Tcp { port } => dial.dial(given(port)).await.map(drop).map_err(|error| reason(&error)),
            Check::Http { path, port, headers } => {
                http::check(dial, given(port), path.as_deref().unwrap_or("/"), headers).await
            }
            Check::Grpc { port, service } => {
                let stream = dial.dial(given(port)).await.map_err(|error| reason(&error))?;
                grpc::check(stream, service.as_deref().unwrap_or_default()).await
            }
        }
    };
    tokio::time::timeout(timeout, tried)
        .await
        .unwrap_or_else(|_| Err(format!("no answer within {} s", timeout.as_secs_f32())))
}

fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        _ => error.to_string(),
    }
}

mod grpc;
mod http;
#[cfg(test)]
mod tests;
