//! Service Usage v1beta1: quotas by metric, and overrides.

use std::collections::BTreeMap;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use homerun_api::consumer_quotas::{
    self as wire, ConsumerQuotaLimit, ConsumerQuotaMetric, ListConsumerOverrides, ListConsumerQuotaMetrics,
    QuotaBucket, QuotaOverride, UNIT,
};
use homerun_api::error::ApiError;
use homerun_api::run_v1::parse_strict;
use homerun_model::names::{Project, Region};
use homerun_model::quota::{Bucket, Quota, SafetyChecks};
use serde::Deserialize;
use serde_json::Value;

use super::super::Api;
use super::super::error::Failure;
use super::super::path::Place;
use super::{Parameters, dimensions, gpus, region, wrong};
use crate::app::quota_overrides;
use crate::app::quotas::{self, SERVICE};
use crate::store::Override;

const READ: &str = "serviceusage.quotas.get";
const WRITE: &str = "serviceusage.quotas.update";
/// Items of a page that is asked for without a size.
const PAGE: usize = 100;
/// The last segment of a limit's name: the dimensions of [`UNIT`].
const LIMIT: &str = "/project/region";
/// The id of the override of every region.
const EVERYWHERE: &str = "global";

/// What a path names beyond its project and service.
#[derive(Deserialize)]
pub(in crate::http) struct Names {
    metric: String,
    limit: Option<String>,
    id: Option<String>,
}

pub(in crate::http) async fn list(
    State(api): State<Api>,
    place: Place,
    Query(query): Query<Vec<(String, String)>>,
) -> Result<Json<ListConsumerQuotaMetrics>, Failure> {
    quotas::require(&api.platform, &place.caller, READ, &place.project.id)?;
    let all = if super::has_quotas(&place.name)? { quotas::all(&api.platform) } else { Vec::new() };
    let (page, next_page_token) = Parameters(query).page(all, PAGE)?;
    let metrics: Result<_, Failure> = page.iter().map(|quota| render(&api, &place.project, quota)).collect();
    Ok(Json(ListConsumerQuotaMetrics { metrics: metrics?, next_page_token }))
}

pub(in crate::http) async fn metric(
    State(api): State<Api>,
    place: Place,
    Path(names): Path<Names>,
) -> Result<Json<ConsumerQuotaMetric>, Failure> {
    quotas::require(&api.platform, &place.caller, READ, &place.project.id)?;
    Ok(Json(render(&api, &place.project, &named(&api, &place, &names)?)?))
}

pub(in crate::http) async fn limit(
    State(api): State<Api>,
    place: Place,
    Path(names): Path<Names>,
) -> Result<Json<ConsumerQuotaLimit>, Failure> {
    quotas::require(&api.platform, &place.caller, READ, &place.project.id)?;
    let mut metric = render(&api, &place.project, &named(&api, &place, &names)?)?;
    Ok(Json(metric.consumer_quota_limits.remove(0)))
}

pub(in crate::http) async fn overrides(
    State(api): State<Api>,
    place: Place,
    Path(names): Path<Names>,
) -> Result<Json<ListConsumerOverrides>, Failure> {
    quotas::require(&api.platform, &place.caller, READ, &place.project.id)?;
    let quota = named(&api, &place, &names)?;
    let own = quota_overrides::overrides(&api.platform, &place.project.id)?
        .into_iter()
        .filter(|each| each.bucket.quota == quota);
    Ok(Json(ListConsumerOverrides { overrides: own.map(|each| render_override(&place.project, &each)).collect() }))
}

/// Several overrides at once, as `gcloud alpha services quota update` sends them.
pub(in crate::http) async fn import(State(api): State<Api>, place: Place, body: Bytes) -> Result<Json<Value>, Failure> {
    quotas::require(&api.platform, &place.caller, WRITE, &place.project.id)?;
    let request: wire::ImportConsumerOverrides = parse_strict(&body).map_err(ApiError::from)?;
    let given = request.inline_source.unwrap_or_default().overrides;
    if given.is_empty() {
        return Err(wrong("inlineSource.overrides", "is empty; give at least one override.".to_owned()));
    }
    let mut overrides = Vec::new();
    for (index, each) in given.iter().enumerate() {
        let field = format!("inlineSource.overrides[{index}]");
        let metric = each.metric.as_deref().unwrap_or_default();
        let quota = by_metric(&api, &place, metric).ok_or_else(|| unknown(&api, &format!("{field}.metric"), metric))?;
        overrides.push(read(&api, &place, quota, each, &field)?);
    }
    let only = request.force_only.iter().map(String::as_str);
    set(&api, &place, overrides, checks(request.force, only)?)
}

