//! Lowering a limit, whatever is granted, and no longer doing so.

use axum::body::Bytes;
use axum::extract::Query;
use axum::response::{IntoResponse, Redirect, Response};
use homerun_api::error::ApiError;
use homerun_model::quota::{Bucket, Quota, SafetyChecks};
use maud::{Markup, html};
use serde::Deserialize;

use super::super::confirm::{self, Question};
use super::super::failure::Failure;
use super::super::fields::Mistakes;
use super::super::layout::{Page, Section, form_secret};
use super::super::visit::{Posted, Visit};
use super::request::{force, which};
use super::{EVERY_REGION, LOWER};
use crate::app::quotas::SERVICE;
use crate::app::{quota_overrides, quotas};
use crate::store::Override;

/// What the form says.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in super::super) struct Asked {
    quota: String,
    /// A region or every region; empty where none is chosen.
    region: String,
    #[serde(skip)]
    limit: String,
    #[serde(skip)]
    force: bool,
}

pub(in super::super) async fn page(visit: Visit, Query(asked): Query<Asked>) -> Result<Response, Failure> {
    require(&visit)?;
    form(&visit, &asked, &Mistakes::default())
}

pub(in super::super) async fn submit(visit: Visit, body: Bytes) -> Result<Response, Failure> {
    let posted = Posted::read(&visit, &body)?;
    require(&visit)?;
    let text = |name: &str| posted.get(name).unwrap_or_default().trim().to_owned();
    let force = posted.get("force").is_some();
    let asked = Asked { quota: text("quota"), region: text("region"), limit: text("limit"), force };
    let done = match posted.get("action") {
        Some("remove") if !confirm::given(&posted) => return confirm_removal(&visit, &asked),
        Some("remove") => remove(&visit, &asked).await,
        _ => lower(&visit, &asked).await,
    };
    match done {
        Ok(()) => Ok(Redirect::to(&visit.path("quotas")).into_response()),
        Err(error) => {
            let field = |of: &str| match of {
                "override.metric" => Some("quota"),
                "override.dimensions" => Some("region"),
                "override.overrideValue" => Some("limit"),
                _ => None,
            };
            form(&visit, &asked, &Mistakes::of(error, field)?)
        }
    }
}

fn require(visit: &Visit) -> Result<(), Failure> {
    Ok(quotas::require(visit.platform(), visit.caller(), LOWER, &visit.project.id)?)
}

fn bucket(visit: &Visit, asked: &Asked) -> Result<Bucket, ApiError> {
    let quota = quotas::by_id(visit.platform(), &asked.quota, "override.metric")?;
    let region = super::region(visit, &asked.region, "override.dimensions")?;
    Ok(Bucket { project: visit.project.id.clone(), quota, region })
}

/// Where the API has the overrides of a quota.
fn collection(visit: &Visit, quota: &Quota) -> String {
    let metric = quota.metric().replace('/', "%2F");
    format!(
        "/v1beta1/projects/{}/services/{SERVICE}/consumerQuotaMetrics/{metric}/limits/%2Fproject%2Fregion/consumerOverrides",
        visit.project.id
    )
}

async fn lower(visit: &Visit, asked: &Asked) -> Result<(), ApiError> {
    let bucket = bucket(visit, asked)?;
    let limit = quotas::gpus(&asked.limit, "override.overrideValue")?;
    let checks = SafetyChecks { ignore_below_usage: asked.force, ignore_percentage: asked.force };
    let path = collection(visit, &bucket.quota);
    let overrides = vec![Override { bucket, limit }];
    let work = async { quota_overrides::lower(visit.platform(), visit.caller(), overrides, checks) };
    visit.change("POST", path, work).await
}

async fn remove(visit: &Visit, asked: &Asked) -> Result<(), ApiError> {
    let bucket = bucket(visit, asked)?;
    let id = bucket.region.as_ref().map_or("global", |region| region.as_str());
    let path = format!("{}/{id}", collection(visit, &bucket.quota));
    let work = async { quota_overrides::unlower(visit.platform(), visit.caller(), &bucket) };
    visit.change("DELETE", path, work).await
}

/// Asks whether the limit that is granted is to hold again.
fn confirm_removal(visit: &Visit, asked: &Asked) -> Result<Response, Failure> {
    let bucket = bucket(visit, asked)?;
    let what = format!("{}, {}", bucket.quota.display_name(), super::place(visit, bucket.region.as_ref()));
    let question = Question {
        title: visit.lang.t("quota-unlower").into_owned(),
        means: visit.lang.with("quota-unlower-means", [("what", what)]),
        button: visit.lang.t("quota-unlower").into_owned(),
        action: visit.path("quotas/lower"),
        back: visit.path("quotas/lower"),
        fields: &[("quota", &asked.quota), ("region", &asked.region), ("action", "remove")],
    };
    let crumbs = html! { p .crumbs { a href=(visit.path("quotas")) { (visit.lang.t("quotas")) } " › " } };
    Ok(question.ask(visit, Section::Quotas, &crumbs))
}

fn form(visit: &Visit, asked: &Asked, wrong: &Mistakes) -> Result<Response, Failure> {
    let lang = visit.lang;
    let title = lang.t("quota-lower").into_owned();
    let content = html! {
        p .crumbs { a href=(visit.path("quotas")) { (lang.t("quotas")) } " › " }
        div .heading { h1 { (title) } }
        p { (lang.t("quota-lower-what")) }
        (wrong.summary(lang))
        form .card method="post" action=(visit.path("quotas/lower")) {
            (form_secret(visit))
            (which(visit, (&asked.quota, &asked.region), wrong))
            (wrong.field(("limit", &lang.t("quota-limit")), "", |says| html! {
                input #limit name="limit" inputmode="numeric" required value=(asked.limit) autocomplete="off"
                    aria-describedby=[&says.described] aria-invalid=[says.invalid];
            }))
            @if !wrong.is_empty() { (force(visit, asked.force)) }
            div .actions {
                button .primary type="submit" { (lang.t("quota-lower")) }
                a .button href=(visit.path("quotas")) { (lang.t("cancel")) }
            }
        }
        (present(visit)?)
    };
    Ok(wrong.answer(Page { title, section: Section::Quotas, live: false, content }.show(visit)))
}

/// The limits that are lowered by now.
fn present(visit: &Visit) -> Result<Markup, Failure> {
    let lang = visit.lang;
    let all = quota_overrides::overrides(visit.platform(), &visit.project.id)?;
    Ok(html! {
        h2 { (lang.t("quota-lowered-limits")) }
        @if all.is_empty() { p .empty { (lang.t("quota-lowered-none")) } }
        @for Override { bucket, limit } in &all {
            @let place = super::place(visit, bucket.region.as_ref());
            form .card.inline method="post" action=(visit.path("quotas/lower")) {
                (form_secret(visit))
                input type="hidden" name="quota" value=(bucket.quota.id());
                input type="hidden" name="region" value=(bucket.region.as_ref().map_or(EVERY_REGION, |region| region.as_str()));
                span { (bucket.quota.display_name()) ", " (place) ": " (limit) }
                button .danger type="submit" name="action" value="remove"
                    aria-label={ (lang.t("remove")) ": " (bucket.quota.gpu) ", " (place) } { (lang.t("remove")) }
            }
        }
    })
}
