//! Has sandboxes made for revisions at zero that are likely to be woken.

use std::collections::{BTreeMap, BTreeSet};

use chrono::TimeDelta;
use homerun_model::Timestamp;
use homerun_model::instance::{InstanceSpec, ObservedInstance};
use homerun_model::names::{InstanceId, RevisionKey};
use homerun_model::plan::standby::{AtZero, Memory, standby};
use homerun_model::plan::start;
use homerun_model::revision::Revision;

use super::reconcile::wanted_revisions;
use crate::platform::Platform;

/// How many revisions are remembered for each sandbox that there may be: some of them are deleted or fail.
const REMEMBERED: usize = 4;
/// How long a look at the machine's memory is good for.
const FRESH: TimeDelta = TimeDelta::seconds(1);

/// What is remembered; all of it can be lost.
#[derive(Default)]
pub(super) struct Standby {
    /// When revisions last had an instance.
    used: BTreeMap<RevisionKey, Timestamp>,
    /// For which revisions a sandbox was to stand by when it was last looked.
    chosen: BTreeSet<RevisionKey>,
    memory: Option<(Timestamp, Memory)>,
}

impl Standby {
    /// Tells the backend what should stand by.
    pub(super) fn pass(&mut self, platform: &Platform, instances: &[ObservedInstance]) {
        let most = platform.config.services.standby;
        let now = platform.clock.now();
        let live: BTreeSet<&RevisionKey> =
            instances.iter().filter(|i| !i.state.is_over()).map(|instance| &instance.spec.revision).collect();
        self.used.extend(live.iter().map(|key| ((*key).clone(), now)));
        self.forget(live.len() + most as usize * REMEMBERED);
        let at_zero = self.at_zero(platform, &live);
        let chosen = match self.memory(platform, now).filter(|_| !at_zero.is_empty()) {
            Some(memory) => {
                let seen = at_zero.iter().map(|(key, (_, seen))| (key.clone(), *seen)).collect();
                standby(&seen, most, memory)
            }
            None => Vec::new(),
        };
        self.chosen = chosen.iter().cloned().collect();
        platform.backend.stand_by(chosen.iter().filter_map(|key| at_zero.get(key)).map(|(s, _)| s.clone()).collect());
    }

    /// Forgets what was used longest ago.
    fn forget(&mut self, most: usize) {
        while self.used.len() > most {
            let oldest = self.used.iter().min_by_key(|(_, used)| **used).map(|(key, _)| key.clone());
            oldest.map(|key| self.used.remove(&key));
        }
    }

    /// Revisions without instances that may have one at any moment, and what it would be.
    fn at_zero(
        &self,
        platform: &Platform,
        live: &BTreeSet<&RevisionKey>,
    ) -> BTreeMap<RevisionKey, (InstanceSpec, AtZero)> {
        let (waiting, failing) = {
            let state = platform.live.lock();
            (
                state.denied.keys().cloned().collect::<BTreeSet<_>>(),
                state.failures.keys().cloned().collect::<BTreeSet<_>>(),
            )
        };
        let known: Vec<RevisionKey> = self
            .used
            .keys()
            .chain(&waiting)
            .filter(|key| !live.contains(key) && !failing.contains(key))
            .cloned()
            .collect();
        let intents = platform.store.intents(&platform.store.owners(&known));
        let revisions = intents.iter().flat_map(|intent| wanted_revisions(intent));
        let spec = |revision: &Revision| {
            let seen = AtZero {
                waits: waiting.contains(&revision.key),
                used: self.used.get(&revision.key).copied(),
                stands_by: self.chosen.contains(&revision.key),
            };
            let spec = start::instance(revision, InstanceId::new(""), Vec::new(), platform.clock.now())?;
            Some((revision.key.clone(), (spec, seen)))
        };
        revisions.filter(|revision| known.contains(&revision.key)).filter_map(spec).collect()
    }

    fn memory(&mut self, platform: &Platform, now: Timestamp) -> Option<Memory> {
        if self.memory.is_none_or(|(seen, _)| now - seen >= FRESH) {
            self.memory = platform.backend.memory().map(|memory| (now, memory));
        }
        self.memory.map(|(_, memory)| memory)
    }
}
