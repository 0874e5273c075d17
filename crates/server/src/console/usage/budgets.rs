//! Budgets: what a month may cost, and what happens when it costs more.

use axum::body::Bytes;
use axum::extract::Path;
use axum::response::{IntoResponse, Redirect, Response};
use homerun_api::error::ApiError;
use homerun_model::billing::budget::Budget;
use homerun_model::names::{Region, ServiceName};
use homerun_model::violation::Violation;
use maud::{Markup, html};
use serde::Deserialize;

use super::super::failure::Failure;
use super::super::fields::Mistakes;
use super::super::layout::{Page, Section, form_secret};
use super::super::visit::{Posted, Visit};
use super::super::words;
use crate::app::budgets::{self, CHANGE, Expected, READ};
use crate::app::services;

/// What the form says.
#[derive(Debug, Default)]
struct Asked {
    name: String,
    amount: String,
    service: String,
    region: String,
    thresholds: String,
    stop: bool,
    webhook: String,
    /// The name once more, so that nothing is deleted by a slip.
    confirm: String,
    /// The budget that the form was shown with, as JSON; empty for a new one.
    was: String,
}

/// Which budget a path names.
#[derive(Deserialize)]
pub(in super::super) struct At {
    budget: String,
}

/// The budgets of the project, for those who may see them.
pub(super) fn list(visit: &Visit) -> Result<Markup, Failure> {
    if !visit.may(READ) {
        return Ok(html! {});
    }
    let lang = visit.lang;
    let all = budgets::standings(visit.platform(), visit.caller(), &visit.project.id, None)?;
    let heads = ["name", "budget-for", "budget-spent", "budget-thresholds", "state"];
    Ok(html! {
        div .heading {
            h2 { (lang.t("budgets")) }
            @if visit.may(CHANGE) { a .button href=(visit.path("budgets/-/new")) { (lang.t("budget-new")) } }
        }
        @if all.is_empty() { p .empty { (lang.t("budgets-empty")) } }
        @else {
            div .scroll tabindex="0" role="region" aria-label=(lang.t("budgets")) {
                table {
                    thead { tr { @for head in heads { th scope="col" { (lang.t(head)) } } } }
                    tbody { @for standing in &all { (line(visit, standing)) } }
                }
            }
        }
    })
}

fn line(visit: &Visit, standing: &crate::tasks::budgets::Standing) -> Markup {
    let (lang, budget, spent) = (visit.lang, &standing.budget, standing.spent);
    let percent = (spent.0.max(0) * 100 / budget.amount.0.max(1)).min(100);
    let state = match (&standing.exceeded, budget.reached(spent)) {
        (Some(_), _) => words::badge(lang, ("bad", "budget-stopped")),
        (None, Some(reached)) => html! { span .badge.busy { (lang.with("budget-reached", [("percent", reached)])) } },
        (None, None) => words::badge(lang, ("good", "budget-within")),
    };
    html! {
        tr {
            th scope="row" {
                @if visit.may(CHANGE) { a href=(visit.path(&format!("budgets/{}", budget.name))) { (budget.name) } }
                @else { (budget.name) }
            }
            td {
                @match &budget.service {
                    Some(service) => {
                        (service) @if let Some(region) = &budget.region { " (" (region) ")" }
                    }
                    None => (lang.t("budget-for-all")),
                }
            }
            td {
                meter min="0" max="100" value=(percent) aria-label=(lang.t("budget-spent")) {}
                " " (words::money(visit, spent)) " / " (words::money(visit, budget.amount))
            }
            td { (thresholds(budget)) }
            td { (state) @if budget.stop { p .hint { (lang.t("budget-stops")) } } }
        }
    }
}

fn thresholds(budget: &Budget) -> String {
    budget.thresholds.iter().map(|percent| format!("{percent} %")).collect::<Vec<_>>().join(", ")
}

pub(in super::super) async fn new(visit: Visit) -> Result<Response, Failure> {
    crate::app::access::require(
        visit.platform(),
        visit.caller(),
        CHANGE,
        &homerun_model::iam::Resource::Project(visit.project.id.clone()),
    )?;
    let usual = Budget::usual_thresholds().iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    form(&visit, None, &Asked { thresholds: usual, ..Asked::default() }, &Mistakes::default())
}

