//! A service's page and its tabs.

pub(super) mod edit_yaml;
mod instances;
mod logs;
mod metrics;
mod panel;
pub(super) mod permissions;
mod revisions;
pub(super) mod usage;
mod yaml;

use std::collections::HashMap;

use axum::extract::{Path, Query};
use axum::response::{IntoResponse, Redirect, Response};
use homerun_api::error::ApiError;
use homerun_api::run_v1::convert::ParsedService;
use homerun_model::condition::{Condition, ConditionType, Status};
use homerun_model::iam::Resource;
use homerun_model::names::ServiceKey;
use homerun_model::service::Service;
use maud::{Markup, html};
use serde::Deserialize;

use super::failure::Failure;
use super::lang::Lang;
use super::layout::{Page, Section};
use super::visit::Visit;
use super::words;
use crate::app;
use crate::store::Versioned;

/// Which service a path names, and which tab.
#[derive(Deserialize)]
pub(super) struct At {
    pub(super) region: String,
    pub(super) service: String,
    #[serde(default)]
    tab: String,
}

/// Path and name of every tab, in their order.
const TABS: [(&str, &str); 7] = [
    ("metrics", "tab-metrics"),
    ("revisions", "tab-revisions"),
    ("logs", "tab-logs"),
    ("instances", "tab-instances"),
    ("yaml", "tab-yaml"),
    ("permissions", "tab-permissions"),
    ("usage", "tab-usage"),
];

/// The query of a page, by name.
pub(super) type Asked = HashMap<String, String>;

/// What a service's page says was not done while it was made: the service was not opened to everybody.
pub(super) const NOT_PUBLIC: &str = "public";

/// The path of a service's page, which says that something was not done.
pub(super) fn path_saying(key: &ServiceKey, not_done: &str) -> String {
    format!("{}?not-done={not_done}", words::path(key, ""))
}

/// The first tab that the visitor may see.
pub(super) async fn overview(visit: Visit, Path(at): Path<At>, Query(asked): Query<Asked>) -> Response {
    let key = visit.key(&at.region, &at.service);
    let first = offered(&visit, &key).next().map_or("yaml", |(tab, _)| tab);
    let saying = if is_not_public(&asked) { format!("?not-done={NOT_PUBLIC}") } else { String::new() };
    Redirect::to(&format!("{}{saying}", words::path(&key, first))).into_response()
}

fn is_not_public(asked: &Asked) -> bool {
    asked.get("not-done").is_some_and(|what| what == NOT_PUBLIC)
}

pub(super) async fn tab(visit: Visit, Path(at): Path<At>, Query(asked): Query<Asked>) -> Result<Response, Failure> {
    let service = find(&visit, &at)?;
    let content = match at.tab.as_str() {
        "metrics" => metrics::show(&visit, &service.value, &asked)?,
        "revisions" => revisions::show(&visit, &service.value, &asked)?,
        "logs" => logs::show(&visit, &service.value, &asked).await?,
        "instances" => instances::show(&visit, &service.value)?,
        "yaml" => yaml::show(&visit, &service)?,
        other => return Err(Failure(ApiError::NotFound { kind: "Page", name: other.to_owned() })),
    };
    let content = html! {
        @if is_not_public(&asked) {
            p .message.error role="alert" {
                (visit.lang.t("not-made-public")) " "
                a href=(words::path(&service.value.key, "permissions")) { (visit.lang.t("tab-permissions")) }
            }
        }
        (content)
    };
    Ok(show(&visit, &service.value, &at.tab, true, &content))
}

/// A tab with what is around it; forms are not kept up to date.
pub(super) fn show(visit: &Visit, service: &Service, tab: &str, live: bool, content: &Markup) -> Response {
    let content = html! {
        (head(visit, service))
        (tabs(visit, service, tab))
        (content)
    };
    let title = service.key.name.to_string();
    Page { title, section: Section::Services, live, content }.show(visit)
}

/// The service that a path names.
///
/// # Errors
/// `ServiceDisabled`, `PermissionDenied` or `NotFound`.
pub(super) fn find(visit: &Visit, at: &At) -> Result<Versioned<Service>, Failure> {
    app::projects::require_run(visit.platform(), &visit.project)?;
    let key = visit.key(&at.region, &at.service);
    Ok(app::services::get(visit.platform(), visit.caller(), "run.services.get", &key)?)
}

/// The service that a path names, for who may change it.
///
/// # Errors
/// See [`find`].
pub(super) fn find_to_change(visit: &Visit, at: &At) -> Result<Versioned<Service>, Failure> {
    let found = find(visit, at)?;
    let resource = Resource::Service(found.value.key.clone());
    app::access::require(visit.platform(), visit.caller(), "run.services.update", &resource)?;
    Ok(found)
}

/// Replaces a service, as its `PUT` in the API does; or, in a dry run, only checks that it could be.
///
/// # Errors
/// See [`app::services::replace`].
pub(super) async fn replace(
    visit: &Visit,
    key: ServiceKey,
    parsed: ParsedService,
    dry_run: bool,
) -> Result<Versioned<Service>, ApiError> {
    let (platform, caller, project) = (visit.platform(), visit.caller(), &visit.project);
    app::projects::require_run(platform, project)?;
    let path = format!("{}/{}", words::api_path(&key.project, &key.region), key.name);
    let request = app::services::Request { project, key, spec: parsed.spec, dry_run };
    visit
        .change("PUT", path, async { app::services::replace(platform, caller, request, parsed.resource_version) })
        .await
}

