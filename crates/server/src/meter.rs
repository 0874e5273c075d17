//! The meter: looks at instances and at what they have served, and writes down what that is billed for.
//!
//! The rules are `homerun_model::billing`'s. A look is durable as a whole before anything that it has seen ended may be
//! forgotten by the backend, so nothing is lost or counted twice whenever homerun dies.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use homerun_model::billing::{Billing, Book, Delta, Moment, Served, Shape, Sighting, Subject, SubjectId};
use homerun_model::instance::ObservedInstance;
use homerun_model::names::{DeviceId, GpuType, InstanceId, RevisionKey, ServiceKey};
use tokio::sync::Notify;

use crate::platform::Platform;
use crate::store::{Alive, Look, Result, UsageStore};

/// See the module's page.
pub struct Meter {
    store: UsageStore,
    state: Mutex<State>,
    /// Instances that are over and written down. Apart from the rest, so that nobody who asks waits for the disk.
    settled: Mutex<BTreeSet<InstanceId>>,
    /// Grows with every look that has written something.
    written: AtomicU64,
    /// Somebody waits for instances to be settled.
    pub(crate) wanted: Notify,
}

#[derive(Default)]
struct State {
    /// `None` until the first look.
    book: Option<Book>,
    /// What earlier looks have found and could not write.
    due: Vec<Delta>,
    /// What was served by instances that the book does not know yet.
    early: HashMap<InstanceId, Served>,
    /// Idle milliseconds of revisions whose subject is not known yet.
    idle: HashMap<RevisionKey, u64>,
    /// Of each revision whom its instances that start now are billed to, while that cannot change.
    subjects: BTreeMap<RevisionKey, SubjectId>,
}

impl Meter {
    /// A meter that has not looked yet.
    pub fn new(store: UsageStore) -> Self {
        Self {
            store,
            state: Mutex::default(),
            settled: Mutex::default(),
            written: AtomicU64::new(0),
            wanted: Notify::new(),
        }
    }

    /// What it has written.
    pub fn store(&self) -> &UsageStore {
        &self.store
    }

    /// How often something has been written: whoever reads what is written and what is pending reads both anew if
    /// that has changed meanwhile.
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    /// What has been used and is not in the roll-ups yet.
    pub fn pending(&self, now: Moment) -> Vec<Delta> {
        let state = self.lock();
        let mut pending = state.due.clone();
        pending.extend(state.book.iter().flat_map(|book| book.pending(now)));
        pending
    }

    /// Whether an instance that is over has been written down, so that it may be forgotten. If not, it will be soon.
    pub fn is_settled(&self, id: &InstanceId) -> bool {
        let settled = self.settled().contains(id);
        if !settled {
            self.wanted.notify_one();
        }
        settled
    }

    /// Looks once. `instances` are all that the backend knows.
    ///
    /// # Errors
    /// When the store fails; what could not be written is written with the next look.
    pub fn look(&self, platform: &Platform, instances: &[ObservedInstance]) -> Result<()> {
        let mut state = self.lock();
        let state = &mut *state;
        let now = Moment { wall: platform.clock.now(), steady: platform.clock.steady() };
        let first = state.book.is_none();
        if first {
            let (open, alive) = self.store.left()?;
            let same_boot = alive.as_ref().is_some_and(|alive| alive.boot == boot());
            // What an earlier start of the machine had has ended with it, whatever the records say.
            let present = instances.iter().filter(|_| same_boot).map(|instance| instance.spec.id.clone()).collect();
            let (book, due) = Book::resume(open, (alive.map(|alive| alive.moment), same_boot), &present);
            (state.book, state.due) = (Some(book), due);
        }
        let usage = platform.ingress.take_usage();
        for (id, served) in usage.served {
            let early = state.early.entry(id).or_default();
            early.steps += served.steps;
            early.requests += served.requests;
        }
        for (revision, millis) in usage.idle {
            *state.idle.entry(revision).or_default() += millis;
        }
        // Those that have ended before those that replace them.
        let (over, others): (Vec<_>, Vec<_>) = instances.iter().partition(|instance| is_over(instance));
        for instance in over.into_iter().chain(others) {
            self.see(platform, state, instance, now)?;
        }
        let Some(book) = &mut state.book else { return Ok(()) };
        state.idle.retain(|revision, millis| match state.subjects.get(revision) {
            Some(subject) => {
                book.idle(*subject, *millis);
                false
            }
            None => instances.iter().any(|instance| instance.spec.revision == *revision),
        });
        state.early.retain(|id, _| instances.iter().any(|instance| instance.spec.id == *id));
        state.due.extend(book.roll(now));
        let changed = book.take_changed();
        let alive = Alive { moment: now, boot: boot().to_owned() };
        if book.is_empty() && changed.is_empty() && state.due.is_empty() {
            // Nothing runs: nothing can be lost.
            self.settle(state, instances);
            return Ok(());
        }
        if let Err(error) = self.store.write(&Look { deltas: &state.due, changed: &changed, alive: &alive }) {
            book.put_back(changed);
            return Err(error);
        }
        state.due.clear();
        self.written.fetch_add(1, Ordering::Release);
        self.settle(state, instances);
        Ok(())
    }

