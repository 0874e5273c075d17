//! Service accounts, and tokens of principals.

use homerun_api::error::ApiError;
use homerun_model::Timestamp;
use homerun_model::iam::{Principal, Resource};
use homerun_model::names::{Project, ProjectId};
use homerun_model::violation::Violation;

use super::{access, stored};
use crate::audit;
use crate::auth::{Auth, Caller, TOKEN_MAX_SECONDS};
use crate::ids;
use crate::platform::Platform;
use crate::store::{ServiceAccount, Store, StoreError};

const KIND: &str = "Service account";

/// What can be said about a service account.
#[derive(Debug, Default)]
pub struct Details {
    /// Its title for people, at most 100 bytes.
    pub display_name: Option<String>,
    /// What it is for, at most 256 bytes.
    pub description: Option<String>,
    /// Whether it may not be used.
    pub disabled: Option<bool>,
}

/// Email of the account that instances have where their service names none.
pub fn default_email(project: &Project) -> String {
    format!("{}-compute@developer.gserviceaccount.com", project.number)
}

/// Makes a project's default account if there is none.
///
/// # Errors
/// When the database fails.
pub fn ensure_default(store: &Store, project: &Project, now: Timestamp) -> Result<(), StoreError> {
    let email = default_email(project);
    if store.service_account(&email)?.is_some() {
        return Ok(());
    }
    store.put_service_account(&account(project, email, "Default compute service account", now), false)
}

fn account(project: &Project, email: String, display_name: &str, now: Timestamp) -> ServiceAccount {
    ServiceAccount {
        project: project.id.clone(),
        email,
        unique_id: ids::digits(21),
        display_name: display_name.to_owned(),
        description: String::new(),
        created_at: now,
        disabled: false,
    }
}

/// Creates `ID@PROJECT.iam.gserviceaccount.com`.
///
/// # Errors
/// `AlreadyExists`, or what is wrong with the id or the details.
pub fn create(
    platform: &Platform,
    caller: &Caller,
    project: &Project,
    id: &str,
    details: Details,
) -> Result<ServiceAccount, ApiError> {
    access::require(platform, caller, "iam.serviceAccounts.create", &Resource::Project(project.id.clone()))?;
    let mut violations = check(&details);
    if !is_account_id(id) {
        let message = "must have 6 to 30 characters: lower-case letters, digits and hyphens, beginning with a letter and not \
                       ending with a hyphen";
        violations.push(Violation::new("accountId", format!("'{id}' is not valid; it {message}.")));
    }
    if !violations.is_empty() {
        return Err(ApiError::InvalidArgument(violations));
    }
    let email = format!("{id}@{}.iam.gserviceaccount.com", project.id);
    let mut made = account(project, email, "", platform.clock.now());
    fill(&mut made, details);
    audit::creates(&made.email);
    platform.store.put_service_account(&made, false).map_err(|error| match error {
        StoreError::Exists => ApiError::ServiceAccountExists { project: project.id.to_string(), id: id.to_owned() },
        other => stored(other, KIND, &made.email),
    })?;
    Ok(made)
}

/// A service account by email or unique id.
///
/// # Errors
/// `PermissionDenied`, or `NotFound`.
pub fn get(
    platform: &Platform,
    caller: &Caller,
    permission: &str,
    project: Option<&ProjectId>,
    email: &str,
) -> Result<ServiceAccount, ApiError> {
    let found = platform.store.service_account(email).map_err(|error| stored(error, KIND, email))?;
    let found = found.filter(|account| project.is_none_or(|project| &account.project == project));
    let home = found.as_ref().map(|account| &account.project).or(project);
    let resource = home.map_or(Resource::Platform, |project| Resource::ServiceAccount {
        project: project.clone(),
        email: found.as_ref().map_or(email, |account| &account.email).to_owned(),
    });
    access::require(platform, caller, permission, &resource)?;
    found.ok_or_else(|| ApiError::NotFound { kind: KIND, name: email.to_owned() })
}

/// The service accounts of a project.
///
/// # Errors
/// `PermissionDenied`.
pub fn list(platform: &Platform, caller: &Caller, project: &ProjectId) -> Result<Vec<ServiceAccount>, ApiError> {
    access::require(platform, caller, "iam.serviceAccounts.list", &Resource::Project(project.clone()))?;
    platform.store.service_accounts(project).map_err(|error| stored(error, KIND, project.as_str()))
}

