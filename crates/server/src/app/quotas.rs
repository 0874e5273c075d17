//! GPU quotas: who uses them, asking for other limits, and deciding about it.

use std::collections::BTreeMap;

use homerun_api::error::ApiError;
use homerun_model::iam::Resource;
use homerun_model::names::{ProjectId, Region};
use homerun_model::plan::place::Ledger;
use homerun_model::quota::{
    self, Bucket, Change, Decided, Decision, DecreaseRefused, Preference, Quota, QuotaKey, SafetyChecks, Standing,
};
use homerun_model::violation::Violation;

use super::{access, stored};
use crate::audit;
use crate::auth::Caller;
use crate::ids;
use crate::platform::Platform;
use crate::store::Versioned;

const KIND: &str = "Quota preference";
/// The service that the quotas belong to.
pub const SERVICE: &str = "run.googleapis.com";
/// The API that preferences belong to.
pub const API: &str = "cloudquotas.googleapis.com";
/// Changes that are shown at most.
const CHANGES: usize = 1000;

/// What a preference is to be; what is absent stays as it was.
#[derive(Debug)]
pub struct Wish {
    /// What the limit is for.
    pub bucket: Bucket,
    /// GPUs.
    pub preferred: Option<u32>,
    /// Why, at most 4 KiB.
    pub justification: Option<String>,
    /// Whom to ask about it, at most 320 bytes.
    pub contact: Option<String>,
    /// The client's own notes, at most 4 KiB together.
    pub annotations: Option<BTreeMap<String, String>>,
}

/// How a preference is to be written.
#[derive(Debug, Default)]
pub struct How {
    /// The version that the caller has read, if it says.
    pub expected: Option<u64>,
    /// Make it if there is none.
    pub allow_missing: bool,
    /// Check everything and store nothing.
    pub validate_only: bool,
    /// Safety checks to do without.
    pub checks: SafetyChecks,
}

/// Demands a permission on a project.
///
/// # Errors
/// `PermissionDenied`.
pub fn require(platform: &Platform, caller: &Caller, permission: &str, project: &ProjectId) -> Result<(), ApiError> {
    access::require(platform, caller, permission, &Resource::Project(project.clone()))
}

/// Every quota that exists here, by id.
pub fn all(platform: &Platform) -> Vec<Quota> {
    Quota::all(&platform.gpus.inventory.types)
}

/// The quota of an id.
///
/// # Errors
/// `InvalidArgument` at `field`.
pub fn by_id(platform: &Platform, id: &str, field: &str) -> Result<Quota, ApiError> {
    let all = all(platform);
    let known = || all.iter().map(Quota::id).collect::<Vec<_>>().join(", ");
    let absent = || wrong(field, format!("'{id}' does not exist. Quotas: {}.", known()));
    all.iter().find(|quota| quota.id() == id).cloned().ok_or_else(absent)
}

/// The region of a name.
///
/// # Errors
/// `InvalidArgument` at `field`.
pub fn region(platform: &Platform, name: &str, field: &str) -> Result<Region, ApiError> {
    let regions = platform.config.all_regions();
    let known = || regions.iter().map(|region| region.as_str()).collect::<Vec<_>>().join(", ");
    let absent = || wrong(field, format!("region '{name}' does not exist here. Regions: {}.", known()));
    regions.iter().find(|region| region.as_str() == name).cloned().ok_or_else(absent)
}

/// A number of GPUs.
///
/// # Errors
/// `InvalidArgument` at `field`.
pub fn gpus(text: &str, field: &str) -> Result<u32, ApiError> {
    if text.is_empty() {
        return Err(wrong(field, "is missing; it is the number of GPUs that are wanted.".to_owned()));
    }
    text.parse().map_err(|_| {
        let unlimited = if text == "-1" { " (-1, unlimited, is not offered for GPUs)" } else { "" };
        wrong(field, format!("{text} is not valid; it must be a number of GPUs, 0 to {}{unlimited}.", u32::MAX))
    })
}

