//! Editing a service as YAML: write, look at what it changes, deploy.

use axum::body::Bytes;
use axum::extract::Path;
use axum::response::{IntoResponse, Redirect, Response};
use homerun_api::error::ApiError;
use homerun_api::run_v1::{self, parse_strict};
use homerun_model::service::Service;
use http::StatusCode;
use maud::{Markup, html};
use similar::{ChangeTag, TextDiff};

use super::super::failure::Failure;
use super::super::layout::{self, Page, Section};
use super::super::visit::{Posted, Visit};
use super::super::words;
use super::{At, crumbs, find_to_change, replace, yaml};
use crate::app;
use crate::store::Versioned;

/// Lines around a change that are shown with it.
const AROUND: usize = 3;

/// The service in a field.
pub(in crate::console) async fn page(visit: Visit, Path(at): Path<At>) -> Result<Response, Failure> {
    let stored = find_to_change(&visit, &at)?;
    let text = yaml::editable(&visit, &stored)?;
    Ok(editor(&visit, &stored.value, &text, Ok(())))
}

/// Goes on from what was written.
pub(in crate::console) async fn submit(visit: Visit, Path(at): Path<At>, body: Bytes) -> Result<Response, Failure> {
    let posted = Posted::read(&visit, &body)?;
    let stored = find_to_change(&visit, &at)?;
    let text = posted.get("yaml").unwrap_or_default().replace("\r\n", "\n");
    let deploys = posted.get("do") == Some("deploy");
    if !deploys && posted.get("do") != Some("review") {
        return Ok(editor(&visit, &stored.value, &text, Ok(())));
    }
    match change(&visit, &stored, &text, !deploys).await {
        Ok(_) if deploys => Ok(Redirect::to(&words::path(&stored.value.key, "")).into_response()),
        Ok(_) => {
            let before = yaml::editable(&visit, &stored)?;
            Ok(review(&visit, &stored.value, &before, &text))
        }
        Err(ApiError::Conflict(message)) => outdated(&visit, &find_to_change(&visit, &at)?, &text, &message),
        Err(error) => Ok(editor(&visit, &stored.value, &text, Err(error))),
    }
}

/// What was written on top of the service as it is now: who has seen how they differ may replace the newer version.
fn outdated(visit: &Visit, stored: &Versioned<Service>, text: &str, message: &str) -> Result<Response, Failure> {
    let text = with_version(text, stored.version);
    let now = yaml::editable(visit, stored)?;
    let message = format!("{message} {}", visit.lang.t("conflict-next"));
    let after = html! { h2 { (visit.lang.t("yaml-differs")) } (difference(visit, &now, &text)) };
    Ok(editor_with(visit, &stored.value, &text, Err(ApiError::Conflict(message)), &after))
}

/// The text with another version of the service, which stands there once as YAML has it.
fn with_version(text: &str, version: u64) -> String {
    let line = |line: &str| match line.split_once("resourceVersion:") {
        Some((before, _)) if before.trim().is_empty() => format!("{before}resourceVersion: \"{version}\"\n"),
        _ => line.to_owned(),
    };
    text.split_inclusive('\n').map(line).collect()
}

/// Replaces the service by what was written, as the API does with a body; or only checks that it could.
async fn change(
    visit: &Visit,
    stored: &Versioned<Service>,
    text: &str,
    dry_run: bool,
) -> Result<Versioned<Service>, ApiError> {
    let key = &stored.value.key;
    let wire = parse(visit, text)?;
    app::wire::require_name(&wire, key.name.as_str())?;
    let (parsed, key) = app::wire::parse(&visit.project, key.region.clone(), wire, key.name.as_str())?;
    replace(visit, key, parsed, dry_run).await
}

fn parse(visit: &Visit, text: &str) -> Result<run_v1::Service, ApiError> {
    let document: serde_json::Value = serde_saphyr::from_str(text).map_err(|error| {
        ApiError::FailedPrecondition(visit.lang.with("yaml-unreadable", [("error", error.to_string())]))
    })?;
    Ok(parse_strict(document.to_string().as_bytes())?)
}

fn editor(visit: &Visit, service: &Service, text: &str, outcome: Result<(), ApiError>) -> Response {
    editor_with(visit, service, text, outcome, &html! {})
}

/// The text in a field, with something below it.
fn editor_with(
    visit: &Visit,
    service: &Service,
    text: &str,
    outcome: Result<(), ApiError>,
    after: &Markup,
) -> Response {
    let lang = visit.lang;
    let wrong = outcome.as_ref().err().map(ToString::to_string);
    let content = html! {
        @if let Some(wrong) = &wrong {
            div .message.error role="alert" {
                p { strong { (lang.t("form-wrong")) } }
                ul { @for line in wrong.lines().filter(|line| !line.is_empty()) { li { a href="#yaml" { (line) } } } }
            }
        }
        form .yaml method="post" {
            (layout::form_secret(visit))
            div .field {
                label for="yaml" { (lang.t("tab-yaml")) }
                textarea #yaml name="yaml" rows="30" spellcheck="false" autocapitalize="off" aria-describedby="yaml-hint"
                    aria-invalid=[wrong.as_ref().map(|_| "true")] { "\n" (text) }
                p .hint #yaml-hint { (lang.t("yaml-edit-hint")) }
            }
            div .actions {
                button .primary type="submit" name="do" value="review" { (lang.t("yaml-review")) }
                a .button href=(words::path(&service.key, "yaml")) { (lang.t("cancel")) }
            }
        }
        (after)
    };
    let status = outcome.as_ref().err().map_or(200, ApiError::code);
    answer(visit, service, "yaml-edit", &content, status)
}

/// What the text changes, and the button that deploys it.
fn review(visit: &Visit, service: &Service, before: &str, text: &str) -> Response {
    let lang = visit.lang;
    let content = html! {
        @if before == text { p .empty { (lang.t("yaml-same")) } } @else { (difference(visit, before, text)) }
        form .yaml method="post" {
            (layout::form_secret(visit))
            input type="hidden" name="yaml" value=(text);
            div .actions {
                @if before != text { button .primary type="submit" name="do" value="deploy" { (lang.t("deploy")) } }
                button type="submit" name="do" value="edit" { (lang.t("yaml-on")) }
                a .button href=(words::path(&service.key, "yaml")) { (lang.t("cancel")) }
            }
        }
    };
    answer(visit, service, "yaml-review", &content, 200)
}

/// The lines that differ, with those around them; signs tell them apart as well as colours.
fn difference(visit: &Visit, before: &str, after: &str) -> Markup {
    let diff = TextDiff::from_lines(before, after);
    html! {
        div .scroll.diff tabindex="0" role="region" aria-label=(visit.lang.t("yaml-review")) {
            @for (at, group) in diff.grouped_ops(AROUND).iter().enumerate() {
                @if at > 0 { p .gap aria-hidden="true" { "…" } }
                @for change in group.iter().flat_map(|op| diff.iter_changes(op)) {
                    @let line = change.value().trim_end_matches('\n');
                    @match change.tag() {
                        ChangeTag::Delete => del { "- " (line) },
                        ChangeTag::Insert => ins { "+ " (line) },
                        ChangeTag::Equal => span { "  " (line) },
                    }
                }
            }
        }
    }
}

fn answer(visit: &Visit, service: &Service, title: &str, content: &Markup, status: u16) -> Response {
    let title = visit.lang.t(title).into_owned();
    let content = html! {
        (crumbs(visit, &service.key))
        div .heading { h1 { (title) } }
        (content)
    };
    let mut response = Page { title, section: Section::Services, live: false, content }.show(visit);
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response
}
