//! Budgets: what a project or a service may cost in a month, and what happens when it costs more.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::money::Money;
use crate::Timestamp;
use crate::names::{ProjectId, Region, ServiceKey, ServiceName};
use crate::violation::Violation;

/// What a project, or one of its services, may cost in a calendar month (UTC).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Budget {
    /// The budget's name, unique in its project.
    pub name: String,
    /// The service, if it is for one of them only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceName>,
    /// The service's region, needed where it has the same name in several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<Region>,
    /// The amount, in the price list's currency.
    pub amount: Money,
    /// Percentages of the amount at which somebody is told.
    #[serde(default = "Budget::usual_thresholds")]
    pub thresholds: Vec<u32>,
    /// Whether no further instances are started from the whole amount on.
    #[serde(default)]
    pub stop: bool,
    /// An address that is told by a POST request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<String>,
}

const MOST_PERCENT: u32 = 1000;
const MOST_THRESHOLDS: usize = 20;
const LONGEST_NAME: usize = 63;

impl Budget {
    /// The thresholds of a budget that names none.
    pub fn usual_thresholds() -> Vec<u32> {
        vec![50, 90, 100]
    }

    /// What is wrong with it.
    pub fn violations(&self) -> Vec<Violation> {
        let mut found = Vec::new();
        let mut wrong = |field: &str, description: String| found.push(Violation::new(field, description));
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let starts = self.name.starts_with(|c: char| c.is_ascii_lowercase());
        if !starts || self.name.len() > LONGEST_NAME || !self.name.chars().all(allowed) {
            wrong(
                "name",
                format!(
                    "'{}' must be lower-case letters, digits and hyphens, begin with a letter, and have at most {LONGEST_NAME}",
                    self.name
                ),
            );
        }
        if self.amount <= Money::default() {
            wrong("amount", "must be more than 0".to_owned());
        }
        if self.thresholds.len() > MOST_THRESHOLDS {
            wrong("thresholds", format!("at most {MOST_THRESHOLDS}"));
        }
        if let Some(percent) = self.thresholds.iter().find(|percent| **percent == 0 || **percent > MOST_PERCENT) {
            wrong("thresholds", format!("{percent} must be a percentage from 1 to {MOST_PERCENT}"));
        }
        if self.region.is_some() && self.service.is_none() {
            wrong("region", "is given without a service; name the service too, or leave the region out".to_owned());
        }
        if let Some(url) = self.webhook.as_deref().filter(|url| !is_web_address(url)) {
            wrong("webhook", format!("'{url}' must be an address that begins with http:// or https://"));
        }
        found
    }

    /// Whether what a service costs counts here.
    pub fn covers(&self, project: &ProjectId, service: &ServiceKey) -> bool {
        service.project == *project
            && self.service.as_ref().is_none_or(|name| *name == service.name)
            && self.region.as_ref().is_none_or(|region| *region == service.region)
    }

    /// The greatest threshold that this much has reached.
    pub fn reached(&self, spent: Money) -> Option<u32> {
        self.thresholds.iter().copied().filter(|percent| self.is_reached(spent, *percent)).max()
    }

    /// Whether no further instances may be started.
    pub fn stops(&self, spent: Money) -> bool {
        self.stop && self.is_reached(spent, 100)
    }

    /// Whether this much is so many percent of the amount.
    pub fn is_reached(&self, spent: Money, percent: u32) -> bool {
        spent.0 * 100 >= self.amount.0 * i128::from(percent)
    }
}

fn is_web_address(url: &str) -> bool {
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/') && !rest.contains(char::is_whitespace))
}

/// A budget that keeps instances from being started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exceeded {
    /// The budget's name.
    pub budget: String,
    /// The amount.
    pub amount: Money,
    /// The currency.
    pub currency: String,
    /// When the next month begins.
    pub until: Timestamp,
}

impl fmt::Display for Exceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "The request failed because budget '{}' of {} {} per month is used up: no further instances are started \
             until {}. Raise it with 'homerun budget set', or turn its stop off",
            self.budget,
            self.amount,
            self.currency,
            self.until.format("%Y-%m-%d")
        )
    }
}
