//! Everything at a glance, for `homerun status`.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use homerun_api::error::ApiError;
use homerun_api::own;
use homerun_model::condition::{self, ConditionType};
use homerun_model::instance::{InstanceState, ObservedInstance};
use homerun_model::names::{RevisionKey, RevisionName, ServiceKey};
use homerun_model::receipt::{Receipt, Step, millis};
use homerun_model::revision::Phase;
use homerun_model::service::Service;

use super::{gpus, stored};
use crate::platform::Platform;

/// What runs, what waits and who holds which GPU.
///
/// # Errors
/// When the store fails.
pub fn status(platform: &Platform) -> Result<own::Status, ApiError> {
    let instances = platform.backend.list();
    let services = platform.store.all_services().map_err(|error| stored(error, "Status", "services"))?;
    let loads = platform.ingress.sample();
    let live: Vec<&ObservedInstance> = instances.iter().filter(|instance| !instance.state.is_over()).collect();
    let holders: BTreeMap<_, _> = live
        .iter()
        .flat_map(|instance| instance.spec.gpus.iter().map(|gpu| (gpu.as_str(), &instance.spec.id)))
        .collect();
    let waiting = |service: &Service| {
        let of = |key: &RevisionKey| {
            key.project == service.key.project && key.region == service.key.region && service_of(service, key)
        };
        loads.iter().filter(|(key, _)| of(key)).map(|(_, load)| load.waiting).sum()
    };
    let devices = platform.backend.devices().into_iter().map(|device| own::Gpu {
        instance: holders.get(device.id.as_str()).map(ToString::to_string),
        id: device.id.to_string(),
        r#type: device.gpu_type.to_string(),
        product: device.product,
        simulated: device.simulated,
    });
    Ok(own::Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        backend: platform.backend.name().to_owned(),
        services: services
            .iter()
            .map(|stored| &stored.value)
            .map(|service| own::Service {
                name: service.key.name.to_string(),
                project: service.key.project.to_string(),
                region: service.key.region.to_string(),
                state: state(service).to_owned(),
                message: message(service),
                url: platform.reached_at(service).unwrap_or_default(),
                instances: live.iter().filter(|instance| runs(instance, &service.key)).count() as u32,
                waiting: waiting(service),
            })
            .collect(),
        instances: live.iter().map(|instance| row(platform, instance)).collect(),
        gpus: devices.collect(),
        waiting: waiting_for_gpus(platform),
        warnings: services
            .iter()
            .flat_map(|stored| of_revisions(platform, &stored.value))
            .chain(live.iter().flat_map(of_instance))
            .collect(),
    })
}

/// The instances of a service that are not over.
pub fn instances(platform: &Platform, service: &ServiceKey) -> Vec<own::Instance> {
    let all = platform.backend.list();
    let of = |instance: &&ObservedInstance| !instance.state.is_over() && runs(instance, service);
    all.iter().filter(of).map(|instance| row(platform, instance)).collect()
}

/// Who waits for a GPU, the longest wait first.
fn waiting_for_gpus(platform: &Platform) -> Vec<own::Waiting> {
    let row = |waiting: gpus::Waiting| own::Waiting {
        service: waiting.service.map_or_else(String::new, |service| service.name.to_string()),
        revision: waiting.revision.name.to_string(),
        since: waiting.since,
        message: waiting.message,
    };
    gpus::all_waiting(platform).into_iter().map(row).collect()
}

/// Warnings of the revisions that a service's traffic goes to.
fn of_revisions(platform: &Platform, service: &Service) -> Vec<String> {
    let key = |name: &RevisionName| RevisionKey {
        project: service.key.project.clone(),
        region: service.key.region.clone(),
        name: name.clone(),
    };
    let revisions =
        service.status.traffic.iter().filter_map(|target| platform.store.revision(&key(&target.revision)).ok()?);
    let told = revisions.flat_map(|revision| {
        let revision = revision.value;
        let healthy = condition::get(&revision.conditions, ConditionType::ContainerHealthy);
        let fails = healthy.filter(|c| revision.phase == Phase::Ready && c.status == condition::Status::False);
        let fails = fails.map(|condition| condition.message.clone());
        let name = revision.key.name;
        revision.warnings.into_iter().chain(fails).map(move |warning| format!("{name}: {warning}"))
    });
    told.collect()
}

fn of_instance<'a>(instance: &'a &ObservedInstance) -> impl Iterator<Item = String> + 'a {
    let unready = instance.unready.iter().map(|(container, reason)| {
        format!("the readiness probe of container '{container}' fails, so it gets no requests: {reason}")
    });
    instance.warnings.iter().cloned().chain(unready).map(|warning| format!("{}: {warning}", instance.spec.id))
}

fn row(platform: &Platform, instance: &ObservedInstance) -> own::Instance {
    let (stamps, receipt) = (&instance.stamps, Receipt::of(instance.spec.decided_at, &instance.stamps));
    let step =
        |(step, took): &(Step, TimeDelta)| own::StartStep { step: step.name().to_owned(), millis: millis(*took) };
    let draining = platform.live.lock().draining.contains(&instance.spec.id);
    own::Instance {
        id: instance.spec.id.to_string(),
        service: instance.spec.service.to_string(),
        revision: instance.spec.revision.name.to_string(),
        state: match instance.state {
            InstanceState::Creating => "creating",
            InstanceState::Starting => "starting",
            InstanceState::Ready if draining => "draining",
            InstanceState::Ready if !instance.unready.is_empty() => "unready",
            InstanceState::Ready => "ready",
            InstanceState::Stopping => "stopping",
            InstanceState::Stopped => "stopped",
            InstanceState::Failed(_) => "failed",
        }
        .to_owned(),
        in_flight: platform.ingress.in_flight(&instance.spec.id),
        gpus: instance.spec.gpus.iter().map(ToString::to_string).collect(),
        since: instance.spec.decided_at,
        start_millis: stamps.ready.map(|_| millis(receipt.total())),
        start: receipt.steps().iter().map(step).collect(),
    }
}

fn runs(instance: &ObservedInstance, service: &ServiceKey) -> bool {
    let of = &instance.spec;
    of.service == service.name && of.revision.project == service.project && of.revision.region == service.region
}

fn service_of(service: &Service, key: &RevisionKey) -> bool {
    service.status.traffic.iter().any(|target| target.revision == key.name)
}

fn state(service: &Service) -> &'static str {
    if service.deleted_at.is_some() {
        return "deleting";
    }
    match condition::get(&service.status.conditions, ConditionType::Ready).map(|ready| ready.status) {
        Some(condition::Status::True) => "ready",
        Some(condition::Status::False) => "failed",
        _ => "deploying",
    }
}

fn message(service: &Service) -> String {
    condition::get(&service.status.conditions, ConditionType::Ready)
        .map_or_else(String::new, |ready| ready.message.clone())
}
