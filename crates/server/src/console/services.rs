//! The list of services.

use std::collections::BTreeMap;

use axum::extract::Query;
use axum::response::Response;
use homerun_model::instance::ObservedInstance;
use homerun_model::names::{Region, ServiceKey};
use homerun_model::service::Service;
use maud::{Markup, html};
use serde::Deserialize;

use super::failure::Failure;
use super::layout::{Page, Section};
use super::visit::Visit;
use super::words;
use crate::app;

/// Services on a page.
const PAGE: usize = 100;

/// Which services are shown.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Filter {
    /// A region; all where empty.
    region: String,
    /// What names must contain.
    q: String,
    /// From 1.
    page: usize,
}

impl Filter {
    fn has(&self, service: &Service) -> bool {
        let wanted = self.q.trim().to_lowercase();
        (self.region.is_empty() || self.region == service.key.region.as_str())
            && (wanted.is_empty() || service.key.name.as_str().contains(&wanted))
    }

    fn query(&self, page: usize) -> String {
        let page = page.to_string();
        let pairs = [("region", self.region.as_str()), ("q", self.q.as_str()), ("page", page.as_str())];
        form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
    }
}

/// A row.
struct Row {
    service: Service,
    instances: usize,
    /// Per second.
    requests: f64,
}

pub(super) async fn list(visit: Visit, Query(filter): Query<Filter>) -> Result<Response, Failure> {
    app::projects::require_run(visit.platform(), &visit.project)?;
    app::services::authorise_list(visit.platform(), visit.caller(), "run.services.list", &visit.project)?;
    let all = app::services::page(visit.platform(), (&visit.project, None), None, usize::MAX)?;
    let total = all.len();
    let found: Vec<Service> = all.into_iter().map(|(_, s)| s.value).filter(|service| filter.has(service)).collect();
    let pages = found.len().div_ceil(PAGE).max(1);
    let page = filter.page.clamp(1, pages);
    let counts = instances(&visit.platform().backend.list());
    let rates = visit.platform().metrics.request_rates(visit.platform().clock.now());
    let shown = found.iter().skip((page - 1) * PAGE).take(PAGE).map(|service| Row {
        instances: counts.get(&service.key).copied().unwrap_or(0),
        requests: rates.get(&service.key).copied().unwrap_or(0.0),
        service: service.clone(),
    });
    let rows: Vec<Row> = shown.collect();
    let lang = visit.lang;
    let content = html! {
        div .heading {
            h1 { (lang.t("services")) }
            @if visit.may("run.services.create") {
                a .button.primary href=(visit.path("services/new")) { (lang.t("deploy-container")) }
            }
        }
        (chooser(&visit, &filter))
        @if total == 0 { (nothing(&visit)) }
        @else if rows.is_empty() { p .empty { (lang.t("services-none-found")) } }
        @else {
            p .count { (lang.with("services-count", [("shown", found.len()), ("total", total)])) }
            (table(&visit, &rows))
            (turn(&visit, &filter, page, pages))
        }
    };
    let title = lang.t("services").into_owned();
    Ok(Page { title, section: Section::Services, live: true, content }.show(&visit))
}

/// Instances that are not over, by service.
fn instances(all: &[ObservedInstance]) -> BTreeMap<ServiceKey, usize> {
    let mut counts = BTreeMap::new();
    for instance in all.iter().filter(|instance| !instance.state.is_over()) {
        let revision = &instance.spec.revision;
        let (project, region) = (revision.project.clone(), revision.region.clone());
        let key = ServiceKey { project, region, name: instance.spec.service.clone() };
        *counts.entry(key).or_default() += 1;
    }
    counts
}

fn chooser(visit: &Visit, filter: &Filter) -> Markup {
    let lang = visit.lang;
    let regions: Vec<Region> = visit.platform().config.all_regions();
    html! {
        form .filter role="search" method="get" action=(visit.path("services")) {
            div .field {
                label for="region" { (lang.t("region")) }
                select #region name="region" data-submit {
                    option value="" { (lang.t("all-regions")) }
                    @for region in &regions {
                        option value=(region) selected[region.as_str() == filter.region] { (region) }
                    }
                }
            }
            div .field {
                label for="q" { (lang.t("services-filter")) }
                input #q type="search" name="q" value=(filter.q) autocomplete="off" spellcheck="false";
            }
            button type="submit" { (lang.t("search")) }
        }
    }
}

/// What to do first.
fn nothing(visit: &Visit) -> Markup {
    let lang = visit.lang;
    html! {
        div .empty.card {
            h2 { (lang.t("services-empty")) }
            p { (lang.t("services-empty-next")) }
            pre { code { "gcloud run deploy hello --image IMAGE --allow-unauthenticated" } }
            p { (lang.t("services-empty-gcloud")) " " code { "eval \"$(homerun gcloud-env)\"" } }
        }
    }
}

fn table(visit: &Visit, rows: &[Row]) -> Markup {
    let lang = visit.lang;
    html! {
        div .scroll tabindex="0" role="region" aria-label=(lang.t("services")) {
            table {
                thead {
                    tr {
                        th scope="col" { (lang.t("name")) }
                        th scope="col" { (lang.t("state")) }
                        th scope="col" { (lang.t("region")) }
                        th scope="col" { (lang.t("gpu")) }
                        th scope="col" .number { (lang.t("instances")) }
                        th scope="col" .number { (lang.t("requests-per-second")) }
                        th scope="col" { (lang.t("last-deployed")) }
                        th scope="col" { (lang.t("deployed-by")) }
                    }
                }
                tbody { @for row in rows { (line(visit, row)) } }
            }
        }
    }
}

fn line(visit: &Visit, row: &Row) -> Markup {
    let Service { key, spec, updated_at, last_modifier, .. } = &row.service;
    html! {
        tr id={ "s-" (key.region) "-" (key.name) } {
            th scope="row" { a href=(words::path(key, "")) { (key.name) } }
            td title=[words::why(&row.service)] { (words::badge(visit.lang, words::of_service(&row.service))) }
            td .name { (key.region) }
            td { @if let Some(gpu) = words::gpu(visit, &spec.template) { (gpu) } @else { "–" } }
            td .number { (row.instances) }
            td .number { (rate(row.requests)) }
            td { (words::time(*updated_at)) }
            td { (last_modifier) }
        }
    }
}

/// Requests per second; the last digit of a service that has hardly any still tells that it has some.
fn rate(rate: f64) -> String {
    match rate {
        0.0 => "0".to_owned(),
        _ if rate < 0.095 => format!("{rate:.2}"),
        _ => format!("{rate:.1}"),
    }
}

fn turn(visit: &Visit, filter: &Filter, page: usize, pages: usize) -> Markup {
    let lang = visit.lang;
    let href = |page: usize| format!("{}?{}", visit.path("services"), filter.query(page));
    html! {
        @if pages > 1 {
            nav .pages aria-label=(lang.t("pages")) {
                @if page > 1 { a rel="prev" href=(href(page - 1)) { (lang.t("page-before")) } }
                span { (lang.with("page-of", [("page", page), ("pages", pages)])) }
                @if page < pages { a rel="next" href=(href(page + 1)) { (lang.t("page-after")) } }
            }
        }
    }
}
