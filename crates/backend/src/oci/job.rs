//! From an instance's description to the job of one container.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use homerun_model::instance::{ContainerSpec, InstanceSpec};
use homerun_model::names::InstanceId;
use homerun_model::plan::standby::Memory;
use oci_spec::runtime::{Hook as OciHook, LinuxBuilder, ProcessBuilder, Spec, SpecBuilder};

use super::cgroup::Limits;
use super::image::{ImageConfig, ResolvedImage};
use super::sandbox::{Bind, BindKind, GpuPart, Hold, Hook, Job};
use crate::gpu::{Gpus, InjectError, prefer_compat};

/// What programs are looked for in where neither image nor service says.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Most open files of a container, as on Cloud Run.
const OPEN_FILES: u64 = 25_000;

/// Why a job could not be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum JobError {
    /// The pinned image is no longer here.
    #[error("image {0} is no longer on this machine; deploy the service again")]
    NoImage(String),
    /// A file of the container's folder could not be written.
    #[error("the container's folder cannot be prepared: {0}")]
    Folder(io::Error),
    /// The GPU could not be given.
    #[error("the GPU cannot be given to the container: {0}")]
    Gpu(String),
}

/// What a job is made from besides the container.
pub(super) struct Surroundings<'a> {
    pub spec: &'a InstanceSpec,
    /// The instance's id; of its own if it stands by.
    pub id: InstanceId,
    pub image: &'a ResolvedImage,
    pub gpus: &'a Gpus,
    /// The instance's folder.
    pub folder: &'a Path,
    /// Where the instance's volumes are.
    pub volumes: PathBuf,
    pub seccomp: &'a Path,
    pub id_base: u32,
    pub machine: Machine,
    /// A process of the instance's first container.
    pub join: Option<i32>,
    /// Whether it is made to stand by: its GPU, if it has one, is not known yet.
    pub stands_by: bool,
}

/// What the machine has; limits are capped at it (row G04).
#[derive(Debug, Clone, Copy)]
pub(super) struct Machine {
    pub cpu_millis: u64,
    pub memory_bytes: u64,
}

impl Machine {
    /// This machine.
    pub(super) fn this() -> io::Result<Self> {
        let cpus = std::thread::available_parallelism()?.get() as u64;
        Ok(Self { cpu_millis: cpus * 1000, memory_bytes: memory()?.total })
    }

    /// What a user should know of limits that the machine cannot give.
    pub(super) fn warnings(&self, container: &ContainerSpec) -> Vec<String> {
        let mut warnings = Vec::new();
        if container.cpu.millis() > self.cpu_millis {
            let has = self.cpu_millis / 1000;
            warnings.push(format!(
                "container '{}' asks for {} CPU and the machine has {has}; it gets those",
                container.name, container.cpu
            ));
        }
        if container.memory.bytes() > self.memory_bytes {
            let has = self.memory_bytes >> 30;
            warnings.push(format!(
                "container '{}' asks for {} of memory and the machine has {has}Gi; it gets those",
                container.name, container.memory
            ));
        }
        warnings
    }
}

/// The machine's memory as it is now.
pub(super) fn memory() -> io::Result<Memory> {
    let text = fs::read_to_string("/proc/meminfo")?;
    let bytes = |name: &str| {
        let rest = text.lines().find_map(|line| line.strip_prefix(name));
        let kib = rest.and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok());
        let missing = || io::Error::new(io::ErrorKind::InvalidData, format!("/proc/meminfo names no {name}"));
        kib.map(|kib| kib << 10).ok_or_else(missing)
    };
    Ok(Memory { available: bytes("MemAvailable:")?, total: bytes("MemTotal:")? })
}

/// The folder of one container.
pub(super) fn container_folder(instance: &Path, index: usize) -> PathBuf {
    instance.join(format!("container-{index}"))
}

