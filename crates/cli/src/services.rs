//! `homerun run services ...`, and what deploying and replacing share.

use std::io::{IsTerminal, Read, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::Value;

use crate::Target;
use crate::client::{CliError, Client};
use crate::logs::{self, LogsCommand};
use crate::output::{self, Format};

/// Project and region of a command.
#[derive(Debug, Clone, Args)]
pub struct Scope {
    /// Project; the server's default without it
    #[arg(long)]
    project: Option<String>,
    /// Region; the server's default without it
    #[arg(long)]
    region: Option<String>,
}

/// What to do with services.
#[derive(Debug, Subcommand)]
pub enum ServicesCommand {
    /// List the services of all regions
    #[command(after_help = "Example:\n  homerun run services list")]
    List {
        #[command(flatten)]
        scope: Scope,
        /// How to print
        #[arg(long, value_enum, default_value_t = Format::Table)]
        format: Format,
    },
    /// Show a service
    #[command(after_help = "Example:\n  homerun run services describe hello --format yaml > service.yaml")]
    Describe {
        /// The service's name
        service: String,
        #[command(flatten)]
        scope: Scope,
        /// How to print
        #[arg(long, value_enum, default_value_t = Format::Yaml)]
        format: Format,
    },
    /// Create or replace a service from a YAML file (- reads standard input)
    #[command(after_help = "Example:\n  homerun run services replace service.yaml")]
    Replace {
        /// The file
        file: PathBuf,
        #[command(flatten)]
        scope: Scope,
    },
    /// Delete a service with its revisions and instances
    #[command(after_help = "Example:\n  homerun run services delete hello --quiet")]
    Delete {
        /// The service's name
        service: String,
        #[command(flatten)]
        scope: Scope,
        /// Do not ask
        #[arg(long, short)]
        quiet: bool,
    },
    /// Logs of a service
    Logs {
        /// What to do
        #[command(subcommand)]
        command: LogsCommand,
    },
}

/// A service's place in the API.
pub(crate) struct Place {
    pub(crate) region: String,
    pub(crate) project: String,
}

impl Place {
    pub(crate) fn new(client: &Client, scope: &Scope) -> Self {
        let (project, region) = client.defaults();
        Self {
            region: scope.region.clone().unwrap_or_else(|| region.to_owned()),
            project: scope.project.clone().unwrap_or_else(|| project.to_owned()),
        }
    }

    pub(crate) fn services(&self) -> String {
        format!("/v1/projects/{}/locations/{}/services", self.project, self.region)
    }

    pub(crate) fn service(&self, name: &str) -> String {
        format!("{}/{name}", self.services())
    }
}

pub(crate) async fn run(target: &Target, command: ServicesCommand) -> Result<(), CliError> {
    let client = Client::new(target)?;
    match command {
        ServicesCommand::List { scope, format } => list(&client, &scope, format).await,
        ServicesCommand::Describe { service, scope, format } => {
            let path = Place::new(&client, &scope).service(&service);
            let found = client.call(Method::GET, &path, None).await?;
            match format {
                Format::Json => output::json(&found)?,
                Format::Yaml => output::yaml(&found)?,
                Format::Table => table(&[found])?,
            }
            Ok(())
        }
        ServicesCommand::Replace { file, scope } => replace(&client, &file, &scope).await,
        ServicesCommand::Delete { service, scope, quiet } => delete(&client, &service, &scope, quiet).await,
        ServicesCommand::Logs { command } => logs::run(target, command).await,
    }
}

async fn list(client: &Client, scope: &Scope, format: Format) -> Result<(), CliError> {
    let mut place = Place::new(client, scope);
    if scope.region.is_none() {
        place.region = "-".to_owned();
    }
    let answer = client.call(Method::GET, &place.services(), None).await?;
    match format {
        Format::Json => output::json(&answer)?,
        Format::Yaml => output::yaml(&answer)?,
        Format::Table => table(answer["items"].as_array().map_or(&[][..], Vec::as_slice))?,
    }
    Ok(())
}

fn table(services: &[Value]) -> std::io::Result<()> {
    let rows: Vec<Vec<String>> = services
        .iter()
        .map(|service| {
            let ready = match condition(service, "Ready") {
                Some(ready) if ready["status"] == "True" => "ready",
                Some(ready) if ready["status"] == "False" => "failed",
                _ => "deploying",
            };
            let limits = "/spec/template/spec/containers/0/resources/limits/nvidia.com~1gpu";
            vec![
                ready.to_owned(),
                output::text(service, "/metadata/name"),
                output::text(service, "/metadata/labels/cloud.googleapis.com~1location"),
                output::text(service, limits),
                output::text(service, "/status/url"),
            ]
        })
        .collect();
    output::table(&["STATE", "SERVICE", "REGION", "GPU", "URL"], &rows)
}

async fn replace(client: &Client, file: &PathBuf, scope: &Scope) -> Result<(), CliError> {
    let text = if file.as_os_str() == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(file)
    }
    .map_err(|source| CliError::File { path: file.clone(), source })?;
    let service: Value = serde_saphyr::from_str(&text)
        .map_err(|error| CliError::Yaml { path: file.clone(), message: error.to_string() })?;
    let Some(name) = service["metadata"]["name"].as_str().map(str::to_owned) else {
        return Err(CliError::Yaml { path: file.clone(), message: "metadata.name is missing".to_owned() });
    };
    let place = Place::new(client, scope);
    let exists = exists(client, &place, &name).await?.is_some();
    put(client, &place, &name, &service, exists).await?;
    wait(client, &place, &name).await
}

