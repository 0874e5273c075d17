//! Sandboxes made ahead of need, so that a service at zero wakes sooner.
//!
//! A sandbox that stands by is a container up to its program, or up to its GPU where it has one, of an instance that
//! does not exist yet: nothing of it shows, it holds no GPU, and it ends with homerun. The first instance that is
//! like it in everything but its id, its GPUs and its time takes it over, with its folders. Which ones are worth
//! having is for others to decide.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use homerun_model::Timestamp;
use homerun_model::instance::InstanceSpec;
use homerun_model::names::InstanceId;
use tokio::sync::Notify;

use super::helpers::{self, Helper};
use super::{Shared, job, start};

/// How folders of sandboxes that stand by are named; no instance is named so.
const PREFIX: &str = ".standby-";

/// How long one that could not be made is left alone.
const RETRIED: Duration = Duration::from_secs(60);

/// The sandboxes that stand by.
#[derive(Default)]
pub(super) struct Standbys {
    state: Mutex<State>,
    changed: Notify,
    /// Held while one is made or ended.
    working: Mutex<()>,
}

#[derive(Default)]
struct State {
    /// What there should be.
    wanted: Vec<InstanceSpec>,
    ready: Vec<Standby>,
    /// Those of the wanted that could not be made, and when it was tried.
    failed: Vec<(InstanceSpec, Instant)>,
}

/// One sandbox that stands by.
pub(super) struct Standby {
    like: InstanceSpec,
    /// The name of its folders.
    name: String,
    /// By the container's index.
    containers: BTreeMap<usize, Helper>,
}

/// What instances that the same sandbox would do for have in common.
fn like(mut spec: InstanceSpec) -> InstanceSpec {
    spec.id = InstanceId::new("");
    spec.gpus.clear();
    spec.decided_at = Timestamp::UNIX_EPOCH;
    spec
}

impl Standbys {
    /// Changes what there should be.
    pub(super) fn want(&self, specs: Vec<InstanceSpec>) {
        let wanted: Vec<InstanceSpec> = specs.into_iter().map(like).collect();
        let mut state = self.lock();
        state.failed.retain(|(spec, _)| wanted.contains(spec));
        let retried = state.failed.iter().any(|(_, tried)| tried.elapsed() >= RETRIED);
        let due = retried || state.wanted != wanted || state.ready.iter_mut().any(|standby| !standby.is_alive());
        state.wanted = wanted;
        drop(state);
        if due {
            self.changed.notify_one();
        }
    }

    /// A sandbox for an instance, if one stands by.
    pub(super) fn take(&self, spec: &InstanceSpec) -> Option<Standby> {
        let like = like(spec.clone());
        let mut state = self.lock();
        let index = state.ready.iter_mut().position(|standby| standby.like == like && standby.is_alive())?;
        Some(state.ready.swap_remove(index))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What brings reality nearer to what is wanted.
enum Step {
    End(Standby),
    Make(InstanceSpec),
}

impl State {
    fn next(&mut self, now: Instant) -> Option<Step> {
        let surplus =
            self.ready.iter_mut().position(|standby| !self.wanted.contains(&standby.like) || !standby.is_alive());
        if let Some(index) = surplus {
            return Some(Step::End(self.ready.swap_remove(index)));
        }
        let left_alone =
            |spec: &InstanceSpec| self.failed.iter().any(|(failed, tried)| failed == spec && now < *tried + RETRIED);
        let missing =
            |spec: &&InstanceSpec| !left_alone(spec) && !self.ready.iter().any(|standby| standby.like == **spec);
        self.wanted.iter().find(missing).cloned().map(Step::Make)
    }

    /// Notes that one could not be made, and says whether that is news.
    fn fails(&mut self, spec: InstanceSpec, now: Instant) -> bool {
        let before = self.failed.len();
        self.failed.retain(|(failed, _)| *failed != spec);
        let news = self.failed.len() == before;
        self.failed.push((spec, now));
        news
    }

    fn made(&mut self, standby: Standby) {
        self.failed.retain(|(failed, _)| *failed != standby.like);
        self.ready.push(standby);
    }
}

impl Shared {
    /// Makes and ends sandboxes as they are wanted, until the task is dropped.
    pub(super) async fn keep_standbys(self: Arc<Self>) {
        loop {
            self.standbys.changed.notified().await;
            let shared = self.clone();
            // It fails only by a panic, which has been printed.
            let _ = tokio::task::spawn_blocking(move || while shared.step() {}).await;
        }
    }

    /// Does one thing; `false` if there was nothing to do.
    fn step(&self) -> bool {
        let _working = self.standbys.working.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(step) = self.standbys.lock().next(Instant::now()) else {
            return false;
        };
        match step {
            Step::End(standby) => self.end_standby(standby),
            Step::Make(spec) => match Standby::make(self, &spec) {
                Ok(standby) => self.standbys.lock().made(standby),
                Err(message) => {
                    let revision = spec.revision.name.clone();
                    // Once: it is tried again for as long as it is wanted.
                    if self.standbys.lock().fails(spec, Instant::now()) {
                        tracing::warn!(%revision, message, "no sandbox could be made ahead of need");
                    }
                }
            },
        }
        true
    }

    /// A sandbox for an instance that is recorded already, with its folders.
    pub(super) fn take_standby(&self, spec: &InstanceSpec) -> Option<Standby> {
        let standby = self.standbys.take(spec)?;
        match standby.move_in(self, &spec.id) {
            Ok(()) => Some(standby),
            Err(error) => {
                tracing::warn!(instance = %spec.id, %error, "a sandbox that stood by cannot be used");
                self.end_standby(standby);
                None
            }
        }
    }

    /// Ends all of them, also one that is being made, and has no other made.
    pub(super) fn end_standbys(&self) {
        self.standbys.want(Vec::new());
        while self.step() {}
    }

    /// Ends one, or what is left of it.
    pub(super) fn end_standby(&self, standby: Standby) {
        let name = standby.name.clone();
        drop(standby.containers);
        start::reap_children_of_dead_helpers(self);
        remove(&[self.records.folder(&InstanceId::new(&name)), self.volumes.join(&name)]);
    }

    /// Removes the folders of sandboxes that stood by for an earlier homerun.
    pub(super) fn forget_standbys(&self) {
        let entries = std::fs::read_dir(&self.volumes).into_iter().flatten().flatten();
        let theirs = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(PREFIX));
        remove(&theirs.map(|entry| entry.path()).collect::<Vec<_>>());
    }
}

fn remove(folders: &[PathBuf]) {
    for folder in folders {
        if let Err(error) = std::fs::remove_dir_all(folder)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(folder = %folder.display(), %error, "a folder could not be removed");
        }
    }
}

