//! Containers on this machine, with nothing to install beside the binary.
//!
//! | module | what it owns |
//! |---|---|
//! | `image` | images: pulled, verified, unpacked once per layer |
//! | `life` | an instance from start to end |
//! | `job` | what exactly a container is made of |
//! | `helpers`, `sandbox` | the process that makes a container |
//! | `standby` | sandboxes made ahead of need |
//! | `health` | the probes of an instance that is ready, and the end of its CPU boost |
//! | `cpu` | how much CPU an instance has at the moment |
//! | `cgroup`, `seccomp` | what a container may use and do |
//! | `network` | connections into instances |
//! | `outbound` | their way to the outside |
//! | `record`, `process`, `adopt` | what survives homerun, and how the next one takes it over |

mod adopt;
mod cgroup;
mod cpu;
mod health;
mod helpers;
pub mod image;
mod job;
mod life;
mod listening;
mod logs;
mod network;
mod outbound;
mod process;
mod record;
mod runtime;
mod sandbox;
mod seccomp;
mod standby;
mod start;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use homerun_model::gpu::published_types;
use homerun_model::instance::{InstanceSpec, InstanceState, ObservedInstance, Stamps};
use homerun_model::names::InstanceId;
use homerun_model::plan::standby::Memory;
use homerun_model::revision::PinnedImage;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::gpu::{Device, Driver, GpuSetting, GpuUse, Gpus, SimulationError};
use crate::{Backend, CpuUse, LocalImage, LogSink, PullError, PulledImage};
use cgroup::Cgroups;
use cpu::CpuState;
use helpers::Helpers;
use image::{ImageError, ImageStore, ImportOptions, PullSummary};
use job::Machine;
use network::{Namespace, Sockets};
use outbound::Outbound;
use record::{Record, Records};
use seccomp::SeccompError;
use standby::{Standby, Standbys};

pub use sandbox::helper_main_if_asked;

/// Host id of containers' root.
const ID_BASE: u32 = 1_000_000;
/// How long instances get to end when homerun ends.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(10);

/// How the backend is opened.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where images, instances and GPU files are kept.
    pub data_dir: PathBuf,
    /// Which GPUs instances may have.
    pub gpu: GpuSetting,
}

