//! What is true of revisions and services, in Cloud Run's words.

use chrono::TimeDelta;

use crate::Timestamp;
use crate::condition::{self, Condition, ConditionType};
use crate::instance::{Failure, InstanceState, ObservedInstance, Stamps};
use crate::names::RevisionName;
use crate::plan::place::Denied;
use crate::receipt::duration;
use crate::revision::{Phase, Revision};
use crate::service::{Service, ServiceStatus, ServingTarget};

/// How long a revision whose images are here may wait for a GPU to be proven before its deployment fails. It
/// goes on waiting then, and becomes ready when it gets one, unless another revision comes after it.
pub const GPU_WAIT: TimeDelta = TimeDelta::seconds(20);

/// The same, while instances of its own service hold the GPU: so long they are given to end their requests, while
/// others wait. After that they take requests again, and the revision waits for a moment without any.
pub const HAND_OVER_WAIT: TimeDelta = TimeDelta::seconds(60);

/// What a deploying revision has become, seeing its instances and whether it was denied a GPU; `None`
/// while nothing has changed.
pub fn judge(
    revision: &Revision,
    instances: &[ObservedInstance],
    denied: Option<&Denied>,
    now: Timestamp,
) -> Option<Revision> {
    if revision.phase != Phase::Deploying {
        return None;
    }
    let mut own = instances.iter().filter(|instance| instance.spec.revision == revision.key);
    if let Some(instance) = own.clone().find(|instance| instance.state == InstanceState::Ready) {
        return Some(proven(revision, &instance.stamps, now));
    }
    if let Some(failure) = own.find_map(|instance| match &instance.state {
        InstanceState::Failed(failure) => Some(failure),
        _ => None,
    }) {
        let (reason, message) = explain(revision, failure);
        return Some(failed(revision, ConditionType::ContainerHealthy, reason, &message, now));
    }
    let denied = denied?;
    let message = match denied.cause {
        crate::plan::place::DeniedCause::Quota { .. } => {
            format!("Quota exceeded for total allowable count of GPUs per project per region. {denied}")
        }
        crate::plan::place::DeniedCause::Devices { .. } | crate::plan::place::DeniedCause::Budget(_) => {
            denied.to_string()
        }
    };
    let hands_over = denied.holders.iter().any(|holder| holder.service == revision.service);
    let wait = if hands_over { HAND_OVER_WAIT } else { GPU_WAIT };
    if now - revision.images_at.unwrap_or(revision.created_at) >= wait {
        let stalled = without(revision, ConditionType::ResourcesAvailable, "ResourcesUnavailable", &message, now);
        return (stalled.conditions != revision.conditions).then_some(stalled);
    }
    let doing = match hands_over {
        true => "Taking over the service's own GPU, once the requests that it serves have ended.".to_owned(),
        false => format!("Waiting for a GPU. {message}"),
    };
    progress(revision, "WaitingForGpu", &doing, now)
}

/// A revision that still waits for a GPU after its deployment has failed, once another one has come after
/// it: it waits no more. `None` for any other.
pub fn superseded(revision: &Revision) -> Option<Revision> {
    is_stalled(revision).then(|| Revision { phase: Phase::Failed, ..revision.clone() })
}

/// Whether a revision's deployment has failed for want of a GPU, and it waits on.
pub fn is_stalled(revision: &Revision) -> bool {
    let ready = condition::get(&revision.conditions, ConditionType::Ready);
    revision.phase == Phase::Deploying && ready.is_some_and(|ready| ready.status == condition::Status::False)
}

/// The revision with a sentence about what is being done; `None` if it says so already.
pub fn progress(revision: &Revision, reason: &str, message: &str, now: Timestamp) -> Option<Revision> {
    let said = condition::get(&revision.conditions, ConditionType::Ready).is_some_and(|ready| ready.message == message);
    if said || revision.phase != Phase::Deploying {
        return None;
    }
    let mut revision = revision.clone();
    condition::set(&mut revision.conditions, Condition::pending(ConditionType::Ready, reason, message, now));
    Some(revision)
}

