//! The forms that deploy: a new service, and a new revision of one.
//!
//! A form is filled in on the server ([`draft`]): what the visitor has typed is sent, changed by what a button says, and
//! shown again, until it is deployed by the same calls as the API's. So rules and their sentences are the API's, too.

mod around;
mod containers;
mod draft;
mod form;
mod gpu;
mod page;
mod path;
mod probes;
mod rows;
pub(super) mod traffic;

use axum::body::Bytes;
use axum::extract::Path;
use axum::response::{IntoResponse, Redirect, Response};
use homerun_api::error::ApiError;
use homerun_model::iam::{ALL_USERS, Binding, INVOKER, Policy, Resource};
use homerun_model::service::{Service, ServiceSpec};
use homerun_model::traffic as targets;
use http::StatusCode;
use maud::html;

use self::around::Around;
use self::draft::{CONTAINERS, Draft, NAME, VERSION};
use self::form::{Form, violations};
use super::failure::Failure;
use super::layout::{Page, Section};
use super::service::{self, At};
use super::visit::{Posted, Visit};
use super::words;
use crate::app;
use crate::store::Versioned;

/// The field that tells which GPU the form was last shown with.
const GPU_WAS: &str = "gpu-was";

/// What the form holds besides the service.
struct Entry {
    /// Whether it was sent before.
    sent: bool,
    /// Whether everybody may send requests to a new service.
    public: bool,
    /// Whether the new revision gets the requests at once; `None` where there is no other that could.
    serve: Option<bool>,
    /// Whether what a GPU needs was filled in just now.
    gpu_filled_in: bool,
}

/// A form that was sent.
struct Sent {
    draft: Draft,
    entry: Entry,
    /// Whether it is to be deployed, not only shown again.
    deploys: bool,
}

impl Sent {
    /// The form that begun with `base`, as it was sent, and after what its button says.
    fn new(around: &Around<'_>, base: &Draft, posted: &Posted, can_wait: bool) -> Self {
        let mut draft = base.posted(&posted.0);
        let changed = posted.get(GPU_WAS).is_some_and(|was| was != gpu::mark(&draft));
        let gpu_filled_in = changed && gpu::owner(&draft).is_some();
        if gpu_filled_in {
            gpu::fill_in(&mut draft, around.inventory, &around.region);
        }
        let action = posted.get("do").unwrap_or_default();
        // Without a script, the visitor is first shown what was filled in.
        let deploys = action == "deploy" && !gpu_filled_in;
        if deploys {
            draft = draft.without_empty_rows();
        } else {
            let port = around.unset(&draft).remove(&format!("{CONTAINERS}[0].ports[0].containerPort"));
            rows::act(&mut draft, action, &port.unwrap_or_default());
        }
        let entry = Entry {
            sent: true,
            public: posted.get("authentication") == Some("public"),
            serve: can_wait.then(|| posted.get("serve").is_some()),
            gpu_filled_in,
        };
        Self { draft, entry, deploys }
    }
}

/// The form for a new service.
pub(super) async fn new(visit: Visit) -> Result<Response, Failure> {
    may_create(&visit)?;
    let around = Around::of_new(&visit, None);
    let entry = Entry { sent: false, public: false, serve: None, gpu_filled_in: false };
    Ok(show(&visit, &around, &Draft::empty(), &entry, Ok(())))
}

/// Creates a service, or shows its form again.
pub(super) async fn create(visit: Visit, body: Bytes) -> Result<Response, Failure> {
    let posted = Posted::read(&visit, &body)?;
    may_create(&visit)?;
    let around = Around::of_new(&visit, posted.get("region"));
    let sent = Sent::new(&around, &Draft::empty(), &posted, false);
    if !sent.deploys {
        return Ok(show(&visit, &around, &sent.draft, &sent.entry, Ok(())));
    }
    match make(&visit, &around, &sent).await {
        Ok(made) => Ok(Redirect::to(&made).into_response()),
        Err(error) => Ok(show(&visit, &around, &sent.draft, &sent.entry, Err(error))),
    }
}

fn may_create(visit: &Visit) -> Result<(), ApiError> {
    let project = Resource::Project(visit.project.id.clone());
    app::projects::require_run(visit.platform(), &visit.project)?;
    app::access::require(visit.platform(), visit.caller(), "run.services.create", &project)
}

/// The form for a new revision.
pub(super) async fn edit(visit: Visit, Path(at): Path<At>) -> Result<Response, Failure> {
    let stored = service::find_to_change(&visit, &at)?;
    let around = Around::of(&visit, &stored.value);
    let latest = stored.value.spec.traffic.iter().filter(|target| target.revision.is_none());
    let all_latest = latest.map(|target| target.percent).sum::<u32>() == 100;
    let serve = can_wait(&stored.value).then_some(all_latest);
    let entry = Entry { sent: false, public: false, serve, gpu_filled_in: false };
    let draft = Draft::of(&app::wire::service(visit.platform(), &stored));
    Ok(show(&visit, &around, &draft, &entry, Ok(())))
}

