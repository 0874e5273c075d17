//! Who changed what.

use axum::extract::Query;
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;

use super::failure::Failure;
use super::layout::{Page, Section};
use super::visit::Visit;
use super::words;
use crate::app::audit;
use crate::audit::Record;

/// Changes on a page.
const PAGE: usize = 50;

/// Which page.
#[derive(Debug, Deserialize)]
pub(super) struct Asked {
    /// Changes with numbers below it.
    before: Option<u64>,
}

pub(super) async fn page(visit: Visit, Query(asked): Query<Asked>) -> Result<Response, Failure> {
    let lang = visit.lang;
    // One more than is shown tells whether there are older ones.
    let mut found = audit::page(visit.platform(), visit.caller(), &visit.project.id, asked.before, PAGE + 1)?;
    let more = found.len() > PAGE;
    found.truncate(PAGE);
    let oldest = found.last().filter(|_| more).map(|(number, _)| *number);
    let title = lang.t("activity").into_owned();
    let here = visit.path("activity");
    let content = html! {
        div .heading { h1 { (title) } }
        p { (lang.t("activity-what")) }
        @if found.is_empty() { p .empty { (lang.t("activity-empty")) } }
        @else { (table(&visit, &found)) }
        @if asked.before.is_some() || oldest.is_some() {
            nav .pages aria-label=(lang.t("pages")) {
                @if asked.before.is_some() { a href=(here) { (lang.t("activity-newest")) } }
                @if let Some(oldest) = oldest {
                    a rel="next" href={ (here) "?before=" (oldest) } { (lang.t("activity-older")) }
                }
            }
        }
    };
    Ok(Page { title, section: Section::Activity, live: asked.before.is_none(), content }.show(&visit))
}

fn table(visit: &Visit, found: &[(u64, Record)]) -> Markup {
    let lang = visit.lang;
    html! {
        div .scroll tabindex="0" role="region" aria-label=(lang.t("activity")) {
            table {
                thead {
                    tr {
                        th scope="col" { (lang.t("time")) }
                        th scope="col" { (lang.t("activity-by")) }
                        th scope="col" { (lang.t("activity-verb")) }
                        th scope="col" { (lang.t("activity-path")) }
                    }
                }
                tbody {
                    @for (number, record) in found {
                        tr #{ "a-" (number) } {
                            th scope="row" { (words::time(record.at)) }
                            td { (record.by) }
                            td { (lang.t(verb(&record.verb))) " " code { (record.verb) } }
                            td { code { (record.path) } }
                        }
                    }
                }
            }
        }
    }
}

/// The text for what an HTTP verb does.
fn verb(verb: &str) -> &'static str {
    match verb {
        "POST" => "activity-create",
        "DELETE" => "activity-delete",
        _ => "activity-update",
    }
}
