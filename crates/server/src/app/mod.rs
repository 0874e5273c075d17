//! What the API, the console and the command line do, whatever way they are called: authorise, apply
//! the model's rules, store, wake the loops.

pub mod access;
pub mod accounts;
pub mod audit;
pub mod budgets;
pub mod domains;
pub mod gpus;
pub mod images;
pub mod logs;
pub mod metrics;
pub mod operations;
pub mod policies;
pub mod projects;
pub mod quota_overrides;
pub mod quotas;
pub mod revisions;
pub mod selector;
pub mod services;
pub mod status;
pub mod usage;
pub mod usage_wire;
pub mod wire;

use homerun_api::error::ApiError;

use crate::store::StoreError;

/// A store's failure as the caller is told it.
fn stored(error: StoreError, kind: &'static str, name: &str) -> ApiError {
    match error {
        StoreError::Conflict => ApiError::Conflict(format!(
            "Conflict for resource '{name}': it was changed by somebody else since it was read. Read it again and repeat the change."
        )),
        StoreError::Exists => ApiError::AlreadyExists { kind, name: name.to_owned() },
        other => {
            let mut message = format!("{kind} {name}: {other}");
            let mut source = std::error::Error::source(&other);
            while let Some(cause) = source {
                message.push_str(&format!(": {cause}"));
                source = cause.source();
            }
            ApiError::Internal(message)
        }
    }
}
