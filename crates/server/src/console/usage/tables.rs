//! Usage by service, by what is sold and by day.

use homerun_model::billing::report::Line;
use homerun_model::iam::Resource;
use maud::{Markup, html};

use super::super::visit::Visit;
use super::super::words;

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
