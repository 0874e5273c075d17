//! Domain mappings: hosts of one's own that lead to a service (row S16).

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::Timestamp;
use crate::condition::{Condition, ConditionType, Status};
use crate::names::{DomainName, ProjectId, Region, ServiceKey, ServiceName};
use crate::service::is_dns_label;
use crate::violation::Violation;

/// Longest name of a host (RFC 1035, section 2.3.4, as text).
const NAME_MAX: usize = 253;

/// What identifies a mapping.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DomainKey {
    /// The project that owns the mapping, and the service that it leads to.
    pub project: ProjectId,
    /// The region of both.
    pub region: Region,
    /// The host.
    pub domain: DomainName,
}

/// A host that leads to a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DomainMapping {
    /// Project, region and host.
    pub key: DomainKey,
    /// Unique for all time.
    pub uid: String,
    /// The service, in the mapping's project and region.
    pub service: ServiceName,
    /// What the user said about a certificate.
    pub certificate_mode: Option<CertificateMode>,
    /// Whether it takes the host from the mappings that were there before it.
    pub force_override: bool,
    /// Labels without the system's.
    pub labels: BTreeMap<String, String>,
    /// Annotations without the system's.
    pub annotations: BTreeMap<String, String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Who made it.
    pub creator: String,
}

/// What a user may say about a mapping's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CertificateMode {
    /// None is wanted.
    None,
    /// There is to be one.
    Automatic,
}

impl DomainMapping {
    /// The service that it leads to.
    pub fn service_key(&self) -> ServiceKey {
        ServiceKey { project: self.key.project.clone(), region: self.key.region.clone(), name: self.service.clone() }
    }
}

/// What the rules about mappings must know of this homerun.
#[derive(Debug, Clone, Copy)]
pub struct Surroundings<'a> {
    /// Domains whose names, and theirs alone, may be mapped: the operator's word that they lead here.
    pub domains: &'a [String],
    /// The domain that services' own URLs are in.
    pub own: &'a str,
    /// The certificate that clients see.
    pub certificate: Certificate,
    /// Where clients reach ingress.
    pub addresses: &'a [IpAddr],
}

/// The certificate that clients of every host see. None is made for a single host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Certificate {
    /// Requests come in clear text.
    Absent,
    /// The operator's.
    Given,
    /// One that homerun made for [`self_made_names`].
    SelfMade,
}

/// The names that a self-made certificate has for domains that may be mapped: each, and those one label below.
pub fn self_made_names(domains: &[String]) -> Vec<String> {
    domains.iter().flat_map(|domain| [domain.clone(), format!("*.{domain}")]).collect()
}

/// Everything that is wrong with a mapping that is to be made. `exists` tells whether its service does.
pub fn violations(mapping: &DomainMapping, exists: bool, around: &Surroundings<'_>) -> Vec<Violation> {
    let (domain, mut found) = (mapping.key.domain.as_str(), Vec::new());
    if !is_host(domain) {
        let message = format!(
            "'{domain}' is not a domain; it must be two or more labels of lower-case letters, digits and hyphens with dots \
             between them, for instance www.example.com, and have at most {NAME_MAX} characters."
        );
        found.push(Violation::new("metadata.name", message));
    } else if relative(domain, around.own).is_some() {
        let message =
            format!("'{domain}' is in {}, where services have their own URLs; map another domain.", around.own);
        found.push(Violation::new("metadata.name", message));
    } else if apex(domain, around.domains).is_none() {
        let message = format!(
            "'{domain}' is in none of the domains that may be mapped here ({}). Whoever runs this homerun adds its domain to \
             `domains` of [ingress] in the settings.",
            around.domains.join(", ")
        );
        found.push(Violation::new("metadata.name", message));
    }
    if !exists {
        let message = format!(
            "Service '{}' does not exist in project '{}' and region '{}'; a domain is mapped to one that does.",
            mapping.service, mapping.key.project, mapping.key.region
        );
        found.push(Violation::new("spec.routeName", message));
    }
    found
}

fn is_host(name: &str) -> bool {
    name.len() <= NAME_MAX && name.contains('.') && name.split('.').all(is_dns_label)
}

/// The domain that a name is in, and the name without it: the longest of those that fit.
fn apex<'a, 'b>(name: &'a str, domains: &'b [String]) -> Option<(&'b str, &'a str)> {
    let fitting = domains.iter().filter_map(|domain| Some((domain.as_str(), relative(name, domain)?)));
    fitting.max_by_key(|(domain, _)| domain.len())
}

/// A name without the domain that it is in: empty for that domain itself.
fn relative<'a>(name: &'a str, domain: &str) -> Option<&'a str> {
    let rest = name.strip_suffix(domain)?;
    if rest.is_empty() { Some(rest) } else { rest.strip_suffix('.') }
}

