//! `homerun run services logs ...`: what a service has logged, and what it logs now.
//!
//! gcloud's own `logs tail` cannot be pointed here: it starts a separate program that speaks gRPC to
//! Google alone.

use std::io::Write;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use clap::{Args, Subcommand, ValueEnum};
use homerun_api::logging::{ListLogEntriesRequest, ListLogEntriesResponse, LogEntry};
use reqwest::Method;

use crate::Target;
use crate::client::{CliError, Client};
use crate::services::{Place, Scope};

/// Entries of a page, the most that there may be.
const PAGE_SIZE: usize = 1000;
/// Pause between two looks for new entries.
const POLL: Duration = Duration::from_millis(500);

/// What to do with the logs of a service.
#[derive(Debug, Subcommand)]
pub enum LogsCommand {
    /// Print what a service has logged, the oldest first
    #[command(after_help = "Examples:\n  homerun run services logs read hello --limit 20\n  \
                            homerun run services logs read hello --freshness 10m --log-filter 'severity>=ERROR'")]
    Read(ReadArgs),
    /// Print what a service logs from now on, until interrupted
    #[command(after_help = "Example:\n  homerun run services logs tail hello --log-filter 'httpRequest.status>=500'")]
    Tail(TailArgs),
}

/// Flags of `read`.
#[derive(Debug, Args)]
pub struct ReadArgs {
    #[command(flatten)]
    of: TailArgs,
    /// Most entries to print
    #[arg(long)]
    limit: Option<usize>,
    /// Which entries are counted first where there is a limit
    #[arg(long, value_enum, default_value_t = Order::Desc)]
    order: Order,
    /// Age of the oldest entry to print, for instance 90s, 10m, 2h30m or 7d; not where --order is asc or
    /// the filter has a timestamp of its own
    #[arg(long, value_parser = duration, default_value = "1d")]
    freshness: TimeDelta,
}

/// Flags that both have.
#[derive(Debug, Args)]
pub struct TailArgs {
    /// The service's name
    service: String,
    /// Which entries, in the Logging query language
    #[arg(long)]
    log_filter: Option<String>,
    #[command(flatten)]
    scope: Scope,
}

/// Which entries come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Order {
    /// The newest
    Desc,
    /// The oldest
    Asc,
}

pub(crate) async fn run(target: &Target, command: LogsCommand) -> Result<(), CliError> {
    let client = Client::new(target)?;
    match command {
        LogsCommand::Read(args) => read(&client, &args).await,
        LogsCommand::Tail(args) => tail(&client, &args).await,
    }
}

async fn read(client: &Client, args: &ReadArgs) -> Result<(), CliError> {
    let mut filter = filter(client, &args.of);
    let own_time = args.of.log_filter.as_ref().is_some_and(|filter| filter.contains("timestamp"));
    if args.order == Order::Desc && !own_time {
        filter.push_str(&format!(" AND timestamp>=\"{}\"", rfc3339(Utc::now() - args.freshness)));
    }
    let order = if args.order == Order::Desc { "timestamp desc" } else { "timestamp asc" };
    let mut entries = list(client, &args.of, &filter, order, args.limit).await?;
    if args.order == Order::Desc {
        entries.reverse();
    }
    print(&entries)
}

async fn tail(client: &Client, args: &TailArgs) -> Result<(), CliError> {
    let filter = filter(client, args);
    // The server's clock counts: from the newest entry that there is.
    let newest = list(client, args, &filter, "timestamp desc", Some(1)).await?;
    let mut seen = newest.first().map_or(DateTime::UNIX_EPOCH, |entry| entry.receive_timestamp);
    loop {
        let later = format!("{filter} AND receiveTimestamp>\"{}\"", rfc3339(seen));
        let entries = list(client, args, &later, "timestamp asc", None).await?;
        seen = entries.iter().map(|entry| entry.receive_timestamp).fold(seen, DateTime::max);
        print(&entries)?;
        tokio::time::sleep(POLL).await;
    }
}

