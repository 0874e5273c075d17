//! Deleting a service, confirmed by its name, and a revision.

use axum::body::Bytes;
use axum::extract::Path;
use axum::response::{IntoResponse, Redirect, Response};
use homerun_api::error::ApiError;
use homerun_model::iam::Resource;
use homerun_model::names::{RevisionKey, RevisionName, ServiceKey};
use http::StatusCode;
use maud::{Markup, html};
use serde::Deserialize;

use super::failure::Failure;
use super::layout::{self, Page, Section};
use super::service::{self, At};
use super::visit::{Posted, Visit};
use super::words;
use crate::app;

/// The page that asks for the service's name.
pub(super) async fn confirm(visit: Visit, Path(at): Path<At>) -> Result<Response, Failure> {
    let key = may_delete(&visit, &at)?;
    Ok(ask(&visit, &key, None))
}

/// Deletes the service, if its name was typed.
pub(super) async fn delete(visit: Visit, Path(at): Path<At>, body: Bytes) -> Result<Response, Failure> {
    let posted = Posted::read(&visit, &body)?;
    let key = may_delete(&visit, &at)?;
    let typed = posted.get("name").unwrap_or_default().trim();
    if typed != key.name.as_str() {
        return Ok(ask(&visit, &key, Some(typed)));
    }
    let path = format!("{}/{}", words::api_path(&key.project, &key.region), key.name);
    let (platform, caller) = (visit.platform(), visit.caller());
    app::projects::require_run(platform, &visit.project)?;
    visit.change("DELETE", path, async { app::services::delete(platform, caller, &key, false) }).await?;
    Ok(Redirect::to(&visit.path("services")).into_response())
}

fn may_delete(visit: &Visit, at: &At) -> Result<ServiceKey, Failure> {
    let key = service::find(visit, at)?.value.key;
    let resource = Resource::Service(key.clone());
    app::access::require(visit.platform(), visit.caller(), "run.services.delete", &resource)?;
    Ok(key)
}

/// Asks for the service's name; `typed` is what was typed instead of it.
fn ask(visit: &Visit, key: &ServiceKey, typed: Option<&str>) -> Response {
    let lang = visit.lang;
    let wrong = typed.is_some();
    let title = lang.with("delete-service", [("name", key.name.as_str())]);
    let content = html! {
        (service::crumbs(visit, key))
        div .heading { h1 { (title) } }
        @if wrong {
            div .message.error role="alert" { a href="#name" { (lang.with("delete-wrong", [("name", key.name.as_str())])) } }
        }
        form .card method="post" {
            (layout::form_secret(visit))
            p { (lang.t("delete-service-means")) }
            div .field {
                label for="name" { (lang.with("delete-type-name", [("name", key.name.as_str())])) }
                input #name type="text" name="name" value=[typed] autocomplete="off" spellcheck="false" autocapitalize="off"
                    aria-invalid=[wrong.then_some("true")] aria-describedby=[wrong.then_some("name-error")];
                @if wrong { p .wrong #name-error { (lang.with("delete-wrong", [("name", key.name.as_str())])) } }
            }
            div .actions {
                button .danger.primary type="submit" { (lang.t("delete")) }
                a .button href=(words::path(key, "")) { (lang.t("cancel")) }
            }
        }
    };
    let status = if wrong { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    answer(visit, title, content, status)
}

fn answer(visit: &Visit, title: String, content: Markup, status: StatusCode) -> Response {
    let mut response = Page { title, section: Section::Services, live: false, content }.show(visit);
    *response.status_mut() = status;
    response
}

/// Which revision a path names.
#[derive(Deserialize)]
pub(super) struct Revision {
    region: String,
    service: String,
    revision: String,
}

impl Revision {
    fn keys(&self, visit: &Visit) -> (ServiceKey, RevisionKey) {
        let service = visit.key(&self.region, &self.service);
        let (project, region) = (service.project.clone(), service.region.clone());
        let revision = RevisionKey { project, region, name: RevisionName::new(&self.revision) };
        (service, revision)
    }
}

/// The page that asks whether a revision is to be deleted, or says why it cannot be.
pub(super) async fn confirm_revision(visit: Visit, Path(at): Path<Revision>) -> Result<Response, Failure> {
    let (service, revision) = at.keys(&visit);
    match app::revisions::delete(visit.platform(), visit.caller(), &revision, true) {
        Ok(_) => Ok(ask_revision(&visit, &service, &revision, None)),
        Err(ApiError::FailedPrecondition(why)) => Ok(ask_revision(&visit, &service, &revision, Some(&why))),
        Err(error) => Err(Failure(error)),
    }
}

/// Deletes a revision, or says why it cannot be.
pub(super) async fn delete_revision(visit: Visit, Path(at): Path<Revision>, body: Bytes) -> Result<Response, Failure> {
    Posted::read(&visit, &body)?;
    let (service, revision) = at.keys(&visit);
    let (platform, caller) = (visit.platform(), visit.caller());
    app::projects::require_run(platform, &visit.project)?;
    let (project, region) = (&revision.project, &revision.region);
    let path = format!("/v1/projects/{project}/locations/{region}/revisions/{}", revision.name);
    let deleted = async { app::revisions::delete(platform, caller, &revision, false) };
    match visit.change("DELETE", path, deleted).await {
        Ok(_) => Ok(Redirect::to(&words::path(&service, "revisions")).into_response()),
        Err(ApiError::FailedPrecondition(why)) => Ok(ask_revision(&visit, &service, &revision, Some(&why))),
        Err(error) => Err(Failure(error)),
    }
}

fn ask_revision(visit: &Visit, service: &ServiceKey, revision: &RevisionKey, why_not: Option<&str>) -> Response {
    let lang = visit.lang;
    let title = lang.with("delete-revision", [("name", revision.name.as_str())]);
    let back = format!("{}?revision={}", words::path(service, "revisions"), revision.name);
    let content = html! {
        (service::crumbs(visit, service))
        div .heading { h1 { (title) } }
        @if let Some(why) = why_not { p .message.error role="alert" { (why) } }
        form .card method="post" {
            (layout::form_secret(visit))
            @if why_not.is_none() { p { (lang.t("delete-revision-means")) } }
            div .actions {
                @if why_not.is_none() { button .danger.primary type="submit" { (lang.t("delete")) } }
                a .button href=(back) { (lang.t("cancel")) }
            }
        }
    };
    let status = if why_not.is_some() { StatusCode::CONFLICT } else { StatusCode::OK };
    answer(visit, title, content, status)
}
