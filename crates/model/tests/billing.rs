//! What is billed is what lived, whatever happens in whatever order (rows G21, B05).
//!
//! A world with instances that start, serve, end and crash; a homerun that looks at them at most a second after the
//! time before, and may die at any look, before or after what it wrote was durable; a machine that may go down; and a
//! wall clock that is set back and forth. What is checked: of each instance, what all roll-ups add up to.

use std::collections::{BTreeMap, BTreeSet};

use chrono::TimeDelta;
use homerun_model::Timestamp;
use homerun_model::billing::{
    Billing, Book, Busy, Delta, MINIMUM_STEPS, Moment, Open, Served, Sighting, Steady, steps,
};
use homerun_model::instance::SteadyStamps;
use homerun_model::names::InstanceId;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

const CASES: u32 = 1000;
/// Milliseconds of the longest time between two looks.
const LOOK: u64 = 1000;

#[derive(Debug, Clone)]
enum Event {
    Start(bool),
    Ready(usize),
    /// It begins or ends a request.
    Serve(usize),
    Stop(usize),
    /// It ends, asked to or not.
    End(usize),
    /// Time goes by with nothing to see but time.
    Pass(u64),
    /// homerun dies; before what it saw last was durable, or after. So long nobody looks, and one may end meanwhile.
    Die(bool, u64, Option<usize>),
    /// The machine goes down, and everything with it.
    Down,
    /// Somebody sets the wall clock, by this many seconds.
    Set(i64),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let one = || 0..6_usize;
    let event = prop_oneof![
        3 => any::<bool>().prop_map(Event::Start),
        3 => one().prop_map(Event::Ready),
        6 => one().prop_map(Event::Serve),
        1 => one().prop_map(Event::Stop),
        2 => one().prop_map(Event::End),
        6 => (1..5000_u64).prop_map(Event::Pass),
        1 => (1..8_000_000_u64).prop_map(Event::Pass),
        1 => (any::<bool>(), 0..8_000_000_u64, prop::option::of(one()))
            .prop_map(|(written, lasts, ends)| Event::Die(written, lasts, ends)),
        1 => Just(Event::Down),
        1 => (-90_000..90_000_i64).prop_map(Event::Set),
    ];
    prop::collection::vec(event, 1..60)
}

/// An instance as it really is.
#[derive(Debug, Clone)]
struct Real {
    id: InstanceId,
    subject: i64,
    billing: Billing,
    stamps: SteadyStamps,
    ended: Option<Steady>,
    serves: bool,
    busy: Busy,
    reported: Served,
    requests: u64,
    /// What it had served for a homerun that is dead.
    earlier: u64,
    /// When it is billed for: its start, its requests, its end.
    parts: Vec<(u64, u64)>,
    /// How much of its end nobody may have seen, and of its requests.
    unseen: u64,
    /// Whether the backend still knows it.
    known: bool,
}

#[derive(Debug, Clone, Default)]
struct Durable {
    open: BTreeMap<InstanceId, Open>,
    sums: BTreeMap<i64, Delta>,
    hours: BTreeMap<(i64, i64), i64>,
    alive: Option<Moment>,
}

struct World {
    steady: u64,
    wall: i64,
    all: Vec<Real>,
    book: Book,
    /// What is due since the last homerun.
    due: Vec<Delta>,
    durable: Durable,
}

impl World {
    fn new() -> Self {
        let (book, durable) = (Book::default(), Durable::default());
        Self { steady: 5_000_000, wall: 1_800_000_000_000, all: Vec::new(), book, due: Vec::new(), durable }
    }

    fn now(&self) -> Moment {
        Moment { wall: Timestamp::from_timestamp_millis(self.wall).expect("in range"), steady: Steady(self.steady) }
    }

    fn living(&mut self, index: usize) -> Option<&mut Real> {
        let mut living: Vec<&mut Real> = self.all.iter_mut().filter(|real| real.ended.is_none()).collect();
        let count = living.len();
        (count > 0).then(|| living.swap_remove(index % count))
    }

