//! homerun's client commands. They speak only the API, so whatever they can do, a script can do too.

mod audit;
mod auth;
mod budget;
mod client;
mod decimal;
mod deploy;
mod gcloud;
mod image;
mod logs;
mod metrics;
mod output;
mod quota;
pub mod server_file;
mod services;
mod status;
mod usage;

use std::path::PathBuf;

use clap::{Args, Subcommand};

pub use client::CliError;
pub use usage::{focus_csv, report_csv};

/// Where the server is, for every client command.
#[derive(Debug, Clone, Args)]
pub struct Target {
    /// Data directory of the homerun to talk to
    #[arg(long, global = true, env = "HOMERUN_DATA_DIR", default_value_os_t = default_data_dir())]
    pub data_dir: PathBuf,
    /// Address of the homerun to talk to instead, for instance http://127.0.0.1:8787; needs a token
    #[arg(long, global = true, env = "HOMERUN_SERVER")]
    pub server: Option<String>,
    /// Access token; without it the one of the data directory is used
    #[arg(long, global = true, env = "HOMERUN_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
}

/// The client commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Print shell exports that point the installed gcloud at this homerun
    #[command(after_help = "Example:\n  eval \"$(homerun gcloud-env)\"\n  gcloud run services list")]
    GcloudEnv(gcloud::EnvArgs),
    /// Write the same settings as a named gcloud configuration
    #[command(after_help = "Example:\n  homerun gcloud-setup\n  gcloud --configuration homerun run services list")]
    GcloudSetup(gcloud::SetupArgs),
    /// Deploy and look after services, with gcloud run's verbs and flags
    Run {
        /// What to do
        #[command(subcommand)]
        command: RunCommand,
    },
    /// Tokens
    Auth {
        /// What to do
        #[command(subcommand)]
        command: auth::AuthCommand,
    },
    /// Images of the local store
    Image {
        /// What to do
        #[command(subcommand)]
        command: image::ImageCommand,
    },
    /// GPU quotas: who uses them, asking for more and deciding about it
    Quota {
        /// What to do
        #[command(subcommand)]
        command: quota::QuotaCommand,
    },
    /// Usage and what it costs
    #[command(after_help = usage::EXAMPLES, args_conflicts_with_subcommands = true)]
    Usage(Box<usage::UsageArgs>),
    /// Show requests, latencies, starts, instances and GPU use over time
    #[command(after_help = metrics::EXAMPLES)]
    Metrics(metrics::MetricsArgs),
    /// Budgets: what a project or a service may cost in a month, and what happens then
    Budget {
        /// What to do
        #[command(subcommand)]
        command: budget::BudgetCommand,
    },
    /// Show who changed what, the newest first
    #[command(after_help = "Examples:\n  homerun audit\n  homerun audit --limit 500 --format json")]
    Audit(audit::AuditArgs),
    /// Show services, instances and GPUs
    #[command(after_help = "Example:\n  homerun status\n  homerun status --format json")]
    Status(status::StatusArgs),
}

/// `homerun run ...`
#[derive(Debug, Subcommand)]
pub enum RunCommand {
    /// Create a service or deploy a new revision of it
    #[command(after_help = deploy::EXAMPLES)]
    Deploy(Box<deploy::DeployArgs>),
    /// Services
    Services {
        /// What to do
        #[command(subcommand)]
        command: services::ServicesCommand,
    },
}

/// Where homerun keeps everything unless told otherwise: `/var/lib/homerun` for root, else
/// `$XDG_DATA_HOME/homerun`.
pub fn default_data_dir() -> PathBuf {
    let own = || {
        std::env::var_os("XDG_DATA_HOME")
            .map(PathBuf::from)
            .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/share")))
    };
    match own() {
        Some(base) if !is_root() => base.join("homerun"),
        _ => PathBuf::from("/var/lib/homerun"),
    }
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|meta| std::os::unix::fs::MetadataExt::uid(&meta) == 0)
}

/// Runs a client command.
///
/// # Errors
/// [`CliError`], to be shown with its sources and exit code 1.
pub async fn run(command: Command, target: &Target) -> Result<(), CliError> {
    match command {
        Command::GcloudEnv(args) => gcloud::env(target, &args).await,
        Command::GcloudSetup(args) => gcloud::setup(target, &args).await,
        Command::Run { command: RunCommand::Deploy(args) } => deploy::run(target, &args).await,
        Command::Run { command: RunCommand::Services { command } } => services::run(target, command).await,
        Command::Auth { command } => auth::run(target, command).await,
        Command::Image { command } => image::run(target, command).await,
        Command::Quota { command } => quota::run(target, command).await,
        Command::Usage(args) => usage::run(target, *args).await,
        Command::Metrics(args) => metrics::run(target, &args).await,
        Command::Budget { command } => budget::run(target, command).await,
        Command::Audit(args) => audit::run(target, &args).await,
        Command::Status(args) => status::run(target, &args).await,
    }
}
