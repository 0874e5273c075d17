//! Route: from a request's host to a revision, as control publishes it service by service.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use homerun_model::container::Protocol;
use homerun_model::instance::IngressPort;
use homerun_model::names::{InstanceId, RevisionKey, ServiceKey};
use homerun_model::receipt::Receipt;
use homerun_model::service::IngressSetting;

use crate::pool::Pool;

/// Everything ingress knows about a service. Control publishes it whole; it replaces what was there.
/// Without hosts and revisions the service is gone.
#[derive(Debug, Clone, Default)]
pub struct ServiceRoutes {
    /// Which route a host takes. Keys are in lower case, without a port. A tag's host has a route of its
    /// own with a single target.
    pub hosts: HashMap<String, Arc<Route>>,
    /// The revisions that routes lead to, and any others whose instances still serve requests.
    pub revisions: HashMap<RevisionKey, RevisionRoute>,
}

/// Where the requests of a host go.
#[derive(Debug, Clone)]
pub struct Route {
    /// The service that the host belongs to.
    pub service: ServiceKey,
    /// Whether anybody may invoke the service; no caller is asked for a token then.
    pub public: bool,
    /// Which networks may reach the service.
    pub access: IngressSetting,
    /// Where requests go. The percentages add up to 100; empty while nothing of the service is ready.
    pub targets: Vec<Target>,
    /// What requests are told while `targets` is empty; without it, [`Refusal::NotReady`].
    pub unready: Option<Refusal>,
}

/// One revision of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The revision.
    pub revision: RevisionKey,
    /// Its share of the route's requests, 0 to 100.
    pub percent: u32,
}

/// How a revision takes requests.
#[derive(Debug, Clone)]
pub struct RevisionRoute {
    /// Requests that one instance serves at the same time, at least 1.
    pub concurrency: u32,
    /// How long a request may take, from the moment an instance takes it to the end of the response.
    pub timeout: Duration,
    /// Instances that a minimum keeps and that cost something while they have nothing to do: see
    /// [`Usage::idle`](crate::Usage::idle).
    pub kept: u32,
    /// What its containers speak.
    pub protocol: Protocol,
    /// Whether a client's requests go to the instance that served it before; see [`crate::affinity`].
    pub affinity: bool,
    /// The instances that are ready. One that is missing here gets no new request from the moment
    /// [`Ingress::publish`](crate::Ingress::publish) returns; those it serves go on.
    pub endpoints: Vec<Endpoint>,
    /// How long a request may wait for an instance, counted from its arrival.
    pub max_wait: Duration,
    /// Instead of waiting, requests are told this: those that wait now, and new ones that find no free
    /// instance. For instance because the container fails to start.
    pub refuse_now: Option<Refusal>,
    /// What a request is told when it has waited for `max_wait`: control knows whether the maximum, the
    /// quota or something else kept it waiting.
    pub refuse_late: Refusal,
}

/// An instance that is ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Its id.
    pub instance: InstanceId,
    /// Where it takes requests.
    pub ingress: IngressPort,
    /// How long its start took.
    pub receipt: Receipt,
    /// Whether it has CPU only while it has requests: see [`Ingress::rest`](crate::Ingress::rest).
    pub throttled: bool,
}

/// Why no instance can take a request. The status codes are `respond`'s business.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Every instance that the maximum allows is busy, or the queue is full: 429.
    NoInstance,
    /// Instances could not be added for a reason that is neither the maximum nor the quota: 500.
    ScalingFailed,
    /// The project's quota is used up: 503.
    QuotaExceeded {
        /// The sentence for the user: which quota, and who holds it.
        message: String,
    },
    /// The container does not start: 503.
    CannotStart {
        /// The sentence for the user.
        message: String,
    },
    /// Nothing of the service is ready: 503.
    NotReady,
}

/// A host without its port and final dot.
pub(crate) fn without_port(host: &str) -> &str {
    let name = match host.rfind(':') {
        Some(colon) if !host[colon..].contains(']') => &host[..colon],
        _ => host,
    };
    name.strip_suffix('.').unwrap_or(name)
}

