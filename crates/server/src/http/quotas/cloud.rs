//! Cloud Quotas v1 and v1beta.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use homerun_api::cloud_quotas::{
    DimensionsInfo, Eligibility, ListQuotaInfos, ListQuotaPreferences, QuotaConfig, QuotaDetails, QuotaInfo,
    QuotaPreference,
};
use homerun_api::error::ApiError;
use homerun_api::run_v1::parse_strict;
use homerun_model::names::{Project, Region};
use homerun_model::quota::{Bucket, Preference, Quota, SafetyChecks};
use serde::Deserialize;

use super::super::Api;
use super::super::error::Failure;
use super::super::path::Place;
use super::{Parameters, dimensions, gpus, has_quotas, region, wrong};
use crate::app::quotas::{self, API, How, SERVICE, Wish};
use crate::store::Versioned;

const READ: &str = "cloudquotas.quotas.get";
const WRITE: &str = "cloudquotas.quotas.update";
const PREFERRED: &str = "quotaPreference.quotaConfig.preferredValue";
/// Items of a page that is asked for without a size.
const PAGE: usize = 100;

#[derive(Deserialize)]
pub(in crate::http) struct Id {
    id: String,
}

pub(in crate::http) async fn infos(
    State(api): State<Api>,
    place: Place,
    Query(query): Query<Vec<(String, String)>>,
) -> Result<Json<ListQuotaInfos>, Failure> {
    require(&api, &place, READ)?;
    let all = if has_quotas(&place.name)? { quotas::all(&api.platform) } else { Vec::new() };
    let (page, next_page_token) = Parameters(query).page(all, PAGE)?;
    let quota_infos = page.iter().map(|quota| render_info(&api, &place.project, quota)).collect();
    Ok(Json(ListQuotaInfos { quota_infos, next_page_token }))
}

pub(in crate::http) async fn info(
    State(api): State<Api>,
    place: Place,
    Path(Id { id }): Path<Id>,
) -> Result<Json<QuotaInfo>, Failure> {
    require(&api, &place, READ)?;
    let all = if has_quotas(&place.name)? { quotas::all(&api.platform) } else { Vec::new() };
    let found = all.iter().find(|quota| quota.id() == id).ok_or(ApiError::NotFound { kind: "Quota", name: id })?;
    Ok(Json(render_info(&api, &place.project, found)))
}

pub(in crate::http) async fn list(
    State(api): State<Api>,
    place: Place,
    Query(query): Query<Vec<(String, String)>>,
) -> Result<Json<ListQuotaPreferences>, Failure> {
    require(&api, &place, READ)?;
    let query = Parameters(query);
    let mut found = quotas::preferences(&api.platform, &place.project.id)?;
    for (key, value) in filter(query.get("filter").unwrap_or_default())? {
        found.retain(|preference| field(&preference.value, key).is_some_and(|actual| actual == value));
    }
    sort(&mut found, query.get("orderBy").unwrap_or("create_time"))?;
    let (page, next_page_token) = query.page(found, PAGE)?;
    let quota_preferences = page.iter().map(|preference| render(&api, &place.project, preference)).collect();
    Ok(Json(ListQuotaPreferences { quota_preferences, next_page_token }))
}

pub(in crate::http) async fn get(State(api): State<Api>, place: Place) -> Result<Json<QuotaPreference>, Failure> {
    require(&api, &place, READ)?;
    let found = quotas::preference(&api.platform, &place.project.id, &place.name)?;
    Ok(Json(render(&api, &place.project, &found)))
}

pub(in crate::http) async fn create(
    State(api): State<Api>,
    place: Place,
    Query(query): Query<Vec<(String, String)>>,
    body: Bytes,
) -> Result<Json<QuotaPreference>, Failure> {
    require(&api, &place, WRITE)?;
    let query = Parameters(query);
    let given: QuotaPreference = parse_strict(&body).map_err(ApiError::from)?;
    let how = How { checks: checks(&query)?, ..How::default() };
    let wish = wish(&api, &place, given)?;
    let made = quotas::create(&api.platform, &place.caller, query.get("quotaPreferenceId"), wish, &how)?;
    Ok(Json(render(&api, &place.project, &made)))
}

pub(in crate::http) async fn patch(
    State(api): State<Api>,
    place: Place,
    Query(query): Query<Vec<(String, String)>>,
    body: Bytes,
) -> Result<Json<QuotaPreference>, Failure> {
    require(&api, &place, WRITE)?;
    let query = Parameters(query);
    let given: QuotaPreference = parse_strict(&body).map_err(ApiError::from)?;
    let expected = match given.etag.as_deref().filter(|etag| !etag.is_empty()) {
        Some(etag) => {
            Some(version(etag).ok_or_else(|| wrong("quotaPreference.etag", format!("'{etag}' is no etag.")))?)
        }
        None => None,
    };
    let how = How {
        expected,
        allow_missing: query.is_true("allowMissing")?,
        validate_only: query.is_true("validateOnly")?,
        checks: checks(&query)?,
    };
    let given = match query.get("updateMask") {
        None => given,
        Some(mask) => masked(given, mask)?,
    };
    let wish = wish(&api, &place, given)?;
    let changed = quotas::update(&api.platform, &place.caller, &place.name, wish, &how)?;
    Ok(Json(render(&api, &place.project, &changed)))
}