/// Why the backend could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Containers need namespaces, mounts and cgroups, which only root can make.
    #[error("containers need root: start homerun with sudo, or use --backend sim to try the API without containers")]
    NotRoot,
    /// The image store cannot be used.
    #[error("the image store cannot be used")]
    Images(#[source] Box<ImageError>),
    /// The simulated GPUs cannot be made.
    #[error("the simulated GPUs cannot be made")]
    Gpu(#[source] SimulationError),
    /// The system call filter cannot be made.
    #[error(transparent)]
    Seccomp(#[from] SeccompError),
    /// Something else of the machine cannot be used.
    #[error("{what}")]
    Machine {
        /// What.
        what: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

impl OpenError {
    fn machine(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Machine { what, source }
    }
}

/// The backend.
pub struct OciBackend {
    shared: Arc<Shared>,
    /// Makes and ends sandboxes that stand by.
    keeper: JoinHandle<()>,
}

/// What the tasks of all instances share.
struct Shared {
    images: ImageStore,
    gpus: Gpus,
    cgroups: Cgroups,
    helpers: Helpers,
    sockets: Sockets,
    /// `None` where the kernel does not give it.
    outbound: Option<Outbound>,
    records: Records,
    standbys: Standbys,
    /// See [`runtime::folder`].
    runtime: PathBuf,
    /// Below it, a folder per instance with its volumes.
    volumes: PathBuf,
    seccomp: PathBuf,
    machine: Machine,
    logs: Arc<dyn LogSink>,
    instances: Mutex<BTreeMap<InstanceId, Instance>>,
    changes: watch::Sender<u64>,
}

/// One instance in memory.
struct Instance {
    record: Record,
    network: Option<Namespace>,
    /// The sandbox that it took over, as far as it is not in use yet.
    standby: Option<Standby>,
    cpu: CpuState,
    /// How long containers get between SIGTERM and SIGKILL, once the instance is asked to stop.
    stop: watch::Sender<Option<Duration>>,
}

impl OciBackend {
    /// Opens the backend, adopts the instances that an earlier homerun left running, and cleans up what
    /// it left half made.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn open(settings: Settings, logs: Arc<dyn LogSink>) -> Result<Self, OpenError> {
        if !nix::unistd::geteuid().is_root() {
            return Err(OpenError::NotRoot);
        }
        let dir = &settings.data_dir;
        std::fs::create_dir_all(dir).map_err(OpenError::machine("the data directory cannot be made"))?;
        // Containers' processes become children of homerun when their helper ends, so that their exit
        // codes can be had.
        // SAFETY: the call takes numbers only.
        unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1_u64, 0_u64, 0_u64, 0_u64) };
        let key = runtime::key(dir);
        let images =
            ImageStore::open(&dir.join("images"), image::Settings { id_base: ID_BASE, ..image::Settings::default() })
                .map_err(|error| OpenError::Images(Box::new(error)))?;
        let gpus = Gpus::open(&settings.gpu, &published_types(), dir).map_err(OpenError::Gpu)?;
        for note in gpus.notes() {
            tracing::info!("{note}");
        }
        let cgroups = Cgroups::open(&key).map_err(OpenError::machine("no cgroups can be made"))?;
        let outbound = Outbound::open(&key)
            .inspect_err(|error| {
                tracing::warn!(error = error as &dyn std::error::Error, "instances cannot reach the outside")
            })
            .ok();
        let runtime =
            runtime::folder(dir, &key).map_err(OpenError::machine("the folder for instances cannot be made"))?;
        let records = Records::open(&runtime).map_err(OpenError::machine("the instances' folder cannot be used"))?;
        let shared = Arc::new(Shared {
            images,
            gpus,
            helpers: Helpers::new(cgroups.clone()),
            cgroups,
            outbound,
            sockets: Sockets::start().map_err(OpenError::machine("no thread for sockets"))?,
            records,
            standbys: Standbys::default(),
            volumes: runtime.join("volumes"),
            runtime,
            seccomp: seccomp::install(dir)?,
            machine: Machine::this().map_err(OpenError::machine("the machine's size cannot be read"))?,
            logs,
            instances: Mutex::default(),
            changes: watch::Sender::new(0),
        });
        shared.clone().adopt().map_err(OpenError::machine("the instances' records cannot be read"))?;
        let keeper = tokio::spawn(shared.clone().keep_standbys());
        Ok(Self { shared, keeper })
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<InstanceId, Instance>> {
        self.instances.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes an instance, writes its record if asked to, and tells who watches. Nobody sees the change
    /// before it is written: who then removes the instance would find its record written again.
    fn update(&self, id: &InstanceId, save: bool, change: impl FnOnce(&mut Instance)) -> io::Result<()> {
        let mut instances = self.lock();
        let saved = instances.get_mut(id).map_or(Ok(()), |instance| {
            change(instance);
            if save { self.records.save(&instance.record) } else { Ok(()) }
        });
        drop(instances);
        self.changes.send_modify(|count| *count += 1);
        saved
    }
}

#[async_trait]
impl Backend for OciBackend {
    fn name(&self) -> &'static str {
        "oci"
    }

    async fn pull(&self, image: &str, progress: &(dyn Fn(String) + Send + Sync)) -> Result<PulledImage, PullError> {
        let summary = PullSummary::new(progress);
        let resolved = self.shared.images.resolve(image, &|news| summary.update(news)).await;
        let resolved = resolved.map_err(|error| error.into_pull_error(image))?;
        Ok(PulledImage {
            pinned: PinnedImage { reference: resolved.reference, digest: resolved.digest },
            env: resolved.config.env,
            exposed_ports: resolved.config.exposed_ports,
        })
    }

    async fn start(&self, spec: InstanceSpec) -> io::Result<()> {
        let id = spec.id.clone();
        let warnings = spec.containers.iter().flat_map(|container| self.shared.machine.warnings(container)).collect();
        let stamps = Stamps { creating: Some(chrono::Utc::now()), ..Stamps::default() };
        let observed = ObservedInstance {
            spec,
            state: InstanceState::Creating,
            stamps,
            warnings,
            unready: BTreeMap::new(),
            lost: false,
        };
        let record = Record { observed, kill_at: None, containers: Vec::new() };
        if self.shared.lock().contains_key(&id) {
            return Ok(());
        }
        self.shared.records.save(&record).inspect_err(|_| self.shared.records.remove(&id))?;
        let standby = self.shared.take_standby(&record.observed.spec);
        let (cpu, stop) = (CpuState::default(), watch::Sender::new(None));
        let instance = Instance { record, network: None, standby, cpu, stop };
        if self.shared.lock().insert(id.clone(), instance).is_none() {
            tokio::spawn(self.shared.clone().live(id, false));
        }
        self.shared.changes.send_modify(|count| *count += 1);
        Ok(())
    }

    fn stand_by(&self, specs: Vec<InstanceSpec>) {
        self.shared.standbys.want(specs);
    }

    async fn stop(&self, id: &InstanceId, grace: Duration) {
        if let Some(instance) = self.shared.lock().get(id) {
            instance.stop.send_replace(Some(grace));
        }
    }

    async fn remove(&self, id: &InstanceId) {
        let over = |instance: &Instance| instance.record.observed.state.is_over();
        let removed = {
            let mut instances = self.shared.lock();
            if instances.get(id).is_some_and(over) { instances.remove(id) } else { None }
        };
        if removed.is_some() {
            self.shared.records.remove(id);
            self.shared.changes.send_modify(|count| *count += 1);
        }
    }

    fn list(&self) -> Vec<ObservedInstance> {
        self.shared.lock().values().map(|instance| instance.record.observed.clone()).collect()
    }

    fn cpu(&self, id: &InstanceId) -> Option<CpuUse> {
        let record = self.shared.lock().get(id)?.record.clone();
        self.shared.cpu_use(&record)
    }

    fn set_cpu(&self, id: &InstanceId, allocated: bool) {
        self.shared.set_cpu(id, |cpu| cpu.rests = !allocated);
    }

    fn memory(&self) -> Option<Memory> {
        job::memory().inspect_err(|error| tracing::warn!(%error, "the machine's memory cannot be read")).ok()
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.shared.changes.subscribe()
    }

    fn devices(&self) -> Vec<Device> {
        self.shared.gpus.devices().to_vec()
    }

    fn gpu_use(&self) -> Vec<GpuUse> {
        self.shared.gpus.usage(|device| self.shared.holder(device))
    }

    fn driver(&self) -> Option<Driver> {
        self.shared.gpus.driver().cloned()
    }

    async fn connect(&self, id: &InstanceId, port: u16) -> io::Result<TcpStream> {
        let network = self.shared.lock().get(id).and_then(|instance| instance.network.clone());
        self.shared.sockets.connect(network.ok_or(io::ErrorKind::NotFound)?, port).await
    }

    async fn import(&self, path: &Path, name: &str, entrypoint: Vec<String>) -> Result<PinnedImage, PullError> {
        let options = ImportOptions { entrypoint, ..ImportOptions::default() };
        let full = if name.starts_with("localhost/") { name.to_owned() } else { format!("localhost/{name}") };
        let imported =
            self.shared.images.import(path, &full, options).await.map_err(|error| error.into_pull_error(&full))?;
        Ok(PinnedImage { reference: imported.reference, digest: imported.digest })
    }

    fn images(&self) -> Vec<LocalImage> {
        let image = |image: image::StoredImage| LocalImage {
            name: image.name,
            digest: image.digest,
            size_bytes: image.size,
            created_at: image.created,
        };
        self.shared.images.list().into_iter().map(image).collect()
    }

    async fn shutdown(&self, leave_running: bool) -> Vec<ObservedInstance> {
        let mut ended = Vec::new();
        if !leave_running {
            for instance in self.shared.lock().values() {
                instance.stop.send_replace(Some(SHUTDOWN_GRACE));
            }
            let mut changes = self.changes();
            while self.list().iter().any(|instance| !instance.state.is_over()) {
                // The sender lives as long as `self`.
                let _ = changes.changed().await;
            }
            ended = self.list();
            for instance in &ended {
                self.remove(&instance.spec.id).await;
            }
        }
        self.keeper.abort();
        let shared = self.shared.clone();
        let closed = tokio::task::spawn_blocking(move || {
            shared.end_standbys();
            shared.helpers.close();
            shared.cgroups.close();
            if let Some(Err(error)) = shared.outbound.as_ref().filter(|_| !leave_running).map(Outbound::close) {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the instances' interfaces and rules cannot be removed"
                );
            }
            // They stay if an instance is left.
            shared.records.close();
            let _ = std::fs::remove_dir(&shared.volumes);
            let _ = std::fs::remove_dir(&shared.runtime);
        });
        // It fails only by a panic, which has been printed.
        let _ = closed.await;
        ended
    }
}
