//! Issuers of other houses (OpenID Connect), trusted by configuration.

use std::path::PathBuf;
use std::sync::{self, PoisonError};
use std::time::{Duration, Instant};

use homerun_model::Timestamp;
use homerun_model::iam::Principal;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use tokio::sync::Mutex;

use super::oidc::Endpoints;
use super::tokens::{self, Claims};

/// Signatures that are accepted: no shared secrets, no `none`.
const ALGORITHMS: [Algorithm; 6] =
    [Algorithm::RS256, Algorithm::RS384, Algorithm::RS512, Algorithm::ES256, Algorithm::ES384, Algorithm::EdDSA];
/// How long the keys of an issuer are used before they are read again.
const KEYS_FRESH: Duration = Duration::from_secs(3600);
/// Least time between two tries to read them.
const KEYS_RETRY: Duration = Duration::from_secs(30);
/// Longest answer that is read, in bytes.
const ANSWER_MAX: usize = 1 << 20;
/// Longest that reading them may take.
const KEYS_TIMEOUT: Duration = Duration::from_secs(5);
/// Domains of principals that only the local issuer speaks for.
const OWN_DOMAINS: [&str; 2] = ["@homerun.local", ".gserviceaccount.com"];

/// An issuer that is trusted, as the configuration has it (`[[auth.issuers]]`).
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IssuerConfig {
    /// The `iss` claim, for instance `https://accounts.example.com`.
    pub issuer: String,
    /// Values of the `aud` claim that access tokens may have.
    pub audiences: Vec<String>,
    /// A file with the issuer's JSON Web Key Set; without it the keys are found by the issuer's
    /// `/.well-known/openid-configuration`.
    #[serde(default)]
    pub jwks_file: Option<PathBuf>,
    /// The client that the console is registered as; with it, people sign in to the console by this issuer.
    #[serde(default)]
    pub client_id: Option<String>,
    /// A file with the client's secret; without it the client is a public one.
    #[serde(default)]
    pub client_secret_file: Option<PathBuf>,
    /// What the console calls the issuer; its address where absent.
    #[serde(default)]
    pub name: Option<String>,
}

/// Reads the issuers of the settings.
pub(super) fn issuers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IssuerConfig>, D::Error> {
    let issuers = Vec::<IssuerConfig>::deserialize(deserializer)?;
    for config in &issuers {
        let issuer = &config.issuer;
        if config.client_id.is_none() && (config.client_secret_file.is_some() || config.name.is_some()) {
            let message =
                format!("issuer '{issuer}': client_secret_file and name need client_id, the console's client");
            return Err(D::Error::custom(message));
        }
        if config.client_id.as_deref().is_some_and(|id| id.trim().is_empty()) {
            return Err(D::Error::custom(format!(
                "issuer '{issuer}': client_id is empty; leave it out for no sign-in"
            )));
        }
    }
    Ok(issuers)
}

/// The console as a client of an issuer.
pub(super) struct Client<'a>(&'a IssuerConfig, &'a str);

impl<'a> Client<'a> {
    /// What the issuer is called.
    pub(super) fn name(&self) -> &'a str {
        self.0.name.as_deref().unwrap_or(&self.0.issuer)
    }

    /// The client's id.
    pub(super) fn id(&self) -> &'a str {
        self.1
    }

    async fn secret(&self) -> Result<Option<String>, ProviderError> {
        let Some(path) = &self.0.client_secret_file else { return Ok(None) };
        let secret = tokio::fs::read_to_string(path).await.map_err(ProviderError::Secret)?;
        Ok(Some(secret.trim().to_owned()))
    }
}

