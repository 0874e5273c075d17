//! What makes a service wrong.
//!
//! Every rule reports all that breaks it; none stops at the first. Field paths are those of the v1 API.
//! Limits come from Cloud Run's API definition and from its pages on configuring services; sentences
//! that clients or scripts look for are worded as Cloud Run words them.

mod containers;
mod gpu;
mod metadata;
mod probes;
pub(super) mod resources;
mod scaling;
mod traffic;

use super::{ServiceSpec, Surroundings};
use crate::names::ServiceKey;
use crate::violation::Violation;

/// Every rule that the service breaks; empty if it is right. `spec` has its defaults filled in.
pub fn validate(spec: &ServiceSpec, key: &ServiceKey, around: &Surroundings<'_>) -> Vec<Violation> {
    let mut found = Vec::new();
    metadata::check(spec, key, around, &mut found);
    containers::check(&spec.template, &mut found);
    resources::check(&spec.template, around, &mut found);
    probes::check(&spec.template, &mut found);
    gpu::check(&spec.template, key, around, &mut found);
    scaling::check(spec, around, &mut found);
    traffic::check(&spec.traffic, key, around, &mut found);
    found
}

/// Path of a container, for instance `spec.template.spec.containers[0]`.
fn container_path(index: usize) -> String {
    format!("spec.template.spec.containers[{index}]")
}

/// Path of an annotation of the revision template.
fn template_annotation(name: &str) -> String {
    format!("spec.template.metadata.annotations[{name}]")
}

/// Whether a text is a DNS label of at most `longest` characters that starts with a letter, as the
/// names of services, revisions and tags must be.
fn is_name(text: &str, longest: usize) -> bool {
    is_dns_label(text) && text.len() <= longest && text.starts_with(|first: char| first.is_ascii_lowercase())
}

/// Whether a text is a DNS label (RFC 1123).
pub(crate) fn is_dns_label(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !text.is_empty() && text.len() <= 63 && text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

/// Reports a number outside its range.
fn check_range(
    field: &str,
    what: &str,
    value: Option<u32>,
    range: std::ops::RangeInclusive<u32>,
    found: &mut Vec<Violation>,
) {
    if let Some(value) = value.filter(|value| !range.contains(value)) {
        let message = format!("{what} must be between {} and {}; it is {value}.", range.start(), range.end());
        found.push(Violation::new(field, message));
    }
}
