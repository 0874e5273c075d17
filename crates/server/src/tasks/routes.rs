//! A service's routes as ingress needs them.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use homerun_ingress::{Endpoint, Refusal, RevisionRoute, Route, ServiceRoutes, Target};
use homerun_model::Timestamp;
use homerun_model::billing::Billing;
use homerun_model::condition::{self, ConditionType};
use homerun_model::iam;
use homerun_model::instance::{InstanceState, ObservedInstance};
use homerun_model::names::RevisionKey;
use homerun_model::plan::{status, throttle};
use homerun_model::receipt::Receipt;
use homerun_model::revision::{Phase, Revision};
use homerun_model::service::{IngressSetting, Service};

use super::back_off;
use crate::platform::{LiveState, Platform};
use crate::store::ServiceIntent;

/// A request waits at least this long for an instance before it is refused, as on Cloud Run.
const LEAST_WAIT: Duration = Duration::from_secs(10);
/// And this many times as long as starts take on average.
const STARTS_TO_WAIT: f64 = 3.5;
/// How long after a hand-over its last instance may take to make room again.
const MAKING_ROOM: TimeDelta = TimeDelta::seconds(10);

/// Makes a service's routes and hands them to ingress. Revisions that the service does not address have
/// none: whoever still waits for one takes the service's new route.
pub(super) fn publish(platform: &Platform, intent: &ServiceIntent, instances: &[ObservedInstance]) {
    let mut routes = ServiceRoutes::default();
    let service = &intent.service.value;
    if service.deleted_at.is_some() {
        platform.live.lock().proving.remove(&service.key);
    } else {
        add_hosts(platform, service, &mut routes);
        let mut live = platform.live.lock();
        note_proving(&mut live, intent, platform.clock.now());
        for revision in intent.revisions().filter(|revision| revision.phase == Phase::Ready) {
            if service.status.traffic.iter().any(|target| target.revision == revision.key.name) {
                let route = revision_route(platform, &live, revision, instances);
                routes.revisions.insert(revision.key.clone(), route);
            }
        }
    }
    platform.ingress.publish(&service.key, routes);
}

fn add_hosts(platform: &Platform, service: &Service, routes: &mut ServiceRoutes) {
    let key = |name: &homerun_model::names::RevisionName| RevisionKey {
        project: service.key.project.clone(),
        region: service.key.region.clone(),
        name: name.clone(),
    };
    let public = service.spec.invoker_iam_disabled == Some(true)
        || platform.store.allows(&iam::Resource::Service(service.key.clone()), None, iam::INVOKE);
    let access = service.spec.ingress.unwrap_or(IngressSetting::All);
    let route =
        |targets| Arc::new(Route { service: service.key.clone(), public, access, targets, unready: unready(service) });
    let shares = service.status.traffic.iter().filter(|target| target.percent > 0);
    let targets = shares.map(|target| Target { revision: key(&target.revision), percent: target.percent }).collect();
    let main = route(targets);
    for domain in platform.store.domains_of(&service.key) {
        routes.hosts.insert(domain.to_string(), main.clone());
    }
    if !service.spec.has_default_url() {
        return;
    }
    routes.hosts.insert(platform.host(&service.key, None), main);
    for target in &service.status.traffic {
        if let Some(tag) = &target.tag {
            let all = vec![Target { revision: key(&target.revision), percent: 100 }];
            routes.hosts.insert(platform.host(&service.key, Some(tag)), route(all));
        }
    }
}

/// What a service without any revision that can serve answers.
fn unready(service: &Service) -> Option<Refusal> {
    let ready = condition::get(&service.status.conditions, ConditionType::Ready)?;
    (ready.status == condition::Status::False).then(|| Refusal::CannotStart { message: ready.message.clone() })
}

fn revision_route(
    platform: &Platform,
    live: &LiveState,
    revision: &Revision,
    instances: &[ObservedInstance],
) -> RevisionRoute {
    let (template, now) = (&revision.template, platform.clock.now());
    let throttled = throttle::is_throttled(revision);
    let endpoints: Vec<Endpoint> = instances
        .iter()
        .filter(|instance| instance.spec.revision == revision.key && live.is_routed(instance))
        .map(|instance| Endpoint {
            instance: instance.spec.id.clone(),
            ingress: instance.spec.ingress.clone(),
            receipt: Receipt::of(instance.spec.decided_at, &instance.stamps),
            throttled,
        })
        .collect();
    let timeout = Duration::from_secs(u64::from(template.timeout_seconds.unwrap_or(300)));
    let usual_wait = match live.start_seconds.get(&revision.key) {
        Some(mean) => LEAST_WAIT.max(Duration::from_secs_f64(mean * STARTS_TO_WAIT)),
        None => LEAST_WAIT.max(first_start(revision, instances)),
    };
    let proving = live.proving.get(&revision.service_key()).filter(|_| revision.gpus_per_instance() > 0);
    let hands_over =
        proving.is_some_and(|last| now - *last <= MAKING_ROOM + TimeDelta::from_std(usual_wait).unwrap_or_default());
    let max_wait = if hands_over { usual_wait.max(timeout) } else { usual_wait };
    let failing = live.failures.get(&revision.key).filter(|failures| back_off::until(failures) > now);
    let refuse_late = match live.denied.get(&revision.key) {
        Some(denied) => Refusal::QuotaExceeded { message: format!("{denied:#}") },
        None => Refusal::NoInstance,
    };
    RevisionRoute {
        concurrency: template.concurrency.unwrap_or(platform.config.services.default_concurrency),
        timeout,
        protocol: template.protocol(),
        affinity: template.session_affinity == Some(true),
        refuse_now: failing
            .filter(|_| endpoints.is_empty())
            .map(|failures| Refusal::CannotStart { message: failures.message.clone() }),
        kept: match Billing::of(revision) {
            Billing::Request => live.desired.get(&revision.key).map_or(0, |scaled| scaled.min),
            Billing::Instance => 0,
        },
        endpoints,
        max_wait,
        refuse_late,
    }
}

/// Remembers that a revision with GPUs is being proven while others serve. Those may have to lend it theirs;
/// whoever asks for one of them waits, for as long as a request may take, until it is known which one serves.
fn note_proving(live: &mut LiveState, intent: &ServiceIntent, now: Timestamp) {
    let proves = |revision: &Revision| {
        revision.phase == Phase::Deploying && revision.gpus_per_instance() > 0 && !status::is_stalled(revision)
    };
    if !intent.service.value.status.traffic.is_empty() && intent.revisions().any(proves) {
        live.proving.insert(intent.service.value.key.clone(), now);
    }
}

/// How long a start that is under way may take where nobody knows yet how long one takes, for instance
/// after a restart of homerun: as long as the startup probe gives it.
fn first_start(revision: &Revision, instances: &[ObservedInstance]) -> Duration {
    let starting = |instance: &&ObservedInstance| {
        instance.spec.revision == revision.key
            && matches!(instance.state, InstanceState::Creating | InstanceState::Starting)
    };
    let container = revision.template.ingress_container().map(|index| &revision.template.containers[index]);
    let probe = container.and_then(|container| container.startup_probe.as_ref());
    let budget =
        probe.map_or(0, |probe| probe.initial_delay_seconds.unwrap_or(0).saturating_add(probe.budget_seconds()));
    instances.iter().find(starting).map_or(Duration::ZERO, |_| Duration::from_secs(u64::from(budget)))
}