    /// homerun looks, and what it saw is written if it lives for so long.
    fn look(&mut self, written: bool) {
        let now = self.now();
        for real in self.all.iter_mut().filter(|real| real.known) {
            let started = real.stamps.started.expect("it was started");
            let back = TimeDelta::milliseconds(now.steady.since(started) as i64);
            let began = Moment { wall: now.wall - back, steady: started };
            self.book.begin(real.id.clone(), real.subject, real.billing, began);
            let total = Served { steps: real.busy.steps(now.steady), requests: real.requests };
            let served =
                Served { steps: total.steps - real.reported.steps, requests: total.requests - real.reported.requests };
            real.reported = total;
            let over = real.ended.is_some();
            self.book.see(&real.id, &Sighting { stamps: real.stamps, over, served }, now.steady);
        }
        let mut deltas = std::mem::take(&mut self.due);
        deltas.extend(self.book.roll(now));
        let changed = self.book.take_changed();
        if written {
            self.write(&deltas, &changed, now);
        }
    }

    fn write(&mut self, deltas: &[Delta], changed: &[(InstanceId, Open)], now: Moment) {
        for delta in deltas {
            let sum = self.durable.sums.entry(delta.subject).or_default();
            sum.active += delta.active;
            sum.requests += delta.requests;
            sum.starts += delta.starts;
            *self.durable.hours.entry((delta.subject, delta.hour)).or_default() += delta.active;
        }
        for (id, open) in changed {
            if open.life.ended().is_some() {
                self.durable.open.remove(id);
                // Only now may the backend forget it.
                self.all.iter_mut().filter(|real| real.id == *id).for_each(|real| real.known = false);
            } else {
                self.durable.open.insert(id.clone(), open.clone());
            }
        }
        self.durable.alive = Some(now);
    }

    fn pass(&mut self, millis: u64) {
        self.steady += millis;
        self.wall += millis as i64;
    }

    fn die(&mut self, written: bool, lasts: u64) {
        self.look(written);
        for real in self.all.iter_mut().filter(|real| real.known) {
            let total = real.busy.steps(Steady(self.steady));
            // Requests break off, and what was not durable of them is lost.
            if real.serves {
                real.stop_serving(Steady(self.steady));
            }
            real.earlier += total;
            real.unseen += 2 * LOOK;
            (real.busy, real.reported, real.serves) = (Busy::default(), Served::default(), false);
            real.requests = 0;
        }
        self.pass(lasts);
    }

    /// The next homerun takes over.
    fn resume(&mut self, same_boot: bool) {
        let present: BTreeSet<InstanceId> =
            self.all.iter().filter(|real| real.known).map(|real| real.id.clone()).collect();
        let (book, deltas) = Book::resume(self.durable.open.clone(), (self.durable.alive, same_boot), &present);
        (self.book, self.due) = (book, deltas);
        // What it finds is durable together with its saying that it is there.
        self.look(true);
    }

    fn happens(&mut self, event: &Event) {
        let now = Steady(self.steady);
        match *event {
            Event::Start(by_request) => {
                let stamps = SteadyStamps { started: Some(now), ..SteadyStamps::default() };
                let subject = self.all.len() as i64;
                self.all.push(Real {
                    id: InstanceId::new(format!("i-{subject}")),
                    subject,
                    billing: if by_request { Billing::Request } else { Billing::Instance },
                    stamps,
                    ended: None,
                    serves: false,
                    busy: Busy::default(),
                    reported: Served::default(),
                    requests: 0,
                    earlier: 0,
                    parts: Vec::new(),
                    unseen: 0,
                    known: true,
                });
            }
            Event::Ready(index) => {
                if let Some(real) = self.living(index) {
                    real.stamps.ready.get_or_insert(now);
                }
            }
            Event::Serve(index) => {
                // Who is asked to end has no requests, and gets none.
                let takes = |real: &&mut Real| real.stamps.ready.is_some() && real.stamps.stopping.is_none();
                if let Some(real) = self.living(index).filter(takes) {
                    real.serves = !real.serves;
                    real.requests += u64::from(real.serves);
                    match real.serves {
                        true => real.begin(now),
                        false => real.stop_serving(now),
                    }
                }
            }
            Event::Stop(index) => {
                if let Some(real) = self.living(index).filter(|real| !real.serves) {
                    real.stamps.stopping.get_or_insert(now);
                }
            }
            Event::End(index) => {
                if let Some(real) = self.living(index) {
                    real.end(now);
                }
            }
            Event::Pass(millis) => {
                let mut left = millis;
                while left > 0 {
                    let step = left.min(LOOK);
                    self.pass(step);
                    left -= step;
                    self.look(true);
                }
            }
            Event::Die(written, lasts, ends) => {
                self.die(written, lasts / 2);
                let now = Steady(self.steady);
                if let Some(real) = ends.and_then(|index| self.living(index)) {
                    // Nobody knows when.
                    real.ended = Some(now);
                    real.unseen += lasts / 2;
                }
                self.pass(lasts - lasts / 2);
                self.resume(true);
            }
            Event::Down => {
                self.die(true, 1);
                for real in self.all.iter_mut().filter(|real| real.known) {
                    real.ended.get_or_insert(now);
                    real.known = false;
                }
                // The clock that is never set begins anew.
                (self.steady, self.wall) = (60_000, self.wall + 60_000);
                self.resume(false);
            }
            Event::Set(seconds) => self.wall += seconds * 1000,
        }
    }
}

