//! What runs instances: the [`Backend`] trait and its implementations.
//!
//! A backend carries out; it decides nothing. Which instances there should be, on which GPU, and when
//! one ends is decided by `homerun_model::plan` and asked for by the server's reconcile loop alone.

pub mod gpu;
pub mod oci;
mod probe;
pub mod sim;

use std::io;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use homerun_model::Timestamp;
use homerun_model::billing::Steady;
use homerun_model::instance::{InstanceSpec, ObservedInstance};
use homerun_model::names::InstanceId;
use homerun_model::plan::standby::Memory;
use homerun_model::revision::PinnedImage;
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::gpu::{Device, Driver, GpuUse};

/// Runs instances. All calls are idempotent by instance id, and safe at the same time.
///
/// *Guarantees.* After [`start`](Backend::start) has returned, a crash of homerun loses neither the
/// instance nor its record: the next homerun on the same data directory finds it in
/// [`list`](Backend::list), running and reachable. An instance in a state that
/// [`is_over`](homerun_model::instance::InstanceState::is_over) has left nothing behind: no process,
/// mount, namespace, cgroup or interface, and its GPUs are free.
#[async_trait]
pub trait Backend: Send + Sync + 'static {
    /// `oci`, `kube` or `sim`.
    fn name(&self) -> &'static str;

    /// Brings an image here and pins it to a digest. `progress` is told what happens, as sentences for
    /// people, at most a few times per second.
    ///
    /// # Errors
    /// See [`PullError`].
    async fn pull(&self, image: &str, progress: &(dyn Fn(String) + Send + Sync)) -> Result<PulledImage, PullError>;

    /// Records the instance durably and begins to start it; does not wait until it is ready. Does
    /// nothing if the id is known.
    ///
    /// # Errors
    /// Only when it could not be recorded; what goes wrong later shows as the instance's state.
    async fn start(&self, spec: InstanceSpec) -> io::Result<()>;

    /// Keeps sandboxes made, for each of these one, so that an instance like it starts sooner: like it in everything
    /// but id, GPUs and time. Others that were kept are ended. They hold no GPU, and nothing of them shows.
    fn stand_by(&self, specs: Vec<InstanceSpec>);

    /// Begins to stop it: SIGTERM to every container, SIGKILL after `grace`. Does not wait. Unknown and
    /// ended instances are ignored.
    async fn stop(&self, id: &InstanceId, grace: Duration);

    /// Forgets an instance that is over. Ignored for one that is not.
    async fn remove(&self, id: &InstanceId);

    /// Every instance that is known, also those that are over and not removed yet.
    fn list(&self) -> Vec<ObservedInstance>;

    /// What an instance uses of the CPU; `None` if it does not run or cannot be measured.
    fn cpu(&self, id: &InstanceId) -> Option<CpuUse>;

    /// Gives a ready instance its CPU, or takes nearly all of it away until it is given back, is probed or stops.
    /// Quick; ignored for unknown instances.
    fn set_cpu(&self, id: &InstanceId, allocated: bool);

    /// Changes whenever [`list`](Backend::list) would answer differently.
    fn changes(&self) -> watch::Receiver<u64>;

    /// The machine's memory; `None` if instances need none.
    fn memory(&self) -> Option<Memory>;

    /// The GPUs that instances can be given.
    fn devices(&self) -> Vec<Device>;

    /// How much of each GPU is in use; see [`GpuUse`] for what that means of simulated ones. Asks the driver, which may
    /// take milliseconds.
    fn gpu_use(&self) -> Vec<GpuUse>;

    /// The GPU driver, if there are GPUs.
    fn driver(&self) -> Option<Driver> {
        None
    }

    /// Opens a connection to a port inside an instance.
    ///
    /// # Errors
    /// `NotFound` for an instance that does not run, else what `connect` says.
    async fn connect(&self, id: &InstanceId, port: u16) -> io::Result<TcpStream>;

    /// Stores an image archive or root file system folder as `localhost/NAME:TAG`; `name` is
    /// NAME, NAME:TAG, or the whole. `entrypoint` is the program of a folder, which names none itself.
    ///
    /// # Errors
    /// See [`PullError`].
    async fn import(&self, path: &Path, name: &str, entrypoint: Vec<String>) -> Result<PinnedImage, PullError>;

    /// The images that are here.
    fn images(&self) -> Vec<LocalImage>;

    /// Ends the backend: stops every instance and waits until nothing is left, or, with
    /// `leave_running`, lets go of them so that the next homerun adopts them. Returns the instances as they were at
    /// their end, for they are forgotten with it.
    async fn shutdown(&self, leave_running: bool) -> Vec<ObservedInstance>;
}

