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
    let name = key.name.as_str();
    let title = lang.with("delete-service", [("name", name)]);
    let content = html! {
        (service::crumbs(visit, key))
        div .heading { h1 { (title) } }
        @if typed.is_some() { (mistyped(visit, name)) }
        form .card method="post" {
            (layout::form_secret(visit))
            p { (lang.t("delete-service-means")) }
            (name_field(visit, name, typed))
            div .actions {
                button .danger.primary type="submit" { (lang.t("delete")) }
                a .button href=(words::path(key, "")) { (lang.t("cancel")) }
            }
        }
    };
    let status = if typed.is_some() { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    answer(visit, title, content, status)
}

/// Says at the top that another name was typed.
fn mistyped(visit: &Visit, name: &str) -> Markup {
    html! { div .message.error role="alert" { a href="#name" { (visit.lang.with("delete-wrong", [("name", name)])) } } }
}

/// The field for the name of what is deleted; `typed` is what was typed instead of it.
fn name_field(visit: &Visit, name: &str, typed: Option<&str>) -> Markup {
    let lang = visit.lang;
    let wrong = typed.is_some();
    html! {
        div .field {
            label for="name" { (lang.with("delete-type-name", [("name", name)])) }
            input #name type="text" name="name" value=[typed] autocomplete="off" spellcheck="false" autocapitalize="off"
                aria-invalid=[wrong.then_some("true")] aria-describedby=[wrong.then_some("name-error")];
            @if wrong { p .wrong #name-error { (lang.with("delete-wrong", [("name", name)])) } }
        }
    }
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

/// The page that asks for the revision's name, or says why it cannot be deleted.
pub(super) async fn confirm_revision(visit: Visit, Path(at): Path<Revision>) -> Result<Response, Failure> {
    let (service, revision) = at.keys(&visit);
    match app::revisions::delete(visit.platform(), visit.caller(), &revision, true) {
        Ok(_) => Ok(ask_revision(&visit, &service, &revision, Doubt::None)),
        Err(ApiError::FailedPrecondition(why)) => Ok(ask_revision(&visit, &service, &revision, Doubt::Needed(&why))),
        Err(error) => Err(Failure(error)),
    }
}

/// Deletes a revision if its name was typed, or says why it cannot be.
pub(super) async fn delete_revision(visit: Visit, Path(at): Path<Revision>, body: Bytes) -> Result<Response, Failure> {
    let posted = Posted::read(&visit, &body)?;
    let (service, revision) = at.keys(&visit);
    let (platform, caller) = (visit.platform(), visit.caller());
    app::projects::require_run(platform, &visit.project)?;
    let typed = posted.get("name").unwrap_or_default().trim();
    if typed != revision.name.as_str() {
        // Who may not delete it is told that first.
        app::revisions::delete(platform, caller, &revision, true)?;
        return Ok(ask_revision(&visit, &service, &revision, Doubt::Mistyped(typed)));
    }
    let (project, region) = (&revision.project, &revision.region);
    let path = format!("/v1/projects/{project}/locations/{region}/revisions/{}", revision.name);
    let deleted = async { app::revisions::delete(platform, caller, &revision, false) };
    match visit.change("DELETE", path, deleted).await {
        Ok(_) => Ok(Redirect::to(&words::path(&service, "revisions")).into_response()),
        Err(ApiError::FailedPrecondition(why)) => Ok(ask_revision(&visit, &service, &revision, Doubt::Needed(&why))),
        Err(error) => Err(Failure(error)),
    }
}

/// Why a revision is not deleted yet.
enum Doubt<'a> {
    None,
    /// Something needs it.
    Needed(&'a str),
    /// Another name was typed.
    Mistyped(&'a str),
}

fn ask_revision(visit: &Visit, service: &ServiceKey, revision: &RevisionKey, doubt: Doubt<'_>) -> Response {
    let lang = visit.lang;
    let name = revision.name.as_str();
    let title = lang.with("delete-revision", [("name", name)]);
    let back = format!("{}?revision={name}", words::path(service, "revisions"));
    let (why_not, typed, status) = match doubt {
        Doubt::None => (None, None, StatusCode::OK),
        Doubt::Needed(why) => (Some(why), None, StatusCode::CONFLICT),
        Doubt::Mistyped(typed) => (None, Some(typed), StatusCode::BAD_REQUEST),
    };
    let content = html! {
        (service::crumbs(visit, service))
        div .heading { h1 { (title) } }
        @if let Some(why) = why_not { p .message.error role="alert" { (why) } }
        @if typed.is_some() { (mistyped(visit, name)) }
        form .card method="post" {
            (layout::form_secret(visit))
            @if why_not.is_none() {
                p { (lang.t("delete-revision-means")) }
                (name_field(visit, name, typed))
            }
            div .actions {
                @if why_not.is_none() { button .danger.primary type="submit" { (lang.t("delete")) } }
                a .button href=(back) { (lang.t("cancel")) }
            }
        }
    };
    answer(visit, title, content, status)
}
