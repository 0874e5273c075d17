//! IAM v1 on service accounts and roles, and IAM Credentials v1: tokens of service accounts.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Extension, Path, State};
use axum::response::{IntoResponse, Response};
use homerun_api::error::ApiError;
use homerun_api::iam::{self as wire, parse};
use homerun_model::iam::{Resource, Role, role, roles};
use homerun_model::names::Project;
use homerun_model::violation::Violation;
use http::Method;
use serde::de::DeserializeOwned;

use super::error::{Failure, not_served};
use super::path::Place;
use super::{Api, iam};
use crate::app::accounts::{self, Details};
use crate::auth::{Caller, TOKEN_SECONDS};
use crate::store::ServiceAccount;

pub(super) async fn list(State(api): State<Api>, place: Place) -> Result<Json<wire::ListServiceAccounts>, Failure> {
    let found = accounts::list(&api.platform, &place.caller, &place.project.id)?;
    Ok(Json(wire::ListServiceAccounts { accounts: found.iter().map(render).collect() }))
}

pub(super) async fn create(
    State(api): State<Api>,
    place: Place,
    body: Bytes,
) -> Result<Json<wire::ServiceAccount>, Failure> {
    let request: wire::CreateServiceAccount = read(&body)?;
    let details = details(request.service_account);
    let made = accounts::create(&api.platform, &place.caller, &place.project, &request.account_id, details)?;
    Ok(Json(render(&made)))
}

pub(super) async fn get(State(api): State<Api>, named: Named) -> Result<Json<wire::ServiceAccount>, Failure> {
    let Named { caller, project, email, .. } = named;
    let project = project.as_ref().map(|project| &project.id);
    Ok(Json(render(&accounts::get(&api.platform, &caller, "iam.serviceAccounts.get", project, &email)?)))
}

pub(super) async fn update(
    State(api): State<Api>,
    named: Named,
    body: Bytes,
) -> Result<Json<wire::ServiceAccount>, Failure> {
    let request: wire::PatchServiceAccount = read(&body)?;
    let details = details(request.service_account);
    let project = named.project.as_ref().map(|project| &project.id);
    Ok(Json(render(&accounts::update(&api.platform, &named.caller, project, &named.email, details)?)))
}

pub(super) async fn delete(State(api): State<Api>, named: Named) -> Result<Json<serde_json::Value>, Failure> {
    let project = named.project.as_ref().map(|project| &project.id);
    accounts::delete(&api.platform, &named.caller, project, &named.email)?;
    Ok(Json(serde_json::json!({})))
}

/// Verbs on a service account: its policy, its state, its tokens.
pub(super) async fn post(State(api): State<Api>, named: Named, body: Bytes) -> Result<Response, Failure> {
    let Named { caller, project, email, verb } = named;
    let at = project.as_ref().map(|project| &project.id);
    match verb.as_str() {
        "enable" | "disable" => {
            let details = Details { disabled: Some(verb == "disable"), ..Details::default() };
            accounts::update(&api.platform, &caller, at, &email, details)?;
            Ok(Json(serde_json::json!({})).into_response())
        }
        "generateAccessToken" => {
            let request: wire::GenerateAccessToken = read(&body)?;
            let lifetime = lifetime(request.lifetime.as_deref())?;
            let (access_token, expires) = accounts::token(&api.platform, &caller, &api.auth, (&email, None, lifetime))?;
            let expire_time = expires.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
            Ok(Json(wire::AccessToken { access_token, expire_time }).into_response())
        }
        "generateIdToken" => {
            let request: wire::GenerateIdToken = read(&body)?;
            let audience = Some(request.audience.as_str());
            let (token, _) = accounts::token(&api.platform, &caller, &api.auth, (&email, audience, TOKEN_SECONDS))?;
            Ok(Json(wire::IdToken { token }).into_response())
        }
        _ => {
            let found = api.platform.store.service_account(&email).ok().flatten();
            let home = found.as_ref().map(|account| account.project.clone()).or(at.cloned());
            let email = found.map_or(email, |account| account.email);
            let resource = home.map_or(Resource::Platform, |project| Resource::ServiceAccount { project, email });
            let answer = iam::answer(&api, &caller, &resource, &verb, &body);
            answer.unwrap_or_else(|| Ok(not_served(&Method::POST, &verb)))
        }
    }
}

pub(super) async fn list_roles() -> Json<wire::ListRoles> {
    Json(wire::ListRoles { roles: roles().iter().map(|each| render_role(each, false)).collect() })
}

pub(super) async fn get_role(Path(name): Path<String>) -> Result<Json<wire::Role>, Failure> {
    let name = format!("roles/{name}");
    let found = role(&name).ok_or(ApiError::NotFound { kind: "Role", name })?;
    Ok(Json(render_role(found, true)))
}

/// A service account as a path names it. Its project may be `-`, since emails are unique.
pub(super) struct Named {
    caller: Caller,
    project: Option<Project>,
    email: String,
    verb: String,
}

impl axum::extract::FromRequestParts<Api> for Named {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut http::request::Parts, api: &Api) -> Result<Self, Failure> {
        let Extension(caller) = Extension::<Caller>::from_request_parts(parts, api)
            .await
            .map_err(|_| Failure(ApiError::Unauthenticated))?;
        let Path((project, account)) = Path::<(String, String)>::from_request_parts(parts, api)
            .await
            .map_err(|error| Failure(ApiError::FailedPrecondition(error.body_text())))?;
        let project = match project.as_str() {
            "-" => None,
            named => Some(crate::app::projects::find(&api.platform, named)?.project),
        };
        let (email, verb) = account.split_once(':').unwrap_or((&account, ""));
        Ok(Self { caller, project, email: email.to_owned(), verb: verb.to_owned() })
    }
}

fn read<T: DeserializeOwned>(body: &Bytes) -> Result<T, Failure> {
    Ok(parse(body).map_err(ApiError::from)?)
}

fn details(wire: wire::ServiceAccount) -> Details {
    Details { display_name: wire.display_name, description: wire.description, disabled: None }
}

/// Seconds of `3600s`.
fn lifetime(text: Option<&str>) -> Result<i64, Failure> {
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Ok(TOKEN_SECONDS);
    };
    text.strip_suffix('s').and_then(|number| number.parse().ok()).ok_or_else(|| {
        let message = format!("'{text}' is not valid; it must be seconds such as '3600s'.");
        Failure(ApiError::InvalidArgument(vec![Violation::new("lifetime", message)]))
    })
}

fn render(account: &ServiceAccount) -> wire::ServiceAccount {
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    wire::ServiceAccount {
        name: Some(format!("projects/{}/serviceAccounts/{}", account.project, account.email)),
        project_id: Some(account.project.to_string()),
        unique_id: Some(account.unique_id.clone()),
        email: Some(account.email.clone()),
        display_name: text(&account.display_name),
        description: text(&account.description),
        disabled: account.disabled.then_some(true),
        oauth2_client_id: Some(account.unique_id.clone()),
        etag: None,
    }
}

fn render_role(role: &Role, full: bool) -> wire::Role {
    wire::Role {
        name: role.name.to_owned(),
        title: role.title.to_owned(),
        description: role.description.to_owned(),
        stage: "GA".to_owned(),
        included_permissions: if full { role.permissions().map(str::to_owned).collect() } else { Vec::new() },
    }
}
