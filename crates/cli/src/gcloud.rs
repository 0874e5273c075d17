//! Points the installed gcloud at homerun.
//!
//! gcloud puts `REGION-` before the host of its endpoint override, so an address will not do: it is
//! given host names below `localhost` that it never looks up, since its own proxy setting leads
//! straight to homerun.

use std::fs::{DirBuilder, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;
use std::process::Command;

use clap::Args;
use homerun_api::own::TokenRequest;

use crate::Target;
use crate::client::{self, CliError};

/// The gcloud services that homerun answers for.
const SERVICES: [&str; 10] = [
    "run",
    "serviceusage",
    "logging",
    "iam",
    "iamcredentials",
    "cloudresourcemanager",
    "cloudquotas",
    "monitoring",
    "artifactregistry",
    "cloudbuild",
];

/// How long the token of another account lives, in seconds: the longest that the server gives.
const TOKEN_SECONDS: i64 = 12 * 3600;

/// Flags of `homerun gcloud-env`.
#[derive(Debug, Args)]
pub struct EnvArgs {
    /// Print `unset` lines that undo the exports
    #[arg(long)]
    unset: bool,
    /// Call as somebody else: a person or a service account. Writes a token of theirs that lives 12 hours
    #[arg(long, value_name = "EMAIL", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    account: Option<String>,
}

/// Flags of `homerun gcloud-setup`.
#[derive(Debug, Args)]
pub struct SetupArgs {
    /// Name of the gcloud configuration to write
    #[arg(long, default_value = "homerun")]
    configuration: String,
    /// Call as somebody else: a person or a service account. Writes a token of theirs that lives 12 hours
    #[arg(long, value_name = "EMAIL", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    account: Option<String>,
}

pub(crate) async fn env(target: &Target, args: &EnvArgs) -> Result<(), CliError> {
    let mut out = std::io::stdout();
    for (section, name, value) in settings(target, args.account.as_deref()).await? {
        let variable = format!("CLOUDSDK_{}_{}", section.to_uppercase(), name.to_uppercase());
        if args.unset {
            writeln!(out, "unset {variable}")?;
        } else {
            writeln!(out, "export {variable}={}", quote(&value))?;
        }
    }
    Ok(())
}

pub(crate) async fn setup(target: &Target, args: &SetupArgs) -> Result<(), CliError> {
    let settings = settings(target, args.account.as_deref()).await?;
    // It fails when the configuration is there already, which is as good.
    Command::new("gcloud")
        .args(["config", "configurations", "create", &args.configuration, "--no-activate", "--quiet"])
        .output()
        .map_err(CliError::Gcloud)?;
    for (section, name, value) in settings {
        let setting = format!("{section}/{name}");
        let output = Command::new("gcloud")
            .args(["config", "set", &setting, &value, "--configuration", &args.configuration, "--quiet"])
            .output()
            .map_err(CliError::Gcloud)?;
        if !output.status.success() {
            let reason = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(CliError::GcloudSetting(format!("{setting}: {reason}")));
        }
    }
    writeln!(
        std::io::stdout(),
        "Configuration '{0}' is written. Use it with `gcloud --configuration {0} run services list`.",
        args.configuration
    )?;
    Ok(())
}

/// Section, name and value of every gcloud setting.
async fn settings(
    target: &Target,
    account: Option<&str>,
) -> Result<Vec<(&'static str, &'static str, String)>, CliError> {
    let file = client::read_server_file(target)?;
    let token = match account {
        None => client::token_path(target),
        Some(account) => token_of(target, account).await?,
    };
    let token = std::path::absolute(&token).map_err(|source| CliError::File { path: token, source })?;
    let mut settings = vec![
        ("core", "project", file.project),
        ("run", "region", file.region),
        ("proxy", "type", "http".to_owned()),
        ("proxy", "address", file.control.ip().to_string()),
        ("proxy", "port", file.control.port().to_string()),
        ("auth", "access_token_file", token.display().to_string()),
        ("core", "disable_usage_reporting", "true".to_owned()),
        ("component_manager", "disable_update_check", "true".to_owned()),
    ];
    settings.extend(SERVICES.map(|name| ("api_endpoint_overrides", name, format!("http://{name}.localhost/"))));
    Ok(settings)
}

/// Writes a token of somebody else where only this user can read it.
async fn token_of(target: &Target, account: &str) -> Result<PathBuf, CliError> {
    let request =
        TokenRequest { account: Some(account.to_owned()), audience: None, lifetime_seconds: Some(TOKEN_SECONDS) };
    let token = crate::auth::token(target, &request).await?;
    let folder = target.data_dir.join("tokens");
    let path = folder.join(account);
    let failed = |source| CliError::File { path: path.clone(), source };
    DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(failed)?;
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path).map_err(failed)?;
    file.write_all(token.as_bytes()).map_err(failed)?;
    Ok(path)
}

/// Quotes for a POSIX shell.
fn quote(value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-:".contains(c);
    if value.chars().all(plain) { value.to_owned() } else { format!("'{}'", value.replace('\'', r"'\''")) }
}
