//! `homerun up`: the whole platform in the foreground.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use homerun_backend::Backend;
use homerun_backend::oci::{self, OciBackend};
use homerun_backend::sim::SimBackend;
use homerun_cli::server_file::{self, ServerFile};
use homerun_ingress::{Authorize, Connect, Ingress, Invocation, Tls};
use homerun_model::gpu::{GpuInventory, published_types};
use homerun_model::iam::{INVOKE, Resource};
use homerun_model::names::{DeviceId, InstanceId, Project, Region, ServiceKey};
use homerun_model::plan::place::Gpu;
use homerun_model::quota::Quotas;
use homerun_model::service::CUSTOM_AUDIENCES;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};

use crate::app::{accounts, projects};
use crate::auth::Auth;
use crate::certificate::{self, CertificateError, renew};
use crate::clock::Clock;
use crate::config::{BackendKind, Config, ConfigError};
use crate::console;
use crate::http;
use crate::limits::Limits;
use crate::lock::{DirLock, LockError};
use crate::logs::Logs;
use crate::meter;
use crate::metrics::{self, Fan};
use crate::platform::{Gpus, Live, Platform, service_host};
use crate::store::{Store, StoreError, StoredProject};
use crate::tasks;
use crate::tasks::autoscale::Autoscale;
use crate::tasks::reconcile::Reconcile;

