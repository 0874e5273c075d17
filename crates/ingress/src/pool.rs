//! Pool: which instance takes a request, and who waits.
//!
//! Each revision has a pool of slots, `endpoints x concurrency`. A lease holds one slot until the
//! response has ended. The least loaded instance is taken, so that requests that share a GPU are as few
//! as possible; among equals the one published first, so that with little to do the others fall idle
//! and can go. Without a free slot requests wait in the order of their arrival.
//!
//! A pool's state is behind a mutex that is held for a few dozen instructions, never across an await.
//! All that makes, ends or grants leases happens under it, therefore a publish that takes an endpoint
//! away is atomic: no lease on it is granted later.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chrono::{TimeDelta, Utc};
use homerun_model::Timestamp;
use homerun_model::names::{InstanceId, RevisionKey};
use tokio::sync::oneshot;

use crate::account::Idle;
use crate::instance::Instance;
use crate::lease::Lease;
use crate::route::{Refusal, RevisionRoute};
use crate::{Notice, coarse};

/// How long a pool without anything to do is still sampled.
const MOMENT: TimeDelta = TimeDelta::seconds(30);

/// What a revision's requests amount to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Load {
    /// Requests that instances are serving, those of instances that are no longer published included.
    pub in_flight: u32,
    /// Requests that wait for an instance.
    pub waiting: u32,
    /// Requests that have arrived so far.
    pub arrivals: u64,
    /// When a request last ended.
    pub last_busy: Option<Timestamp>,
}

/// Why there is no lease.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NoLease {
    /// The revision has left the table: the request needs a new route.
    Rerouted,
    /// The request is to be answered with this.
    Refused(Refusal),
}

/// The slots and the queue of one revision.
pub(crate) struct Pool {
    key: Arc<RevisionKey>,
    arrivals: AtomicU64,
    /// Tells control that there is something to do; see [`crate::Ingress::changes`].
    notice: Arc<Notice>,
    max_waiting: usize,
    state: Mutex<State>,
}

struct State {
    route: RevisionRoute,
    /// The published instances, in the order of `route.endpoints`.
    instances: Vec<Arc<Instance>>,
    /// By ticket, that is in the order of arrival.
    queue: BTreeMap<u64, Waiter>,
    next_ticket: u64,
    in_flight: u32,
    /// Instances that have a request, published or not.
    busy: u32,
    idle: Idle,
    last_busy: Option<Timestamp>,
    vanished: bool,
}

/// One request in the queue.
struct Waiter {
    answer: oneshot::Sender<Result<Lease, NoLease>>,
    /// Whether it found no instance at all.
    at_zero: bool,
}

/// What a request finds when it asks for a slot.
enum Entry {
    Granted(Lease),
    Queued(Place),
}

/// A place in the queue; dropping it leaves the queue.
struct Place {
    pool: Arc<Pool>,
    ticket: u64,
    answer: oneshot::Receiver<Result<Lease, NoLease>>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.pool.leave(self.ticket);
    }
}

/// Leases granted and waiters to tell, sent once the mutex is free: a lease that its waiter no longer
/// takes is dropped by the sending, which needs the mutex again.
type Answers = Vec<(oneshot::Sender<Result<Lease, NoLease>>, Result<Lease, NoLease>)>;

fn send(answers: Answers) {
    for (waiter, answer) in answers {
        // A waiter that has gone needs no answer; its lease comes back by being dropped.
        let _ = waiter.send(answer);
    }
}

impl Pool {
    pub(crate) fn new(key: RevisionKey, route: RevisionRoute, notice: Arc<Notice>, max_waiting: usize) -> Self {
        let state = State {
            route: RevisionRoute { endpoints: Vec::new(), ..route },
            instances: Vec::new(),
            queue: BTreeMap::new(),
            next_ticket: 0,
            in_flight: 0,
            busy: 0,
            idle: Idle::default(),
            last_busy: None,
            vanished: false,
        };
        Self { key: Arc::new(key), arrivals: AtomicU64::new(0), notice, max_waiting, state: Mutex::new(state) }
    }

    pub(crate) fn key(&self) -> &Arc<RevisionKey> {
        &self.key
    }

    pub(crate) fn load(&self) -> Load {
        let state = self.lock();
        Load {
            in_flight: state.in_flight,
            waiting: u32::try_from(state.queue.len()).unwrap_or(u32::MAX),
            arrivals: self.arrivals.load(Ordering::Relaxed),
            last_busy: state.last_busy,
        }
    }

    /// Counts a request that was routed here. Once per request, however often it is tried.
    pub(crate) fn count_arrival(&self) {
        self.arrivals.fetch_add(1, Ordering::Relaxed);
    }

