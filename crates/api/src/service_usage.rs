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
    /// What people call it, where it is one of the APIs that homerun's clients use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
}

/// Titles as the APIs publish them.
const TITLES: [(&str, &str); 7] = [
    ("cloudquotas.googleapis.com", "Cloud Quotas API"),
    ("cloudresourcemanager.googleapis.com", "Cloud Resource Manager API"),
    ("iam.googleapis.com", "Identity and Access Management (IAM) API"),
    ("logging.googleapis.com", "Cloud Logging API"),
    ("monitoring.googleapis.com", "Cloud Monitoring API"),
    ("run.googleapis.com", "Cloud Run Admin API"),
    ("serviceusage.googleapis.com", "Service Usage API"),
];

/// Whether homerun's clients use an API of this name.
pub fn is_known(name: &str) -> bool {
    TITLES.iter().any(|(api, _)| *api == name)
}

impl Service {
    /// The state of API `name` in a project.
    pub fn new(project_number: u64, name: &str, enabled: bool) -> Self {
        let title = TITLES.iter().find(|(api, _)| *api == name).map(|(_, title)| (*title).to_owned());
        Self {
            name: format!("projects/{project_number}/services/{name}"),
            parent: format!("projects/{project_number}"),
            config: Config { name: name.to_owned(), title },
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
    /// The finished switching on or off of APIs.
    pub fn switched(project_number: u64, names: &[&str], enabled: bool) -> Self {
        let services: Vec<Service> = names.iter().map(|name| Service::new(project_number, name, enabled)).collect();
        let kind = "type.googleapis.com/google.api.serviceusage.v1";
        let response = match &services[..] {
            [service] if enabled => json!({"@type": format!("{kind}.EnableServiceResponse"), "service": service}),
            [service] => json!({"@type": format!("{kind}.DisableServiceResponse"), "service": service}),
            many => json!({"@type": format!("{kind}.BatchEnableServicesResponse"), "services": many}),
        };
        Self { name: "operations/noop.DONE_OPERATION".to_owned(), done: true, response }
    }
}

/// `GET /v1/projects/P/services`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Services {
    /// Those that are enabled.
    pub services: Vec<Service>,
}

/// `POST /v1/projects/P/services:batchEnable`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct BatchEnable {
    /// Names of APIs.
    pub service_ids: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn g23_an_api_is_shown_with_its_state_and_enabled_at_once() {
        let expected = json!({
            "name": "projects/7/services/run.googleapis.com", "parent": "projects/7", "state": "ENABLED",
            "config": {"name": "run.googleapis.com", "title": "Cloud Run Admin API"},
        });
        assert_eq!(serde_json::to_value(Service::new(7, "run.googleapis.com", true)).expect("JSON"), expected);
        let operation = Operation::switched(7, &["run.googleapis.com"], true);
        assert_eq!((operation.done, &operation.response["service"]), (true, &expected));

        let other = serde_json::to_value(Service::new(7, "x.example.com", false)).expect("JSON");
        assert_eq!((&other["state"], &other["config"]), (&json!("DISABLED"), &json!({"name": "x.example.com"})));
    }
}