/// The way from the list of services to a page about one.
pub(super) fn crumbs(visit: &Visit, key: &ServiceKey) -> Markup {
    html! {
        p .crumbs {
            a href=(visit.path("services")) { (visit.lang.t("services")) } " › "
            a href=(words::path(key, "")) { (key.name) } " › "
        }
    }
}

/// What the service is and how it is, and what can be done with it.
pub(super) fn head(visit: &Visit, service: &Service) -> Markup {
    let (lang, key) = (visit.lang, &service.key);
    let resource = Resource::Service(key.clone());
    let url = visit.platform().reached_at(service);
    html! {
        p .crumbs { a href=(visit.path("services")) { (lang.t("services")) } " › " }
        div .heading {
            h1 { (key.name) " " (words::badge(lang, words::of_service(service))) }
            div .actions {
                @if visit.may_on("run.services.update", &resource) {
                    a .button.primary href=(words::path(key, "deploy")) { (lang.t("edit-and-deploy")) }
                    a .button href=(words::path(key, "traffic")) { (lang.t("manage-traffic")) }
                }
                @if visit.may_on("run.services.delete", &resource) {
                    a .button.danger href=(words::path(key, "delete")) { (lang.t("delete")) }
                }
            }
        }
        dl .facts {
            div {
                dt { (lang.t("url")) }
                dd { @if let Some(url) = url { a href=(url) rel="noreferrer" { (url) } } @else { (lang.t("none")) } }
            }
            div { dt { (lang.t("region")) } dd { (key.region) } }
            div {
                dt { (lang.t("gpu")) }
                dd { @if let Some(gpu) = words::gpu(visit, &service.spec.template) { (gpu) } @else { (lang.t("none")) } }
            }
            div { dt { (lang.t("last-deployed")) } dd { (words::time(service.updated_at)) } }
            div { dt { (lang.t("deployed-by")) } dd { (service.last_modifier) } }
        }
        @if let Some(why) = words::why(service) {
            p .message.(words::of_service(service).0) role="status" { (why) }
        }
        (steps(visit, service))
    }
}

/// The steps of a deployment under way, or of one that has failed.
fn steps(visit: &Visit, service: &Service) -> Markup {
    let all = &service.status.conditions;
    let settled = all.iter().all(|condition| condition.status == Status::True);
    html! { @if !settled && service.deleted_at.is_none() { (conditions(visit.lang, all)) } }
}

/// Conditions as the steps that they are.
fn conditions(lang: Lang, conditions: &[Condition]) -> Markup {
    let class = |status| match status {
        Status::True => "good",
        Status::False => "bad",
        Status::Unknown => "busy",
    };
    html! {
        ol .steps aria-label=(lang.t("deployment-steps")) {
            @for condition in conditions {
                li class=(class(condition.status)) {
                    strong { (lang.t(condition_name(condition.kind))) }
                    @if !condition.message.is_empty() { " " span { (condition.message) } }
                }
            }
        }
    }
}

/// The text that says what a condition speaks of.
fn condition_name(kind: ConditionType) -> &'static str {
    match kind {
        ConditionType::Ready => "condition-ready",
        ConditionType::ConfigurationsReady => "condition-configurations-ready",
        ConditionType::RoutesReady => "condition-routes-ready",
        ConditionType::Active => "condition-active",
        ConditionType::ContainerHealthy => "condition-container-healthy",
        ConditionType::ContainerReady => "condition-container-ready",
        ConditionType::ResourcesAvailable => "condition-resources-available",
        ConditionType::CertificateProvisioned => "condition-certificate-provisioned",
        ConditionType::DomainRoutable => "condition-domain-routable",
    }
}

/// What seeing a tab needs beyond seeing the service.
fn needs(service: &ServiceKey, tab: &str) -> Option<(&'static str, Resource)> {
    let project = || Resource::Project(service.project.clone());
    match tab {
        "permissions" => Some(("run.services.getIamPolicy", Resource::Service(service.clone()))),
        "metrics" => Some((app::metrics::READ, project())),
        "revisions" => Some(("run.revisions.list", project())),
        "logs" => Some(("logging.logEntries.list", project())),
        "usage" => Some((app::usage::READ, project())),
        _ => None,
    }
}

/// The tabs that a visitor may see.
fn offered(visit: &Visit, service: &ServiceKey) -> impl Iterator<Item = (&'static str, &'static str)> {
    let may = |tab: &str| needs(service, tab).is_none_or(|(permission, on)| visit.may_on(permission, &on));
    TABS.into_iter().filter(move |(tab, _)| may(tab))
}

fn tabs(visit: &Visit, service: &Service, current: &str) -> Markup {
    html! {
        nav .tabs aria-label=(visit.lang.t("service-tabs")) {
            ul {
                @for (tab, name) in offered(visit, &service.key) {
                    li {
                        a href=(words::path(&service.key, tab)) aria-current=[(tab == current).then_some("page")] {
                            (visit.lang.t(name))
                        }
                    }
                }
            }
        }
    }
}
