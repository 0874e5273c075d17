//! The form that says where a service's requests go.

use axum::body::Bytes;
use axum::extract::Path;
use axum::response::{IntoResponse, Redirect, Response};
use homerun_api::error::ApiError;
use homerun_model::service::Service;
use http::StatusCode;
use maud::html;

use super::draft::{Draft, TRAFFIC, VERSION};
use super::form::{Form, named, violations};
use super::rows;
use crate::app;
use crate::console::failure::Failure;
use crate::console::layout::{self, Page, Section};
use crate::console::service::{self, At};
use crate::console::visit::{Posted, Visit};
use crate::console::words;
use crate::store::Versioned;

/// The form as the service is.
pub(in crate::console) async fn page(visit: Visit, Path(at): Path<At>) -> Result<Response, Failure> {
    let stored = service::find_to_change(&visit, &at)?;
    let draft = Draft::whole(&app::wire::service(visit.platform(), &stored));
    show(&visit, &stored.value, &draft, Ok(()))
}

/// Moves the traffic, or shows the form again.
pub(in crate::console) async fn save(visit: Visit, Path(at): Path<At>, body: Bytes) -> Result<Response, Failure> {
    let posted = Posted::read(&visit, &body)?;
    let stored = service::find_to_change(&visit, &at)?;
    let mut draft = Draft::whole(&app::wire::service(visit.platform(), &stored)).posted(&posted.0);
    let action = posted.get("do").unwrap_or_default();
    if action != "save" {
        rows::act(&mut draft, action, "");
        return show(&visit, &stored.value, &draft, Ok(()));
    }
    match replace(&visit, &stored, &draft).await {
        Ok(()) => Ok(Redirect::to(&words::path(&stored.value.key, "")).into_response()),
        Err(ApiError::Conflict(message)) => {
            draft.set(VERSION, &stored.version.to_string());
            let message = format!("{message} {}", visit.lang.t("conflict-next"));
            show(&visit, &stored.value, &draft, Err(ApiError::Conflict(message)))
        }
        Err(error) => show(&visit, &stored.value, &draft, Err(error)),
    }
}

async fn replace(visit: &Visit, stored: &Versioned<Service>, draft: &Draft) -> Result<(), ApiError> {
    let key = &stored.value.key;
    let (parsed, key) = app::wire::parse(&visit.project, key.region.clone(), draft.service()?, key.name.as_str())?;
    service::replace(visit, key, parsed, false).await.map(drop)
}

fn show(visit: &Visit, service: &Service, draft: &Draft, outcome: Result<(), ApiError>) -> Result<Response, Failure> {
    let lang = visit.lang;
    let mut form = Form::new(lang, draft);
    let status = outcome.as_ref().err().map_or(200, ApiError::code);
    form.errors = outcome.err().map(violations).unwrap_or_default();
    let at = (&visit.project, Some(&service.key.region));
    let name = Some(service.key.name.as_str());
    let revisions = app::revisions::page(visit.platform(), at, name, None, usize::MAX)?;
    let latest = (String::new(), lang.t("traffic-latest").into_owned());
    let names = revisions.into_iter().map(|(_, revision)| revision.value.key.name.to_string());
    let choices: Vec<(String, String)> =
        std::iter::once(latest).chain(names.map(|name| (name.clone(), name))).collect();
    let fields = form.rows(TRAFFIC, "traffic", "traffic-add", |row, _| {
        html! {
            (form.menu(named(&format!("{row}.revisionName"), "revision"), &choices, false))
            (form.number(&format!("{row}.percent"), "traffic-percent", None))
            (form.text(&format!("{row}.tag"), "traffic-tag", None))
        }
    });
    let title = lang.t("manage-traffic").into_owned();
    let content = html! {
        (service::crumbs(visit, &service.key))
        div .heading { h1 { (title) } }
        p { (lang.t("traffic-hint")) }
        (form.summary())
        form .deploy method="post" {
            button .unscripted type="submit" name="do" value="refresh" formnovalidate { (lang.t("refresh")) }
            (layout::form_secret(visit))
            input type="hidden" name=(VERSION) value=(draft.text(VERSION));
            (fields)
            div .actions {
                button .primary type="submit" name="do" value="save" { (lang.t("save")) }
                a .button href=(words::path(&service.key, "")) { (lang.t("cancel")) }
            }
        }
    };
    let mut response = Page { title, section: Section::Services, live: false, content }.show(visit);
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    Ok(response)
}
