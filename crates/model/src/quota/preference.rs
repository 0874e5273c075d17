//! Asking for another limit, and what is answered.
//!
//! As on Cloud Quotas a project has at most one preference for a bucket. Less than the present limit is
//! granted at once, more waits for an administrator unless the settings grant it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{Bucket, QuotaKey, Quotas};
use crate::Timestamp;
use crate::names::Region;
use crate::plan::place::Ledger;

/// The limit that a project wants, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preference {
    /// Its id, unique in the project.
    pub id: String,
    /// What the limit is for.
    pub bucket: Bucket,
    /// GPUs wanted.
    pub preferred: u32,
    /// GPUs that this preference has been granted; `None` until then.
    pub granted: Option<u32>,
    /// Whether it waits for an administrator.
    pub pending: bool,
    /// Why it is wanted.
    pub justification: String,
    /// Whom to ask about it.
    pub contact: String,
    /// The client's own notes.
    pub annotations: BTreeMap<String, String>,
    /// Names the request for more that is or was under way; empty if there was none.
    pub trace_id: String,
    /// What the last decision was, a sentence.
    pub detail: String,
    /// Who asked last.
    pub requester: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed.
    pub updated_at: Timestamp,
}

/// A change of a limit or of a request for one, for the record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// When.
    pub at: Timestamp,
    /// Who did it.
    pub by: String,
    /// What the limit is for.
    pub bucket: Bucket,
    /// What was done: `requested`, `granted`, `denied`, `overridden` or `override removed`.
    pub action: String,
    /// GPUs granted, or by an override allowed, before.
    pub from: u32,
    /// GPUs afterwards; for a request or a denial, those that were asked for.
    pub to: u32,
    /// The preference, where there is one.
    pub preference: Option<String>,
    /// What was said about it.
    pub note: String,
}

/// Which checks of a decrease its caller does without.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SafetyChecks {
    /// Below what is in use.
    pub ignore_below_usage: bool,
    /// By more than a tenth.
    pub ignore_percentage: bool,
}

/// Why a limit may not be lowered just so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum DecreaseRefused {
    /// Live instances hold more.
    #[error("the new limit {to} is below the present usage {used}, and instances that run are not stopped by it")]
    BelowUsage {
        /// GPUs wanted.
        to: u32,
        /// GPUs in use.
        used: u32,
    },
    /// It is lowered by more than a tenth.
    #[error("the new limit {to} is more than 10 percent below the present {from}")]
    Percentage {
        /// GPUs at present.
        from: u32,
        /// GPUs wanted.
        to: u32,
    },
}

/// How a bucket stands before it is asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Standing {
    /// GPUs granted, or the default; the most of its regions.
    pub granted: u32,
    /// The least of its regions.
    pub least: u32,
    /// GPUs that live instances hold; the most of its regions.
    pub used: u32,
    /// Up to so many GPUs are granted without an administrator.
    pub auto_approved: u32,
}

/// What an administrator says to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// So many GPUs; as many as were asked for where `None`.
    Approve(Option<u32>),
    /// No more than before, and why.
    Deny(String),
}

/// A preference after a decision, and the record of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided {
    /// The preference as it is to be stored.
    pub preference: Preference,
    /// The record.
    pub change: Change,
}

/// Why a decision cannot be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PreferenceRefused {
    /// An approval grants no less than there is.
    #[error(
        "{value} is less than the present limit {granted}; deny the request, or lower the limit by a request for less"
    )]
    Lower {
        /// GPUs to be granted.
        value: u32,
        /// GPUs granted.
        granted: u32,
    },
    /// Nothing is waiting.
    #[error("it does not wait for a decision; the limit is {granted}, and {preferred} was asked for")]
    NotPending {
        /// GPUs granted.
        granted: u32,
        /// GPUs wanted.
        preferred: u32,
    },
}

