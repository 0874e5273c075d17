//! The data plane: it carries users' requests to instances.
//!
//! accept -> route -> admit -> pool -> proxy -> respond, a file for each; plain HTTP/1.1 requests take `lane`, which is
//! shorter. Control publishes a
//! [`ServiceRoutes`] and reads [`Load`]s; ingress asks nobody but [`Connect`] and [`Authorize`].

mod accept;
mod account;
mod admit;
mod affinity;
mod body;
mod client;
mod coarse;
mod deliver;
mod headers;
mod heard;
mod idle;
mod instance;
mod lane;
mod lease;
mod observe;
mod origin;
mod outgoing;
#[cfg(test)]
mod parsing_tests;
mod pool;
mod proxy;
mod respond;
mod route;
mod scratch;
mod seldom;
mod settings;
mod table;
mod timer;
mod tls;
mod trace;
mod upgrade;
mod upstream;
mod workers;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use homerun_model::Timestamp;
use homerun_model::billing::Served;
use homerun_model::names::{InstanceId, RevisionKey, ServiceKey};
use tokio::sync::watch;

pub use account::Usage;
pub use admit::{Authorize, Invocation};
pub use observe::{Observe, Outcome, RequestRecord};
pub use origin::{Network, NotANetwork};
pub use pool::Load;
pub use route::{Endpoint, Refusal, RevisionRoute, Route, ServiceRoutes, Target};
pub use settings::Settings;
pub use tls::{Tls, TlsError};
pub use trace::TraceContext;
pub use upstream::Connect;

use instance::Instance;
use pool::Pool;
use table::Table;

/// The data plane of one homerun.
pub struct Ingress {
    connect: Arc<dyn Connect>,
    authorize: Arc<dyn Authorize>,
    observe: Arc<dyn Observe>,
    settings: Settings,
    /// What requests read.
    table: Table,
    /// What control reads and changes.
    registry: Mutex<Registry>,
    notice: Arc<Notice>,
}

/// What pools tell control.
struct Notice {
    signal: watch::Sender<u64>,
    /// The pools that had something to do lately: see [`Ingress::sample`].
    awake: Mutex<HashSet<Arc<RevisionKey>>>,
    /// What those have served who are gone: see [`Ingress::take_usage`].
    left: account::Left,
}