fn require(api: &Api, place: &Place, permission: &str) -> Result<(), Failure> {
    if place.region.as_ref().is_none_or(|location| location.as_str() != "global") {
        let location = place.region.as_ref().map_or("-", |location| location.as_str());
        return Err(wrong("name", format!("location '{location}' is not valid; quotas are in 'global'.")));
    }
    quotas::require(&api.platform, &place.caller, permission, &place.project.id)?;
    Ok(crate::app::projects::require_api(&place.project.id, &place.enabled_apis, API)?)
}

fn checks(query: &Parameters) -> Result<SafetyChecks, Failure> {
    Parameters::checks(query.all("ignoreSafetyChecks"), "ignoreSafetyChecks", "QUOTA_")
}

/// What is given, without the changeable fields that a mask does not name.
fn masked(mut given: QuotaPreference, mask: &str) -> Result<QuotaPreference, Failure> {
    let (mut preferred, mut annotations, mut justification, mut contact) = (false, false, false, false);
    for path in mask.split(',').map(str::trim) {
        match path {
            "quotaConfig" | "quota_config" => (preferred, annotations) = (true, true),
            "quotaConfig.preferredValue" | "quota_config.preferred_value" => preferred = true,
            "quotaConfig.annotations" | "quota_config.annotations" => annotations = true,
            "justification" => justification = true,
            "contactEmail" | "contact_email" => contact = true,
            other => {
                let known =
                    "quotaConfig, quotaConfig.preferredValue, quotaConfig.annotations, justification, contactEmail";
                return Err(wrong("updateMask", format!("'{other}' cannot be changed; it must be of {known}.")));
            }
        }
    }
    let mut config = given.quota_config.take().unwrap_or_default();
    if preferred {
        // What is named must be there.
        gpus(config.preferred_value, PREFERRED)?;
    }
    config.preferred_value = config.preferred_value.filter(|_| preferred);
    if !annotations {
        config.annotations.clear();
    }
    given.quota_config = Some(config);
    given.justification = given.justification.filter(|_| justification);
    given.contact_email = given.contact_email.filter(|_| contact);
    Ok(given)
}

fn wish(api: &Api, place: &Place, given: QuotaPreference) -> Result<Wish, Failure> {
    let service = given.service.as_deref().unwrap_or_default();
    if service != SERVICE {
        return Err(wrong("quotaPreference.service", format!("'{service}' has no quotas here; it must be {SERVICE}.")));
    }
    let id = given.quota_id.unwrap_or_default();
    let quota = quotas::by_id(&api.platform, &id, "quotaPreference.quotaId")?;
    let config = given.quota_config.unwrap_or_default();
    let bucket = Bucket {
        project: place.project.id.clone(),
        quota,
        region: region(api, &given.dimensions, "quotaPreference.dimensions")?,
    };
    Ok(Wish {
        bucket,
        preferred: config.preferred_value.map(|value| gpus(Some(value), PREFERRED)).transpose()?,
        justification: given.justification,
        contact: given.contact_email,
        annotations: (!config.annotations.is_empty()).then_some(config.annotations),
    })
}

fn render(api: &Api, project: &Project, preference: &Versioned<Preference>) -> QuotaPreference {
    let Versioned { version, value } = preference;
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let granted = value.granted.unwrap_or_else(|| quotas::standing(&api.platform, &value.bucket).granted);
    QuotaPreference {
        name: Some(format!("projects/{}/locations/global/quotaPreferences/{}", project.number, value.id)),
        dimensions: dimensions(value.bucket.region.as_ref()),
        quota_config: Some(QuotaConfig {
            preferred_value: Some(value.preferred.into()),
            state_detail: text(&value.detail),
            granted_value: Some(granted.into()),
            trace_id: text(&value.trace_id),
            annotations: value.annotations.clone(),
            request_origin: None,
        }),
        etag: Some(format!("{version:012x}")),
        create_time: Some(value.created_at),
        update_time: Some(value.updated_at),
        service: Some(SERVICE.to_owned()),
        quota_id: Some(value.bucket.quota.id()),
        reconciling: value.pending,
        justification: text(&value.justification),
        contact_email: None,
    }
}

fn version(etag: &str) -> Option<u64> {
    u64::from_str_radix(etag, 16).ok()
}

