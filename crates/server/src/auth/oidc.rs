//! Signing in to the console by an OpenID Connect provider: the authorization code flow with PKCE
//! (<https://openid.net/specs/openid-connect-core-1_0.html>, RFC 7636).

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::TimeDelta;
use homerun_model::Timestamp;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::external::{self, External, ProviderError};
use super::tokens::Claims;
use super::{Auth, Caller, Known, same};
use crate::ids;
use crate::store::StoreError;

/// How long somebody may take at the provider.
const LONGEST: TimeDelta = TimeDelta::minutes(10);
/// Most sign-ins under way; the oldest are given up for new ones.
const MOST: usize = 1000;

/// Sign-ins under way, by their state. Lost with a restart: people begin again.
#[derive(Default)]
pub(super) struct Pending(Mutex<HashMap<String, SignIn>>);

/// A sign-in under way.
#[derive(Clone)]
struct SignIn {
    /// Index of the provider.
    provider: usize,
    /// What the browser that began it has, so that nobody else's can end it.
    browser: String,
    nonce: String,
    verifier: String,
    redirect_uri: String,
    next: String,
    begun: Timestamp,
}

/// Where to send a browser that begins to sign in.
pub struct Begun {
    /// What the browser must keep.
    pub browser: String,
    /// The provider's page.
    pub location: String,
}

/// A browser that comes back from a provider.
pub struct Return<'a> {
    /// What the browser has kept.
    pub browser: &'a str,
    /// The sign-in that it says it was.
    pub state: &'a str,
    /// The code that the provider gave it for us, or why it gave none.
    pub answer: Result<&'a str, &'a str>,
}

/// Somebody has signed in.
pub struct Finished {
    /// The session's secret.
    pub secret: String,
    /// Until when the session is good.
    pub expires_at: Timestamp,
    /// Where to go on.
    pub next: String,
}

/// Why nobody was signed in.
#[derive(Debug, thiserror::Error)]
pub enum OidcError {
    /// There is no such provider.
    #[error("there is no such provider")]
    Unknown,
    /// It was not begun by this browser, or too long ago, or has ended already.
    #[error("the sign-in was not begun here, or too long ago")]
    NotBegun,
    /// The provider does not do its part.
    #[error("the provider does not do its part")]
    Provider(#[source] ProviderError),
    /// The provider, or the person there, has refused; in the provider's words.
    #[error("the provider has refused: {0}")]
    Refused(String),
    /// The provider's token signs nobody in.
    #[error("the provider's token is not good")]
    Token(#[source] TokenError),
    /// The session cannot be kept.
    #[error("the session cannot be kept")]
    Store(#[from] StoreError),
}

/// Why an identity token signs nobody in (OpenID Connect Core, 3.1.3.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It was not made by the provider, or is not valid now.
    #[error("its signature, issuer or time is wrong")]
    NotValid,
    /// `aud` has not this client.
    #[error("it is for another client")]
    OtherClient,
    /// `azp` is not this client.
    #[error("another client asked for it")]
    OtherParty,
    /// `nonce` is not this sign-in's.
    #[error("it is of another sign-in")]
    OtherSignIn,
    /// `email` is absent.
    #[error("it names no email; the client must be allowed the scope 'email'")]
    NoEmail,
    /// The email proves nothing.
    #[error("its email is not verified, or not the provider's to name")]
    BadEmail,
}

/// What a provider says about itself, as far as it matters here.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Endpoints {
    pub(super) issuer: String,
    pub(super) authorization_endpoint: String,
    pub(super) token_endpoint: String,
}

/// Reads where browsers reach the console.
pub(super) fn console_url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let url = text.trim_end_matches('/');
    let scheme_and_rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    // Without a user, a path or a query, the rest is an authority and nothing else.
    let fine = scheme_and_rest.is_some_and(|rest| !rest.contains('@') && rest.parse::<http::uri::Authority>().is_ok());
    if fine {
        return Ok(Some(url.to_owned()));
    }
    let message =
        format!("console_url '{text}' is no http or https address without a path; https://homerun.example.com is");
    Err(D::Error::custom(message))
}

impl Auth {
    /// The providers that people may sign in with: index and name.
    pub fn providers(&self) -> impl Iterator<Item = (usize, &str)> {
        let named = |(index, external)| Some((index, External::client(external)?.name()));
        self.external.iter().enumerate().filter_map(named)
    }

