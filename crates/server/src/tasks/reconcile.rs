//! The only place that changes the backend: it makes what runs be what is wanted.
//!
//! Each pass reads intent (services, revisions, the numbers that autoscale wants) and reality (the
//! backend's instances, requests in flight), lets the model judge and plan, carries the plan out, and
//! publishes what ingress and the API show.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use homerun_model::instance::{InstanceState, ObservedInstance};
use homerun_model::names::{InstanceId, RevisionKey};
use homerun_model::plan::place::Ledger;
use homerun_model::plan::rollout::{self, Action, Intent, Seen};
use homerun_model::plan::status;
use homerun_model::revision::{Phase, Revision};
use homerun_model::service::Service;

use super::pull::Pulls;
use super::{back_off, routes};
use crate::ids;
use crate::platform::Platform;
use crate::store::{StoreError, Versioned};

/// Longest time between two passes.
const TICK: Duration = Duration::from_secs(1);
/// What a container gets between SIGTERM and SIGKILL, as on Cloud Run.
const GRACE: Duration = Duration::from_secs(10);

/// The loop's own memory; all of it can be lost.
#[derive(Default)]
pub struct Reconcile {
    intent: Snapshot,
    pulls: Pulls,
    /// Instances whose end or readiness has been noted already.
    noted: BTreeSet<InstanceId>,
}

/// What users want, as last read.
#[derive(Default)]
struct Snapshot {
    version: Option<u64>,
    services: Vec<Versioned<Service>>,
    revisions: Vec<Revision>,
}

/// Runs until the task is dropped.
pub async fn run(platform: Arc<Platform>) {
    let mut store = platform.store.changes();
    let mut backend = platform.backend.changes();
    let mut ingress = platform.ingress.changes();
    let mut reconcile = Reconcile::default();
    loop {
        if let Err(error) = reconcile.pass(&platform).await {
            tracing::error!(error = &error as &dyn std::error::Error, "a pass of reconcile failed; it tries again");
        }
        tokio::select! {
            _ = store.changed() => {}
            _ = backend.changed() => {}
            _ = ingress.changed() => {}
            () = platform.live.reconcile.notified() => {}
            () = tokio::time::sleep(TICK) => {}
        }
    }
}

impl Reconcile {
    /// One pass.
    ///
    /// # Errors
    /// When the store fails; what was not done is done by the next pass.
    pub async fn pass(&mut self, platform: &Arc<Platform>) -> Result<(), StoreError> {
        let version = platform.store.version();
        if self.intent.version != Some(version) {
            self.intent.services = platform.store.all_services()?;
            self.intent.revisions = platform.store.all_revisions()?.into_iter().map(|stored| stored.value).collect();
            self.intent.version = Some(version);
        }
        let instances = platform.backend.list();
        self.note(platform, &instances);
        self.judge(platform, &instances)?;
        for revision in &self.intent.revisions {
            if revision.phase == Phase::Deploying && revision.images.is_empty() {
                self.pulls.begin(platform, revision);
            }
        }
        self.act(platform, &instances).await;
        self.judge(platform, &instances)?;
        let instances = platform.backend.list();
        self.write_status(platform)?;
        routes::publish(platform, self.intent.services.iter().map(|s| &s.value), &self.intent.revisions, &instances);
        self.finish_deletions(platform, &instances)
    }

    /// Remembers how long starts take and which revisions fail.
    fn note(&mut self, platform: &Platform, instances: &[ObservedInstance]) {
        let now = platform.clock.now();
        let mut live = platform.live.lock();
        for instance in instances {
            let id = &instance.spec.id;
            let key = &instance.spec.revision;
            match &instance.state {
                InstanceState::Ready if self.noted.insert(id.clone()) => {
                    if let (Some(begun), Some(ready)) = (instance.stamps.creating, instance.stamps.ready) {
                        let seconds = (ready - begun).as_seconds_f64();
                        let mean = live.start_seconds.entry(key.clone()).or_insert(seconds);
                        *mean = 0.7 * *mean + 0.3 * seconds;
                    }
                    live.failures.remove(key);
                }
                InstanceState::Failed(failure) => {
                    let Some(revision) = self.intent.revisions.iter().find(|revision| &revision.key == key) else {
                        continue;
                    };
                    let message = status::explain(revision, failure).1;
                    tracing::warn!(instance = %id, service = %instance.spec.service, "{message}");
                    let failures = back_off::add(live.failures.get(key), message, now);
                    live.failures.insert(key.clone(), failures);
                }
                _ => {}
            }
        }
        self.noted.retain(|id| instances.iter().any(|instance| &instance.spec.id == id));
        live.draining.retain(|id| instances.iter().any(|instance| &instance.spec.id == id));
    }

