//! Compares what has been spent with what may be: tells whoever is to be told, and has no further instances started
//! where a budget says so.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use homerun_model::Timestamp;
use homerun_model::billing::budget::{Budget, Exceeded};
use homerun_model::billing::{Money, Subject};
use homerun_model::names::{ProjectId, ServiceKey};
use reqwest::redirect::Policy;
use serde_json::json;

use crate::app::usage::{costs, first_of_month, next_month};
use crate::audit::Record;
use crate::platform::Platform;
use crate::store::{Notice, Result};

/// Time between two looks: a budget may be overdrawn by what is spent in it.
const TICK: Duration = Duration::from_secs(15);
/// How long a webhook may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// What has been spent of a budget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The budget's project.
    pub project: ProjectId,
    /// The budget.
    pub budget: Budget,
    /// What has been spent in this month.
    pub spent: Money,
    /// Why no further instances are started, if that is so.
    pub exceeded: Option<Exceeded>,
}

/// Compares until the task is dropped.
pub async fn run(platform: Arc<Platform>) {
    loop {
        tokio::select! {
            () = platform.live.budgets.notified() => {}
            () = tokio::time::sleep(TICK) => {}
        }
        look(&platform);
    }
}

/// Compares once.
pub fn look(platform: &Platform) {
    let standings = match standings(platform, platform.clock.now()) {
        Ok(standings) => standings,
        Err(error) => {
            tracing::error!(error = &error as &dyn Error, "budgets could not be looked at; it is tried again");
            return;
        }
    };
    let mut live = platform.live.lock();
    let stops = |all: &[Standing]| all.iter().map(|one| one.exceeded.clone()).collect::<Vec<_>>();
    let changed = stops(&live.standings) != stops(&standings);
    live.standings = standings;
    drop(live);
    platform.live.standings.notify_one();
    if changed {
        platform.live.reconcile.notify_one();
    }
}

/// Tells whoever is to be told, until the task is dropped. Apart from comparing, which must not wait for those who
/// are told.
pub async fn run_telling(platform: Arc<Platform>) {
    let client = crate::outgoing::client().redirect(Policy::none()).build();
    let client = client.inspect_err(|error| tracing::error!(%error, "no webhook can be told")).ok();
    loop {
        platform.live.standings.notified().await;
        let standings = platform.live.lock().standings.clone();
        for standing in &standings {
            if let Err(error) = tell(&platform, client.as_ref(), standing).await {
                let budget = &standing.budget.name;
                tracing::error!(budget, error = &error as &dyn Error, "nobody could be told; it is tried again");
            }
        }
    }
}

/// How every budget stands.
///
/// # Errors
/// When the store fails.
pub fn standings(platform: &Platform, now: Timestamp) -> Result<Vec<Standing>> {
    let budgets = platform.store.budgets()?;
    if budgets.is_empty() {
        return Ok(Vec::new());
    }
    let month = first_of_month(now);
    let costs = costs(platform, (month, now))?;
    let standing = |(project, budget): (ProjectId, Budget)| {
        let counts = |subject: &Subject| budget.covers(&project, &service(subject));
        let spent = costs.iter().filter(|(subject, _)| counts(subject)).map(|(_, cost)| *cost).sum();
        let exceeded = budget.stops(spent).then(|| Exceeded {
            budget: budget.name.clone(),
            amount: budget.amount,
            currency: platform.prices.list().currency.clone(),
            until: next_month(month),
        });
        Standing { project, budget, spent, exceeded }
    };
    Ok(budgets.into_iter().map(standing).collect())
}

fn service(subject: &Subject) -> ServiceKey {
    ServiceKey { project: subject.project.clone(), region: subject.region.clone(), name: subject.service.clone() }
}

/// Tells of the thresholds that a budget has reached, each once in a month.
async fn tell(platform: &Platform, client: Option<&reqwest::Client>, standing: &Standing) -> Result<()> {
    let Standing { project, budget, spent, exceeded } = standing;
    let (now, currency) = (platform.clock.now(), &platform.prices.list().currency);
    let month = now.format("%Y-%m").to_string();
    for percent in budget.thresholds.iter().copied().filter(|percent| budget.is_reached(*spent, *percent)) {
        let notice = Notice { project, budget, month: &month, percent };
        let record = Record {
            at: now,
            by: "homerun".to_owned(),
            verb: "NOTE".to_owned(),
            path: format!("budgets/{}: {percent} % of {} {currency} spent in {month}", budget.name, budget.amount),
            project: project.to_string(),
        };
        if platform.store.note_threshold(&notice, &record)? {
            tracing::warn!(
                %project, budget = budget.name, %spent, amount = %budget.amount, currency, stopped = exceeded.is_some(),
                "a budget has reached {percent} %"
            );
        }
        let Some((url, client)) = budget.webhook.as_deref().zip(client) else { continue };
        if !platform.store.is_to_be_told(&notice)? {
            continue;
        }
        let body = json!({
            "project": project, "budget": budget.name, "service": budget.service, "month": month,
            "threshold": percent, "amount": budget.amount, "spent": spent, "currency": currency,
            "stopped": exceeded.is_some(),
        });
        let sent = client.post(url).timeout(PATIENCE).json(&body).send().await;
        match sent.and_then(reqwest::Response::error_for_status) {
            Ok(answer) if answer.status().is_success() => platform.store.told(&notice)?,
            Ok(answer) => {
                tracing::warn!(budget = budget.name, status = %answer.status(), "a webhook does not take it; it is tried again");
            }
            Err(error) => {
                tracing::warn!(
                    budget = budget.name,
                    error = &error as &dyn Error,
                    "a webhook cannot be told; it is tried again"
                );
            }
        }
    }
    Ok(())
}