/// The time by a clock that is never set: lengths of time across restarts of homerun are measured by it. It counts from
/// the machine's start, and stands still while the machine sleeps.
pub fn steady() -> Steady {
    let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC);
    // The kernel has had this clock for as long as there are containers.
    Steady(time.map_or(0, |time| Duration::from(time).as_millis() as u64))
}

/// What an instance uses of the CPU.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CpuUse {
    /// CPU time that its containers have used so far.
    pub time: Duration,
    /// CPUs that they can use together: their limits, and no more than the machine has.
    pub limit: f64,
}

impl CpuUse {
    fn new(spec: &InstanceSpec, machine_millis: u64, time: Duration) -> Self {
        let asked: u64 = spec.containers.iter().map(|container| container.cpu.millis().min(machine_millis)).sum();
        Self { time, limit: asked.min(machine_millis) as f64 / 1000.0 }
    }
}

/// An image that is here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PulledImage {
    /// Its pinned name.
    pub pinned: PinnedImage,
    /// The environment that the image declares, as `NAME=value`.
    pub env: Vec<String>,
    /// Ports that the image declares.
    pub exposed_ports: Vec<String>,
}

/// A line of [`Backend::images`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalImage {
    /// The name it was pulled or imported under.
    pub name: String,
    /// `sha256:...` of the manifest.
    pub digest: String,
    /// Bytes on disk.
    pub size_bytes: u64,
    /// When it came here.
    pub created_at: Timestamp,
}

/// Why an image could not be had, told apart because Cloud Run answers differently.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// The registry or the local store has no such image.
    #[error("Image '{0}' not found.")]
    NotFound(String),
    /// The registry refused.
    #[error("not allowed to pull image '{image}': {message}")]
    Denied {
        /// The image asked for.
        image: String,
        /// What the registry said.
        message: String,
    },
    /// The name is no image reference, or the image is of a kind that cannot run here.
    #[error("image '{image}' cannot be used: {message}")]
    Unusable {
        /// The image asked for.
        image: String,
        /// What is wrong and what would be right.
        message: String,
    },
    /// The registry could not be reached or broke off; trying again may help.
    #[error("image '{image}' could not be pulled: {message}")]
    Unavailable {
        /// The image asked for.
        image: String,
        /// What went wrong.
        message: String,
    },
}

/// Receives what containers write. Implementations must not block.
pub trait LogSink: Send + Sync + 'static {
    /// One line of a container's output, without its line feed.
    fn line(&self, line: LogLine<'_>);
}

/// One line that a container wrote.
#[derive(Debug, Clone, Copy)]
pub struct LogLine<'a> {
    /// The instance's description.
    pub spec: &'a InstanceSpec,
    /// The container's name.
    pub container: &'a str,
    /// Where it was written to.
    pub stream: LogStream,
    /// When homerun read it.
    pub time: Timestamp,
    /// The text; bytes that are no UTF-8 are replaced. A line of more than 256 KiB is cut there and says so.
    pub text: &'a str,
}

/// The streams that containers write to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// homerun itself speaks about the instance.
    System,
}
