//! Identity tokens: `docker login` against some registries (Azure's, for one) leaves a refresh
//! token instead of a password. It is exchanged for an access token as the distribution project's
//! OAuth2 token specification says.

use http_auth::parser::ChallengeParser;
use reqwest::header::{CONTENT_TYPE, WWW_AUTHENTICATE};
use serde::Deserialize;

use super::Settings;
use super::credentials::CredentialsError;
use super::reference::ImageName;

/// Returns an access token to pull from the name's repository.
pub(super) async fn exchange_identity_token(
    name: &ImageName,
    identity_token: &str,
    settings: &Settings,
) -> Result<String, CredentialsError> {
    #[derive(Deserialize)]
    struct Answer {
        access_token: String,
    }
    let mut builder =
        reqwest::Client::builder().connect_timeout(settings.connect_timeout).read_timeout(settings.stall_timeout);
    if name.is_loopback() {
        builder = builder.no_proxy();
    }
    let client = builder.build().map_err(CredentialsError::TokenExchange)?;
    let scheme = if name.is_loopback() { "http" } else { "https" };
    let ping = client
        .get(format!("{scheme}://{}/v2/", name.address()))
        .send()
        .await
        .map_err(CredentialsError::TokenExchange)?;
    let challenge = ping
        .headers()
        .get_all(WWW_AUTHENTICATE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .find_map(bearer_challenge)
        .ok_or(CredentialsError::NoTokenServer)?;
    let scope = format!("repository:{}:pull", name.path());
    let form = [
        ("grant_type", "refresh_token"),
        ("service", &challenge.service),
        ("client_id", "homerun"),
        ("scope", &scope),
        ("refresh_token", identity_token),
    ];
    // A form body is written like a URL's query.
    let form = reqwest::Url::parse_with_params("http://form/", form).map_err(|_| CredentialsError::NoTokenServer)?;
    let answer: Answer = client
        .post(&challenge.realm)
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(form.query().unwrap_or_default().to_owned())
        .send()
        .await
        .and_then(reqwest::Response::error_for_status)
        .map_err(CredentialsError::TokenExchange)?
        .json()
        .await
        .map_err(CredentialsError::TokenExchange)?;
    Ok(answer.access_token)
}

struct Challenge {
    realm: String,
    service: String,
}

fn bearer_challenge(header: &str) -> Option<Challenge> {
    let bearer = ChallengeParser::new(header)
        .filter_map(Result::ok)
        .find(|challenge| challenge.scheme.eq_ignore_ascii_case("bearer"))?;
    let parameter = |wanted: &str| {
        let found = bearer.params.iter().find(|(key, _)| key.eq_ignore_ascii_case(wanted));
        found.map(|(_, value)| value.to_unescaped())
    };
    Some(Challenge { realm: parameter("realm")?, service: parameter("service").unwrap_or_default() })
}