    /// Lets deploying revisions become ready or fail.
    fn judge(&mut self, platform: &Platform, instances: &[ObservedInstance]) -> Result<(), StoreError> {
        let now = platform.clock.now();
        let denied = platform.live.lock().denied.clone();
        for revision in &mut self.intent.revisions {
            let Some(next) = status::judge(revision, instances, denied.get(&revision.key), now) else {
                continue;
            };
            match platform.store.update_revision(&next) {
                Ok(()) => *revision = next,
                // Its service was deleted meanwhile; the next pass won't see it.
                Err(StoreError::Conflict) => {}
                Err(error) => return Err(error),
            }
            platform.live.autoscale.notify_one();
        }
        Ok(())
    }

    async fn act(&self, platform: &Arc<Platform>, instances: &[ObservedInstance]) {
        let now = platform.clock.now();
        let in_flight: BTreeMap<InstanceId, u32> = instances
            .iter()
            .map(|instance| (instance.spec.id.clone(), platform.ingress.in_flight(&instance.spec.id)))
            .filter(|(_, count)| *count > 0)
            .collect();
        let plan = {
            let mut live = platform.live.lock();
            let intents: Vec<Intent<'_>> = self
                .wanted_revisions()
                .map(|revision| Intent {
                    revision,
                    wanted: live
                        .desired
                        .get(&revision.key)
                        .copied()
                        .unwrap_or_else(|| running(instances, &revision.key)),
                    may_start: live.failures.get(&revision.key).is_none_or(|failures| back_off::until(failures) <= now)
                        && !revision.images.is_empty(),
                })
                .collect();
            let seen = Seen { instances, draining: &live.draining, in_flight: &in_flight };
            let mut ledger = Ledger::new(platform.gpus.devices.clone(), instances);
            let plan = rollout::rollout(&intents, seen, (&mut ledger, &platform.gpus.quotas), now, &mut new_id);
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

    /// Revisions that may have instances: those being proven and those that their service addresses.
    fn wanted_revisions(&self) -> impl Iterator<Item = &Revision> {
        let serving = self.serving();
        let alive: BTreeSet<_> = self.alive().map(|service| service.key.clone()).collect();
        self.intent.revisions.iter().filter(move |revision| {
            alive.contains(&revision.service_key())
                && (revision.phase == Phase::Deploying || serving.contains(&revision.key))
        })
    }

    /// Revisions that a service addresses, by traffic or by a tag.
    fn serving(&self) -> BTreeSet<RevisionKey> {
        let of = |service: &Service| {
            let (project, region) = (service.key.project.clone(), service.key.region.clone());
            let names = service.status.traffic.iter().map(|target| target.revision.clone());
            names
                .map(move |name| RevisionKey { project: project.clone(), region: region.clone(), name })
                .collect::<Vec<_>>()
        };
        self.alive().flat_map(of).collect()
    }

    fn alive(&self) -> impl Iterator<Item = &Service> {
        self.intent.services.iter().map(|stored| &stored.value).filter(|service| service.deleted_at.is_none())
    }

    fn write_status(&mut self, platform: &Platform) -> Result<(), StoreError> {
        let now = platform.clock.now();
        for service in &mut self.intent.services {
            let status = status::service(&service.value, &self.intent.revisions, now);
            if status != service.value.status {
                platform.store.put_status(&service.value.key, service.version, &status)?;
                service.value.status = status;
                platform.live.autoscale.notify_one();
            }
        }
        let serving = self.serving();
        for revision in &mut self.intent.revisions {
            let Some(next) = status::activity(revision, serving.contains(&revision.key), now) else {
                continue;
            };
            if platform.store.update_revision(&next).is_ok() {
                *revision = next;
            }
        }
        Ok(())
    }

    /// Removes deleted services of which nothing runs any more.
    fn finish_deletions(&self, platform: &Platform, instances: &[ObservedInstance]) -> Result<(), StoreError> {
        for service in self.intent.services.iter().map(|stored| &stored.value).filter(|s| s.deleted_at.is_some()) {
            let key = &service.key;
            let runs = instances.iter().any(|instance| {
                let of = &instance.spec;
                of.service == key.name && of.revision.project == key.project && of.revision.region == key.region
            });
            if !runs {
                platform.store.delete_service(key)?;
            }
        }
        Ok(())
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
        Action::Remove(id) => platform.backend.remove(&id).await,
        Action::Drain(_) | Action::Keep(_) => {}
    }
}
