//! Health checks: row S05, with the limits of the API's definition.

use super::{check_range, container_path};
use crate::container::{Check, Probe};
use crate::revision::RevisionTemplate;
use crate::violation::Violation;

/// Longest that a container may take to start, in seconds: tries times period. Google's pages name 240,
/// and use 1800 in their own example with a GPU; taking the GPU away from that example must not make it
/// wrong (row G14), so one limit holds for all.
const STARTUP_BUDGET_SECONDS: u64 = 1800;
/// Longest delay and period of a startup probe, in seconds.
const STARTUP_MAX_SECONDS: u32 = 240;
/// Longest delay, period and timeout of any probe, in seconds.
const MAX_SECONDS: u32 = 3600;

/// The three probes of a container.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Startup,
    Liveness,
    Readiness,
}

impl Kind {
    /// Its name in the API.
    fn field(self) -> &'static str {
        match self {
            Self::Startup => "startupProbe",
            Self::Liveness => "livenessProbe",
            Self::Readiness => "readinessProbe",
        }
    }
}

pub(super) fn check(template: &RevisionTemplate, found: &mut Vec<Violation>) {
    for (index, container) in template.containers.iter().enumerate() {
        let probes = [
            (Kind::Startup, &container.startup_probe),
            (Kind::Liveness, &container.liveness_probe),
            (Kind::Readiness, &container.readiness_probe),
        ];
        for (kind, probe) in probes {
            if let Some(probe) = probe {
                let field = format!("{}.{}", container_path(index), kind.field());
                times(&field, kind, probe, found);
                tries(&field, kind, probe, found);
                target(&field, kind, &probe.check, found);
            }
        }
    }
}

fn times(field: &str, kind: Kind, probe: &Probe, found: &mut Vec<Violation>) {
    let longest = if kind == Kind::Startup { STARTUP_MAX_SECONDS } else { MAX_SECONDS };
    let delay = format!("{field}.initialDelaySeconds");
    check_range(&delay, "The initial delay in seconds", probe.initial_delay_seconds, 0..=longest, found);
    check_range(&format!("{field}.periodSeconds"), "The period in seconds", probe.period_seconds, 1..=longest, found);
    let timeout = format!("{field}.timeoutSeconds");
    check_range(&timeout, "The timeout in seconds", probe.timeout_seconds, 1..=MAX_SECONDS, found);
    if let (Some(limit), Some(period)) = (probe.timeout_seconds, probe.period_seconds)
        && limit > period
    {
        let message = format!("The timeout must not be longer than the period; they are {limit} and {period} seconds.");
        found.push(Violation::new(timeout, message));
    }
}

fn tries(field: &str, kind: Kind, probe: &Probe, found: &mut Vec<Violation>) {
    if probe.failure_threshold == Some(0) {
        found.push(Violation::new(
            format!("{field}.failureThreshold"),
            "The failure threshold must be at least 1; it is 0.",
        ));
    }
    match probe.success_threshold {
        Some(0) => {
            found.push(Violation::new(
                format!("{field}.successThreshold"),
                "The success threshold must be at least 1; it is 0.",
            ));
        }
        Some(threshold) if threshold > 1 && kind != Kind::Readiness => {
            let message = format!("The success threshold must be 1; it is {threshold}.");
            found.push(Violation::new(format!("{field}.successThreshold"), message));
        }
        _ => {}
    }
    let (Kind::Startup, Some(tries), Some(period)) = (kind, probe.failure_threshold, probe.period_seconds) else {
        return;
    };
    let total = u64::from(tries) * u64::from(period);
    if total > STARTUP_BUDGET_SECONDS {
        let message = format!(
            "failureThreshold times periodSeconds must be at most {STARTUP_BUDGET_SECONDS} seconds; {tries} times {period} is {total}."
        );
        found.push(Violation::new(format!("{field}.failureThreshold"), message));
    }
}

fn target(field: &str, kind: Kind, check: &Check, found: &mut Vec<Violation>) {
    let (name, port) = match check {
        Check::Tcp { port } => ("tcpSocket", port),
        Check::Http { port, .. } => ("httpGet", port),
        Check::Grpc { port, .. } => ("grpc", port),
    };
    let path = format!("{field}.{name}");
    if kind != Kind::Startup && matches!(check, Check::Tcp { .. }) {
        let message =
            format!("A {} must use httpGet or grpc; tcpSocket is supported for startup probes only.", kind.field());
        found.push(Violation::new(&path, message));
    }
    match port {
        None => {
            let message = "The probe must name a port, since its container has none.";
            found.push(Violation::new(format!("{path}.port"), message));
        }
        port => check_range(&format!("{path}.port"), "A port", *port, 1..=65535, found),
    }
    if let Check::Http { path: url, headers, .. } = check {
        if let Some(url) = url
            .as_ref()
            .filter(|url| !url.starts_with('/') || url.contains(|c: char| c.is_whitespace() || c.is_control()))
        {
            let message = format!("The path '{url}' must begin with '/' and have no spaces.");
            found.push(Violation::new(format!("{path}.path"), message));
        }
        for (header, (name, value)) in headers.iter().enumerate() {
            if !is_token(name) || value.contains(['\r', '\n', '\0']) {
                let message = format!("'{name}' is no header field's name, or its value has a line break.");
                found.push(Violation::new(format!("{path}.httpHeaders[{header}]"), message));
            }
        }
    }
}

/// Whether a text is a token as RFC 9110 has it.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}
