//! `homerun audit`: who changed what.

use std::io::Write;

use clap::Args;
use homerun_api::own;
use reqwest::Method;

use crate::Target;
use crate::client::{CliError, Client};
use crate::output::{self, Format};

/// Flags of `homerun audit`.
#[derive(Debug, Args)]
pub struct AuditArgs {
    /// Most changes to show, up to 1000
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    /// Project; by default the server's
    #[arg(long)]
    project: Option<String>,
    /// How to print
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

pub(crate) async fn run(target: &Target, args: &AuditArgs) -> Result<(), CliError> {
    let client = Client::new(target)?;
    let project = args.project.as_deref().unwrap_or(client.defaults().0);
    let path = format!("/homerun/v1/projects/{project}/audit?pageSize={}", args.limit);
    let answer = client.call(Method::GET, &path, None).await?;
    match args.format {
        Format::Json => output::json(&answer)?,
        Format::Yaml => output::yaml(&answer)?,
        Format::Table => print(&serde_json::from_value(answer).map_err(CliError::Answer)?)?,
    }
    Ok(())
}

fn print(audit: &own::Audit) -> std::io::Result<()> {
    if audit.records.is_empty() {
        return writeln!(std::io::stdout(), "nothing was changed yet");
    }
    let rows = audit.records.iter().map(|record| {
        let time = record.time.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
        vec![time, record.by.clone(), record.verb.clone(), record.path.clone()]
    });
    output::table(&["TIME", "BY", "VERB", "PATH"], &rows.collect::<Vec<_>>())
}
