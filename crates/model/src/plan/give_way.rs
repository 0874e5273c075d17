//! Which idle instances make room for a revision that waits for a GPU.
//!
//! Two ways.
//!
//! *The hand-over* (row B01) is between revisions of the same service. To one that is to be proven an instance
//! gives way at once, busy or not: it is drained, its requests end, and those that come meanwhile wait. To one
//! that has requests waiting an idle instance gives way at once, and a busy one after its [`TURN`]; so revisions
//! that share the service's requests and its only GPU take turns.
//!
//! An idle instance of *another* service of the project gives way after a grace (row B02): it is warm for a
//! request that may come, while there is one that has.

use std::collections::{BTreeMap, BTreeSet};

use chrono::TimeDelta;

use crate::Timestamp;
use crate::instance::{InstanceState, ObservedInstance};
use crate::names::{InstanceId, RevisionKey};
use crate::plan::place::{DeniedCause, Ledger};
use crate::plan::rollout::{Intent, Seen, busy, lives, needed, of_revision, turn};
use crate::plan::status;
use crate::quota::Quotas;
use crate::revision::Phase;

/// How long a revision has a GPU of its service, and another one waits for it, before a busy instance is drained.
const TURN: TimeDelta = TimeDelta::seconds(5);

/// The instances that make room now.
pub(super) fn yielding(
    intents: &[Intent<'_>],
    seen: Seen<'_>,
    ledger: &Ledger,
    quotas: &Quotas,
    now: Timestamp,
) -> BTreeSet<InstanceId> {
    let mut claims: Vec<&Intent<'_>> = intents.iter().filter(|intent| claims(intent, seen)).collect();
    claims.sort_by_key(|intent| turn(intent.revision, 0, seen, now));
    // Each claim takes what is free, so that one GPU does not satisfy two.
    let mut ledger = ledger.clone();
    let mut yielding = BTreeSet::new();
    let mut coming = leaving(seen);
    let intent_of =
        |instance: &ObservedInstance| intents.iter().find(|intent| intent.revision.key == instance.spec.revision);
    for claim in claims {
        let Err(denied) = ledger.grant(claim.revision, quotas, now) else {
            continue;
        };
        let helps = |instance: &ObservedInstance| match (&denied.cause, ledger.key_of(&instance.spec)) {
            (DeniedCause::Quota { key, .. }, Some(held)) => held == *key,
            (DeniedCause::Devices { gpu, region }, Some(held)) => {
                held.project == claim.revision.key.project && held.gpu == *gpu && held.region == *region
            }
            // No GPU that comes free would help.
            (DeniedCause::Budget(_), _) | (_, None) => false,
        };
        let siblings: Vec<Sibling<'_>> = seen
            .instances
            .iter()
            .filter(|other| helps(other) && other.spec.service == claim.revision.service)
            .filter(|other| other.spec.revision != claim.revision.key)
            .map(|instance| Sibling { instance, intent: intent_of(instance) })
            .collect();
        if let Some(sibling) = hand_over(claim, &siblings, seen, now).filter(|sibling| !yielding.contains(*sibling)) {
            yielding.insert(sibling.clone());
            continue;
        }
        // What is on its way out already will do for one of those who wait.
        if let Some(index) = coming.iter().position(|instance| helps(instance)) {
            yielding.insert(coming.swap_remove(index).spec.id.clone());
            continue;
        }
        let spared = spared(intents, seen, &yielding);
        let idle = seen.instances.iter().filter(|instance| {
            helps(instance)
                && instance.spec.revision != claim.revision.key
                && spared.get(&instance.spec.revision).copied().unwrap_or(1) > 0
                && !yielding.contains(&instance.spec.id)
                && idle_since(instance, seen).is_some_and(|since| seen.grace.is_some_and(|grace| since + grace <= now))
        });
        yielding.extend(idle.min_by_key(|instance| idle_since(instance, seen)).map(|found| found.spec.id.clone()));
    }
    yielding
}

/// Whether a revision that has no instance at all is to have one.
fn claims(intent: &Intent<'_>, seen: Seen<'_>) -> bool {
    intent.may_start
        && intent.stopped.is_none()
        && needed(intent) > 0
        && !of_revision(intent.revision, seen).any(|instance| !instance.state.is_over())
}

/// Instances that have made room and are not gone yet.
fn leaving(seen: Seen<'_>) -> Vec<&ObservedInstance> {
    let idle = |instance: &ObservedInstance| busy(instance, seen) == 0 && seen.draining.contains(&instance.spec.id);
    seen.instances
        .iter()
        .filter(|instance| match instance.state {
            InstanceState::Stopping => true,
            InstanceState::Ready => idle(instance),
            _ => false,
        })
        .collect()
}

/// How many instances each revision has above its minimum.
fn spared(intents: &[Intent<'_>], seen: Seen<'_>, yielding: &BTreeSet<InstanceId>) -> BTreeMap<RevisionKey, u32> {
    let above = |intent: &Intent<'_>| {
        let stays = |instance: &&ObservedInstance| lives(instance) && !yielding.contains(&instance.spec.id);
        let stay = of_revision(intent.revision, seen).filter(stays).count();
        (intent.revision.key.clone(), u32::try_from(stay).unwrap_or(u32::MAX).saturating_sub(intent.min))
    };
    intents.iter().map(above).collect()
}

/// Since when a ready instance has had no request; `None` if it has one or is not ready.
fn idle_since(instance: &ObservedInstance, seen: Seen<'_>) -> Option<Timestamp> {
    let idle = instance.state == InstanceState::Ready && busy(instance, seen) == 0;
    idle.then(|| seen.idle_since.get(&instance.spec.id).copied().or(instance.stamps.ready)).flatten()
}

/// An instance of another revision of the claim's service, with what is wanted of that revision.
struct Sibling<'a> {
    instance: &'a ObservedInstance,
    intent: Option<&'a Intent<'a>>,
}

/// The instance of the same service that makes room for the claim. None while one that has made room is still
/// stopping.
fn hand_over<'a>(
    claim: &Intent<'_>,
    siblings: &[Sibling<'a>],
    seen: Seen<'_>,
    now: Timestamp,
) -> Option<&'a InstanceId> {
    let revision = claim.revision;
    let proving = revision.phase == Phase::Deploying;
    let stopping = siblings.iter().any(|other| other.instance.state == InstanceState::Stopping);
    if stopping || (!proving && claim.needed == 0) {
        return None;
    }
    let passed = |since: Option<Timestamp>| since.is_some_and(|since| since + TURN <= now);
    let waited = passed(seen.denied.get(&revision.key).map(|denied| denied.since));
    let drains = |other: &Sibling<'_>| seen.draining.contains(&other.instance.spec.id);
    let makes_room = |other: &&Sibling<'a>| {
        let is_proving = other.intent.is_some_and(|intent| intent.revision.phase == Phase::Deploying);
        // One that has just come up for requests that wait has not got them yet.
        let is_needed = busy(other.instance, seen) > 0 || other.intent.is_some_and(|intent| intent.needed > 0);
        other.instance.state == InstanceState::Ready
            && !is_proving
            && match (proving, status::is_stalled(revision)) {
                // Its deployment has failed: it is no reason to keep anybody waiting.
                (true, true) => passed(idle_since(other.instance, seen)),
                (true, false) => true,
                (false, _) => !is_needed || drains(other) || (waited && passed(other.instance.stamps.ready)),
            }
    };
    siblings
        .iter()
        .filter(makes_room)
        .max_by_key(|other| (drains(other), std::cmp::Reverse(busy(other.instance, seen))))
        .map(|other| &other.instance.spec.id)
}
