//! Who visits which page, in which language.

use axum::extract::{FromRequestParts, OriginalUri, Path, Query};
use axum::response::{IntoResponse, Redirect, Response};
use chrono::{FixedOffset, Offset as _, Utc};
use homerun_api::error::ApiError;
use homerun_model::iam::Resource;
use homerun_model::names::{Project, ProjectId, Region, ServiceKey, ServiceName};
use http::request::Parts;
use http::{HeaderMap, Method, header};
use serde::Deserialize;

use super::Console;
use super::failure::Failure;
use super::lang::Lang;
use super::sign_in;
use crate::app;
use crate::audit::{self, Record};
use crate::auth::{Caller, SignedIn};
use crate::platform::Platform;
use crate::store::StoredProject;

/// A visit to a page, by somebody who is signed in.
pub(super) struct Visit {
    /// The console.
    pub(super) console: Console,
    /// Who it is.
    pub(super) signed_in: SignedIn,
    /// In which language.
    pub(super) lang: Lang,
    /// The browser's offset from UTC.
    pub(super) offset: FixedOffset,
    /// The page's path and query.
    pub(super) here: String,
    /// The project that the page is about.
    pub(super) project: Project,
}

impl Visit {
    /// The platform.
    pub(super) fn platform(&self) -> &Platform {
        &self.console.platform
    }

    /// Who visits.
    pub(super) fn caller(&self) -> &Caller {
        &self.signed_in.caller
    }

    /// Whether the visitor may do something in the project.
    pub(super) fn may(&self, permission: &str) -> bool {
        self.may_on(permission, &Resource::Project(self.project.id.clone()))
    }

    /// Whether the visitor may do something to a resource.
    pub(super) fn may_on(&self, permission: &str, resource: &Resource) -> bool {
        app::access::has(self.platform(), self.caller(), permission, resource)
    }

    /// The key of a service of the project.
    pub(super) fn key(&self, region: &str, service: &str) -> ServiceKey {
        let (region, name) = (Region::new(region), ServiceName::new(service));
        ServiceKey { project: self.project.id.clone(), region, name }
    }

    /// The path of a page of the project.
    pub(super) fn path(&self, below: &str) -> String {
        format!("/console/{}/{below}", self.project.id)
    }

    /// Makes a change: what `work` writes is recorded as this visitor's, under the path that the same change has in
    /// the API.
    pub(super) async fn change<T>(&self, verb: &str, path: String, work: impl Future<Output = T>) -> T {
        let record = Record {
            at: self.platform().clock.now(),
            by: self.caller().email().to_owned(),
            verb: verb.to_owned(),
            path,
            project: self.project.id.to_string(),
        };
        audit::during(record, work).await
    }

    /// A visit by whoever is signed in, to no project in particular.
    pub(super) fn anywhere(console: &Console, headers: &HeaderMap, here: String) -> Option<Self> {
        let signed_in = signed_in(console, headers)?;
        let project = console.platform.config.default_project();
        let (lang, offset) = (Lang::of(headers), offset(headers));
        Some(Self { console: console.clone(), signed_in, lang, offset, here, project })
    }

    /// The projects that the visitor may choose from.
    pub(super) fn projects(&self) -> Vec<ProjectId> {
        let all = self.platform().store.projects().unwrap_or_default();
        let may = |project: &StoredProject| {
            self.may_on("resourcemanager.projects.get", &Resource::Project(project.project.id.clone()))
        };
        all.into_iter().filter(may).map(|project| project.project.id).collect()
    }
}

/// Who is signed in by a request's cookie.
fn signed_in(console: &Console, headers: &HeaderMap) -> Option<SignedIn> {
    cookie(headers, sign_in::COOKIE).and_then(|secret| console.auth.session(&secret))
}

#[derive(Deserialize)]
struct Segments {
    project: Option<String>,
}

