//! How many instances a revision should have.
//!
//! A request that finds no instance, or none that will have a place for it sooner than a new one would be
//! ready, needs one at once. Besides, instances are added ahead of that: when the average number of requests
//! or the CPU in use comes near what the instances can take ([`Target`]). When the need falls, instances are
//! kept until it has stayed lower for the whole idle timeout; so the number wanted is the greatest need within
//! the last idle timeout. The last instance goes only by a lack of requests, never by low CPU, and CPU never
//! asks for more instances than there are requests.
//!
//! `bench/autoscale` replays traces with this and with Knative's algorithm.

mod window;

use std::collections::VecDeque;

use chrono::TimeDelta;

use self::window::{MINUTE, Window};
use crate::Timestamp;
use crate::revision::{Revision, UtilizationTarget};
use crate::service::{Service, ServiceSettings};

/// The window that shows bursts: long enough that what a few requests happen to do at the same time passes
/// by, which a new instance would come too late for.
const BURST: TimeDelta = TimeDelta::seconds(12);

/// What a revision's configuration says about its number of instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScaleSpec {
    /// Never fewer than this.
    pub min: u32,
    /// Never more than this.
    pub max: u32,
    /// Requests that one instance serves at the same time, at least 1.
    pub concurrency: u32,
    /// The share of the concurrency that is aimed at.
    pub concurrency_target: Target,
    /// The share of the CPU limits that is aimed at; it holds for any number of instances, whoever has set it.
    pub cpu_target: Target,
    /// How long an instance may be without need before it goes.
    pub idle_timeout: TimeDelta,
}

/// A utilization that scaling aims at, in thousandths of what instances can take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// Not a reason to scale.
    Off,
    /// The platform's own: it holds for a single instance, and the more there are, the nearer they come to
    /// being full, since their spare places add up. An instance always has a place for its only request. On
    /// Cloud Run, too, the default is no strict rule.
    Usual(u32),
    /// One that the user has set: it holds for any number of instances, as an average over one minute.
    Strict(u32),
}

/// What was seen of a revision.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Sample {
    /// Requests that instances are serving.
    pub in_flight: u32,
    /// Requests that wait for an instance.
    pub waiting: u32,
    /// Requests that have arrived so far.
    pub arrivals: u64,
    /// When the revision last had a request, if one has ended since the sample before.
    pub last_busy: Option<Timestamp>,
    /// Instances that take requests.
    pub ready: u32,
    /// Instances that run and take none, since their readiness probes fail.
    pub unready: u32,
    /// CPU in use by them, each one's as a share of its limit: 1.5 if one uses all of it and another half.
    pub cpu: f64,
    /// How long starts take, if that is known.
    pub start: Option<TimeDelta>,
}

/// What the scaler remembers of a revision from one decision to the next.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ScaleState {
    /// When which need was last seen; needs strictly fall and times rise from front to back.
    needs: VecDeque<(Timestamp, u32)>,
    window: Window,
}

impl ScaleState {
    /// The state of a revision that has `instances` instances at `now` and no history, for instance
    /// one that was just proven or that a restart found running: they are kept for one idle timeout.
    pub fn seeded(instances: u32, now: Timestamp) -> Self {
        let mut state = Self::default();
        state.note(now, instances);
        state
    }

    fn note(&mut self, time: Timestamp, need: u32) {
        while self.needs.back().is_some_and(|(_, older)| *older <= need) {
            self.needs.pop_back();
        }
        if need > 0 {
            self.needs.push_back((time, need));
        }
    }

    fn forget(&mut self, spec: &ScaleSpec, now: Timestamp) {
        while self.needs.front().is_some_and(|(seen, _)| *seen + spec.idle_timeout <= now) {
            self.needs.pop_front();
        }
    }

