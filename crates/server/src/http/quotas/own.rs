//! homerun's own calls: who uses the quotas, and deciding about requests.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use homerun_api::error::ApiError;
use homerun_api::own;
use homerun_model::quota::{Change, Decision, Preference};
use http::Method;

use super::super::Api;
use super::super::error::{Failure, not_served};
use super::super::path::Place;
use super::wrong;
use crate::app::quotas;

const READ: &str = "cloudquotas.quotas.get";

pub(in crate::http) async fn list(State(api): State<Api>, place: Place) -> Result<Json<own::Quotas>, Failure> {
    let (platform, project) = (&api.platform, &place.project.id);
    quotas::require(platform, &place.caller, READ, project)?;
    let (ledger, limits) = (quotas::ledger(platform), platform.quotas.now());
    let shown = quotas::worth_showing(platform, project, &ledger).into_iter().map(|key| own::Quota {
        quota_id: key.quota_id(),
        display_name: key.display_name(),
        gpu_type: key.gpu.to_string(),
        zonal_redundancy: key.zonal_redundancy,
        region: key.region.to_string(),
        limit: limits.limit(&key),
        granted: limits.granted(&key),
        overridden: limits.overriding(&key),
        used: ledger.used(&key),
        holders: ledger
            .holders(&key)
            .into_iter()
            .map(|holder| own::QuotaHolder {
                service: holder.service.to_string(),
                gpus: holder.gpus,
                since: holder.since,
            })
            .collect(),
    });
    let mut requests = quotas::preferences(platform, project)?;
    requests.sort_by_key(|request| std::cmp::Reverse(request.value.updated_at));
    let requests = requests.into_iter().map(|request| render(&api, request.value));
    Ok(Json(own::Quotas { quotas: shown.collect(), requests: requests.collect() }))
}

pub(in crate::http) async fn changes(State(api): State<Api>, place: Place) -> Result<Json<own::QuotaChanges>, Failure> {
    quotas::require(&api.platform, &place.caller, READ, &place.project.id)?;
    let changes = quotas::changes(&api.platform, &place.project.id)?;
    Ok(Json(own::QuotaChanges { changes: changes.into_iter().map(render_change).collect() }))
}

/// `:approve` and `:deny`.
pub(in crate::http) async fn decide(State(api): State<Api>, place: Place, body: Bytes) -> Result<Response, Failure> {
    let request: own::QuotaDecision = homerun_api::run_v1::parse_strict(&body).map_err(ApiError::from)?;
    let decision = match place.verb.as_deref() {
        Some("approve") if request.reason.is_some() => {
            return Err(wrong("reason", "is for a denial only.".to_owned()));
        }
        Some("approve") => Decision::Approve(request.value),
        Some("deny") if request.value.is_some() => return Err(wrong("value", "is for an approval only.".to_owned())),
        Some("deny") => Decision::Deny(request.reason.unwrap_or_default()),
        _ => return Ok(not_served(&Method::POST, &format!("quotaPreferences/{}", place.name))),
    };
    let decided = quotas::decide(&api.platform, &place.caller, &place.project.id, (&place.name, None), decision)?;
    Ok(Json(render(&api, decided.value)).into_response())
}

fn render(api: &Api, request: Preference) -> own::QuotaRequest {
    own::QuotaRequest {
        granted: request.granted.unwrap_or_else(|| quotas::standing(&api.platform, &request.bucket).granted),
        id: request.id,
        quota_id: request.bucket.quota.id(),
        region: request.bucket.region.as_ref().map(ToString::to_string),
        preferred: request.preferred,
        pending: request.pending,
        detail: request.detail,
        justification: request.justification,
        requester: request.requester,
        update_time: request.updated_at,
    }
}

fn render_change(change: Change) -> own::QuotaChange {
    own::QuotaChange {
        time: change.at,
        by: change.by,
        action: change.action,
        quota_id: change.bucket.quota.id(),
        region: change.bucket.region.as_ref().map(ToString::to_string),
        from: change.from,
        to: change.to,
        request: change.preference,
        note: change.note,
    }
}
