//! A service: the configuration that users edit, and the revisions it makes.

mod apply;
mod defaults;
pub mod retention;
mod rules;

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use crate::Timestamp;
use crate::condition::Condition;
use crate::gpu::GpuInventory;
use crate::names::{Project, Region, RevisionName, ServiceKey};
use crate::quota::Quotas;
use crate::revision::RevisionTemplate;
use crate::traffic::TrafficTarget;

pub use apply::{Change, Origin};
pub use defaults::defaults;
pub(crate) use rules::is_dns_label;
pub use rules::validate;

/// The annotation that names further audiences of a service's identity tokens, a JSON list of strings.
pub const CUSTOM_AUDIENCES: &str = "run.googleapis.com/custom-audiences";

/// What a user says about a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceSpec {
    /// Labels of the service itself, without the system's.
    pub labels: BTreeMap<String, String>,
    /// Annotations of the service itself that no field below speaks for, verbatim, without the system's.
    pub annotations: BTreeMap<String, String>,
    /// What revisions are made from.
    pub template: RevisionTemplate,
    /// Where requests go; never empty once defaults are filled in.
    pub traffic: Vec<TrafficTarget>,
    /// Who may reach the service's URLs.
    pub ingress: Option<IngressSetting>,
    /// Fewest instances over all revisions (`run.googleapis.com/minScale`).
    pub min_instances: Option<u32>,
    /// Most instances over all revisions (`run.googleapis.com/maxScale`).
    pub max_instances: Option<u32>,
    /// Exactly so many instances over all revisions, whatever the requests (`run.googleapis.com/scalingMode` and
    /// `run.googleapis.com/manualInstanceCount`).
    #[serde(default)]
    pub manual_instances: Option<u32>,
    /// Requests need no permission whatever the policy says (`run.googleapis.com/invoker-iam-disabled`).
    pub invoker_iam_disabled: Option<bool>,
    /// The service has no URL of its own, nor have its tags; it is reached by what is mapped to it alone
    /// (`run.googleapis.com/default-url-disabled`).
    #[serde(default)]
    pub default_url_disabled: Option<bool>,
}

impl ServiceSpec {
    /// Whether the service and its tags have URLs of their own.
    pub fn has_default_url(&self) -> bool {
        self.default_url_disabled != Some(true)
    }
}

/// Which networks may reach a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IngressSetting {
    /// Everybody; the default.
    All,
    /// Only from inside.
    Internal,
    /// From inside and through a load balancer.
    InternalAndCloudLoadBalancing,
}

/// A stored service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Project, region and name.
    pub key: ServiceKey,
    /// Unique for all time.
    pub uid: String,
    /// Counts the changes of `spec`, from 1.
    pub generation: u64,
    /// Counts the revisions made, for their names.
    pub revisions_made: u64,
    /// What the user said, defaults filled in.
    pub spec: ServiceSpec,
    /// When it was made.
    pub created_at: Timestamp,
    /// Who made it.
    pub creator: String,
    /// When `spec` last changed.
    pub updated_at: Timestamp,
    /// Who changed it last.
    pub last_modifier: String,
    /// The id of the change under way or done last, for `run.googleapis.com/operation-id`.
    pub operation_id: String,
    /// When its deletion was asked for.
    pub deleted_at: Option<Timestamp>,
    /// What the loops have found and done.
    pub status: ServiceStatus,
}

/// What is true of a service right now.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceStatus {
    /// The generation that the rest of the status speaks of.
    pub observed_generation: u64,
    /// The newest revision.
    pub latest_created_revision: Option<RevisionName>,
    /// The newest revision that was proven.
    pub latest_ready_revision: Option<RevisionName>,
    /// Where requests go at present, every revision named.
    pub traffic: Vec<ServingTarget>,
    /// Conditions of the service.
    pub conditions: Vec<Condition>,
}

/// A traffic target that is in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServingTarget {
    /// The revision.
    pub revision: RevisionName,
    /// Whether it is served because it is the newest ready one.
    pub latest: bool,
    /// Share of requests, 0 to 100.
    pub percent: u32,
    /// Name under which this target alone is reachable.
    pub tag: Option<String>,
}

/// What the rules must know besides the service itself.
#[derive(Debug, Clone, Copy)]
pub struct Surroundings<'a> {
    /// The project that the service is in.
    pub project: &'a Project,
    /// GPU types and where they are.
    pub gpus: &'a GpuInventory,
    /// GPU quotas.
    pub quotas: &'a Quotas,
    /// The regions that exist here.
    pub regions: &'a [Region],
    /// Defaults and limits that the operator may set.
    pub settings: &'a ServiceSettings,
}

/// Defaults and limits that Cloud Run's pages disagree on or that an operator may want otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServiceSettings {
    /// Maximum instances of a revision that names none.
    pub default_max_instances: u32,
    /// Maximum instances of a GPU revision that names none; the quota may lower it (row G07).
    pub default_max_instances_gpu: u32,
    /// Requests at a time of a revision that names none.
    pub default_concurrency: u32,
    /// The share of its concurrency at which a revision's only instance gets a second one, in percent, 10 to 95.
    #[serde(deserialize_with = "target_percent")]
    pub concurrency_target_percent: u32,
    /// The share of their CPU that instances use on average over a minute, in percent, 10 to 95; for more, more
    /// are added.
    #[serde(deserialize_with = "target_percent")]
    pub cpu_target_percent: u32,
    /// Idle time of instances, in seconds, where the service names none.
    pub idle_timeout_seconds: u32,
    /// Idle time of instances with a GPU, in seconds, where the service names none (row G19).
    pub idle_timeout_gpu_seconds: u32,
    /// Whether an idle instance above its service's minimum gives its GPU to another service of the project
    /// that waits for one (row B02).
    pub idle_gpus_give_way: bool,
    /// How long it is idle before it does, in seconds.
    pub give_way_seconds: u32,
    /// Most sandboxes that are made ahead of need for services at zero, which then wake sooner; 0 for none. There are
    /// none either while the machine is short of memory.
    pub standby: u32,
}

impl Default for ServiceSettings {
    fn default() -> Self {
        Self {
            default_max_instances: 100,
            default_max_instances_gpu: 3,
            default_concurrency: 80,
            concurrency_target_percent: 60,
            cpu_target_percent: 60,
            idle_timeout_seconds: 900,
            idle_timeout_gpu_seconds: 600,
            idle_gpus_give_way: true,
            give_way_seconds: 5,
            standby: 4,
        }
    }
}

/// A utilization that scaling may aim at, in the range that Cloud Run has for it.
fn target_percent<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let percent = u32::deserialize(deserializer)?;
    if (10..=95).contains(&percent) {
        return Ok(percent);
    }
    Err(serde::de::Error::custom(format!("a utilization target must be between 10 and 95 percent; it is {percent}")))
}
