//! The only place that changes the backend: it makes what runs be what is wanted.
//!
//! Each pass reads intent (services, revisions, the numbers that autoscale wants) and reality (the
//! backend's instances, requests in flight), lets the model judge and plan, carries the plan out, and
//! publishes what ingress and the API show. It looks only at the services that have changed since the
//! pass before and at those of which something lives, so its cost does not grow with what is stored; the
//! first pass looks at all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use homerun_ingress::ServiceRoutes;
use homerun_model::Timestamp;
use homerun_model::instance::{InstanceSpec, InstanceState, ObservedInstance};
use homerun_model::names::{InstanceId, RevisionKey, ServiceKey};
use homerun_model::plan::place::Ledger;
use homerun_model::plan::rollout::{self, Action, Intent, Seen};
use homerun_model::plan::scale::Scaled;
use homerun_model::plan::status;
use homerun_model::revision::{Phase, Revision};
use homerun_model::service::Service;

use super::pull::Pulls;
use super::standby::Standby;
use super::{back_off, revisions, routes};
use crate::ids;
use crate::platform::{LiveState, Platform};
use crate::store::{Feed, ServiceIntent, StoreError};

/// Longest time between two passes.
const TICK: Duration = Duration::from_secs(1);
/// What a container gets between SIGTERM and SIGKILL, as on Cloud Run.
const GRACE: Duration = Duration::from_secs(10);

/// The loop's own memory; all of it can be lost.
pub struct Reconcile {
    feed: Feed,
    /// Services that the next pass looks at even if nobody changes them.
    unsettled: BTreeSet<ServiceKey>,
    pulls: Pulls,
    standby: Standby,
    /// Instances whose readiness has been noted already.
    noted: BTreeSet<InstanceId>,
    /// Those whose failure has.
    failed: BTreeSet<InstanceId>,
}

impl Reconcile {
    /// Runs until the task is dropped.
    pub async fn run(mut self, platform: Arc<Platform>) {
        let mut backend = platform.backend.changes();
        let mut ingress = platform.ingress.changes();
        loop {
            self.pass_or_tell(&platform).await;
            tokio::select! {
                () = self.feed.changed() => {}
                _ = backend.changed() => {}
                _ = ingress.changed() => {}
                () = platform.live.reconcile.notified() => {}
                () = tokio::time::sleep(TICK) => {}
            }
        }
    }

    /// One pass, whose error is logged.
    pub async fn pass_or_tell(&mut self, platform: &Arc<Platform>) {
        if let Err(error) = self.pass(platform).await {
            tracing::error!(error = &error as &dyn std::error::Error, "a pass of reconcile failed; it tries again");
        }
    }

    /// A loop that has seen nothing yet.
    pub fn new(platform: &Platform) -> Self {
        Self {
            feed: platform.store.feed(),
            unsettled: BTreeSet::new(),
            pulls: Pulls::default(),
            standby: Standby::default(),
            noted: BTreeSet::new(),
            failed: BTreeSet::new(),
        }
    }

    /// One pass.
    ///
    /// # Errors
    /// When the store fails; what was not done is done by the next pass.
    pub async fn pass(&mut self, platform: &Arc<Platform>) -> Result<(), StoreError> {
        let instances = platform.backend.list();
        let mut keys = self.feed.take();
        keys.append(&mut self.unsettled);
        keys.extend(instances.iter().map(|instance| service_key(&instance.spec)));
        let desired: Vec<RevisionKey> = platform.live.lock().desired.keys().cloned().collect();
        keys.extend(platform.store.owners(&desired));
        let done = self.settle(platform, &keys, &instances).await;
        if done.is_err() {
            self.feed.put_back(keys);
        }
        done
    }

    /// Does what the services need. A store that cannot be written, for instance because the disk is full, keeps nobody
    /// waiting: instances are started, stopped and routed to, and the error is told in the end.
    async fn settle(
        &mut self,
        platform: &Arc<Platform>,
        keys: &BTreeSet<ServiceKey>,
        instances: &[ObservedInstance],
    ) -> Result<(), StoreError> {
        self.note(platform, instances);
        // A revision that has just become ready gets its traffic before the plan asks who still needs what.
        let before = judge(platform, keys, instances).and(write_status(platform, keys));
        for intent in platform.store.intents(keys) {
            for revision in intent.revisions().filter(|revision| revision.phase == Phase::Deploying) {
                if revision.images.is_empty() {
                    self.pulls.begin(platform, revision);
                }
            }
        }
        act(platform, keys, instances).await;
        let after = judge(platform, keys, instances);
        let instances = platform.backend.list();
        let after = after.and(write_status(platform, keys)).and(revisions::write(platform, keys, &instances));
        let intents = platform.store.intents(keys);
        for intent in &intents {
            routes::publish(platform, intent, &instances);
        }
        self.standby.pass(platform, &instances);
        self.unsettled = unsettled(platform, &intents, &instances);
        before.and(after).and(finish_deletions(platform, keys, &intents, &instances))
    }

