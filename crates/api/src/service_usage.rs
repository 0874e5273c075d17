//! Service Usage v1: whether an API is enabled in a project.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// `GET /v1/projects/P/services/S`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Service {
    /// `projects/NUMBER/services/NAME`.
    pub name: String,
    /// `projects/NUMBER`.
    pub parent: String,
    /// What the service is.
    pub config: Config,
    /// `ENABLED` or `DISABLED`.
    pub state: String,
}

/// What a service is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// For instance `run.googleapis.com`.
    pub name: String,
}

impl Service {
    /// The state of API `name` in a project.
    pub fn new(project_number: u64, name: &str, enabled: bool) -> Self {
        Self {
            name: format!("projects/{project_number}/services/{name}"),
            parent: format!("projects/{project_number}"),
            config: Config { name: name.to_owned() },
            state: if enabled { "ENABLED" } else { "DISABLED" }.to_owned(),
        }
    }
}

/// A long-running operation as these calls return it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Operation {
    /// Its name.
    pub name: String,
    /// Whether it is over.
    pub done: bool,
    /// Its result.
    pub response: Value,
}

impl Operation {
    /// The finished enabling of API `name`.
    pub fn enabled(project_number: u64, name: &str) -> Self {
        let service = Service::new(project_number, name, true);
        Self {
            name: "operations/noop.DONE_OPERATION".to_owned(),
            done: true,
            response: json!({
                "@type": "type.googleapis.com/google.api.serviceusage.v1.EnableServiceResponse",
                "service": service,
            }),
        }
    }
}
