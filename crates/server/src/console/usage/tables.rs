//! Usage by service, by what is sold and by day.

use std::collections::BTreeMap;

use homerun_model::billing::Money;
use homerun_model::billing::report::Line;
use homerun_model::iam::Resource;
use maud::{Markup, html};

use super::super::visit::Visit;
use super::super::words;
use crate::app::usage::DayCosts;

fn table(visit: &Visit, label: &str, heads: &[(&'static str, bool)], rows: &Markup) -> Markup {
    let lang = visit.lang;
    html! {
        div .scroll tabindex="0" role="region" aria-label=(label) {
            table {
                thead {
                    tr { @for (head, number) in heads { th scope="col" .number[*number] { (lang.t(head)) } } }
                }
                tbody { (rows) }
            }
        }
    }
}

/// A row for each region and service.
pub(super) fn services(visit: &Visit, lines: &[Line]) -> Markup {
    let lang = visit.lang;
    let heads = [
        ("service", false),
        ("region", false),
        ("usage-cost", true),
        ("usage-always-on", true),
        ("usage-starts", true),
        ("usage-requests", true),
    ];
    let mut lines: Vec<&Line> = lines.iter().collect();
    lines.sort_by_key(|line| std::cmp::Reverse(line.cost));
    let rows = html! {
        @for line in lines {
            @if let [region, name] = line.key.as_slice() {
                tr {
                    th scope="row" { (service(visit, region, name)) }
                    td { (region) }
                    td .number { (words::money(visit, line.cost)) }
                    td .number { (words::money(visit, line.always_on)) }
                    td .number { (line.starts) }
                    td .number { (line.requests) }
                }
            }
        }
    };
    let title = lang.t("usage-by-service");
    html! { h2 { (title) } (table(visit, &title, &heads, &rows)) }
}

/// A service that may be gone by now.
fn service(visit: &Visit, region: &str, name: &str) -> Markup {
    let key = visit.key(region, name);
    let there = visit.platform().store.service(&key).ok().flatten().is_some();
    html! {
        @if there && visit.may_on("run.services.get", &Resource::Service(key.clone())) {
            a href=(words::path(&key, "usage")) { (name) }
        } @else { (name) }
    }
}

/// A row for whatever was sold at one price.
pub(super) fn skus(visit: &Visit, lines: &[Line]) -> Markup {
    let lang = visit.lang;
    let heads = [("usage-sku", false), ("usage-quantity", true), ("usage-price", true), ("usage-cost", true)];
    let currency = &visit.platform().prices.list().currency;
    let rows = html! {
        @for item in lines.iter().flat_map(|line| &line.items) {
            tr {
                th scope="row" { (item.sku) }
                td .number { (item.sku.quantity(item.amount)) " " (item.sku.unit()) }
                td .number {
                    @if let Some(rate) = item.rate { (rate) " " (currency) " / " (item.sku.unit()) } @else { "–" }
                }
                td .number { (words::money(visit, item.cost)) }
            }
        }
    };
    let title = lang.t("usage-by-sku");
    html! { h2 { (title) } (table(visit, &title, &heads, &rows)) }
}

/// A row for each day, the newest first, with what each service cost.
pub(super) fn days(visit: &Visit, days: &[DayCosts]) -> Markup {
    let lang = visit.lang;
    let heads = [("usage-day", false), ("usage-cost", true), ("usage-services", false)];
    let rows = html! {
        @for (day, costs) in days.iter().rev() {
            tr {
                th scope="row" { (day.format("%Y-%m-%d")) }
                td .number { (words::money(visit, costs.values().copied().sum())) }
                td { (dearest(visit, costs)) }
            }
        }
    };
    let title = lang.t("usage-by-day");
    html! { h2 { (title) } (table(visit, &title, &heads, &rows)) }
}

/// The services that cost most.
fn dearest(visit: &Visit, costs: &BTreeMap<String, Money>) -> Markup {
    const MOST: usize = 5;
    let mut costs: Vec<(&String, Money)> = costs.iter().map(|(service, cost)| (service, *cost)).collect();
    costs.sort_by_key(|(_, cost)| std::cmp::Reverse(*cost));
    html! {
        @for (index, (service, cost)) in costs.iter().take(MOST).enumerate() {
            @if index > 0 { ", " }
            (service) " " (words::money(visit, *cost))
        }
        @if costs.len() > MOST { ", " (visit.lang.with("usage-others", [("count", costs.len() - MOST)])) }
    }
}