    /// Instances that the requests of this moment need.
    fn on_demand(&self, spec: &ScaleSpec, sample: &Sample) -> u32 {
        let requests = sample.in_flight + sample.waiting;
        if sample.ready == 0 {
            return requests.div_ceil(spec.concurrency);
        }
        // Those who wait get the places that come free sooner than a new instance would be ready.
        let places = sample.ready * spec.concurrency;
        let minute = self.window.averages(MINUTE);
        let soon = match sample.start {
            // Requests in flight over requests per second: how long one takes (Little's law). Each place comes free
            // so many times at least while an instance starts; in a burst, when all began just now, no oftener.
            Some(start) if minute.arrivals > 0.0 && minute.requests > 0.0 => {
                f64::from(places) * (start.as_seconds_f64() / (minute.requests / minute.arrivals) + ERROR).floor()
            }
            _ => 0.0,
        };
        // One that has just become ready has places, though those who waited for it have not been given them yet.
        let free = places.saturating_sub(sample.in_flight);
        // Saturates, as it should.
        let late = sample.waiting.saturating_sub(free).saturating_sub(soon as u32);
        let full = if late > 0 { places.max(sample.in_flight) } else { sample.in_flight };
        (full + late).div_ceil(spec.concurrency)
    }

    /// Instances that keep the averages near their targets.
    fn ahead(&self, spec: &ScaleSpec) -> u32 {
        let (minute, burst) = (self.window.averages(MINUTE), self.window.averages(BURST));
        let concurrency = f64::from(spec.concurrency);
        let full = up(burst.requests / concurrency);
        let by_requests = match spec.concurrency_target {
            Target::Off => 0,
            Target::Usual(thousandths) => usual(burst.requests, concurrency, share(thousandths)),
            Target::Strict(thousandths) => full.max(strict(minute.requests / concurrency, thousandths)),
        };
        let by_cpu = match spec.cpu_target {
            Target::Off => 0,
            Target::Usual(thousandths) | Target::Strict(thousandths) => strict(minute.cpu, thousandths),
        };
        by_requests.max(by_cpu.min(minute.peak))
    }
}

/// More than averages lose by rounding.
const ERROR: f64 = 1e-6;

/// The whole number of instances that a load asks for.
fn up(load: f64) -> u32 {
    (load - ERROR).ceil() as u32
}

fn share(thousandths: u32) -> f64 {
    f64::from(thousandths) / 1000.0
}

/// `load` instances' worth, spread so that each has this share of what it can take.
fn strict(load: f64, thousandths: u32) -> u32 {
    up(load / share(thousandths.max(1)))
}

/// The fewest instances that have enough places to spare: one, all but the target's share of those beyond its
/// first; many, that divided by their number. For places to spare serve all of them, and a request waits ever
/// more rarely the more instances there are.
fn usual(requests: f64, concurrency: f64, target: f64) -> u32 {
    if requests <= 0.0 {
        return 0;
    }
    let least = f64::from(up(requests / concurrency).max(1));
    let spare = (1.0 - target) * (concurrency - 1.0) / least;
    // One more is always enough: there is less to spare than one instance has.
    let enough = requests <= least * concurrency - spare + ERROR;
    if enough { least as u32 } else { least as u32 + 1 }
}

/// How many instances a revision should have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Scaled {
    /// No more than these are kept.
    pub wanted: u32,
    /// Those that requests need now. No more than these or the minimum are started.
    pub needed: u32,
    /// These never make room for others.
    pub min: u32,
}

/// The number of instances wanted at `now`, and the state to pass next time.
pub fn scale(spec: &ScaleSpec, mut state: ScaleState, sample: &Sample, now: Timestamp) -> (ScaleState, Scaled) {
    let spec = &ScaleSpec { concurrency: spec.concurrency.max(1), ..*spec };
    state.window.note(sample, now);
    if let Some(busy) = sample.last_busy
        && state.needs.back().is_none_or(|(seen, _)| *seen < busy)
    {
        state.note(busy, 1);
    }
    // Without a request nothing is started; what is there is kept for its time.
    let idle = sample.in_flight + sample.waiting == 0;
    let need = if idle { 0 } else { state.on_demand(spec, sample).max(state.ahead(spec)) };
    state.note(now, need);
    state.forget(spec, now);
    let lately = state.needs.front().map_or(0, |(_, need)| *need);
    let bounded = |count: u32| count.min(spec.max).max(spec.min);
    // Not remembered: it is over as soon as enough of them take requests.
    let needed = (need + beside_unready(spec, sample, need)).min(spec.max);
    (state, Scaled { wanted: bounded(lately).max(needed), needed, min: spec.min })
}

