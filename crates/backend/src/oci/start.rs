//! Starts one container of an instance, and reaches its ports.

use std::io;
use std::path::Path;
use std::sync::Arc;

use homerun_model::container::Protocol;
use homerun_model::instance::{IngressPort, InstanceSpec, InstanceState};
use homerun_model::names::InstanceId;
use tokio::net::TcpStream;

use super::helpers::{Helper, Unmade};
use super::image::ResolvedImage;
use super::network::{self, Namespace};
use super::process::{self, ProcessId, Watched};
use super::record::ContainerRecord;
use super::sandbox::Last;
use super::{ID_BASE, Shared, job};
use crate::probe::Dial;

/// Makes one container, or wakes it if it stands by. Blocks.
pub(super) fn start(
    shared: &Shared,
    spec: &InstanceSpec,
    index: usize,
    join: Option<i32>,
) -> Result<(ProcessId, Watched), String> {
    let image = image(shared, spec, index)?;
    let folder = shared.records.folder(&spec.id);
    let around = job::Surroundings { join, ..surroundings(shared, (spec, &spec.id), &image, &folder) };
    let standby = shared.lock().get_mut(&spec.id).and_then(|instance| instance.standby.as_mut()?.container(index));
    let woken = standby.and_then(|helper| {
        wake(shared, index, &around, helper)
            .inspect_err(|error| {
                tracing::debug!(instance = %spec.id, error, "a sandbox that stood by cannot be used");
                give_up_standby(shared, &spec.id);
            })
            .ok()
    });
    let pid = match woken {
        Some(pid) => pid,
        // What went wrong may be the sandbox's fault: made anew, it says.
        None => make(shared, index, &around)?,
    };
    let limit = job::first_cpu_millis(&spec.containers[index], shared.machine);
    let process = ProcessId::of(pid);
    let watched = process.ok_or(io::ErrorKind::NotFound.into()).and_then(|process| Watched::new(process, true));
    let (Some(process), Ok(watched)) = (process, watched) else {
        return Err("the container's program ended at once".to_owned());
    };
    let network: Option<Namespace> = if join.is_none() { network::of_process(pid).ok() } else { None };
    shared
        .update(&spec.id, true, |instance| {
            if let Some(container) = instance.record.containers.last_mut() {
                container.process = Some(process);
            }
            instance.cpu.begin(index, limit);
            if network.is_some() {
                instance.network = network;
                instance.record.observed.state = InstanceState::Starting;
                instance.record.observed.stamps.started = Some(chrono::Utc::now());
                instance.record.observed.stamps.steady.started = Some(crate::steady());
            }
        })
        .map_err(|error| unrecorded(&error))?;
    Ok((process, watched))
}

/// Has what is left of an instance's sandbox made anew: it belongs to a container that is not there.
fn give_up_standby(shared: &Shared, id: &InstanceId) {
    let rest = shared.lock().get_mut(id).and_then(|instance| instance.standby.take());
    match rest {
        Some(rest) => shared.end_standby(rest),
        None => reap_children_of_dead_helpers(shared),
    }
}

/// A container's image.
pub(super) fn image(shared: &Shared, spec: &InstanceSpec, index: usize) -> Result<ResolvedImage, String> {
    let name = &spec.containers[index].image;
    shared.images.get(name).ok_or_else(|| job::JobError::NoImage(name.clone()).to_string())
}

/// What containers of an instance are made from; its folders are named after the id.
pub(super) fn surroundings<'a>(
    shared: &'a Shared,
    (spec, id): (&'a InstanceSpec, &InstanceId),
    image: &'a ResolvedImage,
    folder: &'a Path,
) -> job::Surroundings<'a> {
    job::Surroundings {
        spec,
        id: id.clone(),
        image,
        gpus: &shared.gpus,
        folder,
        volumes: shared.volumes.join(id.as_str()),
        seccomp: &shared.seccomp,
        id_base: ID_BASE,
        machine: shared.machine,
        join: None,
        stands_by: false,
    }
}

