//! What exactly a new instance runs.

use std::collections::BTreeMap;

use crate::Timestamp;
use crate::container::Container;
use crate::instance::{ContainerSpec, IngressPort, InstanceSpec};
use crate::names::{DeviceId, InstanceId};
use crate::quantity::{Cpu, Memory};
use crate::revision::Revision;

/// The port of an ingress container that names none.
const DEFAULT_PORT: u16 = 8080;

/// The description of one instance of a revision whose images are pinned; `None` if they are not or
/// if no container takes requests.
pub fn instance(revision: &Revision, id: InstanceId, gpus: Vec<DeviceId>, now: Timestamp) -> Option<InstanceSpec> {
    let template = &revision.template;
    let ingress = template.ingress_container()?;
    if revision.images.len() != template.containers.len() {
        return None;
    }
    let containers: Vec<ContainerSpec> = template
        .containers
        .iter()
        .enumerate()
        .map(|(index, container)| container_spec(revision, index, container, index == ingress))
        .collect();
    let start_waves = start_waves(&containers, &template.container_dependencies);
    let port = containers[ingress].port.unwrap_or(DEFAULT_PORT);
    Some(InstanceSpec {
        id,
        revision: revision.key.clone(),
        service: revision.service.clone(),
        containers,
        start_waves,
        volumes: template.volumes.clone(),
        gpus,
        gpu_zonal_redundancy: template.gpu_zonal_redundancy.unwrap_or(false),
        ingress: IngressPort { port, protocol: template.protocol() },
        decided_at: now,
    })
}

fn container_spec(revision: &Revision, index: usize, container: &Container, ingress: bool) -> ContainerSpec {
    let given = container.port.as_ref().and_then(|port| u16::try_from(port.number).ok());
    let cpu = container.cpu.unwrap_or(Cpu::from_millis(1000));
    let port = if ingress { Some(given.unwrap_or(DEFAULT_PORT)) } else { given };
    ContainerSpec {
        name: if container.name.is_empty() {
            format!("{}-{}", revision.service, index + 1)
        } else {
            container.name.clone()
        },
        image: revision.images[index].reference.clone(),
        command: container.command.clone(),
        args: container.args.clone(),
        working_dir: container.working_dir.clone(),
        env: environment(revision, container, port.filter(|_| ingress)),
        cpu,
        startup_cpu: (revision.template.startup_cpu_boost == Some(true))
            .then(|| boosted(cpu))
            .filter(|boost| *boost > cpu),
        memory: container.memory.unwrap_or(Memory::mib(512)),
        gpu: container.gpu_count.unwrap_or(0) > 0,
        cuda_compat: revision.template.cuda_compat == Some(true),
        startup_probe: container.startup_probe.clone(),
        liveness_probe: container.liveness_probe.clone(),
        readiness_probe: container.readiness_probe.clone(),
        port,
        volume_mounts: container.volume_mounts.clone(),
    }
}

/// The limit of a container with startup CPU boost, as Cloud Run's page on CPU limits has it.
fn boosted(cpu: Cpu) -> Cpu {
    let millis = match cpu.millis() {
        ..=1000 => 2000,
        1001..=2000 => 4000,
        more => more.max(8000),
    };
    Cpu::from_millis(millis)
}

/// The service's variables and those of the container contract; only the ingress container gets PORT.
fn environment(revision: &Revision, container: &Container, port: Option<u16>) -> BTreeMap<String, String> {
    let mut env: BTreeMap<_, _> = container.env.iter().map(|var| (var.name.clone(), var.value.clone())).collect();
    env.insert("K_SERVICE".to_owned(), revision.service.to_string());
    env.insert("K_CONFIGURATION".to_owned(), revision.service.to_string());
    env.insert("K_REVISION".to_owned(), revision.key.name.to_string());
    if let Some(port) = port {
        env.insert("PORT".to_owned(), port.to_string());
    }
    env
}

/// Groups the containers so that each comes after those it depends on. Names that do not exist are
/// ignored and cycles broken by order; validation has refused both before.
fn start_waves(containers: &[ContainerSpec], dependencies: &BTreeMap<String, Vec<String>>) -> Vec<Vec<usize>> {
    let mut waves: Vec<Vec<usize>> = Vec::new();
    let mut left: Vec<usize> = (0..containers.len()).collect();
    while !left.is_empty() {
        let waits = |index: usize| {
            dependencies
                .get(&containers[index].name)
                .into_iter()
                .flatten()
                .any(|needed| left.iter().any(|other| *other != index && &containers[*other].name == needed))
        };
        let (blocked, ready): (Vec<_>, Vec<_>) = left.iter().partition(|index| waits(**index));
        let (wave, rest) = if ready.is_empty() { (blocked, Vec::new()) } else { (ready, blocked) };
        waves.push(wave);
        left = rest;
    }
    waves
}
