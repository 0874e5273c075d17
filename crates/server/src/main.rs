//! The `homerun` program: the platform and its client commands in one binary.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Parser, Subcommand};
use homerun_backend::gpu::GpuSetting;
use homerun_cli::Target;
use homerun_server::clock::SystemClock;
use homerun_server::config::{BackendKind, Config, Scheme};
use homerun_server::up;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Runs containers on your own machine the way Cloud Run does, GPUs included.
#[derive(Parser)]
#[command(
    name = "homerun",
    version,
    after_help = "Start here:\n  homerun up\n  eval \"$(homerun gcloud-env)\"\n  gcloud beta run deploy hello --image IMAGE --gpu 1"
)]
struct Program {
    #[command(flatten)]
    target: Target,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the whole platform in the foreground
    #[command(after_help = UP_EXAMPLES)]
    Up(UpArgs),
    #[command(flatten)]
    Client(homerun_cli::Command),
}

const UP_EXAMPLES: &str = "Examples:
  homerun up
  homerun up --gpu simulated:nvidia-l4=2 --idle-timeout 30
  homerun up --listen 127.0.0.1:9797 --ingress-listen 127.0.0.1:9090 --data-dir ./state

Logs are kept for 30 days, at most 64 MiB of a service and 1 GiB in all, and a service may log
8 MiB per second. The settings file changes that:
  [logs]
  retention_days = 30
  service_mib = 64
  total_mib = 1024
  service_mib_per_second = 8

Services share GPUs: an instance that is idle and above its service's minimum gives its GPU to
another service of the project that waits for one. The settings file changes that:
  [services]
  idle_gpus_give_way = true
  give_way_seconds = 5       # how long it is idle before it does

Requests come in clear text, or over HTTPS with --tls-certificate and --tls-key, or --tls-self-made.
The settings file has more about how they come in:
  [ingress]
  internal = [\"127.0.0.0/8\"]   # who reaches services that take internal requests only
  load_balancers = []          # whose requests count as a load balancer's
  max_http1_request_mib = 32   # Cloud Run's limits; none if left out
  max_http1_response_mib = 32

A project has GPU quotas (homerun quota --help), which begin as the settings file says:
  [quotas]
  default_project = 2        # GPUs of each type for the first project; all there are if left out
  other_projects = 0
  auto_approve = \"never\"     # \"machine\": up to what there is needs no approval; or a number

Usage is metered (homerun usage --help), and costs what a price list says, Cloud Run's by default:
  [usage]
  prices = \"prices.toml\"     # another list; crates/server/prices/cloud-run.toml is the pattern
  free_tier = false          # grant the list's free usage
  instance_days = 7          # how long single instances are kept
  hour_days = 92             # how long hours are kept; days are kept for good

Metrics (homerun metrics --help) are kept by minute, hour and day:
  [metrics]
  minute_days = 7            # how long single minutes are kept
  hour_days = 400            # how long hours and days are kept";

#[derive(Args)]
struct UpArgs {
    /// Where the API listens [default: 127.0.0.1:8787]
    #[arg(long)]
    listen: Option<SocketAddr>,
    /// Where users' requests arrive [default: 127.0.0.1:8080]
    #[arg(long)]
    ingress_listen: Option<SocketAddr>,
    /// GPUs: auto, none, or simulated:TYPE=COUNT[,TYPE=COUNT] [default: auto]
    #[arg(long)]
    gpu: Option<GpuSetting>,
    /// What runs instances [default: oci]
    #[arg(long, value_enum)]
    backend: Option<BackendKind>,
    /// Stop idle instances after this many seconds unless their service says otherwise
    /// [default: 900, with a GPU 600]
    #[arg(long)]
    idle_timeout: Option<u32>,
    /// Serve requests over HTTPS with this certificate, PEM, and those that lead to its root
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_certificate: Option<PathBuf>,
    /// The certificate's key, PEM
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    tls_key: Option<PathBuf>,
    /// Serve requests over HTTPS with a certificate that is made and kept in the data directory
    #[arg(long, conflicts_with = "tls_certificate")]
    tls_self_made: bool,
    /// Leave instances running at the end; the next `homerun up` adopts them
    #[arg(long)]
    leave_running: bool,
    /// Settings file
    #[arg(long)]
    config: Option<PathBuf>,
}

fn main() -> ExitCode {
    // Before any thread exists: this process may be a helper that starts a container.
    homerun_backend::oci::helper_main_if_asked();
    let program = Program::parse();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error),
    };
    let outcome: Result<(), Box<dyn std::error::Error>> = runtime.block_on(async {
        match program.command {
            Command::Up(args) => run_up(&program.target, args).await,
            Command::Client(command) => Ok(homerun_cli::run(command, &program.target).await?),
        }
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(error.as_ref()),
    }
}

