//! Writes how many instances each revision should have, and takes the CPU of those that rest. It starts and stops
//! nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use homerun_backend::CpuUse;
use homerun_ingress::Load;
use homerun_model::Timestamp;
use homerun_model::instance::{InstanceState, ObservedInstance};
use homerun_model::names::{InstanceId, RevisionKey, ServiceKey};
use homerun_model::plan::scale::{Sample, ScaleSpec, ScaleState, Target, scale};
use homerun_model::plan::throttle;
use homerun_model::revision::{Phase, Revision};

use crate::platform::Platform;
use crate::store::Feed;

/// Longest time between two looks.
const TICK: Duration = Duration::from_secs(1);

/// Shortest time over which CPU is measured.
const MEASURE: TimeDelta = TimeDelta::seconds(5);

/// What the loop remembers.
pub struct Autoscale {
    feed: Feed,
    /// Of each revision that its service addresses.
    specs: BTreeMap<RevisionKey, ScaleSpec>,
    /// Which of these a service has.
    addressed: BTreeMap<ServiceKey, Vec<RevisionKey>>,
    /// Those of the specs that want instances without any request.
    kept: BTreeSet<RevisionKey>,
    /// Those of the specs whose instances have CPU only when they need it.
    throttled: BTreeSet<RevisionKey>,
    /// Of the revisions that have something to decide.
    states: BTreeMap<RevisionKey, ScaleState>,
    /// What instances have used when they were last measured.
    cpu: BTreeMap<InstanceId, Cpu>,
}

/// How much CPU an instance uses.
#[derive(Debug, Clone, Copy)]
struct Cpu {
    measured: Timestamp,
    used: Duration,
    /// The share of what it can have that it has used since the measurement before.
    share: f64,
}

impl Autoscale {
    /// A loop that has seen nothing yet.
    pub fn new(platform: &Platform) -> Self {
        Self {
            feed: platform.store.feed(),
            specs: BTreeMap::new(),
            addressed: BTreeMap::new(),
            kept: BTreeSet::new(),
            throttled: BTreeSet::new(),
            states: BTreeMap::new(),
            cpu: BTreeMap::new(),
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
        let instances = platform.backend.list();
        let known: BTreeSet<&InstanceId> = instances.iter().map(|instance| &instance.spec.id).collect();
        self.cpu.retain(|id, _| known.contains(id));
        let mut running = BTreeMap::<RevisionKey, Vec<&ObservedInstance>>::new();
        for instance in instances.iter().filter(|instance| !instance.state.is_over()) {
            running.entry(instance.spec.revision.clone()).or_default().push(instance);
        }
        let known = self.states.keys().chain(&self.kept);
        let keys: BTreeSet<RevisionKey> = loads.keys().chain(running.keys()).chain(known).cloned().collect();
        let (mut desired, mut states) = (BTreeMap::new(), BTreeMap::new());
        for key in keys {
            let Some(spec) = self.specs.get(&key).copied() else {
                continue;
            };
            let instances = running.remove(&key).unwrap_or_default();
            if self.throttled.contains(&key) {
                instances.iter().for_each(|instance| rest(platform, instance, now));
            }
            let sample = self.sample(platform, (&key, &spec), loads.get(&key), &instances);
            let seed = || ScaleState::seeded(u32::try_from(instances.len()).unwrap_or(u32::MAX), now);
            let (state, scaled) = scale(&spec, self.states.remove(&key).unwrap_or_else(seed), &sample, now);
            if !instances.is_empty() || scaled.wanted > 0 || loads.contains_key(&key) {
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

    /// What there is to see of a revision.
    fn sample(
        &mut self,
        platform: &Platform,
        (key, spec): (&RevisionKey, &ScaleSpec),
        load: Option<&Load>,
        instances: &[&ObservedInstance],
    ) -> Sample {
        let load = load.copied().unwrap_or_default();
        let (ready, unready, start) = {
            let live = platform.live.lock();
            let start = live.start_seconds.get(key).map(|seconds| TimeDelta::milliseconds((seconds * 1000.0) as i64));
            let stays = |i: &&&ObservedInstance| i.state == InstanceState::Ready && !live.draining.contains(&i.spec.id);
            let (ready, unready): (Vec<&ObservedInstance>, Vec<_>) =
                instances.iter().filter(stays).partition(|instance| live.is_routed(instance));
            (ready, unready.len(), start)
        };
        // Low CPU ends nothing, and without a request high CPU starts nothing.
        let counts = spec.cpu_target != Target::Off && load.in_flight + load.waiting > 0;
        let now = platform.clock.now();
        let cpu = if counts { ready.iter().map(|instance| self.cpu_share(platform, instance, now)).sum() } else { 0.0 };
        Sample {
            in_flight: load.in_flight,
            waiting: load.waiting,
            arrivals: load.arrivals,
            last_busy: load.last_busy,
            ready: u32::try_from(ready.len()).unwrap_or(u32::MAX),
            unready: u32::try_from(unready).unwrap_or(u32::MAX),
            cpu,
            start,
        }
    }

    /// The share of the CPU it can have that an instance uses.
    fn cpu_share(&mut self, platform: &Platform, instance: &ObservedInstance, now: Timestamp) -> f64 {
        let before = self.cpu.get(&instance.spec.id).copied();
        if let Some(before) = before.filter(|before| now - before.measured < MEASURE) {
            return before.share;
        }
        let Some(CpuUse { time: used, limit }) = platform.backend.cpu(&instance.spec.id) else {
            return 0.0;
        };
        let share = before.map_or(0.0, |before| {
            let seconds = (now - before.measured).as_seconds_f64();
            used.saturating_sub(before.used).as_secs_f64() / seconds / limit.max(0.001)
        });
        self.cpu.insert(instance.spec.id.clone(), Cpu { measured: now, used, share });
        share
    }

    /// Looks at the services that have changed.
    fn refresh(&mut self, platform: &Platform) {
        let changed = self.feed.take();
        for revision in changed.iter().filter_map(|service| self.addressed.remove(service)).flatten() {
            self.specs.remove(&revision);
            self.kept.remove(&revision);
            self.throttled.remove(&revision);
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
                let spec = ScaleSpec::of(service, revision, &platform.config.services);
                if spec.min > 0 {
                    self.kept.insert(revision.key.clone());
                }
                if throttle::is_throttled(revision) {
                    self.throttled.insert(revision.key.clone());
                }
                self.specs.insert(revision.key.clone(), spec);
                addressed.push(revision.key.clone());
            }
            self.addressed.insert(service.key.clone(), addressed);
        }
    }
}

/// Takes the CPU of an instance that has had nothing to do for a while.
fn rest(platform: &Platform, instance: &ObservedInstance, now: Timestamp) {
    let id = &instance.spec.id;
    let (InstanceState::Ready, Some(ready)) = (&instance.state, instance.stamps.ready) else {
        return;
    };
    let last_used = platform.ingress.last_busy(id).map_or(ready, |busy| busy.max(ready));
    if throttle::rests(platform.ingress.in_flight(id), last_used, now) {
        platform.ingress.rest(id);
    }
}
