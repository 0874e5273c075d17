//! Metrics over time.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// `GET /homerun/v1/projects/P/metrics`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metrics {
    /// From when on.
    pub from: DateTime<Utc>,
    /// Until when; not later than now.
    pub to: DateTime<Utc>,
    /// The service; absent for all of the project together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The service's region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// How long each point is, in seconds.
    pub step_seconds: i64,
    /// What happened, the oldest first.
    pub points: Vec<Point>,
    /// The GPUs that occur, as far as the machine still has them.
    pub gpus: Vec<Gpu>,
    /// What the reader should know.
    pub notes: Vec<String>,
}

/// What happened in some time. What there was none of is left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Point {
    /// When it begins.
    pub time: DateTime<Utc>,
    /// How much of it is over, in seconds.
    pub seconds: f64,
    /// Requests by class of their status: `2xx`, `3xx`, `4xx`, `5xx`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub requests: BTreeMap<String, u64>,
    /// Latencies of the requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<Latency>,
    /// Instances that became ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub starts: Option<Starts>,
    /// Instances by state: `creating`, `starting`, `ready`, `stopping`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub instances: BTreeMap<String, Count>,
    /// GPUs that instances held, by id.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub gpus: BTreeMap<String, GpuUse>,
}

/// Percentiles in milliseconds, each off by 3.2 % at most.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Latency {
    /// Half of the requests took no longer.
    pub p50_millis: f64,
    /// 95 of 100.
    pub p95_millis: f64,
    /// 99 of 100.
    pub p99_millis: f64,
}

/// Instances that became ready.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Starts {
    /// From the decision to ready.
    #[serde(flatten)]
    pub times: Times,
    /// The steps of that, by name: `record`, `prepare`, `create` (or `wake`, of a sandbox that stood by), `start`.
    pub steps: Vec<StepTimes>,
}

/// A step of starts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepTimes {
    /// Its name.
    pub step: String,
    /// How long it took.
    #[serde(flatten)]
    pub times: Times,
}

/// How long something took.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Times {
    /// How often it happened.
    pub count: u64,
    /// On average, in milliseconds.
    pub mean_millis: f64,
    /// The longest, in milliseconds.
    pub most_millis: f64,
}

/// A number of instances.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Count {
    /// On average over the time.
    pub mean: f64,
    /// At most at a time.
    pub most: u64,
}

/// A GPU while instances held it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GpuUse {
    /// For how long it was held and looked at, in seconds.
    pub held_seconds: f64,
    /// The share of that in which it worked, 0 to 1.
    pub busy: f64,
    /// The most of it.
    pub most_busy: f64,
    /// Memory in use, in bytes, on average.
    pub memory_bytes: f64,
    /// The most of it.
    pub most_memory_bytes: u64,
}

/// A GPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Gpu {
    /// Its id.
    pub id: String,
    /// Its type, for instance `nvidia-l4`.
    pub r#type: String,
    /// The product's name.
    pub product: String,
    /// Its memory in bytes.
    pub memory_bytes: u64,
    /// Whether it is simulated: what it is said to do is then a stand-in.
    pub simulated: bool,
}
