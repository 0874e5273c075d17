//! `homerun usage`: what was used and what it costs.

#[cfg(test)]
mod examples;
mod focus;
mod instances;
mod parquet;
mod prices;
mod sheet;
mod table;
mod time;

use std::collections::BTreeSet;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use chrono::{DateTime, SecondsFormat, Utc};
use clap::{Args, Subcommand, ValueEnum};
use homerun_api::usage::{Focus, Report};
use reqwest::{Method, Url};
use serde_json::Value;

use self::sheet::Sheet;
use self::time::Moment;
use crate::Target;
use crate::client::{CliError, Client, segment};
use crate::output;

pub use self::parquet::ParquetFileError;

/// Below `homerun usage --help`.
pub(crate) const EXAMPLES: &str = "\
Times are UTC. A day or a month stands for its first moment, and --to is the first moment that is not counted.

Examples:
  homerun usage
  homerun usage --from 7d --by day
  homerun usage --from last-month --to this-month --by service,label:team
  homerun usage --by sku --format csv --output usage.csv
  homerun usage --all-projects --by project --format parquet --output usage.parquet
  homerun usage focus --from last-month --to this-month > focus.csv
  homerun usage instances --from 24h
  homerun usage prices";

/// A report as CSV, the same wherever it is asked for.
///
/// # Errors
/// When it cannot be written.
pub fn report_csv(report: &Report) -> Result<Vec<u8>, CliError> {
    Ok(Sheet::of_report(report).csv()?)
}

/// An export in FOCUS columns as CSV.
///
/// # Errors
/// When a row has more or fewer values than there are columns.
pub fn focus_csv(focus: Focus) -> Result<Vec<u8>, CliError> {
    Ok(Sheet::of_focus(focus)?.csv()?)
}

/// `homerun usage ...`
#[derive(Debug, Args)]
pub struct UsageArgs {
    /// What to do instead of a report
    #[command(subcommand)]
    command: Option<UsageCommand>,
    #[command(flatten)]
    report: ReportArgs,
}

/// What there is besides reports.
#[derive(Debug, Subcommand)]
pub enum UsageCommand {
    /// Export in the format of the FinOps Open Cost and Usage Specification (FOCUS)
    #[command(after_help = focus::EXAMPLES)]
    Focus(focus::FocusArgs),
    /// Show single instances and what each was billed for
    #[command(after_help = instances::EXAMPLES)]
    Instances(instances::InstancesArgs),
    /// Show the price list
    #[command(after_help = "Examples:\n  homerun usage prices\n  homerun usage prices --format json")]
    Prices(prices::PricesArgs),
}

/// Whose usage, and when.
#[derive(Debug, Args)]
pub struct Period {
    /// Project; by default the server's
    #[arg(long)]
    project: Option<String>,
    /// All projects together; for the owner of the installation
    #[arg(long, conflicts_with = "project")]
    all_projects: bool,
    /// From when on: a day, a time, an age such as 7d or 24h, today, yesterday, this-month or last-month
    #[arg(long, value_name = "TIME", value_parser = Moment::parse, default_value = "this-month")]
    from: Moment,
    /// Until when
    #[arg(long, value_name = "TIME", value_parser = Moment::parse, default_value = "now")]
    to: Moment,
}

/// Flags of `homerun usage`.
#[derive(Debug, Args)]
pub struct ReportArgs {
    #[command(flatten)]
    period: Period,
    /// What lines are made by, in this order: project, region, service, revision, label:KEY, sku, day, hour
    #[arg(long, value_name = "DIMENSION,...", value_delimiter = ',', value_parser = dimension, default_value = "service")]
    by: Vec<String>,
    /// This service only
    #[arg(long)]
    service: Option<String>,
    /// This region only; every region without it
    #[arg(long)]
    region: Option<String>,
    /// How to print; csv and parquet have exact numbers, a row for each thing used
    #[arg(long, value_enum, default_value_t = ReportFormat::Table)]
    format: ReportFormat,
    /// Write to this file
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// How to print a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    /// For people
    Table,
    /// For spreadsheets
    Csv,
    /// The API's answer as JSON
    Json,
    /// The API's answer as YAML
    Yaml,
    /// For analysis
    Parquet,
}

pub(crate) async fn run(target: &Target, args: UsageArgs) -> Result<(), CliError> {
    let client = Client::new(target)?;
    match args.command {
        None => report(&client, &args.report).await,
        Some(UsageCommand::Focus(args)) => focus::run(&client, &args).await,
        Some(UsageCommand::Instances(args)) => instances::run(&client, &args).await,
        Some(UsageCommand::Prices(args)) => prices::run(&client, &args).await,
    }
}

