//! homerun's own calls about usage and cost.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, Query, State};
use homerun_api::error::ApiError;
use homerun_api::usage as wire;
use homerun_model::Timestamp;
use homerun_model::billing::prices::PriceList;
use homerun_model::billing::report::{self, Dimension};
use homerun_model::billing::{Billing, Subject};
use homerun_model::iam::Resource;
use homerun_model::names::{Region, ServiceName};
use homerun_model::violation::Violation;
use serde::Deserialize;

use super::Api;
use super::error::Failure;
use super::path::Place;
use crate::app::usage::{self, READ, Scope};
use crate::app::{access, usage_wire};
use crate::auth::Caller;
use crate::store::Ended;

/// Instances of an answer at most.
const MOST_INSTANCES: usize = 10_000;

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
        let (from, to) = usage::period(time("from", self.from.as_deref())?, time("to", self.to.as_deref())?, now)?;
        let by = self.by.as_deref().unwrap_or("service").split(',').filter(|word| !word.is_empty());
        let by: Vec<Dimension> =
            by.map(|word| word.parse().map_err(|message: String| wrong("by", &message))).collect::<Result<_, _>>()?;
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
    let query = asked.query(api.platform.clock.now())?;
    Ok(Json(usage_wire::report(&api.platform, usage::usage(&api.platform, &scope, query)?)))
}

pub(super) async fn of_all(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Query(asked): Query<Asked>,
) -> Result<Json<wire::Report>, Failure> {
    access::require(&api.platform, &caller, READ, &Resource::Platform)?;
    let query = asked.query(api.platform.clock.now())?;
    Ok(Json(usage_wire::report(&api.platform, usage::usage(&api.platform, &asked.scope(), query)?)))
}

pub(super) async fn focus_of_project(
    State(api): State<Api>,
    place: Place,
    Query(asked): Query<Asked>,
) -> Result<Json<wire::Focus>, Failure> {
    let scope = of_place(&api, &place, &asked)?;
    export(&api, &scope, &asked)
}

pub(super) async fn focus_of_all(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Query(asked): Query<Asked>,
) -> Result<Json<wire::Focus>, Failure> {
    access::require(&api.platform, &caller, READ, &Resource::Platform)?;
    export(&api, &asked.scope(), &asked)
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

fn export(api: &Api, scope: &Scope, asked: &Asked) -> Result<Json<wire::Focus>, Failure> {
    let by_hour = match asked.by.as_deref() {
        None | Some("day") => false,
        Some("hour") => true,
        Some(other) => return Err(wrong("by", &format!("'{other}' must be day or hour here."))),
    };
    let time = (time("from", asked.from.as_deref())?, time("to", asked.to.as_deref())?);
    Ok(Json(usage_wire::export(&api.platform, scope, time, by_hour)?))
}
