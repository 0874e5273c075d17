//! Names, labels and annotations.

use std::collections::BTreeMap;

use super::{is_name, template_annotation};
use crate::names::ServiceKey;
use crate::service::{ServiceSpec, Surroundings};
use crate::traffic::{TAG_SEPARATOR, host_label};
use crate::violation::Violation;

/// Longest service name.
const SERVICE_NAME_MAX: usize = 49;
/// Longest name that is a DNS label; also the longest label value and label name.
const LABEL_MAX: usize = 63;
/// Longest prefix of a label's or annotation's key: a DNS name.
const PREFIX_MAX: usize = 253;
/// Most labels of one object.
const LABELS_MAX: usize = 64;
/// Most bytes of all annotations of one object, as Kubernetes has it.
const ANNOTATIONS_BYTES_MAX: usize = 256 << 10;

/// What Cloud Run accepts as `run.googleapis.com/...` on a service, and what gcloud sends besides.
const SERVICE_ANNOTATIONS: [&str; 37] = [
    "base-images",
    "binary-authorization",
    "binary-authorization-breakglass",
    "build-base-image",
    "build-enable-automatic-updates",
    "build-environment-variables",
    "build-function-target",
    "build-id",
    "build-image-uri",
    "build-name",
    "build-service-account",
    "build-source-location",
    "build-worker-pool",
    "client-name",
    "client-version",
    "creatorEmail",
    "custom-audiences",
    "default-url-disabled",
    "description",
    "enable-automatic-updates",
    "function-target",
    "gc-traffic-tags",
    "iap-enabled",
    "image-uri",
    "ingress",
    "ingress-status",
    "invoker-iam-disabled",
    "lastModifierEmail",
    "launch-stage",
    "manualInstanceCount",
    "maxScale",
    "minScale",
    "operation-id",
    "scalingMode",
    "source-location",
    "threat-detection",
    "urls",
];

/// What Cloud Run accepts as `run.googleapis.com/...` on a revision, and what gcloud sends besides.
const REVISION_ANNOTATIONS: [&str; 32] = [
    "base-images",
    "build-function-target",
    "build-id",
    "build-source-location",
    "client-name",
    "client-version",
    "cloudsql-instances",
    "container-dependencies",
    "cpu-throttling",
    "enable-workload-certificate",
    "encryption-key",
    "encryption-key-shutdown-hours",
    "execution-environment",
    "gpu-zonal-redundancy-disabled",
    "health-check-disabled",
    "identity",
    "mesh",
    "mesh-dataplane",
    "network-interfaces",
    "overflow-scaling",
    "post-key-revocation-action-type",
    "scaling-concurrency-target",
    "scaling-cpu-target",
    "secrets",
    "secure-session-agent",
    "sessionAffinity",
    "sources",
    "startup-cpu-boost",
    "startupProbeType",
    "threat-detection",
    "vpc-access-connector",
    "vpc-access-egress",
];

/// What protects a service or its data on Cloud Run and does not exist here, and what it is. To accept it would
/// let its user believe in a protection that is not there.
const PROTECTIONS: [(&str, &str); 4] = [
    ("binary-authorization", "Binary Authorization"),
    ("encryption-key", "Encryption with a key of one's own"),
    ("iap-enabled", "Identity-Aware Proxy"),
    ("mesh", "Service mesh"),
];

/// What Cloud Run accepts as `autoscaling.knative.dev/...` on a revision.
const REVISION_SCALING: [&str; 2] = ["minScale", "maxScale"];
/// What homerun adds, on a revision.
const HOMERUN_REVISION_ANNOTATIONS: [&str; 2] = ["cuda-compat", "idle-timeout"];

pub(super) fn check(spec: &ServiceSpec, key: &ServiceKey, around: &Surroundings<'_>, found: &mut Vec<Violation>) {
    service_name(key, around, found);
    if !around.regions.contains(&key.region) {
        let regions: Vec<_> = around.regions.iter().map(ToString::to_string).collect();
        let message = format!("Region '{}' does not exist here. Regions: {}.", key.region, regions.join(", "));
        found.push(Violation::new("metadata.labels[cloud.googleapis.com/location]", message));
    }
    revision_name(spec, key, found);
    labels("metadata.labels", &spec.labels, found);
    labels("spec.template.metadata.labels", &spec.template.labels, found);
    annotations("metadata.annotations", &spec.annotations, found);
    annotations("spec.template.metadata.annotations", &spec.template.annotations, found);
    protections("metadata.annotations", &spec.annotations, found);
    protections("spec.template.metadata.annotations", &spec.template.annotations, found);
    for name in spec.annotations.keys() {
        kind_of_annotation(&format!("metadata.annotations[{name}]"), name, "Service", found);
    }
    for name in spec.template.annotations.keys() {
        kind_of_annotation(&template_annotation(name), name, "Revision", found);
    }
    if let Some(account) = &spec.template.service_account {
        service_account(account, found);
    }
}

fn service_name(key: &ServiceKey, around: &Surroundings<'_>, found: &mut Vec<Violation>) {
    let name = key.name.as_str();
    if !is_name(name, SERVICE_NAME_MAX) || name.contains(TAG_SEPARATOR) {
        let message = format!(
            "Service name '{name}' must use only lowercase letters, digits and single or double hyphens, begin with a letter, \
             not end with a hyphen and have at most {SERVICE_NAME_MAX} characters."
        );
        found.push(Violation::new("metadata.name", message));
    } else if host_label(None, &key.name, around.project.number).len() > LABEL_MAX {
        let message = format!(
            "Service name '{name}' is too long: with the project's number ({}) it must have at most {LABEL_MAX} characters, \
             since both stand in the service's host name.",
            around.project.number
        );
        found.push(Violation::new("metadata.name", message));
    }
}