pub(in super::super) async fn page(visit: Visit, Path(at): Path<At>) -> Result<Response, Failure> {
    let budget = budgets::get(visit.platform(), visit.caller(), &visit.project.id, &at.budget)?;
    let text = |of: Option<String>| of.unwrap_or_default();
    let asked = Asked {
        was: written(&budget)?,
        thresholds: budget.thresholds.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        amount: budget.amount.to_string(),
        service: text(budget.service.map(|service| service.to_string())),
        region: text(budget.region.map(|region| region.to_string())),
        stop: budget.stop,
        webhook: text(budget.webhook),
        name: budget.name,
        confirm: String::new(),
    };
    form(&visit, Some(&at.budget), &asked, &Mistakes::default())
}

pub(in super::super) async fn create(visit: Visit, body: Bytes) -> Result<Response, Failure> {
    let asked = read(&visit, &body)?.0;
    let done = put(&visit, &asked, Expected::Nothing).await;
    answer(&visit, None, &asked, done)
}

pub(in super::super) async fn submit(visit: Visit, Path(at): Path<At>, body: Bytes) -> Result<Response, Failure> {
    let (asked, action) = read(&visit, &body)?;
    let mut asked = Asked { name: at.budget.clone(), ..asked };
    let done = if action == "delete" { delete(&visit, &asked).await } else { replace(&visit, &asked).await };
    if matches!(done, Err(ApiError::Conflict(_))) {
        // One that is gone is not made again by saving it. Who has read about a change may overwrite it.
        asked.was = written(&budgets::get(visit.platform(), visit.caller(), &visit.project.id, &at.budget)?)?;
    }
    answer(&visit, Some(&at.budget), &asked, done)
}

/// A budget as the form remembers it.
fn written(budget: &Budget) -> Result<String, ApiError> {
    serde_json::to_string(budget).map_err(|error| ApiError::Internal(format!("the budget cannot be written: {error}")))
}

/// Replaces the budget that the visitor has seen, or none.
async fn replace(visit: &Visit, asked: &Asked) -> Result<(), ApiError> {
    let Ok(was) = serde_json::from_str::<Budget>(&asked.was) else {
        return Err(ApiError::FailedPrecondition(visit.lang.t("error-form-secret").into_owned()));
    };
    match put(visit, asked, Expected::Budget(&was)).await {
        Err(ApiError::Conflict(message)) => {
            Err(ApiError::Conflict(format!("{message} {}", visit.lang.t("budget-conflict-next"))))
        }
        done => done,
    }
}

fn read(visit: &Visit, body: &[u8]) -> Result<(Asked, String), Failure> {
    let posted = Posted::read(visit, body)?;
    let text = |name: &str| posted.get(name).unwrap_or_default().trim().to_owned();
    let asked = Asked {
        name: text("name"),
        amount: text("amount"),
        service: text("service"),
        region: text("region"),
        thresholds: text("thresholds"),
        stop: posted.get("stop").is_some(),
        webhook: text("webhook"),
        confirm: text("confirm"),
        was: text("was"),
    };
    Ok((asked, text("action")))
}

fn answer(visit: &Visit, of: Option<&str>, asked: &Asked, done: Result<(), ApiError>) -> Result<Response, Failure> {
    const FIELDS: [&str; 7] = ["name", "amount", "service", "region", "thresholds", "webhook", "confirm"];
    match done {
        Ok(()) => Ok(Redirect::to(&visit.path("usage")).into_response()),
        Err(error) => {
            let wrong = Mistakes::of(error, |of| FIELDS.into_iter().find(|field| *field == of))?;
            form(visit, of, asked, &wrong)
        }
    }
}

fn path_of(visit: &Visit, name: &str) -> String {
    format!("/homerun/v1/projects/{}/budgets/{name}", visit.project.id)
}

async fn put(visit: &Visit, asked: &Asked, expected: Expected<'_>) -> Result<(), ApiError> {
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let budget = Budget {
        name: asked.name.clone(),
        amount: budgets::amount(&asked.amount)?,
        service: some(&asked.service).map(|service| ServiceName::from(service.as_str())),
        region: some(&asked.region).map(|region| Region::from(region.as_str())),
        thresholds: budgets::thresholds(&asked.thresholds)?,
        stop: asked.stop,
        webhook: some(&asked.webhook),
    };
    let work = async { budgets::put(visit.platform(), visit.caller(), &visit.project.id, &budget, expected) };
    visit.change("PUT", path_of(visit, &budget.name), work).await
}

async fn delete(visit: &Visit, asked: &Asked) -> Result<(), ApiError> {
    if asked.confirm != asked.name {
        let message = visit.lang.with("confirm-wrong", [("name", asked.name.as_str())]);
        return Err(ApiError::InvalidArgument(vec![Violation::new("confirm", message)]));
    }
    let work = async { budgets::delete(visit.platform(), visit.caller(), &visit.project.id, &asked.name) };
    visit.change("DELETE", path_of(visit, &asked.name), work).await
}

