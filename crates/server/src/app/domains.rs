//! Domain mappings: create, read, delete.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;

use homerun_api::error::ApiError;
use homerun_model::domain::{self, Certificate, DomainKey, DomainMapping, DomainStatus};
use homerun_model::iam::Resource;
use homerun_model::names::{Project, Region};

use super::{access, stored};
use crate::audit;
use crate::auth::Caller;
use crate::config::Config;
use crate::platform::Platform;
use crate::store::Versioned;

const KIND: &str = "Domain mapping";

/// A mapping, its version, and how it is.
pub type Shown = (Versioned<DomainMapping>, DomainStatus);

/// Maps a host to a service.
///
/// # Errors
/// `PermissionDenied`, `AlreadyExists` if the project and region have a mapping of the host, or every rule that it
/// breaks.
pub fn create(platform: &Platform, caller: &Caller, mapping: DomainMapping, dry_run: bool) -> Result<Shown, ApiError> {
    require(platform, caller, "run.domainmappings.create", &mapping.key)?;
    let name = mapping.key.domain.to_string();
    if platform.store.domain_mapping(&mapping.key).is_some() {
        return Err(ApiError::AlreadyExists { kind: KIND, name });
    }
    let addresses = addresses(&platform.config);
    let violations =
        domain::violations(&mapping, service_made(platform, &mapping).is_some(), &around(platform, &addresses));
    if !violations.is_empty() {
        return Err(ApiError::InvalidArgument(violations));
    }
    if dry_run {
        return Ok(show(platform, Versioned { version: 0, value: mapping }));
    }
    audit::creates(&name);
    let version = platform.store.create_domain_mapping(&mapping).map_err(|error| stored(error, KIND, &name))?;
    Ok(show(platform, Versioned { version, value: mapping }))
}

/// A mapping.
///
/// # Errors
/// `PermissionDenied` or `NotFound`.
pub fn get(platform: &Platform, caller: &Caller, key: &DomainKey) -> Result<Shown, ApiError> {
    require(platform, caller, "run.domainmappings.get", key)?;
    let found = platform.store.domain_mapping(key).map(Arc::unwrap_or_clone);
    Ok(show(platform, found.ok_or_else(|| missing(key))?))
}

/// Removes a mapping; its unique id. The host stops leading to the service at once.
///
/// # Errors
/// `PermissionDenied` or `NotFound`.
pub fn delete(platform: &Platform, caller: &Caller, key: &DomainKey, dry_run: bool) -> Result<String, ApiError> {
    require(platform, caller, "run.domainmappings.delete", key)?;
    let present = platform.store.domain_mapping(key).ok_or_else(|| missing(key))?;
    let failed = |error| stored(error, KIND, key.domain.as_str());
    if !dry_run && !platform.store.delete_domain_mapping(key).map_err(failed)? {
        return Err(missing(key));
    }
    Ok(present.value.uid.clone())
}

/// Demands the permission to list a project's mappings.
///
/// # Errors
/// `PermissionDenied`.
pub fn authorise_list(platform: &Platform, caller: &Caller, project: &Project) -> Result<(), ApiError> {
    access::require(platform, caller, "run.domainmappings.list", &Resource::Project(project.id.clone()))
}

/// Up to `count` mappings of a project, of one region or of all, after a key and in the order of keys.
pub fn page(
    platform: &Platform,
    (project, region): (&Project, Option<&Region>),
    after: Option<&str>,
    count: usize,
) -> Vec<(String, Shown)> {
    let page = platform.store.domain_mappings_page(&project.id, region, after, count);
    page.into_iter().map(|(key, found)| (key, show(platform, Arc::unwrap_or_clone(found)))).collect()
}

fn require(platform: &Platform, caller: &Caller, permission: &str, key: &DomainKey) -> Result<(), ApiError> {
    access::require(platform, caller, permission, &Resource::Project(key.project.clone()))
}

fn missing(key: &DomainKey) -> ApiError {
    ApiError::NotFound { kind: KIND, name: key.domain.to_string() }
}

fn show(platform: &Platform, mapping: Versioned<DomainMapping>) -> Shown {
    let addresses = addresses(&platform.config);
    let holder = platform.store.domain_holder(&mapping.value.key.domain);
    let (value, service) = (&mapping.value, service_made(platform, &mapping.value));
    let status = domain::status(value, holder.as_ref().unwrap_or(value), service, &around(platform, &addresses));
    (mapping, status)
}

/// When the service of a mapping was made, unless it is going or gone.
fn service_made(platform: &Platform, mapping: &DomainMapping) -> Option<homerun_model::Timestamp> {
    let service = platform.store.service(&mapping.service_key()).ok()??.value;
    service.deleted_at.is_none().then_some(service.created_at)
}

fn around<'a>(platform: &'a Platform, addresses: &'a [IpAddr]) -> domain::Surroundings<'a> {
    let (config, ingress) = (&platform.config, &platform.config.ingress);
    let certificate = match (ingress.self_made_certificate, ingress.has_tls()) {
        (true, _) => Certificate::SelfMade,
        (false, true) => Certificate::Given,
        (false, false) => Certificate::Absent,
    };
    domain::Surroundings { domains: &ingress.domains, own: &config.url.domain, certificate, addresses }
}

/// Where clients reach ingress, as far as this machine can know.
fn addresses(config: &Config) -> Vec<IpAddr> {
    let (given, listens) = (&config.ingress.addresses, config.ingress_listen.ip());
    if !given.is_empty() {
        return given.clone();
    }
    if !listens.is_unspecified() {
        return vec![listens];
    }
    let mut found: Vec<IpAddr> = [([0; 4].into(), [192, 0, 2, 1].into()), ([0_u16; 8].into(), DOCUMENTED_V6.into())]
        .into_iter()
        .filter(|(any, _): &(IpAddr, IpAddr)| any.is_ipv4() || listens.is_ipv6())
        .filter_map(|(any, there)| towards(any, there))
        .collect();
    if found.is_empty() {
        found.push([127, 0, 0, 1].into());
    }
    found
}

/// An address outside, for documentation only (RFC 3849).
const DOCUMENTED_V6: [u16; 8] = [0x2001, 0xdb8, 0, 0, 0, 0, 0, 1];

/// The address by which this machine reaches another. Nothing is sent: the kernel is asked for the route alone.
fn towards(any: IpAddr, there: IpAddr) -> Option<IpAddr> {
    let socket = UdpSocket::bind(SocketAddr::new(any, 0)).ok()?;
    socket.connect(SocketAddr::new(there, 9)).ok()?;
    socket.local_addr().ok().map(|address| address.ip())
}
