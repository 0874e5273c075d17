//! Writes how many instances each revision should have. It starts and stops nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use homerun_model::names::RevisionKey;
use homerun_model::plan::scale::{Sample, ScaleSpec, ScaleState, scale};
use homerun_model::revision::{Phase, Revision};
use homerun_model::service::Service;

use crate::platform::Platform;

/// Longest time between two looks.
const TICK: Duration = Duration::from_secs(1);

/// What the loop remembers.
#[derive(Default)]
pub struct Autoscale {
    states: BTreeMap<RevisionKey, ScaleState>,
    specs: BTreeMap<RevisionKey, ScaleSpec>,
    seen_store: Option<u64>,
}

/// Runs until the task is dropped.
pub async fn run(platform: Arc<Platform>) {
    let mut store = platform.store.changes();
    let mut ingress = platform.ingress.changes();
    let mut autoscale = Autoscale::default();
    loop {
        autoscale.pass(&platform);
        tokio::select! {
            _ = store.changed() => {}
            _ = ingress.changed() => {}
            () = platform.live.autoscale.notified() => {}
            () = tokio::time::sleep(TICK) => {}
        }
    }
}

impl Autoscale {
    /// Looks once at what is asked for and wakes reconcile if the numbers wanted have changed.
    pub fn pass(&mut self, platform: &Platform) {
        self.refresh(platform);
        let now = platform.clock.now();
        let loads = platform.ingress.sample();
        let mut desired = BTreeMap::new();
        for (key, spec) in &self.specs {
            let sample = loads.get(key).map_or_else(Sample::default, |load| Sample {
                in_flight: load.in_flight,
                waiting: load.waiting,
                last_busy: load.last_busy,
            });
            let state = self.states.remove(key).unwrap_or_else(|| ScaleState::seeded(running(platform, key), now));
            let (state, wanted) = scale(spec, state, &sample, now);
            self.states.insert(key.clone(), state);
            desired.insert(key.clone(), wanted);
        }
        let mut live = platform.live.lock();
        if live.desired != desired {
            live.desired = desired;
            drop(live);
            platform.live.reconcile.notify_one();
        }
    }

    /// Reads the store again if a user or reconcile has changed something there.
    fn refresh(&mut self, platform: &Platform) {
        let version = platform.store.version();
        if self.seen_store == Some(version) {
            return;
        }
        let (Ok(services), Ok(revisions)) = (platform.store.all_services(), platform.store.all_revisions()) else {
            tracing::error!("autoscale could not read the store; it tries again");
            return;
        };
        self.seen_store = Some(version);
        self.specs.clear();
        for service in services.iter().map(|stored| &stored.value).filter(|service| service.deleted_at.is_none()) {
            let addressed: BTreeSet<_> = service.status.traffic.iter().map(|target| &target.revision).collect();
            for revision in revisions.iter().map(|stored| &stored.value) {
                let own = revision.service_key() == service.key && revision.phase == Phase::Ready;
                if own && addressed.contains(&revision.key.name) {
                    self.specs.insert(revision.key.clone(), spec(platform, service, revision));
                }
            }
        }
        self.states.retain(|key, _| self.specs.contains_key(key));
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

/// Instances that a revision has already, for one that is looked at for the first time.
fn running(platform: &Platform, key: &RevisionKey) -> u32 {
    let of_key = |instance: &&homerun_model::instance::ObservedInstance| {
        &instance.spec.revision == key && !instance.state.is_over()
    };
    platform.backend.list().iter().filter(of_key).count() as u32
}