/// Describes what a container's helper has to do.
pub(super) fn make(index: usize, around: &Surroundings<'_>) -> Result<(Job, Limits), JobError> {
    let container = &around.spec.containers[index];
    let folder = container_folder(around.folder, index);
    let config = &around.image.config;
    let mut limits = Limits {
        memory_bytes: container.memory.bytes().min(around.machine.memory_bytes),
        cpu_millis: first_cpu_millis(container, around.machine),
        devices: Vec::new(),
    };
    let mut binds = network_files(around.folder).map_err(JobError::Folder)?;
    binds.extend(volumes(container, &around.volumes).map_err(JobError::Folder)?);
    let mut gpu = GpuPart { env: environment(config, container), ..GpuPart::default() };
    if container.gpu && !around.stands_by {
        (gpu, limits.devices) = gpu_part(index, around)?;
    }
    binds.append(&mut gpu.binds);
    let hold = match (around.stands_by, container.gpu) {
        (false, _) => Hold::Nowhere,
        (true, true) => Hold::BeforeGpu,
        (true, false) => Hold::BeforeProgram,
    };
    let given = container.working_dir.clone().unwrap_or_else(|| config.working_dir.clone());
    let job = Job {
        folder,
        layers: around.image.layers.clone(),
        writable_bytes: limits.memory_bytes,
        join: around.join,
        id_base: around.id_base,
        args: arguments(config, container),
        env: gpu.env,
        cwd: given,
        user: config.user.clone(),
        hostname: "localhost".to_owned(),
        binds,
        hooks: gpu.hooks,
        seccomp: around.seccomp.to_owned(),
        id: format!("{}-{index}", around.id),
        open_files: OPEN_FILES,
        hold,
    };
    Ok((job, limits))
}

/// What the instance's GPUs add to a container, and the rules for their devices.
pub(super) fn gpu_part(index: usize, around: &Surroundings<'_>) -> Result<(GpuPart, Vec<String>), JobError> {
    let container = &around.spec.containers[index];
    let env = environment(&around.image.config, container);
    if around.spec.gpus.is_empty() {
        return Ok((GpuPart { env, ..GpuPart::default() }, Vec::new()));
    }
    let spec = with_gpus(around.gpus, around.spec, env).map_err(|error| JobError::Gpu(chain(&error)))?;
    let mut env = spec.process().as_ref().and_then(|process| process.env().clone()).unwrap_or_default();
    if container.cuda_compat {
        prefer_compat(&mut env);
    }
    Ok((GpuPart { env, binds: gpu_binds(&spec), hooks: gpu_hooks(&spec) }, gpu_rules(&spec)))
}

/// Thousandths of a CPU that a container may use while it starts.
pub(super) fn first_cpu_millis(container: &ContainerSpec, machine: Machine) -> u64 {
    container.startup_cpu.unwrap_or(container.cpu).millis().min(machine.cpu_millis)
}

/// Makes the folder of a container, with its standard streams, if it is not there.
pub(super) fn prepare(folder: &Path) -> io::Result<()> {
    if folder.join("root").exists() {
        return Ok(());
    }
    fs::create_dir_all(folder.join("root"))?;
    for stream in ["stdout", "stderr"] {
        super::logs::make(&folder.join(stream))?;
    }
    Ok(())
}

/// A command replaces the image's entrypoint and drops its arguments; arguments replace the image's.
fn arguments(config: &ImageConfig, container: &ContainerSpec) -> Vec<String> {
    let program = if container.command.is_empty() { &config.entrypoint } else { &container.command };
    let rest = match (container.args.is_empty(), container.command.is_empty()) {
        (false, _) => container.args.as_slice(),
        (true, true) => config.cmd.as_slice(),
        (true, false) => &[],
    };
    program.iter().chain(rest).cloned().collect()
}

/// The image's variables, the service's over them.
fn environment(config: &ImageConfig, container: &ContainerSpec) -> Vec<String> {
    let image = config
        .env
        .iter()
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let mut env: BTreeMap<String, String> = [("PATH".to_owned(), DEFAULT_PATH.to_owned())].into();
    env.extend(image);
    env.extend(container.env.clone());
    env.into_iter().map(|(name, value)| format!("{name}={value}")).collect()
}

