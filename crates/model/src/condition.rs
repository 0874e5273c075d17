//! Conditions: what is true of a service or revision right now, and why not if not.

use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// One condition in Knative's terms.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// What it speaks of.
    pub kind: ConditionType,
    /// Whether it holds.
    pub status: Status,
    /// A word for programs, for instance `HealthCheckContainerError`. Empty when it holds.
    pub reason: String,
    /// A sentence for people; when it holds, how long that took, or nothing.
    pub message: String,
    /// When `status` last changed.
    pub last_transition: Timestamp,
}

/// The conditions that services and revisions carry; names as Cloud Run has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConditionType {
    /// The sum of the others.
    Ready,
    /// Service: the newest revision is ready.
    ConfigurationsReady,
    /// Service: traffic goes where the service says.
    RoutesReady,
    /// Revision: it may receive traffic and has or can have instances.
    Active,
    /// Revision: its image is here and its container starts.
    ContainerHealthy,
    /// Revision: its image is here.
    ContainerReady,
    /// Revision: what it needs to run is there (image, GPU, quota).
    ResourcesAvailable,
    /// Domain mapping: clients of the host see a certificate, or need none.
    CertificateProvisioned,
    /// Domain mapping: requests for the host go to the service.
    DomainRoutable,
}

impl ConditionType {
    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::ConfigurationsReady => "ConfigurationsReady",
            Self::RoutesReady => "RoutesReady",
            Self::Active => "Active",
            Self::ContainerHealthy => "ContainerHealthy",
            Self::ContainerReady => "ContainerReady",
            Self::ResourcesAvailable => "ResourcesAvailable",
            Self::CertificateProvisioned => "CertificateProvisioned",
            Self::DomainRoutable => "DomainRoutable",
        }
    }
}

/// Knative's three-valued truth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// It holds.
    True,
    /// It does not hold, and will not by itself.
    False,
    /// Work is under way.
    Unknown,
}

impl Status {
    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

impl Condition {
    /// A condition that holds since `now`.
    pub fn met(kind: ConditionType, now: Timestamp) -> Self {
        Self { kind, status: Status::True, reason: String::new(), message: String::new(), last_transition: now }
    }

    /// A condition that does not hold since `now`, and why.
    pub fn failed(kind: ConditionType, reason: &str, message: impl Into<String>, now: Timestamp) -> Self {
        Self { kind, status: Status::False, reason: reason.to_owned(), message: message.into(), last_transition: now }
    }

    /// A condition that is being worked on since `now`, and what is done.
    pub fn pending(kind: ConditionType, reason: &str, message: impl Into<String>, now: Timestamp) -> Self {
        Self { kind, status: Status::Unknown, reason: reason.to_owned(), message: message.into(), last_transition: now }
    }
}

/// Puts `new` in the place of its kind; an unchanged status keeps its time of transition.
pub fn set(conditions: &mut Vec<Condition>, mut new: Condition) {
    match conditions.iter_mut().find(|c| c.kind == new.kind) {
        Some(old) => {
            if old.status == new.status {
                new.last_transition = old.last_transition;
            }
            *old = new;
        }
        None => conditions.push(new),
    }
}

/// The condition of a kind, if it was ever set.
pub fn get(conditions: &[Condition], kind: ConditionType) -> Option<&Condition> {
    conditions.iter().find(|c| c.kind == kind)
}
