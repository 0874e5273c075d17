//! homerun's own calls about usage and cost.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, Query, State};
use chrono::{SecondsFormat, TimeDelta};
use homerun_api::error::ApiError;
use homerun_api::usage::{self as wire, focus};
use homerun_model::Timestamp;
use homerun_model::billing::prices::{PriceList, sold};
use homerun_model::billing::report::{self, Dimension, Item};
use homerun_model::billing::{Billing, Money, Subject};
use homerun_model::iam::Resource;
use homerun_model::names::{Region, ServiceName};
use homerun_model::violation::Violation;
use serde::Deserialize;

use super::Api;
use super::error::Failure;
use super::path::Place;
use crate::app::access;
use crate::app::usage::{self, Credit, Scope, Usage};
use crate::auth::Caller;
use crate::platform::Platform;
use crate::store::{Ended, Grain};

/// What reading usage needs.
const READ: &str = "homerun.usage.get";
/// Instances of an answer at most.
const MOST_INSTANCES: usize = 10_000;
/// Rows of an export at most; more would be one answer of hundreds of megabytes.
const MOST_ROWS: usize = 200_000;

/// What is asked for.
#[derive(Debug, Deserialize)]
pub(super) struct Asked {
    from: Option<String>,
    to: Option<String>,
    by: Option<String>,
    service: Option<String>,
    region: Option<String>,
}

impl Asked {
    fn scope(&self) -> Scope {
        Scope {
            project: None,
            service: self.service.as_deref().map(ServiceName::from),
            region: self.region.as_deref().map(Region::from),
        }
    }

    /// The query; without words it is this month by service.
    fn query(&self, now: Timestamp) -> Result<report::Query, Failure> {
        let from = time("from", self.from.as_deref())?.unwrap_or_else(|| usage::first_of_month(now));
        let to = time("to", self.to.as_deref())?.unwrap_or(now);
        let by = self.by.as_deref().unwrap_or("service").split(',').filter(|word| !word.is_empty());
        let by: Vec<Dimension> =
            by.map(|word| word.parse().map_err(|message: String| wrong("by", &message))).collect::<Result<_, _>>()?;
        if from >= to {
            return Err(wrong("from", "must be before 'to'."));
        }
        if from > now {
            return Err(wrong("from", "lies in the future; nothing has been used then."));
        }
        Ok(report::Query { from, to, by })
    }
}

pub(super) fn time(field: &str, text: Option<&str>) -> Result<Option<Timestamp>, Failure> {
    let read = |text: &str| {
        let time = chrono::DateTime::parse_from_rfc3339(text);
        time.map(|time| time.to_utc())
            .map_err(|_| wrong(field, &format!("'{text}' is no time such as 2026-11-26T10:00:00Z.")))
    };
    text.map(read).transpose()
}

fn wrong(field: &str, message: &str) -> Failure {
    let message = message.strip_prefix(&format!("{field}: ")).unwrap_or(message);
    Failure(ApiError::InvalidArgument(vec![Violation::new(field, message)]))
}

pub(super) async fn of_project(
    State(api): State<Api>,
    place: Place,
    Query(asked): Query<Asked>,
) -> Result<Json<wire::Report>, Failure> {
    let scope = of_place(&api, &place, &asked)?;
    Ok(Json(render(&api, usage::usage(&api.platform, &scope, asked.query(api.platform.clock.now())?)?)))
}

pub(super) async fn of_all(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Query(asked): Query<Asked>,
) -> Result<Json<wire::Report>, Failure> {
    access::require(&api.platform, &caller, READ, &Resource::Platform)?;
    let query = asked.query(api.platform.clock.now())?;
    Ok(Json(render(&api, usage::usage(&api.platform, &asked.scope(), query)?)))
}

pub(super) async fn focus_of_project(
    State(api): State<Api>,
    place: Place,
    Query(asked): Query<Asked>,
) -> Result<Json<wire::Focus>, Failure> {
    let scope = of_place(&api, &place, &asked)?;
    export(&api, &scope, &asked).map(Json)
}

