//! A simulated machine that does at once what a plan says.

use std::collections::{BTreeMap, BTreeSet};

use chrono::TimeDelta;
use homerun_model::Timestamp;
use homerun_model::container::Container;
use homerun_model::instance::{InstanceState, ObservedInstance, Stamps};
use homerun_model::names::{DeviceId, GpuType, InstanceId, ProjectId, Region, RevisionKey, RevisionName, ServiceName};
use homerun_model::plan::place::{Denied, Gpu, Ledger};
use homerun_model::plan::rollout::{Action, Intent, Seen, rollout};
use homerun_model::quota::{QuotaKey, Quotas};
use homerun_model::revision::{Phase, PinnedImage, Revision, RevisionTemplate};

pub fn at(seconds: i64) -> Timestamp {
    Timestamp::from_timestamp(1_800_000_000 + seconds, 0).expect("in range")
}

pub fn revision(service: &str, number: u32, gpus: u32, phase: Phase) -> Revision {
    Revision {
        key: RevisionKey {
            project: ProjectId::from("demo"),
            region: Region::from("us-central1"),
            name: RevisionName::new(format!("{service}-{number:05}-abc")),
        },
        service: ServiceName::from(service),
        uid: "u".to_owned(),
        generation: u64::from(number),
        template: RevisionTemplate {
            containers: vec![Container { image: "i".to_owned(), gpu_count: Some(gpus), ..Container::default() }],
            gpu_type: (gpus > 0).then(|| GpuType::from("nvidia-l4")),
            ..RevisionTemplate::default()
        },
        created_at: at(i64::from(number)),
        creator: "me".to_owned(),
        images: vec![PinnedImage { reference: "i@sha256:0".to_owned(), digest: "sha256:0".to_owned() }],
        images_at: None,
        phase,
        conditions: Vec::new(),
        warnings: Vec::new(),
    }
}

/// So many L4s, and the project's quota of them.
pub fn l4s(devices: u32, quota: u32) -> (Vec<Gpu>, Quotas) {
    let gpus: Vec<Gpu> = (0..devices)
        .map(|n| Gpu {
            id: DeviceId::new(format!("g{n}")),
            gpu: GpuType::from("nvidia-l4"),
            region: Region::from("us-central1"),
        })
        .collect();
    let mut quotas = Quotas::default();
    quotas.set(
        QuotaKey {
            project: ProjectId::from("demo"),
            region: Region::from("us-central1"),
            gpu: GpuType::from("nvidia-l4"),
            zonal_redundancy: false,
        },
        quota,
    );
    (gpus, quotas)
}

/// A machine that does at once what it is told.
#[derive(Default)]
pub struct Machine {
    pub instances: Vec<ObservedInstance>,
    pub draining: BTreeSet<InstanceId>,
    pub in_flight: BTreeMap<InstanceId, u32>,
    pub idle_since: BTreeMap<InstanceId, Timestamp>,
    pub made: u32,
    pub denied: BTreeMap<RevisionKey, Denied>,
    pub grace: Option<TimeDelta>,
}

impl Machine {
    pub fn step(&mut self, wanted: &[(Revision, u32)], devices: u32, quota: u32, now: Timestamp) {
        let intents: Vec<Intent<'_>> = wanted
            .iter()
            .map(|(revision, wanted)| Intent {
                revision,
                wanted: *wanted,
                needed: *wanted,
                min: 0,
                may_start: true,
                stopped: None,
            })
            .collect();
        self.step_with(&intents, devices, quota, now);
    }

    pub fn step_with(&mut self, intents: &[Intent<'_>], devices: u32, quota: u32, now: Timestamp) {
        let (gpus, quotas) = l4s(devices, quota);
        let seen = Seen {
            instances: &self.instances,
            draining: &self.draining,
            in_flight: &self.in_flight,
            idle_since: &self.idle_since,
            denied: &self.denied,
            grace: self.grace,
        };
        let mut ledger = Ledger::new(gpus, &self.instances);
        let mut made = self.made;
        let plan = rollout(intents, seen, (&mut ledger, &quotas), now, &mut |revision| {
            made += 1;
            InstanceId::new(format!("{}-{made}", revision.key.name))
        });
        self.made = made;
        self.denied = plan.denied;
        for action in plan.actions {
            self.carry_out(action);
        }
    }

    pub fn carry_out(&mut self, action: Action) {
        match action {
            Action::Start(spec) => self.instances.push(ObservedInstance {
                spec: *spec,
                state: InstanceState::Ready,
                stamps: Stamps::default(),
                warnings: Vec::new(),
                unready: Default::default(),
                lost: false,
            }),
            Action::Drain(id) => drop(self.draining.insert(id)),
            Action::Keep(id) => drop(self.draining.remove(&id)),
            Action::Stop(id) => {
                assert_eq!(self.in_flight.get(&id).copied().unwrap_or(0), 0, "{id} was stopped while it served");
                self.set(&id, InstanceState::Stopped);
            }
            Action::Remove(id) => {
                let over = |instance: &ObservedInstance| instance.spec.id == id && instance.state.is_over();
                assert!(self.instances.iter().any(over), "{id} was forgotten while it lived");
                self.instances.retain(|instance| instance.spec.id != id);
                self.draining.remove(&id);
            }
        }
    }

    pub fn set(&mut self, id: &InstanceId, state: InstanceState) {
        let found = self.instances.iter_mut().find(|instance| &instance.spec.id == id);
        found.expect("only known instances are named").state = state;
    }

    pub fn live(&self, revision: &Revision) -> usize {
        self.instances.iter().filter(|i| i.spec.revision == revision.key && !i.state.is_over()).count()
    }

    pub fn gpus_held(&self) -> Vec<&DeviceId> {
        self.instances.iter().filter(|i| !i.state.is_over()).flat_map(|i| &i.spec.gpus).collect()
    }
}