/// Instances to start beside those that take no requests. One for each that is missing, so at most as many as there
/// should be: where all fail for the same reason, for instance a database that is down, more would fail too. Where
/// nobody asks and none of the minimum is healthy, nothing says that another one would be.
fn beside_unready(spec: &ScaleSpec, sample: &Sample, need: u32) -> u32 {
    let kept = if sample.ready > 0 { spec.min } else { 0 };
    let missing = sample.unready.min(need.max(kept).saturating_sub(sample.ready));
    if missing == 0 { 0 } else { missing + kept.saturating_sub(need) }
}

impl ScaleSpec {
    /// What the configuration of a service's revision says. Numbers of the service as a whole are divided among
    /// the revisions that get its traffic, by their shares.
    pub fn of(service: &Service, revision: &Revision, settings: &ServiceSettings) -> Self {
        let template = &revision.template;
        let part = |total: u32| part(service, revision, total);
        let max = template.max_instances.unwrap_or(settings.default_max_instances);
        let max = service.spec.max_instances.map_or(max, |total| part(total).max(1).min(max));
        let min = template.min_instances.unwrap_or(0).max(service.spec.min_instances.map_or(0, part));
        let (min, max) = service.spec.manual_instances.map(part).map_or((min.min(max), max), |count| (count, count));
        let idle = template.idle_timeout_seconds.unwrap_or(if revision.gpus_per_instance() > 0 {
            settings.idle_timeout_gpu_seconds
        } else {
            settings.idle_timeout_seconds
        });
        let target = |given: Option<UtilizationTarget>, percent: u32| match given {
            None => Target::Usual(percent * 10),
            Some(UtilizationTarget::Disabled) => Target::Off,
            Some(UtilizationTarget::Thousandths(thousandths)) => Target::Strict(thousandths),
        };
        Self {
            min,
            max,
            concurrency: template.concurrency.unwrap_or(settings.default_concurrency).max(1),
            concurrency_target: target(template.concurrency_target, settings.concurrency_target_percent),
            cpu_target: target(template.cpu_target, settings.cpu_target_percent),
            idle_timeout: TimeDelta::seconds(i64::from(idle)),
        }
    }
}

/// A revision's part of a number of instances of the whole service.
fn part(service: &Service, revision: &Revision, total: u32) -> u32 {
    let mut percents: Vec<(&str, u32)> = Vec::new();
    for target in &service.status.traffic {
        match percents.iter_mut().find(|(name, _)| *name == target.revision.as_str()) {
            Some((_, percent)) => *percent += target.percent,
            None => percents.push((target.revision.as_str(), target.percent)),
        }
    }
    let index = percents.iter().position(|(name, _)| *name == revision.key.name.as_str());
    let percents: Vec<u32> = percents.into_iter().map(|(_, percent)| percent).collect();
    index.map_or(0, |index| divide(total, &percents)[index])
}

/// `total` divided by percentages that add up to 100, rounded so that the parts add up to it: what rounding down
/// leaves goes to the largest remainders, among equals to the one named first.
fn divide(total: u32, percents: &[u32]) -> Vec<u32> {
    let hundredfold = |percent: u32| u64::from(total) * u64::from(percent);
    let mut parts: Vec<u32> = percents.iter().map(|percent| (hundredfold(*percent) / 100) as u32).collect();
    let left = total.saturating_sub(parts.iter().sum());
    let mut order: Vec<usize> = (0..percents.len()).filter(|index| percents[*index] > 0).collect();
    order.sort_by_key(|index| std::cmp::Reverse(hundredfold(percents[*index]) % 100));
    order.into_iter().take(left as usize).for_each(|index| parts[index] += 1);
    parts
}

#[cfg(test)]
mod tests;