impl FromRequestParts<Console> for Visit {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, console: &Console) -> Result<Self, Response> {
        // Of a nested router's request, `uri` is only the part below.
        let uri = parts.extensions.get::<OriginalUri>().map_or(&parts.uri, |OriginalUri(uri)| uri);
        let here = uri.path_and_query().map_or("/console", |path| path.as_str()).to_owned();
        let Some(signed_in) = signed_in(console, &parts.headers) else {
            return Err(if parts.method == Method::GET { sign_in::redirect(&here) } else { sign_in::ended(parts) });
        };
        let lang = Lang::of(&parts.headers);
        let segments = Path::<Segments>::from_request_parts(parts, console).await;
        let named = segments.ok().and_then(|Path(segments)| segments.project);
        let project = match named {
            Some(named) => {
                app::projects::find(&console.platform, &named).map_err(|e| Failure(e).into_response())?.project
            }
            None => console.platform.config.default_project(),
        };
        Ok(Self { console: console.clone(), signed_in, lang, offset: offset(&parts.headers), here, project })
    }
}

/// A form that the visitor has sent, which no other site can have sent for them.
pub(super) struct Posted(pub(super) Vec<(String, String)>);

impl Posted {
    /// Reads a form.
    ///
    /// # Errors
    /// `PermissionDenied` where it does not have what the console's own forms have.
    pub(super) fn read(visit: &Visit, body: &[u8]) -> Result<Self, Failure> {
        if form_urlencoded::parse(body).nth(MOST_FIELDS).is_some() {
            let message = visit.lang.with("error-form-large", [("most", MOST_FIELDS)]);
            return Err(Failure(ApiError::FailedPrecondition(message)));
        }
        let posted = Self(form_urlencoded::parse(body).into_owned().collect());
        if visit.signed_in.has_sent(posted.get(FORM_SECRET).unwrap_or_default()) {
            return Ok(posted);
        }
        Err(Failure(ApiError::FailedPrecondition(visit.lang.t("error-form-secret").into_owned())))
    }

    /// The first value of a field.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
    }
}

/// Most fields of a form: the largest service has some thousand.
const MOST_FIELDS: usize = 5000;

/// The field that proves a form to be the console's own.
pub(super) const FORM_SECRET: &str = "form-secret";

/// The value of a cookie.
pub(super) fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    let all = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    let mut pairs = all.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(found, _)| *found == name).map(|(_, value)| value.to_owned())
}

/// The browser's offset from UTC, which the script keeps in a cookie, in minutes.
fn offset(headers: &HeaderMap) -> FixedOffset {
    let minutes = cookie(headers, "homerun_offset").and_then(|minutes| minutes.parse::<i32>().ok()).unwrap_or(0);
    FixedOffset::east_opt(minutes.saturating_mul(60)).unwrap_or(Utc.fix())
}

/// Where to go on, if that is a page of the console.
pub(super) fn back(next: &str) -> &str {
    let below = next == "/console" || next.starts_with("/console/");
    let fine = below && next.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    if fine { next } else { "/console" }
}

/// The first page of the first project that the visitor may see.
pub(super) async fn home(visit: Visit) -> Response {
    let project = visit.projects().into_iter().next().unwrap_or_else(|| visit.project.id.clone());
    Redirect::to(&format!("/console/{project}/services")).into_response()
}

/// The first page of a project.
pub(super) async fn project_home(visit: Visit) -> Response {
    Redirect::to(&visit.path("services")).into_response()
}

/// Another project to go to.
#[derive(Deserialize)]
pub(super) struct Chosen {
    to: String,
}

/// Goes to the project that was chosen.
pub(super) async fn switch_project(visit: Visit, Query(chosen): Query<Chosen>) -> Result<Response, Failure> {
    let project = app::projects::find(visit.platform(), &chosen.to)?.project;
    Ok(Redirect::to(&format!("/console/{}/services", project.id)).into_response())
}
