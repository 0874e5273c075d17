//! The revisions of a service: their traffic, and what they are made of.

use homerun_model::names::RevisionName;
use homerun_model::revision::Revision;
use homerun_model::service::{Service, ServingTarget};
use maud::{Markup, html};

use super::super::failure::Failure;
use super::super::visit::Visit;
use super::super::words;
use super::{Asked, panel};
use crate::app;

/// Most revisions on the page; a service keeps no more than this many anyway.
const MOST: usize = 1000;

pub(super) fn show(visit: &Visit, service: &Service, asked: &Asked) -> Result<Markup, Failure> {
    app::services::authorise_list(visit.platform(), visit.caller(), "run.revisions.list", &visit.project)?;
    let (region, name) = (&service.key.region, service.key.name.as_str());
    let at = (&visit.project, Some(region));
    let page = app::revisions::page(visit.platform(), at, Some(name), None, MOST)?;
    let revisions: Vec<Revision> = page.into_iter().map(|(_, revision)| revision.value).collect();
    let wanted = asked.get("revision").map(String::as_str);
    let chosen = revisions.iter().find(|revision| Some(revision.key.name.as_str()) == wanted).or(revisions.first());
    let lang = visit.lang;
    Ok(html! {
        @if revisions.is_empty() { p .empty { (lang.t("revisions-empty")) } }
        @else {
            div .split {
                div .scroll tabindex="0" role="region" aria-label=(lang.t("tab-revisions")) {
                    table {
                        thead {
                            tr {
                                th scope="col" { (lang.t("name")) }
                                th scope="col" { (lang.t("state")) }
                                th scope="col" { (lang.t("traffic")) }
                                th scope="col" { (lang.t("tags")) }
                                th scope="col" { (lang.t("deployed")) }
                                th scope="col" { (lang.t("deployed-by")) }
                            }
                        }
                        tbody {
                            @for revision in &revisions {
                                (line(visit, service, revision, chosen.is_some_and(|c| c.key == revision.key)))
                            }
                        }
                    }
                }
                @if let Some(revision) = chosen { (panel::show(visit, service, revision, asked)) }
            }
        }
    })
}

fn line(visit: &Visit, service: &Service, revision: &Revision, chosen: bool) -> Markup {
    let name = &revision.key.name;
    let (percent, targets) = traffic(service, name);
    let href = format!("{}?revision={name}", words::path(&service.key, "revisions"));
    html! {
        tr #{ "r-" (name) } .chosen[chosen] {
            th scope="row" { a href=(href) aria-current=[chosen.then_some("true")] { (name) } }
            td { (words::badge(visit.lang, words::of_revision(revision))) }
            td {
                @if percent > 0 {
                    meter min="0" max="100" value=(percent) aria-label=(visit.lang.t("traffic")) {} " " (percent) " %"
                } @else { "0 %" }
                @if targets.iter().any(|target| target.latest) { " " span .tag { (visit.lang.t("latest")) } }
            }
            td {
                @for tag in targets.iter().filter_map(|target| target.tag.as_deref()) {
                    @if service.spec.has_default_url() {
                        a .tag href=(visit.platform().url(&service.key, Some(tag))) rel="noreferrer" { (tag) } " "
                    } @else { span .tag { (tag) } " " }
                }
            }
            td { (words::time(revision.created_at)) }
            td { (revision.creator) }
        }
    }
}

/// A revision's share of the requests, and the targets that lead to it.
fn traffic<'a>(service: &'a Service, name: &RevisionName) -> (u32, Vec<&'a ServingTarget>) {
    let targets: Vec<&ServingTarget> =
        service.status.traffic.iter().filter(|target| target.revision == *name).collect();
    (targets.iter().map(|target| target.percent).sum(), targets)
}
