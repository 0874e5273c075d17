//! A revision: one immutable configuration of a service.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Timestamp;
use crate::condition::Condition;
use crate::container::{Container, Protocol, Volume};
use crate::names::{GpuType, RevisionKey, ServiceName};

/// What a revision is made from. Fields that are `None` were not given and get a default from
/// [`crate::service::defaults`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RevisionTemplate {
    /// The revision's full name, where the user chose one.
    pub name: Option<String>,
    /// Labels, carried to the revision.
    pub labels: BTreeMap<String, String>,
    /// Annotations that no field below speaks for, verbatim.
    pub annotations: BTreeMap<String, String>,
    /// The containers in the order given.
    pub containers: Vec<Container>,
    /// Volumes that containers mount.
    pub volumes: Vec<Volume>,
    /// Container -> the containers that must have started before it.
    pub container_dependencies: BTreeMap<String, Vec<String>>,
    /// Requests that an instance serves at the same time, 1 to 1000.
    pub concurrency: Option<u32>,
    /// Longest a request may take, in seconds, 1 to 3600.
    pub timeout_seconds: Option<u32>,
    /// Email of the identity that the instances have.
    pub service_account: Option<String>,
    /// The GPU type from the node selector.
    pub gpu_type: Option<GpuType>,
    /// Node selectors that homerun does not know, as given, so that validation can name them.
    pub other_node_selectors: BTreeMap<String, String>,
    /// Whether the GPU has zonal redundancy.
    pub gpu_zonal_redundancy: Option<bool>,
    /// Fewest instances kept for this revision.
    pub min_instances: Option<u32>,
    /// Most instances of this revision.
    pub max_instances: Option<u32>,
    /// The CPU utilization that scaling aims at (`run.googleapis.com/scaling-cpu-target`).
    pub cpu_target: Option<UtilizationTarget>,
    /// The utilization of the concurrency that scaling aims at (`run.googleapis.com/scaling-concurrency-target`).
    pub concurrency_target: Option<UtilizationTarget>,
    /// CPU only while a request is served (`true`) or always (`false`).
    pub cpu_throttling: Option<bool>,
    /// More CPU while starting.
    pub startup_cpu_boost: Option<bool>,
    /// Which sandbox the instances run in.
    pub execution_environment: Option<ExecutionEnvironment>,
    /// A client's requests go to the same instance where possible.
    pub session_affinity: Option<bool>,
    /// How long an instance may be idle before it is stopped, in seconds (`homerun.dev/idle-timeout`).
    pub idle_timeout_seconds: Option<u32>,
    /// The image's CUDA forward-compatibility libraries come before the driver's
    /// (`homerun.dev/cuda-compat`).
    pub cuda_compat: Option<bool>,
}

/// The sandbox generations that Cloud Run names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExecutionEnvironment {
    /// First generation.
    Gen1,
    /// Second generation: the full system call interface; GPUs need it.
    Gen2,
}

/// A utilization that scaling aims at, as its user has set it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UtilizationTarget {
    /// This many thousandths of what an instance can take.
    Thousandths(u32),
    /// It is not a reason to scale.
    Disabled,
}

impl RevisionTemplate {
    /// Index of the container that takes requests: the one with a port, or the only one.
    pub fn ingress_container(&self) -> Option<usize> {
        match self.containers.as_slice() {
            [_] => Some(0),
            many => many.iter().position(|container| container.port.is_some()),
        }
    }

    /// What the container that takes requests speaks.
    pub fn protocol(&self) -> Protocol {
        let port = self.ingress_container().and_then(|index| self.containers[index].port.as_ref());
        port.map_or(Protocol::Http1, |port| port.protocol)
    }

    /// Index of the container that owns the GPU, if one does.
    pub fn gpu_container(&self) -> Option<usize> {
        self.containers.iter().position(|container| container.gpu_count.unwrap_or(0) > 0)
    }
}

/// An image as pinned when the revision was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinnedImage {
    /// `NAME@sha256:...`.
    pub reference: String,
    /// `sha256:...` of the manifest.
    pub digest: String,
}

/// How far a revision has come.
///
/// ```text
/// Deploying --first instance ready--> Ready
///     \------image, start or probe failed, or given up--> Failed
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Its first instance is being brought up to prove it.
    Deploying,
    /// An instance of it has passed its startup probe once.
    Ready,
    /// It was never proven; the reason stands in its conditions.
    Failed,
}

/// A stored revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revision {
    /// Project, region and name.
    pub key: RevisionKey,
    /// The service that it belongs to.
    pub service: ServiceName,
    /// Unique for all time.
    pub uid: String,
    /// The service's generation that made it.
    pub generation: u64,
    /// The configuration, defaults filled in.
    pub template: RevisionTemplate,
    /// When it was made.
    pub created_at: Timestamp,
    /// Who made it.
    pub creator: String,
    /// Its images, in the order of its containers; empty until they are resolved.
    pub images: Vec<PinnedImage>,
    /// When they were resolved and here.
    #[serde(default)]
    pub images_at: Option<Timestamp>,
    /// How far it has come.
    pub phase: Phase,
    /// What is true of it, and why not.
    pub conditions: Vec<Condition>,
    /// Things the user should know that are no failures, for instance an image whose CUDA is newer
    /// than the driver.
    #[serde(default)]
    pub warnings: Vec<String>,
}

impl Revision {
    /// The service's key.
    pub fn service_key(&self) -> crate::names::ServiceKey {
        crate::names::ServiceKey {
            project: self.key.project.clone(),
            region: self.key.region.clone(),
            name: self.service.clone(),
        }
    }

    /// GPUs that each instance holds.
    pub fn gpus_per_instance(&self) -> u32 {
        self.template.containers.iter().map(|container| container.gpu_count.unwrap_or(0)).sum()
    }
}
