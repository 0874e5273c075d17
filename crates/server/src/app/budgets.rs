//! Budgets: what projects and services may cost in a month.

use homerun_api::error::ApiError;
use homerun_model::billing::Money;
use homerun_model::billing::budget::Budget;
use homerun_model::iam::Resource;
use homerun_model::names::ProjectId;
use homerun_model::violation::Violation;

use super::usage::unread;
use super::{access, stored};
use crate::auth::Caller;
use crate::platform::Platform;
pub use crate::store::Expected;
use crate::tasks::budgets::{self, Standing};

const KIND: &str = "Budget";

/// What reading budgets needs.
pub const READ: &str = "homerun.budgets.get";
/// What changing them needs.
pub const CHANGE: &str = "homerun.budgets.update";

/// The budgets of a project, by name.
///
/// # Errors
/// When the caller may not, or the store fails.
pub fn list(platform: &Platform, caller: &Caller, project: &ProjectId) -> Result<Vec<Budget>, ApiError> {
    access::require(platform, caller, READ, &Resource::Project(project.clone()))?;
    let all = platform.store.budgets().map_err(|error| stored(error, KIND, project.as_str()))?;
    Ok(all.into_iter().filter(|(of, _)| of == project).map(|(_, budget)| budget).collect())
}

/// How the budgets of a project stand, or one of them.
///
/// # Errors
/// When the caller may not, or the store fails.
pub fn standings(
    platform: &Platform,
    caller: &Caller,
    project: &ProjectId,
    name: Option<&str>,
) -> Result<Vec<Standing>, ApiError> {
    access::require(platform, caller, READ, &Resource::Project(project.clone()))?;
    let mut all = budgets::standings(platform, platform.clock.now()).map_err(unread)?;
    all.retain(|standing| standing.project == *project && name.is_none_or(|name| name == standing.budget.name));
    Ok(all)
}

/// The amount that a text names.
///
/// # Errors
/// `InvalidArgument` at `amount`.
pub fn amount(text: &str) -> Result<Money, ApiError> {
    Money::parse(text).ok_or_else(|| {
        let message = format!("'{text}' must be an amount such as 250 or 12.50, with at most nine decimals.");
        ApiError::InvalidArgument(vec![Violation::new("amount", message)])
    })
}

/// The percentages that a text names, with commas between them.
///
/// # Errors
/// `InvalidArgument` at `thresholds`.
pub fn thresholds(text: &str) -> Result<Vec<u32>, ApiError> {
    let words = text.split(',').map(|word| word.trim().trim_end_matches('%').trim()).filter(|word| !word.is_empty());
    let read = |word: &str| {
        word.parse().map_err(|_| {
            let message =
                format!("'{word}' must be a percentage such as 90; there may be several, with commas between.");
            ApiError::InvalidArgument(vec![Violation::new("thresholds", message)])
        })
    };
    words.map(read).collect()
}

/// One budget.
///
/// # Errors
/// `NotFound`, when the caller may not, or the store fails.
pub fn get(platform: &Platform, caller: &Caller, project: &ProjectId, name: &str) -> Result<Budget, ApiError> {
    let found = list(platform, caller, project)?.into_iter().find(|budget| budget.name == name);
    found.ok_or_else(|| ApiError::NotFound { kind: KIND, name: name.to_owned() })
}

/// Creates or replaces a budget.
///
/// # Errors
/// `InvalidArgument` with all that is wrong, `AlreadyExists` or `Conflict` where something else is there than was
/// expected, when the caller may not, or the store fails.
pub fn put(
    platform: &Platform,
    caller: &Caller,
    project: &ProjectId,
    budget: &Budget,
    expected: Expected<'_>,
) -> Result<(), ApiError> {
    access::require(platform, caller, CHANGE, &Resource::Project(project.clone()))?;
    let violations = budget.violations();
    if !violations.is_empty() {
        return Err(ApiError::InvalidArgument(violations));
    }
    platform.store.put_budget(project, budget, expected).map_err(|error| stored(error, KIND, &budget.name))?;
    platform.live.budgets.notify_one();
    Ok(())
}

/// Removes a budget.
///
/// # Errors
/// `NotFound`, when the caller may not, or the store fails.
pub fn delete(platform: &Platform, caller: &Caller, project: &ProjectId, name: &str) -> Result<(), ApiError> {
    access::require(platform, caller, CHANGE, &Resource::Project(project.clone()))?;
    let gone = platform.store.delete_budget(project, name).map_err(|error| stored(error, KIND, name))?;
    platform.live.budgets.notify_one();
    if gone { Ok(()) } else { Err(ApiError::NotFound { kind: KIND, name: name.to_owned() }) }
}
