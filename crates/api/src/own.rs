//! homerun's own calls below `/homerun/v1/`, beyond what Cloud Run has.

pub mod metrics;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// `GET /homerun/v1/status`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// homerun's version.
    pub version: String,
    /// `oci`, `kube` or `sim`.
    pub backend: String,
    /// Every service.
    pub services: Vec<Service>,
    /// Every instance that is not over.
    pub instances: Vec<Instance>,
    /// Every GPU.
    pub gpus: Vec<Gpu>,
    /// Who waits for a GPU, and why.
    #[serde(default)]
    pub waiting: Vec<Waiting>,
    /// What the operator should know.
    pub warnings: Vec<String>,
}

/// A service at a glance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Service {
    /// Its name.
    pub name: String,
    /// Its project's id.
    pub project: String,
    /// Its region.
    pub region: String,
    /// `ready`, `deploying`, `failed` or `deleting`.
    pub state: String,
    /// Why, where it is not ready.
    pub message: String,
    /// Where it answers; empty if nothing leads to it.
    pub url: String,
    /// Instances that are not over.
    pub instances: u32,
    /// Requests that wait for an instance.
    pub waiting: u32,
}

/// An instance at a glance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Instance {
    /// Its id.
    pub id: String,
    /// Its service.
    pub service: String,
    /// Its revision.
    pub revision: String,
    /// `creating`, `starting`, `ready`, `unready` (its readiness probe fails), `draining` or `stopping`.
    pub state: String,
    /// Requests in flight.
    pub in_flight: u32,
    /// Ids of the GPUs that it holds.
    pub gpus: Vec<String>,
    /// When it was decided to start it.
    pub since: DateTime<Utc>,
    /// From that decision until it was ready, in milliseconds.
    pub start_millis: Option<f64>,
    /// The steps of that, as far as they are over.
    #[serde(default)]
    pub start: Vec<StartStep>,
}

/// A step of an instance's start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StartStep {
    /// `record`, `prepare`, `create` (or `wake`, of a sandbox that stood by) or `start`.
    pub step: String,
    /// How long it took, in milliseconds.
    pub millis: f64,
}

/// A GPU at a glance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Gpu {
    /// Its id.
    pub id: String,
    /// Its type, for instance `nvidia-l4`.
    pub r#type: String,
    /// The product's name.
    pub product: String,
    /// Whether it is a simulation.
    pub simulated: bool,
    /// The instance that holds it.
    pub instance: Option<String>,
}

/// A service that waits for a GPU, or that a budget holds back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// The service.
    pub service: String,
    /// The revision.
    pub revision: String,
    /// Since when.
    pub since: DateTime<Utc>,
    /// Why, and who holds what.
    pub message: String,
}

/// `GET /homerun/v1/images`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Images {
    /// Every image that is here.
    pub images: Vec<Image>,
}

/// An image that is here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Image {
    /// The name it was pulled or imported under.
    pub name: String,
    /// `sha256:...` of its manifest.
    pub digest: String,
    /// Bytes on disk.
    pub size_bytes: u64,
    /// When it came here.
    pub create_time: DateTime<Utc>,
}

/// `POST /homerun/v1/images:import`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Imported {
    /// `NAME@sha256:...`.
    pub reference: String,
    /// `sha256:...` of its manifest.
    pub digest: String,
}

/// `POST /homerun/v1/tokens`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TokenRequest {
    /// Email of the principal; the caller's own where absent.
    pub account: Option<String>,
    /// URL that an identity token is for; an access token for the API where absent.
    pub audience: Option<String>,
    /// How long it lives, in seconds; an hour where absent.
    pub lifetime_seconds: Option<i64>,
}

/// The answer to [`TokenRequest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Token {
    /// The token.
    pub token: String,
    /// When it expires.
    pub expire_time: DateTime<Utc>,
}

/// `GET /homerun/v1/projects/P/audit`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Audit {
    /// Changes, the newest first.
    pub records: Vec<AuditRecord>,
    /// Where the next page begins, if there may be one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_page_token: Option<String>,
}

/// A change that somebody made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditRecord {
    /// When the call came.
    pub time: DateTime<Utc>,
    /// Who called.
    pub by: String,
    /// The HTTP verb.
    pub verb: String,
    /// The path of what was changed or made.
    pub path: String,
}

/// `GET /homerun/v1/projects/P/quotas`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Quotas {
    /// The project's GPU quotas, in the regions where there is anything to say about them.
    pub quotas: Vec<Quota>,
    /// What was asked for, the newest first.
    pub requests: Vec<QuotaRequest>,
}

/// A GPU quota in a region.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Quota {
    /// Its id as Cloud Run names it.
    pub quota_id: String,
    /// Its name for people.
    pub display_name: String,
    /// The GPU type.
    pub gpu_type: String,
    /// Whether it counts instances with zonal redundancy.
    pub zonal_redundancy: bool,
    /// The region.
    pub region: String,
    /// GPUs that may be held at a time.
    pub limit: u32,
    /// GPUs that were granted, or the default.
    pub granted: u32,
    /// The override that lowers it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overridden: Option<u32>,
    /// GPUs that live instances hold.
    pub used: u32,
    /// Who holds them, most first.
    pub holders: Vec<QuotaHolder>,
}

/// Who holds GPUs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuotaHolder {
    /// The service.
    pub service: String,
    /// GPUs.
    pub gpus: u32,
    /// Since when it has held the first of them.
    pub since: DateTime<Utc>,
}

/// A preference for another limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QuotaRequest {
    /// Its id.
    pub id: String,
    /// The quota's id.
    pub quota_id: String,
    /// The region; absent for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// GPUs wanted.
    pub preferred: u32,
    /// GPUs granted at present.
    pub granted: u32,
    /// Whether an administrator has to decide.
    pub pending: bool,
    /// What was said of it.
    pub detail: String,
    /// Why it is wanted.
    pub justification: String,
    /// Who asked.
    pub requester: String,
    /// When it was last changed.
    pub update_time: DateTime<Utc>,
}

/// `POST /homerun/v1/projects/P/quotaPreferences/ID:approve` and `:deny`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct QuotaDecision {
    /// GPUs to grant; as many as were asked for where absent. Only to approve.
    pub value: Option<u32>,
    /// Why not. Only to deny.
    pub reason: Option<String>,
}

/// `GET /homerun/v1/projects/P/quotaChanges`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QuotaChanges {
    /// What was changed, the newest first.
    pub changes: Vec<QuotaChange>,
}

/// The record of a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QuotaChange {
    /// When.
    pub time: DateTime<Utc>,
    /// Who.
    pub by: String,
    /// `requested`, `granted`, `denied`, `overridden` or `override removed`.
    pub action: String,
    /// The quota's id.
    pub quota_id: String,
    /// The region; absent for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// GPUs before.
    pub from: u32,
    /// GPUs afterwards, or asked for.
    pub to: u32,
    /// The request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// What was said about it.
    pub note: String,
}