/// A quota: the regions that stand apart, then all others together.
fn render_info(api: &Api, project: &Project, quota: &Quota) -> QuotaInfo {
    let limits = api.platform.quotas.now();
    let regions = api.platform.config.all_regions();
    let limit = |region: &Region| limits.limit(&quota.key(&project.id, region));
    // What a region has about which nothing was ever said.
    let usual = limit(&Region::new("any other"));
    let (apart, others): (Vec<&Region>, Vec<&Region>) = regions.iter().partition(|region| limit(region) != usual);
    let one = |region: &Region| DimensionsInfo {
        dimensions: dimensions(Some(region)),
        details: QuotaDetails { value: limit(region).into() },
        applicable_locations: vec![region.to_string()],
    };
    let rest = DimensionsInfo {
        dimensions: dimensions(None),
        details: QuotaDetails { value: usual.into() },
        applicable_locations: others.iter().map(ToString::to_string).collect::<BTreeSet<_>>().into_iter().collect(),
    };
    QuotaInfo {
        name: format!("projects/{}/locations/global/services/{SERVICE}/quotaInfos/{}", project.number, quota.id()),
        quota_id: quota.id(),
        metric: quota.metric(),
        service: SERVICE.to_owned(),
        is_precise: true,
        container_type: "PROJECT".to_owned(),
        dimensions: vec!["region".to_owned()],
        metric_display_name: quota.metric_display_name(),
        quota_display_name: quota.display_name(),
        metric_unit: "1".to_owned(),
        quota_increase_eligibility: Eligibility { is_eligible: true },
        dimensions_infos: apart.into_iter().map(one).chain((!others.is_empty()).then_some(rest)).collect(),
    }
}

/// Reads `field:value` and `field=value`, joined by AND.
fn filter(text: &str) -> Result<Vec<(&str, &str)>, Failure> {
    let terms = text.split(" AND ").map(str::trim).filter(|term| !term.is_empty());
    terms
        .map(|term| {
            let split = term.split_once([':', '=']).map(|(key, value)| (key.trim(), value.trim().trim_matches('"')));
            // Whatever else the language has must not be taken for a value.
            let plain =
                |value: &str| !value.is_empty() && !value.contains(|c: char| c.is_whitespace() || "*()\"".contains(c));
            let split = split.filter(|(_, value)| plain(value));
            let known =
                |key: &str| FIELDS.iter().find(|(name, snake)| *name == key || *snake == key).map(|(name, _)| *name);
            split.and_then(|(key, value)| Some((known(key)?, value))).ok_or_else(|| {
                let names: Vec<&str> = FIELDS.iter().map(|(name, _)| *name).collect();
                let must = format!("it must be FIELD:VALUE, joined by AND, where FIELD is of {}", names.join(", "));
                wrong("filter", format!("'{term}' is not understood; {must}."))
            })
        })
        .collect()
}

/// Fields to filter by, in both spellings.
const FIELDS: [(&str, &str); 4] = [
    ("reconciling", "reconciling"),
    ("service", "service"),
    ("quotaId", "quota_id"),
    ("dimensions.region", "dimensions.region"),
];

fn field(preference: &Preference, name: &str) -> Option<String> {
    match name {
        "reconciling" => Some(preference.pending.to_string()),
        "service" => Some(SERVICE.to_owned()),
        "quotaId" => Some(preference.bucket.quota.id()),
        _ => preference.bucket.region.as_ref().map(ToString::to_string),
    }
}

/// Orders by fields such as `quota_id, create_time desc`.
fn sort(found: &mut [Versioned<Preference>], order: &str) -> Result<(), Failure> {
    // The last field first: sorting keeps the order of equals.
    for term in order.split(',').rev().map(str::trim) {
        let (name, descending) = match term.split_once(' ') {
            Some((name, direction)) => (name, direction.trim().eq_ignore_ascii_case("desc")),
            None => (term, false),
        };
        let compare: fn(&Preference, &Preference) -> Ordering = match name {
            "create_time" | "createTime" => |a, b| a.created_at.cmp(&b.created_at),
            "update_time" | "updateTime" => |a, b| a.updated_at.cmp(&b.updated_at),
            "quota_id" | "quotaId" => |a, b| a.bucket.quota.id().cmp(&b.bucket.quota.id()),
            "name" => |a, b| a.id.cmp(&b.id),
            "service" => |_, _| Ordering::Equal,
            _ => {
                let known = "create_time, update_time, quota_id, name, service";
                return Err(wrong("orderBy", format!("'{name}' is not valid; it must be of {known}.")));
            }
        };
        found.sort_by(|a, b| {
            let order = compare(&a.value, &b.value);
            if descending { order.reverse() } else { order }
        });
    }
    Ok(())
}
