//! Table: the published hosts as requests read them, while control writes.
//!
//! Requests read without a lock: a reader takes the shard as it is, and one that is put in its place serves those who
//! come later. A host lies in one of many shards, so that publishing a service copies a part of the table whose size
//! hardly depends on how many other services there are.

use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use foldhash::fast::RandomState;
use homerun_model::names::{RevisionKey, ServiceKey};

use crate::pool::Pool;
use crate::route::{HostRoute, Route, without_port};

/// With ten thousand hosts, forty in each.
const SHARDS: usize = 256;

/// What clients ask for is not entered, so that they cannot choose hosts that collide.
type Shard = HashMap<String, Arc<HostRoute>, RandomState>;

/// Hosts and where their requests go.
pub(crate) struct Table {
    shards: Box<[ArcSwap<Shard>]>,
    hasher: RandomState,
    /// Held by whoever writes, for as long as the writing takes; readers know nothing of it.
    writing: Mutex<()>,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| ArcSwap::default()).collect(),
            hasher: RandomState::default(),
            writing: Mutex::default(),
        }
    }
}

impl Table {
    /// The route of a `Host` header or authority, which may carry a port, upper case and a final dot.
    pub(crate) fn find(&self, host: &str) -> Option<Arc<HostRoute>> {
        let name = without_port(host);
        if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            self.get(&name.to_ascii_lowercase())
        } else {
            self.get(name)
        }
    }

    fn get(&self, name: &str) -> Option<Arc<HostRoute>> {
        self.shards[self.shard(name)].load().get(name).cloned()
    }

    fn shard(&self, name: &str) -> usize {
        self.hasher.hash_one(name) as usize % SHARDS
    }

    /// Puts in what a service's hosts are now, in place of those `before`. Each host goes from its old route to its
    /// new one in one step; one that is another service's by now stays with that.
    pub(crate) fn put(
        &self,
        service: &ServiceKey,
        before: &[String],
        now: &HashMap<String, Arc<Route>>,
        pools: &HashMap<RevisionKey, Arc<Pool>>,
    ) {
        let gone = before.iter().filter(|host| !now.contains_key(*host)).map(|host| (host, None));
        let mut changes: BTreeMap<usize, Vec<(&String, Option<&Route>)>> = BTreeMap::new();
        for (host, route) in now.iter().map(|(host, route)| (host, Some(&**route))).chain(gone) {
            changes.entry(self.shard(host)).or_default().push((host, route));
        }
        let _alone = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        for (index, changes) in changes {
            let mut shard = Shard::clone(&self.shards[index].load());
            for (host, route) in changes {
                let own = shard.get(host).filter(|known| *known.service == *service);
                if let Some(route) = route {
                    let turn = own.map(|known| known.turn()).unwrap_or_default();
                    shard.insert(host.clone(), Arc::new(HostRoute::new(route, pools, turn)));
                } else if own.is_some() {
                    shard.remove(host);
                }
            }
            self.shards[index].store(Arc::new(shard));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use homerun_model::names::{ProjectId, Region, ServiceName};
    use homerun_model::service::IngressSetting;

    use super::*;
    use crate::route::Refusal;

    fn key(name: &str) -> ServiceKey {
        ServiceKey { project: ProjectId::new("p"), region: Region::new("r"), name: ServiceName::new(name) }
    }

    /// Publishes hosts as a service's; whose requests nobody answers, which tells how often that was done.
    fn put(table: &Table, service: &ServiceKey, before: &[String], now: &[String], turn: u32) {
        let route = Route {
            service: service.clone(),
            public: true,
            access: IngressSetting::All,
            targets: Vec::new(),
            unready: Some(Refusal::CannotStart { message: turn.to_string() }),
        };
        let route = Arc::new(route);
        let hosts = now.iter().map(|host| (host.clone(), route.clone())).collect();
        table.put(service, before, &hosts, &HashMap::new());
    }

    fn turn(route: &HostRoute) -> u32 {
        match route.pick(None) {
            Err(Refusal::CannotStart { message }) => message.parse().unwrap(),
            _ => panic!("no such route was published"),
        }
    }

    #[test]
    fn s09_a_service_that_is_published_over_and_over_is_found_all_the_while() {
        let (table, done, service) = (Table::default(), AtomicBool::new(false), key("one"));
        let hosts: Vec<String> = (0..500).map(|number| format!("host-{number}.test")).collect();
        put(&table, &service, &[], &hosts, 0);
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let (mut last, mut reads) = (vec![0; hosts.len()], 0_u64);
                while !done.load(Ordering::Relaxed) {
                    for (host, last) in hosts.iter().zip(&mut last) {
                        let now = turn(&table.find(host).expect("published throughout"));
                        assert!(now >= *last, "{host} went from {last} back to {now}");
                        *last = now;
                        reads += 1;
                    }
                }
                reads
            });
            (1..=200).for_each(|turn| put(&table, &service, &hosts, &hosts, turn));
            done.store(true, Ordering::Relaxed);
            assert!(reader.join().unwrap() > 0);
        });
        put(&table, &service, &hosts, &hosts[..1], 201);
        assert_eq!(turn(&table.find("HOST-0.test:8080").unwrap()), 201);
        assert!(table.find(&hosts[1]).is_none());
    }

    #[test]
    fn s16_a_host_that_has_gone_to_another_service_stays_with_it() {
        let (table, host) = (Table::default(), ["own.test".to_owned()]);
        put(&table, &key("one"), &[], &host, 1);
        put(&table, &key("two"), &[], &host, 2);
        put(&table, &key("one"), &host, &[], 3);
        assert_eq!(turn(&table.find("own.test").unwrap()), 2);
        put(&table, &key("two"), &host, &[], 4);
        assert!(table.find("own.test").is_none());
    }
}
