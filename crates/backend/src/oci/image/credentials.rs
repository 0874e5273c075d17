//! Credentials for a registry, from docker's configuration file and credential helpers.
//!
//! The file and the helper protocol are those of the docker CLI: `credHelpers` for one registry,
//! else `credsStore` for all, else what `docker login` wrote under `auths`.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use serde::Deserialize;
use tokio::io::AsyncWriteExt as _;

/// The key under which docker keeps Docker Hub's credentials.
const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";
/// Helpers may ask an agent or a service; more than this is a hang.
const HELPER_TIMEOUT: Duration = Duration::from_secs(30);
/// The user name with which helpers mark an identity token.
const TOKEN_USER: &str = "<token>";

/// What to show a registry.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Credentials {
    Anonymous,
    Basic {
        user: String,
        password: String,
    },
    /// A refresh token, to be exchanged for an access token at the registry's token server.
    IdentityToken(String),
}

/// Why the credentials of a registry can't be had.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// The file is there but can't be read.
    #[error("can't read {}", path.display())]
    Read {
        /// Docker's configuration file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is no JSON of docker's shape.
    #[error("{} is not a docker configuration", path.display())]
    Parse {
        /// Docker's configuration file.
        path: PathBuf,
        /// Where.
        #[source]
        source: serde_json::Error,
    },
    /// An `auth` entry is not base64 of `user:password`.
    #[error("the 'auth' entry for {key} in {} is not base64 of 'user:password'", path.display())]
    AuthEntry {
        /// Docker's configuration file.
        path: PathBuf,
        /// The entry's key.
        key: String,
    },
    /// A helper's name that would leave the search path.
    #[error("'{0}' is not the name of a credential helper")]
    HelperName(String),
    /// The helper can't be run.
    #[error("can't run '{program}'")]
    HelperStart {
        /// The program.
        program: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The helper does not end.
    #[error("'{0}' gave no answer within 30 s")]
    HelperTimeout(String),
    /// The helper reports an error.
    #[error("'{program}' failed: {message}")]
    HelperFailed {
        /// The program.
        program: String,
        /// What it printed.
        message: String,
    },
    /// The helper's answer can't be read.
    #[error("the answer of '{program}' is not valid")]
    HelperAnswer {
        /// The program.
        program: String,
        /// Where.
        #[source]
        source: serde_json::Error,
    },
    /// The registry's token server does not take the identity token.
    #[error("the identity token can't be exchanged for an access token")]
    TokenExchange(#[source] reqwest::Error),
    /// The registry does not say where its token server is.
    #[error("the registry names no token server for the identity token")]
    NoTokenServer,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct ConfigFile {
    auths: HashMap<String, AuthEntry>,
    cred_helpers: HashMap<String, String>,
    creds_store: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct AuthEntry {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
}

/// Where docker's configuration is for this process: `DOCKER_CONFIG`, else the home folder.
fn default_path() -> Option<PathBuf> {
    let folder = match std::env::var_os("DOCKER_CONFIG").filter(|v| !v.is_empty()) {
        Some(folder) => PathBuf::from(folder),
        None => std::env::home_dir()?.join(".docker"),
    };
    Some(folder.join("config.json"))
}

/// Looks up the credentials for `registry` (host with its port if it has one), read afresh each time
/// so that a `docker login` counts at once.
pub(super) async fn lookup(registry: &str, config: Option<&Path>) -> Result<Credentials, CredentialsError> {
    let Some(path) = config.map(Path::to_owned).or_else(default_path) else {
        return Ok(Credentials::Anonymous);
    };
    let bytes = match tokio::fs::read(&path).await {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Credentials::Anonymous),
        Err(source) => return Err(CredentialsError::Read { path, source }),
    };
    let file: ConfigFile = match serde_json::from_slice(&bytes) {
        Ok(file) => file,
        Err(source) => return Err(CredentialsError::Parse { path, source }),
    };
    let helper = find(&file.cred_helpers, registry)
        .map(|(_, helper)| helper.as_str())
        .or(Some(file.creds_store.as_str()).filter(|store| !store.is_empty()));
    if let Some(helper) = helper
        && let Some(found) = ask_helper(helper, server_key(registry)).await?
    {
        return Ok(found);
    }
    match find(&file.auths, registry) {
        Some((key, entry)) => entry.credentials().ok_or_else(|| CredentialsError::AuthEntry { path, key: key.clone() }),
        None => Ok(Credentials::Anonymous),
    }
}

/// The name under which helpers know a registry.
fn server_key(registry: &str) -> &str {
    if registry == "docker.io" { DOCKER_HUB_KEY } else { registry }
}

/// The entry for a registry; keys may be whole URLs from older docker versions.
fn find<'a, V>(entries: &'a HashMap<String, V>, registry: &str) -> Option<(&'a String, &'a V)> {
    entries.get_key_value(server_key(registry)).or_else(|| {
        entries.iter().find(|(key, _)| {
            let host = key.split_once("://").map_or(key.as_str(), |(_, rest)| rest);
            let host = host.split('/').next().unwrap_or_default();
            host == registry || (registry == "docker.io" && host == "index.docker.io")
        })
    })
}

impl AuthEntry {
    /// None if the entry is damaged.
    fn credentials(&self) -> Option<Credentials> {
        if !self.identitytoken.is_empty() {
            return Some(Credentials::IdentityToken(self.identitytoken.clone()));
        }
        if !self.auth.is_empty() {
            let auth = self.auth.trim();
            let plain = STANDARD.decode(auth).or_else(|_| STANDARD_NO_PAD.decode(auth)).ok()?;
            let plain = String::from_utf8(plain).ok()?;
            let (user, password) = plain.trim_end_matches('\0').split_once(':')?;
            return Some(Credentials::Basic { user: user.into(), password: password.into() });
        }
        Some(match self.username.is_empty() {
            true => Credentials::Anonymous,
            false => Credentials::Basic { user: self.username.clone(), password: self.password.clone() },
        })
    }
}

/// Runs `docker-credential-HELPER get`. None if the helper has nothing for the registry.
async fn ask_helper(helper: &str, server: &str) -> Result<Option<Credentials>, CredentialsError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Answer {
        username: String,
        secret: String,
    }
    if helper.contains('/') {
        return Err(CredentialsError::HelperName(helper.to_owned()));
    }
    let program = format!("docker-credential-{helper}");
    let run = async {
        let mut child = tokio::process::Command::new(&program)
            .arg("get")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            // A helper that doesn't read its input may have closed it; its answer decides.
            let _ = stdin.write_all(server.as_bytes()).await;
        }
        child.wait_with_output().await
    };
    let output = match tokio::time::timeout(HELPER_TIMEOUT, run).await {
        Ok(Ok(output)) => output,
        Ok(Err(source)) => return Err(CredentialsError::HelperStart { program, source }),
        Err(_) => return Err(CredentialsError::HelperTimeout(program)),
    };
    if !output.status.success() {
        // Errors are printed to standard output by the helper protocol.
        let mut message = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        if message.contains("credentials not found") {
            return Ok(None);
        }
        if message.is_empty() {
            message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        }
        return Err(CredentialsError::HelperFailed { program, message });
    }
    let answer: Answer = match serde_json::from_slice(&output.stdout) {
        Ok(answer) => answer,
        Err(source) => return Err(CredentialsError::HelperAnswer { program, source }),
    };
    Ok(Some(match answer.username.as_str() {
        TOKEN_USER => Credentials::IdentityToken(answer.secret),
        _ => Credentials::Basic { user: answer.username, password: answer.secret },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn from(config: &str, registry: &str) -> Result<Credentials, CredentialsError> {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("config.json");
        std::fs::write(&path, config).expect("write");
        lookup(registry, Some(&path)).await
    }

    fn basic(user: &str, password: &str) -> Credentials {
        Credentials::Basic { user: user.into(), password: password.into() }
    }

    #[tokio::test]
    async fn entries_are_found_as_docker_writes_them() {
        let auth = STANDARD.encode("ann:pass:word");
        let config = format!(
            r#"{{"auths":{{"https://index.docker.io/v1/":{{"auth":"{auth}"}},
                "127.0.0.1:5000":{{"username":"u","password":"p"}},
                "https://old.example/v1/":{{"auth":"{auth}"}},
                "ghcr.io":{{"identitytoken":"refresh"}}, "empty.example":{{}}}}}}"#
        );
        for (registry, expected) in [
            ("docker.io", basic("ann", "pass:word")),
            ("127.0.0.1:5000", basic("u", "p")),
            ("old.example", basic("ann", "pass:word")),
            ("ghcr.io", Credentials::IdentityToken("refresh".into())),
            ("empty.example", Credentials::Anonymous),
            ("127.0.0.1:5001", Credentials::Anonymous),
        ] {
            assert!(from(&config, registry).await.expect(registry) == expected, "{registry}");
        }
    }

    #[tokio::test]
    async fn a_missing_file_is_anonymous_and_a_damaged_one_is_named() {
        let none = lookup("ghcr.io", Some(Path::new("/nonexistent/config.json"))).await;
        assert!(none.is_ok_and(|c| c == Credentials::Anonymous));
        assert!(matches!(from("{", "ghcr.io").await, Err(CredentialsError::Parse { .. })));
        let bad = r#"{"auths":{"ghcr.io":{"auth":"!!"}}}"#;
        let error = from(bad, "ghcr.io").await.err().expect("damaged").to_string();
        assert!(error.contains("ghcr.io"), "{error}");
    }

    #[tokio::test]
    async fn helpers_that_leave_the_path_or_are_missing_are_refused() {
        let escape = r#"{"credHelpers":{"ghcr.io":"x/../../bin/sh"}}"#;
        assert!(matches!(from(escape, "ghcr.io").await, Err(CredentialsError::HelperName(_))));
        let missing = r#"{"credsStore":"surely-not-installed"}"#;
        assert!(matches!(from(missing, "ghcr.io").await, Err(CredentialsError::HelperStart { .. })));
    }
}
