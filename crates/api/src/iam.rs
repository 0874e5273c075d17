//! IAM v1 (service accounts and roles) and IAM Credentials v1 (their tokens), as far as homerun has them.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::run_v1::ParseError;

/// Reads a body; an unknown field is an error that names it.
///
/// # Errors
/// See [`ParseError`].
pub fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ParseError> {
    crate::run_v1::parse_strict(if body.is_empty() { b"{}" } else { body })
}

/// An identity for programs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ServiceAccount {
    /// `projects/P/serviceAccounts/EMAIL`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The project's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project_id: Option<String>,
    /// Digits that no other account ever has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unique_id: Option<String>,
    /// `ID@PROJECT.iam.gserviceaccount.com`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// Its title for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// What it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Whether it may not be used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disabled: Option<bool>,
    /// The unique id again.
    #[serde(rename = "oauth2ClientId", skip_serializing_if = "Option::is_none")]
    pub oauth2_client_id: Option<String>,
    /// Sent by clients, not used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
}

/// `POST /v1/projects/P/serviceAccounts`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct CreateServiceAccount {
    /// What stands before the `@`.
    pub account_id: String,
    /// Title and description.
    pub service_account: ServiceAccount,
}

/// `PATCH /v1/projects/P/serviceAccounts/EMAIL`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PatchServiceAccount {
    /// Title and description.
    pub service_account: ServiceAccount,
    /// Which of them are meant; what is absent stays anyway.
    pub update_mask: String,
}

/// `GET /v1/projects/P/serviceAccounts`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListServiceAccounts {
    /// All of them.
    pub accounts: Vec<ServiceAccount>,
}

/// `POST .../serviceAccounts/EMAIL:generateAccessToken`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct GenerateAccessToken {
    /// Accounts in between; none are needed here.
    pub delegates: Vec<String>,
    /// What the token is for; all of the account's permissions whatever is asked.
    pub scope: Vec<String>,
    /// `3600s`.
    pub lifetime: Option<String>,
}

/// The answer to [`GenerateAccessToken`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AccessToken {
    /// The token.
    pub access_token: String,
    /// When it expires, RFC 3339.
    pub expire_time: String,
}

/// `POST .../serviceAccounts/EMAIL:generateIdToken`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct GenerateIdToken {
    /// The URL that the token is for.
    pub audience: String,
    /// Accounts in between; none are needed here.
    pub delegates: Vec<String>,
    /// Whether the email is in the token; it always is.
    pub include_email: bool,
}

/// The answer to [`GenerateIdToken`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdToken {
    /// The token.
    pub token: String,
}

/// A predefined role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Role {
    /// For instance `roles/run.developer`.
    pub name: String,
    /// Its title for people.
    pub title: String,
    /// What it is for.
    pub description: String,
    /// `GA`.
    pub stage: String,
    /// Its permissions; empty in lists.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub included_permissions: Vec<String>,
}

/// `GET /v1/roles`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListRoles {
    /// All of them.
    pub roles: Vec<Role>,
}
