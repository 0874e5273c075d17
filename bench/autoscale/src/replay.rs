//! Replays a trace on simulated instances and lets a scaler say how many there are.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use crate::trace::Trace;

/// What a scaler sees.
pub struct View<'a> {
    /// The service.
    pub trace: &'a Trace,
    /// Requests that instances work on.
    pub in_flight: u32,
    /// Requests that wait.
    pub waiting: u32,
    /// Instances that can take requests.
    pub ready: u32,
    /// Requests that have arrived.
    pub arrivals: u64,
    /// The integral of in flight plus waiting, in request-seconds.
    pub request_seconds: f64,
    /// When a request last ended.
    pub last_busy: Option<f64>,
}

/// What a scaler says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// Instances above these go once they are idle.
    pub keep: u32,
    /// Instances are started up to these.
    pub start: u32,
}

/// Says how many instances there should be.
pub trait Scaler {
    /// Seconds from one look to the next. A request that has to wait at zero is a look of its own; with `on_demand`
    /// every one that has to wait is.
    fn period(&self) -> f64;
    /// Whether every request that has to wait is looked at.
    fn on_demand(&self) -> bool {
        false
    }
    /// How many.
    fn decide(&mut self, view: &View<'_>, now: f64) -> Decision;
}

/// What came of it.
pub struct Outcome {
    /// Seconds for which instances held a GPU, from the decision to start each until it was gone.
    pub gpu_seconds: f64,
    /// Each served request's wait for an instance, sorted.
    pub waits: Vec<f64>,
    /// Requests that had waited too long.
    pub refused: u64,
    /// Instances started.
    pub starts: u64,
}

impl Outcome {
    /// The wait that this share of the requests does not exceed; a refused one has waited for ever.
    pub fn wait(&self, share: f64) -> f64 {
        let count = self.waits.len() as u64 + self.refused;
        let index = ((count as f64 * share).ceil() as usize).max(1) - 1;
        self.waits.get(index).copied().unwrap_or(f64::INFINITY)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Ends { instance: usize },
    Ready { instance: usize },
    Arrives { request: usize },
    GivesUp { request: usize },
    Look,
}

#[derive(Debug, Clone, Copy)]
struct Instance {
    begun: f64,
    ready: bool,
    leaving: bool,
    gone: bool,
    in_flight: u32,
}

struct Replay<'a> {
    trace: &'a Trace,
    events: BinaryHeap<Reverse<(u64, Event)>>,
    instances: Vec<Instance>,
    live: Vec<usize>,
    queue: VecDeque<usize>,
    waiting: Vec<bool>,
    arrivals: u64,
    in_flight: u32,
    request_seconds: f64,
    last: f64,
    last_busy: Option<f64>,
    outcome: Outcome,
}

/// As ingress has it: 10 seconds, or 3.5 starts.
fn patience(trace: &Trace) -> f64 {
    (3.5 * trace.start).max(10.0)
}

fn micros(seconds: f64) -> u64 {
    (seconds * 1e6) as u64
}

/// Replays it.
pub fn replay(trace: &Trace, scaler: &mut dyn Scaler) -> Outcome {
    let mut replay = Replay {
        trace,
        events: BinaryHeap::new(),
        instances: Vec::new(),
        live: Vec::new(),
        queue: VecDeque::new(),
        waiting: vec![false; trace.requests.len()],
        arrivals: 0,
        in_flight: 0,
        request_seconds: 0.0,
        last: 0.0,
        last_busy: None,
        outcome: Outcome { gpu_seconds: 0.0, waits: Vec::with_capacity(trace.requests.len()), refused: 0, starts: 0 },
    };
    for (request, at) in trace.requests.iter().enumerate() {
        replay.at(at.arrives, Event::Arrives { request });
    }
    replay.at(0.0, Event::Look);
    while let Some(Reverse((time, event))) = replay.events.pop() {
        let now = time as f64 / 1e6;
        if now > trace.seconds {
            break;
        }
        replay.advance(now);
        if replay.handle(event, now, scaler) {
            let decision = scaler.decide(&replay.view(), now);
            replay.carry_out(decision, now);
        }
    }
    let now = trace.seconds;
    let held: f64 = replay.live.iter().map(|index| now - replay.instances[*index].begun).sum();
    replay.outcome.gpu_seconds += held;
    replay.outcome.waits.sort_by(f64::total_cmp);
    replay.outcome
}

impl Replay<'_> {
    fn at(&mut self, seconds: f64, event: Event) {
        self.events.push(Reverse((micros(seconds), event)));
    }

