//! GPUs are never given twice, nor beyond a quota, whatever happens in whatever order (row G08).
//!
//! A world with machines of two types, two projects, and a homerun that may die between any two actions of
//! its plan. What is checked after every single action: no device has two holders, no instance has a
//! device of another type, and no grant took a quota above the limit that was in force when it was made.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use chrono::TimeDelta;
use homerun_model::Timestamp;
use homerun_model::container::Container;
use homerun_model::instance::{Failure, InstanceSpec, InstanceState, ObservedInstance, Stamps};
use homerun_model::names::{DeviceId, GpuType, InstanceId, ProjectId, Region, RevisionKey, RevisionName, ServiceName};
use homerun_model::plan::place::{Denied, Gpu, Ledger};
use homerun_model::plan::rollout::{Action, Intent, Seen, rollout};
use homerun_model::quota::{Quota, QuotaKey, Quotas};
use homerun_model::revision::{Phase, PinnedImage, Revision, RevisionTemplate};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

const REGION: &str = "us-central1";
const TYPES: [&str; 2] = ["nvidia-l4", "nvidia-rtx-pro-6000"];
const PROJECTS: [&str; 2] = ["demo", "team-a"];
/// Interleavings that are tried.
const CASES: u32 = 2000;

fn at(seconds: usize) -> Timestamp {
    Timestamp::from_timestamp(1_800_000_000 + seconds as i64, 0).expect("in range")
}

/// What happens next.
#[derive(Debug, Clone)]
enum Event {
    /// The scaler wants so many instances of a revision.
    Want(usize, u32),
    /// Requests come to an instance, or end.
    Busy(usize, u32),
    /// An instance goes on: starts, becomes ready, or ends if it was stopped.
    Progress(usize),
    /// An instance fails.
    Crash(usize),
    /// An administrator changes a quota.
    Limit(usize, u32),
    /// homerun makes a plan and dies after so many of its actions; the next one adopts what lives.
    Pass(usize),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        4 => (0..8_usize, 0..4_u32).prop_map(|(revision, count)| Event::Want(revision, count)),
        2 => (0..16_usize, 0..3_u32).prop_map(|(instance, count)| Event::Busy(instance, count)),
        6 => (0..16_usize).prop_map(Event::Progress),
        1 => (0..16_usize).prop_map(Event::Crash),
        1 => (0..8_usize, 0..4_u32).prop_map(|(quota, limit)| Event::Limit(quota, limit)),
        4 => (0..12_usize).prop_map(Event::Pass),
        4 => Just(Event::Pass(usize::MAX)),
    ];
    prop::collection::vec(event, 1..120)
}

/// Every mix of project, type, redundancy and phase.
fn revisions() -> Vec<Revision> {
    (0..8_usize).map(|n| revision(n, PROJECTS[n % 2], TYPES[n / 2 % 2], n / 4 == 1)).collect()
}

fn revision(number: usize, project: &str, gpu: &str, zonal_redundancy: bool) -> Revision {
    let service = format!("service-{}", number / 2);
    Revision {
        key: RevisionKey {
            project: ProjectId::from(project),
            region: Region::from(REGION),
            name: RevisionName::new(format!("{service}-{number:05}-abc")),
        },
        service: ServiceName::new(service),
        uid: "u".to_owned(),
        generation: 1,
        template: RevisionTemplate {
            containers: vec![Container { image: "i".to_owned(), gpu_count: Some(1), ..Container::default() }],
            gpu_type: Some(GpuType::from(gpu)),
            gpu_zonal_redundancy: Some(zonal_redundancy),
            ..RevisionTemplate::default()
        },
        created_at: at(0),
        creator: "me".to_owned(),
        images: vec![PinnedImage { reference: "i@sha256:0".to_owned(), digest: "sha256:0".to_owned() }],
        images_at: None,
        phase: if number.is_multiple_of(3) { Phase::Deploying } else { Phase::Ready },
        conditions: Vec::new(),
        warnings: Vec::new(),
    }
}

