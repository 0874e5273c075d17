//! Long-running operations as `google.longrunning` publishes them.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// An operation.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Operation {
    /// `projects/P/locations/L/operations/ID`.
    pub name: String,
    /// Whether it is over; then it has an error or a response.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub done: bool,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Status>,
    /// What it made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response: Option<Map<String, Value>>,
}

/// `google.rpc.Status`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// A `google.rpc.Code`.
    pub code: i32,
    /// A sentence.
    pub message: String,
}

/// A page of operations.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ListOperations {
    /// The operations.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub operations: Vec<Operation>,
    /// Where the next page begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_page_token: Option<String>,
}

/// The body of `:wait`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct WaitOperation {
    /// Seconds, such as `30s`.
    pub timeout: Option<String>,
}
