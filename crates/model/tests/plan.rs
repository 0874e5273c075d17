//! The plan carried out on a simulated machine: whatever happens in whatever order, GPUs and requests
//! are safe, and things settle as wanted.

use std::collections::{BTreeMap, BTreeSet};

use chrono::TimeDelta;
use homerun_model::Timestamp;
use homerun_model::condition::{self, ConditionType, Status};
use homerun_model::container::Container;
use homerun_model::instance::{Failure, InstanceState, ObservedInstance, Stamps};
use homerun_model::names::{DeviceId, GpuType, InstanceId, ProjectId, Region, RevisionKey, RevisionName, ServiceName};
use homerun_model::plan::place::{Denied, Gpu, Ledger};
use homerun_model::plan::rollout::{Action, Intent, Seen, rollout};
use homerun_model::plan::status;
use homerun_model::quota::{QuotaKey, Quotas};
use homerun_model::revision::{Phase, PinnedImage, Revision, RevisionTemplate};
use proptest::prelude::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_timestamp(1_800_000_000 + seconds, 0).expect("in range")
}

fn revision(service: &str, number: u32, gpus: u32, phase: Phase) -> Revision {
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
fn l4s(devices: u32, quota: u32) -> (Vec<Gpu>, Quotas) {
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
struct Machine {
    instances: Vec<ObservedInstance>,
    draining: BTreeSet<InstanceId>,
    in_flight: BTreeMap<InstanceId, u32>,
    idle_since: BTreeMap<InstanceId, Timestamp>,
    made: u32,
    denied: BTreeMap<RevisionKey, Denied>,
    grace: Option<TimeDelta>,
}

impl Machine {
    fn step(&mut self, wanted: &[(Revision, u32)], devices: u32, quota: u32, now: Timestamp) {
        let intents: Vec<Intent<'_>> = wanted
            .iter()
            .map(|(revision, wanted)| Intent { revision, wanted: *wanted, needed: *wanted, min: 0, may_start: true })
            .collect();
        self.step_with(&intents, devices, quota, now);
    }

    fn step_with(&mut self, intents: &[Intent<'_>], devices: u32, quota: u32, now: Timestamp) {
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

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::Start(spec) => self.instances.push(ObservedInstance {
                spec: *spec,
                state: InstanceState::Ready,
                stamps: Stamps::default(),
                warnings: Vec::new(),
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

    fn set(&mut self, id: &InstanceId, state: InstanceState) {
        let found = self.instances.iter_mut().find(|instance| &instance.spec.id == id);
        found.expect("only known instances are named").state = state;
    }

    fn live(&self, revision: &Revision) -> usize {
        self.instances.iter().filter(|i| i.spec.revision == revision.key && !i.state.is_over()).count()
    }

    fn gpus_held(&self) -> Vec<&DeviceId> {
        self.instances.iter().filter(|i| !i.state.is_over()).flat_map(|i| &i.spec.gpus).collect()
    }
}

#[test]
fn g08_a_service_over_the_quota_is_denied_and_told_who_holds_it() {
    let (ocr, chat) = (revision("ocr", 1, 1, Phase::Ready), revision("chat", 1, 1, Phase::Ready));
    let mut machine = Machine::default();
    machine.step(&[(ocr.clone(), 1)], 2, 1, at(0));
    let gpus =
        vec![Gpu { id: DeviceId::from("g0"), gpu: GpuType::from("nvidia-l4"), region: Region::from("us-central1") }];
    let mut quotas = Quotas::default();
    let key = QuotaKey {
        project: ProjectId::from("demo"),
        region: Region::from("us-central1"),
        gpu: GpuType::from("nvidia-l4"),
        zonal_redundancy: false,
    };
    quotas.set(key, 1);
    let text =
        Ledger::new(gpus, &machine.instances).grant(&chat, &quotas, at(0)).expect_err("the quota is used").to_string();
    assert!(text.contains("run.googleapis.com/nvidia_l4_gpu_allocation_no_zonal_redundancy"), "{text}");
    assert!(text.contains("ocr (1)"), "{text}");
    machine.step(&[(ocr.clone(), 1), (chat.clone(), 1)], 2, 1, at(1));
    assert_eq!((machine.live(&ocr), machine.live(&chat), machine.denied.len()), (1, 0, 1));
}

#[test]
fn g08_waiting_services_each_get_one_gpu_before_one_gets_two() {
    let (ocr, chat) = (revision("ocr", 1, 1, Phase::Ready), revision("chat", 1, 1, Phase::Ready));
    let mut machine = Machine::default();
    machine.step(&[(ocr.clone(), 3), (chat.clone(), 3)], 2, 2, at(0));
    assert_eq!((machine.live(&ocr), machine.live(&chat)), (1, 1));
}

#[test]
fn s07_an_instance_that_serves_is_drained_and_stopped_only_when_it_is_idle() {
    let ocr = revision("ocr", 1, 1, Phase::Ready);
    let mut machine = Machine::default();
    machine.step(&[(ocr.clone(), 1)], 1, 1, at(0));
    let id = machine.instances[0].spec.id.clone();
    machine.in_flight.insert(id.clone(), 1);
    for second in 1..5 {
        machine.step(&[(ocr.clone(), 0)], 1, 1, at(second));
        assert!(machine.draining.contains(&id) && machine.live(&ocr) == 1);
    }
    machine.in_flight.clear();
    machine.step(&[(ocr.clone(), 0)], 1, 1, at(6));
    assert_eq!(machine.live(&ocr), 0);
}

#[test]
fn s07_a_draining_instance_that_is_wanted_again_is_kept() {
    let ocr = revision("ocr", 1, 1, Phase::Ready);
    let mut machine = Machine::default();
    machine.step(&[(ocr.clone(), 1)], 1, 1, at(0));
    machine.step(&[(ocr.clone(), 0)], 1, 1, at(1));
    assert_eq!(machine.draining.len(), 1);
    machine.step(&[(ocr.clone(), 1)], 1, 1, at(2));
    assert_eq!((machine.draining.len(), machine.live(&ocr), machine.made), (0, 1, 1));
}

#[test]
fn g15_a_new_revision_takes_the_idle_gpu_of_the_one_before() {
    let (old, new) = (revision("ocr", 1, 1, Phase::Ready), revision("ocr", 2, 1, Phase::Deploying));
    let mut machine = Machine::default();
    machine.step(&[(old.clone(), 1)], 1, 1, at(0));
    for second in 1..5 {
        machine.step(&[(old.clone(), 1), (new.clone(), 0)], 1, 1, at(second));
    }
    assert_eq!((machine.live(&old), machine.live(&new)), (0, 1));
}

#[test]
fn g08_a_revision_that_waits_too_long_for_a_gpu_fails_with_the_quota_as_reason() {
    let (ocr, chat) = (revision("ocr", 1, 1, Phase::Ready), revision("chat", 1, 1, Phase::Deploying));
    let mut machine = Machine::default();
    machine.step(&[(ocr, 1)], 1, 1, at(0));
    let denied =
        Ledger::new(Vec::new(), &machine.instances).grant(&chat, &Quotas::default(), at(0)).expect_err("no quota");
    let waiting = status::judge(&chat, &machine.instances, Some(&denied), at(2)).expect("says that it waits");
    assert_eq!(waiting.phase, Phase::Deploying);
    let failed = status::judge(&waiting, &machine.instances, Some(&denied), at(60)).expect("gives up");
    let ready = condition::get(&failed.conditions, ConditionType::Ready).expect("a condition");
    assert_eq!((ready.status, &*ready.reason), (Status::False, "ResourcesUnavailable"));
    assert!(ready.message.contains("Quota exceeded for total allowable count of GPUs"));
    assert_eq!(status::judge(&failed, &machine.instances, Some(&denied), at(61)), None, "it is said once");

    // It goes on waiting, until it gets its GPU or another revision comes.
    machine.step(&[(failed.clone(), 0)], 2, 2, at(62));
    assert_eq!(status::judge(&failed, &machine.instances, None, at(63)).map(|next| next.phase), Some(Phase::Ready));
    assert_eq!(status::superseded(&failed).map(|next| next.phase), Some(Phase::Failed));
    assert_eq!(status::superseded(&waiting), None);
}

#[test]
fn g08_the_wait_for_a_gpu_counts_from_when_the_images_are_here() {
    let mut chat = revision("chat", 1, 1, Phase::Deploying);
    chat.images_at = Some(at(100));
    let denied = Ledger::new(Vec::new(), &[]).grant(&chat, &Quotas::default(), at(0)).expect_err("no quota");
    let waiting = status::judge(&chat, &[], Some(&denied), at(101)).expect("says that it waits");
    assert_eq!(waiting.phase, Phase::Deploying);
    let failed = status::judge(&waiting, &[], Some(&denied), at(121)).expect("gives up");
    let ready = condition::get(&failed.conditions, ConditionType::Ready).expect("a condition");
    assert_eq!(ready.status, Status::False);
}

#[test]
fn s07_an_instance_that_starts_is_not_given_up_for_idleness() {
    let slow = revision("slow", 1, 1, Phase::Ready);
    let mut machine = Machine::default();
    machine.step(&[(slow.clone(), 1)], 1, 1, at(0));
    let id = machine.instances[0].spec.id.clone();
    machine.set(&id, InstanceState::Starting);
    machine.step(&[(slow.clone(), 0)], 1, 1, at(5));
    assert_eq!(machine.live(&slow), 1, "whoever waited has gone, and may come back");
    machine.set(&id, InstanceState::Ready);
    for second in 6..9 {
        machine.step(&[(slow.clone(), 0)], 1, 1, at(second));
    }
    assert_eq!(machine.live(&slow), 0, "once ready it is idle like any other");
    machine.step(&[(slow.clone(), 1)], 1, 1, at(10));
    let id = machine.instances[0].spec.id.clone();
    machine.set(&id, InstanceState::Starting);
    machine.step(&[], 1, 1, at(11));
    assert_eq!(machine.live(&slow), 0, "a revision that nothing addresses is stopped whatever its state");
}

/// Warm, `chat` with a request that waits: who has how many instances after each second.
fn give_way(machine: &mut Machine, ocr_min: u32, seconds: std::ops::Range<i64>) -> Vec<(usize, usize)> {
    let (ocr, chat) = (revision("ocr", 1, 1, Phase::Ready), revision("chat", 2, 1, Phase::Ready));
    let mut counts = Vec::new();
    for second in seconds {
        let intents = [
            Intent { revision: &ocr, wanted: 1, needed: ocr_min, min: ocr_min, may_start: true },
            Intent { revision: &chat, wanted: 1, needed: 1, min: 0, may_start: true },
        ];
        machine.step_with(&intents, 1, 1, at(second));
        counts.push((machine.live(&ocr), machine.live(&chat)));
    }
    counts
}

/// One GPU, held by `ocr`, which fell idle at second 10.
fn warm(grace: Option<TimeDelta>) -> Machine {
    let mut machine = Machine { grace, ..Machine::default() };
    machine.step(&[(revision("ocr", 1, 1, Phase::Ready), 1)], 1, 1, at(0));
    machine.idle_since.insert(machine.instances[0].spec.id.clone(), at(10));
    machine
}

#[test]
fn b02_an_idle_warm_instance_gives_its_gpu_to_a_waiting_service_after_the_grace() {
    let grace = Some(TimeDelta::seconds(5));
    let counts = give_way(&mut warm(grace), 0, 11..19);
    assert_eq!(counts[..4], [(1, 0); 4], "not before the grace is over");
    assert_eq!(counts.last(), Some(&(0, 1)));

    assert_eq!(give_way(&mut warm(None), 0, 11..60).last(), Some(&(1, 0)), "the setting is off");
    assert_eq!(give_way(&mut warm(grace), 1, 11..60).last(), Some(&(1, 0)), "a minimum stays");
    let mut busy = warm(grace);
    busy.in_flight.insert(busy.instances[0].spec.id.clone(), 1);
    assert_eq!(give_way(&mut busy, 0, 11..60).last(), Some(&(1, 0)), "what serves stays");
    let denied = busy.denied.values().next().expect("chat waits");
    assert_eq!(denied.since, at(11), "it is known since when");
    assert!(format!("{denied:#}").contains("ocr (1) since 2027-01-15T08:00:00Z, serving 1 request."), "{denied:#}");
    assert!(denied.to_string().ends_with("ocr (1) since 2027-01-15T08:00:00Z."), "{denied}");
}

#[test]
fn b02_one_waiting_service_takes_one_instance_and_the_one_that_waits_longest_comes_first() {
    let all: Vec<Revision> = ["a", "b", "c", "d"].iter().map(|name| revision(name, 1, 1, Phase::Ready)).collect();
    let mut machine = Machine { grace: Some(TimeDelta::seconds(5)), ..Machine::default() };
    machine.step(&[(all[0].clone(), 1), (all[1].clone(), 1)], 2, 2, at(0));
    let ids: Vec<InstanceId> = machine.instances.iter().map(|instance| instance.spec.id.clone()).collect();
    machine.idle_since = ids.into_iter().zip([at(1), at(2)]).collect();
    // d asks before c, and only one of the two idle instances goes for it.
    for second in 4..12 {
        let needed = |index: usize| u32::from(index == 3 || (index == 2 && second > 7));
        let intents: Vec<Intent<'_>> = all
            .iter()
            .enumerate()
            .map(|(n, revision)| Intent { revision, wanted: 1, needed: needed(n), min: 0, may_start: true })
            .collect();
        machine.step_with(&intents, 2, 2, at(second));
        let live: Vec<usize> = all.iter().map(|revision| machine.live(revision)).collect();
        assert!(second > 7 || live[1] == 1, "b is not needed for d: {live:?}");
        assert!(live[3] >= live[2], "d has waited longer: {live:?}");
    }
    assert_eq!(all.iter().map(|revision| machine.live(revision)).collect::<Vec<_>>(), [0, 0, 1, 1]);
}

#[test]
fn b02_what_is_only_kept_warm_is_not_started_again() {
    let ocr = revision("ocr", 1, 1, Phase::Ready);
    let mut machine = Machine::default();
    machine.step_with(&[Intent { revision: &ocr, wanted: 1, needed: 0, min: 0, may_start: true }], 1, 1, at(0));
    assert_eq!(machine.live(&ocr), 0);
}

/// What may happen between two passes.
#[derive(Debug, Clone)]
enum Event {
    Want(usize, u32),
    Busy(usize, u32),
    Crash(usize),
    Restart,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        4 => (0_usize..3, 0_u32..4).prop_map(|(revision, count)| Event::Want(revision, count)),
        3 => (0_usize..8, 0_u32..3).prop_map(|(instance, count)| Event::Busy(instance, count)),
        1 => (0_usize..8).prop_map(Event::Crash),
        1 => Just(Event::Restart),
    ];
    prop::collection::vec(event, 1..60)
}

proptest! {
    #[test]
    fn g08_quota_and_devices_are_never_exceeded_and_no_request_is_cut(
        events in events(), devices in 0_u32..4, quota in 0_u32..4,
    ) {
        let revisions = [
            revision("ocr", 1, 1, Phase::Ready), revision("chat", 2, 1, Phase::Ready), revision("ocr", 3, 1, Phase::Deploying),
        ];
        let mut wanted: Vec<(Revision, u32)> = revisions.iter().cloned().map(|revision| (revision, 0)).collect();
        let mut machine = Machine::default();
        for (second, event) in events.into_iter().enumerate() {
            match event {
                Event::Want(revision, count) => wanted[revision].1 = count,
                Event::Busy(index, count) => {
                    if let Some(instance) = machine.instances.get(index)
                        && instance.state == InstanceState::Ready
                        && (count == 0 || !machine.draining.contains(&instance.spec.id))
                    {
                        machine.in_flight.insert(instance.spec.id.clone(), count);
                    }
                }
                Event::Crash(index) => {
                    if let Some(id) = machine.instances.get(index).map(|instance| instance.spec.id.clone()) {
                        machine.in_flight.remove(&id);
                        machine.set(&id, InstanceState::Failed(Failure::Create { message: "x".to_owned() }));
                    }
                }
                // homerun forgets what it had in memory; instances go on.
                Event::Restart => { machine.draining.clear(); machine.in_flight.clear(); }
            }
            machine.step(&wanted, devices, quota, at(second as i64));
            let held = machine.gpus_held();
            prop_assert!(held.len() as u32 <= quota.min(devices));
            prop_assert_eq!(held.iter().collect::<BTreeSet<_>>().len(), held.len());
        }
        machine.in_flight.clear();
        for second in 0..4 { machine.step(&[], devices, quota, at(1000 + second)); }
        prop_assert!(machine.instances.is_empty(), "all go when nothing is wanted");
    }
}
