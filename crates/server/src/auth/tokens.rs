//! The local issuer's tokens: signed claims about who somebody is.

use homerun_model::Timestamp;
use homerun_model::iam::Principal;
use jsonwebtoken::{Algorithm, Validation};
use serde::{Deserialize, Serialize};

/// The claims of a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Who made the token.
    pub iss: String,
    /// Whom it speaks of.
    pub sub: String,
    /// Whom it is for: the issuer itself for an access token, a service's URL for an identity token.
    pub aud: Audience,
    /// Their email.
    #[serde(default)]
    pub email: Option<String>,
    /// Whether the issuer knows that the email is theirs.
    #[serde(default)]
    pub email_verified: Option<bool>,
    /// Of an identity token, the sign-in that it was made for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nonce: Option<String>,
    /// Of an identity token, the client that asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub azp: Option<String>,
    /// When it was made, in seconds since 1970.
    #[serde(default)]
    pub iat: i64,
    /// When it expires, in seconds since 1970.
    pub exp: i64,
    /// Before when it is not valid, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nbf: Option<i64>,
}

/// One audience or several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Audience {
    /// The usual form.
    One(String),
    /// Some issuers write a list.
    Many(Vec<String>),
}

impl Audience {
    /// Each audience.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        let all = match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many.as_slice(),
        };
        all.iter().map(String::as_str)
    }
}

/// How far clocks may differ, in seconds.
const LEEWAY_SECONDS: i64 = 30;

impl Claims {
    /// Claims of the local issuer about a principal.
    pub fn about(principal: &Principal, issuer: &str, audience: &str, now: Timestamp, lifetime_seconds: i64) -> Self {
        let email = principal.email().to_owned();
        Self {
            iss: issuer.to_owned(),
            sub: email.clone(),
            aud: Audience::One(audience.to_owned()),
            email: Some(email),
            email_verified: Some(true),
            nonce: None,
            azp: None,
            iat: now.timestamp(),
            exp: now.timestamp() + lifetime_seconds,
            nbf: None,
        }
    }

    /// Whether the token is valid at this time.
    pub fn valid_at(&self, now: Timestamp) -> bool {
        let now = now.timestamp();
        self.exp + LEEWAY_SECONDS > now && self.nbf.is_none_or(|nbf| nbf - LEEWAY_SECONDS <= now)
    }
}

/// What is checked by the library: the signature alone. The rest is checked against this homerun's own
/// clock and audiences.
pub(super) fn signature_only(algorithms: Vec<Algorithm>) -> Validation {
    let mut validation = Validation::new(Algorithm::ES256);
    validation.algorithms = algorithms;
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation
}

/// The issuer that an unverified token names.
pub(super) fn issuer(token: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Issuer {
        iss: String,
    }
    jsonwebtoken::dangerous::insecure_decode_claims::<Issuer>(token).ok().map(|claims| claims.iss)
}
