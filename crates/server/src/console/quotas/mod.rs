//! GPU quotas: how much of them is used by whom, what was asked for, and the record of changes.

pub(super) mod decide;
pub(super) mod lower;
pub(super) mod request;

use axum::response::Response;
use homerun_api::error::ApiError;
use homerun_model::iam::Resource;
use homerun_model::names::{Region, ServiceKey};
use homerun_model::plan::place::{Holder, Ledger};
use homerun_model::quota::{Change, Preference, Quota, QuotaKey, Quotas};
use homerun_model::violation::Violation;
use maud::{Markup, html};

use super::failure::Failure;
use super::layout::{Page, Section};
use super::visit::Visit;
use super::words;
use crate::app::quotas;

/// What reading quotas needs, asking for other limits, lowering them, and deciding about what is asked.
const READ: &str = "cloudquotas.quotas.get";
const ASK: &str = "cloudquotas.quotas.update";
const LOWER: &str = "serviceusage.quotas.update";
const DECIDE: &str = "homerun.quotas.decide";
/// The choice of every region; nobody has chosen where there is nothing.
const EVERY_REGION: &str = "global";
/// Changes on the page.
const CHANGES: usize = 100;

pub(super) async fn page(visit: Visit) -> Result<Response, Failure> {
    let (lang, platform, project) = (visit.lang, visit.platform(), &visit.project.id);
    quotas::require(platform, visit.caller(), READ, project)?;
    let (ledger, limits) = (quotas::ledger(platform), platform.quotas.now());
    let keys = quotas::worth_showing(platform, project, &ledger);
    let mut requests: Vec<Preference> =
        quotas::preferences(platform, project)?.into_iter().map(|request| request.value).collect();
    requests.sort_by_key(|request| (!request.pending, std::cmp::Reverse(request.updated_at)));
    let changes = quotas::changes(platform, project)?;
    let title = lang.t("quotas").into_owned();
    let content = html! {
        div .heading {
            h1 { (title) }
            @if visit.may(ASK) {
                div .actions { a .button.primary href=(visit.path("quotas/request")) { (lang.t("quota-request")) } }
            }
        }
        @if keys.is_empty() {
            div .empty.card { h2 { (lang.t("quotas-empty")) } p { (lang.t("quotas-empty-next")) } }
        } @else { (limits_table(&visit, &keys, &ledger, &limits)) }
        h2 { (lang.t("quota-requests")) }
        @if requests.is_empty() { p .empty { (lang.t("quota-requests-empty")) } }
        @else { (requests_table(&visit, &requests, &changes)) }
        h2 { (lang.t("quota-changes")) }
        @if changes.is_empty() { p .empty { (lang.t("quota-changes-empty")) } }
        @else { (changes_table(&visit, &changes)) }
    };
    Ok(Page { title, section: Section::Quotas, live: true, content }.show(&visit))
}

/// A table that may be wider than the screen.
fn table(label: &str, heads: &[&str], rows: &Markup) -> Markup {
    html! {
        div .scroll tabindex="0" role="region" aria-label=(label) {
            table {
                thead { tr { @for head in heads { th scope="col" { (head) } } } }
                tbody { (rows) }
            }
        }
    }
}

fn limits_table(visit: &Visit, keys: &[QuotaKey], ledger: &Ledger, limits: &Quotas) -> Markup {
    let lang = visit.lang;
    let names = ["quota", "region", "quota-used", "quota-holders", "quota-actions"];
    let [quota, region, used, holders, actions] = names.map(|name| lang.t(name));
    let offers = visit.may(ASK) || visit.may(LOWER);
    let heads = [&*quota, &*region, &*used, &*holders, &*actions];
    let rows = html! {
        @for key in keys {
            @let (used, limit) = (ledger.used(key), limits.limit(key));
            tr #{ "q-" (key.quota_id()) "-" (key.region) } {
                th scope="row" {
                    (key.gpu) @if words::gpus_are_simulated(visit) { " " (words::simulated(lang)) }
                    p .hint { (key.display_name()) }
                }
                td .name { (key.region) }
                td {
                    meter min="0" max=(limit.max(used).max(1)) value=(used) aria-label=(lang.t("quota-used")) {}
                    " " span .numbers { (lang.with("quota-of", [("used", used), ("limit", limit)])) }
                    @if let Some(lowered) = limits.overriding(key) {
                        p .hint {
                            (lang.with("quota-lowered", [("limit", lowered), ("granted", limits.granted(key))]))
                        }
                    }
                }
                td { (holders_of(visit, &key.region, &ledger.holders(key))) }
                @if offers { td { (offered(visit, key, limits.overriding(key).is_some())) } }
            }
        }
    };
    table(&lang.t("quotas"), if offers { &heads } else { &heads[..heads.len() - 1] }, &rows)
}

