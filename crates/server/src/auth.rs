//! Who calls: the API, and services that are not public.
//!
//! Three kinds of bearer token are known: the owner's, a secret in the data directory; tokens of the
//! local issuer, signed with keys in the data directory; and tokens of external OpenID Connect issuers
//! that the configuration trusts. An *access token* is for the API, an *identity token* for one
//! audience, the URL of a service.

mod external;
mod keys;
mod oidc;
mod sessions;
mod tokens;

use std::collections::HashMap;
use std::fs::{OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use homerun_model::iam::Principal;
use serde::Deserialize;
use serde_json::Value;

use crate::clock::Clock;
use crate::ids;
use crate::store::Store;

use external::External;
pub use external::IssuerConfig;
use keys::Keys;
pub use keys::{KEYS_FILE, TOKEN_MAX_SECONDS};
pub use oidc::{OidcError, Return, TokenError};
pub use sessions::SignedIn;
use tokens::Claims;

/// The token's file in the data directory.
pub const TOKEN_FILE: &str = "token";
/// Who reads the data directory owns the installation.
pub const OWNER: &str = "owner@homerun.local";
/// How long a token lives unless asked otherwise, in seconds.
pub const TOKEN_SECONDS: i64 = 3600;
/// Tokens whose claims are remembered, so that a busy caller's is verified once.
const REMEMBERED: usize = 4096;

/// How callers are known (`[auth]`).
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuthConfig {
    /// The `iss` claim of the local issuer's tokens.
    pub issuer: String,
    /// For how many days a key signs before a new one is made.
    pub key_rotation_days: u32,
    /// External issuers that are trusted.
    #[serde(deserialize_with = "external::issuers")]
    pub issuers: Vec<IssuerConfig>,
    /// Where browsers reach the console, without a path, for instance `https://homerun.example.com`: issuers send
    /// people back there. Where absent, the address of this machine that the browser uses.
    #[serde(deserialize_with = "oidc::console_url")]
    pub console_url: Option<String>,
}

impl Default for AuthConfig {
    fn default() -> Self {
        Self {
            issuer: "http://homerun.localhost".to_owned(),
            key_rotation_days: 30,
            issuers: Vec::new(),
            console_url: None,
        }
    }
}

/// Someone who was authenticated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Who it is.
    pub principal: Principal,
    /// Whether it is the owner of the installation, who may do everything.
    pub owner: bool,
}

impl Caller {
    /// The principal's email, shown as creator and last modifier.
    pub fn email(&self) -> &str {
        self.principal.email()
    }
}

/// Checks tokens, and makes them.
pub struct Auth {
    token: String,
    path: PathBuf,
    issuer: String,
    keys: Keys,
    external: Vec<External>,
    console_url: Option<String>,
    store: Store,
    clock: Arc<dyn Clock>,
    verified: Mutex<HashMap<String, Claims>>,
    pending: oidc::Pending,
}

impl Auth {
    /// Reads the data directory's token and keys; makes them at first.
    ///
    /// # Errors
    /// When a file can be neither read nor made.
    pub fn open(data_dir: &Path, config: &AuthConfig, store: Store, clock: Arc<dyn Clock>) -> io::Result<Self> {
        let path = data_dir.join(TOKEN_FILE);
        let token = owners_token(&path)?;
        let keys = Keys::open(data_dir, config.key_rotation_days, clock.now())?;
        let external = config.issuers.iter().cloned().map(External::new).collect();
        let issuer = config.issuer.clone();
        let console_url = config.console_url.clone();
        Ok(Self {
            token,
            path,
            issuer,
            keys,
            external,
            console_url,
            store,
            clock,
            verified: Mutex::default(),
            pending: oidc::Pending::default(),
        })
    }

    /// Where the owner's token stands.
    pub fn token_path(&self) -> &Path {
        &self.path
    }

    /// The `iss` claim of the local issuer's tokens.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The local issuer's public keys, as a JSON Web Key Set.
    pub fn public_keys(&self) -> Value {
        self.keys.public()
    }

    /// Where browsers reach the console, if the settings say.
    pub fn console_url(&self) -> Option<&str> {
        self.console_url.as_deref()
    }

    /// Makes a new signing key now; older ones verify until their tokens have expired.
    ///
    /// # Errors
    /// When the keys' file cannot be written.
    pub fn rotate(&self) -> io::Result<()> {
        self.keys.turn(self.clock.now(), true)
    }

    /// The caller that a bearer token of an API call speaks for.
    pub async fn caller(&self, token: &str) -> Option<Caller> {
        self.known(token).await.map(|known| known.caller)
    }

