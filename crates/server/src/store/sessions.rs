//! Who is signed in to the console.

use homerun_model::Timestamp;
use rusqlite::{OptionalExtension, params};
use serde::{Deserialize, Serialize};

use super::{Result, Store};

/// Somebody who is signed in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Their email.
    pub email: String,
    /// What forms must send back, so that no other site can send them.
    pub form_secret: String,
    /// When they must sign in again.
    pub expires_at: Timestamp,
    /// Of the owner's session, the SHA-256 of the owner's token that it began with: a new token ends it.
    pub owners_token: Option<String>,
}

impl Store {
    /// The session whose secret has this SHA-256.
    ///
    /// # Errors
    /// When the database fails.
    pub fn session(&self, secret_hash: &str) -> Result<Option<Session>> {
        let connection = self.connection();
        let mut statement = connection.prepare_cached("SELECT body FROM sessions WHERE secret_hash = ?1")?;
        let body: Option<String> = statement.query_row([secret_hash], |row| row.get(0)).optional()?;
        Ok(body.map(|body| serde_json::from_str(&body)).transpose()?)
    }

    /// Keeps a new session, and forgets those that are over by `now`.
    ///
    /// # Errors
    /// When the database fails.
    pub fn add_session(&self, secret_hash: &str, session: &Session, now: Timestamp) -> Result<()> {
        let body = serde_json::to_string(session)?;
        self.write(|transaction| {
            transaction.execute("DELETE FROM sessions WHERE expires_at <= ?1", [now.timestamp()])?;
            transaction.execute(
                "INSERT INTO sessions (secret_hash, expires_at, body) VALUES (?1, ?2, ?3)",
                params![secret_hash, session.expires_at.timestamp(), body],
            )?;
            Ok(())
        })
    }

    /// Ends a session; nothing if there is none.
    ///
    /// # Errors
    /// When the database fails.
    pub fn delete_session(&self, secret_hash: &str) -> Result<()> {
        self.write(|transaction| {
            transaction.execute("DELETE FROM sessions WHERE secret_hash = ?1", [secret_hash])?;
            Ok(())
        })
    }
}
