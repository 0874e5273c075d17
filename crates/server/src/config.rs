//! Settings: built-in defaults, then `homerun.toml`, then the command line.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use homerun_backend::gpu::GpuSetting;
use homerun_ingress::Network;
use homerun_model::billing::prices::{PriceError, Prices};
use homerun_model::names::{Project, ProjectId, Region};
use homerun_model::quota::QuotaSettings;
use homerun_model::service::ServiceSettings;
use serde::Deserialize;

use crate::auth::AuthConfig;

/// Everything an operator can set.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where the API and the console listen. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where users' requests arrive. Port 0 takes a free one.
    pub ingress_listen: SocketAddr,
    /// Everything that homerun keeps.
    pub data_dir: PathBuf,
    /// Which GPUs instances may have.
    #[serde(deserialize_with = "from_text")]
    pub gpu: GpuSetting,
    /// What runs instances.
    pub backend: BackendKind,
    /// The project that exists from the start.
    pub project: ProjectConfig,
    /// The region that this machine is in; its GPUs are there.
    pub region: String,
    /// Further regions that services may be deployed to. They have no GPUs.
    pub regions: Vec<String>,
    /// How services' URLs look.
    pub url: UrlConfig,
    /// APIs that are enabled in a new project.
    pub enabled_apis: Vec<String>,
    /// How callers are known.
    pub auth: AuthConfig,
    /// Defaults and limits of services.
    pub services: ServiceSettings,
    /// GPU quotas, and who grants more.
    pub quotas: QuotaSettings,
    /// Leave instances running when homerun is asked to end; the next one adopts them.
    pub leave_running: bool,
    /// How much of services' logs is kept.
    pub logs: LogsConfig,
    /// How usage is kept and what it costs.
    pub usage: UsageConfig,
    /// How long metrics are kept.
    pub metrics: MetricsConfig,
    /// How requests come in.
    pub ingress: IngressConfig,
}

/// How usage is kept and what it costs.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UsageConfig {
    /// A price list to use instead of Cloud Run's; `prices/cloud-run.toml` is the pattern.
    pub prices: Option<PathBuf>,
    /// Whether the price list's free usage is granted.
    pub free_tier: bool,
    /// Days that single instances' records are kept. Roll-ups by day are kept for good.
    pub instance_days: NonZeroU32,
    /// Days that roll-ups by hour are kept.
    pub hour_days: NonZeroU32,
    /// Who sells, as exports name them.
    pub provider: String,
    /// Id of the account that pays, as exports name it.
    pub billing_account: String,
}

/// How long metrics are kept. A deleted service's are kept like any other's.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MetricsConfig {
    /// Days that single minutes are kept, and no longer than hours.
    pub minute_days: NonZeroU32,
    /// Days that hours, and days made of them, are kept.
    pub hour_days: NonZeroU32,
}

/// How requests come in.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IngressConfig {
    /// A file with the certificate that clients see and those that lead to its root, as PEM. Needs `key`.
    pub certificate: Option<PathBuf>,
    /// A file with the certificate's key, as PEM.
    pub key: Option<PathBuf>,
    /// Serve HTTPS with a certificate that homerun makes and keeps in the data directory.
    pub self_made_certificate: bool,
    /// From where services are reached whose ingress setting lets in internal requests only; this machine if absent.
    #[serde(deserialize_with = "all_from_text")]
    pub internal: Vec<Network>,
    /// Where load balancers in front are: what comes from there is let in by `internal-and-cloud-load-balancing`, and
    /// not by `internal`.
    #[serde(deserialize_with = "all_from_text")]
    pub load_balancers: Vec<Network>,
    /// Domains that lead here and whose names may be mapped to services. `localhost` leads to this machine anywhere.
    pub domains: Vec<String>,
    /// Where clients reach ingress, for the DNS records of mapped domains; `ingress_listen` where absent, or, if that
    /// stands for every address, the one by which this machine reaches others.
    pub addresses: Vec<IpAddr>,
    /// MiB that a request's body may have on HTTP/1, 32 on Cloud Run. Any number where absent.
    pub max_http1_request_mib: Option<u64>,
    /// MiB that a response may announce as its length on HTTP/1, 32 on Cloud Run. Any number where absent.
    pub max_http1_response_mib: Option<u64>,
}

impl Default for IngressConfig {
    fn default() -> Self {
        Self {
            certificate: None,
            key: None,
            self_made_certificate: false,
            internal: vec![Network::of(Ipv4Addr::LOCALHOST.into(), 8), Network::of(Ipv6Addr::LOCALHOST.into(), 128)],
            load_balancers: Vec::new(),
            domains: vec!["localhost".to_owned()],
            addresses: Vec::new(),
            max_http1_request_mib: None,
            max_http1_response_mib: None,
        }
    }
}

impl IngressConfig {
    /// Whether homerun itself speaks TLS with clients.
    pub fn has_tls(&self) -> bool {
        self.certificate.is_some() || self.key.is_some() || self.self_made_certificate
    }
}

/// How much of services' logs is kept. The oldest goes first; a deleted service's log is kept like any other.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogsConfig {
    /// Days that an entry is kept.
    pub retention_days: NonZeroU32,
    /// Most MiB of one service.
    pub service_mib: NonZeroU32,
    /// Most MiB of all services together. What the largest logs have is given up first.
    pub total_mib: NonZeroU32,
    /// MiB per second that a service may log for long. What goes beyond is dropped, counted and told.
    pub service_mib_per_second: NonZeroU32,
}

