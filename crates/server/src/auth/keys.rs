//! The keys of the local issuer: ES256, in a file that only its owner can read.
//!
//! The newest key signs. An older one still verifies until every token that it can have signed has
//! expired; then it goes.

use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use homerun_model::Timestamp;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::ids;

/// The keys' file in the data directory.
pub const KEYS_FILE: &str = "keys.json";
/// Longest that a token lives, in seconds.
pub const TOKEN_MAX_SECONDS: i64 = 12 * 3600;

/// The keys of the local issuer.
pub struct Keys {
    path: PathBuf,
    rotation: chrono::TimeDelta,
    keys: Mutex<Vec<Key>>,
}

struct Key {
    stored: StoredKey,
    encoding: EncodingKey,
    decoding: DecodingKey,
    /// Its public half as a JSON Web Key.
    jwk: Value,
}

#[derive(Clone, Serialize, Deserialize)]
struct StoredKey {
    kid: String,
    created_at: Timestamp,
    /// The private key, PKCS #8 in Base64.
    pkcs8: String,
}

impl Keys {
    /// Reads the data directory's keys; makes one at first. A key signs for `rotation_days`.
    ///
    /// # Errors
    /// When the file can be neither read nor made, or does not hold keys.
    pub fn open(data_dir: &Path, rotation_days: u32, now: Timestamp) -> io::Result<Self> {
        let path = data_dir.join(KEYS_FILE);
        let stored: Vec<StoredKey> = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| damaged(&path, &error))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        let keys = stored.into_iter().map(|key| Key::read(key).map_err(|error| damaged(&path, &error)));
        let keys = keys.collect::<io::Result<_>>()?;
        let rotation = chrono::TimeDelta::days(i64::from(rotation_days));
        let keys = Self { path, rotation, keys: Mutex::new(keys) };
        keys.turn(now, false)?;
        Ok(keys)
    }

    /// Makes a new signing key if the present one is too old, or at once if `force`.
    ///
    /// # Errors
    /// When the file cannot be written; the keys stay as they were then.
    pub fn turn(&self, now: Timestamp, force: bool) -> io::Result<()> {
        let mut keys = self.lock();
        let due = keys.last().is_none_or(|key| key.stored.created_at + self.rotation <= now);
        if !due && !force {
            return Ok(());
        }
        let made = Key::make(now)?;
        // A key signed at the latest when its successor was made.
        let longest = chrono::TimeDelta::seconds(TOKEN_MAX_SECONDS);
        let kept = (0..keys.len()).filter(|index| {
            let replaced = keys.get(index + 1).map_or(now, |next| next.stored.created_at);
            replaced + longest > now
        });
        let kept: Vec<usize> = kept.collect();
        let stored: Vec<StoredKey> =
            kept.iter().map(|index| keys[*index].stored.clone()).chain([made.stored.clone()]).collect();
        write(&self.path, &serde_json::to_vec_pretty(&stored)?)?;
        let mut index = 0;
        keys.retain(|_| {
            index += 1;
            kept.contains(&(index - 1))
        });
        keys.push(made);
        Ok(())
    }

    /// Signs claims with the newest key.
    ///
    /// # Errors
    /// When a due new key cannot be kept, or the claims are no JSON object.
    pub fn sign(&self, claims: &impl Serialize, now: Timestamp) -> io::Result<String> {
        self.turn(now, false)?;
        let keys = self.lock();
        let key = keys.last().ok_or_else(|| io::Error::other("there is no signing key"))?;
        let header = Header { kid: Some(key.stored.kid.clone()), ..Header::new(Algorithm::ES256) };
        jsonwebtoken::encode(&header, claims, &key.encoding).map_err(io::Error::other)
    }

    /// The key that a token's header names.
    pub fn verifying(&self, kid: &str) -> Option<DecodingKey> {
        self.lock().iter().find(|key| key.stored.kid == kid).map(|key| key.decoding.clone())
    }

    /// The public halves, as a JSON Web Key Set.
    pub fn public(&self) -> Value {
        json!({"keys": self.lock().iter().map(|key| key.jwk.clone()).collect::<Vec<_>>()})
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Key>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Key {
    fn make(now: Timestamp) -> io::Result<Self> {
        let pair = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
        let pair = pair.map_err(|_| io::Error::other("no key could be made"))?;
        Self::read(StoredKey { kid: ids::uuid(), created_at: now, pkcs8: STANDARD.encode(pair.as_ref()) })
    }

    fn read(stored: StoredKey) -> io::Result<Self> {
        let pkcs8 = STANDARD.decode(&stored.pkcs8).map_err(io::Error::other)?;
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pkcs8).map_err(io::Error::other)?;
        // An uncompressed point: 4, then both coordinates.
        let point = pair.public_key().as_ref();
        let (x, y) = (URL_SAFE_NO_PAD.encode(&point[1..33]), URL_SAFE_NO_PAD.encode(&point[33..65]));
        let decoding = DecodingKey::from_ec_components(&x, &y).map_err(io::Error::other)?;
        let jwk = json!({
            "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": stored.kid, "x": x, "y": y,
        });
        Ok(Self { stored, encoding: EncodingKey::from_ec_der(&pkcs8), decoding, jwk })
    }
}

fn damaged(path: &Path, error: &dyn std::fmt::Display) -> io::Error {
    let message = format!("{} does not hold keys ({error}); delete it and new ones are made", path.display());
    io::Error::new(io::ErrorKind::InvalidData, message)
}

/// Replaces a file whole, durably, for its owner's eyes only.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let next = path.with_extension("next");
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&next)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&next, path)
}