fn form(visit: &Visit, of: Option<&str>, asked: &Asked, wrong: &Mistakes) -> Result<Response, Failure> {
    let lang = visit.lang;
    let title = of.map_or_else(|| lang.t("budget-new").into_owned(), str::to_owned);
    let action = visit.path(&format!("budgets/{}", of.unwrap_or("-/new")));
    let content = html! {
        p .crumbs { a href=(visit.path("usage")) { (lang.t("usage")) } " › " }
        div .heading { h1 { (title) } }
        (wrong.summary(lang))
        form .card method="post" action=(action) {
            (form_secret(visit))
            input type="hidden" name="was" value=(asked.was);
            @if of.is_none() {
                (wrong.field(("name", &lang.t("name")), "", |says| html! {
                    input #name name="name" required value=(asked.name) autocomplete="off" spellcheck="false"
                        aria-describedby=[&says.described] aria-invalid=[says.invalid];
                }))
            }
            (fields(visit, asked, wrong)?)
            div .actions {
                button .primary type="submit" name="action" value="save" { (lang.t("save")) }
                a .button href=(visit.path("usage")) { (lang.t("cancel")) }
            }
        }
        @if let Some(name) = of { (deletion(visit, name, &action, wrong)) }
    };
    Ok(wrong.answer(Page { title, section: Section::Usage, live: false, content }.show(visit)))
}

fn fields(visit: &Visit, asked: &Asked, wrong: &Mistakes) -> Result<Markup, Failure> {
    let lang = visit.lang;
    let currency = &visit.platform().prices.list().currency;
    let amount = lang.with("budget-amount", [("currency", currency.as_str())]);
    let names = services(visit, &asked.service)?;
    Ok(html! {
        (wrong.field(("amount", &amount), &lang.t("budget-amount-hint"), |says| html! {
            input #amount name="amount" inputmode="decimal" required value=(asked.amount) autocomplete="off"
                aria-describedby=[&says.described] aria-invalid=[says.invalid];
        }))
        (wrong.field(("service", &lang.t("service")), "", |says| html! {
            select #service name="service" aria-describedby=[&says.described] aria-invalid=[says.invalid] {
                option value="" { (lang.t("budget-for-all")) }
                @for name in &names { option value=(name) selected[*name == asked.service] { (name) } }
            }
        }))
        (wrong.field(("region", &lang.t("region")), "", |says| html! {
            select #region name="region" aria-describedby=[&says.described] aria-invalid=[says.invalid] {
                option value="" { (lang.t("all-regions")) }
                @for region in visit.platform().config.all_regions() {
                    option value=(region) selected[region.as_str() == asked.region] { (region) }
                }
            }
        }))
        (wrong.field(("thresholds", &lang.t("budget-thresholds")), &lang.t("budget-thresholds-hint"), |says| html! {
            input #thresholds name="thresholds" value=(asked.thresholds) autocomplete="off"
                aria-describedby=[&says.described] aria-invalid=[says.invalid];
        }))
        (wrong.field(("webhook", &lang.t("budget-webhook")), &lang.t("budget-webhook-hint"), |says| html! {
            input #webhook type="url" name="webhook" value=(asked.webhook) autocomplete="off"
                aria-describedby=[&says.described] aria-invalid=[says.invalid];
        }))
        div .field.inline {
            input #stop type="checkbox" name="stop" checked[asked.stop];
            label for="stop" { (lang.t("budget-stop")) }
        }
    })
}

/// The services to choose from: those that there are, and the one that is chosen.
fn services(visit: &Visit, chosen: &str) -> Result<Vec<String>, Failure> {
    let mut names = vec![chosen.to_owned()];
    if visit.may("run.services.list") {
        let all = services::page(visit.platform(), (&visit.project, None), None, usize::MAX)?;
        names.extend(all.into_iter().map(|(_, service)| service.value.key.name.to_string()));
    }
    names.retain(|name| !name.is_empty());
    names.sort();
    names.dedup();
    Ok(names)
}

fn deletion(visit: &Visit, name: &str, action: &str, wrong: &Mistakes) -> Markup {
    let lang = visit.lang;
    html! {
        form .card method="post" action=(action) {
            h2 { (lang.t("budget-delete")) }
            (form_secret(visit))
            (wrong.field(("confirm", &lang.with("confirm-name", [("name", name)])), "", |says| html! {
                input #confirm name="confirm" required autocomplete="off" spellcheck="false"
                    aria-describedby=[&says.described] aria-invalid=[says.invalid];
            }))
            button .danger type="submit" name="action" value="delete" { (lang.t("budget-delete")) }
        }
    }
}
