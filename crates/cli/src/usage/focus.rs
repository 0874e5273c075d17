//! `homerun usage focus`: usage and cost in the columns of the FinOps Open Cost and Usage Specification.

use std::path::PathBuf;

use chrono::Utc;
use clap::{Args, ValueEnum};
use reqwest::Method;

use super::sheet::Sheet;
use super::{Period, binary_goes_to_a_file, deliver, parquet};
use crate::client::{CliError, Client};
use crate::output;

/// Below `homerun usage focus --help`.
pub(super) const EXAMPLES: &str = "\
Examples:
  homerun usage focus --from last-month --to this-month > focus.csv
  homerun usage focus --all-projects --by hour --format parquet --output focus.parquet";

/// Flags of `homerun usage focus`.
#[derive(Debug, Args)]
pub struct FocusArgs {
    #[command(flatten)]
    period: Period,
    /// How long a charge period is
    #[arg(long, value_enum, default_value_t = By::Day)]
    by: By,
    /// How to print
    #[arg(long, value_enum, default_value_t = FocusFormat::Csv)]
    format: FocusFormat,
    /// Write to this file
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Lengths of a charge period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum By {
    /// A day, UTC
    Day,
    /// An hour
    Hour,
}

/// How to print the export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FocusFormat {
    /// A heading and rows; an empty field is null
    Csv,
    /// The API's answer: columns with their types, and rows
    Json,
    /// Typed columns
    Parquet,
}

pub(super) async fn run(client: &Client, args: &FocusArgs) -> Result<(), CliError> {
    binary_goes_to_a_file(args.format == FocusFormat::Parquet, args.output.as_deref())?;
    let by = if args.by == By::Day { "day" } else { "hour" };
    let path = args.period.path(client, "usage:focus", Utc::now(), vec![("by", by.to_owned())])?;
    let answer = client.call(Method::GET, &path, None).await?;
    let bytes = match args.format {
        FocusFormat::Json => output::json_text(&answer).into_bytes(),
        FocusFormat::Csv | FocusFormat::Parquet => {
            let sheet = Sheet::of_focus(serde_json::from_value(answer).map_err(CliError::Answer)?)?;
            if args.format == FocusFormat::Csv { sheet.csv()? } else { parquet::file(&sheet)? }
        }
    };
    deliver(&bytes, args.output.as_deref())
}
