//! An administrator's decision about a request.

use axum::body::Bytes;
use axum::extract::Query;
use axum::response::{IntoResponse, Redirect, Response};
use homerun_api::error::ApiError;
use homerun_model::iam::Resource;
use homerun_model::quota::{Decision, Preference};
use maud::{Markup, html};
use serde::Deserialize;

use super::super::failure::Failure;
use super::super::fields::Mistakes;
use super::super::layout::{Page, Section, form_secret};
use super::super::visit::{Posted, Visit};
use super::{DECIDE, place};
use crate::app::{access, quotas};
use crate::store::Versioned;

/// Which request, and what was said to it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in super::super) struct Asked {
    request: String,
    #[serde(skip)]
    value: String,
    #[serde(skip)]
    reason: String,
    /// The version of the request that was shown.
    #[serde(skip)]
    version: u64,
}

pub(in super::super) async fn page(visit: Visit, Query(asked): Query<Asked>) -> Result<Response, Failure> {
    let request = find(&visit, &asked)?;
    let asked = Asked { value: request.value.preferred.to_string(), version: request.version, ..asked };
    Ok(form(&visit, &request.value, &asked, &Mistakes::default()))
}

pub(in super::super) async fn submit(visit: Visit, body: Bytes) -> Result<Response, Failure> {
    let posted = Posted::read(&visit, &body)?;
    let text = |name: &str| posted.get(name).unwrap_or_default().trim().to_owned();
    // No request has the version 0.
    let version = text("version").parse().unwrap_or(0);
    let asked = Asked { request: text("request"), value: text("value"), reason: text("reason"), version };
    find(&visit, &asked)?;
    match decide(&visit, &asked, posted.get("decision")).await {
        Ok(()) => Ok(Redirect::to(&visit.path("quotas")).into_response()),
        Err(error) => {
            // Who has read what is asked for by now may decide about that.
            let request = find(&visit, &asked)?;
            let asked = Asked { version: request.version, ..asked };
            let field = |of: &str| match of {
                "value" => Some("value"),
                "reason" => Some("reason"),
                _ => None,
            };
            Ok(form(&visit, &request.value, &asked, &Mistakes::of(error, field)?))
        }
    }
}

fn find(visit: &Visit, asked: &Asked) -> Result<Versioned<Preference>, Failure> {
    access::require(visit.platform(), visit.caller(), DECIDE, &Resource::Platform)?;
    Ok(quotas::preference(visit.platform(), &visit.project.id, &asked.request)?)
}

async fn decide(visit: &Visit, asked: &Asked, decision: Option<&str>) -> Result<(), ApiError> {
    let (project, id) = (&visit.project.id, &asked.request);
    let (verb, decision) = match decision {
        Some("approve") => ("approve", Decision::Approve(Some(quotas::gpus(&asked.value, "value")?))),
        Some("deny") => ("deny", Decision::Deny(asked.reason.clone())),
        _ => return Err(ApiError::FailedPrecondition(visit.lang.t("quota-decision-missing").into_owned())),
    };
    let path = format!("/homerun/v1/projects/{project}/quotaPreferences/{id}:{verb}");
    let work = async { quotas::decide(visit.platform(), visit.caller(), project, (id, Some(asked.version)), decision) };
    visit.change("POST", path, work).await.map(drop)
}

fn form(visit: &Visit, request: &Preference, asked: &Asked, wrong: &Mistakes) -> Response {
    let lang = visit.lang;
    let title = lang.t("quota-decide").into_owned();
    let hidden = html! {
        (form_secret(visit))
        input type="hidden" name="request" value=(request.id);
        input type="hidden" name="version" value=(asked.version);
    };
    let action = visit.path("quotas/decide");
    let content = html! {
        p .crumbs { a href=(visit.path("quotas")) { (lang.t("quotas")) } " › " }
        div .heading { h1 { (title) } }
        (wrong.summary(lang))
        (facts(visit, request))
        form .card method="post" action=(action) {
            h2 { (lang.t("quota-approve")) }
            (hidden)
            (wrong.field(("value", &lang.t("quota-granted-value")), &lang.t("quota-granted-value-hint"), |says| html! {
                input #value name="value" inputmode="numeric" required value=(asked.value) autocomplete="off"
                    aria-describedby=[&says.described] aria-invalid=[says.invalid];
            }))
            button .primary type="submit" name="decision" value="approve" { (lang.t("quota-approve")) }
        }
        form .card method="post" action=(action) {
            h2 { (lang.t("quota-deny")) }
            (hidden)
            (wrong.field(("reason", &lang.t("reason")), &lang.t("quota-deny-hint"), |says| html! {
                textarea #reason name="reason" rows="3"
                    aria-describedby=[&says.described] aria-invalid=[says.invalid] { (asked.reason) }
            }))
            button .danger type="submit" name="decision" value="deny" { (lang.t("quota-deny")) }
        }
    };
    wrong.answer(Page { title, section: Section::Quotas, live: false, content }.show(visit))
}

fn facts(visit: &Visit, request: &Preference) -> Markup {
    let (lang, bucket) = (visit.lang, &request.bucket);
    let standing = quotas::standing(visit.platform(), bucket);
    html! {
        dl .facts {
            div { dt { (lang.t("project")) } dd { (bucket.project) } }
            div { dt { (lang.t("quota")) } dd { (bucket.quota.display_name()) } }
            div { dt { (lang.t("region")) } dd { (place(visit, bucket.region.as_ref())) } }
            div { dt { (lang.t("quota-preferred")) } dd { (request.preferred) } }
            div {
                dt { (lang.t("quota-used")) }
                dd { (lang.with("quota-of", [("used", standing.used), ("limit", standing.granted)])) }
            }
            div { dt { (lang.t("quota-requester")) } dd { (request.requester) } }
            div { dt { (lang.t("quota-justification")) } dd { (request.justification) } }
        }
    }
}
