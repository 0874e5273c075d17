//! Overrides of GPU quotas, which only lower a limit.

use homerun_api::error::ApiError;
use homerun_model::names::ProjectId;
use homerun_model::quota::{self, Bucket, Change, SafetyChecks};

use super::quotas::{SERVICE, in_force, standing, unsafe_decrease};
use super::stored;
use crate::auth::Caller;
use crate::platform::Platform;
use crate::store::Override;

/// Lowers limits, whatever is granted; all of them or none.
///
/// # Errors
/// What is wrong with one of them.
pub fn lower(
    platform: &Platform,
    caller: &Caller,
    overrides: Vec<Override>,
    checks: SafetyChecks,
) -> Result<(), ApiError> {
    let changing = platform.quotas.change();
    let mut changes = Vec::new();
    for each in &overrides {
        let standing = standing(platform, &each.bucket);
        if each.limit > standing.granted {
            let (bucket, granted) = (&each.bucket, standing.granted);
            return Err(ApiError::FailedPrecondition(format!(
                "COMMON_QUOTA_CONSUMER_OVERRIDE_TOO_HIGH: the override of {} is above what is granted for {bucket}, {granted}. \
                 An override can only lower a limit; ask for more with `gcloud beta quotas preferences create` or \
                 `homerun quota request`.",
                each.limit
            )));
        }
        let from = effective(platform, &each.bucket);
        quota::check_decrease(from, each.limit, standing.used, checks)
            .map_err(|refused| unsafe_decrease(&each.bucket, refused, "Force it if it is meant (gcloud: --force)"))?;
        changes.push(change(platform, caller, each, ("overridden", from, each.limit)));
    }
    let put = platform.store.put_quota_overrides(&overrides, &changes);
    put.map_err(|error| stored(error, "Quota override", SERVICE))?;
    in_force(platform, changing)
}

/// Removes an override.
///
/// # Errors
/// `NotFound`.
pub fn unlower(platform: &Platform, caller: &Caller, bucket: &Bucket) -> Result<(), ApiError> {
    let failed = |error| stored(error, "Quota override", SERVICE);
    let changing = platform.quotas.change();
    let found = platform.store.quota_overrides().map_err(failed)?.into_iter().find(|each| &each.bucket == bucket);
    let found = found.ok_or_else(|| ApiError::NotFound { kind: "Quota override", name: bucket.to_string() })?;
    let granted = standing(platform, bucket).granted;
    let change = change(platform, caller, &found, ("override removed", found.limit, granted));
    platform.store.delete_quota_override(bucket, &change).map_err(failed)?;
    in_force(platform, changing)
}

/// The overrides of a project.
///
/// # Errors
/// When the store fails.
pub fn overrides(platform: &Platform, project: &ProjectId) -> Result<Vec<Override>, ApiError> {
    let all = platform.store.quota_overrides().map_err(|error| stored(error, "Quota override", project.as_str()))?;
    Ok(all.into_iter().filter(|each| &each.bucket.project == project).collect())
}

/// The limit in force, the most of the bucket's regions.
fn effective(platform: &Platform, bucket: &Bucket) -> u32 {
    let quotas = platform.quotas.now();
    bucket.keys(&platform.config.all_regions()).iter().map(|key| quotas.limit(key)).max().unwrap_or(0)
}

fn change(platform: &Platform, caller: &Caller, each: &Override, (action, from, to): (&str, u32, u32)) -> Change {
    Change {
        at: platform.clock.now(),
        by: caller.email().to_owned(),
        bucket: each.bucket.clone(),
        action: action.to_owned(),
        from,
        to,
        preference: None,
        note: String::new(),
    }
}