/// A service, if it exists.
pub(crate) async fn exists(client: &Client, place: &Place, name: &str) -> Result<Option<Value>, CliError> {
    match client.call(Method::GET, &place.service(name), None).await {
        Ok(found) => Ok(Some(found)),
        Err(CliError::Api { status: 404, .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Creates or replaces a service.
pub(crate) async fn put(
    client: &Client,
    place: &Place,
    name: &str,
    service: &Value,
    exists: bool,
) -> Result<(), CliError> {
    let (method, path) = if exists { (Method::PUT, place.service(name)) } else { (Method::POST, place.services()) };
    client.call(method, &path, Some(service)).await.map(drop)
}

/// Waits until a deployment has succeeded or failed, telling what happens.
pub(crate) async fn wait(client: &Client, place: &Place, name: &str) -> Result<(), CliError> {
    let (begun, mut told) = (Instant::now(), String::new());
    loop {
        let service = client.call(Method::GET, &place.service(name), None).await?;
        let current = service["status"]["observedGeneration"] == service["metadata"]["generation"];
        let ready = condition(&service, "Ready").filter(|_| current);
        let message = ready.map_or("", |ready| ready["message"].as_str().unwrap_or("")).to_owned();
        match ready.and_then(|ready| ready["status"].as_str()) {
            Some("True") => {
                let mut out = std::io::stdout();
                let revision = output::text(&service, "/status/latestReadyRevisionName");
                writeln!(
                    out,
                    "Service [{name}] revision [{revision}] is ready after {:.1} s.",
                    begun.elapsed().as_secs_f64()
                )?;
                // As gcloud has it for a service without a URL of its own.
                let url = service.pointer("/status/url").and_then(Value::as_str).unwrap_or("None");
                writeln!(out, "Service URL: {url}")?;
                return Ok(());
            }
            Some("False") => return Err(CliError::NotReady(message)),
            _ if message != told => {
                eprintln!("  {message}");
                told = message;
            }
            _ => {}
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn delete(client: &Client, name: &str, scope: &Scope, quiet: bool) -> Result<(), CliError> {
    let place = Place::new(client, scope);
    if !quiet && std::io::stdin().is_terminal() {
        eprint!("Service [{name}] in {} will be deleted with its revisions and instances. Go on (y/N)? ", place.region);
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer)?;
        if !answer.trim().eq_ignore_ascii_case("y") {
            eprintln!("Nothing was deleted.");
            return Ok(());
        }
    }
    client.call(Method::DELETE, &place.service(name), None).await?;
    while exists(client, &place, name).await?.is_some() {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    writeln!(std::io::stdout(), "Deleted service [{name}].")?;
    Ok(())
}

fn condition<'a>(service: &'a Value, kind: &str) -> Option<&'a Value> {
    service["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == kind)
}
