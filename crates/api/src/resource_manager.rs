//! Resource Manager v1: what a project is.

use chrono::{DateTime, Utc};
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
    /// When it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub create_time: Option<DateTime<Utc>>,
}

impl Project {
    /// A project that is in use.
    pub fn active(id: &str, number: u64, create_time: Option<DateTime<Utc>>) -> Self {
        Self {
            project_number: number.to_string(),
            project_id: id.to_owned(),
            name: id.to_owned(),
            lifecycle_state: "ACTIVE".to_owned(),
            create_time,
        }
    }
}
