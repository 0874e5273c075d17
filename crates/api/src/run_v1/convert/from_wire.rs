//! A service as a client sends it, as the model has it.

use std::collections::BTreeMap;

use homerun_model::gpu::ACCELERATOR_SELECTOR;
use homerun_model::names::{GpuType, RevisionName};
use homerun_model::revision::{ExecutionEnvironment, RevisionTemplate};
use homerun_model::service::{IngressSetting, ServiceSpec};
use homerun_model::traffic::TrafficTarget;
use homerun_model::violation::Violation;

use super::API_VERSION;
use super::annotations::{self as name, Reader, seconds};
use super::containers::{Problems, container, volume};
use crate::run_v1::types as wire;

/// What a client said about a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParsedService {
    /// The service.
    pub spec: ServiceSpec,
    /// The version that the client has read, if it says.
    pub resource_version: Option<u64>,
}

/// Reads a service, and everything about it that cannot be read or honoured.
pub fn service_from_wire(wire: wire::Service) -> (ParsedService, Vec<Violation>) {
    let mut violations = Vec::new();
    for (given, right, field) in [(&wire.api_version, API_VERSION, "apiVersion"), (&wire.kind, "Service", "kind")] {
        if given.as_ref().is_some_and(|given| given != right) {
            violations.push(Violation::new(field, format!("must be '{right}'.")));
        }
    }
    let metadata = wire.metadata.unwrap_or_default();
    refuse_metadata(&metadata, "metadata", &mut violations);
    let resource_version = version(metadata.resource_version.as_deref(), &mut violations);
    let spec = wire.spec.unwrap_or_default();
    if spec.template.is_none() {
        violations.push(Violation::new("spec.template", "is missing; it says what the revisions of the service run."));
    }
    let template = template(spec.template.unwrap_or_default(), &mut violations);
    let traffic =
        spec.traffic.into_iter().enumerate().map(|(index, target)| traffic(target, index, &mut violations)).collect();
    let mut annotations = Reader {
        left: without_system(metadata.annotations),
        path: "metadata.annotations",
        violations: &mut violations,
    };
    let ingress = annotations.parsed(
        name::INGRESS,
        "'all', 'internal' or 'internal-and-cloud-load-balancing'",
        |text| match text {
            "all" => Some(IngressSetting::All),
            "internal" => Some(IngressSetting::Internal),
            "internal-and-cloud-load-balancing" => Some(IngressSetting::InternalAndCloudLoadBalancing),
            _ => None,
        },
    );
    let spec = ServiceSpec {
        labels: without_system(metadata.labels),
        min_instances: annotations.count(name::SERVICE_MIN),
        max_instances: annotations.count(name::SERVICE_MAX),
        manual_instances: manual_instances(&mut annotations),
        invoker_iam_disabled: annotations.boolean(name::INVOKER_DISABLED),
        default_url_disabled: annotations.boolean(name::DEFAULT_URL_DISABLED),
        annotations: annotations.left,
        template,
        traffic,
        ingress,
    };
    (ParsedService { spec, resource_version }, violations)
}

/// The number of instances of a service that is scaled by hand. That it is scaled automatically needs no field:
/// it stays an annotation.
fn manual_instances(annotations: &mut Reader<'_>) -> Option<u32> {
    let mode = annotations.parsed(name::SCALING_MODE, "'automatic' or 'manual'", |text| {
        ["automatic", "manual"].into_iter().find(|mode| text.eq_ignore_ascii_case(mode))
    });
    let count = annotations.count(name::MANUAL_COUNT);
    let field = |name: &str| format!("metadata.annotations[{name}]");
    match (mode, count) {
        (Some("manual"), None) => {
            let message = "Manual scaling needs a number of instances: set this to 0 or more.";
            annotations.violations.push(Violation::new(field(name::MANUAL_COUNT), message));
            None
        }
        (Some("manual"), count) => count,
        (mode, count) => {
            if count.is_some() {
                let message = format!("Only with {} 'manual'; set that too, or remove this.", name::SCALING_MODE);
                annotations.violations.push(Violation::new(field(name::MANUAL_COUNT), message));
            }
            let kept = mode.map(|mode| (name::SCALING_MODE.to_owned(), mode.to_owned()));
            annotations.left.extend(kept);
            None
        }
    }
}

fn version(text: Option<&str>, violations: &mut Vec<Violation>) -> Option<u64> {
    let text = text.filter(|text| !text.is_empty())?;
    let version = text.parse().ok();
    if version.is_none() {
        violations.push(Violation::new("metadata.resourceVersion", format!("'{text}' is no version of this service.")));
    }
    version
}

/// What of an object's metadata means something to Kubernetes and nothing here. What only the server writes
/// (uid, generation, times) may come back and says nothing.
pub(super) fn refuse_metadata(metadata: &wire::ObjectMeta, path: &str, violations: &mut Vec<Violation>) {
    let given = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
    let mut problems = Problems(violations);
    for (there, name) in [
        (given(&metadata.cluster_name), "clusterName"),
        (metadata.deletion_grace_period_seconds.is_some_and(|seconds| seconds != 0), "deletionGracePeriodSeconds"),
        (!metadata.finalizers.is_empty(), "finalizers"),
        (!metadata.owner_references.is_empty(), "ownerReferences"),
    ] {
        problems.refuse(there, format!("{path}.{name}"));
    }
    if given(&metadata.generate_name) {
        problems.add(format!("{path}.generateName"), "Made-up names are not supported by homerun yet; give a name.");
    }
}

