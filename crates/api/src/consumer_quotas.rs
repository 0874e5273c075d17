//! Service Usage v1beta1: the same quotas by metric, and overrides that lower their limits.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::cloud_quotas::Int64;

/// The unit of every GPU limit, literally.
pub const UNIT: &str = "1/{project}/{region}";

/// A metric with its limits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConsumerQuotaMetric {
    /// `projects/NUMBER/services/SERVICE/consumerQuotaMetrics/METRIC`.
    pub name: String,
    /// For instance `run.googleapis.com/nvidia_l4_gpu_allocation_no_zonal_redundancy`.
    pub metric: String,
    /// Its name for people.
    pub display_name: String,
    /// Its limits.
    pub consumer_quota_limits: Vec<ConsumerQuotaLimit>,
    /// What it counts.
    pub unit: String,
}

/// A limit of a metric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConsumerQuotaLimit {
    /// The metric's name, `/limits/` and the unit's dimensions.
    pub name: String,
    /// The metric.
    pub metric: String,
    /// [`UNIT`].
    pub unit: String,
    /// Whether it counts with absolute precision.
    pub is_precise: bool,
    /// That of every region first, then those of single regions.
    pub quota_buckets: Vec<QuotaBucket>,
    /// The regions that there are.
    pub supported_locations: Vec<String>,
}

/// What is in force in a region.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QuotaBucket {
    /// What is in force.
    pub effective_limit: Int64,
    /// What was granted, or the default.
    pub default_limit: Int64,
    /// What lowers it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consumer_override: Option<QuotaOverride>,
    /// `region`; empty for every region.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub dimensions: BTreeMap<String, String>,
}

/// What lowers a limit.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct QuotaOverride {
    /// The limit's name, `/consumerOverrides/` and an id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub override_value: Option<Int64>,
    /// `region`; empty for every region.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub dimensions: BTreeMap<String, String>,
    /// The metric.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metric: Option<String>,
    /// [`UNIT`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// For administrators of folders and organizations, which do not exist here.
    #[serde(skip_serializing)]
    pub admin_override_ancestor: Option<String>,
}

/// `GET .../consumerQuotaMetrics`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListConsumerQuotaMetrics {
    /// The metrics.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub metrics: Vec<ConsumerQuotaMetric>,
    /// Where the next page begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_page_token: Option<String>,
}

/// `GET .../consumerOverrides`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ListConsumerOverrides {
    /// The overrides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub overrides: Vec<QuotaOverride>,
}

/// `POST .../consumerQuotaMetrics:importConsumerOverrides`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ImportConsumerOverrides {
    /// The overrides.
    pub inline_source: Option<InlineSource>,
    /// Do without the safety checks.
    pub force: bool,
    /// Do without these safety checks.
    pub force_only: Vec<String>,
}

/// Overrides in the body itself.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct InlineSource {
    /// The overrides.
    pub overrides: Vec<QuotaOverride>,
}

/// The finished operation that changed overrides; `deleted` for one that removed them.
pub fn done(overrides: &[QuotaOverride], deleted: bool) -> Value {
    let kind = "type.googleapis.com/google.api.serviceusage.v1beta1";
    let response = match (overrides, deleted) {
        (_, true) => json!({"@type": "type.googleapis.com/google.protobuf.Empty"}),
        (all, false) => json!({"@type": format!("{kind}.ImportConsumerOverridesResponse"), "overrides": all}),
    };
    json!({"name": "operations/noop.DONE_OPERATION", "done": true, "response": response})
}
