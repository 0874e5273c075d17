//! Sessions of the console: a secret in a cookie instead of a token in a header.

use aws_lc_rs::{digest, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta};
use homerun_model::Timestamp;

use super::{Auth, Caller, Known, same};
use crate::ids;
use crate::store::{Session, StoreError};

/// Longest time from one sign-in to the next.
const LONGEST: TimeDelta = TimeDelta::hours(12);

/// Somebody who is signed in to the console.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedIn {
    /// Who it is.
    pub caller: Caller,
    form_secret: String,
}

impl SignedIn {
    /// What forms must send back.
    pub fn form_secret(&self) -> &str {
        &self.form_secret
    }

    /// Whether a form has sent back what it must.
    pub fn has_sent(&self, form_secret: &str) -> bool {
        same(form_secret.as_bytes(), self.form_secret.as_bytes())
    }
}

impl Auth {
    /// Begins a session with a token of the API: its secret, and until when it is good, which is no longer than the
    /// token is. `None` if the token is not good.
    ///
    /// # Errors
    /// When the session cannot be kept.
    pub async fn sign_in(&self, token: &str) -> Result<Option<(String, Timestamp)>, StoreError> {
        match self.known(token).await {
            Some(known) => self.begin_session(&known).map(Some),
            None => Ok(None),
        }
    }

    pub(super) fn begin_session(&self, known: &Known) -> Result<(String, Timestamp), StoreError> {
        let now = self.clock.now();
        let expires_at = match known.expires.and_then(|expires| DateTime::from_timestamp(expires, 0)) {
            Some(expires) => expires.min(now + LONGEST),
            None => now + LONGEST,
        };
        let secret = ids::secret();
        let session = Session {
            email: known.caller.email().to_owned(),
            form_secret: self.form_secret(known.caller.email()),
            expires_at,
            owners_token: known.caller.owner.then(|| hash(&self.token)),
        };
        self.store.add_session(&hash(&secret), &session, now)?;
        Ok((secret, expires_at))
    }

    /// What somebody's forms send back. It is the same in all of their sessions, so that a form that was filled in during
    /// one can be sent in the next.
    fn form_secret(&self, email: &str) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.token.as_bytes());
        URL_SAFE_NO_PAD.encode(hmac::sign(&key, format!("forms of {email}").as_bytes()))
    }

    /// Who is signed in by a session's secret. A service account that is gone or disabled is nobody, and so is the
    /// owner of a token that has been replaced.
    pub fn session(&self, secret: &str) -> Option<SignedIn> {
        let session = self.store.session(&hash(secret)).ok().flatten()?;
        if session.expires_at <= self.clock.now() {
            return None;
        }
        let caller = self.caller_of(&session.email)?;
        let owners_token = caller.owner.then(|| hash(&self.token));
        (owners_token == session.owners_token).then_some(SignedIn { caller, form_secret: session.form_secret })
    }

    /// Ends a session.
    ///
    /// # Errors
    /// When the database fails; it goes on then.
    pub fn sign_out(&self, secret: &str) -> Result<(), StoreError> {
        self.store.delete_session(&hash(secret))
    }
}

/// What is kept of a secret, so that who reads the database has none.
fn hash(secret: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, secret.as_bytes()))
}
