//! The data plane: it carries users' requests to instances.
//!
//! accept -> route -> admit -> pool -> proxy -> respond, a file for each. Control publishes a
//! [`RouteTable`] and reads [`Load`]s; ingress asks nobody but [`Connect`] and [`Authorize`].

mod accept;
mod admit;
mod body;
mod headers;
mod idle;
mod instance;
mod observe;
mod pool;
mod proxy;
mod respond;
mod route;
mod settings;
mod trace;
mod upgrade;
mod upstream;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use homerun_model::names::{InstanceId, RevisionKey};
use tokio::sync::watch;

pub use admit::{Authorize, Invocation};
pub use observe::{Observe, Outcome, RequestRecord};
pub use pool::Load;
pub use route::{Endpoint, Refusal, RevisionRoute, Route, RouteTable, Target};
pub use settings::Settings;
pub use trace::TraceContext;
pub use upstream::Connect;

use instance::Instance;
use pool::Pool;
use route::{HostRoute, Table};

/// The data plane of one homerun.
pub struct Ingress {
    connect: Arc<dyn Connect>,
    authorize: Arc<dyn Authorize>,
    observe: Arc<dyn Observe>,
    settings: Settings,
    /// What requests read, without a lock.
    table: ArcSwap<Table>,
    /// What control reads and changes.
    registry: Mutex<Registry>,
    signal: Arc<watch::Sender<u64>>,
}

/// Everything that has a count, whether it is published or only serves out its last requests.
#[derive(Default)]
struct Registry {
    pools: HashMap<RevisionKey, Arc<Pool>>,
    instances: HashMap<InstanceId, Weak<Instance>>,
}

impl Registry {
    fn instance(&mut self, endpoint: &Endpoint, keep_alive: Duration) -> Arc<Instance> {
        let known = self.instances.get(&endpoint.instance).and_then(Weak::upgrade);
        if let Some(instance) = known.filter(|instance| *instance.ingress() == endpoint.ingress) {
            return instance;
        }
        let instance = Arc::new(Instance::new(endpoint, keep_alive));
        self.instances.insert(endpoint.instance.clone(), Arc::downgrade(&instance));
        instance
    }
}

impl Ingress {
    /// An ingress that knows no host yet.
    pub fn new(
        connect: Arc<dyn Connect>,
        authorize: Arc<dyn Authorize>,
        observe: Arc<dyn Observe>,
        settings: Settings,
    ) -> Arc<Self> {
        Arc::new(Self {
            connect,
            authorize,
            observe,
            settings,
            table: ArcSwap::default(),
            registry: Mutex::default(),
            signal: Arc::new(watch::Sender::new(0)),
        })
    }

    /// Replaces the table.
    ///
    /// When this returns, no instance that the new table lacks gets a request any more; those it serves
    /// go on, and [`in_flight`](Self::in_flight) counts them. Requests that wait are granted new slots
    /// at once. Those that wait for a revision that the new table lacks take their host's new route.
    pub fn publish(&self, table: RouteTable) {
        let mut registry = self.registry();
        let mut published = HashMap::with_capacity(table.revisions.len());
        let mut removed = Vec::new();
        for (key, route) in table.revisions {
            let instances =
                route.endpoints.iter().map(|endpoint| registry.instance(endpoint, self.settings.keep_alive)).collect();
            let pool = registry.pools.entry(key.clone()).or_insert_with(|| {
                Arc::new(Pool::new(key.clone(), route.clone(), self.signal.clone(), self.settings.max_waiting))
            });
            removed.extend(pool.update(route, instances));
            published.insert(key, pool.clone());
        }
        self.table.store(Arc::new(self.resolve(&table.hosts, &published)));
        // Only now: whom a vanishing pool sends away must find the new table.
        registry.pools.retain(|key, pool| {
            if !published.contains_key(key) {
                removed.extend(pool.vanish());
            }
            published.contains_key(key) || pool.load().in_flight > 0
        });
        registry.instances.retain(|_, instance| instance.strong_count() > 0);
        drop(registry);
        removed.iter().for_each(|instance| instance.connections.close_unused());
    }

    fn resolve(&self, hosts: &HashMap<String, Arc<Route>>, pools: &HashMap<RevisionKey, Arc<Pool>>) -> Table {
        let before = self.table.load();
        let resolved = hosts.iter().map(|(host, route)| {
            let turn = before.hosts.get(host).map(|route| route.turn()).unwrap_or_default();
            (host.clone(), Arc::new(HostRoute::new(route, pools, turn)))
        });
        Table { hosts: resolved.collect() }
    }

    /// The load of each revision that is published or still serves requests.
    pub fn sample(&self) -> HashMap<RevisionKey, Load> {
        self.registry().pools.iter().map(|(key, pool)| (key.clone(), pool.load())).collect()
    }

    /// Requests that an instance is serving, whether it is published or not. Once it is 0 for one that
    /// is not published it stays 0.
    pub fn in_flight(&self, instance: &InstanceId) -> u32 {
        let known = self.registry().instances.get(instance).and_then(Weak::upgrade);
        known.map_or(0, |instance| instance.in_flight())
    }

    /// Changes when control has something to do: a request is the first to wait, or the first for which
    /// one more instance is needed than for those before it; and when an instance that is no longer
    /// published has ended its last request. An instance that falls idle while it is published changes
    /// nothing, since that happens after each of a lone client's requests; [`Load::last_busy`] tells it.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.signal.subscribe()
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
