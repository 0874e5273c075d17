//! Starts one container of an instance, and reaches its ports.

use std::io;
use std::sync::Arc;

use homerun_model::instance::{ContainerSpec, InstanceSpec, InstanceState};
use tokio::net::TcpStream;

use super::network::{self, Namespace};
use super::process::{self, ProcessId, Watched};
use super::record::ContainerRecord;
use super::{ID_BASE, Shared, job};
use crate::probe::Dial;

/// Makes one container. Blocks.
pub(super) fn start(
    shared: &Shared,
    spec: &InstanceSpec,
    index: usize,
    join: Option<i32>,
) -> Result<(ProcessId, Watched), String> {
    let container: &ContainerSpec = &spec.containers[index];
    let image = shared
        .images
        .get(&container.image)
        .ok_or_else(|| job::JobError::NoImage(container.image.clone()).to_string())?;
    let folder = shared.records.folder(&spec.id);
    let around = job::Surroundings {
        spec,
        image: &image,
        gpus: &shared.gpus,
        folder: &folder,
        volumes: &shared.volumes.join(spec.id.as_str()),
        seccomp: &shared.seccomp,
        id_base: ID_BASE,
        machine: shared.machine,
        join,
    };
    let (job, limits) = job::make(index, &around).map_err(|error| error.to_string())?;
    let helper = shared.helpers.take().map_err(|error| format!("no helper process can be started: {error}"))?;
    let recorded = |error: io::Error| format!("the instance cannot be recorded: {error}");
    let cgroup = helper.cgroup.clone();
    // Before anything runs, so that a homerun that ends now can be cleaned up after.
    shared
        .update(&spec.id, true, |instance| {
            instance.record.containers.push(ContainerRecord { index, cgroup, process: None });
            if join.is_none() {
                instance.record.observed.stamps.prepared = Some(chrono::Utc::now());
            }
        })
        .map_err(recorded)?;
    let pid = helper.make(&shared.cgroups, &limits, &job).inspect_err(|_| reap_children_of_dead_helpers(shared))?;
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
            if network.is_some() {
                instance.network = network;
                instance.record.observed.state = InstanceState::Starting;
                instance.record.observed.stamps.started = Some(chrono::Utc::now());
            }
        })
        .map_err(recorded)?;
    Ok((process, watched))
}

/// The child of a helper that was killed has become this process's, and nobody watches it.
fn reap_children_of_dead_helpers(shared: &Shared) {
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
}

impl Dial for Dialer {
    async fn dial(&self, port: u16) -> io::Result<TcpStream> {
        let network = self.network.clone().ok_or(io::ErrorKind::NotFound)?;
        self.shared.sockets.connect(network, port).await
    }
}
