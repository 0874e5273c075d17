//! `homerun status`: services, instances and GPUs at a glance.

use std::io::Write;

use clap::Args;
use reqwest::Method;
use serde_json::Value;

use crate::Target;
use crate::client::{CliError, Client};
use crate::output::{self, Format};

/// Flags of `homerun status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// How to print
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

pub(crate) async fn run(target: &Target, args: &StatusArgs) -> Result<(), CliError> {
    let client = Client::new(target)?;
    let status = client.call(Method::GET, "/homerun/v1/status", None).await?;
    match args.format {
        Format::Json => output::json(&status)?,
        Format::Yaml => output::yaml(&status)?,
        Format::Table => print(&status)?,
    }
    Ok(())
}

fn print(status: &Value) -> std::io::Result<()> {
    let mut out = std::io::stdout();
    writeln!(out, "homerun {} ({} backend)\n", output::text(status, "/version"), output::text(status, "/backend"))?;
    section("Services", &["SERVICE", "REGION", "STATE", "INSTANCES", "WAITING", "URL"], rows(status, "services", |service| {
        vec![
            output::text(service, "/name"),
            output::text(service, "/region"),
            output::text(service, "/state"),
            output::text(service, "/instances"),
            output::text(service, "/waiting"),
            output::text(service, "/url"),
        ]
    }))?;
    section("Instances", &["INSTANCE", "STATE", "REQUESTS", "GPU", "START"], rows(status, "instances", |instance| {
        let gpus = instance["gpus"].as_array().map_or(0, Vec::len);
        let start = instance["startMillis"].as_f64().map_or("-".to_owned(), |millis| format!("{millis:.0} ms"));
        vec![
            output::text(instance, "/id"),
            output::text(instance, "/state"),
            output::text(instance, "/inFlight"),
            if gpus == 0 { "-".to_owned() } else { gpus.to_string() },
            start,
        ]
    }))?;
    section("GPUs", &["GPU", "TYPE", "HELD BY"], rows(status, "gpus", |gpu| {
        let simulated = if gpu["simulated"] == true { " (simulated)" } else { "" };
        let holder = match output::text(gpu, "/instance") {
            free if free == "-" => "free".to_owned(),
            held => held,
        };
        vec![output::text(gpu, "/id"), format!("{}{simulated}", output::text(gpu, "/type")), holder]
    }))?;
    for warning in status["warnings"].as_array().into_iter().flatten() {
        writeln!(out, "! {}", warning.as_str().unwrap_or_default())?;
    }
    Ok(())
}

fn rows(status: &Value, list: &str, row: impl Fn(&Value) -> Vec<String>) -> Vec<Vec<String>> {
    status[list].as_array().into_iter().flatten().map(row).collect()
}

fn section(title: &str, headings: &[&str], rows: Vec<Vec<String>>) -> std::io::Result<()> {
    let mut out = std::io::stdout();
    writeln!(out, "{title}")?;
    if rows.is_empty() {
        writeln!(out, "none\n")
    } else {
        output::table(headings, &rows)?;
        writeln!(out)
    }
}