    /// Remembers how long starts take and which revisions fail.
    fn note(&mut self, platform: &Platform, instances: &[ObservedInstance]) {
        let now = platform.clock.now();
        let mut live = platform.live.lock();
        for instance in instances {
            let id = &instance.spec.id;
            let key = &instance.spec.revision;
            if let (InstanceState::Ready, Some(ready)) = (&instance.state, instance.stamps.ready)
                && live.failures.get(key).is_some_and(|failures| back_off::forgiven(failures, ready, now))
            {
                live.failures.remove(key);
            }
            match &instance.state {
                InstanceState::Ready if self.noted.insert(id.clone()) => {
                    if let (Some(begun), Some(ready)) = (instance.stamps.creating, instance.stamps.ready) {
                        let seconds = (ready - begun).as_seconds_f64();
                        let mean = live.start_seconds.entry(key.clone()).or_insert(seconds);
                        *mean = 0.7 * *mean + 0.3 * seconds;
                    }
                }
                // It is seen again if it could not be forgotten in the pass before.
                InstanceState::Failed(failure) if !self.failed.contains(id) => {
                    let Ok(Some(revision)) = platform.store.revision(key) else {
                        continue;
                    };
                    self.failed.insert(id.clone());
                    let why = status::explain(&revision.value, failure);
                    tracing::warn!(instance = %id, service = %instance.spec.service, "{}", why.1);
                    let failures = back_off::add(live.failures.get(key), why, now);
                    live.failures.insert(key.clone(), failures);
                }
                _ => {}
            }
        }
        let known: BTreeSet<&InstanceId> = instances.iter().map(|instance| &instance.spec.id).collect();
        self.noted.retain(|id| known.contains(id));
        self.failed.retain(|id| known.contains(id));
        live.draining.retain(|id| known.contains(id));
    }
}