/// Deploys a new revision, or shows its form again.
pub(super) async fn deploy(visit: Visit, Path(at): Path<At>, body: Bytes) -> Result<Response, Failure> {
    let posted = Posted::read(&visit, &body)?;
    let stored = service::find_to_change(&visit, &at)?;
    let around = Around::of(&visit, &stored.value);
    let base = Draft::of(&app::wire::service(visit.platform(), &stored));
    let mut sent = Sent::new(&around, &base, &posted, can_wait(&stored.value));
    if !sent.deploys {
        return Ok(show(&visit, &around, &sent.draft, &sent.entry, Ok(())));
    }
    let error = match replace(&visit, &stored, &sent).await {
        Ok(replaced) if replaced.version != stored.version => {
            return Ok(Redirect::to(&words::path(&stored.value.key, "")).into_response());
        }
        Ok(_) => ApiError::FailedPrecondition(visit.lang.t("nothing-changed").into_owned()),
        Err(ApiError::Conflict(message)) => {
            // Who has read this may replace the newer version.
            sent.draft.set(VERSION, &stored.version.to_string());
            ApiError::Conflict(format!("{message} {}", visit.lang.t("conflict-next")))
        }
        Err(error) => error,
    };
    Ok(show(&visit, &around, &sent.draft, &sent.entry, Err(error)))
}

/// Whether there is a revision that could have the requests instead of the new one.
fn can_wait(service: &Service) -> bool {
    service.status.latest_ready_revision.is_some()
}

fn show(visit: &Visit, around: &Around<'_>, draft: &Draft, entry: &Entry, outcome: Result<(), ApiError>) -> Response {
    let lang = visit.lang;
    let mut form = Form::new(lang, draft);
    form.unset = around.unset(draft);
    let status = outcome.as_ref().err().map_or(200, ApiError::code);
    form.errors = outcome.err().map(violations).unwrap_or_default();
    let title = lang.t(if around.stored { "edit-and-deploy" } else { "deploy-container" }).into_owned();
    let content = html! {
        p .crumbs {
            a href=(visit.path("services")) { (lang.t("services")) } " › "
            @if around.stored { a href=(around.back) { (draft.text(NAME)) } " › " }
        }
        div .heading { h1 { (title) } }
        (page::show(visit, &form, around, entry))
    };
    let mut response = Page { title, section: Section::Services, live: false, content }.show(visit);
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response
}

/// Creates the service. Where to go then: to the service, which says what was not done after it was there.
async fn make(visit: &Visit, around: &Around<'_>, sent: &Sent) -> Result<String, ApiError> {
    let (platform, caller) = (visit.platform(), visit.caller());
    let wire = sent.draft.service()?;
    let name = sent.draft.text(NAME);
    let (parsed, key) = app::wire::parse(&visit.project, around.region.clone(), wire, &name)?;
    if sent.entry.public {
        app::access::require(platform, caller, "run.services.setIamPolicy", &Resource::Service(key.clone()))?;
    }
    let request = app::services::Request { project: &visit.project, key, spec: parsed.spec, dry_run: false };
    let services = words::api_path(&visit.project.id, &around.region);
    let created = async { app::services::create(platform, caller, request) };
    let created = visit.change("POST", services.clone(), created).await?;
    let key = created.value.key;
    if sent.entry.public {
        let binding = Binding { role: INVOKER.to_owned(), members: vec![ALL_USERS.to_owned()] };
        let policy = Policy { bindings: vec![binding], ..Policy::default() };
        let set = async { app::policies::set(platform, caller, &Resource::Service(key.clone()), policy) };
        if let Err(error) = visit.change("POST", format!("{services}/{name}:setIamPolicy"), set).await {
            tracing::error!(service = %key.name, %error, "a service was created and not made public");
            return Ok(service::path_saying(&key, service::NOT_PUBLIC));
        }
    }
    Ok(words::path(&key, ""))
}

async fn replace(visit: &Visit, stored: &Versioned<Service>, sent: &Sent) -> Result<Versioned<Service>, ApiError> {
    let key = &stored.value.key;
    let wire = sent.draft.service()?;
    app::wire::require_name(&wire, key.name.as_str())?;
    let (mut parsed, key) = app::wire::parse(&visit.project, key.region.clone(), wire, key.name.as_str())?;
    if let Some(serve) = sent.entry.serve {
        move_traffic(&mut parsed.spec, &stored.value, serve);
    }
    service::replace(visit, key, parsed, false).await
}

/// Gives the new revision all requests, or none.
fn move_traffic(spec: &mut ServiceSpec, service: &Service, serve: bool) {
    if serve {
        spec.traffic = targets::all_to_latest(&spec.traffic);
    } else if let Some(serving) = service
        .status
        .traffic
        .iter()
        .find(|target| target.latest)
        .map(|t| &t.revision)
        .or(service.status.latest_ready_revision.as_ref())
    {
        spec.traffic = targets::pinned(&spec.traffic, serving);
    }
}
