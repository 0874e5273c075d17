//! An instance: one running copy of a revision.

use std::collections::BTreeMap;
use std::fmt;

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

use crate::Timestamp;
use crate::billing::Steady;
use crate::container::{Probe, Protocol, Volume, VolumeMount};
use crate::names::{DeviceId, InstanceId, RevisionKey, ServiceName};
use crate::quantity::{Cpu, Memory};

/// How long the CPU boost of a start goes on once the instance is ready, as on Cloud Run.
pub const STARTUP_BOOST: TimeDelta = TimeDelta::seconds(10);

/// Everything a backend needs to run an instance, decided before it is asked to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceSpec {
    /// The instance's id.
    pub id: InstanceId,
    /// The revision that it runs.
    pub revision: RevisionKey,
    /// The service that the revision belongs to.
    pub service: ServiceName,
    /// Its containers in the order given by the service. They start in the order of `start_waves`.
    pub containers: Vec<ContainerSpec>,
    /// Groups of container indexes; a group starts when every container of the groups before it has
    /// passed its startup probe (or has started, if it has none).
    pub start_waves: Vec<Vec<usize>>,
    /// Volumes shared by the containers.
    pub volumes: Vec<Volume>,
    /// GPUs of the instance, all for the container [`ContainerSpec::gpu`].
    pub gpus: Vec<DeviceId>,
    /// Whether its GPUs count for the quota with zonal redundancy (row G25).
    #[serde(default)]
    pub gpu_zonal_redundancy: bool,
    /// Where requests go.
    pub ingress: IngressPort,
    /// When control decided to start it.
    pub decided_at: Timestamp,
}

/// The port of an instance that takes requests.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct IngressPort {
    /// Port number in the instance's own network.
    pub port: u16,
    /// What the container speaks there.
    pub protocol: Protocol,
}

/// One container of an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerSpec {
    /// Name, unique in the instance, never empty.
    pub name: String,
    /// The pinned image, `NAME@sha256:...`.
    pub image: String,
    /// Replaces the image's entrypoint when not empty.
    pub command: Vec<String>,
    /// Replaces the image's command when not empty.
    pub args: Vec<String>,
    /// Replaces the image's working directory.
    pub working_dir: Option<String>,
    /// Environment on top of the image's, PORT and K_* included.
    pub env: BTreeMap<String, String>,
    /// CPU limit as asked; a backend caps it at what the machine has.
    pub cpu: Cpu,
    /// CPU limit while it starts and for [`STARTUP_BOOST`] after, where it is more then.
    #[serde(default)]
    pub startup_cpu: Option<Cpu>,
    /// Memory limit as asked; a backend caps it at what the machine has.
    pub memory: Memory,
    /// Whether this container owns the instance's GPUs.
    pub gpu: bool,
    /// Whether the image's CUDA forward-compatibility libraries come before the driver's.
    #[serde(default)]
    pub cuda_compat: bool,
    /// Gates the container's being ready.
    pub startup_probe: Option<Probe>,
    /// Restarts the instance when it fails.
    pub liveness_probe: Option<Probe>,
    /// Keeps requests from the instance while it fails.
    #[serde(default)]
    pub readiness_probe: Option<Probe>,
    /// The container's own port, which probes use unless they name another.
    pub port: Option<u16>,
    /// Where volumes appear.
    pub volume_mounts: Vec<VolumeMount>,
}

/// What a backend reports of an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObservedInstance {
    /// What it was started with.
    pub spec: InstanceSpec,
    /// Where it is in its life.
    pub state: InstanceState,
    /// When it reached each step.
    pub stamps: Stamps,
    /// What the user should know, for instance that a limit was capped or that the container listens on
    /// 127.0.0.1 only.
    pub warnings: Vec<String>,
    /// Containers whose readiness probe fails, and what it says. A ready instance gets requests while there are
    /// none.
    #[serde(default)]
    pub unready: BTreeMap<String, String>,
    /// Whether it had ended when this homerun came, at a time that nobody knows: it is about to be over.
    #[serde(default)]
    pub lost: bool,
}