impl Real {
    fn begin(&mut self, now: Steady) {
        self.busy.begin(now);
        self.parts.push((now.0, u64::MAX));
    }

    fn stop_serving(&mut self, now: Steady) {
        if let Some(last) = self.parts.last_mut() {
            last.1 = last.1.min(now.0);
        }
        self.busy.end(now);
        self.serves = false;
    }

    /// Milliseconds in which it is billed, each counted once.
    fn union(&self) -> u64 {
        let end = self.ended.expect("all have ended").0;
        let SteadyStamps { started, ready, stopping, .. } = self.stamps;
        let started = started.expect("it was started").0;
        let mut parts = match self.billing {
            Billing::Instance => vec![(started, end)],
            Billing::Request => self.parts.clone(),
        };
        let up = [ready, stopping].into_iter().flatten().map(|at| at.0).fold(end, u64::min);
        parts.push((started, up));
        parts.extend(stopping.map(|stopping| (stopping.0, end)));
        parts.sort_unstable();
        let (mut sum, mut reached) = (0, 0);
        for (from, to) in parts {
            let (from, to) = (from.max(reached), to.min(end));
            sum += to.saturating_sub(from);
            reached = reached.max(to);
        }
        sum
    }

    fn end(&mut self, now: Steady) {
        if self.serves {
            self.stop_serving(now);
        }
        self.ended = Some(now);
        self.stamps.ended = Some(now);
    }

    /// Steps that it should be billed for: at most, and at least.
    fn expected(&self) -> (u64, u64) {
        let end = self.ended.expect("all have ended");
        let life = end.since(self.stamps.started.expect("it was started"));
        match self.billing {
            Billing::Instance => {
                let least = steps(life.saturating_sub(self.unseen)).max(MINIMUM_STEPS);
                (steps(life).max(MINIMUM_STEPS), least)
            }
            Billing::Request => {
                let SteadyStamps { started, ready, stopping, .. } = self.stamps;
                let up = [ready, stopping].into_iter().flatten().fold(end, Steady::min);
                let served = self.earlier + self.busy.steps(end);
                let ending = stopping.map_or(0, |stopping| steps(end.since(stopping)));
                let most = (steps(up.since(started.expect("it was started"))) + served + ending).min(steps(life));
                (most, most.saturating_sub(self.unseen / 100))
            }
        }
    }
}

#[test]
fn b05_what_is_billed_is_what_lived() {
    let mut runner = TestRunner::new(Config { cases: CASES, failure_persistence: None, ..Config::default() });
    let (mut instances, mut deaths) = (0, 0);
    let counts = std::cell::RefCell::new((&mut instances, &mut deaths));
    let outcome = runner.run(&events(), |events| {
        let mut world = World::new();
        world.happens(&Event::Pass(1));
        events.iter().for_each(|event| world.happens(event));
        let now = Steady(world.steady);
        world.all.iter_mut().filter(|real| real.ended.is_none()).for_each(|real| real.end(now));
        world.look(true);
        prop_assert!(world.book.is_empty() && world.durable.open.is_empty());
        for real in &world.all {
            let (most, least) = real.expected();
            let sum = world.durable.sums.get(&real.subject).copied().unwrap_or_default();
            let billed = u64::try_from(sum.active).expect("never negative");
            prop_assert!(billed <= most, "{real:?}: {billed} of at most {most}");
            // One of which nothing was durable before the machine went down was never seen.
            prop_assert!(billed >= least || sum.starts == 0, "{real:?}: {billed} of at least {least}");
            prop_assert!(sum.starts <= 1 && (sum.starts == 1 || real.unseen > 0), "{real:?}: {sum:?}");
            // Rounding up makes at most a step more of each part.
            let union = real.union();
            let bound = steps(union) + real.parts.len() as u64 + 2;
            prop_assert!(billed <= bound.max(MINIMUM_STEPS), "{real:?}: {billed} of {union} ms");
            if real.unseen == 0 {
                prop_assert!(billed >= steps(union), "{real:?}: {billed} of {union} ms");
                prop_assert_eq!(billed, most, "{:?}", real);
                prop_assert_eq!(sum.requests as u64, real.requests);
            }
        }
        for ((subject, hour), active) in &world.durable.hours {
            // An hour, the rest of a minute, and what rounding up adds; a clock that is set back repeats an hour.
            let most = if events.iter().any(|event| matches!(event, Event::Set(_))) { i64::MAX } else { 36_602 };
            prop_assert!((0..=most).contains(active), "subject {subject}, hour {hour}: {active}");
        }
        let mut counts = counts.borrow_mut();
        *counts.0 += world.all.len();
        *counts.1 += events.iter().filter(|event| matches!(event, Event::Die(..) | Event::Down)).count();
        Ok(())
    });
    outcome.expect("it holds");
    println!("{CASES} interleavings, {instances} instances, {deaths} deaths of homerun or the machine");
}

