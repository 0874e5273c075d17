//! What is wrong with a request, field by field.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One broken rule: where, what is wrong and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// Path of the field in the v1 API, for instance
    /// `spec.template.spec.containers[0].resources.limits[cpu]`.
    pub field: String,
    /// What is wrong and what would be right, as a sentence for the user.
    pub message: String,
}

impl Violation {
    /// A violation of the rule that `message` states, at `field`.
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}