/// Names inside an instance: its own, and the host's name servers. Written again, they change in containers that are
/// made already.
pub(super) fn network_files(folder: &Path) -> io::Result<Vec<Bind>> {
    let write = |name: &str, text: &str| -> io::Result<Bind> {
        let source = folder.join(name);
        fs::write(&source, text)?;
        fs::set_permissions(&source, std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
        Ok(Bind { source, below: None, target: format!("/etc/{name}"), kind: BindKind::Writable })
    };
    Ok(vec![
        write("hosts", "127.0.0.1 localhost\n::1 localhost ip6-localhost\n")?,
        write("hostname", "localhost\n")?,
        write("resolv.conf", &name_servers())?,
    ])
}

/// A name server on the host's loopback cannot be reached from an instance; systemd-resolved, which is
/// the usual one, lists the real ones elsewhere.
fn name_servers() -> String {
    let usable = |text: &String| {
        text.lines().any(|line| {
            line.strip_prefix("nameserver")
                .is_some_and(|server| !server.trim().starts_with("127.") && server.trim() != "::1")
        })
    };
    let files = ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"];
    files.iter().filter_map(|path| fs::read_to_string(path).ok()).find(usable).unwrap_or_default()
}

/// Volumes are folders of a memory file system of the host; what is written there counts as memory of
/// the container that writes it.
fn volumes(container: &ContainerSpec, volumes: &Path) -> io::Result<Vec<Bind>> {
    let mut binds = Vec::new();
    for mount in &container.volume_mounts {
        let source = volumes.join(&mount.name);
        // Only root passes the folders above it: other users of the host may not see volumes.
        fs::DirBuilder::new().recursive(true).mode(0o700).create(volumes)?;
        fs::create_dir_all(&source)?;
        fs::set_permissions(&source, fs::Permissions::from_mode(0o777))?;
        let kind = if mount.read_only { BindKind::ReadOnly } else { BindKind::Writable };
        binds.push(Bind { source, below: mount.sub_path.clone(), target: mount.mount_path.clone(), kind });
    }
    Ok(binds)
}

/// The container's OCI description as far as the GPU's injection changes it.
fn with_gpus(gpus: &Gpus, instance: &InstanceSpec, env: Vec<String>) -> Result<Spec, InjectError> {
    let process = ProcessBuilder::default()
        .env(env)
        .args(vec!["x".to_owned()])
        .cwd("/")
        .build()
        .expect("every field has a value");
    let linux = LinuxBuilder::default().build().expect("every field has a default");
    let spec = SpecBuilder::default().process(process).linux(linux).mounts(Vec::new()).build();
    let mut spec = spec.expect("every field has a value or a default");
    gpus.inject(&mut spec, &instance.gpus)?;
    Ok(spec)
}

fn gpu_binds(spec: &Spec) -> Vec<Bind> {
    let mounts = spec.mounts().iter().flatten().filter_map(|mount| {
        let target = mount.destination().display().to_string();
        let read_only = mount.options().iter().flatten().any(|option| option == "ro");
        let kind = match target.starts_with("/dev/") {
            true => BindKind::Device,
            false if read_only => BindKind::ReadOnly,
            false => BindKind::Writable,
        };
        Some(Bind { source: mount.source().clone()?, below: None, target, kind })
    });
    let devices = spec.linux().iter().flat_map(|linux| linux.devices().iter().flatten()).map(|device| Bind {
        source: device.path().clone(),
        below: None,
        target: device.path().display().to_string(),
        kind: BindKind::Device,
    });
    mounts.chain(devices).collect()
}

fn gpu_hooks(spec: &Spec) -> Vec<Hook> {
    let Some(hooks) = spec.hooks() else {
        return Vec::new();
    };
    let kinds = [hooks.prestart(), hooks.create_runtime(), hooks.create_container()];
    let hook = |hook: &OciHook| Hook {
        path: hook.path().clone(),
        args: hook.args().clone().unwrap_or_default(),
        env: hook.env().clone().unwrap_or_default(),
    };
    kinds.into_iter().flat_map(|kind| kind.iter().flatten()).map(hook).collect()
}

/// Device rules as version 1's controller takes them.
fn gpu_rules(spec: &Spec) -> Vec<String> {
    let devices = spec.linux().iter().flat_map(|linux| linux.devices().iter().flatten());
    devices.map(|device| format!("c {}:{} rw", device.major(), device.minor())).collect()
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}
