//! Who makes room for whom: revisions of one service (row B01) and services of one project (row B02).

use chrono::TimeDelta;
use homerun_model::condition::{self, Condition, ConditionType, Status};
use homerun_model::instance::{Failure, InstanceState};
use homerun_model::names::InstanceId;
use homerun_model::plan::rollout::Intent;
use homerun_model::plan::serving::{self, Fares};
use homerun_model::plan::status;
use homerun_model::revision::{Phase, Revision};

use crate::machine::{Machine, at, revision};

/// One GPU, which `ocr-1` has and serves a request with, and each revision with what it wants: who has how many
/// instances after each second. The request ends at second `ends`.
fn hand_over(
    machine: &mut Machine,
    intents: &[Intent<'_>],
    ends: i64,
    seconds: std::ops::Range<i64>,
) -> Vec<(usize, usize)> {
    let mut counts = Vec::new();
    for second in seconds {
        if second == ends {
            machine.in_flight.clear();
        }
        machine.step_with(intents, 1, 1, at(second));
        counts.push((machine.live(intents[0].revision), machine.live(intents[1].revision)));
    }
    counts
}

/// One GPU, held by `ocr-1`, which is ready since second 0 and serves a request.
fn serving(old: &Revision) -> Machine {
    let mut machine = Machine::default();
    machine.step(&[(old.clone(), 1)], 1, 1, at(0));
    machine.instances[0].stamps.ready = Some(at(0));
    machine.in_flight.insert(machine.instances[0].spec.id.clone(), 1);
    machine
}

#[test]
fn b01_a_new_revision_takes_the_gpu_of_the_busy_one_before_once_its_requests_have_ended() {
    let (old, new) = (revision("ocr", 1, 1, Phase::Ready), revision("ocr", 2, 1, Phase::Deploying));
    let mut machine = serving(&old);
    let intents = [
        Intent { revision: &old, wanted: 1, needed: 1, min: 1, may_start: true, stopped: None },
        Intent { revision: &new, wanted: 0, needed: 0, min: 0, may_start: true, stopped: None },
    ];
    assert_eq!(hand_over(&mut machine, &intents, 4, 1..4), [(1, 0); 3], "its request is not cut");
    assert_eq!(machine.draining.len(), 1, "and it gets no other");
    assert_eq!(hand_over(&mut machine, &intents, 4, 4..8).last(), Some(&(0, 1)), "even from a minimum");
}

#[test]
fn b01_the_one_before_comes_back_when_the_new_revision_fails() {
    let (old, new) = (revision("ocr", 1, 1, Phase::Ready), revision("ocr", 2, 1, Phase::Deploying));
    let mut machine = serving(&old);
    let of = |revision, needed| Intent { revision, wanted: needed, needed, min: 0, may_start: true, stopped: None };
    hand_over(&mut machine, &[of(&old, 1), of(&new, 0)], 2, 1..6);
    let id = machine.instances[0].spec.id.clone();
    machine.set(&id, InstanceState::Failed(Failure::Create { message: "x".to_owned() }));
    let failed = Revision { phase: Phase::Failed, ..new.clone() };
    assert_eq!(hand_over(&mut machine, &[of(&old, 1), of(&failed, 0)], 0, 6..8).last(), Some(&(1, 0)));
}

#[test]
fn b01_requests_that_do_not_end_are_served_on_once_the_deployment_has_been_given_up() {
    let (old, new) = (revision("ocr", 1, 1, Phase::Ready), revision("ocr", 2, 1, Phase::Deploying));
    let mut machine = serving(&old);
    let intent = |revision| Intent { revision, wanted: 1, needed: 1, min: 0, may_start: true, stopped: None };
    hand_over(&mut machine, &[intent(&old), intent(&new)], 99, 1..3);
    let denied = machine.denied[&new.key].clone();
    let judged = status::judge(&new, &machine.instances, Some(&denied), at(30)).expect("says what it does");
    let ready = condition::get(&judged.conditions, ConditionType::Ready).expect("a condition");
    assert!(ready.message.starts_with("Taking over the service's own GPU"), "{}", ready.message);
    let stalled = status::judge(&judged, &machine.instances, Some(&denied), at(70)).expect("gives up");
    assert!(status::is_stalled(&stalled), "{stalled:?}");
    hand_over(&mut machine, &[intent(&old), intent(&stalled)], 99, 70..72);
    assert!(machine.draining.is_empty(), "the old one takes requests again");
    let idle = Intent { needed: 0, ..intent(&old) };
    machine.idle_since.insert(machine.instances[0].spec.id.clone(), at(72));
    let counts = hand_over(&mut machine, &[idle, intent(&stalled)], 72, 72..80);
    assert_eq!((counts[4], counts.last()), ((1, 0), Some(&(0, 1))), "a moment without requests is enough");
}

#[test]
fn b01_revisions_that_share_the_requests_and_the_only_gpu_take_turns() {
    let (old, new) = (revision("ocr", 1, 1, Phase::Ready), revision("ocr", 2, 1, Phase::Ready));
    let mut machine = serving(&old);
    let of = |revision, needed| Intent { revision, wanted: 1, needed, min: 0, may_start: true, stopped: None };
    hand_over(&mut machine, &[of(&old, 1), of(&new, 1)], 9, 1..6);
    assert!(machine.draining.is_empty(), "its turn is not over");
    let counts = hand_over(&mut machine, &[of(&old, 1), of(&new, 1)], 9, 6..14);
    assert_eq!((counts[2], counts.last()), ((1, 0), Some(&(0, 1))), "drained, and gone when its request has ended");
    // What is only kept warm, by a minimum too, gives way at once; and takes nothing from what has requests.
    let warm = Intent { min: 1, ..of(&new, 0) };
    let counts = hand_over(&mut machine, &[of(&old, 1), warm], 0, 14..17);
    assert_eq!(counts.last(), Some(&(1, 0)));
    machine.instances[0].stamps.ready = Some(at(17));
    machine.in_flight.insert(machine.instances[0].spec.id.clone(), 1);
    assert_eq!(hand_over(&mut machine, &[of(&old, 1), warm], 0, 17..60).last(), Some(&(1, 0)));
}

#[test]
fn s05_a_ready_revision_tells_what_its_instances_fail_for_and_stays_ready() {
    let mut revision = revision("ocr", 1, 1, Phase::Ready);
    condition::set(&mut revision.conditions, Condition::met(ConditionType::Ready, at(0)));
    condition::set(&mut revision.conditions, Condition::met(ConditionType::ContainerHealthy, at(0)));
    let fails = Fares { fails: Some(("ContainerExited", "Container 'a' called exit(9).")), ..Fares::default() };
    let told = serving::told(&revision, fails, at(5)).expect("it changes");
    let of = |revision: &Revision, kind| condition::get(&revision.conditions, kind).expect("there is one").clone();
    let healthy = of(&told, ConditionType::ContainerHealthy);
    assert_eq!((healthy.status, &*healthy.reason), (Status::False, "ContainerExited"));
    assert_eq!(healthy.message, "Container 'a' called exit(9).");
    assert_eq!(of(&told, ConditionType::Ready), of(&revision, ConditionType::Ready));
    assert_eq!(serving::told(&told, fails, at(6)), None, "it is said once");
    assert_eq!(serving::told(&told, Fares::default(), at(7)), None, "at zero nobody knows");
    let again = serving::told(&told, Fares { serves: true, ..Fares::default() }, at(8)).expect("it changes back");
    assert_eq!(of(&again, ConditionType::ContainerHealthy).status, Status::True);
}

#[test]
fn b02_a_ready_revision_at_zero_tells_that_it_waits_for_a_gpu() {
    let (ocr, chat) = (revision("ocr", 1, 1, Phase::Ready), revision("chat", 1, 1, Phase::Ready));
    let mut machine = Machine::default();
    machine.step(&[(ocr.clone(), 1)], 1, 1, at(0));
    machine.step(&[(ocr, 1), (chat.clone(), 1)], 1, 1, at(1));
    let waits = Fares { waits: machine.denied.get(&chat.key), ..Fares::default() };
    assert_eq!(serving::told(&chat, waits, at(2)), None, "a short wait is not told");
    let told = serving::told(&chat, waits, at(3)).expect("it changes");
    let available = condition::get(&told.conditions, ConditionType::ResourcesAvailable).expect("a condition");
    assert_eq!((available.status, &*available.reason), (Status::Unknown, "WaitingForGpu"));
    assert!(available.message.contains("ocr (1) since"), "{}", available.message);
    let over = serving::told(&told, Fares::default(), at(4)).expect("it changes back");
    let available = condition::get(&over.conditions, ConditionType::ResourcesAvailable).expect("a condition");
    assert_eq!(available.status, Status::True);
    assert_eq!(serving::told(&revision("chat", 1, 1, Phase::Deploying), waits, at(9)), None, "that is told otherwise");
}

/// Warm, `chat` with a request that waits: who has how many instances after each second.
fn give_way(machine: &mut Machine, ocr_min: u32, seconds: std::ops::Range<i64>) -> Vec<(usize, usize)> {
    let (ocr, chat) = (revision("ocr", 1, 1, Phase::Ready), revision("chat", 2, 1, Phase::Ready));
    let mut counts = Vec::new();
    for second in seconds {
        let intents = [
            Intent { revision: &ocr, wanted: 1, needed: ocr_min, min: ocr_min, may_start: true, stopped: None },
            Intent { revision: &chat, wanted: 1, needed: 1, min: 0, may_start: true, stopped: None },
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
            .map(|(n, revision)| Intent {
                revision,
                wanted: 1,
                needed: needed(n),
                min: 0,
                may_start: true,
                stopped: None,
            })
            .collect();
        machine.step_with(&intents, 2, 2, at(second));
        let live: Vec<usize> = all.iter().map(|revision| machine.live(revision)).collect();
        assert!(second > 7 || live[1] == 1, "b is not needed for d: {live:?}");
        assert!(live[3] >= live[2], "d has waited longer: {live:?}");
    }
    assert_eq!(all.iter().map(|revision| machine.live(revision)).collect::<Vec<_>>(), [0, 0, 1, 1]);
}