impl Standby {
    /// Makes the containers of one, those that start first before those that join them. Blocks.
    fn make(shared: &Shared, spec: &InstanceSpec) -> Result<Self, String> {
        let name = helpers::random_name().map_err(|error| error.to_string())?;
        let mut standby = Self { like: spec.clone(), name: format!("{PREFIX}{name}"), containers: BTreeMap::new() };
        match standby.make_containers(shared) {
            Ok(()) => Ok(standby),
            Err(message) => {
                shared.end_standby(standby);
                Err(message)
            }
        }
    }

    fn make_containers(&mut self, shared: &Shared) -> Result<(), String> {
        let mut join = None;
        for index in self.like.start_waves.clone().into_iter().flatten() {
            let id = InstanceId::new(&self.name);
            let folder = shared.records.folder(&id);
            job::prepare(&job::container_folder(&folder, index)).map_err(|error| error.to_string())?;
            let image = start::image(shared, &self.like, index)?;
            let around = start::surroundings(shared, (&self.like, &id), &image, &folder);
            let around = job::Surroundings { join, stands_by: true, ..around };
            let (job, limits) = job::make(index, &around).map_err(|error| error.to_string())?;
            let helper = shared.helpers.take().map_err(|error| error.to_string())?;
            let (helper, process) = helper.prepare(&limits, &job).map_err(|error| error.to_string())?;
            self.containers.insert(index, helper);
            // Without a process there is nothing that the others could join.
            let Some(process) = join.or(process) else { break };
            join = Some(process);
        }
        Ok(())
    }

    fn is_alive(&mut self) -> bool {
        self.containers.values_mut().all(Helper::is_alive)
    }

    /// Gives its folders to an instance.
    pub(super) fn move_in(&self, shared: &Shared, id: &InstanceId) -> io::Result<()> {
        let (from, to) = (shared.records.folder(&InstanceId::new(&self.name)), shared.records.folder(id));
        for entry in std::fs::read_dir(&from)? {
            let entry = entry?;
            std::fs::rename(entry.path(), to.join(entry.file_name()))?;
        }
        std::fs::remove_dir(&from)?;
        move_if_there(&shared.volumes.join(&self.name), &shared.volumes.join(id.as_str()))?;
        // The host's name servers may be others by now.
        job::network_files(&to).map(drop)
    }

    /// The container with this index, if it was made and not taken yet.
    pub(super) fn container(&mut self, index: usize) -> Option<Helper> {
        self.containers.remove(&index)
    }
}

fn move_if_there(from: &Path, to: &Path) -> io::Result<()> {
    match std::fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b03_one_that_could_not_be_made_is_tried_again_after_a_pause_and_told_of_once() {
        let spec: InstanceSpec = serde_json::from_value(serde_json::json!({
            "id": "", "revision": {"project": "demo", "region": "us-central1", "name": "a"}, "service": "a",
            "containers": [], "start_waves": [], "volumes": [], "gpus": [], "gpu_zonal_redundancy": false,
            "ingress": {"port": 8080, "protocol": "http1"}, "decided_at": "1970-01-01T00:00:00Z",
        }))
        .expect("a spec");
        let mut state = State { wanted: vec![spec.clone()], ..State::default() };
        let now = Instant::now();
        assert!(matches!(state.next(now), Some(Step::Make(_))));
        assert!(state.fails(spec.clone(), now), "the first time it is news");
        assert!(state.next(now + RETRIED / 2).is_none());
        assert!(matches!(state.next(now + RETRIED), Some(Step::Make(_))));
        assert!(!state.fails(spec, now + RETRIED), "the second time it is not");
        assert!(state.next(now + RETRIED).is_none());
    }
}