fn wrong(field: &str, message: String) -> ApiError {
    ApiError::InvalidArgument(vec![Violation::new(field, message)])
}

/// Who holds which GPU now.
pub fn ledger(platform: &Platform) -> Ledger {
    Ledger::new(platform.gpus.devices.clone(), &platform.backend.list())
}

/// The preferences of a project, by id.
///
/// # Errors
/// When the store fails.
pub fn preferences(platform: &Platform, project: &ProjectId) -> Result<Vec<Versioned<Preference>>, ApiError> {
    let mut all = platform.store.quota_preferences().map_err(|error| stored(error, KIND, project.as_str()))?;
    all.retain(|preference| &preference.value.bucket.project == project);
    Ok(all)
}

/// A preference.
///
/// # Errors
/// `NotFound`.
pub fn preference(platform: &Platform, project: &ProjectId, id: &str) -> Result<Versioned<Preference>, ApiError> {
    let found = platform.store.quota_preference(project, id).map_err(|error| stored(error, KIND, id))?;
    found.ok_or_else(|| ApiError::NotFound { kind: KIND, name: id.to_owned() })
}

/// Asks for a limit that was not asked for before; with `id`, or one that is made.
///
/// # Errors
/// `AlreadyExists` if the id or the bucket is taken, or what is wrong.
pub fn create(
    platform: &Platform,
    caller: &Caller,
    id: Option<&str>,
    wish: Wish,
    how: &How,
) -> Result<Versioned<Preference>, ApiError> {
    let id = id.map_or_else(ids::uuid, str::to_owned);
    if !is_id(&id) {
        let message = format!(
            "'{id}' is not valid; it must have 1 to 128 letters, digits, hyphens, underscores and dots, beginning with a \
             letter or digit."
        );
        return Err(ApiError::InvalidArgument(vec![Violation::new("quotaPreferenceId", message)]));
    }
    if wish.preferred.is_none() {
        let message = "is missing; it is the number of GPUs that are wanted.";
        let violation = Violation::new("quotaPreference.quotaConfig.preferredValue", message);
        return Err(ApiError::InvalidArgument(vec![violation]));
    }
    check_sizes(&wish)?;
    let changing = platform.quotas.change();
    for other in preferences(platform, &wish.bucket.project)? {
        if other.value.id == id {
            return Err(ApiError::AlreadyExists { kind: KIND, name: id });
        }
        if other.value.bucket == wish.bucket {
            return Err(ApiError::QuotaPreferenceExists { id: other.value.id, bucket: wish.bucket.to_string() });
        }
    }
    let now = platform.clock.now();
    let fresh = Preference {
        id,
        bucket: wish.bucket.clone(),
        preferred: 0,
        granted: None,
        pending: false,
        justification: String::new(),
        contact: String::new(),
        annotations: BTreeMap::new(),
        trace_id: String::new(),
        detail: String::new(),
        requester: String::new(),
        created_at: now,
        updated_at: now,
    };
    let (preference, changes) = ask(platform, caller, fresh, wish, how.checks)?;
    if how.validate_only {
        return Ok(Versioned { version: 0, value: preference });
    }
    audit::creates(&preference.id);
    let put = platform.store.put_quota_preference(&preference, None, &changes);
    let version = put.map_err(|error| stored(error, KIND, &preference.id))?;
    in_force(platform, changing)?;
    Ok(Versioned { version, value: preference })
}

