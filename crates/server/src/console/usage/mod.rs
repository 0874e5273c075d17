//! Usage and what it costs, and budgets.

pub(super) mod budgets;
pub(super) mod download;
mod period;
mod plot;
mod tables;

use axum::extract::Query;
use axum::response::Response;
use homerun_model::billing::Money;
use homerun_model::billing::report::{self, Dimension};
use homerun_model::iam::Resource;
use maud::{Markup, html};

use self::period::Asked;
use super::failure::Failure;
use super::fields::Mistakes;
use super::layout::{Page, Section};
use super::visit::Visit;
use super::words;
use crate::app::access;
use crate::app::usage::{self, READ, Scope};

pub(super) use self::period::Asked as Period;

pub(super) async fn page(visit: Visit, Query(asked): Query<Asked>) -> Result<Response, Failure> {
    let scope = Scope { project: Some(visit.project.id.clone()), ..Scope::default() };
    let title = visit.lang.t("usage").into_owned();
    let (shown, wrong) = show(&visit, &asked, &scope, &visit.path("usage"))?;
    let content = html! {
        div .heading { h1 { (title) } }
        (shown)
        (budgets::list(&visit)?)
    };
    Ok(wrong.answer(Page { title, section: Section::Usage, live: false, content }.show(&visit)))
}

/// The usage of a scope in the time that is asked about; `here` is the page's path.
pub(super) fn show(visit: &Visit, asked: &Asked, scope: &Scope, here: &str) -> Result<(Markup, Mistakes), Failure> {
    access::require(visit.platform(), visit.caller(), READ, &Resource::Project(visit.project.id.clone()))?;
    let now = visit.platform().clock.now();
    let (time, wrong) = match asked.time(visit.lang, now) {
        Ok(time) => (Some(time), Mistakes::default()),
        Err(error) => (None, Mistakes::of(error, period::field)?),
    };
    let shown = html! {
        (wrong.summary(visit.lang))
        (asked.form(visit, here, &wrong, now))
        @if let Some(time) = time {
            (report(visit, scope, time)?)
            (download::links(visit, asked, scope))
        }
    };
    Ok((shown, wrong))
}

fn report(
    visit: &Visit,
    scope: &Scope,
    time: (homerun_model::Timestamp, homerun_model::Timestamp),
) -> Result<Markup, Failure> {
    let (lang, platform) = (visit.lang, visit.platform());
    let ask = |by: Vec<Dimension>| usage::usage(platform, scope, report::Query { from: time.0, to: time.1, by });
    let by_service = ask(vec![Dimension::Region, Dimension::Service])?;
    let by_sku = ask(vec![Dimension::Sku])?;
    let days = usage::cost_series(platform, scope, time)?;
    let total: Money = by_service.lines.iter().map(|line| line.cost).sum();
    let always_on: Money = by_service.lines.iter().map(|line| line.always_on).sum();
    let list = platform.prices.list();
    Ok(html! {
        dl .facts {
            div { dt { (lang.t("usage-total")) } dd { strong { (words::money(visit, total)) } } }
            div { dt { (lang.t("usage-always-on")) } dd { (words::money(visit, always_on)) } }
            div {
                dt { (lang.t("usage-time")) }
                dd { (words::time(by_service.query.from)) " – " (words::time(by_service.query.to)) }
            }
            div { dt { (lang.t("usage-prices")) } dd { (list.title) } }
        }
        @for note in &by_service.notes { p .message { (note) } }
        @if by_service.lines.is_empty() {
            div .empty.card { h2 { (lang.t("usage-empty")) } p { (lang.t("usage-empty-next")) } }
        } @else {
            (tables::services(visit, &by_service.lines))
            (tables::skus(visit, &by_sku.lines))
            (plot::by_day(visit, &days, (by_service.query.from, by_service.query.to)))
        }
    })
}
