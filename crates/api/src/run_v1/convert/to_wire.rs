//! Services and revisions as clients are shown them.

use std::collections::BTreeMap;

use chrono::SecondsFormat;
use homerun_model::Timestamp;
use homerun_model::condition::{Condition, ConditionType};
use homerun_model::gpu::ACCELERATOR_SELECTOR;
use homerun_model::revision::{ExecutionEnvironment, Revision, RevisionTemplate, UtilizationTarget};
use homerun_model::service::{IngressSetting, Service, ServiceSpec, ServiceStatus};

use super::API_VERSION;
use super::annotations as name;
use super::containers::{container_to_wire, some, volume_to_wire};
use crate::run_v1::types as wire;

/// What a service's rendering needs besides the service.
pub struct Place<'a> {
    /// Number of its project, shown as its namespace.
    pub project_number: u64,
    /// Version of the record.
    pub resource_version: u64,
    /// The service's URL, shown where it has one.
    pub url: String,
    /// The URL of one of its tags.
    pub tag_url: &'a dyn Fn(&str) -> String,
}

/// Renders a service.
pub fn service_to_wire(service: &Service, place: &Place<'_>) -> wire::Service {
    wire::Service {
        api_version: some(API_VERSION),
        kind: some("Service"),
        metadata: Some(service_metadata(service, place)),
        spec: Some(wire::ServiceSpec {
            template: Some(template(&service.spec.template)),
            traffic: spec_traffic(&service.spec),
        }),
        status: Some(status(service, place)),
    }
}

/// Renders a service's configuration: the part of the service that makes revisions, as Knative shows it.
pub fn configuration_to_wire(service: &Service, place: &Place<'_>) -> wire::Configuration {
    let status = &service.status;
    wire::Configuration {
        api_version: some(API_VERSION),
        kind: some("Configuration"),
        metadata: Some(part_metadata(service, place, "configurations")),
        spec: Some(wire::ConfigurationSpec { template: Some(template(&service.spec.template)) }),
        status: Some(wire::ConfigurationStatus {
            conditions: ready_by(status, ConditionType::ConfigurationsReady),
            latest_created_revision_name: status.latest_created_revision.as_ref().map(ToString::to_string),
            latest_ready_revision_name: status.latest_ready_revision.as_ref().map(ToString::to_string),
            observed_generation: i32::try_from(status.observed_generation).ok(),
        }),
    }
}

/// Renders a service's route: the part of the service that says where requests go, as Knative shows it.
pub fn route_to_wire(service: &Service, place: &Place<'_>) -> wire::Route {
    let name = service.key.name.as_str();
    let mut traffic = spec_traffic(&service.spec);
    for target in traffic.iter_mut().filter(|target| target.revision_name.is_none()) {
        target.configuration_name = some(name);
    }
    let wire::ServiceStatus { address, observed_generation, traffic: serving, url, .. } = status(service, place);
    wire::Route {
        api_version: some(API_VERSION),
        kind: some("Route"),
        metadata: Some(part_metadata(service, place, "routes")),
        spec: Some(wire::RouteSpec { traffic }),
        status: Some(wire::RouteStatus {
            address,
            conditions: ready_by(&service.status, ConditionType::RoutesReady),
            observed_generation,
            traffic: serving,
            url,
        }),
    }
}

/// Metadata of a configuration or route: both are views of their service, with its name and history, and
/// without a uid of their own.
fn part_metadata(service: &Service, place: &Place<'_>, collection: &str) -> wire::ObjectMeta {
    let mut metadata = service_metadata(service, place);
    let name = service.key.name.as_str();
    metadata.self_link = Some(self_link(place.project_number, collection, name));
    metadata.annotations.retain(|name, _| [name::CREATOR, name::LAST_MODIFIER].contains(&name.as_str()));
    metadata.labels.insert(name::SERVICE.to_owned(), name.to_owned());
    metadata.owner_references = vec![wire::OwnerReference { uid: metadata.uid.take(), ..owner("Service", name) }];
    metadata
}