/// Asks for another limit than before.
///
/// # Errors
/// `NotFound`, `Conflict` if it was changed since it was read, or what is wrong.
pub fn update(
    platform: &Platform,
    caller: &Caller,
    id: &str,
    wish: Wish,
    how: &How,
) -> Result<Versioned<Preference>, ApiError> {
    let changing = platform.quotas.change();
    let found = platform.store.quota_preference(&wish.bucket.project, id).map_err(|error| stored(error, KIND, id))?;
    let Some(present) = found else {
        drop(changing);
        return match how.allow_missing {
            true => create(platform, caller, Some(id), wish, how),
            false => Err(ApiError::NotFound { kind: KIND, name: id.to_owned() }),
        };
    };
    if how.expected.is_some_and(|expected| expected != present.version) {
        return Err(stored(crate::store::StoreError::Conflict, KIND, id));
    }
    if present.value.bucket != wish.bucket {
        let message = format!("cannot be changed: it is for {}, and {} was given.", present.value.bucket, wish.bucket);
        return Err(ApiError::InvalidArgument(vec![Violation::new("quotaPreference.dimensions", message)]));
    }
    check_sizes(&wish)?;
    let before = present.value.clone();
    let asks = wish.preferred.is_some_and(|preferred| preferred != before.preferred || is_settled_otherwise(&before));
    let (preference, changes) = match asks {
        true => ask(platform, caller, present.value, wish, how.checks)?,
        // Nothing is decided anew for a note.
        false => (noted(present.value, wish), Vec::new()),
    };
    if how.validate_only || preference == before {
        return Ok(Versioned { version: present.version, value: preference });
    }
    let preference = Preference { updated_at: platform.clock.now(), ..preference };
    let put = platform.store.put_quota_preference(&preference, Some(present.version), &changes);
    let version = put.map_err(|error| stored(error, KIND, id))?;
    in_force(platform, changing)?;
    Ok(Versioned { version, value: preference })
}

/// Grants or denies what was asked for. That is the installation's owner's to do, not the project's:
/// else each project would grant itself what all of them share. `expected` is the version that the caller has read, if it
/// says.
///
/// # Errors
/// `PermissionDenied`, `NotFound`, `Conflict` if it was changed since it was read, or `FailedPrecondition` if nothing
/// waits.
pub fn decide(
    platform: &Platform,
    caller: &Caller,
    project: &ProjectId,
    (id, expected): (&str, Option<u64>),
    decision: Decision,
) -> Result<Versioned<Preference>, ApiError> {
    access::require(platform, caller, "homerun.quotas.decide", &Resource::Platform)?;
    if let Decision::Deny(reason) = &decision
        && reason.len() > 4096
    {
        let message = format!("must have at most 4096 bytes; it has {}.", reason.len());
        return Err(ApiError::InvalidArgument(vec![Violation::new("reason", message)]));
    }
    let changing = platform.quotas.change();
    let present = preference(platform, project, id)?;
    if expected.is_some_and(|expected| expected != present.version) {
        return Err(stored(crate::store::StoreError::Conflict, KIND, id));
    }
    let granted = standing(platform, &present.value.bucket).granted;
    let decided = quota::decide(present.value, decision, granted, caller.email(), platform.clock.now());
    let Decided { preference, change } =
        decided.map_err(|refused| ApiError::FailedPrecondition(format!("{KIND} '{id}': {refused}.")))?;
    let put = platform.store.put_quota_preference(&preference, Some(present.version), &[change]);
    let version = put.map_err(|error| stored(error, KIND, id))?;
    in_force(platform, changing)?;
    Ok(Versioned { version, value: preference })
}

/// The record of a project's newest changes, newest first.
///
/// # Errors
/// When the store fails.
pub fn changes(platform: &Platform, project: &ProjectId) -> Result<Vec<Change>, ApiError> {
    platform.store.quota_changes(project, CHANGES).map_err(|error| stored(error, KIND, project.as_str()))
}

/// The quotas of a project in the regions where there is a GPU, a limit, an override or a user.
pub fn worth_showing(platform: &Platform, project: &ProjectId, ledger: &Ledger) -> Vec<QuotaKey> {
    let quotas = platform.quotas.now();
    let regions = platform.config.all_regions();
    let keys = all(platform).into_iter().flat_map(|quota| {
        let key = |region: &Region| quota.key(project, region);
        regions.iter().map(key).collect::<Vec<_>>()
    });
    let shown = |key: &QuotaKey| {
        let here = !key.zonal_redundancy && platform.gpus.inventory.count(&key.region, &key.gpu) > 0;
        here || quotas.limit(key) > 0 || quotas.overriding(key).is_some() || ledger.used(key) > 0
    };
    keys.filter(shown).collect()
}

