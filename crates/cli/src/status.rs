//! `homerun status`: services, instances and GPUs at a glance.

use std::io::Write;

use clap::Args;
use homerun_api::own;
use reqwest::Method;

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
        Format::Table => print(&serde_json::from_value(status).map_err(CliError::Answer)?)?,
    }
    Ok(())
}

fn print(status: &own::Status) -> std::io::Result<()> {
    let mut out = std::io::stdout();
    writeln!(out, "homerun {} ({} backend)\n", status.version, status.backend)?;
    let services = status.services.iter().map(|service| {
        vec![
            service.name.clone(),
            service.region.clone(),
            service.state.clone(),
            service.instances.to_string(),
            service.waiting.to_string(),
            service.url.clone(),
        ]
    });
    section("Services", &["SERVICE", "REGION", "STATE", "INSTANCES", "WAITING", "URL"], services.collect())?;
    let instances = status.instances.iter().map(|instance| {
        let start = instance.start_millis.map_or("-".to_owned(), |millis| format!("{millis:.0} ms{}", steps(instance)));
        let gpus = if instance.gpus.is_empty() { "-".to_owned() } else { instance.gpus.len().to_string() };
        vec![instance.id.clone(), instance.state.clone(), instance.in_flight.to_string(), gpus, start]
    });
    section("Instances", &["INSTANCE", "STATE", "REQUESTS", "GPU", "START"], instances.collect())?;
    let gpus = status.gpus.iter().map(|gpu| {
        let simulated = if gpu.simulated { " (simulated)" } else { "" };
        vec![
            gpu.id.clone(),
            format!("{}{simulated}", gpu.r#type),
            gpu.instance.clone().unwrap_or_else(|| "free".to_owned()),
        ]
    });
    section("GPUs", &["GPU", "TYPE", "HELD BY"], gpus.collect())?;
    for waiting in &status.waiting {
        writeln!(out, "! {}", waits(waiting))?;
    }
    for service in status.services.iter().filter(|service| service.state == "failed") {
        writeln!(out, "! {}: {}", service.name, service.message)?;
    }
    for warning in &status.warnings {
        writeln!(out, "! {warning}")?;
    }
    Ok(())
}

/// For a GPU or for a budget: the message says for which.
fn waits(waiting: &own::Waiting) -> String {
    let since = waiting.since.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    format!("{} has waited for an instance since {since}: {}", waiting.revision, waiting.message)
}

/// What a start consists of, without what took no time worth telling.
fn steps(instance: &own::Instance) -> String {
    let long = instance.start.iter().filter(|step| step.millis >= 0.5);
    let steps: Vec<String> = long.map(|step| format!("{} {:.0}", step.step, step.millis)).collect();
    if steps.is_empty() { String::new() } else { format!(" ({})", steps.join(", ")) }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b05_a_revision_that_a_budget_holds_back_is_not_said_to_wait_for_a_gpu() {
        let message = "The budget of the project is used up.".to_owned();
        let since = "2026-11-27T10:00:00.5Z".parse().unwrap();
        let waiting =
            own::Waiting { service: "hello".to_owned(), revision: "hello-00001-abc".to_owned(), message, since };
        assert_eq!(
            waits(&waiting),
            "hello-00001-abc has waited for an instance since 2026-11-27T10:00:00Z: The budget of the project is used up."
        );
    }
}
