//! Writes how many instances each revision should have. It starts and stops nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use homerun_model::names::{RevisionKey, ServiceKey};
use homerun_model::plan::scale::{Sample, ScaleSpec, ScaleState, scale};
use homerun_model::revision::{Phase, Revision};
use homerun_model::service::Service;

use crate::platform::Platform;
use crate::store::Feed;

/// Longest time between two looks.
const TICK: Duration = Duration::from_secs(1);

/// What the loop remembers.
pub struct Autoscale {
    feed: Feed,
    /// Of each revision that its service addresses.
    specs: BTreeMap<RevisionKey, ScaleSpec>,
    /// Which of these a service has.
    addressed: BTreeMap<ServiceKey, Vec<RevisionKey>>,
    /// Those of the specs that want instances without any request.
    kept: BTreeSet<RevisionKey>,
    /// Of the revisions that have something to decide.
    states: BTreeMap<RevisionKey, ScaleState>,
}

impl Autoscale {
    /// A loop that has seen nothing yet.
    pub fn new(platform: &Platform) -> Self {
        Self {
            feed: platform.store.feed(),
            specs: BTreeMap::new(),
            addressed: BTreeMap::new(),
            kept: BTreeSet::new(),
            states: BTreeMap::new(),
        }
    }

    /// Runs until the task is dropped.
    pub async fn run(mut self, platform: Arc<Platform>) {
        let mut ingress = platform.ingress.changes();
        loop {
            self.pass(&platform);
            tokio::select! {
                () = self.feed.changed() => {}
                _ = ingress.changed() => {}
                () = tokio::time::sleep(TICK) => {}
            }
        }
    }

    /// Looks once at what is asked for and wakes reconcile if the numbers wanted have changed. Revisions
    /// without instance, request and minimum want none and are not looked at.
    pub fn pass(&mut self, platform: &Platform) {
        self.refresh(platform);
        let now = platform.clock.now();
        let loads = platform.ingress.sample();
        let mut running = BTreeMap::<RevisionKey, u32>::new();
        for instance in platform.backend.list().iter().filter(|instance| !instance.state.is_over()) {
            *running.entry(instance.spec.revision.clone()).or_default() += 1;
        }
        let known = self.states.keys().chain(&self.kept);
        let keys: BTreeSet<RevisionKey> = loads.keys().chain(running.keys()).chain(known).cloned().collect();
        let (mut desired, mut states) = (BTreeMap::new(), BTreeMap::new());
        for key in keys {
            let Some(spec) = self.specs.get(&key) else {
                continue;
            };
            let sample = loads.get(&key).map_or_else(Sample::default, |load| Sample {
                in_flight: load.in_flight,
                waiting: load.waiting,
                last_busy: load.last_busy,
            });
            let instances = running.get(&key).copied().unwrap_or(0);
            let state = self.states.remove(&key).unwrap_or_else(|| ScaleState::seeded(instances, now));
            let (state, scaled) = scale(spec, state, &sample, now);
            if instances > 0 || scaled.wanted > 0 || loads.contains_key(&key) {
                states.insert(key.clone(), state);
                desired.insert(key, scaled);
            }
        }
        self.states = states;
        let mut live = platform.live.lock();
        if live.desired != desired {
            live.desired = desired;
            drop(live);
            platform.live.reconcile.notify_one();
        }
    }

    /// Looks at the services that have changed.
    fn refresh(&mut self, platform: &Platform) {
        let changed = self.feed.take();
        for revision in changed.iter().filter_map(|service| self.addressed.remove(service)).flatten() {
            self.specs.remove(&revision);
            self.kept.remove(&revision);
        }
        for intent in platform.store.intents(&changed) {
            let service = &intent.service.value;
            if service.deleted_at.is_some() {
                continue;
            }
            let is_addressed =
                |revision: &Revision| service.status.traffic.iter().any(|target| target.revision == revision.key.name);
            let mut addressed = Vec::new();
            for revision in intent.revisions().filter(|r| r.phase == Phase::Ready && is_addressed(r)) {
                let spec = spec(platform, service, revision);
                if spec.min > 0 {
                    self.kept.insert(revision.key.clone());
                }
                self.specs.insert(revision.key.clone(), spec);
                addressed.push(revision.key.clone());
            }
            self.addressed.insert(service.key.clone(), addressed);
        }
    }
}

/// What a revision's configuration says about its number of instances. The service's own minimum is
/// met by the revision that gets most of its traffic.
fn spec(platform: &Platform, service: &Service, revision: &Revision) -> ScaleSpec {
    let (template, settings) = (&revision.template, &platform.config.services);
    let busiest = service.status.traffic.iter().max_by_key(|target| target.percent);
    let leads = busiest.is_some_and(|target| target.percent > 0 && target.revision == revision.key.name);
    let service_min = service.spec.min_instances.filter(|_| leads).unwrap_or(0);
    let max = template.max_instances.unwrap_or(settings.default_max_instances);
    let max = service.spec.max_instances.map_or(max, |limit| limit.min(max));
    let idle = template.idle_timeout_seconds.unwrap_or(if revision.gpus_per_instance() > 0 {
        settings.idle_timeout_gpu_seconds
    } else {
        settings.idle_timeout_seconds
    });
    ScaleSpec {
        min: template.min_instances.unwrap_or(0).max(service_min).min(max),
        max,
        concurrency: template.concurrency.unwrap_or(settings.default_concurrency).max(1),
        idle_timeout: TimeDelta::seconds(i64::from(idle)),
    }
}