    /// Looks at how it takes requests.
    pub(crate) fn with_route<T>(&self, look: impl FnOnce(&RevisionRoute) -> T) -> T {
        look(&self.lock().route)
    }

    /// Closes the unused connections that no request should find any more.
    pub(crate) fn close_old(&self) {
        let instances = self.lock().instances.clone();
        instances.iter().for_each(|instance| instance.connections.close_old());
    }

    /// Whether it has the instance that a client's cookie names.
    pub(crate) fn has(&self, mark: u64) -> bool {
        self.lock().instances.iter().any(|instance| instance.mark() == mark)
    }

    /// A slot, now or as soon as there is one, in the order of arrival. `avoid` is taken only if nothing
    /// else is free; the instance that the client comes back to before all others. `arrived` is when the
    /// request came; it waits no longer than `max_wait` after it. How long that was is added to `waited`. Dropping the
    /// future leaves the queue.
    pub(crate) async fn acquire(
        self: &Arc<Self>,
        arrived: Instant,
        avoid: Option<&InstanceId>,
        client: Option<u64>,
        waited: &mut Duration,
    ) -> Result<Lease, NoLease> {
        let asked = Instant::now();
        let place = match self.enter(asked, avoid, client)? {
            Entry::Granted(lease) => return Ok(lease),
            Entry::Queued(place) => place,
        };
        let answer = self.wait(place, arrived).await;
        *waited += asked.elapsed();
        answer
    }

    async fn wait(&self, mut place: Place, arrived: Instant) -> Result<Lease, NoLease> {
        loop {
            let deadline = arrived + self.lock().route.max_wait;
            match tokio::time::timeout_at(deadline.into(), &mut place.answer).await {
                Ok(answer) => return answer.unwrap_or(Err(NoLease::Rerouted)),
                // Control may have published a longer wait meanwhile.
                Err(_) if Instant::now() < arrived + self.lock().route.max_wait => {}
                Err(_) if self.leave(place.ticket) => {
                    return Err(NoLease::Refused(self.lock().route.refuse_late.clone()));
                }
                // The answer is on its way.
                Err(_) => return (&mut place.answer).await.unwrap_or(Err(NoLease::Rerouted)),
            }
        }
    }

    fn enter(
        self: &Arc<Self>,
        now: Instant,
        avoid: Option<&InstanceId>,
        client: Option<u64>,
    ) -> Result<Entry, NoLease> {
        let mut state = self.lock();
        if state.vanished {
            return Err(NoLease::Rerouted);
        }
        if state.queue.is_empty()
            && let Some(lease) = state.take(self, now, avoid, client)
        {
            return Ok(Entry::Granted(lease));
        }
        if let Some(refusal) = &state.route.refuse_now {
            return Err(NoLease::Refused(refusal.clone()));
        }
        if state.queue.len() >= self.max_waiting {
            return Err(NoLease::Refused(Refusal::NoInstance));
        }
        let ticket = state.next_ticket;
        let (sender, answer) = oneshot::channel();
        state.next_ticket += 1;
        let at_zero = state.instances.is_empty();
        state.queue.insert(ticket, Waiter { answer: sender, at_zero });
        let asked_before = u64::from(state.in_flight) + state.queue.len() as u64 - 1;
        let needs_one_more = state.queue.len() == 1 || asked_before.is_multiple_of(state.concurrency().into());
        drop(state);
        if needs_one_more {
            self.wake();
            self.notify();
        }
        Ok(Entry::Queued(Place { pool: self.clone(), ticket, answer }))
    }

    /// Whether the ticket was still in the queue.
    fn leave(&self, ticket: u64) -> bool {
        self.lock().queue.remove(&ticket).is_some()
    }

    pub(crate) fn release(self: &Arc<Self>, instance: &Arc<Instance>) {
        let now = coarse::wall();
        let mut state = self.lock();
        let left = instance.end_lease(now);
        state.in_flight -= 1;
        state.last_busy = Some(now);
        if left == 0 {
            state.busy -= 1;
            state.count_idle();
        }
        let drained = left == 0 && !instance.is_published();
        let answers = state.grant(self);
        drop(state);
        send(answers);
        if drained {
            self.notify();
        }
    }

