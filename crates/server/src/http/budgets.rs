//! homerun's own calls about budgets.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use homerun_api::error::ApiError;
use homerun_api::usage as wire;
use homerun_model::billing::budget::Budget;
use homerun_model::names::{Region, ServiceName};

use super::Api;
use super::error::Failure;
use super::path::Place;
use crate::app::budgets;
use crate::tasks::budgets::Standing;

pub(super) async fn list(State(api): State<Api>, place: Place) -> Result<Json<wire::Budgets>, Failure> {
    budgets::list(&api.platform, &place.caller, &place.project.id)?;
    Ok(Json(wire::Budgets { budgets: shown(&api, &place, None)? }))
}

pub(super) async fn get(State(api): State<Api>, place: Place) -> Result<Json<wire::BudgetStatus>, Failure> {
    budgets::get(&api.platform, &place.caller, &place.project.id, &place.name)?;
    one(&api, &place)
}

pub(super) async fn put(
    State(api): State<Api>,
    place: Place,
    body: Bytes,
) -> Result<Json<wire::BudgetStatus>, Failure> {
    let asked: wire::Budget = homerun_api::run_v1::parse_strict(&body).map_err(ApiError::from)?;
    let budget = read(&place.name, asked)?;
    budgets::put(&api.platform, &place.caller, &place.project.id, &budget, budgets::Expected::Anything)?;
    one(&api, &place)
}

pub(super) async fn delete(State(api): State<Api>, place: Place) -> Result<Json<serde_json::Value>, Failure> {
    budgets::delete(&api.platform, &place.caller, &place.project.id, &place.name)?;
    Ok(Json(serde_json::json!({})))
}

fn read(name: &str, asked: wire::Budget) -> Result<Budget, Failure> {
    Ok(Budget {
        name: name.to_owned(),
        amount: budgets::amount(&asked.amount)?,
        service: asked.service.as_deref().map(ServiceName::from),
        region: asked.region.as_deref().map(Region::from),
        thresholds: asked.thresholds.unwrap_or_else(Budget::usual_thresholds),
        stop: asked.stop,
        webhook: asked.webhook,
    })
}

fn one(api: &Api, place: &Place) -> Result<Json<wire::BudgetStatus>, Failure> {
    let found = shown(api, place, Some(&place.name))?.pop();
    found.map(Json).ok_or_else(|| Failure(ApiError::NotFound { kind: "Budget", name: place.name.clone() }))
}

fn shown(api: &Api, place: &Place, name: Option<&str>) -> Result<Vec<wire::BudgetStatus>, Failure> {
    let now = api.platform.clock.now();
    let all = budgets::standings(&api.platform, &place.caller, &place.project.id, name)?;
    let render = |Standing { budget, spent, exceeded, .. }: Standing| wire::BudgetStatus {
        name: budget.name.clone(),
        currency: api.platform.prices.list().currency.clone(),
        month: now.format("%Y-%m").to_string(),
        spent: spent.to_string(),
        reached: budget.reached(spent),
        stopped: exceeded.is_some(),
        budget: wire::Budget {
            amount: budget.amount.to_string(),
            service: budget.service.map(|service| service.to_string()),
            region: budget.region.map(|region| region.to_string()),
            thresholds: Some(budget.thresholds),
            stop: budget.stop,
            webhook: budget.webhook,
        },
    };
    Ok(all.into_iter().map(render).collect())
}
