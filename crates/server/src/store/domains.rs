//! Domain mappings in the store. All of them are kept in memory too, for routes are made of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use homerun_model::domain::{self, DomainKey, DomainMapping};
use homerun_model::names::{DomainName, ProjectId, Region, ServiceKey};
use rusqlite::{Connection, params};

use super::intent::Intent;
use super::{Result, Store, Versioned, next};

/// Mappings by host, and which hosts there are of a service.
#[derive(Default)]
pub(super) struct Domains {
    /// A project and region have at most one of a host.
    claims: BTreeMap<DomainName, Vec<Arc<Versioned<DomainMapping>>>>,
    of: HashMap<ServiceKey, BTreeSet<DomainName>>,
}

impl Domains {
    fn claims(&self, domain: &DomainName) -> &[Arc<Versioned<DomainMapping>>] {
        self.claims.get(domain).map_or(&[], Vec::as_slice)
    }

    fn get(&self, key: &DomainKey) -> Option<&Arc<Versioned<DomainMapping>>> {
        self.claims(&key.domain).iter().find(|stored| stored.value.key == *key)
    }

    fn holder(&self, domain: &DomainName) -> Option<&DomainMapping> {
        domain::holder(self.claims(domain).iter().map(|stored| &stored.value))
    }

    fn put(&mut self, mapping: Versioned<DomainMapping>) {
        let domain = mapping.value.key.domain.clone();
        self.of.entry(mapping.value.service_key()).or_default().insert(domain.clone());
        self.claims.entry(domain).or_default().push(Arc::new(mapping));
    }

    fn remove(&mut self, key: &DomainKey) {
        let Some(claims) = self.claims.get_mut(&key.domain) else { return };
        let gone = claims.iter().position(|stored| stored.value.key == *key).map(|index| claims.remove(index));
        if claims.is_empty() {
            self.claims.remove(&key.domain);
        }
        let service = gone.map(|gone| gone.value.service_key());
        if let Some(domains) = service.as_ref().and_then(|service| self.of.get_mut(service)) {
            domains.remove(&key.domain);
        }
        if let Some(service) = service.filter(|service| self.of.get(service).is_some_and(BTreeSet::is_empty)) {
            self.of.remove(&service);
        }
    }
}

impl Store {
    /// A mapping, if it exists.
    pub fn domain_mapping(&self, key: &DomainKey) -> Option<Arc<Versioned<DomainMapping>>> {
        self.intent().domains.get(key).cloned()
    }

    /// Whose a host is.
    pub fn domain_holder(&self, domain: &DomainName) -> Option<DomainMapping> {
        self.intent().domains.holder(domain).cloned()
    }

    /// The hosts that are a service's.
    pub fn domains_of(&self, service: &ServiceKey) -> Vec<DomainName> {
        let intent = self.intent();
        let wanted = intent.domains.of.get(service).into_iter().flatten();
        let held =
            |domain: &&DomainName| intent.domains.holder(domain).is_some_and(|holder| holder.service_key() == *service);
        wanted.filter(held).cloned().collect()
    }

    /// Up to `limit` mappings of a project, of one region or of all, by host and region, those after a key. Each
    /// comes with its key, `DOMAIN/REGION`.
    pub fn domain_mappings_page(
        &self,
        project: &ProjectId,
        region: Option<&Region>,
        after: Option<&str>,
        limit: usize,
    ) -> Vec<(String, Arc<Versioned<DomainMapping>>)> {
        let (domain, last) = after.map_or(("", ""), |after| after.split_once('/').unwrap_or((after, "")));
        let (from, last) = ((DomainName::new(domain), Region::new(last)), after.map(|_| last));
        let intent = self.intent();
        let hosts = intent.domains.claims.range((Bound::Included(from.0.clone()), Bound::Unbounded));
        let mut claims = hosts.flat_map(|(_, claims)| {
            let mut claims: Vec<_> = claims.iter().filter(|stored| stored.value.key.project == *project).collect();
            claims.sort_by(|one, other| one.value.key.region.cmp(&other.value.key.region));
            claims
        });
        let page = std::iter::from_fn(|| claims.next())
            .filter(|stored| region.is_none_or(|region| stored.value.key.region == *region))
            .filter(|stored| {
                let key = &stored.value.key;
                last.is_none() || (key.domain.as_str(), key.region.as_str()) > (from.0.as_str(), from.1.as_str())
            });
        page.take(limit)
            .map(|stored| (format!("{}/{}", stored.value.key.domain, stored.value.key.region), stored.clone()))
            .collect()
    }

    /// Stores a new mapping; its version.
    ///
    /// # Errors
    /// [`Exists`](super::StoreError::Exists) if the project and region have one of this host, or when the database
    /// fails.
    pub fn create_domain_mapping(&self, mapping: &DomainMapping) -> Result<u64> {
        let (key, body) = (&mapping.key, serde_json::to_string(mapping)?);
        let version = self.write_then(
            |transaction| {
                let version = next(transaction, "version")?;
                transaction.execute(
                    "INSERT INTO domain_mappings (project, region, domain, version, body) VALUES (?1, ?2, ?3, ?4, ?5)",
                    params![key.project.as_str(), key.region.as_str(), key.domain.as_str(), version, body],
                )?;
                Ok(version)
            },
            |intent, version| intent.domains.put(Versioned { version: *version, value: mapping.clone() }),
        )?;
        self.touch_claims(mapping);
        Ok(version)
    }

    /// Removes a mapping. Whether there was one.
    ///
    /// # Errors
    /// When the database fails.
    pub fn delete_domain_mapping(&self, key: &DomainKey) -> Result<bool> {
        let Some(present) = self.domain_mapping(key) else { return Ok(false) };
        let gone = self.write_then(
            |transaction| {
                let gone = transaction.execute(
                    "DELETE FROM domain_mappings WHERE project = ?1 AND region = ?2 AND domain = ?3",
                    params![key.project.as_str(), key.region.as_str(), key.domain.as_str()],
                )?;
                Ok(gone > 0)
            },
            |intent, _| intent.domains.remove(key),
        )?;
        self.touch_claims(&present.value);
        Ok(gone)
    }

    /// Has the routes made anew of the mapping's service and of all that want the same host.
    fn touch_claims(&self, mapping: &DomainMapping) {
        let mut services = BTreeSet::from([mapping.service_key()]);
        let others = self.intent().domains.claims(&mapping.key.domain).to_vec();
        services.extend(others.iter().map(|stored| stored.value.service_key()));
        services.iter().for_each(|service| self.touch(service));
    }
}

pub(super) fn read_all(connection: &Connection, intent: &mut Intent) -> Result<()> {
    let mut statement = connection.prepare("SELECT version, body FROM domain_mappings")?;
    let rows = statement.query_map([], |row| Ok((row.get::<_, u64>(0)?, row.get::<_, String>(1)?)))?;
    for row in rows {
        let (version, body) = row?;
        intent.domains.put(Versioned { version, value: serde_json::from_str(&body)? });
    }
    Ok(())
}