    fn advance(&mut self, now: f64) {
        self.request_seconds += (now - self.last) * (f64::from(self.in_flight) + self.queue_len());
        self.last = now;
    }

    fn queue_len(&self) -> f64 {
        self.queue.len() as f64
    }

    fn view(&self) -> View<'_> {
        View {
            trace: self.trace,
            in_flight: self.in_flight,
            waiting: self.queue.len() as u32,
            ready: self
                .live
                .iter()
                .filter(|index| self.instances[**index].ready && !self.instances[**index].leaving)
                .count() as u32,
            arrivals: self.arrivals,
            request_seconds: self.request_seconds,
            last_busy: self.last_busy,
        }
    }

    /// Whether the scaler looks now.
    fn handle(&mut self, event: Event, now: f64, scaler: &dyn Scaler) -> bool {
        match event {
            Event::Look => {
                self.at(now + scaler.period(), Event::Look);
                return true;
            }
            Event::Arrives { request } => {
                self.arrivals += 1;
                self.queue.push_back(request);
                self.waiting[request] = true;
                self.give(now);
                if self.waiting[request] {
                    self.at(now + patience(self.trace), Event::GivesUp { request });
                    return scaler.on_demand() || self.live.is_empty();
                }
            }
            Event::GivesUp { request } if self.waiting[request] => {
                self.waiting[request] = false;
                self.queue.retain(|waiter| *waiter != request);
                self.outcome.refused += 1;
            }
            Event::GivesUp { .. } => {}
            Event::Ready { instance } => {
                self.instances[instance].ready = true;
                self.give(now);
            }
            Event::Ends { instance } => {
                self.instances[instance].in_flight -= 1;
                self.in_flight -= 1;
                self.last_busy = Some(now);
                self.give(now);
                if self.instances[instance].leaving && self.instances[instance].in_flight == 0 {
                    self.end(instance, now);
                }
            }
        }
        false
    }

    /// Gives those who wait what is free, the least busy instance first.
    fn give(&mut self, now: f64) {
        while let Some(request) = self.queue.front().copied() {
            let free = |index: &&usize| {
                let instance = &self.instances[**index];
                instance.ready && !instance.leaving && instance.in_flight < self.trace.concurrency
            };
            let Some(index) =
                self.live.iter().filter(free).min_by_key(|index| self.instances[**index].in_flight).copied()
            else {
                return;
            };
            self.queue.pop_front();
            self.waiting[request] = false;
            self.instances[index].in_flight += 1;
            self.in_flight += 1;
            let request = self.trace.requests[request];
            self.outcome.waits.push((now - request.arrives).max(0.0));
            self.at(now + request.takes, Event::Ends { instance: index });
        }
    }

    fn end(&mut self, index: usize, now: f64) {
        self.instances[index].gone = true;
        self.live.retain(|live| *live != index);
        self.outcome.gpu_seconds += now - self.instances[index].begun;
    }

    fn carry_out(&mut self, decision: Decision, now: f64) {
        let mut staying: Vec<usize> =
            self.live.iter().copied().filter(|index| !self.instances[*index].leaving).collect();
        // Those that are leaving come back before others are started.
        for index in self.live.clone() {
            if staying.len() < decision.keep as usize && self.instances[index].leaving {
                self.instances[index].leaving = false;
                staying.push(index);
            }
        }
        while staying.len() < (decision.start.min(self.trace.max) as usize) && self.live.len() < self.trace.max as usize
        {
            let index = self.instances.len();
            self.instances.push(Instance { begun: now, ready: false, leaving: false, gone: false, in_flight: 0 });
            self.live.push(index);
            staying.push(index);
            self.outcome.starts += 1;
            self.at(now + self.trace.start, Event::Ready { instance: index });
        }
        let surplus = staying.len().saturating_sub(decision.keep as usize);
        // Those that start become ready first; the newest idle ones go first.
        staying.retain(|index| self.instances[*index].ready);
        staying.sort_by_key(|index| (self.instances[*index].in_flight, Reverse(*index)));
        for index in staying.into_iter().take(surplus) {
            self.instances[index].leaving = true;
            if self.instances[index].in_flight == 0 {
                self.end(index, now);
            }
        }
        self.give(now);
    }
}