/// A host's route with its pools at hand.
pub(crate) struct HostRoute {
    pub(crate) service: Arc<ServiceKey>,
    pub(crate) public: bool,
    pub(crate) access: IngressSetting,
    /// Whether requests can take `lane`.
    pub(crate) plain: bool,
    /// Those that keep their clients.
    sticky: Vec<Arc<Pool>>,
    /// One entry per percent, the targets spread evenly. `None` for a revision that the table lacks.
    schedule: Vec<Option<Arc<Pool>>>,
    unready: Refusal,
    /// Requests so far. It outlives the table, so that frequent publishing does not favour the targets
    /// at the front of the schedule.
    turn: Arc<AtomicU64>,
}

impl HostRoute {
    pub(crate) fn new(route: &Route, pools: &HashMap<RevisionKey, Arc<Pool>>, turn: Arc<AtomicU64>) -> Self {
        let schedule = spread(&route.targets.iter().map(|target| target.percent).collect::<Vec<_>>())
            .into_iter()
            .map(|index| pools.get(&route.targets[index].revision).cloned())
            .collect();
        let targets: Vec<_> = route.targets.iter().filter_map(|target| pools.get(&target.revision)).collect();
        let plain = route.public
            && targets.iter().all(|pool| pool.with_route(|route| route.protocol == Protocol::Http1 && !route.affinity));
        let sticky = targets.into_iter().filter(|pool| pool.with_route(|route| route.affinity)).cloned().collect();
        let unready = route.unready.clone().unwrap_or(Refusal::NotReady);
        let service = Arc::new(route.service.clone());
        Self { service, public: route.public, access: route.access, plain, sticky, schedule, unready, turn }
    }

    pub(crate) fn turn(&self) -> Arc<AtomicU64> {
        self.turn.clone()
    }

    /// Whether any of the revisions keeps its clients.
    pub(crate) fn is_sticky(&self) -> bool {
        !self.sticky.is_empty()
    }

    /// The revision of the instance that the client comes back to; else the one whose turn it is, exact over every
    /// hundred requests.
    pub(crate) fn pick(&self, client: Option<u64>) -> Result<&Arc<Pool>, &Refusal> {
        if let Some(mark) = client
            && let Some(pool) = self.sticky.iter().find(|pool| pool.has(mark))
        {
            return Ok(pool);
        }
        let target = match self.schedule.len() {
            0 => None,
            1 => self.schedule[0].as_ref(),
            length => {
                let turn = self.turn.fetch_add(1, Ordering::Relaxed);
                self.schedule[(turn % length as u64) as usize].as_ref()
            }
        };
        target.ok_or(&self.unready)
    }
}

/// Indexes of `weights` in an order in which each appears as often as it weighs, as evenly as possible
/// (smooth weighted round robin). A single target needs a single entry.
fn spread(weights: &[u32]) -> Vec<usize> {
    let total: i64 = weights.iter().copied().map(i64::from).sum();
    if let Some(only) = weights.iter().position(|weight| i64::from(*weight) == total && total > 0) {
        return vec![only];
    }
    let mut credit = vec![0_i64; weights.len()];
    (0..total)
        .filter_map(|_| {
            credit.iter_mut().zip(weights).for_each(|(credit, weight)| *credit += i64::from(*weight));
            let best = (0..credit.len()).rev().max_by_key(|index| credit[*index])?;
            credit[best] -= total;
            Some(best)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s09_a_split_is_exact_and_spread_evenly() {
        assert_eq!(spread(&[50, 25, 25])[..4], [0, 1, 2, 0]);
        let order = spread(&[97, 0, 3]);
        assert_eq!(order.iter().filter(|index| **index == 2).count(), 3);
        assert_eq!(order.len(), 100);
        let gaps: Vec<_> = (0..100).filter(|at| order[*at] == 2).collect();
        assert!(gaps.windows(2).all(|pair| (30..=36).contains(&(pair[1] - pair[0]))), "{gaps:?}");
        assert_eq!(spread(&[0, 100]), [1]);
        assert!(spread(&[]).is_empty());
    }

    #[test]
    fn s09_a_host_is_found_whatever_its_port_case_and_final_dot() {
        let names = ["a.test:80", "a.test.", "a.test.:80", "[::1]:80", "[::1]", "a.test:"];
        assert_eq!(names.map(without_port), ["a.test", "a.test", "a.test", "[::1]", "[::1]", "a.test"]);
    }
}