/// The revision with its Active condition right: a ready one is active as long as its service addresses
/// it, by traffic or by a tag. `None` if it says so already.
pub fn activity(revision: &Revision, addressed: bool, now: Timestamp) -> Option<Revision> {
    let active = condition::get(&revision.conditions, ConditionType::Active)
        .is_some_and(|c| c.status == condition::Status::True);
    if revision.phase != Phase::Ready || active == addressed {
        return None;
    }
    let mut revision = revision.clone();
    condition::set(
        &mut revision.conditions,
        match addressed {
            true => Condition::met(ConditionType::Active, now),
            false => Condition::failed(ConditionType::Active, "Retired", "Revision retired.", now),
        },
    );
    Some(revision)
}

/// The revision after its image could not be had.
pub fn without_image(revision: &Revision, reason: &str, message: &str, now: Timestamp) -> Revision {
    failed(revision, ConditionType::ContainerReady, reason, message, now)
}

/// The revision once an instance of it is ready, with how long each part took, in Cloud Run's sentences.
fn proven(revision: &Revision, stamps: &Stamps, now: Timestamp) -> Revision {
    let mut revision = Revision { phase: Phase::Ready, ..revision.clone() };
    let images = revision.images_at.unwrap_or(revision.created_at);
    let (started, ready) = (stamps.started.unwrap_or(now), stamps.ready.unwrap_or(now));
    let within = |from: Timestamp, to: Timestamp| duration(to - from);
    let told = [
        (ConditionType::Ready, format!("Deploying revision succeeded in {}.", within(revision.created_at, ready))),
        (ConditionType::Active, String::new()),
        (ConditionType::ContainerHealthy, format!("Containers became healthy in {}.", within(started, ready))),
        (
            ConditionType::ContainerReady,
            format!("Container image import completed in {}.", within(revision.created_at, images)),
        ),
        (
            ConditionType::ResourcesAvailable,
            format!("Provisioning imported containers completed in {}.", within(images, started)),
        ),
    ];
    for (kind, message) in told {
        condition::set(&mut revision.conditions, Condition { message, ..Condition::met(kind, now) });
    }
    revision
}

fn failed(revision: &Revision, kind: ConditionType, reason: &str, message: &str, now: Timestamp) -> Revision {
    Revision { phase: Phase::Failed, ..without(revision, kind, reason, message, now) }
}

/// The revision with what it lacks.
fn without(revision: &Revision, kind: ConditionType, reason: &str, message: &str, now: Timestamp) -> Revision {
    let mut revision = revision.clone();
    let message = format!("Revision '{}' is not ready and cannot serve traffic. {message}", revision.key.name);
    for kind in [ConditionType::Ready, kind] {
        condition::set(&mut revision.conditions, Condition::failed(kind, reason, message.clone(), now));
    }
    revision
}

/// Reason and sentence for an instance that failed.
pub fn explain(revision: &Revision, failure: &Failure) -> (&'static str, String) {
    let port = revision
        .template
        .ingress_container()
        .and_then(|index| revision.template.containers[index].port.as_ref())
        .map_or(8080, |port| port.number);
    let not_listening = format!(
        "The user-provided container failed to start and listen on the port defined provided by the PORT={port} environment \
         variable within the allocated timeout. This can happen when the container port is misconfigured or if the timeout is \
         too short. The health check timeout can be extended. Logs for this revision might contain more information."
    );
    let reason = match failure {
        Failure::Create { .. } => "ContainerCannotRun",
        Failure::Exited { out_of_memory: true, .. } => "OutOfMemory",
        Failure::Exited { was_ready: true, .. } => "ContainerExited",
        Failure::Exited { .. } | Failure::StartupProbe { .. } => {
            return ("HealthCheckContainerError", format!("{not_listening} {failure}"));
        }
        Failure::LivenessProbe { .. } => "HealthCheckContainerError",
    };
    (reason, failure.to_string())
}