/// Why an issuer does not do its part in signing somebody in.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// The client's secret cannot be read.
    #[error("the file with the client's secret cannot be read")]
    Secret(#[source] std::io::Error),
    /// It cannot be asked.
    #[error("it cannot be asked")]
    Http(#[source] reqwest::Error),
    /// It refuses.
    #[error("it answers {status} where {what} was expected: {body}")]
    Refused {
        /// The status.
        status: u16,
        /// What was asked for.
        what: &'static str,
        /// The beginning of what it says.
        body: String,
    },
    /// It answers what it must not. What that was may hold a token, and so is not told.
    #[error("its answer, of {bytes} bytes, is not {what}")]
    Garbage {
        /// What was asked for.
        what: &'static str,
        /// How long the answer was; it is read up to 1 MiB.
        bytes: usize,
    },
    /// Its configuration is another issuer's (OpenID Connect Discovery, 4.3).
    #[error("its OpenID configuration is of '{0}': write the setting 'issuer' exactly so, if that is who is meant")]
    OtherIssuer(String),
}

/// A trusted issuer and its keys.
pub(super) struct External {
    config: IssuerConfig,
    http: reqwest::Client,
    keys: Mutex<Fetched>,
    /// And when they were read. Who has not signed in yet must not make homerun ask each time.
    endpoints: sync::Mutex<Option<(Endpoints, Instant)>>,
}

#[derive(Default)]
struct Fetched {
    keys: Option<JwkSet>,
    fetched: Option<Instant>,
    tried: Option<Instant>,
}

/// Why an issuer's keys could not be read.
#[derive(Debug, thiserror::Error)]
enum KeysError {
    #[error("the key file cannot be read")]
    File(#[source] std::io::Error),
    #[error("the keys are no JSON Web Key Set")]
    Parse(#[source] serde_json::Error),
    #[error("the issuer cannot be asked")]
    Http(#[source] reqwest::Error),
    #[error("the issuer's configuration names no jwks_uri")]
    NoUri,
}

impl External {
    pub(super) fn new(config: IssuerConfig) -> Self {
        let http =
            crate::outgoing::client().build().inspect_err(|error| tracing::error!(%error, "no issuer can be asked"));
        Self { config, http: http.unwrap_or_default(), keys: Mutex::default(), endpoints: sync::Mutex::default() }
    }

    pub(super) fn issuer(&self) -> &str {
        &self.config.issuer
    }

    /// The claims of a token of this issuer, if its signature and time are right.
    pub(super) async fn claims(&self, token: &str, now: Timestamp) -> Option<Claims> {
        let header = jsonwebtoken::decode_header(token).ok()?;
        if !ALGORITHMS.contains(&header.alg) {
            return None;
        }
        let key = self.key(header.kid.as_deref()).await?;
        if key.family() != header.alg.family() {
            return None;
        }
        let validation = tokens::signature_only(vec![header.alg]);
        let claims = jsonwebtoken::decode::<Claims>(token, &key, &validation).ok()?.claims;
        (claims.iss == self.config.issuer && claims.valid_at(now)).then_some(claims)
    }

    /// Whether access tokens may have this audience.
    pub(super) fn is_audience(&self, audience: &str) -> bool {
        self.config.audiences.iter().any(|own| own == audience)
    }

    /// The console as its client, if it is one.
    pub(super) fn client(&self) -> Option<Client<'_>> {
        self.config.client_id.as_deref().map(|id| Client(&self.config, id))
    }

    /// Where people sign in, and where codes are changed for tokens.
    pub(super) async fn endpoints(&self) -> Result<Endpoints, ProviderError> {
        let base = self.config.issuer.trim_end_matches('/');
        let known = self.endpoints.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((endpoints, _)) = known.filter(|(_, read)| read.elapsed() < KEYS_FRESH) {
            return Ok(endpoints);
        }
        let request = self.http.get(format!("{base}/.well-known/openid-configuration"));
        let endpoints: Endpoints = ask(request, "its OpenID configuration").await?;
        if endpoints.issuer != self.config.issuer {
            return Err(ProviderError::OtherIssuer(endpoints.issuer));
        }
        let kept = Some((endpoints.clone(), Instant::now()));
        *self.endpoints.lock().unwrap_or_else(PoisonError::into_inner) = kept;
        Ok(endpoints)
    }

    /// Changes a code for the identity token that it stands for.
    pub(super) async fn exchange(
        &self,
        client: &Client<'_>,
        code: &str,
        verifier: &str,
        redirect_uri: &str,
    ) -> Result<String, ProviderError> {
        #[derive(Deserialize)]
        struct Tokens {
            id_token: String,
        }
        let endpoints = self.endpoints().await?;
        let body = form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", "authorization_code")
            .append_pair("code", code)
            .append_pair("redirect_uri", redirect_uri)
            .append_pair("code_verifier", verifier)
            .append_pair("client_id", client.id())
            .finish();
        let mut request = self.http.post(endpoints.token_endpoint).body(body);
        request =
            request.header("content-type", "application/x-www-form-urlencoded").header("accept", "application/json");
        if let Some(secret) = client.secret().await? {
            // Each is encoded as in a form, before both are as in HTTP's basic authentication (RFC 6749, 2.3.1).
            let encode = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
            request = request.basic_auth(encode(client.id()), Some(encode(&secret)));
        }
        Ok(ask::<Tokens>(request, "an identity token").await?.id_token)
    }

    async fn key(&self, kid: Option<&str>) -> Option<DecodingKey> {
        let mut state = self.keys.lock().await;
        let fresh = state.fetched.is_some_and(|at| at.elapsed() < KEYS_FRESH);
        let known = state.keys.as_ref().is_some_and(|keys| find(keys, kid).is_some());
        let may_try = state.tried.is_none_or(|at| at.elapsed() >= KEYS_RETRY);
        if (!fresh || !known) && may_try {
            state.tried = Some(Instant::now());
            match self.fetch().await {
                Ok(keys) => (state.keys, state.fetched) = (Some(keys), Some(Instant::now())),
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(issuer = self.config.issuer, error, "the issuer's keys could not be read");
                }
            }
        }
        find(state.keys.as_ref()?, kid)
    }

    async fn fetch(&self) -> Result<JwkSet, KeysError> {
        if let Some(path) = &self.config.jwks_file {
            let bytes = tokio::fs::read(path).await.map_err(KeysError::File)?;
            return serde_json::from_slice(&bytes).map_err(KeysError::Parse);
        }
        let base = self.config.issuer.trim_end_matches('/');
        let found = self.json(&format!("{base}/.well-known/openid-configuration")).await?;
        let uri = found["jwks_uri"].as_str().ok_or(KeysError::NoUri)?;
        serde_json::from_value(self.json(uri).await?).map_err(KeysError::Parse)
    }

    async fn json(&self, url: &str) -> Result<serde_json::Value, KeysError> {
        let request = self.http.get(url).timeout(KEYS_TIMEOUT);
        let response = request.send().await.and_then(reqwest::Response::error_for_status).map_err(KeysError::Http)?;
        response.json().await.map_err(KeysError::Http)
    }
}

/// Sends a request whose answer is JSON.
async fn ask<T: DeserializeOwned>(request: reqwest::RequestBuilder, what: &'static str) -> Result<T, ProviderError> {
    let mut response = request.timeout(KEYS_TIMEOUT).send().await.map_err(ProviderError::Http)?;
    let (status, mut body) = (response.status(), Vec::new());
    while let Some(chunk) = response.chunk().await.map_err(ProviderError::Http)?
        && body.len() < ANSWER_MAX
    {
        body.extend_from_slice(&chunk);
    }
    if !status.is_success() {
        let body = String::from_utf8_lossy(&body).chars().take(200).collect();
        return Err(ProviderError::Refused { status: status.as_u16(), what, body });
    }
    serde_json::from_slice(&body).map_err(|_| ProviderError::Garbage { what, bytes: body.len() })
}

/// The principal that claims speak of: whoever has the email. Names that are the local issuer's to
/// give are nobody.
pub(super) fn principal(claims: &Claims) -> Option<Principal> {
    let email = claims.email.as_deref().filter(|_| claims.email_verified != Some(false))?.to_ascii_lowercase();
    let own = OWN_DOMAINS.iter().any(|domain| email.ends_with(domain));
    (email.contains('@') && !own).then_some(Principal::User(email))
}

fn find(keys: &JwkSet, kid: Option<&str>) -> Option<DecodingKey> {
    let key = match kid {
        Some(kid) => keys.find(kid),
        None => keys.keys.first().filter(|_| keys.keys.len() == 1),
    };
    DecodingKey::from_jwk(key?).ok()
}