    /// Takes a new configuration and new endpoints; `instances` are those of `route.endpoints`. Returns
    /// the instances that are no longer published.
    pub(crate) fn update(self: &Arc<Self>, route: RevisionRoute, instances: Vec<Arc<Instance>>) -> Vec<Arc<Instance>> {
        if !instances.is_empty() {
            self.wake();
        }
        let mut state = self.lock();
        let removed = state.replace_instances(instances);
        state.route = route;
        state.vanished = false;
        state.count_idle();
        let mut answers = state.grant(self);
        if let Some(refusal) = state.route.refuse_now.clone() {
            let refused = std::mem::take(&mut state.queue).into_values();
            answers.extend(refused.map(|waiter| (waiter.answer, Err(NoLease::Refused(refusal.clone())))));
        }
        drop(state);
        send(answers);
        removed
    }

    /// Ends the pool: nothing is granted any more, and those who wait look for a new route. Returns the
    /// instances that it had.
    pub(crate) fn vanish(&self) -> Vec<Arc<Instance>> {
        let mut state = self.lock();
        state.vanished = true;
        let removed = state.replace_instances(Vec::new());
        state.count_idle();
        let idle = state.idle.take();
        let rerouted = std::mem::take(&mut state.queue).into_values();
        drop(state);
        if idle > 0 {
            self.notice.left().idle.push((RevisionKey::clone(&self.key), idle));
        }
        send(rerouted.map(|waiter| (waiter.answer, Err(NoLease::Rerouted))).collect());
        removed
    }

    /// Milliseconds for which instances were kept and idle, all of them together, since this was last asked.
    pub(crate) fn take_idle(&self) -> u64 {
        self.lock().idle.take()
    }

    /// Whether it has nothing to do and had nothing for a moment, long enough for whoever samples to have
    /// seen its last request.
    pub(crate) fn rests(&self) -> bool {
        let state = self.lock();
        let quiet = state.last_busy.is_none_or(|last| Utc::now() - last > MOMENT);
        quiet && state.instances.is_empty() && state.queue.is_empty() && state.in_flight == 0
    }

    pub(crate) fn has_vanished(&self) -> bool {
        self.lock().vanished
    }

    /// Makes [`crate::Ingress::sample`] look at it. Never with the state locked: sampling locks in the
    /// other order.
    fn wake(&self) {
        self.notice.awake().insert(self.key.clone());
    }

    fn notify(&self) {
        self.notice.signal.send_modify(|count| *count += 1);
    }

    /// A panic while the mutex was held can only come from an allocation that failed; the state is
    /// whole between any two statements that can panic, so it is used on.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn concurrency(&self) -> u32 {
        self.route.concurrency.max(1)
    }

    /// A lease on the client's or the least loaded instance with a free slot.
    fn take(
        &mut self,
        pool: &Arc<Pool>,
        now: Instant,
        avoid: Option<&InstanceId>,
        client: Option<u64>,
    ) -> Option<Lease> {
        let (concurrency, sticky) = (self.concurrency(), self.route.affinity);
        let comes_back = |instance: &Instance| sticky && client == Some(instance.mark());
        let instance =
            self.instances.iter().filter(|instance| instance.in_flight() < concurrency).min_by_key(|instance| {
                (avoid == Some(&**instance.id()), !comes_back(instance), instance.in_flight())
            })?;
        let (until, instance) = (now + self.route.timeout, instance.clone());
        let first = instance.begin_lease();
        self.in_flight += 1;
        if first {
            self.busy += 1;
            self.count_idle();
        }
        Some(Lease::new(pool.clone(), instance, until.into(), sticky))
    }

    /// Whenever what it is made from has changed.
    fn count_idle(&mut self) {
        let missing = self.route.kept.saturating_sub(self.busy) as usize;
        // Most have no minimum, and need not be counted.
        let there = match missing {
            0 => 0,
            _ => self.instances.iter().filter(|instance| instance.in_flight() == 0).take(missing).count(),
        };
        self.idle.set(there as u64);
    }

    /// Leases for those who wait, first come first served, as far as slots are free.
    fn grant(&mut self, pool: &Arc<Pool>) -> Answers {
        let mut answers = Answers::new();
        while !self.queue.is_empty()
            && let Some(mut lease) = self.take(pool, Instant::now(), None, None)
            && let Some((_, waiter)) = self.queue.pop_first()
        {
            lease.cold_start = waiter.at_zero;
            answers.push((waiter.answer, Ok(lease)));
        }
        answers
    }

    fn replace_instances(&mut self, instances: Vec<Arc<Instance>>) -> Vec<Arc<Instance>> {
        let before = std::mem::replace(&mut self.instances, instances);
        let stays = |old: &Arc<Instance>| self.instances.iter().any(|new| Arc::ptr_eq(old, new));
        let removed: Vec<_> = before.into_iter().filter(|old| !stays(old)).collect();
        removed.iter().for_each(|instance| instance.set_published(false));
        self.instances.iter().for_each(|instance| instance.set_published(true));
        removed
    }
}
