//! Calls the API.

use std::io;
use std::path::PathBuf;
use std::sync::Once;

use reqwest::Method;
use serde_json::Value;

use crate::Target;
use crate::server_file::{self, ServerFile};

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// No homerun runs where it was looked for.
    #[error("no homerun runs on {0}; start one with `homerun up`, or name another with --data-dir or --server")]
    NotRunning(PathBuf),
    /// A file could not be read or written.
    #[error("cannot use {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        #[source]
        source: io::Error,
    },
    /// A server was named without a token.
    #[error("--server needs a token: give --token or HOMERUN_TOKEN (on the server: `homerun auth print-access-token`)")]
    NoToken,
    /// The server could not be reached.
    #[error("cannot reach homerun at {server}")]
    Unreachable {
        /// The server's address.
        server: String,
        /// What went wrong.
        #[source]
        source: reqwest::Error,
    },
    /// The server refused; its message stands for itself.
    #[error("{message}")]
    Api {
        /// HTTP status.
        status: u16,
        /// What the server said.
        message: String,
    },
    /// The server's answer is not what this version of homerun understands.
    #[error("the server's answer cannot be read; is it of another version?")]
    Answer(#[source] serde_json::Error),
    /// A number in the server's answer is none.
    #[error("the server's answer cannot be read: '{0}' is no number; is it of another version?")]
    Number(String),
    /// A file that should hold YAML or JSON does not.
    #[error("{path} is not valid YAML: {message}")]
    Yaml {
        /// The file.
        path: PathBuf,
        /// Line and reason.
        message: String,
    },
    /// A flag has a wrong value.
    #[error("{flag}: {message}")]
    Flag {
        /// The flag.
        flag: &'static str,
        /// What is wrong and what would be right.
        message: String,
    },
    /// A deployment did not become ready.
    #[error("deployment failed: {0}")]
    NotReady(String),
    /// Output could not be written.
    #[error("cannot write the output")]
    Output(#[from] io::Error),
    /// Rows could not be written as CSV.
    #[error("cannot write CSV")]
    Csv(#[from] csv::Error),
    /// Rows could not be written as Parquet.
    #[error("cannot write Parquet")]
    Parquet(#[from] crate::usage::ParquetFileError),
    /// gcloud could not be run.
    #[error("cannot run gcloud; is it installed and on the PATH?")]
    Gcloud(#[source] io::Error),
    /// gcloud refused a setting.
    #[error("gcloud refused to set {0}")]
    GcloudSetting(String),
}

/// A connection to one homerun.
pub(crate) struct Client {
    http: reqwest::Client,
    base: String,
    token: String,
    /// What the server's own file says, where it was found by its data directory.
    pub(crate) file: Option<ServerFile>,
}

impl Client {
    /// Finds the server and a token.
    pub(crate) fn new(target: &Target) -> Result<Self, CliError> {
        static TLS: Once = Once::new();
        TLS.call_once(|| {
            // Fails only if a provider is installed already, and then that one serves as well.
            let _ = rustls::crypto::ring::default_provider().install_default();
        });
        let http = reqwest::Client::new();
        if let Some(server) = &target.server {
            let token = target.token.clone().ok_or(CliError::NoToken)?;
            return Ok(Self { http, base: server.trim_end_matches('/').to_owned(), token, file: None });
        }
        let file = read_server_file(target)?;
        let token = match &target.token {
            Some(token) => token.clone(),
            None => read_token(target)?,
        };
        Ok(Self { http, base: format!("http://{}", file.control), token, file: Some(file) })
    }

    /// The default project and region.
    pub(crate) fn defaults(&self) -> (&str, &str) {
        self.file.as_ref().map_or(("demo", "us-central1"), |file| (&file.project, &file.region))
    }

    /// A call with an optional JSON body; answers with JSON.
    pub(crate) async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, CliError> {
        let mut request = self.http.request(method, format!("{}{path}", self.base)).bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.json(body);
        }
        self.answer(request).await
    }

    /// Uploads bytes.
    pub(crate) async fn upload(&self, path: &str, body: reqwest::Body) -> Result<Value, CliError> {
        self.answer(self.http.post(format!("{}{path}", self.base)).bearer_auth(&self.token).body(body)).await
    }

    async fn answer(&self, request: reqwest::RequestBuilder) -> Result<Value, CliError> {
        let unreachable = |source| CliError::Unreachable { server: self.base.clone(), source };
        let response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        let bytes = response.bytes().await.map_err(unreachable)?;
        let value: Value = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        if status.is_success() {
            return Ok(value);
        }
        let message = match value["error"]["message"].as_str() {
            Some(message) => message.to_owned(),
            None => format!("the server answered {status}: {}", String::from_utf8_lossy(&bytes).trim()),
        };
        Err(CliError::Api { status: status.as_u16(), message })
    }
}

/// A name that becomes a segment of a path, as it is.
pub(crate) fn segment<'a>(flag: &'static str, name: &'a str) -> Result<&'a str, CliError> {
    let right = |c: char| c.is_ascii_alphanumeric() || "-_.~:".contains(c);
    if !name.is_empty() && name.chars().all(right) && !name.starts_with('.') {
        return Ok(name);
    }
    let message = format!("'{name}' is no name; it must be letters, digits, hyphens, dots and underscores");
    Err(CliError::Flag { flag, message })
}

/// Where the homerun of the data directory listens.
pub(crate) fn read_server_file(target: &Target) -> Result<ServerFile, CliError> {
    let dir = &target.data_dir;
    server_file::read(dir)
        .map_err(|source| CliError::File { path: dir.join("server.json"), source })?
        .ok_or_else(|| CliError::NotRunning(dir.clone()))
}

/// The token's file.
pub(crate) fn token_path(target: &Target) -> PathBuf {
    target.data_dir.join("token")
}

/// The data directory's token.
pub(crate) fn read_token(target: &Target) -> Result<String, CliError> {
    let path = token_path(target);
    let token = std::fs::read_to_string(&path).map_err(|source| CliError::File { path, source })?;
    Ok(token.trim().to_owned())
}