/// A part's own condition Ready, from the service's condition about the part.
fn ready_by(status: &ServiceStatus, part: ConditionType) -> Vec<wire::Condition> {
    let ready = |found: &Condition| wire::Condition { r#type: some(ConditionType::Ready.as_str()), ..condition(found) };
    homerun_model::condition::get(&status.conditions, part).map(ready).into_iter().collect()
}

fn self_link(project_number: u64, collection: &str, name: &str) -> String {
    format!("/apis/{API_VERSION}/namespaces/{project_number}/{collection}/{name}")
}

/// The owner of something: what it goes away with.
fn owner(kind: &str, name: &str) -> wire::OwnerReference {
    wire::OwnerReference {
        api_version: some(API_VERSION),
        kind: some(kind),
        name: some(name),
        controller: Some(true),
        block_owner_deletion: Some(true),
        uid: None,
    }
}

fn service_metadata(service: &Service, place: &Place<'_>) -> wire::ObjectMeta {
    let (spec, name) = (&service.spec, service.key.name.as_str());
    let mut annotations = spec.annotations.clone();
    let mut add = |name: &str, value: String| drop(annotations.insert(name.to_owned(), value));
    add(name::CREATOR, service.creator.clone());
    add(name::LAST_MODIFIER, service.last_modifier.clone());
    if spec.has_default_url() {
        add(name::URLS, format!("[\"{}\"]", place.url));
    }
    let ingress = match spec.ingress.unwrap_or(IngressSetting::All) {
        IngressSetting::All => "all",
        IngressSetting::Internal => "internal",
        IngressSetting::InternalAndCloudLoadBalancing => "internal-and-cloud-load-balancing",
    };
    add(name::INGRESS, ingress.to_owned());
    add(name::INGRESS_STATUS, ingress.to_owned());
    let counts = [
        (name::SERVICE_MIN, spec.min_instances),
        (name::SERVICE_MAX, spec.max_instances),
        (name::MANUAL_COUNT, spec.manual_instances),
    ];
    if spec.manual_instances.is_some() {
        add(name::SCALING_MODE, "manual".to_owned());
    }
    for (name, count) in counts {
        if let Some(count) = count {
            add(name, count.to_string());
        }
    }
    for (name, flag) in
        [(name::INVOKER_DISABLED, spec.invoker_iam_disabled), (name::DEFAULT_URL_DISABLED, spec.default_url_disabled)]
    {
        if let Some(flag) = flag {
            add(name, flag.to_string());
        }
    }
    let mut labels = spec.labels.clone();
    labels.insert(name::LOCATION.to_owned(), service.key.region.to_string());
    wire::ObjectMeta {
        name: some(name),
        namespace: Some(place.project_number.to_string()),
        self_link: Some(self_link(place.project_number, "services", name)),
        uid: some(&service.uid),
        resource_version: Some(place.resource_version.to_string()),
        generation: i32::try_from(service.generation).ok(),
        creation_timestamp: Some(time(service.created_at)),
        deletion_timestamp: service.deleted_at.map(time),
        annotations,
        labels,
        ..wire::ObjectMeta::default()
    }
}

fn spec_traffic(spec: &ServiceSpec) -> Vec<wire::TrafficTarget> {
    let target = |target: &homerun_model::traffic::TrafficTarget| wire::TrafficTarget {
        latest_revision: target.revision.is_none().then_some(true),
        revision_name: target.revision.as_ref().map(ToString::to_string),
        percent: percent(target.percent),
        tag: target.tag.clone(),
        ..wire::TrafficTarget::default()
    };
    spec.traffic.iter().map(target).collect()
}

fn percent(percent: u32) -> Option<i32> {
    i32::try_from(percent).ok().filter(|percent| *percent > 0)
}

fn status(service: &Service, place: &Place<'_>) -> wire::ServiceStatus {
    let status = &service.status;
    let has_revision = status.latest_ready_revision.is_some() || status.latest_created_revision.is_some();
    let url = (has_revision && service.spec.has_default_url()).then(|| place.url.clone());
    let target = |target: &homerun_model::service::ServingTarget| wire::TrafficTarget {
        latest_revision: target.latest.then_some(true),
        revision_name: Some(target.revision.to_string()),
        percent: percent(target.percent),
        url: target.tag.as_ref().filter(|_| service.spec.has_default_url()).map(|tag| (place.tag_url)(tag)),
        tag: target.tag.clone(),
        ..wire::TrafficTarget::default()
    };
    wire::ServiceStatus {
        observed_generation: i32::try_from(status.observed_generation).ok(),
        conditions: status.conditions.iter().map(condition).collect(),
        latest_created_revision_name: status.latest_created_revision.as_ref().map(ToString::to_string),
        latest_ready_revision_name: status.latest_ready_revision.as_ref().map(ToString::to_string),
        traffic: status.traffic.iter().map(target).collect(),
        address: url.clone().map(|url| wire::Addressable { url: Some(url) }),
        url,
    }
}

pub(super) fn condition(condition: &Condition) -> wire::Condition {
    wire::Condition {
        r#type: some(condition.kind.as_str()),
        status: some(condition.status.as_str()),
        reason: some(&condition.reason),
        message: some(&condition.message),
        last_transition_time: Some(time(condition.last_transition)),
        // Whether a revision has instances says nothing about its being right.
        severity: (condition.kind == ConditionType::Active).then(|| "Info".to_owned()),
    }
}

fn template(template: &RevisionTemplate) -> wire::RevisionTemplate {
    wire::RevisionTemplate {
        metadata: Some(wire::ObjectMeta {
            name: template.name.clone(),
            annotations: template_annotations(template),
            labels: template_labels(template),
            ..wire::ObjectMeta::default()
        }),
        spec: Some(revision_spec(template)),
    }
}

fn template_labels(template: &RevisionTemplate) -> BTreeMap<String, String> {
    let ingress = template.ingress_container().and_then(|index| template.containers.get(index));
    let probe = ingress.and_then(|container| container.startup_probe.as_ref());
    let kind = probe.map(|probe| if probe.is_platform_startup() { "Default" } else { "Custom" });
    let mut labels = template.labels.clone();
    labels.extend(kind.map(|kind| (name::STARTUP_PROBE_TYPE.to_owned(), kind.to_owned())));
    labels
}

fn template_annotations(template: &RevisionTemplate) -> BTreeMap<String, String> {
    let dependencies = (!template.container_dependencies.is_empty())
        .then(|| serde_json::to_string(&template.container_dependencies).unwrap_or_default());
    let environment = template.execution_environment.map(|environment| match environment {
        ExecutionEnvironment::Gen1 => "gen1".to_owned(),
        ExecutionEnvironment::Gen2 => "gen2".to_owned(),
    });
    let number = |count: Option<u32>| count.map(|count| count.to_string());
    let boolean = |flag: Option<bool>| flag.map(|flag| flag.to_string());
    let target = |target: Option<UtilizationTarget>| {
        target.map(|target| match target {
            UtilizationTarget::Thousandths(thousandths) => (f64::from(thousandths) / 1000.0).to_string(),
            UtilizationTarget::Disabled => "disabled".to_owned(),
        })
    };
    let known = [
        (name::MIN_SCALE, number(template.min_instances)),
        (name::MAX_SCALE, number(template.max_instances)),
        (name::CPU_TARGET, target(template.cpu_target)),
        (name::CONCURRENCY_TARGET, target(template.concurrency_target)),
        (name::CPU_THROTTLING, boolean(template.cpu_throttling)),
        (name::STARTUP_BOOST, boolean(template.startup_cpu_boost)),
        (name::EXECUTION_ENVIRONMENT, environment),
        (name::SESSION_AFFINITY, boolean(template.session_affinity)),
        (name::DEPENDENCIES, dependencies),
        (name::NO_ZONAL_REDUNDANCY, boolean(template.gpu_zonal_redundancy.map(|redundant| !redundant))),
        (name::IDLE_TIMEOUT, template.idle_timeout_seconds.map(|seconds| format!("{seconds}s"))),
        (name::CUDA_COMPAT, boolean(template.cuda_compat)),
    ];
    let mut annotations = template.annotations.clone();
    annotations.extend(known.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
    annotations
}

fn revision_spec(template: &RevisionTemplate) -> wire::RevisionSpec {
    let mut node_selector = template.other_node_selectors.clone();
    node_selector.extend(template.gpu_type.as_ref().map(|gpu| (ACCELERATOR_SELECTOR.to_owned(), gpu.to_string())));
    wire::RevisionSpec {
        container_concurrency: template.concurrency.and_then(|count| i32::try_from(count).ok()),
        timeout_seconds: template.timeout_seconds.and_then(|seconds| i32::try_from(seconds).ok()),
        service_account_name: template.service_account.clone(),
        containers: template.containers.iter().map(container_to_wire).collect(),
        volumes: template.volumes.iter().map(volume_to_wire).collect(),
        node_selector,
        ..wire::RevisionSpec::default()
    }
}

/// Renders a revision.
pub fn revision_to_wire(revision: &Revision, project_number: u64, resource_version: u64) -> wire::Revision {
    let (name, service) = (revision.key.name.as_str(), revision.service.as_str());
    let mut labels = template_labels(&revision.template);
    for (label, value) in [
        (name::SERVICE, service),
        ("serving.knative.dev/configuration", service),
        ("serving.knative.dev/route", service),
        (name::LOCATION, revision.key.region.as_str()),
    ] {
        labels.insert(label.to_owned(), value.to_owned());
    }
    labels.insert("serving.knative.dev/configurationGeneration".to_owned(), revision.generation.to_string());
    let mut annotations = template_annotations(&revision.template);
    annotations.insert(name::CREATOR.to_owned(), revision.creator.clone());
    wire::Revision {
        api_version: some(API_VERSION),
        kind: some("Revision"),
        metadata: Some(wire::ObjectMeta {
            name: some(name),
            namespace: Some(project_number.to_string()),
            self_link: Some(self_link(project_number, "revisions", name)),
            uid: some(&revision.uid),
            resource_version: Some(resource_version.to_string()),
            generation: Some(1),
            creation_timestamp: Some(time(revision.created_at)),
            owner_references: vec![owner("Configuration", service)],
            annotations,
            labels,
            ..wire::ObjectMeta::default()
        }),
        spec: Some(revision_spec(&revision.template)),
        status: Some(revision_status(revision)),
    }
}

fn revision_status(revision: &Revision) -> wire::RevisionStatus {
    let mut conditions: Vec<wire::Condition> = revision.conditions.iter().map(condition).collect();
    conditions.extend(revision.warnings.iter().map(|warning| wire::Condition {
        r#type: some("Warning"),
        status: some("True"),
        severity: some("Warning"),
        message: some(warning),
        last_transition_time: Some(time(revision.created_at)),
        ..wire::Condition::default()
    }));
    let ingress = revision.template.ingress_container();
    let image = ingress.and_then(|index| revision.images.get(index)).map(|image| image.reference.clone());
    let containers = revision.template.containers.iter().zip(&revision.images);
    wire::RevisionStatus {
        observed_generation: Some(1),
        conditions,
        service_name: some(revision.service.as_str()),
        image_digest: image,
        desired_replicas: desired_replicas(revision),
        container_statuses: containers
            .map(|(container, image)| wire::ContainerStatus {
                name: some(&container.name),
                image_digest: Some(image.reference.clone()),
                ..wire::ContainerStatus::default()
            })
            .collect(),
        ..wire::RevisionStatus::default()
    }
}

/// The minimum of instances where it is in force; gcloud shows it as "Current Min Instances".
fn desired_replicas(revision: &Revision) -> Option<i32> {
    let active = homerun_model::condition::get(&revision.conditions, ConditionType::Active)?;
    let minimum = revision.template.min_instances.filter(|minimum| *minimum > 0)?;
    (active.status == homerun_model::condition::Status::True).then(|| i32::try_from(minimum).unwrap_or(i32::MAX))
}

pub(super) fn time(time: Timestamp) -> String {
    time.to_rfc3339_opts(SecondsFormat::Micros, true)
}
