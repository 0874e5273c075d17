//! `homerun quota`: GPU quotas.

use std::io::Write;

use clap::{Args, Subcommand};
use homerun_api::cloud_quotas::ListQuotaInfos;
use homerun_api::own;
use reqwest::Method;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::Target;
use crate::client::{CliError, Client, segment};
use crate::output::{self, Format};

/// End of the metrics that count instances without zonal redundancy.
const NO_ZONAL_REDUNDANCY: &str = "_no_zonal_redundancy";

/// `homerun quota ...`
#[derive(Debug, Subcommand)]
pub enum QuotaCommand {
    /// Show limits, who holds the GPUs, and the requests for other limits
    #[command(after_help = "Example:\n  homerun quota list\n  homerun quota list --format json")]
    List(ListArgs),
    /// Ask for another limit; less than before is granted at once
    #[command(
        after_help = "Examples:\n  homerun quota request --value 2\n  homerun quota request --gpu-type nvidia-l4 --region us-central1 --value 4 --justification 'two models'"
    )]
    Request(RequestArgs),
    /// Grant what was asked for, or another number of GPUs
    #[command(
        after_help = "Examples:\n  homerun quota approve nvidia-l4-us-central1\n  homerun quota approve nvidia-l4-us-central1 --value 1"
    )]
    Approve(ApproveArgs),
    /// Deny what was asked for
    #[command(after_help = "Example:\n  homerun quota deny nvidia-l4-us-central1 --reason 'the machine has only two'")]
    Deny(DenyArgs),
    /// Show what was asked for, granted and changed, by whom and when
    #[command(after_help = "Example:\n  homerun quota history")]
    History(ListArgs),
}

/// Flags of `homerun quota list` and `history`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Project; by default the server's
    #[arg(long)]
    project: Option<String>,
    /// How to print
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

/// Flags of `homerun quota request`.
#[derive(Debug, Args)]
pub struct RequestArgs {
    /// GPUs that live instances of the project may hold at a time
    #[arg(long)]
    value: u32,
    /// GPU type
    #[arg(long, default_value = "nvidia-l4")]
    gpu_type: String,
    /// For instances with zonal redundancy, which have a quota of their own
    #[arg(long)]
    zonal_redundancy: bool,
    /// Region; by default the server's
    #[arg(long)]
    region: Option<String>,
    /// Project; by default the server's
    #[arg(long)]
    project: Option<String>,
    /// Why, for who decides
    #[arg(long)]
    justification: Option<String>,
    /// Lower the limit even by much, or below what is in use; instances that run go on
    #[arg(long)]
    force: bool,
}

/// Flags of `homerun quota approve`.
#[derive(Debug, Args)]
pub struct ApproveArgs {
    /// The request's id, as `homerun quota list` shows it
    id: String,
    /// GPUs to grant instead of those asked for
    #[arg(long)]
    value: Option<u32>,
    /// Project; by default the server's
    #[arg(long)]
    project: Option<String>,
}

/// Flags of `homerun quota deny`.
#[derive(Debug, Args)]
pub struct DenyArgs {
    /// The request's id, as `homerun quota list` shows it
    id: String,
    /// Why
    #[arg(long)]
    reason: Option<String>,
    /// Project; by default the server's
    #[arg(long)]
    project: Option<String>,
}

pub(crate) async fn run(target: &Target, command: QuotaCommand) -> Result<(), CliError> {
    let client = Client::new(target)?;
    match command {
        QuotaCommand::List(args) => show(&client, &args, "quotas", quotas).await,
        QuotaCommand::History(args) => show(&client, &args, "quotaChanges", history).await,
        QuotaCommand::Request(args) => request(&client, &args).await,
        QuotaCommand::Approve(args) => {
            let decision = own::QuotaDecision { value: args.value, reason: None };
            decide(&client, args.project.as_deref(), &format!("{}:approve", args.id), &decision).await
        }
        QuotaCommand::Deny(args) => {
            let decision = own::QuotaDecision { value: None, reason: args.reason };
            decide(&client, args.project.as_deref(), &format!("{}:deny", args.id), &decision).await
        }
    }
}