pub(super) fn without_system(mut map: BTreeMap<String, String>) -> BTreeMap<String, String> {
    map.retain(|key, _| !name::SYSTEM.contains(&key.as_str()));
    map
}

fn traffic(wire: wire::TrafficTarget, index: usize, violations: &mut Vec<Violation>) -> TrafficTarget {
    let field = |name: &str| format!("spec.traffic[{index}].{name}");
    let revision = wire.revision_name.filter(|name| !name.is_empty());
    match (&revision, wire.latest_revision) {
        (None, None | Some(false)) => {
            violations.push(Violation::new(field("revisionName"), "must be given unless latestRevision is true."));
        }
        (Some(_), Some(true)) => {
            violations.push(Violation::new(field("latestRevision"), "must not be true where revisionName is given."));
        }
        _ => {}
    }
    if wire.configuration_name.is_some_and(|name| !name.is_empty()) {
        violations.push(Violation::new(field("configurationName"), "This field is not supported."));
    }
    let percent = wire.percent.unwrap_or(0);
    let percent = u32::try_from(percent).unwrap_or_else(|_| {
        violations.push(Violation::new(field("percent"), format!("{percent} is not valid; it must be from 0 to 100.")));
        0
    });
    TrafficTarget { revision: revision.map(RevisionName::new), percent, tag: wire.tag.filter(|tag| !tag.is_empty()) }
}

fn template(wire: wire::RevisionTemplate, violations: &mut Vec<Violation>) -> RevisionTemplate {
    let metadata = wire.metadata.unwrap_or_default();
    refuse_metadata(&metadata, "spec.template.metadata", violations);
    let spec = wire.spec.unwrap_or_default();
    let mut problems = Problems(violations);
    let path = "spec.template.spec";
    problems.refuse(spec.enable_service_links == Some(true), format!("{path}.enableServiceLinks"));
    problems.refuse(!spec.image_pull_secrets.is_empty(), format!("{path}.imagePullSecrets"));
    problems.refuse(spec.runtime_class_name.is_some_and(|name| !name.is_empty()), format!("{path}.runtimeClassName"));
    problems.refuse(spec.sandboxes.is_some(), format!("{path}.sandboxes"));
    let containers = spec.containers.into_iter().enumerate();
    let containers =
        containers.map(|(index, c)| container(c, &format!("{path}.containers[{index}]"), &mut problems)).collect();
    let volumes = spec.volumes.into_iter().enumerate();
    let volumes = volumes.map(|(index, v)| volume(v, &format!("{path}.volumes[{index}]"), &mut problems)).collect();
    let mut selectors = spec.node_selector;
    let gpu_type = selectors.remove(ACCELERATOR_SELECTOR).filter(|gpu| !gpu.is_empty()).map(GpuType::new);
    let mut number = |value: Option<i32>, field: &str| {
        let value = value?;
        let number = u32::try_from(value).ok();
        if number.is_none() {
            let field = format!("{path}.{field}");
            violations.push(Violation::new(field, format!("{value} is not valid; it must not be negative.")));
        }
        number
    };
    // Knative's 0 stands for the platform's own default.
    let concurrency = number(spec.container_concurrency, "containerConcurrency").filter(|count| *count > 0);
    let timeout_seconds = number(spec.timeout_seconds, "timeoutSeconds");
    RevisionTemplate {
        name: metadata.name.filter(|name| !name.is_empty()),
        labels: without_system(metadata.labels),
        containers,
        volumes,
        concurrency,
        timeout_seconds,
        service_account: spec.service_account_name.filter(|account| !account.is_empty()),
        gpu_type,
        other_node_selectors: selectors,
        ..annotated(metadata.annotations, violations)
    }
}

/// What a template's annotations say.
fn annotated(annotations: BTreeMap<String, String>, violations: &mut Vec<Violation>) -> RevisionTemplate {
    let mut annotations =
        Reader { left: without_system(annotations), path: "spec.template.metadata.annotations", violations };
    let dependencies = "a JSON object of lists such as {\"app\": [\"db\"]}";
    RevisionTemplate {
        container_dependencies: annotations
            .parsed(name::DEPENDENCIES, dependencies, |text| serde_json::from_str(text).ok())
            .unwrap_or_default(),
        gpu_zonal_redundancy: annotations.boolean(name::NO_ZONAL_REDUNDANCY).map(|disabled| !disabled),
        min_instances: annotations.count(name::MIN_SCALE),
        max_instances: annotations.count(name::MAX_SCALE),
        cpu_target: annotations.target(name::CPU_TARGET),
        concurrency_target: annotations.target(name::CONCURRENCY_TARGET),
        cpu_throttling: annotations.boolean(name::CPU_THROTTLING),
        startup_cpu_boost: annotations.boolean(name::STARTUP_BOOST),
        execution_environment: annotations.parsed(name::EXECUTION_ENVIRONMENT, "'gen1' or 'gen2'", |text| match text {
            "gen1" => Some(ExecutionEnvironment::Gen1),
            "gen2" => Some(ExecutionEnvironment::Gen2),
            _ => None,
        }),
        session_affinity: annotations.boolean(name::SESSION_AFFINITY),
        idle_timeout_seconds: annotations.parsed(name::IDLE_TIMEOUT, "a time such as '30s', '5m' or '1h'", seconds),
        cuda_compat: annotations.boolean(name::CUDA_COMPAT),
        annotations: annotations.left,
        ..RevisionTemplate::default()
    }
}
