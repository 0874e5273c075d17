//! Which instances to start, drain, stop and forget so that what runs becomes what is wanted.
//!
//! An instance leaves in two steps. Draining takes it out of the route table, so that no new request
//! reaches it; once none is in flight it is stopped. So an instance that serves a request is never
//! stopped, and one that is needed again before it was stopped is simply kept.

use std::collections::{BTreeMap, BTreeSet};

use crate::Timestamp;
use crate::instance::{InstanceSpec, InstanceState, ObservedInstance};
use crate::names::{InstanceId, RevisionKey};
use crate::plan::place::{Denied, Ledger};
use crate::plan::start;
use crate::quota::Quotas;
use crate::revision::{Phase, Revision};

/// What is wanted of a revision.
#[derive(Debug, Clone, Copy)]
pub struct Intent<'a> {
    /// The revision.
    pub revision: &'a Revision,
    /// Instances that the scaler wants.
    pub wanted: u32,
    /// Whether new instances may be started, `false` while a failing revision is left alone for a while.
    pub may_start: bool,
}

/// What is seen.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// Every instance that the backend knows.
    pub instances: &'a [ObservedInstance],
    /// Those that were taken out of the route table.
    pub draining: &'a BTreeSet<InstanceId>,
    /// Requests in flight, where there are any.
    pub in_flight: &'a BTreeMap<InstanceId, u32>,
}

/// One thing to do. Each can be done again without harm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Start an instance.
    Start(Box<InstanceSpec>),
    /// Take an instance out of the route table.
    Drain(InstanceId),
    /// Put a draining instance back.
    Keep(InstanceId),
    /// Stop an instance that has no request.
    Stop(InstanceId),
    /// Forget an instance of which nothing is left.
    Remove(InstanceId),
}

/// What to do, and what could not be done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// What to do, in this order.
    pub actions: Vec<Action>,
    /// Revisions that want an instance and get none, and why.
    pub denied: BTreeMap<RevisionKey, Denied>,
}

/// Plans the next step. `new_id` makes an id that was never used before.
///
/// Waiting revisions are served one instance at a time, those with the fewest instances first, so no
/// revision waits while another grows by several; among equals a revision to be proven comes first.
pub fn rollout(
    intents: &[Intent<'_>],
    seen: Seen<'_>,
    (ledger, quotas): (&mut Ledger, &Quotas),
    now: Timestamp,
    new_id: &mut dyn FnMut(&Revision) -> InstanceId,
) -> Plan {
    let mut plan = Plan::default();
    leave(intents, seen, &mut plan);
    let mut missing: Vec<Growth<'_>> = intents.iter().filter_map(|intent| Growth::of(intent, seen, &mut plan)).collect();
    while let Some(next) = missing.iter().enumerate().min_by_key(|(_, growth)| growth.turn()).map(|(index, _)| index) {
        let growth = &mut missing[next];
        let granted = ledger.grant(growth.revision, quotas);
        match granted.map(|gpus| start::instance(growth.revision, new_id(growth.revision), gpus, now)) {
            Ok(Some(spec)) => {
                plan.actions.push(Action::Start(Box::new(spec)));
                growth.have += 1;
            }
            Ok(None) => growth.have = growth.want,
            Err(denied) => {
                if growth.revision.phase == Phase::Deploying {
                    plan.actions.extend(idle_sibling(growth.revision, seen).map(Action::Drain));
                }
                plan.denied.insert(growth.revision.key.clone(), denied);
                growth.have = growth.want;
            }
        }
        missing.retain(|growth| growth.have < growth.want);
    }
    plan
}

/// A revision that wants more instances than it has.
struct Growth<'a> {
    revision: &'a Revision,
    have: u32,
    want: u32,
}

impl<'a> Growth<'a> {
    /// `None` if it has enough; draining instances are kept before new ones are started.
    fn of(intent: &Intent<'a>, seen: Seen<'_>, plan: &mut Plan) -> Option<Self> {
        let want = wanted(intent);
        let mut have = active(intent.revision, seen).count() as u32;
        for instance in of_revision(intent.revision, seen) {
            let ready = instance.state == InstanceState::Ready;
            if have < want && ready && seen.draining.contains(&instance.spec.id) && !plan_stops(plan, &instance.spec.id) {
                plan.actions.push(Action::Keep(instance.spec.id.clone()));
                have += 1;
            }
        }
        (have < want && intent.may_start).then_some(Self { revision: intent.revision, have, want })
    }