fn revision_name(spec: &ServiceSpec, key: &ServiceKey, found: &mut Vec<Violation>) {
    let Some(name) = &spec.template.name else {
        return;
    };
    let suffix = name.strip_prefix(key.name.as_str()).and_then(|rest| rest.strip_prefix('-'));
    if suffix.is_none_or(str::is_empty) || !is_name(name, LABEL_MAX) {
        let message = format!(
            "Revision name '{name}' must be '{}-' and a suffix, use only lowercase letters, digits and hyphens, not end with a \
             hyphen and have at most {LABEL_MAX} characters.",
            key.name
        );
        found.push(Violation::new("spec.template.metadata.name", message));
    }
}

fn labels(field: &str, labels: &BTreeMap<String, String>, found: &mut Vec<Violation>) {
    if labels.len() > LABELS_MAX {
        found.push(Violation::new(
            field,
            format!("There may be at most {LABELS_MAX} labels; there are {}.", labels.len()),
        ));
    }
    for (key, value) in labels {
        if !is_qualified(key) {
            found.push(Violation::new(format!("{field}[{key}]"), bad_key("Label", key)));
        }
        if value.chars().count() > LABEL_MAX || !value.chars().all(is_label_character) {
            let message = format!(
                "Label value '{value}' must have at most {LABEL_MAX} characters, and only letters, digits, hyphens, underscores \
                 and dots."
            );
            found.push(Violation::new(format!("{field}[{key}]"), message));
        }
    }
}

fn annotations(field: &str, annotations: &BTreeMap<String, String>, found: &mut Vec<Violation>) {
    let size: usize = annotations.iter().map(|(key, value)| key.len() + value.len()).sum();
    if size > ANNOTATIONS_BYTES_MAX {
        let message = format!("Annotations may have at most {ANNOTATIONS_BYTES_MAX} bytes in all; they have {size}.");
        found.push(Violation::new(field, message));
    }
    for key in annotations.keys().filter(|key| !is_qualified(key)) {
        found.push(Violation::new(format!("{field}[{key}]"), bad_key("Annotation", key)));
    }
}

fn protections(field: &str, annotations: &BTreeMap<String, String>, found: &mut Vec<Violation>) {
    for (name, what) in PROTECTIONS {
        let key = format!("run.googleapis.com/{name}");
        let wanted = annotations.get(&key).filter(|value| !value.is_empty() && !value.eq_ignore_ascii_case("false"));
        if wanted.is_some() {
            let message = format!("{what} is not supported by homerun. Remove it to deploy without.");
            found.push(Violation::new(format!("{field}[{key}]"), message));
        }
    }
}

/// A misspelt or misplaced annotation of the platform would silently do nothing, so it is refused.
fn kind_of_annotation(field: &str, name: &str, kind: &str, found: &mut Vec<Violation>) {
    let kinds: Vec<&str> = if let Some(rest) = name.strip_prefix("run.googleapis.com/") {
        let service = SERVICE_ANNOTATIONS.contains(&rest).then_some("Service");
        service.into_iter().chain(REVISION_ANNOTATIONS.contains(&rest).then_some("Revision")).collect()
    } else if let Some(rest) = name.strip_prefix("autoscaling.knative.dev/") {
        REVISION_SCALING.contains(&rest).then_some("Revision").into_iter().collect()
    } else if let Some(rest) = name.strip_prefix("homerun.dev/") {
        HOMERUN_REVISION_ANNOTATIONS.contains(&rest).then_some("Revision").into_iter().collect()
    } else {
        return;
    };
    if !kinds.contains(&kind) {
        let supported = if kinds.is_empty() { "none".to_owned() } else { kinds.join(", ") };
        let message = format!(
            "Annotation '{name}' is not supported on resources of kind {kind}. Supported kinds are: {supported}."
        );
        found.push(Violation::new(field, message));
    }
}

fn service_account(account: &str, found: &mut Vec<Violation>) {
    let right = account.split_once('@').is_some_and(|(name, domain)| {
        !name.is_empty() && !domain.is_empty() && !domain.contains('@') && !account.contains(char::is_whitespace)
    });
    if !right {
        let message = format!(
            "Unsupported service account '{account}': it must be an email such as NAME@PROJECT.iam.gserviceaccount.com."
        );
        found.push(Violation::new("spec.template.spec.serviceAccountName", message));
    }
}

/// Whether a key is `[PREFIX/]NAME` as Kubernetes has it.
fn is_qualified(key: &str) -> bool {
    let (prefix, name) = key.split_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    let prefix_is_right =
        prefix.is_none_or(|prefix| prefix.len() <= PREFIX_MAX && prefix.split('.').all(super::is_dns_label));
    let edge = |edge: Option<char>| edge.is_some_and(char::is_alphanumeric);
    prefix_is_right
        && name.chars().count() <= LABEL_MAX
        && name.chars().all(is_label_character)
        && edge(name.chars().next())
        && edge(name.chars().next_back())
}

fn is_label_character(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '-' | '_' | '.')
}

fn bad_key(what: &str, key: &str) -> String {
    format!(
        "{what} key '{key}' must be a name of at most {LABEL_MAX} letters, digits, hyphens, underscores and dots that begins and \
         ends with a letter or digit, after a DNS name and '/' if it has a prefix."
    )
}