impl Notice {
    fn awake(&self) -> MutexGuard<'_, HashSet<Arc<RevisionKey>>> {
        self.awake.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn left(&self) -> MutexGuard<'_, Usage> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Everything that has a count, whether it is published or only serves out its last requests.
#[derive(Default)]
struct Registry {
    services: HashMap<ServiceKey, Published>,
    pools: HashMap<RevisionKey, Arc<Pool>>,
    instances: HashMap<InstanceId, Weak<Instance>>,
}

/// What was published of a service last.
#[derive(Default)]
struct Published {
    hosts: Vec<String>,
    revisions: Vec<RevisionKey>,
}

impl Registry {
    fn instance(&mut self, endpoint: &Endpoint, keep_alive: Duration, notice: &Arc<Notice>) -> Arc<Instance> {
        let known = self.instances.get(&endpoint.instance).and_then(Weak::upgrade);
        if let Some(instance) = known.filter(|instance| *instance.ingress() == endpoint.ingress) {
            return instance;
        }
        let instance = Arc::new(Instance::new(endpoint, keep_alive, notice.clone()));
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
            table: Table::default(),
            registry: Mutex::default(),
            notice: Arc::new(Notice {
                signal: watch::Sender::new(0),
                awake: Mutex::default(),
                left: account::Left::default(),
            }),
        })
    }

    /// Replaces what is known of a service.
    ///
    /// When this returns, none of its instances that the new routes lack gets a request any more; those
    /// it serves go on, and [`in_flight`](Self::in_flight) counts them. Requests that wait are granted
    /// new slots at once. Those that wait for a revision that the new routes lack take their host's new
    /// route.
    pub fn publish(&self, service: &ServiceKey, routes: ServiceRoutes) {
        let mut registry = self.registry();
        let mut published = HashMap::with_capacity(routes.revisions.len());
        let mut removed = Vec::new();
        for (key, route) in routes.revisions {
            let mut instance = |endpoint| registry.instance(endpoint, self.settings.keep_alive, &self.notice);
            let instances = route.endpoints.iter().map(&mut instance).collect();
            let pool = registry.pools.entry(key.clone()).or_insert_with(|| {
                Arc::new(Pool::new(key.clone(), route.clone(), self.notice.clone(), self.settings.max_waiting))
            });
            removed.extend(pool.update(route, instances));
            published.insert(key, pool.clone());
        }
        let before = registry.services.remove(service).unwrap_or_default();
        self.table.put(service, &before.hosts, &routes.hosts, &published);
        // Only now: whom a vanishing pool sends away must find the new route.
        for key in before.revisions.iter().filter(|key| !published.contains_key(key)) {
            let Some(pool) = registry.pools.get(key) else { continue };
            removed.extend(pool.vanish());
            if pool.load().in_flight == 0 {
                registry.pools.remove(key);
            }
        }
        if !routes.hosts.is_empty() || !published.is_empty() {
            let now =
                Published { hosts: routes.hosts.into_keys().collect(), revisions: published.into_keys().collect() };
            registry.services.insert(service.clone(), now);
        }
        if !removed.is_empty() {
            registry.instances.retain(|_, instance| instance.strong_count() > 0);
        }
        drop(registry);
        removed.iter().for_each(|instance| instance.connections.close_unused());
    }

    /// The load of each revision that has an instance, a request or had one a moment ago. All others are
    /// at rest, and cost nothing here. Asking also closes connections to instances that are unused for too long.
    pub fn sample(&self) -> HashMap<RevisionKey, Load> {
        let mut registry = self.registry();
        let mut awake = self.notice.awake();
        let mut loads = HashMap::with_capacity(awake.len());
        let mut active = Vec::with_capacity(awake.len());
        awake.retain(|key| {
            let Some(pool) = registry.pools.get(key) else { return false };
            loads.insert(RevisionKey::clone(key), pool.load());
            active.push(pool.clone());
            let rests = pool.rests();
            if rests && pool.has_vanished() {
                registry.pools.remove(key);
            }
            !rests
        });
        drop((awake, registry));
        active.iter().for_each(|pool: &Arc<Pool>| pool.close_old());
        loads
    }

    /// Requests that an instance is serving, whether it is published or not. Once it is 0 for one that
    /// is not published it stays 0.
    pub fn in_flight(&self, instance: &InstanceId) -> u32 {
        let known = self.registry().instances.get(instance).and_then(Weak::upgrade);
        known.map_or(0, |instance| instance.in_flight())
    }

    /// What has been served since this was last asked, whether those who served it are still published or not.
    pub fn take_usage(&self) -> Usage {
        let registry = self.registry();
        let awake: Vec<Arc<RevisionKey>> = self.notice.awake().iter().cloned().collect();
        let pools: Vec<Arc<Pool>> = awake.iter().filter_map(|key| registry.pools.get(&**key).cloned()).collect();
        let instances: Vec<_> =
            registry.instances.iter().filter_map(|(id, i)| Some((id.clone(), i.upgrade()?))).collect();
        drop(registry);
        let mut usage = Usage {
            served: instances.iter().map(|(id, instance)| (id.clone(), instance.take_served())).collect(),
            idle: pools.iter().map(|pool| (RevisionKey::clone(pool.key()), pool.take_idle())).collect(),
        };
        drop(instances);
        let left = std::mem::take(&mut *self.notice.left());
        usage.served.extend(left.served);
        usage.idle.extend(left.idle);
        usage.served.retain(|(_, served)| *served != Served::default());
        usage.idle.retain(|(_, millis)| *millis > 0);
        usage
    }

    /// Takes the CPU of an instance that is published as throttled and has no request. Its next request gives it back
    /// before it is sent.
    pub fn rest(&self, instance: &InstanceId) {
        let known = self.registry().instances.get(instance).and_then(Weak::upgrade);
        if let Some(instance) = known {
            instance.rest(&*self.connect);
        }
    }

    /// When an instance ended its last request, if it ever had one.
    pub fn last_busy(&self, instance: &InstanceId) -> Option<Timestamp> {
        let known = self.registry().instances.get(instance).and_then(Weak::upgrade);
        known.and_then(|instance| instance.last_busy())
    }

    /// Changes when control has something to do: a request is the first to wait, or the first for which
    /// one more instance is needed than for those before it; and when an instance that is no longer
    /// published has ended its last request. An instance that falls idle while it is published changes
    /// nothing, since that happens after each of a lone client's requests; [`Load::last_busy`] tells it.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.notice.signal.subscribe()
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
