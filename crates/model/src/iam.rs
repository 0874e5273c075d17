//! Who may do what.

use serde::{Deserialize, Serialize};

/// The role that allows sending requests to a private service.
pub const INVOKER: &str = "roles/run.invoker";
/// The member that stands for everybody, signed in or not.
pub const ALL_USERS: &str = "allUsers";

/// An access policy as the IAM API has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Policy {
    /// Format version, 1 or 3.
    pub version: u32,
    /// Role -> members.
    pub bindings: Vec<Binding>,
    /// Changes with every change of the policy; guards against lost updates.
    pub etag: String,
}

/// One role and who has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Binding {
    /// For instance `roles/run.invoker`.
    pub role: String,
    /// For instance `allUsers` or `user:ann@example.com`.
    pub members: Vec<String>,
}

impl Policy {
    /// Whether a member has a role by this policy.
    pub fn grants(&self, role: &str, member: &str) -> bool {
        self.bindings.iter().any(|binding| binding.role == role && binding.members.iter().any(|m| m == member))
    }
}
