//! Which idle instances make room for a revision that waits for a GPU.
//!
//! Two ways. An idle instance of the *same* service gives way at once to a revision of it that is to be
//! proven: it would lose its requests to it anyway. An idle instance of *another* service of the project
//! gives way after a grace (row B02): it is warm for a request that may come, while there is one that has.

use std::collections::{BTreeMap, BTreeSet};

use crate::Timestamp;
use crate::instance::{InstanceState, ObservedInstance};
use crate::names::{InstanceId, RevisionKey};
use crate::plan::place::{DeniedCause, Ledger};
use crate::plan::rollout::{Intent, Seen, busy, lives, of_revision, turn};
use crate::quota::Quotas;
use crate::revision::{Phase, Revision};

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
    for claim in claims {
        let Err(denied) = ledger.grant(claim.revision, quotas, now) else {
            continue;
        };
        let sibling = (claim.revision.phase == Phase::Deploying).then(|| idle_sibling(claim.revision, seen)).flatten();
        if let Some(sibling) = sibling.filter(|sibling| !yielding.contains(*sibling)) {
            yielding.insert(sibling.clone());
            continue;
        }
        let helps = |instance: &ObservedInstance| match (&denied.cause, ledger.key_of(&instance.spec)) {
            (DeniedCause::Quota { key, .. }, Some(held)) => held == *key,
            (DeniedCause::Devices { gpu, region }, Some(held)) => {
                held.project == claim.revision.key.project && held.gpu == *gpu && held.region == *region
            }
            (_, None) => false,
        };
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

/// Whether a revision that has no instance at all wants one for more than to keep it warm.
fn claims(intent: &Intent<'_>, seen: Seen<'_>) -> bool {
    intent.may_start
        && (intent.needed > 0 || intent.revision.phase == Phase::Deploying)
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

/// See [`yielding`]. None while one that has made room is still stopping.
fn idle_sibling<'a>(revision: &Revision, seen: Seen<'a>) -> Option<&'a InstanceId> {
    let siblings = || {
        seen.instances.iter().filter(|other| {
            let of = &other.spec;
            of.service == revision.service
                && of.revision != revision.key
                && of.revision.project == revision.key.project
                && of.revision.region == revision.key.region
                && !of.gpus.is_empty()
        })
    };
    if siblings().any(|other| other.state == InstanceState::Stopping) {
        return None;
    }
    siblings()
        .filter(|other| other.state == InstanceState::Ready && busy(other, seen) == 0)
        .max_by_key(|other| seen.draining.contains(&other.spec.id))
        .map(|other| &other.spec.id)
}