fn holders_of(visit: &Visit, region: &Region, holders: &[Holder]) -> Markup {
    let key = |holder: &Holder| ServiceKey {
        project: visit.project.id.clone(),
        region: region.clone(),
        name: holder.service.clone(),
    };
    html! {
        @if holders.is_empty() { "–" }
        @else {
            ul .plain {
                @for (holder, key) in holders.iter().map(|holder| (holder, key(holder))) {
                    li {
                        @if visit.may_on("run.services.get", &Resource::Service(key.clone())) {
                            a href=(words::path(&key, "instances")) { (key.name) }
                        } @else { (key.name) }
                        " (" (holder.gpus) ") " (words::time(holder.since))
                    }
                }
            }
        }
    }
}

fn offered(visit: &Visit, key: &QuotaKey, lowered: bool) -> Markup {
    let lang = visit.lang;
    let of = format!("{}, {}", key.gpu, key.region);
    let href = |page: &str| at(visit, page, &key.quota(), &key.region);
    html! {
        div .actions {
            @if visit.may(ASK) {
                a href=(href("request")) aria-label={ (lang.t("quota-request")) ": " (of) } { (lang.t("quota-request")) }
            }
            @if visit.may(LOWER) {
                a href=(href("lower")) aria-label={ (lang.t("quota-lower")) ": " (of) } {
                    (lang.t(if lowered { "quota-lower-change" } else { "quota-lower" }))
                }
            }
        }
    }
}

/// The address of a page about one limit.
fn at(visit: &Visit, page: &str, quota: &Quota, region: &Region) -> String {
    let query = form_urlencoded::Serializer::new(String::new())
        .append_pair("quota", &quota.id())
        .append_pair("region", region.as_str())
        .finish();
    format!("{}?{query}", visit.path(&format!("quotas/{page}")))
}

/// The region that was chosen, `None` for all of them.
fn region(visit: &Visit, chosen: &str, field: &str) -> Result<Option<Region>, ApiError> {
    match chosen {
        "" => Err(ApiError::InvalidArgument(vec![Violation::new(field, visit.lang.t("quota-region-missing"))])),
        EVERY_REGION => Ok(None),
        name => quotas::region(visit.platform(), name, field).map(Some),
    }
}

/// Where a limit holds.
fn place(visit: &Visit, region: Option<&Region>) -> String {
    region.map_or_else(|| visit.lang.t("all-regions").into_owned(), ToString::to_string)
}

/// The state of a request; the record tells what was decided about it last.
fn state(request: &Preference, changes: &[Change]) -> words::State {
    if request.pending {
        return ("busy", "quota-pending");
    }
    let about = |change: &&Change| change.preference.as_ref() == Some(&request.id) && change.action != "requested";
    match changes.iter().find(about) {
        Some(last) if last.action == "denied" => ("bad", "quota-denied"),
        Some(last) if last.to != request.preferred => ("good", "quota-granted-in-part"),
        _ => ("good", "quota-granted"),
    }
}

fn requests_table(visit: &Visit, requests: &[Preference], changes: &[Change]) -> Markup {
    let lang = visit.lang;
    let names = ["quota", "region", "quota-preferred", "state", "quota-justification", "quota-requester", "time"];
    let heads = names.map(|name| lang.t(name));
    let decides = visit.may_on(DECIDE, &Resource::Platform);
    let rows = html! {
        @for request in requests {
            @let bucket = &request.bucket;
            tr #{ "p-" (request.id) } {
                th scope="row" { (bucket.quota.gpu) p .hint { (bucket.quota.display_name()) } }
                td { (place(visit, bucket.region.as_ref())) }
                td { (request.preferred) }
                td {
                    (words::badge(lang, state(request, changes)))
                    @if !request.detail.is_empty() { p .hint { (request.detail) } }
                    @if request.pending && decides {
                        p {
                            a .button href={ (visit.path("quotas/decide")) "?request=" (request.id) } {
                                (lang.t("quota-decide"))
                            }
                        }
                    }
                }
                td { (request.justification) }
                td { (request.requester) }
                td { (words::time(request.updated_at)) }
            }
        }
    };
    table(&lang.t("quota-requests"), &heads.each_ref().map(|head| &**head), &rows)
}

fn changes_table(visit: &Visit, changes: &[Change]) -> Markup {
    let lang = visit.lang;
    let names = ["time", "quota-by", "quota", "region", "quota-action", "quota-from", "quota-to", "quota-note"];
    let heads = names.map(|name| lang.t(name));
    let rows = html! {
        @for change in changes.iter().take(CHANGES) {
            tr {
                th scope="row" { (words::time(change.at)) }
                td { (change.by) }
                td { (change.bucket.quota.gpu) }
                td { (place(visit, change.bucket.region.as_ref())) }
                td { (lang.t(action(&change.action))) }
                td { (change.from) }
                td { (change.to) }
                td { (change.note) }
            }
        }
    };
    table(&lang.t("quota-changes"), &heads.each_ref().map(|head| &**head), &rows)
}

/// The text for what was done.
fn action(action: &str) -> &'static str {
    match action {
        "requested" => "quota-was-requested",
        "granted" => "quota-was-granted",
        "denied" => "quota-was-denied",
        "overridden" => "quota-was-lowered",
        _ => "quota-was-unlowered",
    }
}