pub(in crate::http) async fn create(
    State(api): State<Api>,
    place: Place,
    Path(names): Path<Names>,
    Query(query): Query<Vec<(String, String)>>,
    body: Bytes,
) -> Result<Json<Value>, Failure> {
    quotas::require(&api.platform, &place.caller, WRITE, &place.project.id)?;
    let given: QuotaOverride = parse_strict(&body).map_err(ApiError::from)?;
    let one = read(&api, &place, named(&api, &place, &names)?, &given, "override")?;
    let query = Parameters(query);
    set(&api, &place, vec![one], checks(query.is_true("force")?, query.all("forceOnly"))?)
}

pub(in crate::http) async fn patch(
    State(api): State<Api>,
    place: Place,
    Path(names): Path<Names>,
    Query(query): Query<Vec<(String, String)>>,
    body: Bytes,
) -> Result<Json<Value>, Failure> {
    quotas::require(&api.platform, &place.caller, WRITE, &place.project.id)?;
    let bucket = by_id(&api, &place, &names)?;
    let given: QuotaOverride = parse_strict(&body).map_err(ApiError::from)?;
    let limit = gpus(given.override_value, "override.overrideValue")?;
    let query = Parameters(query);
    let checks = checks(query.is_true("force")?, query.all("forceOnly"))?;
    set(&api, &place, vec![Override { bucket, limit }], checks)
}

pub(in crate::http) async fn delete(
    State(api): State<Api>,
    place: Place,
    Path(names): Path<Names>,
) -> Result<Json<Value>, Failure> {
    quotas::require(&api.platform, &place.caller, WRITE, &place.project.id)?;
    quota_overrides::unlower(&api.platform, &place.caller, &by_id(&api, &place, &names)?)?;
    Ok(Json(wire::done(&[], true)))
}

fn set(api: &Api, place: &Place, overrides: Vec<Override>, checks: SafetyChecks) -> Result<Json<Value>, Failure> {
    let shown: Vec<QuotaOverride> = overrides.iter().map(|each| render_override(&place.project, each)).collect();
    quota_overrides::lower(&api.platform, &place.caller, overrides, checks)?;
    Ok(Json(wire::done(&shown, false)))
}

fn checks<'a>(force: bool, only: impl Iterator<Item = &'a str>) -> Result<SafetyChecks, Failure> {
    let only = Parameters::checks(only, "forceOnly", "LIMIT_")?;
    if force && only != SafetyChecks::default() {
        return Err(wrong("forceOnly", "cannot be given together with force.".to_owned()));
    }
    if force { Ok(SafetyChecks { ignore_below_usage: true, ignore_percentage: true }) } else { Ok(only) }
}

/// The override that a client gives.
fn read(api: &Api, place: &Place, quota: Quota, given: &QuotaOverride, field: &str) -> Result<Override, Failure> {
    if let Some(unit) = given.unit.as_deref().filter(|unit| *unit != UNIT) {
        return Err(wrong(&format!("{field}.unit"), format!("'{unit}' is not valid; it must be {UNIT}, literally.")));
    }
    let limit = gpus(given.override_value, &format!("{field}.overrideValue"))?;
    let region = region(api, &given.dimensions, &format!("{field}.dimensions"))?;
    Ok(Override { bucket: Bucket { project: place.project.id.clone(), quota, region }, limit })
}

/// The quota that a path names.
fn named(api: &Api, place: &Place, names: &Names) -> Result<Quota, Failure> {
    let absent = |kind, name: &str| Failure(ApiError::NotFound { kind, name: name.to_owned() });
    // `gcloud alpha services quota delete` encodes the slashes twice.
    let decoded = |name: &str| name.replace("%2F", "/");
    if let Some(limit) = names.limit.as_deref().filter(|limit| decoded(limit) != LIMIT) {
        return Err(absent("Quota limit", limit));
    }
    by_metric(api, place, &decoded(&names.metric)).ok_or_else(|| absent("Quota metric", &names.metric))
}