/// Whose a host is where several mappings want it: the last one's that took it by force; else the first one's.
pub fn holder<'a>(claims: impl IntoIterator<Item = &'a DomainMapping>) -> Option<&'a DomainMapping> {
    claims.into_iter().reduce(|held, claim| {
        let age = |mapping: &DomainMapping| (mapping.created_at, mapping.key.clone());
        let later = age(claim) > age(held);
        let takes = match (held.force_override, claim.force_override) {
            (true, true) => later,
            (false, false) => !later,
            (_, forced) => forced,
        };
        if takes { claim } else { held }
    })
}

/// How a mapping is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainStatus {
    /// Ready, CertificateProvisioned and DomainRoutable.
    pub conditions: Vec<Condition>,
    /// What the domain's DNS must say; empty while the host is another mapping's.
    pub records: Vec<Record>,
}

/// A record of a domain's DNS that leads to ingress.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The host without its domain; `None` for the domain itself.
    pub name: Option<String>,
    /// The address: an A record, or AAAA.
    pub address: IpAddr,
}

/// How a mapping is, whose host is `holder`'s. `service` is when its service was made, if that exists.
pub fn status(
    mapping: &DomainMapping,
    holder: &DomainMapping,
    service: Option<Timestamp>,
    around: &Surroundings<'_>,
) -> DomainStatus {
    use ConditionType::{CertificateProvisioned, DomainRoutable};
    let since = service.map_or(mapping.created_at, |made| made.max(mapping.created_at));
    let domain = &mapping.key.domain;
    if holder.key != mapping.key {
        let message = format!(
            "Domain '{domain}' is mapped to {} already. Delete that mapping, or map it with force.",
            holder.service_key()
        );
        let failed = |kind| Condition::failed(kind, "MappingAlreadyExists", &message, since);
        let waits = Condition::pending(CertificateProvisioned, "MappingAlreadyExists", &message, since);
        let conditions = vec![failed(ConditionType::Ready), waits, failed(DomainRoutable)];
        return DomainStatus { conditions, records: Vec::new() };
    }
    let (apex, name) = apex(domain.as_str(), around.domains).unwrap_or(("", domain.as_str()));
    let certificate = certificate(mapping, apex, name, around.certificate, since);
    let routable = match service {
        Some(_) => Condition::met(DomainRoutable, since),
        None => {
            let message = format!("Service '{}' does not exist (any more).", mapping.service);
            Condition::failed(DomainRoutable, "RouteMissing", message, since)
        }
    };
    let decides = if routable.status == Status::True { &certificate } else { &routable };
    let ready = Condition { kind: ConditionType::Ready, ..decides.clone() };
    let name = (!name.is_empty()).then(|| name.to_owned());
    let records = around.addresses.iter().map(|address| Record { name: name.clone(), address: *address }).collect();
    DomainStatus { conditions: vec![ready, certificate, routable], records }
}