/// The status of a service, seeing its revisions.
pub fn service(service: &Service, revisions: &[&Revision], now: Timestamp) -> ServiceStatus {
    if service.deleted_at.is_some() {
        return deleting(service, now);
    }
    let own = |name: &RevisionName| revisions.iter().copied().find(|revision| &revision.key.name == name);
    let newest = service.status.latest_created_revision.as_ref().and_then(own);
    let latest_ready = revisions
        .iter()
        .copied()
        .filter(|revision| revision.phase == Phase::Ready)
        .max_by_key(|revision| revision.generation);
    let traffic = serving(service, latest_ready, revisions);
    let mut conditions = service.status.conditions.clone();
    let configurations = configurations_ready(newest, now);
    let routes = routes_ready(service, &traffic, &configurations, now);
    let ready = match [&configurations, &routes].into_iter().find(|c| c.status != condition::Status::True) {
        Some(cause) => Condition { kind: ConditionType::Ready, ..cause.clone() },
        None => Condition::met(ConditionType::Ready, now),
    };
    for new in [ready, configurations, routes] {
        condition::set(&mut conditions, new);
    }
    ServiceStatus {
        observed_generation: service.generation,
        latest_created_revision: service.status.latest_created_revision.clone(),
        latest_ready_revision: latest_ready.map(|revision| revision.key.name.clone()),
        traffic,
        conditions,
    }
}

/// A service on its way out has not failed, whatever it was before: clients that wait for its end take a
/// failed condition for a failed deletion.
fn deleting(service: &Service, now: Timestamp) -> ServiceStatus {
    let mut status = ServiceStatus { observed_generation: service.generation, ..service.status.clone() };
    for kind in [ConditionType::Ready, ConditionType::ConfigurationsReady, ConditionType::RoutesReady] {
        let pending = Condition::pending(kind, "Deleting", "The service is being deleted.", now);
        condition::set(&mut status.conditions, pending);
    }
    status
}

fn configurations_ready(newest: Option<&Revision>, now: Timestamp) -> Condition {
    let kind = ConditionType::ConfigurationsReady;
    match newest {
        Some(revision) => match condition::get(&revision.conditions, ConditionType::Ready) {
            Some(ready) if revision.phase == Phase::Failed || is_stalled(revision) => {
                Condition::failed(kind, &ready.reason, ready.message.clone(), now)
            }
            Some(ready) if revision.phase == Phase::Deploying => {
                Condition::pending(kind, &ready.reason, ready.message.clone(), now)
            }
            None if revision.phase != Phase::Ready => Condition::pending(kind, "Deploying", "", now),
            _ => Condition::met(kind, now),
        },
        None => Condition::pending(kind, "Deploying", "", now),
    }
}

fn routes_ready(service: &Service, traffic: &[ServingTarget], configurations: &Condition, now: Timestamp) -> Condition {
    let kind = ConditionType::RoutesReady;
    let wants_latest = service.spec.traffic.iter().any(|target| target.revision.is_none());
    if traffic.len() == service.spec.traffic.len()
        && !(wants_latest && configurations.status == condition::Status::Unknown)
    {
        return Condition::met(kind, now);
    }
    match configurations.status {
        condition::Status::True => Condition::failed(
            kind,
            "RevisionMissing",
            "A revision named in the traffic block is not ready to serve.",
            now,
        ),
        _ => Condition { kind, ..configurations.clone() },
    }
}

/// The targets that can be served, every revision named. While one that is to get requests cannot, the
/// route stays as it was: it never goes to nothing for a mistake in it. A tag alone holds nothing up.
fn serving(service: &Service, latest_ready: Option<&Revision>, revisions: &[&Revision]) -> Vec<ServingTarget> {
    let resolved = resolved(service, latest_ready, revisions);
    if resolved.iter().map(|target| target.percent).sum::<u32>() == 100 {
        return resolved;
    }
    let ready = |name: &RevisionName| revisions.iter().any(|r| &r.key.name == name && r.phase == Phase::Ready);
    let before: Vec<ServingTarget> =
        service.status.traffic.iter().filter(|target| ready(&target.revision)).cloned().collect();
    let whole = before.iter().map(|target| target.percent).sum::<u32>() == 100;
    if whole { before } else { Vec::new() }
}

/// Those of the targets whose revisions are ready.
fn resolved(service: &Service, latest_ready: Option<&Revision>, revisions: &[&Revision]) -> Vec<ServingTarget> {
    let target = |target: &crate::traffic::TrafficTarget| {
        let revision = match &target.revision {
            Some(name) => revisions.iter().copied().find(|r| &r.key.name == name && r.phase == Phase::Ready),
            None => latest_ready,
        }?;
        Some(ServingTarget {
            revision: revision.key.name.clone(),
            latest: target.revision.is_none(),
            percent: target.percent,
            tag: target.tag.clone(),
        })
    };
    service.spec.traffic.iter().filter_map(target).collect()
}