/// The path of a project's part of homerun's own API.
fn path(client: &Client, project: Option<&str>, rest: &str) -> Result<String, CliError> {
    let project = segment("--project", project.unwrap_or(client.defaults().0))?;
    Ok(format!("/homerun/v1/projects/{project}/{rest}"))
}

async fn show<T: DeserializeOwned>(
    client: &Client,
    args: &ListArgs,
    rest: &str,
    print: fn(&T) -> std::io::Result<()>,
) -> Result<(), CliError> {
    let answer = client.call(Method::GET, &path(client, args.project.as_deref(), rest)?, None).await?;
    match args.format {
        Format::Json => output::json(&answer)?,
        Format::Yaml => output::yaml(&answer)?,
        Format::Table => print(&serde_json::from_value(answer).map_err(CliError::Answer)?)?,
    }
    Ok(())
}

fn quotas(answer: &own::Quotas) -> std::io::Result<()> {
    let rows = answer.quotas.iter().map(|quota| {
        let holders: Vec<String> = quota.holders.iter().map(holder).collect();
        let limit = match quota.overridden.filter(|limit| *limit < quota.granted) {
            Some(_) => format!("{} (granted {}, overridden)", quota.limit, quota.granted),
            None => quota.limit.to_string(),
        };
        vec![
            quota.display_name.clone(),
            quota.region.clone(),
            quota.used.to_string(),
            limit,
            if holders.is_empty() { "-".to_owned() } else { holders.join(", ") },
        ]
    });
    let rows: Vec<_> = rows.collect();
    let mut out = std::io::stdout();
    if rows.is_empty() {
        writeln!(out, "no GPUs here, and no quota for any")?;
    } else {
        output::table(&["QUOTA", "REGION", "USED", "LIMIT", "HELD BY"], &rows)?;
    }
    let requests: Vec<Vec<String>> = answer.requests.iter().map(request_row).collect();
    if !requests.is_empty() {
        writeln!(out)?;
        output::table(&["REQUEST", "QUOTA", "REGION", "WANTED", "GRANTED", "STATE", "BY", "WHY"], &requests)?;
    }
    if let Some(waiting) = answer.requests.iter().find(|request| request.pending) {
        writeln!(out, "\nTo decide: homerun quota approve {0}, or homerun quota deny {0}", waiting.id)?;
    }
    Ok(())
}

fn holder(holder: &own::QuotaHolder) -> String {
    let since = holder.since.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    format!("{} ({}) since {since}", holder.service, holder.gpus)
}

fn request_row(request: &own::QuotaRequest) -> Vec<String> {
    vec![
        request.id.clone(),
        request.quota_id.clone(),
        request.region.clone().unwrap_or_else(|| "every".to_owned()),
        request.preferred.to_string(),
        request.granted.to_string(),
        match (request.pending, request.granted == request.preferred) {
            (true, _) => "waits for approval".to_owned(),
            (false, true) => "granted".to_owned(),
            (false, false) => request.detail.clone(),
        },
        request.requester.clone(),
        if request.justification.is_empty() { "-".to_owned() } else { request.justification.clone() },
    ]
}

fn history(answer: &own::QuotaChanges) -> std::io::Result<()> {
    let rows = answer.changes.iter().map(|change| {
        vec![
            change.time.to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
            change.by.clone(),
            change.action.clone(),
            change.quota_id.clone(),
            change.region.clone().unwrap_or_else(|| "every".to_owned()),
            format!("{} -> {}", change.from, change.to),
            change.request.clone().unwrap_or_else(|| "-".to_owned()),
            change.note.clone(),
        ]
    });
    let rows: Vec<_> = rows.collect();
    if rows.is_empty() {
        return writeln!(std::io::stdout(), "nothing was asked for or changed yet");
    }
    output::table(&["TIME", "BY", "ACTION", "QUOTA", "REGION", "GPUS", "REQUEST", "NOTE"], &rows)
}

