//! Who calls the API.
//!
//! So far there is one principal, the owner of the data directory, and one token, which stands in a
//! file there that only its owner can read.

use std::fs::{OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::ids;

/// The token's file in the data directory.
pub const TOKEN_FILE: &str = "token";

/// Someone who was authenticated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The principal's email, shown as creator and last modifier.
    pub email: String,
}

/// Checks tokens.
#[derive(Debug, Clone)]
pub struct Auth {
    token: String,
    path: PathBuf,
}

impl Auth {
    /// Reads the data directory's token; makes one at first.
    ///
    /// # Errors
    /// When the file can be neither read nor made.
    pub fn open(data_dir: &Path) -> io::Result<Self> {
        let path = data_dir.join(TOKEN_FILE);
        let mut token = String::new();
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
            Ok(mut file) => {
                token = ids::secret();
                file.write_all(token.as_bytes())?;
                file.sync_all()?;
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                std::fs::set_permissions(&path, Permissions::from_mode(0o600))?;
                std::fs::File::open(&path)?.read_to_string(&mut token)?;
            }
            Err(error) => return Err(error),
        }
        let token = token.trim().to_owned();
        if token.len() < 32 {
            let message = format!("{} does not hold a token; delete it and a new one is made", path.display());
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        Ok(Self { token, path })
    }

    /// Where the token stands.
    pub fn token_path(&self) -> &Path {
        &self.path
    }

    /// The caller that a bearer token speaks for.
    pub fn caller(&self, token: &str) -> Option<Caller> {
        same(token.as_bytes(), self.token.as_bytes()).then(|| Caller { email: "owner@homerun.local".to_owned() })
    }
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
mod tests {
    use super::*;

    #[test]
    fn the_token_survives_a_restart_and_only_its_owner_can_read_it() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let first = Auth::open(dir.path()).expect("opens");
        let again = Auth::open(dir.path()).expect("opens again");
        assert_eq!(first.token, again.token);
        assert_eq!(std::fs::metadata(first.token_path()).expect("is there").permissions().mode() & 0o777, 0o600);
        assert!(again.caller(&first.token).is_some());
        assert!(again.caller("").is_none() && again.caller(&first.token[1..]).is_none());
    }

    #[test]
    fn a_damaged_token_file_is_named() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        std::fs::write(dir.path().join(TOKEN_FILE), "short").expect("writes");
        assert!(Auth::open(dir.path()).expect_err("too short").to_string().contains("token"));
    }
}
