//! What the API and the loops share.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use homerun_backend::Backend;
use homerun_ingress::Ingress;
use homerun_model::Timestamp;
use homerun_model::billing::budget::Exceeded;
use homerun_model::billing::prices::Prices;
use homerun_model::gpu::GpuInventory;
use homerun_model::instance::ObservedInstance;
use homerun_model::names::{InstanceId, Project, ProjectId, Region, RevisionKey, ServiceKey};
use homerun_model::plan::place::{Denied, Gpu};
use homerun_model::plan::scale::Scaled;
use homerun_model::quota::Quotas;
use homerun_model::service::{Service, Surroundings};
use tokio::sync::Notify;

use crate::clock::Clock;
use crate::config::Config;
use crate::limits::Limits;
use crate::meter::Meter;
use crate::metrics::Metrics;
use crate::store::Store;
use crate::tasks::budgets::Standing;

/// One running homerun.
pub struct Platform {
    /// Settings as they are in force.
    pub config: Config,
    /// What must not be forgotten.
    pub store: Store,
    /// What runs instances.
    pub backend: Arc<dyn Backend>,
    /// What carries requests.
    pub ingress: Arc<Ingress>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// GPUs as the rules see them.
    pub gpus: Gpus,
    /// The limits in force.
    pub quotas: Limits,
    /// What counts usage.
    pub meter: Arc<Meter>,
    /// What is plotted.
    pub metrics: Arc<Metrics>,
    /// What usage costs.
    pub prices: Prices,
    /// What the loops know and a restart may forget.
    pub live: Live,
    /// Port that services' URLs name.
    pub url_port: u16,
}

/// GPUs as the rules see them.
pub struct Gpus {
    /// Types and counts per region.
    pub inventory: GpuInventory,
    /// Every device.
    pub devices: Vec<Gpu>,
}

/// What the loops know and a restart may forget: each is found anew from the store, the backend and
/// ingress.
#[derive(Default)]
pub struct Live {
    state: Mutex<LiveState>,
    /// Wakes the reconcile loop.
    pub reconcile: Notify,
    /// Wakes the loop that looks at budgets.
    pub budgets: Notify,
    /// Wakes the loop that tells how budgets stand.
    pub standings: Notify,
}

/// See [`Live`].
#[derive(Default)]
pub struct LiveState {
    /// Instances that the scaler wants.
    pub desired: BTreeMap<RevisionKey, Scaled>,
    /// Instances taken out of the route table.
    pub draining: BTreeSet<InstanceId>,
    /// Revisions that want an instance and get none.
    pub denied: BTreeMap<RevisionKey, Denied>,
    /// Revisions whose instances fail.
    pub failures: BTreeMap<RevisionKey, Failures>,
    /// When a revision with GPUs of a service was last seen being proven: it may have its GPU from the one before,
    /// whose requests wait meanwhile.
    pub proving: BTreeMap<ServiceKey, Timestamp>,
    /// How budgets stood lately.
    pub standings: Vec<Standing>,
    /// Seconds that starts took: a moving mean.
    pub start_seconds: BTreeMap<RevisionKey, f64>,
}

/// How a revision's instances have failed lately.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failures {
    /// Failures in a row.
    pub count: u32,
    /// When the last one was.
    pub last: Timestamp,
    /// What it was, in a word.
    pub reason: &'static str,
    /// And in a sentence.
    pub message: String,
}

impl LiveState {
    /// The budget that keeps instances of a service from being started, if there is one.
    pub fn exceeded(&self, service: &ServiceKey) -> Option<&Exceeded> {
        let covering = self.standings.iter().filter(|standing| standing.budget.covers(&standing.project, service));
        covering.filter_map(|standing| standing.exceeded.as_ref()).next()
    }

    /// Whether new requests go to an instance.
    pub fn is_routed(&self, instance: &ObservedInstance) -> bool {
        instance.takes_requests() && !self.draining.contains(&instance.spec.id)
    }
}

impl Live {
    /// The state, locked. Never held across an await.
    pub fn lock(&self) -> MutexGuard<'_, LiveState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The host of a service's URL, without port and tag.
pub fn service_host(key: &ServiceKey, project_number: u64, domain: &str) -> String {
    format!("{}-{project_number}.{}.{domain}", key.name, key.region)
}

impl Platform {
    /// What the rules must know besides a service, for a service in `project`.
    pub fn surroundings<'a>(
        &'a self,
        project: &'a Project,
        regions: &'a [Region],
        quotas: &'a Quotas,
    ) -> Surroundings<'a> {
        Surroundings { project, gpus: &self.gpus.inventory, quotas, regions, settings: &self.config.services }
    }

    /// Number of a project, 0 for one that does not exist.
    pub fn project_number(&self, id: &ProjectId) -> u64 {
        if id.as_str() == self.config.project.id {
            return self.config.project.number;
        }
        self.store.project(id.as_str()).ok().flatten().map_or(0, |stored| stored.project.number)
    }

    /// The host of a service's URL, without port; of one of its tags if given.
    pub fn host(&self, key: &ServiceKey, tag: Option<&str>) -> String {
        let prefix = tag.map(|tag| format!("{tag}---")).unwrap_or_default();
        let number = self.project_number(&key.project);
        format!("{prefix}{}", service_host(key, number, &self.config.url.domain))
    }

    /// A service's URL, or that of one of its tags.
    pub fn url(&self, key: &ServiceKey, tag: Option<&str>) -> String {
        self.url_at(&self.host(key, tag))
    }

    /// Where a service is reached: by its own URL, or, where it has none, by a host that is mapped to it.
    pub fn reached_at(&self, service: &Service) -> Option<String> {
        if service.spec.has_default_url() {
            return Some(self.url(&service.key, None));
        }
        self.store.domains_of(&service.key).first().map(|domain| self.url_at(domain.as_str()))
    }

    fn url_at(&self, host: &str) -> String {
        let scheme = &self.config.url.scheme;
        match (scheme.as_str(), self.url_port) {
            ("http", 80) | ("https", 443) => format!("{scheme}://{host}"),
            (_, port) => format!("{scheme}://{host}:{port}"),
        }
    }
}
