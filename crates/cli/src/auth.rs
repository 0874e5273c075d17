//! `homerun auth ...`

use std::io::Write;

use clap::{Args, Subcommand};
use homerun_api::own::{Token, TokenRequest};
use reqwest::Method;

use crate::Target;
use crate::client::{self, CliError, Client};

/// What to do with tokens.
#[derive(Debug, Subcommand)]
pub enum AuthCommand {
    /// Print an access token, for the API
    #[command(
        after_help = "Examples:\n  curl -H \"Authorization: Bearer $(homerun auth print-access-token)\" http://127.0.0.1:8787/homerun/v1/status\n  homerun auth print-access-token --account ann@example.com --lifetime 43200 > ann.token"
    )]
    PrintAccessToken(AccessArgs),
    /// Print an identity token, for a service that is not public
    #[command(
        after_help = "Example:\n  curl -H \"Authorization: Bearer $(homerun auth print-identity-token --audiences URL)\" URL"
    )]
    PrintIdentityToken(IdentityArgs),
    /// Make a new signing key; tokens that older keys signed live out their time
    RotateKeys,
}

/// Flags of `print-access-token`.
#[derive(Debug, Args)]
pub struct AccessArgs {
    /// Whom the token is to speak for: a person or a service account. Without it, the owner's own token
    #[arg(long, visible_alias = "impersonate-service-account", value_name = "EMAIL", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    account: Option<String>,
    /// How long the token of --account lives, in seconds
    #[arg(long, default_value_t = 3600, value_name = "SECONDS")]
    lifetime: i64,
}

/// Flags of `print-identity-token`.
#[derive(Debug, Args)]
pub struct IdentityArgs {
    /// URL of the service that the token is for
    #[arg(long, value_name = "URL")]
    audiences: String,
    /// Whom the token is to speak for; without it, the caller
    #[arg(long, visible_alias = "impersonate-service-account", value_name = "EMAIL", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    account: Option<String>,
}

pub(crate) async fn run(target: &Target, command: AuthCommand) -> Result<(), CliError> {
    let token = match command {
        AuthCommand::PrintAccessToken(AccessArgs { account: None, .. }) => match &target.token {
            Some(token) => token.clone(),
            None => client::read_token(target)?,
        },
        AuthCommand::PrintAccessToken(AccessArgs { account, lifetime }) => {
            token(target, &TokenRequest { account, audience: None, lifetime_seconds: Some(lifetime) }).await?
        }
        AuthCommand::PrintIdentityToken(IdentityArgs { audiences, account }) => {
            token(target, &TokenRequest { account, audience: Some(audiences), lifetime_seconds: None }).await?
        }
        AuthCommand::RotateKeys => {
            Client::new(target)?.call(Method::POST, "/homerun/v1/keys:rotate", None).await?;
            return Ok(writeln!(std::io::stderr(), "A new key signs from now on.")?);
        }
    };
    Ok(writeln!(std::io::stdout(), "{token}")?)
}

/// Asks the server for a token.
pub(crate) async fn token(target: &Target, request: &TokenRequest) -> Result<String, CliError> {
    let body = serde_json::to_value(request).map_err(CliError::Answer)?;
    let answer = Client::new(target)?.call(Method::POST, "/homerun/v1/tokens", Some(&body)).await?;
    let token: Token = serde_json::from_value(answer).map_err(CliError::Answer)?;
    Ok(token.token)
}
