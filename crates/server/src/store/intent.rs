//! What users want, in memory: every service with its revisions, as the database holds them.
//!
//! The store reads it once when it opens and changes it with every write, in the order of the
//! transactions, so nobody who reads waits for the disk. Loops learn from a [`Feed`] which services have
//! changed since they last looked.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use homerun_model::names::{ProjectId, Region, RevisionKey, ServiceKey, ServiceName};
use homerun_model::revision::Revision;
use homerun_model::service::{Service, ServiceStatus};
use tokio::sync::Notify;

use super::Versioned;
use super::domains::Domains;

/// A service and its revisions.
#[derive(Debug, Clone)]
pub struct ServiceIntent {
    /// The service.
    pub service: Versioned<Service>,
    /// All of its revisions, oldest first.
    pub revisions: Vec<Arc<Versioned<Revision>>>,
}

impl ServiceIntent {
    /// Its revisions without their versions, oldest first.
    pub fn revisions(&self) -> impl Iterator<Item = &Revision> {
        self.revisions.iter().map(|stored| &stored.value)
    }
}

/// Services of a project stand by name, then region.
type Place = (ServiceName, Region);

/// Everything that is wanted.
#[derive(Default)]
pub(super) struct Intent {
    projects: BTreeMap<ProjectId, BTreeMap<Place, Arc<ServiceIntent>>>,
    /// Which service a revision belongs to.
    owners: HashMap<RevisionKey, ServiceName>,
    pub(super) domains: Domains,
}

impl Intent {
    pub(super) fn get(&self, key: &ServiceKey) -> Option<&Arc<ServiceIntent>> {
        self.projects.get(&key.project)?.get(&(key.name.clone(), key.region.clone()))
    }

    pub(super) fn owner(&self, key: &RevisionKey) -> Option<ServiceKey> {
        let name = self.owners.get(key)?.clone();
        Some(ServiceKey { project: key.project.clone(), region: key.region.clone(), name })
    }

    pub(super) fn revision(&self, key: &RevisionKey) -> Option<&Arc<Versioned<Revision>>> {
        self.get(&self.owner(key)?)?.revisions.iter().find(|stored| stored.value.key.name == key.name)
    }

    /// Every service, by project, name and region.
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<ServiceIntent>> {
        self.projects.values().flat_map(BTreeMap::values)
    }

    /// The services of a project from a place on, by name and region.
    pub(super) fn from(&self, project: &ProjectId, start: Bound<Place>) -> impl Iterator<Item = &Arc<ServiceIntent>> {
        self.projects
            .get(project)
            .into_iter()
            .flat_map(move |services| services.range((start.clone(), Bound::Unbounded)).map(|(_, intent)| intent))
    }

    pub(super) fn put_service(&mut self, service: Versioned<Service>) {
        let key = &service.value.key;
        let services = self.projects.entry(key.project.clone()).or_default();
        match services.entry((key.name.clone(), key.region.clone())) {
            Entry::Occupied(mut present) => Arc::make_mut(present.get_mut()).service = service,
            Entry::Vacant(free) => {
                free.insert(Arc::new(ServiceIntent { service, revisions: Vec::new() }));
            }
        }
    }

    pub(super) fn put_status(&mut self, key: &ServiceKey, status: ServiceStatus) {
        if let Some(intent) = self.get_mut(key) {
            intent.service.value.status = status;
        }
    }

    /// Adds a revision, or replaces it.
    pub(super) fn put_revision(&mut self, revision: Versioned<Revision>) {
        let Some(intent) = self.get_mut(&revision.value.service_key()) else {
            return;
        };
        let (revisions, name) = (&mut intent.revisions, &revision.value.key.name);
        match revisions.iter().position(|stored| &stored.value.key.name == name) {
            Some(index) => revisions[index] = Arc::new(revision),
            None => {
                let (key, service) = (revision.value.key.clone(), revision.value.service.clone());
                let at = revisions.partition_point(|stored| stored.value.generation <= revision.value.generation);
                revisions.insert(at, Arc::new(revision));
                self.owners.insert(key, service);
            }
        }
    }

    /// Removes a revision; the service that it belonged to.
    pub(super) fn delete_revision(&mut self, key: &RevisionKey) -> Option<ServiceKey> {
        let owner = self.owner(key)?;
        self.owners.remove(key);
        self.get_mut(&owner)?.revisions.retain(|stored| stored.value.key.name != key.name);
        Some(owner)
    }

    /// Removes a service with its revisions.
    pub(super) fn delete_service(&mut self, key: &ServiceKey) {
        let services = self.projects.get_mut(&key.project);
        let gone = services.and_then(|services| services.remove(&(key.name.clone(), key.region.clone())));
        for revision in gone.iter().flat_map(|intent| intent.revisions()) {
            self.owners.remove(&revision.key);
        }
    }

    /// The service to be changed. Who still reads the one before keeps it as it was.
    fn get_mut(&mut self, key: &ServiceKey) -> Option<&mut ServiceIntent> {
        let services = self.projects.get_mut(&key.project)?;
        services.get_mut(&(key.name.clone(), key.region.clone())).map(Arc::make_mut)
    }
}

/// The services that one loop has still to look at. At first that is every service; then each that is
/// written, once however often that happens. None is forgotten, however long the loop does not look.
pub struct Feed {
    pub(super) pending: Arc<Pending>,
}

#[derive(Default)]
pub(super) struct Pending {
    keys: Mutex<BTreeSet<ServiceKey>>,
    wake: Notify,
}

impl Pending {
    pub(super) fn add(&self, keys: impl IntoIterator<Item = ServiceKey>) {
        self.lock().extend(keys);
        self.wake.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<ServiceKey>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Feed {
    /// Returns when something was written since this last returned.
    pub async fn changed(&self) {
        self.pending.wake.notified().await;
    }

    /// Takes the services to look at. One that the store no longer has was deleted.
    pub fn take(&self) -> BTreeSet<ServiceKey> {
        std::mem::take(&mut *self.pending.lock())
    }

    /// Gives back services that could not be dealt with; they come with the next [`take`](Self::take),
    /// but wake nobody.
    pub fn put_back(&self, keys: BTreeSet<ServiceKey>) {
        self.pending.lock().extend(keys);
    }
}