/// What clients of the host see, said as it is: homerun gets no certificate for it.
fn certificate(mapping: &DomainMapping, apex: &str, name: &str, seen: Certificate, since: Timestamp) -> Condition {
    let kind = ConditionType::CertificateProvisioned;
    let (domain, met) = (&mapping.key.domain, Condition::met(kind, since));
    match seen {
        Certificate::Absent => {
            let message =
                "No certificate: requests come in clear text here. What ends TLS in front of homerun has its own.";
            Condition { message: message.to_owned(), ..met }
        }
        _ if mapping.certificate_mode == Some(CertificateMode::None) => {
            Condition { message: "No certificate was asked for.".to_owned(), ..met }
        }
        Certificate::Given => {
            let message = format!(
                "Clients see the certificate of homerun's settings; whether that is for '{domain}' is for who gave it."
            );
            Condition { message, ..met }
        }
        Certificate::SelfMade if !apex.is_empty() && !name.contains('.') => {
            let message = format!(
                "Clients see the certificate that homerun made itself, for '{domain}' too; they must be told to trust it."
            );
            Condition { message, ..met }
        }
        Certificate::SelfMade => {
            let message = format!(
                "The certificate that homerun made itself is not for '{domain}'. Give one that is (--tls-certificate), or add \
                 the domain right above it to `domains` of [ingress]."
            );
            Condition::failed(kind, "CertificateNotForDomain", message, since)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_timestamp(1_800_000_000 + second, 0).unwrap()
    }

    fn mapping(domain: &str, region: &str, second: i64, force_override: bool) -> DomainMapping {
        DomainMapping {
            key: DomainKey { project: "demo".into(), region: region.into(), domain: domain.into() },
            uid: "uid".to_owned(),
            service: "web".into(),
            certificate_mode: None,
            force_override,
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            created_at: at(second),
            creator: "ann@example.com".to_owned(),
        }
    }

    const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    fn around(domains: &[String], certificate: Certificate) -> Surroundings<'_> {
        Surroundings { domains, own: "run.localhost", certificate, addresses: &[ADDRESS] }
    }

    #[test]
    fn s16_only_names_of_the_operators_domains_are_mapped_and_none_of_services_urls() {
        let domains = ["example.com".to_owned(), "localhost".to_owned()];
        let found = |name: &str, exists| {
            let found = violations(&mapping(name, "r", 0, false), exists, &around(&domains, Certificate::Absent));
            found.into_iter().map(|violation| (violation.field, violation.message)).collect::<Vec<_>>()
        };
        for right in ["example.com", "www.example.com", "a.b.example.com", "web.localhost"] {
            assert_eq!(found(right, true), [], "{right}");
        }
        for (wrong, why) in [
            ("localhost", "is not a domain"),
            ("WWW.example.com", "is not a domain"),
            ("www..example.com", "is not a domain"),
            ("-.example.com", "is not a domain"),
            ("*.example.com", "is not a domain"),
            ("badexample.com", "none of the domains that may be mapped here (example.com, localhost)"),
            ("example.com.evil.net", "none of the domains"),
            ("web-1.us-central1.run.localhost", "services have their own URLs"),
            ("run.localhost", "services have their own URLs"),
        ] {
            let found = found(wrong, true);
            assert_eq!(found.len(), 1, "{wrong}: {found:?}");
            assert!(found[0].0 == "metadata.name" && found[0].1.contains(why), "{wrong}: {found:?}");
        }
        let missing = found("www.example.com", false);
        assert!(missing[0].0 == "spec.routeName" && missing[0].1.contains("'web' does not exist"), "{missing:?}");
    }

    #[test]
    fn s16_a_host_is_the_first_ones_until_somebody_takes_it() {
        let claim = |region, second, force| mapping("www.example.com", region, second, force);
        let holder_of = |claims: &[DomainMapping]| holder(claims).map(|held| held.key.region.to_string());
        assert_eq!(holder_of(&[]), None);
        assert_eq!(holder_of(&[claim("b", 1, false), claim("a", 0, false)]).unwrap(), "a");
        assert_eq!(holder_of(&[claim("a", 0, false), claim("b", 1, true), claim("c", 2, false)]).unwrap(), "b");
        assert_eq!(holder_of(&[claim("b", 1, true), claim("c", 2, true), claim("a", 0, false)]).unwrap(), "c");
    }

    /// Of Ready, CertificateProvisioned, DomainRoutable: status, reason, message.
    fn told(status: &DomainStatus) -> Vec<(&'static str, &str, &str)> {
        let kinds = status.conditions.iter().map(|condition| condition.kind.as_str());
        assert_eq!(kinds.collect::<Vec<_>>(), ["Ready", "CertificateProvisioned", "DomainRoutable"]);
        let told = |condition| {
            let Condition { status, reason, message, .. }: &Condition = condition;
            (status.as_str(), reason.as_str(), message.as_str())
        };
        status.conditions.iter().map(told).collect()
    }

    fn words(status: &DomainStatus) -> Vec<(&'static str, &str)> {
        told(status).into_iter().map(|(status, reason, _)| (status, reason)).collect()
    }

    #[test]
    fn s16_conditions_say_what_clients_see_and_where_names_must_lead() {
        let domains = ["example.com".to_owned()];
        let of = |name: &str, certificate, service| {
            let mapping = mapping(name, "r", 0, false);
            status(&mapping, &mapping, service, &around(&domains, certificate))
        };
        let plain = of("www.example.com", Certificate::Absent, Some(at(5)));
        assert!(told(&plain).iter().all(|(status, reason, _)| (*status, *reason) == ("True", "")), "{plain:?}");
        assert!(told(&plain)[0].2.contains("clear text"));
        assert_eq!(plain.conditions[0].last_transition, at(5), "no sooner than there is a service");
        assert_eq!(plain.records, [Record { name: Some("www".to_owned()), address: ADDRESS }]);
        assert_eq!(of("example.com", Certificate::Given, Some(at(0))).records[0].name, None);

        let own = of("www.example.com", Certificate::SelfMade, Some(at(0)));
        assert!(told(&own)[1].0 == "True" && told(&own)[1].2.contains("must be told to trust"), "{own:?}");
        let deep = of("a.b.example.com", Certificate::SelfMade, Some(at(0)));
        assert_eq!(
            words(&deep),
            [("False", "CertificateNotForDomain"), ("False", "CertificateNotForDomain"), ("True", "")]
        );
        let gone = of("www.example.com", Certificate::Given, None);
        assert_eq!(words(&gone), [("False", "RouteMissing"), ("True", ""), ("False", "RouteMissing")]);
        let (first, second) = (mapping("www.example.com", "a", 0, false), mapping("www.example.com", "b", 1, false));
        let late = status(&second, &first, Some(at(0)), &around(&domains, Certificate::Absent));
        assert_eq!(told(&late)[0].1, "MappingAlreadyExists");
        assert!(told(&late)[0].2.contains("projects/demo/locations/a/services/web"), "{late:?}");
        assert_eq!(late.records, []);
    }
}
