//! Usage as programs get it: reports, and rows of the FinOps Open Cost and Usage Specification.

use std::collections::BTreeMap;

use chrono::{SecondsFormat, TimeDelta};
use homerun_api::error::ApiError;
use homerun_api::usage::{self as wire, focus};
use homerun_model::Timestamp;
use homerun_model::billing::Money;
use homerun_model::billing::prices::{Sum, sold};
use homerun_model::billing::report::{self, Dimension, Item};
use homerun_model::violation::Violation;

use super::usage::{self, Credit, Scope, Usage, period};
use crate::platform::Platform;
use crate::store::Grain;

/// Rows of an export at most; more would be one answer of hundreds of megabytes.
const MOST_ROWS: usize = 200_000;

/// A report.
pub fn report(platform: &Platform, usage: Usage) -> wire::Report {
    let list = platform.prices.list();
    let by_time_or_sku =
        usage.query.by.iter().any(|by| matches!(by, Dimension::Sku | Dimension::Day | Dimension::Hour));
    let by_sku = usage.query.by.contains(&Dimension::Sku);
    let cost: Money = usage.lines.iter().map(|line| line.cost).sum();
    let free = usage.credits.iter().map(|credit| credit.cost).sum();
    let always_on: Money = usage.lines.iter().map(|line| line.always_on).sum();
    let line = |line: report::Line| wire::Line {
        key: line.key,
        items: line.items.into_iter().map(item).collect(),
        cost: line.cost.to_string(),
        always_on: (!by_time_or_sku).then(|| line.always_on.to_string()),
        starts: (!by_sku).then_some(line.starts),
        requests: (!by_sku).then_some(line.requests),
    };
    wire::Report {
        from: usage.query.from,
        to: usage.query.to,
        by: usage.query.by.iter().map(ToString::to_string).collect(),
        currency: list.currency.clone(),
        price_list: list.title.clone(),
        lines: usage.lines.into_iter().map(line).collect(),
        credits: usage.credits.into_iter().map(credit).collect(),
        cost: (cost - free).to_string(),
        always_on: (!by_time_or_sku).then(|| always_on.to_string()),
        notes: usage.notes,
    }
}

fn item(item: Item) -> wire::Item {
    wire::Item {
        quantity: item.sku.quantity(item.amount),
        unit: item.sku.unit().to_owned(),
        price: item.rate.map(|rate| rate.to_string()),
        cost: item.cost.to_string(),
        sku: item.sku.to_string(),
    }
}

fn credit(credit: Credit) -> wire::Credit {
    wire::Credit {
        month: credit.month.format("%Y-%m").to_string(),
        quantity: credit.sku.quantity(credit.amount),
        unit: credit.sku.unit().to_owned(),
        sku: credit.sku.to_string(),
        cost: format!("-{}", credit.cost),
    }
}

/// A row for each subject, hour or day, and SKU.
///
/// # Errors
/// What is wrong with the time, or when the store fails.
pub fn export(
    platform: &Platform,
    scope: &Scope,
    (from, to): (Option<Timestamp>, Option<Timestamp>),
    by_hour: bool,
) -> Result<wire::Focus, ApiError> {
    let ends = to.is_some();
    let (from, to) = period(from, to, platform.clock.now())?;
    let grain = if by_hour { Grain::Hour } else { Grain::Day };
    let from = usage::floor(from, grain.seconds());
    // Else the next export would have the rest once more, with what is in this one.
    if ends && usage::floor(to, grain.seconds()) != to {
        let what = if by_hour { "an hour's" } else { "a day's" };
        return Err(wrong("to", &format!("must be {what} first moment (UTC), for rows are as long; or leave it out.")));
    }
    if by_hour && from < usage::hours_since(platform) {
        let days = platform.config.usage.hour_days;
        return Err(wrong("from", &format!("is too early: hours are kept for {days} days. Ask by day, or for later.")));
    }
    let subjects = platform.meter.store().all_subjects();
    let mut sums = BTreeMap::new();
    for row in usage::rows(platform, (from, to), by_hour).map_err(usage::unread)? {
        let start = usage::floor(row.time, grain.seconds());
        let sum = sums.entry((start, row.subject)).or_insert(Sum::default());
        sum.active += row.sum.active;
        sum.boosted += row.sum.boosted;
        sum.idle += row.sum.idle;
        sum.requests += row.sum.requests;
    }
    let length = TimeDelta::seconds(grain.seconds());
    let mut charges = Vec::new();
    for ((start, id), sum) in sums {
        let Some(subject) = subjects.get(&id).filter(|subject| scope.has(subject)) else { continue };
        for (sku, amount) in sold(&subject.shape, &sum) {
            let rate = platform.prices.rate(&sku, &subject.region, start.date_naive());
            let cost = rate.map(|rate| rate.cost(amount, sku.per())).unwrap_or_default();
            let item = Item { sku, amount, rate, cost };
            charges.push(focus::Charge { subject: Some(subject), item, start, end: start + length, credit: false });
        }
        if charges.len() > MOST_ROWS {
            let reached = start.to_rfc3339_opts(SecondsFormat::Secs, true);
            let message = format!("is too late: there are more than {MOST_ROWS} rows until {reached}. Ask for less.");
            return Err(wrong("to", &message));
        }
    }
    let settings = &platform.config.usage;
    if scope.is_everything() {
        let query = report::Query { from, to, by: Vec::new() };
        let credits = usage::usage(platform, scope, query)?.credits;
        charges.extend(credits.into_iter().map(|credit| free(platform, credit, (from, to))));
    }
    let parties = focus::Parties {
        provider: &settings.provider,
        account: &settings.billing_account,
        currency: &platform.prices.list().currency,
    };
    Ok(focus::table(&parties, charges))
}

/// Free usage of one month, as far as it belongs to a time.
fn free(platform: &Platform, credit: Credit, (from, to): (Timestamp, Timestamp)) -> focus::Charge<'static> {
    let rate = platform.prices.list().free.iter().find(|free| free.sku == credit.sku).map(|free| free.price);
    let cost = Money::default() - credit.cost;
    let (start, end) = (from.max(credit.month), to.min(usage::next_month(credit.month)));
    let item = Item { sku: credit.sku, amount: credit.amount, rate, cost };
    focus::Charge { subject: None, item, start, end, credit: true }
}

fn wrong(field: &str, message: &str) -> ApiError {
    ApiError::InvalidArgument(vec![Violation::new(field, message)])
}
