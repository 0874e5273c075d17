//! GPU quotas over HTTP: Cloud Quotas, Service Usage, and homerun's own calls.

pub(super) mod cloud;
pub(super) mod consumer;
pub(super) mod own;

use std::collections::BTreeMap;

use axum::Router;
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use homerun_api::cloud_quotas::Int64;
use homerun_api::error::ApiError;
use homerun_api::service_usage;
use homerun_model::names::Region;
use homerun_model::quota::SafetyChecks;
use homerun_model::violation::Violation;

use super::Api;
use super::error::Failure;
use crate::app::quotas::{self, SERVICE};

/// Every path of it.
pub(super) fn routes() -> Router<Api> {
    let mut router = Router::new();
    // gcloud's tracks use one version each.
    for version in ["/v1", "/v1beta", "/v1alpha"] {
        let global = format!("{version}/projects/{{project}}/locations/{{location}}");
        router = router
            .route(&format!("{global}/services/{{name}}/quotaInfos"), get(cloud::infos))
            .route(&format!("{global}/services/{{name}}/quotaInfos/{{id}}"), get(cloud::info))
            .route(&format!("{global}/quotaPreferences"), get(cloud::list).post(cloud::create))
            .route(&format!("{global}/quotaPreferences/{{name}}"), get(cloud::get).patch(cloud::patch));
    }
    let metrics = "/v1beta1/projects/{project}/services/{name}/consumerQuotaMetrics";
    let overrides = format!("{metrics}/{{metric}}/limits/{{limit}}/consumerOverrides");
    let own = "/homerun/v1/projects/{project}";
    router
        .route(metrics, get(consumer::list))
        .route(&format!("{metrics}:importConsumerOverrides"), post(consumer::import))
        .route(&format!("{metrics}/{{metric}}"), get(consumer::metric))
        .route(&format!("{metrics}/{{metric}}/limits/{{limit}}"), get(consumer::limit))
        .route(&overrides, get(consumer::overrides).post(consumer::create))
        .route(&format!("{overrides}/{{id}}"), axum::routing::patch(consumer::patch).delete(consumer::delete))
        .route(&format!("{own}/quotas"), get(own::list))
        .route(&format!("{own}/quotaChanges"), get(own::changes))
        .route(&format!("{own}/quotaPreferences/{{name}}"), post(own::decide))
}

/// The parameters of a call's query, of which some may come more than once.
struct Parameters(Vec<(String, String)>);

impl Parameters {
    fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(key, value)| key == name && !value.is_empty());
        found.map(|(_, value)| value.as_str())
    }

    fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    fn is_true(&self, name: &str) -> Result<bool, Failure> {
        match self.get(name) {
            None => Ok(false),
            Some(text) => text
                .to_ascii_lowercase()
                .parse()
                .map_err(|_| wrong(name, format!("'{text}' is not valid; it must be true or false."))),
        }
    }

    /// Cuts a page out of everything: `pageSize` items after the `pageToken`, and the next one's token.
    fn page<T>(&self, all: Vec<T>, usual: usize) -> Result<(Vec<T>, Option<String>), Failure> {
        let size = match self.get("pageSize") {
            None | Some("0") => usual,
            Some(text) => text.parse().map_err(|_| {
                wrong("pageSize", format!("'{text}' is no number of items; it must be 0 (the usual {usual}) or more."))
            })?,
        };
        let begin = match self.get("pageToken") {
            None => 0,
            Some(token) => {
                let bytes = URL_SAFE_NO_PAD.decode(token).ok();
                let begin = bytes.and_then(|bytes| String::from_utf8(bytes).ok()?.parse().ok());
                begin.ok_or_else(|| wrong("pageToken", format!("'{token}' is not the token of an earlier page.")))?
            }
        };
        let left = all.len().saturating_sub(begin);
        let next = (left > size).then(|| URL_SAFE_NO_PAD.encode((begin + size).to_string()));
        Ok((all.into_iter().skip(begin).take(size).collect(), next))
    }

    /// Which safety checks `names` leave out; each may have the prefix that the API gives it.
    fn checks<'a>(names: impl Iterator<Item = &'a str>, field: &str, prefix: &str) -> Result<SafetyChecks, Failure> {
        let mut checks = SafetyChecks::default();
        for name in names {
            match name.strip_prefix(prefix).unwrap_or(name) {
                "DECREASE_BELOW_USAGE" => checks.ignore_below_usage = true,
                "DECREASE_PERCENTAGE_TOO_HIGH" => checks.ignore_percentage = true,
                _ => {
                    let known = format!("{prefix}DECREASE_BELOW_USAGE or {prefix}DECREASE_PERCENTAGE_TOO_HIGH");
                    return Err(wrong(field, format!("'{name}' is not valid; it must be {known}.")));
                }
            }
        }
        Ok(checks)
    }
}

/// The region that dimensions name; `None` for all.
fn region(api: &Api, dimensions: &BTreeMap<String, String>, field: &str) -> Result<Option<Region>, Failure> {
    if let Some(other) = dimensions.keys().find(|key| *key != "region") {
        return Err(wrong(field, format!("'{other}' is no dimension of this quota; its only one is 'region'.")));
    }
    let Some(name) = dimensions.get("region") else {
        return Ok(None);
    };
    Ok(Some(quotas::region(&api.platform, name, field)?))
}

/// Dimensions that name a region, or none.
fn dimensions(region: Option<&Region>) -> BTreeMap<String, String> {
    region.map(|region| ("region".to_owned(), region.to_string())).into_iter().collect()
}

/// A number of GPUs.
fn gpus(value: Option<Int64>, field: &str) -> Result<u32, Failure> {
    let text = value.map(|Int64(value)| value.to_string()).unwrap_or_default();
    Ok(quotas::gpus(&text, field)?)
}

/// Whether a service has quotas here.
fn has_quotas(service: &str) -> Result<bool, Failure> {
    if service != SERVICE && !service_usage::is_known(service) {
        return Err(Failure(ApiError::NotFound { kind: "Service", name: service.to_owned() }));
    }
    Ok(service == SERVICE)
}

fn wrong(field: &str, message: String) -> Failure {
    Failure(ApiError::InvalidArgument(vec![Violation::new(field, message)]))
}
