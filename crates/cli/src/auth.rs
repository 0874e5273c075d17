//! `homerun auth ...`

use std::io::Write;

use clap::Subcommand;

use crate::Target;
use crate::client::{self, CliError};

/// What to do with tokens.
#[derive(Debug, Subcommand)]
pub enum AuthCommand {
    /// Print the access token of this homerun
    #[command(
        after_help = "Example:\n  curl -H \"Authorization: Bearer $(homerun auth print-access-token)\" http://127.0.0.1:8787/homerun/v1/status"
    )]
    PrintAccessToken,
}

pub(crate) fn run(target: &Target, command: &AuthCommand) -> Result<(), CliError> {
    match command {
        AuthCommand::PrintAccessToken => writeln!(std::io::stdout(), "{}", client::read_token(target)?)?,
    }
    Ok(())
}
