//! homerun's own calls below `/homerun/v1/`, beyond what Cloud Run has.

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
    /// Where it answers.
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
    /// `creating`, `starting`, `ready`, `draining` or `stopping`.
    pub state: String,
    /// Requests in flight.
    pub in_flight: u32,
    /// Ids of the GPUs that it holds.
    pub gpus: Vec<String>,
    /// When it was decided to start it.
    pub since: DateTime<Utc>,
    /// From that decision until it was ready, in milliseconds.
    pub start_millis: Option<f64>,
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
