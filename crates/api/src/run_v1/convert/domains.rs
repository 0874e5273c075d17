//! Domain mappings: wire to model and back.

use std::collections::BTreeMap;

use homerun_model::domain::{CertificateMode, DomainMapping, DomainStatus, Record};
use homerun_model::names::ServiceName;
use homerun_model::violation::Violation;

use super::annotations as name;
use super::containers::some;
use super::from_wire::{refuse_metadata, without_system};
use super::to_wire::{condition, time};
use crate::run_v1::{self as wire};

/// The only API version and group that domain mappings have.
pub const DOMAINS_API: &str = "domains.cloudrun.com/v1";

/// What a client says about a mapping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainWish {
    /// The host.
    pub domain: String,
    /// The service; empty where none is named.
    pub service: ServiceName,
    /// About the certificate.
    pub certificate_mode: Option<CertificateMode>,
    /// Whether to take the host from other mappings.
    pub force_override: bool,
    /// Labels without the system's.
    pub labels: BTreeMap<String, String>,
    /// Annotations without the system's.
    pub annotations: BTreeMap<String, String>,
}

/// Reads a mapping, and everything about it that cannot be read or honoured.
pub fn domain_from_wire(wire: wire::DomainMapping) -> (DomainWish, Vec<Violation>) {
    let mut violations = Vec::new();
    for (given, right, field) in [(&wire.api_version, DOMAINS_API, "apiVersion"), (&wire.kind, "DomainMapping", "kind")]
    {
        if given.as_ref().is_some_and(|given| given != right) {
            violations.push(Violation::new(field, format!("must be '{right}'.")));
        }
    }
    let (metadata, spec) = (wire.metadata.unwrap_or_default(), wire.spec.unwrap_or_default());
    refuse_metadata(&metadata, "metadata", &mut violations);
    let certificate_mode = match spec.certificate_mode.as_deref() {
        None | Some("" | "CERTIFICATE_MODE_UNSPECIFIED") => None,
        Some("NONE") => Some(CertificateMode::None),
        Some("AUTOMATIC") => Some(CertificateMode::Automatic),
        Some(other) => {
            let message = format!("'{other}' is not valid; it must be NONE or AUTOMATIC.");
            violations.push(Violation::new("spec.certificateMode", message));
            None
        }
    };
    let wish = DomainWish {
        domain: metadata.name.unwrap_or_default(),
        service: ServiceName::new(spec.route_name.unwrap_or_default()),
        certificate_mode,
        force_override: spec.force_override == Some(true),
        labels: without_system(metadata.labels),
        annotations: without_system(metadata.annotations),
    };
    (wish, violations)
}

/// Renders a mapping. `version` is that of its record.
pub fn domain_to_wire(
    mapping: &DomainMapping,
    status: &DomainStatus,
    project_number: u64,
    version: u64,
) -> wire::DomainMapping {
    let domain = mapping.key.domain.as_str();
    let (mut labels, mut annotations) = (mapping.labels.clone(), mapping.annotations.clone());
    labels.insert(name::LOCATION.to_owned(), mapping.key.region.to_string());
    annotations.insert(name::CREATOR.to_owned(), mapping.creator.clone());
    annotations.insert(name::LAST_MODIFIER.to_owned(), mapping.creator.clone());
    wire::DomainMapping {
        api_version: some(DOMAINS_API),
        kind: some("DomainMapping"),
        metadata: Some(wire::ObjectMeta {
            name: some(domain),
            namespace: Some(project_number.to_string()),
            self_link: Some(format!("/apis/{DOMAINS_API}/namespaces/{project_number}/domainmappings/{domain}")),
            uid: some(&mapping.uid),
            resource_version: Some(version.to_string()),
            generation: Some(1),
            creation_timestamp: Some(time(mapping.created_at)),
            annotations,
            labels,
            ..wire::ObjectMeta::default()
        }),
        spec: Some(wire::DomainMappingSpec {
            certificate_mode: mapping.certificate_mode.map(|mode| match mode {
                CertificateMode::None => "NONE".to_owned(),
                CertificateMode::Automatic => "AUTOMATIC".to_owned(),
            }),
            force_override: mapping.force_override.then_some(true),
            route_name: some(mapping.service.as_str()),
        }),
        status: Some(wire::DomainMappingStatus {
            conditions: status.conditions.iter().map(condition).collect(),
            mapped_route_name: (!status.records.is_empty()).then(|| mapping.service.to_string()),
            observed_generation: Some(1),
            resource_records: status.records.iter().map(record).collect(),
            url: None,
        }),
    }
}

fn record(record: &Record) -> wire::ResourceRecord {
    wire::ResourceRecord {
        name: record.name.clone(),
        rrdata: Some(record.address.to_string()),
        r#type: some(if record.address.is_ipv4() { "A" } else { "AAAA" }),
    }
}