/// Why homerun could not start.
#[derive(Debug, thiserror::Error)]
pub enum UpError {
    /// The data directory cannot be used.
    #[error("the data directory {path} cannot be used")]
    DataDir {
        /// The directory.
        path: PathBuf,
        /// What went wrong.
        #[source]
        source: io::Error,
    },
    /// Another homerun runs on the same data directory.
    #[error("another homerun (process {pid}) runs on {path}; end it first or choose another --data-dir")]
    Running {
        /// The directory.
        path: PathBuf,
        /// The other's process id.
        pid: String,
    },
    /// An address cannot be listened on.
    #[error("cannot listen on {address}; is something else running there? Choose another with {flag}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The flag that sets it.
        flag: &'static str,
        /// What went wrong.
        #[source]
        source: io::Error,
    },
    /// A settings file cannot be used.
    #[error("the settings cannot be used")]
    Config(#[from] ConfigError),
    /// Requests are to come in TLS, and there is no certificate for it.
    #[error("requests cannot be served over HTTPS")]
    Certificate(#[from] CertificateError),
    /// The store cannot be used.
    #[error("the store cannot be used")]
    Store(#[from] StoreError),
    /// The backend cannot be used.
    #[error("the backend cannot be used")]
    Backend(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// A platform that runs.
pub struct Up {
    /// What it is made of.
    pub platform: Arc<Platform>,
    /// Where the API listens.
    pub control: SocketAddr,
    /// Where users' requests arrive.
    pub ingress: SocketAddr,
    tasks: JoinSet<()>,
    serving: JoinHandle<()>,
    meter: JoinHandle<()>,
    end_ingress: oneshot::Sender<()>,
    logs: Logs,
    _lock: DirLock,
}

/// Starts everything; returns when both ports accept.
///
/// # Errors
/// See [`UpError`]. Nothing is left running then.
pub async fn start(config: Config, clock: Arc<dyn Clock>) -> Result<Up, UpError> {
    let data = |source| UpError::DataDir { path: config.data_dir.clone(), source };
    std::fs::create_dir_all(&config.data_dir).map_err(data)?;
    let lock = DirLock::take(&config.data_dir).map_err(|error| match error {
        LockError::Held(pid) => UpError::Running { path: config.data_dir.clone(), pid },
        LockError::Io(source) => data(source),
    })?;
    let prices = config.usage.read_prices()?;
    let logs = Logs::open(&config.data_dir.join("logs"), &config.logs, config.url.scheme.as_str(), clock.clone());
    let logs = logs.map_err(data)?;
    let store = Store::open(&config.data_dir.join("homerun.db"))?;
    let (meter, metrics) = (meter::open(&config.data_dir)?, metrics::open(&config.data_dir)?);
    let project = config.default_project();
    let enabled_apis = config.enabled_apis.iter().cloned().collect();
    let created_at = Some(clock.now());
    store.ensure_project(&StoredProject { project: project.clone(), enabled_apis, created_at })?;
    accounts::ensure_default(&store, &project, clock.now())?;
    projects::ensure_policy(&store, &project)?;
    let auth = Auth::open(&config.data_dir, &config.auth, store.clone(), clock.clone());
    let auth = Arc::new(auth.map_err(data)?);

    let control = listen(config.listen, "--listen").await?;
    let ingress_listener = listen(config.ingress_listen, "--ingress-listen").await?;
    let (control_address, ingress_address) =
        (control.local_addr().map_err(data)?, ingress_listener.local_addr().map_err(data)?);

    let backend = open_backend(&config, &logs).await?;
    let gpus = gpus(&config, backend.as_ref());
    let base = Quotas::new(config.quotas.clone(), project.id.clone(), &gpus.inventory);
    let quotas = Limits::open(base, &store)?;
    let doors = Arc::new(Doors {
        backend: backend.clone(),
        auth: auth.clone(),
        store: store.clone(),
        project,
        domain: config.url.domain.clone(),
    });
    let certificate = certificate::load(&config)?;
    let settings = ingress_settings(&config, certificate.as_ref().map(|found| found.tls.clone()));
    let observe = Arc::new(Fan { metrics: metrics.clone(), logs: logs.clone() });
    let ingress = Ingress::new(doors.clone(), doors, observe, settings);
    let url_port = config.url.port.unwrap_or(ingress_address.port());
    let live = Live::default();
    let platform =
        Platform { config, store, backend, ingress, clock, gpus, quotas, meter, metrics, prices, live, url_port };
    let platform = Arc::new(platform);

    let mut tasks = JoinSet::new();
    // Once before the first plan: else GPUs would go to whoever needs no number to want one.
    let mut autoscale = Autoscale::new(&platform);
    autoscale.pass(&platform);
    // Before anything of what an earlier homerun left is forgotten.
    tasks::meter::look(&platform, &platform.backend.list());
    let meter = tokio::spawn(tasks::meter::run(platform.clone()));
    tasks::budgets::look(&platform);
    tasks.spawn(autoscale.run(platform.clone()));
    tasks.spawn(tasks::metrics::run(platform.clone()));
    tasks.spawn(tasks::budgets::run(platform.clone()));
    tasks.spawn(tasks::budgets::run_telling(platform.clone()));
    tasks.spawn(renew::run(certificate, platform.config.clone()));
    // Once before the first request: else who asks for what was there before would be told that it does not exist.
    let mut reconcile = Reconcile::new(&platform);
    reconcile.pass_or_tell(&platform).await;
    tasks.spawn(reconcile.run(platform.clone()));
    let serving = platform.ingress.clone();
    let (end_ingress, ending) = oneshot::channel::<()>();
    // It ends by itself when the other half is gone, too.
    let serving = tokio::spawn(async move {
        if let Err(error) = serving.serve(ingress_listener, async { drop(ending.await) }).await {
            tracing::error!(%error, "requests cannot be served: the threads for them cannot be made");
        }
    });
    let console = console::router(platform.clone(), auth.clone());
    let router = http::router(platform.clone(), auth, control_address, console);
    tasks.spawn(http::serve(control, router));
    let file = ServerFile {
        control: control_address,
        ingress: ingress_address,
        pid: std::process::id(),
        project: platform.config.project.id.clone(),
        region: platform.config.region.clone(),
    };
    let data_dir = &platform.config.data_dir;
    server_file::write(data_dir, &file).map_err(|source| UpError::DataDir { path: data_dir.clone(), source })?;
    let (control, ingress) = (control_address, ingress_address);
    Ok(Up { platform, control, ingress, tasks, serving, meter, end_ingress, logs, _lock: lock })
}

impl Up {
    /// Ends everything: no new connection is accepted and requests in flight get their time to end
    /// ([`homerun_ingress::Settings::drain`]), the loops stop, then the backend stops every instance, or
    /// lets go of them if the settings say so.
    pub async fn shutdown(mut self) {
        // Nobody hears it if ingress has ended before.
        let _ = self.end_ingress.send(());
        let _ = self.serving.await;
        self.tasks.shutdown().await;
        let mut instances = self.platform.backend.shutdown(self.platform.config.leave_running).await;
        self.meter.abort();
        instances.extend(self.platform.backend.list());
        tasks::meter::look(&self.platform, &instances);
        tasks::metrics::flush(&self.platform);
        let logs = self.logs;
        // It fails only by a panic, which has been printed.
        let _ = tokio::task::spawn_blocking(move || logs.close()).await;
        server_file::remove(&self.platform.config.data_dir);
    }
}

fn ingress_settings(config: &Config, tls: Option<Tls>) -> homerun_ingress::Settings {
    let bytes = |mib: Option<u64>| mib.map(|mib| mib << 20);
    homerun_ingress::Settings {
        scheme: config.url.scheme.as_str(),
        tls,
        internal: config.ingress.internal.clone(),
        load_balancers: config.ingress.load_balancers.clone(),
        max_http1_request: bytes(config.ingress.max_http1_request_mib),
        max_http1_response: bytes(config.ingress.max_http1_response_mib),
        ..homerun_ingress::Settings::default()
    }
}

async fn listen(address: SocketAddr, flag: &'static str) -> Result<TcpListener, UpError> {
    TcpListener::bind(address).await.map_err(|source| UpError::Listen { address, flag, source })
}

async fn open_backend(config: &Config, logs: &Logs) -> Result<Arc<dyn Backend>, UpError> {
    let sink = Arc::new(logs.clone());
    match config.backend {
        BackendKind::Sim => {
            let backend = SimBackend::open(&config.gpu, &config.data_dir, sink)
                .map_err(|error| UpError::Backend(error.into()))?;
            Ok(Arc::new(backend))
        }
        BackendKind::Oci => {
            let settings = oci::Settings { data_dir: config.data_dir.clone(), gpu: config.gpu.clone() };
            let backend = OciBackend::open(settings, sink).await.map_err(|error| UpError::Backend(error.into()))?;
            Ok(Arc::new(backend))
        }
    }
}

/// GPUs as the rules see them. This machine is one zone of its region.
fn gpus(config: &Config, backend: &dyn Backend) -> Gpus {
    let region = Region::new(&config.region);
    let mut inventory = GpuInventory { types: published_types(), regions: BTreeMap::new() };
    let mut devices = Vec::new();
    for device in backend.devices() {
        let zones = inventory
            .regions
            .entry(region.clone())
            .or_default()
            .entry(device.gpu_type.clone())
            .or_insert_with(|| vec![0]);
        zones[0] += 1;
        devices.push(Gpu { id: DeviceId::new(device.id.as_str()), gpu: device.gpu_type, region: region.clone() });
    }
    Gpus { inventory, devices }
}

/// What ingress needs of the rest: a way into instances, and who may invoke.
struct Doors {
    backend: Arc<dyn Backend>,
    auth: Arc<Auth>,
    store: Store,
    project: Project,
    domain: String,
}

#[async_trait]
impl Connect for Doors {
    async fn connect(&self, instance: &InstanceId, port: u16) -> io::Result<TcpStream> {
        self.backend.connect(instance, port).await
    }

    fn set_cpu(&self, instance: &InstanceId, allocated: bool) {
        self.backend.set_cpu(instance, allocated);
    }
}

impl Doors {
    /// The host of a service's URL.
    fn host(&self, service: &ServiceKey) -> String {
        let number = match self.project.id == service.project {
            true => self.project.number,
            false => {
                self.store.project(service.project.as_str()).ok().flatten().map_or(0, |found| found.project.number)
            }
        };
        service_host(service, number, &self.domain)
    }

    /// What else a service takes as its name.
    fn audiences(&self, service: &ServiceKey) -> Vec<String> {
        let found = self.store.service(service).ok().flatten();
        let list = found.and_then(|found| found.value.spec.annotations.get(CUSTOM_AUDIENCES).cloned());
        list.and_then(|list| serde_json::from_str(&list).ok()).unwrap_or_default()
    }
}

#[async_trait]
impl Authorize for Doors {
    /// Whoever has an identity token for the service and the permission to invoke it.
    async fn may_invoke(&self, service: &ServiceKey, bearer: Option<&str>) -> Invocation {
        let resource = Resource::Service(service.clone());
        let Some(token) = bearer else {
            // The route table may not know yet that the service has become public.
            let public = self.store.allows(&resource, None, INVOKE);
            return if public { Invocation::Allowed } else { Invocation::Forbidden };
        };
        let Some(caller) = self.auth.invoker(token, &self.host(service), &self.audiences(service)).await else {
            return Invocation::Unauthenticated;
        };
        if caller.owner || self.store.allows(&resource, Some(&caller.principal), INVOKE) {
            Invocation::Allowed
        } else {
            Invocation::Forbidden
        }
    }
}