fn keys() -> Vec<QuotaKey> {
    let of = |(gpu, zonal_redundancy)| Quota { gpu: GpuType::from(gpu), zonal_redundancy };
    let quotas = TYPES.into_iter().flat_map(|gpu| [(gpu, false), (gpu, true)]).map(of);
    let region = Region::from(REGION);
    quotas.flat_map(|quota| PROJECTS.map(|project| quota.key(&ProjectId::from(project), &region))).collect()
}

struct World {
    gpus: Vec<Gpu>,
    quotas: Quotas,
    instances: Vec<ObservedInstance>,
    revisions: Vec<Revision>,
    /// What homerun has in memory, which it loses when it dies.
    wanted: Vec<u32>,
    draining: BTreeSet<InstanceId>,
    in_flight: BTreeMap<InstanceId, u32>,
    denied: BTreeMap<RevisionKey, Denied>,
    made: usize,
}

impl World {
    fn new(devices: [usize; 2]) -> Self {
        let of = |(gpu, count): (&str, usize)| {
            let gpu = GpuType::from(gpu);
            (0..count)
                .map(|n| Gpu { id: DeviceId::new(format!("{gpu}-{n}")), gpu: gpu.clone(), region: REGION.into() })
                .collect::<Vec<_>>()
        };
        let mut quotas = Quotas::default();
        keys().into_iter().for_each(|key| quotas.set(key, 2));
        Self {
            gpus: TYPES.into_iter().zip(devices).flat_map(of).collect(),
            quotas,
            instances: Vec::new(),
            revisions: revisions(),
            wanted: vec![0; 8],
            draining: BTreeSet::new(),
            in_flight: BTreeMap::new(),
            denied: BTreeMap::new(),
            made: 0,
        }
    }

    fn happens(&mut self, event: Event, second: usize) -> Result<(), TestCaseError> {
        match event {
            Event::Want(revision, count) => self.wanted[revision] = count,
            Event::Busy(index, count) => {
                if let Some(instance) = self.instances.get(index).filter(|i| i.state == InstanceState::Ready) {
                    self.in_flight.insert(instance.spec.id.clone(), count);
                }
            }
            Event::Progress(index) => {
                if let Some(instance) = self.instances.get_mut(index) {
                    instance.state = match &instance.state {
                        InstanceState::Creating => InstanceState::Starting,
                        InstanceState::Starting => InstanceState::Ready,
                        InstanceState::Stopping => InstanceState::Stopped,
                        other => other.clone(),
                    };
                }
            }
            Event::Crash(index) => {
                if let Some(instance) = self.instances.get_mut(index).filter(|i| !i.state.is_over()) {
                    instance.state = InstanceState::Failed(Failure::Create { message: "x".to_owned() });
                    self.in_flight.remove(&instance.spec.id);
                }
            }
            Event::Limit(index, limit) => self.quotas.set(keys()[index].clone(), limit),
            Event::Pass(survives) => self.pass(survives, second)?,
        }
        Ok(())
    }

    /// One pass of homerun, which dies after `survives` actions.
    fn pass(&mut self, survives: usize, second: usize) -> Result<(), TestCaseError> {
        let intents: Vec<Intent<'_>> = self
            .revisions
            .iter()
            .zip(&self.wanted)
            .map(|(revision, wanted)| Intent {
                revision,
                wanted: *wanted,
                needed: *wanted,
                min: 0,
                may_start: true,
                stopped: None,
            })
            .collect();
        let idle_since = self.instances.iter().map(|instance| (instance.spec.id.clone(), at(0))).collect();
        let seen = Seen {
            instances: &self.instances,
            draining: &self.draining,
            in_flight: &self.in_flight,
            idle_since: &idle_since,
            denied: &self.denied,
            grace: Some(TimeDelta::seconds(5)),
        };
        let mut ledger = Ledger::new(self.gpus.clone(), &self.instances);
        let mut made = self.made;
        let plan = rollout(&intents, seen, (&mut ledger, &self.quotas), at(second), &mut |revision| {
            made += 1;
            InstanceId::new(format!("{}-{made}", revision.key.name))
        });
        self.made = made;
        self.denied = plan.denied;
        let died = survives < plan.actions.len();
        for action in plan.actions.into_iter().take(survives) {
            let starts = matches!(action, Action::Start(_));
            self.carry_out(action);
            self.check(starts)?;
        }
        if died {
            self.wanted = vec![0; 8];
            self.draining.clear();
            self.denied.clear();
        }
        Ok(())
    }

