//! Which instances to start, drain, stop and forget so that what runs becomes what is wanted.
//!
//! An instance leaves in two steps. Draining takes it out of the route table, so that no new request
//! reaches it; once none is in flight it is stopped. So an instance that serves a request is never
//! stopped, and one that is needed again before it was stopped is simply kept.

use std::collections::{BTreeMap, BTreeSet};

use chrono::TimeDelta;

use crate::Timestamp;
use crate::billing::budget::Exceeded;
use crate::instance::{InstanceSpec, InstanceState, ObservedInstance};
use crate::names::{InstanceId, RevisionKey};
use crate::plan::place::{Denied, DeniedCause, Ledger};
use crate::plan::{give_way, start, status};
use crate::quota::Quotas;
use crate::revision::{Phase, Revision};

/// What is wanted of a revision.
#[derive(Debug, Clone, Copy)]
pub struct Intent<'a> {
    /// The revision.
    pub revision: &'a Revision,
    /// Instances that the scaler wants, those that are kept warm included.
    pub wanted: u32,
    /// Instances that requests need now. No more than these or the minimum are started.
    pub needed: u32,
    /// Instances that never make room for others.
    pub min: u32,
    /// Whether new instances may be started, `false` while a failing revision is left alone for a while.
    pub may_start: bool,
    /// A budget that keeps new instances from being started.
    pub stopped: Option<&'a Exceeded>,
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
    /// When instances that have no request ended their last one.
    pub idle_since: &'a BTreeMap<InstanceId, Timestamp>,
    /// Who was denied a GPU by the plan before.
    pub denied: &'a BTreeMap<RevisionKey, Denied>,
    /// How long an instance is idle before it makes room for another service that waits for its GPU; `None`
    /// if it never does.
    pub grace: Option<TimeDelta>,
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
    let yielding = give_way::yielding(intents, seen, ledger, quotas, now);
    leave(intents, seen, &yielding, &mut plan);
    let mut missing: Vec<Growth<'_>> =
        intents.iter().filter_map(|intent| Growth::of(intent, seen, &yielding, &mut plan)).collect();
    let turn = |growth: &Growth<'_>| turn(growth.revision, growth.have, seen, now);
    while let Some(next) = missing.iter().enumerate().min_by_key(|(_, growth)| turn(growth)).map(|(index, _)| index) {
        let growth = &mut missing[next];
        let granted = match growth.stopped {
            Some(exceeded) => Err(Box::new(Denied {
                cause: DeniedCause::Budget(exceeded.clone()),
                holders: Vec::new(),
                others: None,
                since: now,
            })),
            None => ledger.grant(growth.revision, quotas, now),
        };
        match granted.map(|gpus| start::instance(growth.revision, new_id(growth.revision), gpus, now)) {
            Ok(Some(spec)) => {
                plan.actions.push(Action::Start(Box::new(spec)));
                growth.have += 1;
            }
            Ok(None) => growth.have = growth.want,
            Err(denied) => {
                plan.denied.insert(growth.revision.key.clone(), explained(*denied, growth.revision, seen));
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
    stopped: Option<&'a Exceeded>,
}

impl<'a> Growth<'a> {
    /// `None` if it has enough; draining instances are kept before new ones are started.
    fn of(intent: &Intent<'a>, seen: Seen<'_>, yielding: &BTreeSet<InstanceId>, plan: &mut Plan) -> Option<Self> {
        let want = wanted(intent);
        let mut have = active(intent.revision, seen).count() as u32;
        for instance in of_revision(intent.revision, seen) {
            let id = &instance.spec.id;
            let drains = instance.state == InstanceState::Ready && seen.draining.contains(id);
            if have < want && drains && !yielding.contains(id) {
                plan.actions.push(Action::Keep(id.clone()));
                have += 1;
            }
        }
        let want = want.min(needed(intent));
        (have < want && intent.may_start).then_some(Self {
            revision: intent.revision,
            have,
            want,
            stopped: intent.stopped,
        })
    }
}

/// Who comes first. What has served before comes before a deployment that has failed for want of a GPU and
/// only waits on; else the fewest instances, then what is to be proven, then who has waited longest.
pub(super) fn turn(revision: &Revision, have: u32, seen: Seen<'_>, now: Timestamp) -> Turn {
    let since = seen.denied.get(&revision.key).map_or(now, |denied| denied.since);
    let stalled = status::is_stalled(revision);
    Turn { stalled, have, proven: revision.phase != Phase::Deploying, since, created_at: revision.created_at }
}

/// See [`turn`]: the least comes first, field by field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Turn {
    stalled: bool,
    have: u32,
    proven: bool,
    since: Timestamp,
    created_at: Timestamp,
}

/// The denial as it is told: since when, and what the holders do.
fn explained(mut denied: Denied, revision: &Revision, seen: Seen<'_>) -> Denied {
    denied.since = seen.denied.get(&revision.key).map_or(denied.since, |before| before.since);
    for holder in &mut denied.holders {
        let own = |instance: &&ObservedInstance| {
            let of = &instance.spec;
            of.service == holder.service
                && of.revision.project == revision.key.project
                && of.revision.region == revision.key.region
                && !of.gpus.is_empty()
        };
        holder.requests = seen.instances.iter().filter(own).map(|instance| busy(instance, seen)).sum();
    }
    denied
}

/// A revision to be proven needs one instance whatever the scaler says; a failed one needs none.
fn wanted(intent: &Intent<'_>) -> u32 {
    match intent.revision.phase {
        Phase::Deploying => intent.wanted.max(1),
        Phase::Ready => intent.wanted,
        Phase::Failed => 0,
    }
}

/// Instances that are started if they are not there.
pub(super) fn needed(intent: &Intent<'_>) -> u32 {
    let needed = intent.needed.max(intent.min);
    if intent.revision.phase == Phase::Deploying { needed.max(1) } else { needed }
}

/// Everything that makes instances fewer.
fn leave(intents: &[Intent<'_>], seen: Seen<'_>, yielding: &BTreeSet<InstanceId>, plan: &mut Plan) {
    for instance in seen.instances {
        let id = &instance.spec.id;
        if instance.state.is_over() {
            plan.actions.push(Action::Remove(id.clone()));
        } else if yielding.contains(id) || !intents.iter().any(|intent| intent.revision.key == instance.spec.revision) {
            retire(instance, seen, plan);
        }
    }
    for intent in intents {
        let (mut staying, draining): (Vec<_>, Vec<_>) = of_revision(intent.revision, seen)
            .filter(|instance| !yielding.contains(&instance.spec.id) && lives(instance))
            .partition(|instance| !seen.draining.contains(&instance.spec.id));
        let wanted = wanted(intent) as usize;
        let surplus = staying.len().saturating_sub(wanted);
        // What was begun for a request becomes ready and is idle for its time, even if the request has gone: else
        // a service that starts slowly might never be up.
        staying.retain(|instance| intent.revision.phase != Phase::Ready || instance.state == InstanceState::Ready);
        // Those that take no requests go first, of the others the newest idle ones: the oldest have the warmest caches.
        staying.sort_by_key(|instance| {
            (instance.takes_requests(), busy(instance, seen), std::cmp::Reverse(instance.spec.decided_at))
        });
        staying.into_iter().take(surplus).for_each(|instance| retire(instance, seen, plan));
        // Those that drain and are not wanted back.
        let back = wanted.saturating_sub(active(intent.revision, seen).count());
        draining.into_iter().skip(back).for_each(|instance| retire(instance, seen, plan));
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

pub(super) fn of_revision<'a>(revision: &'a Revision, seen: Seen<'a>) -> impl Iterator<Item = &'a ObservedInstance> {
    seen.instances.iter().filter(|instance| instance.spec.revision == revision.key)
}

/// Instances that serve or will.
fn active<'a>(revision: &'a Revision, seen: Seen<'a>) -> impl Iterator<Item = &'a ObservedInstance> {
    of_revision(revision, seen)
        .filter(|instance| lives(instance))
        .filter(move |instance| !seen.draining.contains(&instance.spec.id))
}

pub(super) fn lives(instance: &ObservedInstance) -> bool {
    matches!(instance.state, InstanceState::Creating | InstanceState::Starting | InstanceState::Ready)
}

pub(super) fn busy(instance: &ObservedInstance, seen: Seen<'_>) -> u32 {
    seen.in_flight.get(&instance.spec.id).copied().unwrap_or(0)
}