/// Changes what is said about a service account.
///
/// # Errors
/// See [`get`], and what is wrong with the details.
pub fn update(
    platform: &Platform,
    caller: &Caller,
    project: Option<&ProjectId>,
    email: &str,
    details: Details,
) -> Result<ServiceAccount, ApiError> {
    let mut account = get(platform, caller, "iam.serviceAccounts.update", project, email)?;
    let violations = check(&details);
    if !violations.is_empty() {
        return Err(ApiError::InvalidArgument(violations));
    }
    fill(&mut account, details);
    platform.store.put_service_account(&account, true).map_err(|error| stored(error, KIND, email))?;
    Ok(account)
}

/// Deletes a service account and its policy.
///
/// # Errors
/// See [`get`].
pub fn delete(platform: &Platform, caller: &Caller, project: Option<&ProjectId>, email: &str) -> Result<(), ApiError> {
    let account = get(platform, caller, "iam.serviceAccounts.delete", project, email)?;
    let resource = Resource::ServiceAccount { project: account.project.clone(), email: account.email.clone() };
    let deleted = platform.store.delete_service_account(&account, &resource.policy_name());
    deleted.map_err(|error| stored(error, KIND, email))
}

/// Makes a token of a principal: for the API, or an identity token for `audience`. Everybody may make
/// identity tokens of themselves; those of a service account need its permission, and those of other
/// people are the owner's to make.
///
/// # Errors
/// `PermissionDenied`, `NotFound`, or a wrong lifetime.
pub fn token(
    platform: &Platform,
    caller: &Caller,
    auth: &Auth,
    (email, audience, lifetime_seconds): (&str, Option<&str>, i64),
) -> Result<(String, Timestamp), ApiError> {
    if !(1..=TOKEN_MAX_SECONDS).contains(&lifetime_seconds) {
        let message = format!("{lifetime_seconds} s is not valid; it must be 1 s to {TOKEN_MAX_SECONDS} s.");
        return Err(ApiError::InvalidArgument(vec![Violation::new("lifetime", message)]));
    }
    if audience.is_some_and(str::is_empty) {
        let message = "must not be empty; it is the URL that the token is for, such as a service's.";
        return Err(ApiError::InvalidArgument(vec![Violation::new("audience", message)]));
    }
    let principal = Principal::of_email(email);
    match &principal {
        own if own == &caller.principal && audience.is_some() => {
            return sign(auth, &principal, audience, lifetime_seconds);
        }
        Principal::ServiceAccount(email) => {
            let verb = if audience.is_some() { "getOpenIdToken" } else { "getAccessToken" };
            get(platform, caller, &format!("iam.serviceAccounts.{verb}"), None, email)?;
        }
        Principal::User(email) => {
            access::require(platform, caller, "homerun.tokens.create", &Resource::Platform)?;
            if !email.split_once('@').is_some_and(|(name, domain)| !name.is_empty() && !domain.is_empty()) {
                let message = format!("'{email}' is no email; it must be like ann@example.com.");
                return Err(ApiError::InvalidArgument(vec![Violation::new("account", message)]));
            }
        }
    }
    audit::creates(email);
    platform.store.record_call().map_err(|error| stored(error, "Token", email))?;
    sign(auth, &principal, audience, lifetime_seconds)
}

fn sign(
    auth: &Auth,
    principal: &Principal,
    audience: Option<&str>,
    lifetime_seconds: i64,
) -> Result<(String, Timestamp), ApiError> {
    let made = auth.mint(principal, audience, lifetime_seconds);
    made.map_err(|error| ApiError::Internal(format!("the token could not be signed: {error}")))
}

fn fill(account: &mut ServiceAccount, details: Details) {
    account.display_name = details.display_name.unwrap_or(std::mem::take(&mut account.display_name));
    account.description = details.description.unwrap_or(std::mem::take(&mut account.description));
    account.disabled = details.disabled.unwrap_or(account.disabled);
}

/// The lengths that the IAM API states.
fn check(details: &Details) -> Vec<Violation> {
    let long = |field: &str, text: &Option<String>, most: usize| {
        let length = text.as_ref().map_or(0, String::len);
        (length > most).then(|| Violation::new(field, format!("must have at most {most} bytes; it has {length}.")))
    };
    let fields = [
        long("serviceAccount.displayName", &details.display_name, 100),
        long("serviceAccount.description", &details.description, 256),
    ];
    fields.into_iter().flatten().collect()
}

/// As the IAM API states it: `[a-z]([-a-z0-9]*[a-z0-9])`, 6 to 30 characters.
fn is_account_id(id: &str) -> bool {
    (6..=30).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && id.starts_with(|first: char| first.is_ascii_lowercase())
        && !id.ends_with('-')
}
