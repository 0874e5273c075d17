//! The plan carried out on a simulated machine: whatever happens in whatever order, GPUs and requests
//! are safe, and things settle as wanted.

mod machine;
mod sharing;

use std::collections::BTreeSet;

use homerun_model::condition::{self, ConditionType, Status};
use homerun_model::instance::{Failure, InstanceState};
use homerun_model::names::{DeviceId, GpuType, ProjectId, Region};
use homerun_model::plan::place::{Gpu, Ledger};
use homerun_model::plan::rollout::Intent;
use homerun_model::plan::status;
use homerun_model::quota::{QuotaKey, Quotas};
use homerun_model::revision::{Phase, Revision};
use proptest::prelude::*;

use machine::{Machine, at, revision};

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
fn b02_where_other_projects_hold_the_gpus_it_says_so_and_not_whose_they_are() {
    let (mine, mut theirs) = (revision("ocr", 1, 1, Phase::Ready), revision("secret", 1, 1, Phase::Ready));
    theirs.key.project = ProjectId::from("team-a");
    let (gpus, mut quotas) = machine::l4s(2, 5);
    quotas.set(QuotaKey { project: theirs.key.project.clone(), ..key_of(&gpus[0]) }, 5);
    let mut ledger = Ledger::new(gpus, &[]);
    ledger.grant(&theirs, &quotas, at(7)).expect("there are two");
    ledger.grant(&mine, &quotas, at(8)).expect("there is another one");
    let denied = ledger.grant(&mine, &quotas, at(9)).expect_err("both are held").to_string();
    let holders =
        "GPUs are held by: ocr (1) since 2027-01-15T08:00:08Z; other projects (1) since 2027-01-15T08:00:07Z.";
    assert!(denied.ends_with(holders) && !denied.contains("secret"), "{denied}");
}

/// The quota of the default project that a GPU counts for.
fn key_of(gpu: &Gpu) -> QuotaKey {
    let (project, region) = (ProjectId::from("demo"), gpu.region.clone());
    QuotaKey { project, region, gpu: gpu.gpu.clone(), zonal_redundancy: false }
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

#[test]
fn s05_an_instance_that_takes_no_requests_goes_before_one_that_does() {
    let web = revision("web", 1, 0, Phase::Ready);
    let mut machine = Machine::default();
    machine.step(&[(web.clone(), 1)], 0, 0, at(0));
    machine.instances[0].unready.insert("app".to_owned(), "connection refused".to_owned());
    machine.step(&[(web.clone(), 2)], 0, 0, at(1));
    let healthy = machine.instances[1].spec.id.clone();
    for second in 2..6 {
        machine.step(&[(web.clone(), 1)], 0, 0, at(second));
    }
    let left: Vec<_> = machine.instances.iter().map(|instance| instance.spec.id.clone()).collect();
    assert_eq!(left, [healthy], "although the other one is older");
}

#[test]
fn b02_what_is_only_kept_warm_is_not_started_again() {
    let ocr = revision("ocr", 1, 1, Phase::Ready);
    let mut machine = Machine::default();
    machine.step_with(
        &[Intent { revision: &ocr, wanted: 1, needed: 0, min: 0, may_start: true, stopped: None }],
        1,
        1,
        at(0),
    );
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
