//! Writes what is to be said of revisions that have become ready.

use std::collections::BTreeSet;

use homerun_model::instance::ObservedInstance;
use homerun_model::names::ServiceKey;
use homerun_model::plan::serving::{self, Fares};
use homerun_model::plan::status;
use homerun_model::revision::{Phase, Revision};

use super::reconcile::addresses;
use crate::platform::Platform;
use crate::store::StoreError;

/// Whether their service addresses them, what their instances fail for, and what they wait for.
pub(super) fn write(
    platform: &Platform,
    keys: &BTreeSet<ServiceKey>,
    instances: &[ObservedInstance],
) -> Result<(), StoreError> {
    let now = platform.clock.now();
    for intent in platform.store.intents(keys) {
        for revision in intent.revisions().filter(|revision| revision.phase == Phase::Ready) {
            let active = status::activity(revision, addresses(&intent.service.value, revision), now);
            let told = told(platform, active.as_ref().unwrap_or(revision), instances);
            let Some(next) = told.or(active) else {
                continue;
            };
            match platform.store.update_revision(&next) {
                // It was deleted meanwhile.
                Ok(()) | Err(StoreError::Conflict) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

fn told(platform: &Platform, revision: &Revision, instances: &[ObservedInstance]) -> Option<Revision> {
    let live = platform.live.lock();
    let fares = Fares {
        fails: live.failures.get(&revision.key).map(|failures| (failures.reason, failures.message.as_str())),
        waits: live.denied.get(&revision.key),
        serves: instances.iter().any(|i| i.spec.revision == revision.key && i.takes_requests()),
    };
    serving::told(revision, fares, platform.clock.now())
}
