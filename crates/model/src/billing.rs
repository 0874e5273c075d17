//! What instances are billed for: time and requests as whole numbers, prices, reports, budgets.
//!
//! ```text
//! state changes --Life--> what one instance is billed for --Book--> deltas per hour and subject
//!     deltas, added up --report--> lines with quantities and costs --budget--> warnings, a stop
//! ```
//!
//! Rules and units are Cloud Run's (<https://cloud.google.com/run/pricing>). With *instance-based* billing an
//! instance is billed from the start of its first container until its end, and at least for a minute. With
//! *request-based* billing it is billed while it starts, while it has at least one request, and while it ends;
//! as many as the minimum has more than are billed so at a moment are billed at an idle rate. Both in steps of 100 ms,
//! rounded up. CPU that instances have beyond their limit while they start is billed like any other.
//! A GPU always comes with instance-based billing (row G05), so it is billed for the whole life (row G21).
//!
//! All of it is in integers: no amount depends on how often somebody looked.

mod book;
pub mod budget;
mod life;
mod money;
pub mod prices;
pub mod report;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::instance::{ContainerSpec, InstanceSpec};
use crate::names::{GpuType, ProjectId, Region, RevisionName, ServiceName};
use crate::plan::throttle;
use crate::revision::Revision;

pub use book::{Book, Delta, Moment, Open, Sighting};
pub use life::{Busy, Change, Life, Served, Used};
pub use money::{Money, Rate};

/// Milliseconds of the step that time is billed in.
pub const STEP_MILLIS: u64 = 100;

/// Steps of the shortest time that instance-based billing knows: a minute.
pub const MINIMUM_STEPS: u64 = 600;

/// Milliseconds of a clock that is never set, since the machine's start. It stands still while the machine sleeps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Steady(pub u64);

impl Steady {
    /// Milliseconds since `earlier`; 0 if that is later.
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Steps of a time in milliseconds, rounded up.
pub fn steps(millis: u64) -> u64 {
    millis.div_ceil(STEP_MILLIS)
}

/// How a revision's instances are billed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Billing {
    /// For their whole life.
    Instance,
    /// While they start, serve and end.
    Request,
}

impl Billing {
    /// How a revision's instances are billed: a GPU, or CPU that is always allocated, means their whole life.
    pub fn of(revision: &Revision) -> Self {
        let by_request = throttle::is_throttled(revision) && revision.gpus_per_instance() == 0;
        if by_request { Self::Request } else { Self::Instance }
    }
}

/// What an instance has, as it was asked for (row G04): what it is billed for in every step.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Shape {
    /// How it is billed.
    pub billing: Billing,
    /// Thousandths of a vCPU of all containers together.
    pub cpu_millis: u64,
    /// Thousandths of a vCPU that it has more than that while it starts (startup CPU boost).
    #[serde(default, skip_serializing_if = "is_zero")]
    pub boost_millis: u64,
    /// Bytes of memory of all containers together.
    pub memory_bytes: u64,
    /// The type of its GPUs, if it has any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<GpuType>,
    /// How many GPUs it has.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub gpus: u64,
    /// Whether its GPUs have zonal redundancy, which has a price of its own (row G25).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub zonal_redundancy: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Shape {
    /// The shape of an instance whose GPUs are of the type `gpu`.
    pub fn of(spec: &InstanceSpec, gpu: Option<GpuType>, billing: Billing) -> Self {
        let boost = |container: &ContainerSpec| container.startup_cpu.map_or(0, |boosted| boosted.millis());
        let more = |container: &ContainerSpec| boost(container).saturating_sub(container.cpu.millis());
        Self {
            billing,
            cpu_millis: spec.containers.iter().map(|container| container.cpu.millis()).sum(),
            boost_millis: spec.containers.iter().map(more).sum(),
            memory_bytes: spec.containers.iter().map(|container| container.memory.bytes()).sum(),
            gpus: if gpu.is_some() { spec.gpus.len() as u64 } else { 0 },
            gpu,
            zonal_redundancy: spec.gpu_zonal_redundancy && !spec.gpus.is_empty(),
        }
    }
}

/// Whom usage belongs to. A revision whose service gets other labels is another subject from then on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Subject {
    /// The project.
    pub project: ProjectId,
    /// The region.
    pub region: Region,
    /// The service.
    pub service: ServiceName,
    /// The revision.
    pub revision: RevisionName,
    /// What each of its instances has.
    pub shape: Shape,
    /// Labels of the service and the revision; the revision's win.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// A subject's number in the store.
pub type SubjectId = i64;