    /// Begins to sign somebody in, who goes on at `next` afterwards. The provider sends them back to `redirect_uri`.
    ///
    /// # Errors
    /// See [`OidcError`].
    pub async fn begin_sign_in(&self, provider: usize, redirect_uri: &str, next: &str) -> Result<Begun, OidcError> {
        let external = self.external.get(provider).ok_or(OidcError::Unknown)?;
        let client = external.client().ok_or(OidcError::Unknown)?;
        let endpoints = external.endpoints().await.map_err(OidcError::Provider)?;
        let state = ids::secret();
        let sign_in = SignIn {
            provider,
            browser: ids::secret(),
            nonce: ids::secret(),
            verifier: ids::secret(),
            redirect_uri: redirect_uri.to_owned(),
            next: next.to_owned(),
            begun: self.clock.now(),
        };
        let challenge = URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, sign_in.verifier.as_bytes()));
        let query = form_urlencoded::Serializer::new(String::new())
            .append_pair("response_type", "code")
            .append_pair("client_id", client.id())
            .append_pair("redirect_uri", redirect_uri)
            .append_pair("scope", "openid email")
            .append_pair("state", &state)
            .append_pair("nonce", &sign_in.nonce)
            .append_pair("code_challenge", &challenge)
            .append_pair("code_challenge_method", "S256")
            .finish();
        let page = endpoints.authorization_endpoint;
        let separator = if page.contains('?') { '&' } else { '?' };
        let begun = Begun { browser: sign_in.browser.clone(), location: format!("{page}{separator}{query}") };
        self.pending.add(state, sign_in);
        Ok(begun)
    }

    /// Ends what [`begin_sign_in`](Auth::begin_sign_in) began. The session lasts as long as any: the provider's token
    /// only proves who signed in, and is good for minutes.
    ///
    /// # Errors
    /// See [`OidcError`].
    pub async fn finish_sign_in(&self, back: Return<'_>) -> Result<Finished, OidcError> {
        let now = self.clock.now();
        let sign_in = self.pending.take(&back, now).ok_or(OidcError::NotBegun)?;
        let external = self.external.get(sign_in.provider).ok_or(OidcError::Unknown)?;
        let client = external.client().ok_or(OidcError::Unknown)?;
        let code = back.answer.map_err(|why| OidcError::Refused(why.to_owned()))?;
        let exchange = external.exchange(&client, code, &sign_in.verifier, &sign_in.redirect_uri);
        let token = exchange.await.map_err(OidcError::Provider)?;
        let claims = external.claims(&token, now).await;
        let claims = claims.ok_or(OidcError::Token(TokenError::NotValid))?;
        let caller = about(&claims, client.id(), &sign_in.nonce).map_err(OidcError::Token)?;
        let (secret, expires_at) = self.begin_session(&Known { caller, expires: None })?;
        Ok(Finished { secret, expires_at, next: sign_in.next })
    }
}

/// Whom an identity token speaks of that was made for this client and this sign-in.
fn about(claims: &Claims, client_id: &str, nonce: &str) -> Result<Caller, TokenError> {
    if !claims.aud.iter().any(|audience| audience == client_id) {
        return Err(TokenError::OtherClient);
    }
    // Made for several, it must say which of them asked for it.
    let several = claims.aud.iter().count() > 1;
    if (several || claims.azp.is_some()) && claims.azp.as_deref() != Some(client_id) {
        return Err(TokenError::OtherParty);
    }
    if !claims.nonce.as_deref().is_some_and(|given| same(given.as_bytes(), nonce.as_bytes())) {
        return Err(TokenError::OtherSignIn);
    }
    if claims.email.is_none() {
        return Err(TokenError::NoEmail);
    }
    let principal = external::principal(claims).ok_or(TokenError::BadEmail)?;
    Ok(Caller { principal, owner: false })
}