fn by_metric(api: &Api, place: &Place, metric: &str) -> Option<Quota> {
    let all = if place.name == SERVICE { quotas::all(&api.platform) } else { Vec::new() };
    all.into_iter().find(|quota| quota.metric() == metric)
}

fn unknown(api: &Api, field: &str, metric: &str) -> Failure {
    let known: Vec<String> = quotas::all(&api.platform).iter().map(Quota::metric).collect();
    wrong(field, format!("'{metric}' does not exist. Metrics: {}.", known.join(", ")))
}

/// The bucket of the override that a path names.
fn by_id(api: &Api, place: &Place, names: &Names) -> Result<Bucket, Failure> {
    let quota = named(api, place, names)?;
    let id = names.id.as_deref().unwrap_or_default();
    let region = (id != EVERYWHERE).then(|| Region::new(id));
    let bucket = Bucket { project: place.project.id.clone(), quota, region };
    let found =
        quota_overrides::overrides(&api.platform, &place.project.id)?.into_iter().any(|each| each.bucket == bucket);
    let absent = || Failure(ApiError::NotFound { kind: "Quota override", name: id.to_owned() });
    found.then_some(bucket).ok_or_else(absent)
}

fn metric_name(project: &Project, quota: &Quota) -> String {
    let metric = quota.metric().replace('/', "%2F");
    format!("projects/{}/services/{SERVICE}/consumerQuotaMetrics/{metric}", project.number)
}

fn limit_name(project: &Project, quota: &Quota) -> String {
    format!("{}/limits/{}", metric_name(project, quota), LIMIT.replace('/', "%2F"))
}

fn render(api: &Api, project: &Project, quota: &Quota) -> Result<ConsumerQuotaMetric, Failure> {
    let mut overrides: BTreeMap<Option<Region>, Override> = quota_overrides::overrides(&api.platform, &project.id)?
        .into_iter()
        .filter(|each| &each.bucket.quota == quota)
        .map(|each| (each.bucket.region.clone(), each))
        .collect();
    let limits = api.platform.quotas.now();
    let regions = api.platform.config.all_regions();
    let mut bucket = |region: Option<&Region>| {
        let key = quota.key(&project.id, region.unwrap_or(&Region::new("any other")));
        QuotaBucket {
            effective_limit: limits.limit(&key).into(),
            default_limit: limits.granted(&key).into(),
            consumer_override: overrides.remove(&region.cloned()).map(|each| render_override(project, &each)),
            dimensions: dimensions(region),
        }
    };
    let everywhere = bucket(None);
    let usual = (everywhere.effective_limit, everywhere.default_limit);
    let apart = regions
        .iter()
        .map(|region| bucket(Some(region)))
        .filter(|bucket| bucket.consumer_override.is_some() || (bucket.effective_limit, bucket.default_limit) != usual);
    let quota_buckets = std::iter::once(everywhere.clone()).chain(apart.collect::<Vec<_>>()).collect();
    Ok(ConsumerQuotaMetric {
        name: metric_name(project, quota),
        metric: quota.metric(),
        display_name: quota.metric_display_name(),
        consumer_quota_limits: vec![ConsumerQuotaLimit {
            name: limit_name(project, quota),
            metric: quota.metric(),
            unit: UNIT.to_owned(),
            is_precise: true,
            quota_buckets,
            supported_locations: regions.iter().map(ToString::to_string).collect(),
        }],
        unit: "1".to_owned(),
    })
}

fn render_override(project: &Project, each: &Override) -> QuotaOverride {
    let Override { bucket, limit } = each;
    let id = bucket.region.as_ref().map_or(EVERYWHERE, |region| region.as_str());
    QuotaOverride {
        name: Some(format!("{}/consumerOverrides/{id}", limit_name(project, &bucket.quota))),
        override_value: Some((*limit).into()),
        dimensions: dimensions(bucket.region.as_ref()),
        metric: Some(bucket.quota.metric()),
        unit: Some(UNIT.to_owned()),
        admin_override_ancestor: None,
    }
}