async fn report(client: &Client, args: &ReportArgs) -> Result<(), CliError> {
    let distinct: BTreeSet<&String> = args.by.iter().collect();
    if distinct.len() < args.by.len() {
        let message = format!("'{}' names something twice; leave one of them out", args.by.join(","));
        return Err(CliError::Flag { flag: "--by", message });
    }
    binary_goes_to_a_file(args.format == ReportFormat::Parquet, args.output.as_deref())?;
    let mut more = vec![("by", args.by.join(","))];
    more.extend(args.service.iter().map(|service| ("service", service.clone())));
    more.extend(args.region.iter().map(|region| ("region", region.clone())));
    let answer = client.call(Method::GET, &args.period.path(client, "usage", Utc::now(), more)?, None).await?;
    let bytes = rendered(answer, args.format)?;
    deliver(&bytes, args.output.as_deref())
}

fn rendered(answer: Value, format: ReportFormat) -> Result<Vec<u8>, CliError> {
    let read = |answer| {
        let report: Report = serde_json::from_value(answer).map_err(CliError::Answer)?;
        sheet::as_many_as(report.by.len(), report.lines.iter().map(|line| line.key.len()))?;
        Ok::<_, CliError>(report)
    };
    Ok(match format {
        ReportFormat::Json => output::json_text(&answer).into_bytes(),
        ReportFormat::Yaml => output::yaml_text(&answer)?.into_bytes(),
        ReportFormat::Table => table::report(&read(answer)?)?.into_bytes(),
        ReportFormat::Csv | ReportFormat::Parquet => {
            let report = read(answer)?;
            // What no row can hold is told beside them.
            for note in &report.notes {
                eprintln!("! {note}");
            }
            if !report.credits.is_empty() {
                eprintln!("! free usage is not in the rows; with it, all costs {} {}", report.cost, report.currency);
            }
            let sheet = Sheet::of_report(&report);
            if format == ReportFormat::Csv { sheet.csv()? } else { parquet::file(&sheet)? }
        }
    })
}

impl Period {
    /// The path and query of a call.
    fn path(
        &self,
        client: &Client,
        verb: &str,
        now: DateTime<Utc>,
        more: Vec<(&'static str, String)>,
    ) -> Result<String, CliError> {
        let path = match self.all_projects {
            true => format!("/homerun/v1/{verb}"),
            false => {
                let project = segment("--project", self.project.as_deref().unwrap_or(client.defaults().0))?;
                format!("/homerun/v1/projects/{project}/{verb}")
            }
        };
        let (from, to) = (self.from.at(now), self.to.at(now));
        let text = |time: DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::Secs, true);
        if from >= to {
            let message = format!("{} is not before {}, where --to ends; give an earlier time", text(from), text(to));
            return Err(CliError::Flag { flag: "--from", message });
        }
        // What is now, the server's clock says.
        let to = (self.to != Moment::NOW).then(|| ("to", text(to)));
        Ok(with_query(&path, [("from", text(from))].into_iter().chain(to).chain(more)))
    }
}

/// A path with a query, encoded.
fn with_query(path: &str, pairs: impl Iterator<Item = (&'static str, String)>) -> String {
    // The host is never asked: only what encodes a query is wanted, and that belongs to an address.
    let address = Url::parse_with_params("http://localhost/", pairs);
    let query = address.ok().and_then(|address| address.query().map(str::to_owned)).unwrap_or_default();
    format!("{path}?{query}")
}

/// What lines can be made by.
fn dimension(text: &str) -> Result<String, String> {
    const PLAIN: [&str; 7] = ["project", "region", "service", "revision", "sku", "day", "hour"];
    let label = text.strip_prefix("label:").is_some_and(|key| !key.is_empty());
    if label || PLAIN.contains(&text) {
        return Ok(text.to_owned());
    }
    Err(format!("'{text}' is unknown; write some of {}, or label:KEY, with commas between", PLAIN.join(", ")))
}

/// A file of bytes would only disturb a terminal.
fn binary_goes_to_a_file(binary: bool, output: Option<&Path>) -> Result<(), CliError> {
    if binary && output.is_none() && std::io::stdout().is_terminal() {
        let message = "Parquet is not for terminals; name a file, for instance --output usage.parquet".to_owned();
        return Err(CliError::Flag { flag: "--output", message });
    }
    Ok(())
}

/// Writes to the file, or else prints.
fn deliver(bytes: &[u8], output: Option<&Path>) -> Result<(), CliError> {
    match output {
        Some(path) => std::fs::write(path, bytes).map_err(|source| CliError::File { path: path.to_owned(), source }),
        None => Ok(std::io::stdout().lock().write_all(bytes)?),
    }
}