    fn carry_out(&mut self, action: Action) {
        let set = |instances: &mut Vec<ObservedInstance>, id: &InstanceId, state| {
            instances.iter_mut().find(|instance| &instance.spec.id == id).expect("it is known").state = state;
        };
        match action {
            Action::Start(spec) => self.instances.push(observed(*spec)),
            Action::Drain(id) => drop(self.draining.insert(id)),
            Action::Keep(id) => drop(self.draining.remove(&id)),
            Action::Stop(id) => set(&mut self.instances, &id, InstanceState::Stopping),
            Action::Remove(id) => self.instances.retain(|instance| instance.spec.id != id),
        }
    }

    /// Counts by itself, not by the ledger.
    fn check(&self, after_a_start: bool) -> Result<(), TestCaseError> {
        let live: Vec<&InstanceSpec> =
            self.instances.iter().filter(|i| !i.state.is_over()).map(|instance| &instance.spec).collect();
        let held: Vec<&DeviceId> = live.iter().flat_map(|spec| &spec.gpus).collect();
        prop_assert_eq!(held.iter().collect::<BTreeSet<_>>().len(), held.len(), "a device has two holders");
        for spec in &live {
            let of = self.revisions.iter().find(|revision| revision.key == spec.revision).expect("a known revision");
            let gpu = of.template.gpu_type.as_ref().expect("every revision here has a GPU");
            let right = |id: &DeviceId| self.gpus.iter().any(|device| &device.id == id && &device.gpu == gpu);
            prop_assert!(spec.gpus.len() == 1 && spec.gpus.iter().all(right), "{} has {:?}", spec.id, spec.gpus);
        }
        if after_a_start {
            // A lowered quota stops nothing that runs, so only the quota of what was just started counts.
            let started = live.last().expect("it was just started");
            let of = |spec: &InstanceSpec| {
                let revision = self.revisions.iter().find(|revision| revision.key == spec.revision);
                let template = &revision.expect("a known revision").template;
                (spec.revision.project.clone(), template.gpu_type.clone(), template.gpu_zonal_redundancy)
            };
            let used = live.iter().filter(|spec| of(spec) == of(started)).count();
            let (project, gpu, zonal) = of(started);
            let quota = Quota { gpu: gpu.expect("a GPU"), zonal_redundancy: zonal.unwrap_or(false) };
            let limit = self.quotas.limit(&quota.key(&project, &Region::from(REGION)));
            prop_assert!(used as u32 <= limit, "{used} of {limit} for {project}");
        }
        Ok(())
    }
}

fn observed(spec: InstanceSpec) -> ObservedInstance {
    ObservedInstance {
        spec,
        state: InstanceState::Creating,
        stamps: Stamps::default(),
        warnings: Vec::new(),
        unready: Default::default(),
        lost: false,
    }
}

#[test]
fn g08_no_interleaving_of_scaling_crashes_adoption_and_restarts_exceeds_a_quota() {
    let mut runner = TestRunner::new(Config { cases: CASES, failure_persistence: None, ..Config::default() });
    let (passes, most) = (Cell::new(0_usize), Cell::new(0_usize));
    let tried = runner.run(&(events(), [0..5_usize, 0..3_usize]), |(events, devices)| {
        let mut world = World::new(devices);
        for (second, event) in events.into_iter().enumerate() {
            passes.set(passes.get() + usize::from(matches!(event, Event::Pass(_))));
            world.happens(event, second)?;
            let held = world.instances.iter().filter(|instance| !instance.state.is_over()).count();
            most.set(most.get().max(held));
        }
        Ok(())
    });
    tried.unwrap_or_else(|error| panic!("{error}"));
    assert!(most.get() > 4, "the world was too poor to show anything: {} instances at most", most.get());
    println!("{CASES} interleavings, {} passes, up to {} GPUs held at a time", passes.get(), most.get());
}