/// Lets deploying revisions become ready or fail.
fn judge(platform: &Platform, keys: &BTreeSet<ServiceKey>, instances: &[ObservedInstance]) -> Result<(), StoreError> {
    let now = platform.clock.now();
    let denied = platform.live.lock().denied.clone();
    for intent in platform.store.intents(keys) {
        for revision in intent.revisions() {
            let newest = intent.service.value.status.latest_created_revision.as_ref();
            let next = match status::superseded(revision).filter(|_| newest != Some(&revision.key.name)) {
                None => status::judge(revision, instances, denied.get(&revision.key), now),
                superseded => superseded,
            };
            let Some(next) = next else {
                continue;
            };
            match platform.store.update_revision(&next) {
                // It was deleted meanwhile.
                Ok(()) | Err(StoreError::Conflict) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

async fn act(platform: &Arc<Platform>, keys: &BTreeSet<ServiceKey>, instances: &[ObservedInstance]) {
    let now = platform.clock.now();
    let in_flight: BTreeMap<InstanceId, u32> = instances
        .iter()
        .map(|instance| (instance.spec.id.clone(), platform.ingress.in_flight(&instance.spec.id)))
        .filter(|(_, count)| *count > 0)
        .collect();
    let idle_since: BTreeMap<InstanceId, Timestamp> = instances
        .iter()
        .filter_map(|instance| Some((instance.spec.id.clone(), platform.ingress.last_busy(&instance.spec.id)?)))
        .collect();
    let services = platform.store.intents(keys);
    let plan = {
        let mut live = platform.live.lock();
        let intents: Vec<Intent<'_>> = services
            .iter()
            .flat_map(|service| wanted_revisions(service))
            .map(|revision| intent(&live, revision, instances, now))
            .filter(|intent| intent.wanted > 0 || intent.revision.phase == Phase::Deploying)
            .collect();
        let settings = &platform.config.services;
        let grace = TimeDelta::seconds(settings.give_way_seconds.into());
        let seen = Seen {
            instances,
            draining: &live.draining,
            in_flight: &in_flight,
            idle_since: &idle_since,
            denied: &live.denied,
            grace: settings.idle_gpus_give_way.then_some(grace),
        };
        let mut ledger = Ledger::new(platform.gpus.devices.clone(), instances);
        let plan = rollout::rollout(&intents, seen, (&mut ledger, &platform.quotas.now()), now, &mut new_id);
        live.denied = plan.denied;
        for action in &plan.actions {
            match action {
                Action::Drain(id) => drop(live.draining.insert(id.clone())),
                Action::Keep(id) => drop(live.draining.remove(id)),
                _ => {}
            }
        }
        plan.actions
    };
    let drained = plan.iter().any(|action| matches!(action, Action::Drain(_)));
    for action in plan {
        carry_out(platform, action).await;
    }
    if drained {
        // An instance that is idle already can be stopped as soon as the routes without it are out.
        platform.live.reconcile.notify_one();
    }
}

/// What is wanted of a revision. Where the scaler has not looked yet, what runs is kept.
fn intent<'a>(
    live: &'a LiveState,
    revision: &'a Revision,
    instances: &[ObservedInstance],
    now: Timestamp,
) -> Intent<'a> {
    let Scaled { wanted, needed, min } = live.desired.get(&revision.key).copied().unwrap_or_else(|| {
        let running = running(instances, &revision.key);
        Scaled { wanted: running, needed: running, min: running }
    });
    let may_start = live.failures.get(&revision.key).is_none_or(|failures| back_off::until(failures) <= now)
        && !revision.images.is_empty();
    let stopped = live.exceeded(&revision.service_key());
    Intent { revision, wanted, needed, min, may_start, stopped }
}

/// Revisions that may have instances: those being proven and those that their service addresses.
pub(super) fn wanted_revisions(intent: &ServiceIntent) -> impl Iterator<Item = &Revision> {
    let service = &intent.service.value;
    intent.revisions().filter(|revision| {
        service.deleted_at.is_none() && (revision.phase == Phase::Deploying || addresses(service, revision))
    })
}

/// Whether a service addresses a revision of its own, by traffic or by a tag.
pub(super) fn addresses(service: &Service, revision: &Revision) -> bool {
    service.deleted_at.is_none() && service.status.traffic.iter().any(|target| target.revision == revision.key.name)
}

fn write_status(platform: &Platform, keys: &BTreeSet<ServiceKey>) -> Result<(), StoreError> {
    let now = platform.clock.now();
    for intent in platform.store.intents(keys) {
        let revisions: Vec<&Revision> = intent.revisions().collect();
        let service = &intent.service.value;
        let status = status::service(service, &revisions, now);
        if status != service.status {
            platform.store.put_status(&service.key, intent.service.version, &status, now)?;
        }
    }
    Ok(())
}

/// The services that time or the backend may change, not only a write to the store.
fn unsettled(
    platform: &Platform,
    intents: &[Arc<ServiceIntent>],
    instances: &[ObservedInstance],
) -> BTreeSet<ServiceKey> {
    let now = platform.clock.now();
    let live = platform.live.lock();
    let moves = |revision: &Revision| {
        revision.phase == Phase::Deploying
            || live.denied.contains_key(&revision.key)
            || live.failures.get(&revision.key).is_some_and(|failures| back_off::until(failures) > now)
    };
    let keyed = intents.iter().map(|intent| (&intent.service.value, intent));
    let moving = keyed.filter(|(service, intent)| service.deleted_at.is_some() || intent.revisions().any(moves));
    let living = instances.iter().map(|instance| service_key(&instance.spec));
    moving.map(|(service, _)| service.key.clone()).chain(living).collect()
}

/// Removes deleted services of which nothing runs any more, and the routes of those that are gone.
fn finish_deletions(
    platform: &Platform,
    keys: &BTreeSet<ServiceKey>,
    intents: &[Arc<ServiceIntent>],
    instances: &[ObservedInstance],
) -> Result<(), StoreError> {
    let present: BTreeSet<&ServiceKey> = intents.iter().map(|intent| &intent.service.value.key).collect();
    for gone in keys.iter().filter(|key| !present.contains(key)) {
        platform.ingress.publish(gone, ServiceRoutes::default());
    }
    for service in intents.iter().map(|intent| &intent.service.value).filter(|s| s.deleted_at.is_some()) {
        if !instances.iter().any(|instance| service_key(&instance.spec) == service.key) {
            platform.store.delete_service(&service.key)?;
        }
    }
    Ok(())
}

/// The service that an instance belongs to.
fn service_key(spec: &InstanceSpec) -> ServiceKey {
    ServiceKey {
        project: spec.revision.project.clone(),
        region: spec.revision.region.clone(),
        name: spec.service.clone(),
    }
}

/// Instances that a revision has; what is wanted of one that the scaler has not looked at yet.
fn running(instances: &[ObservedInstance], revision: &RevisionKey) -> u32 {
    instances.iter().filter(|instance| &instance.spec.revision == revision && !instance.state.is_over()).count() as u32
}

fn new_id(revision: &Revision) -> InstanceId {
    InstanceId::new(format!("{}-{}", revision.key.name, ids::letters(8)))
}

async fn carry_out(platform: &Arc<Platform>, action: Action) {
    match action {
        Action::Start(spec) => {
            tracing::info!(instance = %spec.id, gpus = ?spec.gpus, "starting");
            if let Err(error) = platform.backend.start(*spec).await {
                tracing::error!(%error, "an instance could not be recorded; the next pass tries again");
            }
        }
        Action::Stop(id) => {
            tracing::info!(instance = %id, "stopping");
            platform.backend.stop(&id, GRACE).await;
        }
        // Else its time would be lost; the meter calls again.
        Action::Remove(id) if platform.meter.is_settled(&id) => platform.backend.remove(&id).await,
        Action::Remove(_) => {}
        Action::Drain(_) | Action::Keep(_) => {}
    }
}
