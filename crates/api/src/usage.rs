//! homerun's own calls about usage and cost: `/homerun/v1/usage`, `/homerun/v1/projects/P/usage`, `...:focus`,
//! `/homerun/v1/prices` and `/homerun/v1/projects/P/budgets`.
//!
//! Amounts of money and quantities are decimal numbers in texts: JSON's numbers would be rounded.

pub mod focus;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// Usage and cost, grouped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The first moment.
    pub from: DateTime<Utc>,
    /// The first moment after it.
    pub to: DateTime<Utc>,
    /// What lines are made by: `project`, `region`, `service`, `revision`, `label:KEY`, `sku`, `day`, `hour`.
    pub by: Vec<String>,
    /// ISO 4217 code.
    pub currency: String,
    /// What the price list calls itself.
    pub price_list: String,
    /// The lines, in the order of their keys.
    pub lines: Vec<Line>,
    /// Free usage, where the settings grant it; for all projects together.
    #[serde(default)]
    pub credits: Vec<Credit>,
    /// What the lines and credits cost together.
    pub cost: String,
    /// What the lines would have cost always on; absent where lines are made by SKU or time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub always_on: Option<String>,
    /// What the reader should know, for instance that something has no price.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// One line of a report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Line {
    /// A value for each of the report's `by`.
    pub key: Vec<String>,
    /// What was used.
    pub items: Vec<Item>,
    /// What all of it costs.
    pub cost: String,
    /// What it would have cost if the most instances that ran at the same time had always run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub always_on: Option<String>,
    /// Instances that started; absent where lines are made by SKU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub starts: Option<u64>,
    /// Requests that instances were sent; absent where lines are made by SKU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<u64>,
}

/// Something that was used, at one price.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Item {
    /// What, for instance `gpu/nvidia-l4` or `cpu-instance`.
    pub sku: String,
    /// How many units.
    pub quantity: String,
    /// The unit, for instance `GPU-second`.
    pub unit: String,
    /// What a unit costs; absent where the price list does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<String>,
    /// What it costs.
    pub cost: String,
}

/// Free usage of one month.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Credit {
    /// The month, for instance `2026-11`.
    pub month: String,
    /// What is free.
    pub sku: String,
    /// How many units of the period were free.
    pub quantity: String,
    /// The unit.
    pub unit: String,
    /// What that is worth: a negative amount.
    pub cost: String,
}

/// Single instances that have ended: `/homerun/v1/projects/P/usage:instances`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Instances {
    /// For how many days they are kept.
    pub kept_days: u32,
    /// The newest first.
    pub instances: Vec<Instance>,
}

/// An instance that has ended, and what it was billed for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Instance {
    /// Its id.
    pub id: String,
    /// Its service.
    pub service: String,
    /// Its revision.
    pub revision: String,
    /// When its first container started.
    pub started: DateTime<Utc>,
    /// When it ended; where nobody saw that, when homerun was last there.
    pub ended: DateTime<Utc>,
    /// `instance` or `request`.
    pub billing: String,
    /// Seconds that it was billed for, to a tenth.
    pub billed_seconds: String,
    /// Those of them with the startup CPU boost.
    pub boosted_seconds: String,
    /// Requests that it was sent.
    pub requests: u64,
    /// Thousandths of a vCPU.
    pub cpu_millis: u64,
    /// Thousandths that it had beyond these in the boosted seconds.
    pub boost_cpu_millis: u64,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// GPUs.
    pub gpus: u64,
    /// Their type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu_type: Option<String>,
}

/// Usage and cost in the format of the FinOps Open Cost and Usage Specification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Focus {
    /// Version of the specification.
    pub version: String,
    /// The columns.
    pub columns: Vec<FocusColumn>,
    /// The rows: a value or nothing for each column, as CSV has it.
    pub rows: Vec<Vec<Option<String>>>,
}

/// A column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FocusColumn {
    /// Its id.
    pub name: String,
    /// What its values are.
    pub kind: FocusKind,
}

/// What a column's values are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FocusKind {
    /// Text.
    String,
    /// A decimal number with a point.
    Decimal,
    /// A moment, `YYYY-MM-DDTHH:MM:SSZ`.
    Datetime,
    /// One flat JSON object.
    Json,
}

/// Budgets and where they stand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budgets {
    /// By name.
    pub budgets: Vec<BudgetStatus>,
}

/// A budget as it is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Budget {
    /// The amount per calendar month (UTC) in the price list's currency, for instance `250` or `12.50`.
    pub amount: String,
    /// The service, if it is for one only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The service's region, if it has the same name in several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Percentages at which somebody is told; 50, 90 and 100 if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thresholds: Option<Vec<u32>>,
    /// Whether no further instances are started from the whole amount on.
    #[serde(default)]
    pub stop: bool,
    /// An address that is told by a POST request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<String>,
}

/// A budget and where it stands in this month.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BudgetStatus {
    /// Its name.
    pub name: String,
    /// What was asked for.
    pub budget: Budget,
    /// ISO 4217 code.
    pub currency: String,
    /// The month, for instance `2026-11`.
    pub month: String,
    /// What has been spent in it.
    pub spent: String,
    /// The greatest threshold that has been reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reached: Option<u32>,
    /// Whether it keeps instances from being started now.
    pub stopped: bool,
}