impl Pending {
    fn add(&self, state: String, sign_in: SignIn) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, other| sign_in.begun - other.begun < LONGEST);
        if all.len() >= MOST {
            let oldest = all.iter().min_by_key(|(_, other)| other.begun).map(|(state, _)| state.clone());
            oldest.map(|oldest| all.remove(&oldest));
        }
        all.insert(state, sign_in);
    }

    /// The sign-in that a browser comes back from. It ends with that, whatever comes of it.
    fn take(&self, back: &Return<'_>, now: Timestamp) -> Option<SignIn> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own = all.get(back.state).is_some_and(|found| same(found.browser.as_bytes(), back.browser.as_bytes()));
        // Of another browser it is left alone, else anybody could end it.
        own.then(|| all.remove(back.state)).flatten().filter(|sign_in| now - sign_in.begun < LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::super::AuthConfig;
    use super::super::tokens::Audience;
    use super::*;

    fn claims(change: impl FnOnce(&mut Claims)) -> Claims {
        let json = serde_json::json!({
            "iss": "https://provider.test", "sub": "1", "aud": "console", "exp": 1, "nonce": "n",
            "email": "ann@example.com", "email_verified": true,
        });
        let mut claims: Claims = serde_json::from_value(json).unwrap();
        change(&mut claims);
        claims
    }

    #[test]
    fn g24_only_a_token_of_this_sign_in_and_client_signs_in() {
        let judge =
            |change: fn(&mut Claims)| about(&claims(change), "console", "n").map(|caller| caller.email().to_owned());
        assert_eq!(judge(|_| {}), Ok("ann@example.com".to_owned()));
        for (change, expected) in [
            ((|claims| claims.nonce = None) as fn(&mut Claims), TokenError::OtherSignIn),
            (|claims| claims.nonce = Some("m".to_owned()), TokenError::OtherSignIn),
            (|claims| claims.azp = Some("other".to_owned()), TokenError::OtherParty),
            (|claims| claims.email = None, TokenError::NoEmail),
            (|claims| claims.email_verified = Some(false), TokenError::BadEmail),
            (|claims| claims.email = Some("owner@homerun.local".to_owned()), TokenError::BadEmail),
        ] {
            assert_eq!(judge(change), Err(expected));
        }
        let mut several = claims(|_| {});
        several.aud = Audience::Many(["other", "console"].map(str::to_owned).to_vec());
        assert!(about(&several, "console", "n").is_err(), "made for several, it does not say who asked");
        several.azp = Some("console".to_owned());
        assert!(about(&several, "console", "n").is_ok());
        assert!(about(&claims(|_| {}), "other", "n").is_err(), "made for another client");
    }

    #[test]
    fn g24_settings_of_a_provider_that_cannot_work_are_refused_by_name() {
        let read = |text: &str| toml::from_str::<AuthConfig>(text).map_err(|error| error.to_string());
        let url = |text: &str| read(&format!("console_url = '{text}'")).map(|config| config.console_url);
        assert_eq!(url("https://homerun.example.com/"), Ok(Some("https://homerun.example.com".to_owned())));
        assert_eq!(url("http://10.0.0.1:8787"), Ok(Some("http://10.0.0.1:8787".to_owned())));
        for wrong in ["homerun.example.com", "https://", "ftp://a", "https://a/console", "https://a?b", "https://a@b"] {
            assert!(url(wrong).unwrap_err().contains("console_url"), "{wrong}");
        }
        let issuer = "[[issuers]]\nissuer = 'https://a.test'\naudiences = []\n";
        assert!(read(issuer).is_ok() && read(&format!("{issuer}client_id = 'c'\nname = 'A'")).is_ok());
        for wrong in ["name = 'A'", "client_secret_file = '/secret'", "client_id = ''"] {
            let error = read(&format!("{issuer}{wrong}")).unwrap_err();
            assert!(error.contains("https://a.test") && error.contains("client_id"), "{error}");
        }
    }

    #[test]
    fn g24_a_sign_in_ends_once_in_its_own_browser_and_in_time() {
        let pending = Pending::default();
        let now = Timestamp::from_timestamp_nanos(0);
        let sign_in = |begun| SignIn {
            provider: 0,
            browser: "b".to_owned(),
            nonce: String::new(),
            verifier: String::new(),
            redirect_uri: String::new(),
            next: String::new(),
            begun,
        };
        let take = |browser, state, now| pending.take(&Return { browser, state, answer: Ok("") }, now).is_some();
        pending.add("s".to_owned(), sign_in(now));
        assert!(!take("other", "s", now) && !take("b", "t", now));
        assert!(take("b", "s", now), "another browser has not ended it");
        assert!(!take("b", "s", now), "once");
        pending.add("s".to_owned(), sign_in(now));
        assert!(!take("b", "s", now + LONGEST), "in time");
        for number in 0..=MOST as i64 {
            pending.add(format!("s{number}"), sign_in(now + TimeDelta::milliseconds(number)));
        }
        assert!(!take("b", "s0", now) && take("b", "s1", now), "the oldest is given up");
    }
}