#[test]
fn b05_no_step_of_a_request_is_billed_twice() {
    let intervals = prop::collection::vec((1..400_u64, 1..400_u64), 1..40);
    let mut runner = TestRunner::new(Config { cases: CASES, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&intervals, |intervals| {
        let (mut busy, mut now, mut union, mut apart, mut before) = (Busy::default(), 0, 0, 0, 0);
        for (pause, lasts) in intervals {
            now += pause;
            busy.begin(Steady(now));
            now += lasts;
            busy.end(Steady(now));
            union += lasts;
            apart += steps(lasts);
            let billed = busy.steps(Steady(now));
            prop_assert!(billed >= before, "it never falls");
            before = billed;
        }
        let billed = busy.steps(Steady(now));
        prop_assert!(
            billed >= steps(union) && billed <= apart && billed <= steps(now),
            "{billed}: {union} {apart} {now}"
        );
        Ok(())
    });
    outcome.expect("it holds");
}

#[test]
fn b05_what_could_not_be_written_is_written_later() {
    let moment = |millis: u64| Moment {
        wall: Timestamp::from_timestamp_millis(1_800_000_001_000 + millis as i64).expect("in range"),
        steady: Steady(millis),
    };
    let mut book = Book::default();
    for name in ["lives", "ends"] {
        book.begin(InstanceId::new(name), 1, Billing::Instance, moment(0));
    }
    let over = Sighting {
        over: true,
        stamps: SteadyStamps { ended: Some(Steady(90_000)), ..Default::default() },
        ..Default::default()
    };
    book.see(&InstanceId::new("ends"), &over, Steady(90_000));
    let due = book.roll(moment(90_000));
    assert_eq!(due.iter().map(|delta| delta.active).sum::<i64>(), 900);
    let rows = book.take_changed();
    assert!(rows.len() == 2 && !book.knows(&InstanceId::new("ends")));
    book.put_back(rows.clone());
    assert_eq!(book.roll(moment(91_000)), [], "it is due once");
    assert_eq!(book.take_changed(), rows);
}

#[test]
fn g21_an_hour_has_no_more_than_its_steps_and_days_are_told_apart() {
    let moment = |millis: u64| Moment {
        wall: Timestamp::from_timestamp_millis(1_800_000_000_000 + millis as i64).expect("in range"),
        steady: Steady(millis),
    };
    let mut book = Book::default();
    let id = InstanceId::new("one");
    book.roll(moment(0));
    book.begin(id.clone(), 1, Billing::Instance, moment(0));
    // Nobody looks for three and a half hours.
    let deltas = book.roll(moment(12_600_000));
    let first = moment(0).hour();
    let hours: Vec<(i64, i64)> = deltas.iter().map(|delta| (delta.hour - first, delta.active)).collect();
    assert_eq!(hours, [(0, 36_000), (1, 36_000), (2, 36_000)]);
    let pending = book.pending(moment(12_600_000));
    assert_eq!((pending[0].hour - first, pending[0].active, pending[0].starts), (3, 18_000, 0));
    // The clock is set back by two hours: what comes goes to the hour that it shows.
    let back = Moment { wall: moment(5_400_000).wall, steady: Steady(12_700_000) };
    let over = Sighting { over: true, ..Sighting::default() };
    book.see(&id, &over, back.steady);
    let deltas = book.roll(back);
    assert_eq!((deltas[0].hour - first, deltas[0].active), (1, 19_000));
}
