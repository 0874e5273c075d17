//! Asking for another limit.

use axum::body::Bytes;
use axum::extract::Query;
use axum::response::{IntoResponse, Redirect, Response};
use homerun_api::error::ApiError;
use homerun_model::names::Region;
use homerun_model::quota::{Bucket, SafetyChecks};
use maud::{Markup, html};
use serde::Deserialize;

use super::super::failure::Failure;
use super::super::fields::Mistakes;
use super::super::layout::{Page, Section, form_secret};
use super::super::visit::{Posted, Visit};
use super::{ASK, EVERY_REGION};
use crate::app::projects;
use crate::app::quotas::{self, API, How, Wish};

/// What the form says.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in super::super) struct Asked {
    quota: String,
    /// A region or every region; empty where none is chosen.
    region: String,
    preferred: String,
    justification: String,
    #[serde(skip)]
    force: bool,
}

pub(in super::super) async fn page(visit: Visit, Query(asked): Query<Asked>) -> Result<Response, Failure> {
    require(&visit)?;
    Ok(form(&visit, &asked, &Mistakes::default()))
}

pub(in super::super) async fn submit(visit: Visit, body: Bytes) -> Result<Response, Failure> {
    let posted = Posted::read(&visit, &body)?;
    require(&visit)?;
    let text = |name: &str| posted.get(name).unwrap_or_default().trim().to_owned();
    let asked = Asked {
        quota: text("quota"),
        region: text("region"),
        preferred: text("preferred"),
        justification: text("justification"),
        force: posted.get("force").is_some(),
    };
    match ask(&visit, &asked).await {
        Ok(()) => Ok(Redirect::to(&visit.path("quotas")).into_response()),
        Err(error) => Ok(form(&visit, &asked, &Mistakes::of(error, field)?)),
    }
}

fn require(visit: &Visit) -> Result<(), Failure> {
    quotas::require(visit.platform(), visit.caller(), ASK, &visit.project.id)?;
    let enabled = projects::find(visit.platform(), visit.project.id.as_str())?.enabled_apis;
    Ok(projects::require_api(&visit.project.id, &enabled, API)?)
}

/// The form's field for one of the API.
fn field(of: &str) -> Option<&'static str> {
    match of {
        "quotaPreference.quotaId" => Some("quota"),
        "quotaPreference.dimensions" => Some("region"),
        "quotaPreference.quotaConfig.preferredValue" => Some("preferred"),
        "quotaPreference.justification" => Some("justification"),
        _ => None,
    }
}

/// Asks as the API does it: one preference for each limit.
async fn ask(visit: &Visit, asked: &Asked) -> Result<(), ApiError> {
    let (platform, caller, project) = (visit.platform(), visit.caller(), &visit.project.id);
    let quota = quotas::by_id(platform, &asked.quota, "quotaPreference.quotaId")?;
    let region = super::region(visit, &asked.region, "quotaPreference.dimensions")?;
    let preferred = quotas::gpus(&asked.preferred, "quotaPreference.quotaConfig.preferredValue")?;
    let wish = Wish {
        bucket: Bucket { project: project.clone(), quota, region },
        preferred: Some(preferred),
        justification: Some(asked.justification.clone()),
        contact: None,
        annotations: None,
    };
    let checks = SafetyChecks { ignore_below_usage: asked.force, ignore_percentage: asked.force };
    let how = How { checks, ..How::default() };
    let collection = format!("/v1/projects/{project}/locations/global/quotaPreferences");
    let present = quotas::preferences(platform, project)?.into_iter().find(|each| each.value.bucket == wish.bucket);
    match present {
        None => {
            let create = async { quotas::create(platform, caller, None, wish, &how) };
            visit.change("POST", collection, create).await.map(drop)
        }
        Some(present) => {
            let (how, id) = (How { expected: Some(present.version), ..how }, present.value.id);
            let update = async { quotas::update(platform, caller, &id, wish, &how) };
            visit.change("PATCH", format!("{collection}/{id}"), update).await.map(drop)
        }
    }
}

fn form(visit: &Visit, asked: &Asked, wrong: &Mistakes) -> Response {
    let lang = visit.lang;
    let title = lang.t("quota-request").into_owned();
    let content = html! {
        p .crumbs { a href=(visit.path("quotas")) { (lang.t("quotas")) } " › " }
        div .heading { h1 { (title) } }
        (wrong.summary(lang))
        form .card method="post" action=(visit.path("quotas/request")) {
            (form_secret(visit))
            (which(visit, (&asked.quota, &asked.region), wrong))
            (wrong.field(("preferred", &lang.t("quota-preferred")), &lang.t("quota-preferred-hint"), |says| html! {
                input #preferred name="preferred" inputmode="numeric" required value=(asked.preferred) autocomplete="off"
                    aria-describedby=[&says.described] aria-invalid=[says.invalid];
            }))
            (wrong.field(("justification", &lang.t("quota-justification")), &lang.t("quota-justification-hint"), |says| html! {
                textarea #justification name="justification" rows="3"
                    aria-describedby=[&says.described] aria-invalid=[says.invalid] { (asked.justification) }
            }))
            @if !wrong.is_empty() { (force(visit, asked.force)) }
            div .actions {
                button .primary type="submit" { (lang.t("quota-send")) }
                a .button href=(visit.path("quotas")) { (lang.t("cancel")) }
            }
        }
    };
    wrong.answer(Page { title, section: Section::Quotas, live: false, content }.show(visit))
}

/// Which limit.
pub(super) fn which(visit: &Visit, (quota, region): (&str, &str), wrong: &Mistakes) -> Markup {
    let lang = visit.lang;
    let regions: Vec<Region> = visit.platform().config.all_regions();
    html! {
        (wrong.field(("quota", &lang.t("quota")), "", |says| html! {
            select #quota name="quota" aria-describedby=[&says.described] aria-invalid=[says.invalid] {
                @for each in quotas::all(visit.platform()) {
                    option value=(each.id()) selected[each.id() == quota] { (each.gpu) " – " (each.display_name()) }
                }
            }
        }))
        (wrong.field(("region", &lang.t("region")), "", |says| html! {
            select #region name="region" required aria-describedby=[&says.described] aria-invalid=[says.invalid] {
                option value="" { (lang.t("quota-region-choose")) }
                @for each in &regions { option value=(each) selected[each.as_str() == region] { (each) } }
                option value=(EVERY_REGION) selected[region == EVERY_REGION] { (lang.t("all-regions")) }
            }
        }))
    }
}

/// Doing without the checks of a decrease.
pub(super) fn force(visit: &Visit, on: bool) -> Markup {
    html! {
        div .field.inline {
            input #force type="checkbox" name="force" checked[on];
            label for="force" { (visit.lang.t("quota-force")) }
        }
    }
}