    /// Takes in what is seen of one instance.
    fn see(&self, platform: &Platform, state: &mut State, instance: &ObservedInstance, now: Moment) -> Result<()> {
        let Some(book) = &mut state.book else { return Ok(()) };
        let (id, stamps) = (&instance.spec.id, &instance.stamps);
        let (Some(wall), Some(steady)) = (stamps.started, stamps.steady.started) else {
            return Ok(());
        };
        if !book.knows(id) {
            if self.store.has_ended(id)? {
                return Ok(());
            }
            let subject = subject(platform, instance);
            let number = self.store.subject_id(&subject)?;
            state.subjects.insert(instance.spec.revision.clone(), number);
            book.begin(id.clone(), number, subject.shape.billing, Moment { wall, steady });
        } else if let Some(number) = book.subject(id) {
            state.subjects.entry(instance.spec.revision.clone()).or_insert(number);
        }
        let served = state.early.remove(id).unwrap_or_default();
        book.see(id, &Sighting { stamps: stamps.steady, over: is_over(instance), served }, now.steady);
        Ok(())
    }

    /// Remembers which instances are over and written down, of those that the backend still knows.
    fn settle(&self, state: &mut State, instances: &[ObservedInstance]) {
        let over = instances.iter().filter(|instance| instance.state.is_over()).map(|instance| &instance.spec.id);
        let open = |id: &InstanceId| state.book.as_ref().is_none_or(|book| book.knows(id));
        *self.settled() = over.filter(|id| !open(id)).cloned().collect();
        let alive: BTreeSet<&RevisionKey> = instances.iter().map(|instance| &instance.spec.revision).collect();
        state.subjects.retain(|revision, _| alive.contains(revision));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn settled(&self) -> MutexGuard<'_, BTreeSet<InstanceId>> {
        self.settled.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether an instance's time is over, even if something of it is left to be cleaned up.
fn is_over(instance: &ObservedInstance) -> bool {
    instance.lost || instance.state.is_over()
}

/// Whom an instance is billed to.
fn subject(platform: &Platform, instance: &ObservedInstance) -> Subject {
    let spec = &instance.spec;
    let revision = platform.store.revision(&spec.revision).ok().flatten().map(|stored| stored.value);
    let billing = revision.as_ref().map_or(Billing::Instance, Billing::of);
    let key = ServiceKey {
        project: spec.revision.project.clone(),
        region: spec.revision.region.clone(),
        name: spec.service.clone(),
    };
    let service = platform.store.service(&key).ok().flatten();
    let mut labels = service.map(|stored| stored.value.spec.labels).unwrap_or_default();
    labels.extend(revision.map(|revision| revision.template.labels).unwrap_or_default());
    // Those with a prefix are programs', and some of them differ from deployment to deployment.
    labels.retain(|name, _| !name.contains('/'));
    Subject {
        project: spec.revision.project.clone(),
        region: spec.revision.region.clone(),
        service: spec.service.clone(),
        revision: spec.revision.name.clone(),
        shape: Shape::of(spec, gpu_type(platform, &spec.gpus), billing),
        labels,
    }
}

fn gpu_type(platform: &Platform, gpus: &[DeviceId]) -> Option<GpuType> {
    let first = gpus.first()?;
    platform.gpus.devices.iter().find(|device| device.id == *first).map(|device| device.gpu.clone())
}

/// What tells one start of the machine from another.
fn boot() -> &'static str {
    static BOOT: std::sync::LazyLock<String> = std::sync::LazyLock::new(|| {
        std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
    });
    &BOOT
}

/// Opens the meter's database.
///
/// # Errors
/// When it cannot be opened.
pub fn open(data_dir: &std::path::Path) -> Result<Arc<Meter>> {
    Ok(Arc::new(Meter::new(UsageStore::open(&data_dir.join("usage.db"))?)))
}
