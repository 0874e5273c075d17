//! A container of an instance as its service describes it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::quantity::{Cpu, Memory};

/// How long a container may take to start where nobody says otherwise, in seconds.
const STARTUP_SECONDS: u32 = 240;

/// One container. Fields that are `None` were not given and get a default from
/// [`crate::service::defaults`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Container {
    /// Name, unique in the instance; empty where the user gave none and there is one container.
    pub name: String,
    /// Image reference as the user wrote it.
    pub image: String,
    /// Replaces the image's entrypoint when not empty.
    pub command: Vec<String>,
    /// Replaces the image's command when not empty.
    pub args: Vec<String>,
    /// Replaces the image's working directory.
    pub working_dir: Option<String>,
    /// Environment in the order given.
    pub env: Vec<EnvVar>,
    /// The port that takes requests. Exactly one container of a service has one.
    pub port: Option<Port>,
    /// CPU limit.
    pub cpu: Option<Cpu>,
    /// Memory limit.
    pub memory: Option<Memory>,
    /// GPUs asked for; 0 and `None` both mean none.
    pub gpu_count: Option<u32>,
    /// Limits of resources that homerun does not know, as given, so that validation can name them.
    pub other_limits: BTreeMap<String, String>,
    /// Gates traffic until it succeeds.
    pub startup_probe: Option<Probe>,
    /// Restarts the container when it fails.
    pub liveness_probe: Option<Probe>,
    /// Takes the instance out of traffic while it fails.
    pub readiness_probe: Option<Probe>,
    /// Where volumes appear in the container.
    pub volume_mounts: Vec<VolumeMount>,
}

impl Container {
    /// Whether it asks for a GPU.
    pub fn has_gpu(&self) -> bool {
        self.gpu_count.unwrap_or(0) > 0
    }
}

/// One environment variable with a plain value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvVar {
    /// Name, not empty, without `=`.
    pub name: String,
    /// Value, at most 32,768 bytes.
    pub value: String,
}

/// The port that an ingress container listens on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// What the container speaks there.
    pub protocol: Protocol,
    /// 1 to 65535.
    pub number: u32,
}

/// The protocol between ingress and a container; the port's name on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// HTTP/1.1; the default.
    Http1,
    /// HTTP/2 with prior knowledge, without TLS.
    H2c,
}

/// A health check. Durations are in seconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// What is tried.
    pub check: Check,
    /// Wait before the first try; default 0.
    pub initial_delay_seconds: Option<u32>,
    /// Limit for one try; default 1 (the platform's own TCP startup probe uses 240).
    pub timeout_seconds: Option<u32>,
    /// From one try to the next; default 10.
    pub period_seconds: Option<u32>,
    /// Failures in a row that count as failed; default 3.
    pub failure_threshold: Option<u32>,
    /// Successes in a row that count as recovered; only readiness probes may have other than 1.
    pub success_threshold: Option<u32>,
}

impl Probe {
    /// The platform's own startup probe: one try that waits until the port is open, for as long as a
    /// container may take to start.
    pub fn platform_startup() -> Self {
        Self {
            check: Check::Tcp { port: None },
            initial_delay_seconds: None,
            timeout_seconds: Some(STARTUP_SECONDS),
            period_seconds: Some(STARTUP_SECONDS),
            failure_threshold: Some(1),
            success_threshold: None,
        }
    }

    /// How long it goes on trying before it has failed: failure threshold times period, in seconds, after the
    /// initial delay.
    pub fn budget_seconds(&self) -> u32 {
        self.period_seconds.unwrap_or(10).saturating_mul(self.failure_threshold.unwrap_or(3))
    }

    /// Whether it is the platform's own startup probe, whatever port that was given.
    pub fn is_platform_startup(&self) -> bool {
        matches!(self.check, Check::Tcp { .. })
            && Self { check: Check::Tcp { port: None }, ..self.clone() } == Self::platform_startup()
    }
}

/// What a probe tries. A port of `None` means the container's port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// A TCP connection is accepted.
    Tcp {
        /// Port to connect to.
        port: Option<u32>,
    },
    /// `GET path` answers 200 to 399.
    Http {
        /// Path, default `/`.
        path: Option<String>,
        /// Port to connect to.
        port: Option<u32>,
        /// Headers to send.
        headers: Vec<(String, String)>,
    },
    /// The gRPC health service answers SERVING.
    Grpc {
        /// Port to connect to.
        port: Option<u32>,
        /// Service name to ask for, default empty.
        service: Option<String>,
    },
}

/// A volume mounted into a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeMount {
    /// Name of the volume.
    pub name: String,
    /// Absolute path in the container.
    pub mount_path: String,
    /// Folder inside the volume to mount instead of its root.
    pub sub_path: Option<String>,
    /// Mounted read-only.
    pub read_only: bool,
}

/// A volume of an instance, shared by its containers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// Name, unique in the service.
    pub name: String,
    /// What is in it.
    pub source: VolumeSource,
}

/// Where a volume's content comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VolumeSource {
    /// An empty folder in memory that lives as long as the instance and counts as its memory.
    EmptyDir {
        /// Most it may hold; unlimited but for the instance's memory when absent.
        size_limit: Option<Memory>,
    },
}