fn make(shared: &Shared, index: usize, around: &job::Surroundings<'_>) -> Result<i32, String> {
    let (job, limits) = job::make(index, around).map_err(|error| error.to_string())?;
    let attempt = || {
        let helper = shared.helpers.take();
        let helper = helper.map_err(|error| Unmade::Told(format!("no helper process can be started: {error}")))?;
        record(shared, index, around, helper.cgroup.clone()).map_err(Unmade::Told)?;
        helper.make(&limits, &job).inspect_err(|_| reap_children_of_dead_helpers(shared))
    };
    let made = match attempt() {
        // Somebody has killed it, the kernel in want of memory for instance: that must not look like the container's fault.
        Err(Unmade::HelperDied) => {
            forget_last(shared, &around.spec.id);
            attempt()
        }
        made => made,
    };
    made.map_err(|error| error.to_string())
}

fn wake(shared: &Shared, index: usize, around: &job::Surroundings<'_>, helper: Helper) -> Result<i32, String> {
    let cgroup = helper.cgroup.clone();
    record(shared, index, around, cgroup.clone())?;
    let gpu = around.spec.containers[index].gpu.then(|| job::gpu_part(index, around)).transpose();
    let woken = gpu.map_err(|error| error.to_string()).and_then(|gpu| {
        let (part, devices) = gpu.unzip();
        let limited = devices.map_or(Ok(()), |devices| shared.cgroups.allow_devices(&cgroup, &devices));
        limited.map_err(|error| format!("the GPU's devices cannot be allowed: {error}"))?;
        helper.complete(&Last { gpu: part }).map_err(|error| error.to_string())
    });
    let outcome = shared.update(&around.spec.id, false, |instance| match &woken {
        Ok(_) => instance.record.observed.stamps.woken = true,
        Err(_) => drop(instance.record.containers.pop()),
    });
    outcome.map_err(|error| unrecorded(&error)).and(woken)
}

/// Records a container before anything of it runs, so that a homerun that ends now can be cleaned up after.
fn record(shared: &Shared, index: usize, around: &job::Surroundings<'_>, cgroup: String) -> Result<(), String> {
    let added = shared.update(&around.spec.id, true, |instance| {
        instance.record.containers.push(ContainerRecord { index, cgroup, process: None });
        if around.join.is_none() {
            instance.record.observed.stamps.prepared = Some(chrono::Utc::now());
        }
    });
    added.map_err(|error| {
        // It is not made then.
        forget_last(shared, &around.spec.id);
        unrecorded(&error)
    })
}

/// Forgets the container recorded last, of which nothing is left.
fn forget_last(shared: &Shared, id: &InstanceId) {
    // Not written: what is recorded and gone does no harm.
    let _ = shared.update(id, false, |instance| drop(instance.record.containers.pop()));
}

fn unrecorded(error: &io::Error) -> String {
    format!("the instance cannot be recorded: {error}")
}

/// The child of a helper that was killed has become this process's, and nobody watches it.
pub(super) fn reap_children_of_dead_helpers(shared: &Shared) {
    let watched: Vec<i32> = {
        let instances = shared.lock();
        let containers = instances.values().flat_map(|instance| &instance.record.containers);
        containers.filter_map(|container| Some(container.process?.pid)).collect()
    };
    process::reap_containers(|pid| !watched.contains(&pid));
}

/// Reaches the containers of one instance.
pub(super) struct Dialer {
    pub(super) shared: Arc<Shared>,
    pub(super) network: Option<Namespace>,
    pub(super) id: InstanceId,
}

impl Dial for Dialer {
    async fn dial(&self, port: u16) -> io::Result<TcpStream> {
        let network = self.network.clone().ok_or(io::ErrorKind::NotFound)?;
        self.shared.sockets.connect(network, port).await
    }

    fn speaks_h2c(&self, port: u16) -> bool {
        let h2c = IngressPort { port, protocol: Protocol::H2c };
        self.shared.lock().get(&self.id).is_some_and(|instance| instance.record.observed.spec.ingress == h2c)
    }

    fn begins(&self) {
        self.shared.set_cpu(&self.id, |cpu| cpu.probes += 1);
    }

    fn ends(&self) {
        self.shared.set_cpu(&self.id, |cpu| cpu.probes -= 1);
    }
}