/// How a bucket stands now.
pub fn standing(platform: &Platform, bucket: &Bucket) -> Standing {
    platform.quotas.now().standing(bucket, &platform.config.all_regions(), &ledger(platform))
}

/// Whether something else was granted than was asked for.
fn is_settled_otherwise(preference: &Preference) -> bool {
    !preference.pending && preference.granted != Some(preference.preferred)
}

/// The preference with what a wish says besides the number.
fn noted(before: Preference, wish: Wish) -> Preference {
    Preference {
        justification: wish.justification.unwrap_or(before.justification),
        contact: wish.contact.unwrap_or(before.contact),
        annotations: wish.annotations.unwrap_or(before.annotations),
        ..before
    }
}

/// Bounds what is kept for ever.
fn check_sizes(wish: &Wish) -> Result<(), ApiError> {
    let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let notes = wish.annotations.iter().flatten().map(|(name, value)| name.len() + value.len()).sum::<usize>();
    let sizes = [
        ("justification", text(&wish.justification), 4096),
        ("contactEmail", text(&wish.contact), 320),
        ("quotaConfig.annotations", notes, 4096),
    ];
    let long = sizes.into_iter().filter(|(_, size, most)| size > most).map(|(field, size, most)| {
        Violation::new(format!("quotaPreference.{field}"), format!("must have at most {most} bytes; it has {size}."))
    });
    let long: Vec<Violation> = long.collect();
    if long.is_empty() { Ok(()) } else { Err(ApiError::InvalidArgument(long)) }
}

/// A preference as it is after a wish, with the record.
fn ask(
    platform: &Platform,
    caller: &Caller,
    before: Preference,
    wish: Wish,
    checks: SafetyChecks,
) -> Result<(Preference, Vec<Change>), ApiError> {
    let bucket = wish.bucket.clone();
    let standing = standing(platform, &bucket);
    let wanted = Preference {
        preferred: wish.preferred.unwrap_or(before.preferred),
        trace_id: ids::uuid().replace('-', ""),
        requester: caller.email().to_owned(),
        ..noted(before, wish)
    };
    let asked = quota::ask(wanted, standing, checks, platform.clock.now());
    asked.map_err(|refused| {
        let how = match refused {
            DecreaseRefused::BelowUsage { .. } => {
                "Ignore the check QUOTA_DECREASE_BELOW_USAGE if it is meant (gcloud: --allow-quota-decrease-below-usage, \
                 homerun: --force)"
            }
            DecreaseRefused::Percentage { .. } => {
                "Ignore the check QUOTA_DECREASE_PERCENTAGE_TOO_HIGH if it is meant (gcloud: \
                 --allow-high-percentage-quota-decrease, homerun: --force)"
            }
        };
        unsafe_decrease(&bucket, refused, how)
    })
}

pub(super) fn unsafe_decrease(bucket: &Bucket, refused: DecreaseRefused, how: &str) -> ApiError {
    ApiError::FailedPrecondition(format!("{bucket}: {refused}. {how}."))
}

/// Puts what was stored into force and wakes whoever waits for a GPU.
pub(super) fn in_force(platform: &Platform, changing: crate::limits::Changing<'_>) -> Result<(), ApiError> {
    changing.done(&platform.store).map_err(|error| stored(error, KIND, SERVICE))?;
    platform.live.reconcile.notify_one();
    Ok(())
}

/// Wider than resource ids are (AIP-122): gcloud's own example has underscores.
fn is_id(id: &str) -> bool {
    (1..=128).contains(&id.len())
        && id.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        && id.starts_with(|first: char| first.is_ascii_alphanumeric())
}