pub(super) async fn focus_of_all(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Query(asked): Query<Asked>,
) -> Result<Json<wire::Focus>, Failure> {
    access::require(&api.platform, &caller, READ, &Resource::Platform)?;
    export(&api, &asked.scope(), &asked).map(Json)
}

/// Single instances.
pub(super) async fn instances(
    State(api): State<Api>,
    place: Place,
    Query(asked): Query<Asked>,
) -> Result<Json<wire::Instances>, Failure> {
    let scope = of_place(&api, &place, &asked)?;
    let query = asked.query(api.platform.clock.now())?;
    let found = usage::instances(&api.platform, &scope, (query.from, query.to), MOST_INSTANCES)?;
    let render = |(subject, ended): (Arc<Subject>, Ended)| wire::Instance {
        id: ended.id.to_string(),
        service: subject.service.to_string(),
        revision: subject.revision.to_string(),
        started: ended.started,
        ended: ended.ended,
        billing: match subject.shape.billing {
            Billing::Instance => "instance".to_owned(),
            Billing::Request => "request".to_owned(),
        },
        billed_seconds: seconds(ended.used.active),
        boosted_seconds: seconds(if subject.shape.boost_millis > 0 { ended.used.boosted } else { 0 }),
        requests: ended.used.requests,
        cpu_millis: subject.shape.cpu_millis,
        boost_cpu_millis: subject.shape.boost_millis,
        memory_bytes: subject.shape.memory_bytes,
        gpus: subject.shape.gpus,
        gpu_type: subject.shape.gpu.as_ref().map(ToString::to_string),
    };
    Ok(Json(wire::Instances {
        kept_days: api.platform.config.usage.instance_days.get(),
        instances: found.into_iter().map(render).collect(),
    }))
}

/// Steps as seconds.
fn seconds(steps: u64) -> String {
    format!("{}.{}", steps / 10, steps % 10)
}

pub(super) async fn prices(State(api): State<Api>) -> Json<PriceList> {
    Json(api.platform.prices.list().clone())
}

fn of_place(api: &Api, place: &Place, asked: &Asked) -> Result<Scope, Failure> {
    access::require(&api.platform, &place.caller, READ, &Resource::Project(place.project.id.clone()))?;
    Ok(Scope { project: Some(place.project.id.clone()), ..asked.scope() })
}

fn render(api: &Api, usage: Usage) -> wire::Report {
    let list = api.platform.prices.list();
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
fn export(api: &Api, scope: &Scope, asked: &Asked) -> Result<wire::Focus, Failure> {
    let platform = &api.platform;
    let by_hour = match asked.by.as_deref() {
        None | Some("day") => false,
        Some("hour") => true,
        Some(other) => return Err(wrong("by", &format!("'{other}' must be day or hour here."))),
    };
    let whole = Asked { by: None, from: asked.from.clone(), to: asked.to.clone(), service: None, region: None };
    let query = whole.query(platform.clock.now())?;
    let grain = if by_hour { Grain::Hour } else { Grain::Day };
    let (from, to) = (usage::floor(query.from, grain.seconds()), query.to);
    // Else the next export would have the rest once more, with what is in this one.
    if whole.to.is_some() && usage::floor(to, grain.seconds()) != to {
        let what = if by_hour { "an hour's" } else { "a day's" };
        return Err(wrong("to", &format!("must be {what} first moment (UTC), for rows are as long; or leave it out.")));
    }
    if by_hour && from < usage::hours_since(platform) {
        let days = platform.config.usage.hour_days;
        return Err(wrong("from", &format!("is too early: hours are kept for {days} days. Ask by day, or for later.")));
    }
    let subjects = platform.meter.store().all_subjects();
    let mut sums = std::collections::BTreeMap::new();
    for row in usage::rows(platform, (from, to), by_hour).map_err(usage::unread)? {
        let start = usage::floor(row.time, grain.seconds());
        let sum = sums.entry((start, row.subject)).or_insert(homerun_model::billing::prices::Sum::default());
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
