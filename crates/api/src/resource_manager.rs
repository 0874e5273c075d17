//! Resource Manager v1: what a project is.

use serde::{Deserialize, Serialize};

/// `GET /v1/projects/P`. gcloud asks for it to find out whether a project's id and a number mean the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Project {
    /// Its number, as text.
    pub project_number: String,
    /// Its id.
    pub project_id: String,
    /// Its name for people; the id.
    pub name: String,
    /// `ACTIVE`.
    pub lifecycle_state: String,
}

impl Project {
    /// A project that is in use.
    pub fn active(id: &str, number: u64) -> Self {
        Self {
            project_number: number.to_string(),
            project_id: id.to_owned(),
            name: id.to_owned(),
            lifecycle_state: "ACTIVE".to_owned(),
        }
    }
}
