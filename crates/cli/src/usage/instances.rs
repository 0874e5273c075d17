//! `homerun usage instances`: what each instance was billed for.

use chrono::{SecondsFormat, Utc};
use clap::Args;
use homerun_api::usage::{Instance, Instances};
use reqwest::Method;

use super::Period;
use crate::client::{CliError, Client};
use crate::output::{self, Align, Format, columns};

/// Below `homerun usage instances --help`.
pub(super) const EXAMPLES: &str = "\
Instances that have ended, by when they did. Those that run are in reports, and here once they have ended.

Examples:
  homerun usage instances
  homerun usage instances --from 24h --service ocr
  homerun usage instances --format json";

/// Flags of `homerun usage instances`.
#[derive(Debug, Args)]
pub struct InstancesArgs {
    #[command(flatten)]
    period: Period,
    /// This service only
    #[arg(long)]
    service: Option<String>,
    /// This region only; every region without it
    #[arg(long)]
    region: Option<String>,
    /// How to print
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

pub(super) async fn run(client: &Client, args: &InstancesArgs) -> Result<(), CliError> {
    if args.period.all_projects {
        let message = "is for reports; name one project for single instances".to_owned();
        return Err(CliError::Flag { flag: "--all-projects", message });
    }
    let mut more: Vec<_> = args.service.iter().map(|service| ("service", service.clone())).collect();
    more.extend(args.region.iter().map(|region| ("region", region.clone())));
    let answer =
        client.call(Method::GET, &args.period.path(client, "usage:instances", Utc::now(), more)?, None).await?;
    match args.format {
        Format::Json => Ok(output::json(&answer)?),
        Format::Yaml => Ok(output::yaml(&answer)?),
        Format::Table => {
            let instances: Instances = serde_json::from_value(answer).map_err(CliError::Answer)?;
            print!("{}", table(&instances));
            Ok(())
        }
    }
}

fn table(found: &Instances) -> String {
    if found.instances.is_empty() {
        return format!(
            "No instance has ended in that time. Single instances are kept for {} days; older ones are in reports: \
             homerun usage --help\n",
            found.kept_days
        );
    }
    let right = ["BILLED S", "REQUESTS", "VCPU", "GIB", "GPUS"].map(|name| (name.to_owned(), Align::Right));
    let mut headings: Vec<_> =
        ["INSTANCE", "SERVICE", "STARTED", "ENDED", "BILLING"].map(|name| (name.to_owned(), Align::Left)).into();
    headings.extend(right);
    let row = |one: &Instance| {
        let time = |time: chrono::DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::Millis, true);
        let gpus = match (&one.gpu_type, one.gpus) {
            (Some(gpu), count) => format!("{count} {gpu}"),
            (None, _) => "-".to_owned(),
        };
        vec![
            one.id.clone(),
            one.service.clone(),
            time(one.started),
            time(one.ended),
            one.billing.clone(),
            one.billed_seconds.clone(),
            one.requests.to_string(),
            (one.cpu_millis as f64 / 1000.0).to_string(),
            (one.memory_bytes as f64 / f64::from(1 << 30)).to_string(),
            gpus,
        ]
    };
    columns(&headings, &found.instances.iter().map(row).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b05_single_instances_are_shown_with_what_they_were_billed_for() {
        let time = |text: &str| text.parse().expect("a time");
        let one = Instance {
            id: "ocr-00001-abc-x".to_owned(),
            service: "ocr".to_owned(),
            revision: "ocr-00001-abc".to_owned(),
            started: time("2026-11-26T10:00:00.5Z"),
            ended: time("2026-11-26T10:00:20Z"),
            billing: "instance".to_owned(),
            billed_seconds: "60.0".to_owned(),
            boosted_seconds: "0.0".to_owned(),
            requests: 3,
            cpu_millis: 4500,
            boost_cpu_millis: 0,
            memory_bytes: 1 << 29,
            gpus: 1,
            gpu_type: Some("nvidia-l4".to_owned()),
        };
        let shown = table(&Instances { kept_days: 7, instances: vec![one] });
        let words: Vec<&str> = shown.lines().nth(1).unwrap_or_default().split_whitespace().collect();
        assert_eq!(words[2..6], ["2026-11-26T10:00:00.500Z", "2026-11-26T10:00:20.000Z", "instance", "60.0"]);
        assert_eq!(words[6..], ["3", "4.5", "0.5", "1", "nvidia-l4"]);
        let none = table(&Instances { kept_days: 7, instances: Vec::new() });
        assert!(none.contains("are kept for 7 days"), "{none}");
    }
}