impl ObservedInstance {
    /// Whether it can take new requests.
    pub fn takes_requests(&self) -> bool {
        self.state == InstanceState::Ready && self.unready.is_empty()
    }
}

/// The life of an instance.
///
/// ```text
/// Creating -> Starting -> Ready -> Stopping -> Stopped
///     \----------\----------\---------\------> Failed
/// ```
///
/// Until it is Stopped or Failed an instance holds its GPUs; in those two states nothing of it is left
/// (no process, mount, namespace, cgroup), and only the record waits to be removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InstanceState {
    /// Its sandbox is being made.
    Creating,
    /// Its containers run and have not all passed their startup probes.
    Starting,
    /// It can take requests.
    Ready,
    /// It was asked to stop and has not ended yet.
    Stopping,
    /// It ended as it was asked to.
    Stopped,
    /// It ended, or never came up, for a reason of its own.
    Failed(Failure),
}

impl InstanceState {
    /// Whether nothing of the instance is left but its record.
    pub fn is_over(&self) -> bool {
        matches!(self, Self::Stopped | Self::Failed(_))
    }
}

/// Why an instance failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// Its sandbox could not be made or its program not started.
    Create {
        /// What went wrong, a sentence.
        message: String,
    },
    /// A container ended before it was ready or while it should serve.
    Exited {
        /// The container's name.
        container: String,
        /// Exit code, 128 + N for signal N; unknown for a process that an earlier homerun started.
        code: Option<i32>,
        /// Whether the memory limit ended it.
        out_of_memory: bool,
        /// Whether it had been ready.
        was_ready: bool,
    },
    /// A startup probe did not pass in time.
    StartupProbe {
        /// The container's name.
        container: String,
        /// What the last try said, for instance `connection refused`.
        last_error: String,
    },
    /// A liveness probe failed too often.
    LivenessProbe {
        /// The container's name.
        container: String,
        /// What the last try said.
        last_error: String,
    },
}

impl fmt::Display for Failure {
    /// A sentence for people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create { message } => write!(f, "The container could not be started: {message}"),
            Self::Exited { container, out_of_memory: true, .. } => write!(
                f,
                "Container '{container}' used more memory than its limit and was ended. Raise the memory limit."
            ),
            Self::Exited { container, code: Some(code), .. } => {
                write!(f, "Container '{container}' called exit({code}).")
            }
            Self::Exited { container, code: None, .. } => write!(f, "Container '{container}' ended."),
            Self::StartupProbe { container, last_error } => {
                write!(f, "The startup probe of container '{container}' failed: {last_error}.")
            }
            Self::LivenessProbe { container, last_error } => {
                write!(f, "The liveness probe of container '{container}' failed: {last_error}.")
            }
        }
    }
}

/// When an instance reached each step of its life; the cold-start receipt and the meter read these.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Stamps {
    /// Its sandbox was begun.
    pub creating: Option<Timestamp>,
    /// Its first container was described and is about to be made.
    pub prepared: Option<Timestamp>,
    /// Whether its sandbox had been made ahead of need, and was woken rather than created.
    pub woken: bool,
    /// Its first process was started.
    pub started: Option<Timestamp>,
    /// It passed its startup probes.
    pub ready: Option<Timestamp>,
    /// It was asked to stop.
    pub stopping: Option<Timestamp>,
    /// Its last process ended.
    pub ended: Option<Timestamp>,
    /// Those of them that the meter needs, by a clock that is never set.
    pub steady: SteadyStamps,
}

/// The same moments by a clock that is never set: what an instance is billed for is measured by it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SteadyStamps {
    /// See [`Stamps::started`].
    pub started: Option<Steady>,
    /// See [`Stamps::ready`].
    pub ready: Option<Steady>,
    /// See [`Stamps::stopping`].
    pub stopping: Option<Steady>,
    /// See [`Stamps::ended`]. `None` also for an instance that is over and ended while nobody watched it.
    pub ended: Option<Steady>,
}
