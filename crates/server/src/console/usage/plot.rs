//! What services cost, day by day.

use std::collections::BTreeMap;

use chrono::Offset as _;
use chrono::{FixedOffset, TimeDelta, Utc};
use homerun_model::Timestamp;
use homerun_model::billing::Money;
use maud::{Markup, html};

use super::super::plot::{self, Plot, Series, Texts, Unit};
use super::super::visit::Visit;
use super::super::words;
use crate::app::usage::{DayCosts, floor};

/// Services that have a series of their own: those that cost most. All others are one together.
const SERVICES: usize = 5;
/// Most bars. In a longer time each is several days.
const MOST: i64 = 200;
/// Length of a day, in seconds. Days are those of UTC, as the meter's are.
const DAY: i64 = 86_400;

/// The costs of a time as a stack of services.
pub(super) fn by_day(visit: &Visit, days: &[DayCosts], (from, to): (Timestamp, Timestamp)) -> Markup {
    let lang = visit.lang;
    // From when on there is something to show: `from` may be any time.
    let first = floor(days.first().map_or(from, |(day, _)| (*day).max(from)), DAY);
    let step = TimeDelta::days(((to - first).num_days() + MOST) / MOST);
    let times: Vec<Timestamp> = (0..).map(|bucket| first + step * bucket).take_while(|time| *time < to).collect();
    let end = times.last().map_or(to, |last| *last + step);
    let (own, others) = dearest(days);
    let value = |begin: &Timestamp, names: &[&str]| {
        let in_it = days.iter().filter(|(day, _)| day >= begin && *day < *begin + step);
        let money: Money = in_it.flat_map(|(_, costs)| names.iter().filter_map(|name| costs.get(*name).copied())).sum();
        Some(units(money))
    };
    let values = |names: &[&str]| times.iter().map(|day| value(day, names)).collect();
    let rest = lang.with("usage-others", [("count", others.len())]);
    let mut series: Vec<Series<'_>> = own
        .iter()
        .zip(plot::SERIES)
        .map(|(name, class)| Series { label: name, class, values: values(&[name]) })
        .collect();
    if !others.is_empty() {
        series.push(Series { label: &rest, class: plot::SERIES[SERVICES], values: values(&others) });
    }
    let total: Money = days.iter().flat_map(|(_, costs)| costs.values().copied()).sum();
    let summary = lang.with("usage-by-day-summary", [("total", words::money(visit, total))]);
    let (title, empty, table) = (lang.t("usage-by-day"), lang.t("usage-empty"), lang.t("plot-table"));
    let (day, none) = (lang.t("usage-day"), lang.t("none"));
    let offset: FixedOffset = Utc.fix();
    let unit = Unit::Money(&visit.platform().prices.list().currency);
    let texts = Texts { empty: &empty, table: &table, first: &day, none: &none };
    let plot = Plot { title: &title, summary: &summary, unit, times: &times, end, offset, texts };
    html! { div .plots { (plot::stack(&plot, &series)) } }
}

/// The services that cost most, the dearest first, and the others.
fn dearest(days: &[DayCosts]) -> (Vec<&str>, Vec<&str>) {
    let mut sums: BTreeMap<&str, Money> = BTreeMap::new();
    for (name, cost) in days.iter().flat_map(|(_, costs)| costs) {
        *sums.entry(name).or_default() += *cost;
    }
    let mut names: Vec<&str> = sums.keys().copied().collect();
    names.sort_by_key(|name| std::cmp::Reverse(sums[name]));
    let others = names.split_off(names.len().min(SERVICES));
    (names, others)
}

/// An amount in units of its currency, exact enough to be drawn.
fn units(money: Money) -> f64 {
    money.0 as f64 / 1e9
}