/// The checks that Cloud Quotas publishes for decreases (`QuotaSafetyCheck`).
///
/// # Errors
/// [`DecreaseRefused`].
pub fn check_decrease(from: u32, to: u32, used: u32, checks: SafetyChecks) -> Result<(), DecreaseRefused> {
    if to >= from {
        return Ok(());
    }
    if to < used && !checks.ignore_below_usage {
        return Err(DecreaseRefused::BelowUsage { to, used });
    }
    if u64::from(from - to) * 10 > u64::from(from) && !checks.ignore_percentage {
        return Err(DecreaseRefused::Percentage { from, to });
    }
    Ok(())
}

impl Quotas {
    /// How a bucket stands; `regions` are those that exist.
    pub fn standing(&self, bucket: &Bucket, regions: &[Region], ledger: &Ledger) -> Standing {
        let mut keys = bucket.keys(regions);
        // What is granted to a region by itself is not touched by what is granted to all.
        keys.retain(|key| bucket.region.is_some() || !self.granted.contains_key(&key.bucket()));
        let most = |of: &dyn Fn(&QuotaKey) -> u32| keys.iter().map(of).max().unwrap_or(0);
        Standing {
            granted: most(&|key| self.granted(key)),
            least: keys.iter().map(|key| self.granted(key)).min().unwrap_or(0),
            used: most(&|key| ledger.used(key)),
            auto_approved: self.auto_approved(bucket),
        }
    }
}

/// What becomes of a wish: `preference` as its requester wants it to be, with what it was granted before.
/// Its trace id is kept only if it asks for more.
///
/// # Errors
/// [`DecreaseRefused`].
pub fn ask(
    preference: Preference,
    standing: Standing,
    checks: SafetyChecks,
    now: Timestamp,
) -> Result<(Preference, Vec<Change>), DecreaseRefused> {
    let (from, to) = (standing.granted, preference.preferred);
    check_decrease(from, to, standing.used, checks)?;
    let granted = to <= standing.least.max(standing.auto_approved);
    let mut asked = Preference { pending: !granted, updated_at: now, detail: String::new(), ..preference };
    if to <= standing.least {
        asked.trace_id.clear();
    }
    let change = |action: &str, note: &str, by: &str| Change {
        at: now,
        by: by.to_owned(),
        bucket: asked.bucket.clone(),
        action: action.to_owned(),
        from,
        to,
        preference: Some(asked.id.clone()),
        note: note.to_owned(),
    };
    let mut changes = vec![change("requested", &asked.justification, &asked.requester)];
    if granted && to > standing.least {
        changes.push(change("granted", "The settings approve it.", "auto_approve"));
    } else if granted && to < from {
        changes.push(change("granted", "Less than before needs no approval.", &asked.requester));
    }
    if granted {
        asked.granted = Some(to);
    }
    Ok((asked, changes))
}

/// Carries out an administrator's decision; `present` is what is granted until now.
///
/// # Errors
/// [`PreferenceRefused`] if nothing waits for one.
pub fn decide(
    preference: Preference,
    decision: Decision,
    present: u32,
    by: &str,
    now: Timestamp,
) -> Result<Decided, PreferenceRefused> {
    if !preference.pending {
        let granted = preference.granted.unwrap_or(present);
        return Err(PreferenceRefused::NotPending { granted, preferred: preference.preferred });
    }
    if let Decision::Approve(Some(value)) = decision
        && value < present
    {
        return Err(PreferenceRefused::Lower { value, granted: present });
    }
    let wanted = preference.preferred;
    let mut preference = Preference { pending: false, updated_at: now, ..preference };
    let (action, to, note) = match decision {
        Decision::Approve(value) => {
            let granted = value.unwrap_or(wanted);
            preference.granted = Some(granted);
            preference.detail = match granted == wanted {
                true => format!("Limit {granted} granted by {by}."),
                false => format!("Limit {granted} granted by {by}; {wanted} was asked for."),
            };
            ("granted", granted, String::new())
        }
        Decision::Deny(why) => {
            let because = if why.is_empty() { ".".to_owned() } else { format!(": {why}") };
            preference.detail = format!("Denied by {by}{because}");
            ("denied", wanted, why)
        }
    };
    let change = Change {
        at: now,
        by: by.to_owned(),
        bucket: preference.bucket.clone(),
        action: action.to_owned(),
        from: present,
        to,
        preference: Some(preference.id.clone()),
        note,
    };
    Ok(Decided { preference, change })
}