/// The filter that gcloud's commands of the same names make. The caller's own part comes first, so that
/// an error tells the right place; OR binds closer than AND, so it needs no parentheses.
fn filter(client: &Client, args: &TailArgs) -> String {
    let own = args.log_filter.as_ref().map_or_else(String::new, |filter| format!("{filter}\nAND "));
    let place = Place::new(client, &args.scope);
    format!(
        "{own}resource.type = cloud_run_revision AND resource.labels.service_name = {} AND \
         resource.labels.location = {} AND severity >= DEFAULT",
        quoted(&args.service),
        quoted(&place.region)
    )
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn rfc3339(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(chrono::SecondsFormat::Nanos, true)
}

/// Entries in order, at most `limit`.
async fn list(
    client: &Client,
    args: &TailArgs,
    filter: &str,
    order: &str,
    limit: Option<usize>,
) -> Result<Vec<LogEntry>, CliError> {
    let limit = limit.unwrap_or(usize::MAX);
    let mut request = ListLogEntriesRequest {
        resource_names: vec![format!("projects/{}", Place::new(client, &args.scope).project)],
        filter: filter.to_owned(),
        order_by: order.to_owned(),
        ..ListLogEntriesRequest::default()
    };
    let mut entries = Vec::new();
    while entries.len() < limit {
        request.page_size = i32::try_from(PAGE_SIZE.min(limit - entries.len())).unwrap_or(i32::MAX);
        let body = serde_json::to_value(&request).map_err(CliError::Answer)?;
        let answer = client.call(Method::POST, "/v2/entries:list", Some(&body)).await?;
        let page: ListLogEntriesResponse = serde_json::from_value(answer).map_err(CliError::Answer)?;
        entries.extend(page.entries);
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    Ok(entries)
}

fn print(entries: &[LogEntry]) -> Result<(), CliError> {
    let mut out = std::io::stdout().lock();
    for entry in entries {
        writeln!(out, "{} {}", entry.timestamp.format("%Y-%m-%d %H:%M:%S"), text(entry))?;
    }
    Ok(out.flush()?)
}

/// What an entry says: a request as gcloud prints it, a text, a message, or JSON.
fn text(entry: &LogEntry) -> String {
    let message = || entry.json_payload.as_ref()?.get("message")?.as_str().map(str::to_owned);
    let json = || entry.json_payload.as_ref().and_then(|json| serde_json::to_string(json).ok());
    let payload = entry.text_payload.clone().or_else(message).or_else(json);
    let request = entry.http_request.as_ref().filter(|_| entry.log_name.ends_with("%2Frequests"));
    let request = request.map(|request| {
        format!("{} {} {}", request.request_method, request.status.unwrap_or_default(), request.request_url)
    });
    match (request, payload) {
        (Some(request), Some(payload)) => format!("{request} {payload}"),
        (Some(text), None) | (None, Some(text)) => text,
        (None, None) => String::new(),
    }
}

/// Reads `2h30m` and the like; seconds where there is no unit.
pub(crate) fn duration(text: &str) -> Result<TimeDelta, String> {
    let wrong = || format!("'{text}' is no duration; write for instance 90s, 10m, 2h30m or 7d");
    let mut sum = TimeDelta::zero();
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let number: i64 = rest[..digits].parse().map_err(|_| wrong())?;
        let (seconds, behind) = match rest[digits..].chars().next() {
            None => (1, ""),
            Some('s') => (1, &rest[digits + 1..]),
            Some('m') => (60, &rest[digits + 1..]),
            Some('h') => (3600, &rest[digits + 1..]),
            Some('d') => (86_400, &rest[digits + 1..]),
            Some('w') => (604_800, &rest[digits + 1..]),
            Some(_) => return Err(wrong()),
        };
        let part = number.checked_mul(seconds).and_then(TimeDelta::try_seconds).ok_or_else(wrong)?;
        sum = sum.checked_add(&part).ok_or_else(wrong)?;
        rest = behind;
    }
    let years = TimeDelta::days(36_500);
    if text.is_empty() || sum > years { Err(wrong()) } else { Ok(sum) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s12_a_freshness_is_read_or_refused() {
        for (text, seconds) in [("90s", 90), ("45", 45), ("10m", 600), ("2h30m", 9000), ("1d", 86_400), ("1w", 604_800)]
        {
            assert_eq!(duration(text), Ok(TimeDelta::seconds(seconds)), "{text}");
        }
        for text in ["", "x", "1x", "d", "-1h", "1.5h", "99999999999999999999d", "9999999999d"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