    fn turn(&self) -> (u32, bool, Timestamp) {
        (self.have, self.revision.phase != Phase::Deploying, self.revision.created_at)
    }
}

/// A revision to be proven needs one instance whatever the scaler says; a failed one needs none.
fn wanted(intent: &Intent<'_>) -> u32 {
    match intent.revision.phase {
        Phase::Deploying => intent.wanted.max(1),
        Phase::Ready => intent.wanted,
        Phase::Failed => 0,
    }
}

/// Everything that makes instances fewer.
fn leave(intents: &[Intent<'_>], seen: Seen<'_>, plan: &mut Plan) {
    for instance in seen.instances {
        let id = &instance.spec.id;
        if instance.state.is_over() {
            plan.actions.push(Action::Remove(id.clone()));
        } else if !intents.iter().any(|intent| intent.revision.key == instance.spec.revision) {
            retire(instance, seen, plan);
        }
    }
    for intent in intents {
        let mut have: Vec<_> = active(intent.revision, seen).collect();
        // The newest idle ones go first: the oldest have the warmest caches.
        have.sort_by_key(|instance| (busy(instance, seen), std::cmp::Reverse(instance.spec.decided_at)));
        let surplus = have.len().saturating_sub(wanted(intent) as usize);
        for instance in have.into_iter().take(surplus) {
            retire(instance, seen, plan);
        }
        for instance in of_revision(intent.revision, seen) {
            let waits_for_nothing = seen.draining.contains(&instance.spec.id) && busy(instance, seen) == 0;
            let spare = active(intent.revision, seen).count() as u32 >= wanted(intent);
            if waits_for_nothing && spare && instance.state != InstanceState::Stopping {
                plan.actions.push(Action::Stop(instance.spec.id.clone()));
            }
        }
    }
}

/// The next step of an instance on its way out. One that is not ready yet has no request and needs no
/// draining.
fn retire(instance: &ObservedInstance, seen: Seen<'_>, plan: &mut Plan) {
    let id = instance.spec.id.clone();
    match instance.state {
        InstanceState::Creating | InstanceState::Starting => plan.actions.push(Action::Stop(id)),
        InstanceState::Ready if !seen.draining.contains(&id) => plan.actions.push(Action::Drain(id)),
        InstanceState::Ready if busy(instance, seen) == 0 => plan.actions.push(Action::Stop(id)),
        _ => {}
    }
}

/// An idle instance of another revision of the same service that holds a GPU: it makes room for the
/// revision to be proven, since it would lose its requests to it anyway.
fn idle_sibling(revision: &Revision, seen: Seen<'_>) -> Option<InstanceId> {
    seen.instances
        .iter()
        .filter(|other| other.spec.service == revision.service && other.spec.revision != revision.key)
        .filter(|other| other.spec.revision.project == revision.key.project && other.spec.revision.region == revision.key.region)
        .find(|other| other.state == InstanceState::Ready && !other.spec.gpus.is_empty() && busy(other, seen) == 0)
        .map(|other| other.spec.id.clone())
        .filter(|id| !seen.draining.contains(id))
}

fn plan_stops(plan: &Plan, id: &InstanceId) -> bool {
    plan.actions.contains(&Action::Stop(id.clone()))
}

fn of_revision<'a>(revision: &'a Revision, seen: Seen<'a>) -> impl Iterator<Item = &'a ObservedInstance> {
    seen.instances.iter().filter(|instance| instance.spec.revision == revision.key)
}

/// Instances that serve or will.
fn active<'a>(revision: &'a Revision, seen: Seen<'a>) -> impl Iterator<Item = &'a ObservedInstance> {
    of_revision(revision, seen)
        .filter(|instance| matches!(instance.state, InstanceState::Creating | InstanceState::Starting | InstanceState::Ready))
        .filter(move |instance| !seen.draining.contains(&instance.spec.id))
}

fn busy(instance: &ObservedInstance, seen: Seen<'_>) -> u32 {
    seen.in_flight.get(&instance.spec.id).copied().unwrap_or(0)
}