/// The project that exists from the start.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProjectConfig {
    /// Its id.
    pub id: String,
    /// Its number, which is part of URLs.
    pub number: u64,
}

/// How services' URLs look: `SCHEME://[TAG---]SERVICE-NUMBER.REGION.DOMAIN[:PORT]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UrlConfig {
    /// `http`, or `https` where something in front ends TLS; `https` in any case where ingress has a certificate.
    pub scheme: Scheme,
    /// The domain. Names below `localhost` lead to this machine without any set-up.
    pub domain: String,
    /// The port; that of `ingress_listen` where absent.
    pub port: Option<u16>,
}

/// The scheme of services' URLs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// In clear text.
    Http,
    /// In TLS.
    Https,
}

impl Scheme {
    /// As URLs have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

impl std::fmt::Display for Scheme {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What runs instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum BackendKind {
    /// Containers on this machine.
    Oci,
    /// No containers: instances are simulated. For trying the API and for tests.
    Sim,
}

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("cannot read the configuration file {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        #[source]
        source: std::io::Error,
    },
    /// The file is not what it should be; the parser's message names line, field and the right ones.
    #[error("the configuration file {path} is wrong")]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: toml::de::Error,
    },
    /// The price list contradicts itself.
    #[error("the price list {path} is wrong")]
    Prices {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: PriceError,
    },
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8787)),
            ingress_listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            data_dir: homerun_cli::default_data_dir(),
            gpu: GpuSetting::Auto,
            backend: BackendKind::Oci,
            project: ProjectConfig::default(),
            region: "us-central1".to_owned(),
            regions: ["us-east4", "europe-west1", "europe-west4", "asia-southeast1", "asia-northeast1"]
                .map(str::to_owned)
                .to_vec(),
            url: UrlConfig::default(),
            enabled_apis: ["run.googleapis.com", "cloudquotas.googleapis.com", "logging.googleapis.com"]
                .map(str::to_owned)
                .to_vec(),
            auth: AuthConfig::default(),
            services: ServiceSettings::default(),
            quotas: QuotaSettings::default(),
            leave_running: false,
            logs: LogsConfig::default(),
            usage: UsageConfig::default(),
            metrics: MetricsConfig::default(),
            ingress: IngressConfig::default(),
        }
    }
}

impl Default for LogsConfig {
    fn default() -> Self {
        let count = |number| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
        Self {
            retention_days: count(30),
            service_mib: count(64),
            total_mib: count(1024),
            service_mib_per_second: count(8),
        }
    }
}

impl Default for UsageConfig {
    fn default() -> Self {
        let days = |number| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
        Self {
            prices: None,
            free_tier: false,
            instance_days: days(7),
            hour_days: days(92),
            provider: "homerun".to_owned(),
            billing_account: "homerun".to_owned(),
        }
    }
}

impl Default for MetricsConfig {
    fn default() -> Self {
        let days = |number| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
        Self { minute_days: days(7), hour_days: days(400) }
    }
}

impl UsageConfig {
    /// Reads the price list.
    ///
    /// # Errors
    /// When the file cannot be read or the list is wrong.
    pub fn read_prices(&self) -> Result<Prices, ConfigError> {
        const CLOUD_RUN: &str = include_str!("../prices/cloud-run.toml");
        let path = self.prices.clone().unwrap_or_else(|| PathBuf::from("prices/cloud-run.toml"));
        let text = match &self.prices {
            None => CLOUD_RUN.to_owned(),
            Some(path) => {
                std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.clone(), source })?
            }
        };
        let list = toml::from_str(&text).map_err(|source| ConfigError::Parse { path: path.clone(), source })?;
        Prices::new(list).map_err(|source| ConfigError::Prices { path, source })
    }
}

impl Default for ProjectConfig {
    fn default() -> Self {
        Self { id: "demo".to_owned(), number: 100_000_000_001 }
    }
}

impl Default for UrlConfig {
    fn default() -> Self {
        Self { scheme: Scheme::Http, domain: "run.localhost".to_owned(), port: None }
    }
}

impl Config {
    /// Reads a configuration file; what it leaves out has its default.
    ///
    /// # Errors
    /// When the file cannot be read, or names a setting that does not exist, or has a wrong value.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text =
            std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        toml::from_str(&text).map_err(|source| ConfigError::Parse { path: path.to_owned(), source })
    }

    /// The project that exists from the start.
    pub fn default_project(&self) -> Project {
        Project { id: ProjectId::new(&self.project.id), number: self.project.number }
    }

    /// Every region that services may be deployed to, this machine's first.
    pub fn all_regions(&self) -> Vec<Region> {
        let others = self.regions.iter().filter(|region| **region != self.region);
        std::iter::once(&self.region).chain(others).map(Region::new).collect()
    }
}

/// Reads networks, which are written as text in the file.
fn all_from_text<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<Network>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    texts.iter().map(|text| text.parse().map_err(serde::de::Error::custom)).collect()
}

/// Reads a value that is written as text in the file.
fn from_text<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<GpuSetting, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
}