/// Prints an error with its causes, once.
fn fail(error: &dyn std::error::Error) -> ExitCode {
    let mut text = format!("ERROR: {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    eprintln!("{text}");
    ExitCode::FAILURE
}

/// Each request takes up to two descriptors, and the usual soft limit is 1024.
fn raise_open_files() {
    let raised =
        getrlimit(Resource::RLIMIT_NOFILE).and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        tracing::warn!(%error, "the limit of open files could not be raised; many connections may be refused");
    }
}

async fn run_up(target: &Target, args: UpArgs) -> Result<(), Box<dyn std::error::Error>> {
    let filter = EnvFilter::try_from_env("HOMERUN_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let colour = std::io::stderr().is_terminal();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(colour)
        .with_writer(std::io::stderr)
        .with_target(false)
        .init();
    let config = settings(target, args)?;
    raise_open_files();
    // Asked for before anything is started, so that an early signal ends in order too.
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let up = up::start(config, Arc::new(SystemClock)).await?;
    greet(&up);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("ending");
    tokio::select! {
        () = up.shutdown() => Ok(()),
        _ = interrupt.recv() => Err("interrupted again while ending; what is left is cleaned up by the next start".into()),
    }
}

/// Defaults, then the file, then the flags.
fn settings(target: &Target, args: UpArgs) -> Result<Config, Box<dyn std::error::Error>> {
    let mut config = match &args.config {
        Some(path) => Config::read(path)?,
        None => Config::default(),
    };
    if args.config.is_none() || target.data_dir != homerun_cli::default_data_dir() {
        config.data_dir.clone_from(&target.data_dir);
    }
    config.data_dir = std::path::absolute(&config.data_dir)?;
    config.listen = args.listen.unwrap_or(config.listen);
    config.ingress_listen = args.ingress_listen.unwrap_or(config.ingress_listen);
    config.gpu = args.gpu.unwrap_or(config.gpu);
    config.backend = args.backend.unwrap_or(config.backend);
    config.leave_running |= args.leave_running;
    if let Some(certificate) = args.tls_certificate {
        (config.ingress.certificate, config.ingress.key) = (Some(certificate), args.tls_key);
        config.ingress.self_made_certificate = false;
    }
    if args.tls_self_made {
        (config.ingress.certificate, config.ingress.key) = (None, None);
        config.ingress.self_made_certificate = true;
    }
    if config.ingress.has_tls() {
        config.url.scheme = Scheme::Https;
    }
    if let Some(seconds) = args.idle_timeout {
        config.services.idle_timeout_seconds = seconds;
        config.services.idle_timeout_gpu_seconds = seconds;
    }
    Ok(config)
}

fn greet(up: &up::Up) {
    let dir = up.platform.config.data_dir.display();
    println!("homerun {} is up", env!("CARGO_PKG_VERSION"));
    println!("  API      http://{}", up.control);
    println!("  console  http://{}/console", up.control);
    let scheme = if up.platform.config.ingress.has_tls() { "https" } else { "http" };
    println!("  requests {scheme}://{}", up.ingress);
    println!("  data     {dir}");
    for device in up.platform.backend.devices() {
        let simulated = if device.simulated { " (simulated: no CUDA work can run)" } else { "" };
        println!("  GPU      {} {}{simulated}", device.gpu_type, device.id);
    }
    println!("Point gcloud at it:  eval \"$(homerun gcloud-env --data-dir {dir})\"");
    println!("Sign in with:        homerun auth print-access-token --data-dir {dir}");
}
