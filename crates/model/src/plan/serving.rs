//! What is told of a revision after it has become ready: what its instances fail for, and what they wait for.
//!
//! Whether it is ready does not change by that: it has been proven, its service goes on, and clients that watch a
//! deployment see nothing of it. It is told by the condition of what is missing.

use chrono::TimeDelta;

use crate::Timestamp;
use crate::condition::{self, Condition, ConditionType, Status};
use crate::plan::place::{Denied, DeniedCause};
use crate::revision::{Phase, Revision};

/// A wait shorter than this is not told: revisions that share a GPU take turns.
const WORTH_TELLING: TimeDelta = TimeDelta::seconds(2);

/// How the instances of a revision fare.
#[derive(Debug, Clone, Copy, Default)]
pub struct Fares<'a> {
    /// What they have failed for lately, if it is not forgiven: a word and a sentence.
    pub fails: Option<(&'a str, &'a str)>,
    /// What they wait for.
    pub waits: Option<&'a Denied>,
    /// Whether one of them takes requests.
    pub serves: bool,
}

/// The revision with conditions that say so; `None` if they do already, or it is not ready.
pub fn told(revision: &Revision, fares: Fares<'_>, now: Timestamp) -> Option<Revision> {
    if revision.phase != Phase::Ready {
        return None;
    }
    let mut conditions = revision.conditions.clone();
    match fares.fails {
        Some((reason, message)) => {
            condition::set(&mut conditions, Condition::failed(ConditionType::ContainerHealthy, reason, message, now));
        }
        // Without any instance nobody knows.
        None if fares.serves => restore(&mut conditions, ConditionType::ContainerHealthy, now),
        None => {}
    }
    match fares.waits {
        Some(denied) if now - denied.since >= WORTH_TELLING => {
            let (reason, message) = match denied.cause {
                DeniedCause::Budget(_) => ("BudgetExceeded", denied.to_string()),
                DeniedCause::Quota { .. } | DeniedCause::Devices { .. } => {
                    ("WaitingForGpu", format!("Waiting for a GPU. {denied}"))
                }
            };
            let waits = Condition::pending(ConditionType::ResourcesAvailable, reason, message, now);
            condition::set(&mut conditions, waits);
        }
        Some(_) => {}
        None => restore(&mut conditions, ConditionType::ResourcesAvailable, now),
    }
    (conditions != revision.conditions).then(|| Revision { conditions, ..revision.clone() })
}

/// It holds again, if it did not.
fn restore(conditions: &mut Vec<Condition>, kind: ConditionType, now: Timestamp) {
    if condition::get(conditions, kind).is_some_and(|condition| condition.status != Status::True) {
        condition::set(conditions, Condition::met(kind, now));
    }
}