    async fn known(&self, token: &str) -> Option<Known> {
        if same(token.as_bytes(), self.token.as_bytes()) {
            let caller = Caller { principal: Principal::User(OWNER.to_owned()), owner: true };
            return Some(Known { caller, expires: None });
        }
        let claims = self.claims(token).await?;
        let for_api = |audience: &str| match self.external(&claims.iss) {
            Some(external) => external.is_audience(audience),
            None => audience == self.issuer,
        };
        let caller = claims.aud.iter().any(for_api).then(|| self.who(&claims)).flatten()?;
        Some(Known { caller, expires: Some(claims.exp) })
    }

    /// The caller of a service: its identity token must be for the service's host, whatever tag is called,
    /// or for one of the audiences that the service names
    /// (<https://cloud.google.com/run/docs/configuring/custom-audiences>).
    pub async fn invoker(&self, token: &str, host: &str, audiences: &[String]) -> Option<Caller> {
        let claims = self.claims(token).await?;
        let right = |audience: &str| audiences.iter().any(|named| named == audience) || is_host(audience, host);
        claims.aud.iter().any(right).then(|| self.who(&claims)).flatten()
    }

    /// A token of the local issuer, for the API or for `audience`, and when it expires.
    ///
    /// # Errors
    /// When a due new key cannot be kept.
    pub fn mint(
        &self,
        principal: &Principal,
        audience: Option<&str>,
        lifetime_seconds: i64,
    ) -> io::Result<(String, homerun_model::Timestamp)> {
        let now = self.clock.now();
        let lifetime = lifetime_seconds.clamp(1, TOKEN_MAX_SECONDS);
        let claims = Claims::about(principal, &self.issuer, audience.unwrap_or(&self.issuer), now, lifetime);
        Ok((self.keys.sign(&claims, now)?, now + chrono::TimeDelta::seconds(lifetime)))
    }

    fn external(&self, issuer: &str) -> Option<&External> {
        self.external.iter().find(|external| external.issuer() == issuer)
    }

    /// The claims of a token whose signature and time are right, whoever it is for.
    async fn claims(&self, token: &str) -> Option<Claims> {
        let now = self.clock.now();
        let known = self.verified.lock().unwrap_or_else(PoisonError::into_inner).get(token).cloned();
        if let Some(claims) = known {
            return claims.valid_at(now).then_some(claims);
        }
        let issuer = tokens::issuer(token)?;
        let claims = if issuer == self.issuer {
            let kid = jsonwebtoken::decode_header(token).ok()?.kid?;
            let validation = tokens::signature_only(vec![jsonwebtoken::Algorithm::ES256]);
            jsonwebtoken::decode::<Claims>(token, &self.keys.verifying(&kid)?, &validation).ok()?.claims
        } else {
            self.external(&issuer)?.claims(token, now).await?
        };
        if !claims.valid_at(now) {
            return None;
        }
        let mut verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        if verified.len() >= REMEMBERED {
            verified.clear();
        }
        verified.insert(token.to_owned(), claims.clone());
        Some(claims)
    }

    /// Whom verified claims speak of. A service account that is gone or disabled is nobody.
    fn who(&self, claims: &Claims) -> Option<Caller> {
        if claims.iss != self.issuer {
            return external::principal(claims).map(|principal| Caller { principal, owner: false });
        }
        self.caller_of(claims.email.as_deref()?)
    }

    /// Who has an email, as far as the local issuer speaks of them.
    fn caller_of(&self, email: &str) -> Option<Caller> {
        let principal = Principal::of_email(email);
        if let Principal::ServiceAccount(email) = &principal
            && self.store.service_account(email).ok().flatten().is_none_or(|account| account.disabled)
        {
            return None;
        }
        let owner = principal.email() == OWNER;
        Some(Caller { principal, owner })
    }
}

/// Whom a token of the API speaks for.
struct Known {
    caller: Caller,
    /// When the token expires, in seconds since 1970; the owner's never does.
    expires: Option<i64>,
}

/// Whether an identity token's audience, a URL, names a host.
fn is_host(audience: &str, host: &str) -> bool {
    let Ok(uri) = audience.parse::<http::Uri>() else {
        return false;
    };
    matches!(uri.scheme_str(), Some("http" | "https"))
        && uri.host().is_some_and(|named| named.eq_ignore_ascii_case(host))
}

/// Reads the owner's token; makes it at first.
fn owners_token(path: &Path) -> io::Result<String> {
    let mut token = String::new();
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(mut file) => {
            token = ids::secret();
            file.write_all(token.as_bytes())?;
            file.sync_all()?;
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            std::fs::set_permissions(path, Permissions::from_mode(0o600))?;
            std::fs::File::open(path)?.read_to_string(&mut token)?;
        }
        Err(error) => return Err(error),
    }
    let token = token.trim().to_owned();
    if token.len() < 32 {
        let message = format!("{} does not hold a token; delete it and a new one is made", path.display());
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    Ok(token)
}

/// The token of an `Authorization` header.
pub fn bearer(headers: &http::HeaderMap) -> Option<&str> {
    let value = headers.get(http::header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

/// Compares in a time that does not tell how much was right.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

#[cfg(test)]
mod tests;