/// Asks by the calls that gcloud makes: changes the preference for the quota and region, or makes it.
async fn request(client: &Client, args: &RequestArgs) -> Result<(), CliError> {
    let (project, region) = client.defaults();
    let project = segment("--project", args.project.as_deref().unwrap_or(project))?;
    let region = segment("--region", args.region.as_deref().unwrap_or(region))?;
    let global = format!("/v1/projects/{project}/locations/global");
    let quota_id = quota_id(client, &global, args).await?;
    let base = format!("{global}/quotaPreferences");
    let filter = format!("?filter=quotaId:{quota_id}%20AND%20dimensions.region:{region}");
    let found = client.call(Method::GET, &format!("{base}{filter}"), None).await?;
    let zonal = if args.zonal_redundancy { "-zonal" } else { "" };
    let id = match found["quotaPreferences"][0]["name"].as_str().and_then(|name| name.rsplit('/').next()) {
        Some(id) => id.to_owned(),
        None => format!("{}{zonal}-{region}", args.gpu_type),
    };
    let mut body = json!({
        "service": "run.googleapis.com",
        "quotaId": quota_id,
        "dimensions": {"region": region},
        "quotaConfig": {"preferredValue": args.value.to_string()},
    });
    if let Some(why) = &args.justification {
        body["justification"] = json!(why);
    }
    let ignored = match args.force {
        true => "&ignoreSafetyChecks=QUOTA_DECREASE_BELOW_USAGE&ignoreSafetyChecks=QUOTA_DECREASE_PERCENTAGE_TOO_HIGH",
        false => "",
    };
    let answer = client.call(Method::PATCH, &format!("{base}/{id}?allowMissing=true{ignored}"), Some(&body)).await?;
    let mut out = std::io::stdout();
    let granted = output::text(&answer, "/quotaConfig/grantedValue");
    if answer["reconciling"] == Value::Bool(true) {
        writeln!(
            out,
            "Request [{id}] for {} in {region} waits for approval; {granted} are granted until then.",
            args.value
        )?;
        writeln!(out, "To decide: homerun quota approve {id}, or homerun quota deny {id}")?;
    } else {
        writeln!(out, "Granted: {granted} in {region}.")?;
    }
    Ok(())
}

/// The id of the quota that the flags mean.
async fn quota_id(client: &Client, global: &str, args: &RequestArgs) -> Result<String, CliError> {
    let path = format!("{global}/services/run.googleapis.com/quotaInfos");
    let infos = client.call(Method::GET, &path, None).await?;
    let infos: ListQuotaInfos = serde_json::from_value(infos).map_err(CliError::Answer)?;
    let suffix = if args.zonal_redundancy { "" } else { NO_ZONAL_REDUNDANCY };
    let metric = format!("run.googleapis.com/{}_gpu_allocation{suffix}", args.gpu_type.replace('-', "_"));
    if let Some(info) = infos.quota_infos.iter().find(|info| info.metric == metric) {
        return Ok(info.quota_id.clone());
    }
    let types = infos.quota_infos.iter().filter_map(|info| {
        let name = info.metric.strip_prefix("run.googleapis.com/")?;
        Some(name.strip_suffix(NO_ZONAL_REDUNDANCY)?.strip_suffix("_gpu_allocation")?.replace('_', "-"))
    });
    let types: Vec<String> = types.collect();
    let message = format!("'{}' does not exist; it must be of {}", args.gpu_type, types.join(", "));
    Err(CliError::Flag { flag: "--gpu-type", message })
}

async fn decide(
    client: &Client,
    project: Option<&str>,
    request: &str,
    decision: &own::QuotaDecision,
) -> Result<(), CliError> {
    let body = json!({"value": decision.value, "reason": decision.reason});
    let path = path(client, project, &format!("quotaPreferences/{}", segment("ID", request)?))?;
    let answer = client.call(Method::POST, &path, Some(&body)).await?;
    let request: own::QuotaRequest = serde_json::from_value(answer).map_err(CliError::Answer)?;
    writeln!(std::io::stdout(), "[{}] {}", request.id, request.detail)?;
    Ok(())
}
