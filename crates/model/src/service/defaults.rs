//! What a service gets where its user said nothing.
//!
//! Filling in twice is the same as filling in once, so a service that is read, written to a file and
//! replaced from it stays as it is (row G12).

use super::rules::resources;
use super::{IngressSetting, ServiceSpec, Surroundings};
use crate::container::{Check, Container, Port, Probe, Protocol};
use crate::gpu::{DEFAULT_GPU_TYPE, GpuTypeInfo};
use crate::names::{GpuType, ServiceKey};
use crate::quantity::{Cpu, Memory};
use crate::quota::QuotaKey;
use crate::revision::{ExecutionEnvironment, RevisionTemplate};
use crate::traffic::TrafficTarget;

/// CPU of a container that names none, in Cloud Run's notation.
const DEFAULT_CPU: Cpu = Cpu::from_millis(1000).in_millis();
/// Memory of a container that names none.
const DEFAULT_MEMORY: Memory = Memory::mib(512);
/// The port of an ingress container that names none.
const DEFAULT_PORT: u32 = 8080;
/// Longest a request may take, in seconds, where the service names no limit.
const DEFAULT_TIMEOUT_SECONDS: u32 = 300;

/// Fills in every default that Cloud Run would show.
pub fn defaults(mut spec: ServiceSpec, key: &ServiceKey, around: &Surroundings<'_>) -> ServiceSpec {
    if spec.traffic.is_empty() {
        spec.traffic.push(TrafficTarget::latest());
    }
    spec.ingress.get_or_insert(IngressSetting::All);
    let template = &mut spec.template;
    name_containers(template, key);
    place_gpu(template);
    size_containers(template, around);
    open_ingress_port(template);
    fill_probes(template);
    template.timeout_seconds.get_or_insert(DEFAULT_TIMEOUT_SECONDS);
    if template.service_account.as_ref().is_none_or(String::is_empty) {
        template.service_account = Some(format!("{}-compute@developer.gserviceaccount.com", around.project.number));
    }
    if template.concurrency.unwrap_or(0) == 0 {
        template.concurrency = Some(concurrency(template, around));
    }
    fill_gpu_settings(template, key, around);
    template.max_instances.get_or_insert(around.settings.default_max_instances);
    spec
}

/// Containers of a service with several get the name `SERVICE-N`, since start order and the choice of
/// a container in clients go by name. A single container stays without, as Cloud Run leaves it.
fn name_containers(template: &mut RevisionTemplate, key: &ServiceKey) {
    let count = template.containers.len();
    if count < 2 {
        return;
    }
    let nameless: Vec<usize> = (0..count).filter(|index| template.containers[*index].name.is_empty()).collect();
    for &index in &nameless {
        let taken = |name: &String| template.containers.iter().any(|other| &other.name == name);
        let name = (index + 1..).map(|number| format!("{}-{number}", key.name)).find(|name| !taken(name));
        template.containers[index].name = name.unwrap_or_default();
    }
    // Clients that know one nameless container write its dependencies under the empty name.
    if let [only] = nameless[..]
        && let Some(needed) = template.container_dependencies.remove("")
    {
        template.container_dependencies.insert(template.containers[only].name.clone(), needed);
    }
}

/// Rows G02 and G14. A count without a type means the default type. A type without any count means one
/// GPU for the ingress container; but where a count of 0 is written out, the GPU was taken away and the
/// type left behind goes too. gcloud's `--gpu 0` removes both itself.
fn place_gpu(template: &mut RevisionTemplate) {
    let wanted = template.gpu_container().is_some();
    let refused = template.containers.iter().any(|container| container.gpu_count == Some(0));
    if wanted {
        template.gpu_type.get_or_insert_with(|| GpuType::from(DEFAULT_GPU_TYPE));
    } else if template.gpu_type.is_some() && !refused {
        let owner = template.ingress_container().unwrap_or(0);
        if let Some(container) = template.containers.get_mut(owner) {
            container.gpu_count = Some(1);
        }
    }
    for container in &mut template.containers {
        container.gpu_count = container.gpu_count.filter(|count| *count > 0);
    }
    if template.gpu_container().is_none() {
        template.gpu_type = None;
        template.gpu_zonal_redundancy = None;
        template.cuda_compat = None;
    }
}

/// Row G04: a container with a GPU gets the least that its type needs.
fn size_containers(template: &mut RevisionTemplate, around: &Surroundings<'_>) {
    let gpu = template.gpu_type.as_ref().and_then(|name| around.gpus.type_info(name));
    for container in &mut template.containers {
        let gpu = gpu.filter(|_| container.gpu_count.is_some());
        let memory = *container.memory.get_or_insert(gpu.map_or(DEFAULT_MEMORY, |info| info.min_memory));
        container.cpu.get_or_insert_with(|| gpu.map_or(DEFAULT_CPU, |info| least_cpu(info, memory)));
    }
}

/// The least CPU that the GPU type needs and that may have so much memory.
fn least_cpu(info: &GpuTypeInfo, memory: Memory) -> Cpu {
    let allows =
        |cpu: &Cpu| *cpu >= info.min_cpu && resources::memory_range(*cpu).is_some_and(|range| range.contains(&memory));
    resources::WHOLE_CPUS.into_iter().find(allows).unwrap_or(info.min_cpu)
}

fn open_ingress_port(template: &mut RevisionTemplate) {
    let Some(index) = template.ingress_container() else {
        return;
    };
    let port = template.containers[index].port.get_or_insert(Port { protocol: Protocol::Http1, number: DEFAULT_PORT });
    // The API's definition: a port that is absent in an entry of `ports` is 8080.
    if port.number == 0 {
        port.number = DEFAULT_PORT;
    }
}

fn fill_probes(template: &mut RevisionTemplate) {
    if let Some(index) = template.ingress_container() {
        template.containers[index].startup_probe.get_or_insert_with(Probe::platform_startup);
    }
    for Container { port, startup_probe, liveness_probe, readiness_probe, .. } in &mut template.containers {
        let port = port.as_ref().map(|port| port.number);
        for probe in [&mut *startup_probe, &mut *liveness_probe].into_iter().flatten() {
            // Absent and 1 are the same here; one form keeps equal services equal.
            probe.success_threshold = probe.success_threshold.filter(|threshold| *threshold != 1);
        }
        for probe in [startup_probe, liveness_probe, readiness_probe].into_iter().flatten() {
            fill_probe(probe, port);
        }
    }
}

fn fill_probe(probe: &mut Probe, container_port: Option<u32>) {
    probe.initial_delay_seconds = probe.initial_delay_seconds.filter(|delay| *delay != 0);
    probe.timeout_seconds.get_or_insert(1);
    probe.period_seconds.get_or_insert(10);
    probe.failure_threshold.get_or_insert(3);
    let (Check::Tcp { port } | Check::Http { port, .. } | Check::Grpc { port, .. }) = &mut probe.check;
    *port = port.or(container_port);
    if let Check::Http { path, .. } = &mut probe.check
        && path.as_ref().is_none_or(String::is_empty)
    {
        *path = Some("/".to_owned());
    }
}

/// The API's definition: with less than one CPU an instance serves one request at a time.
fn concurrency(template: &RevisionTemplate, around: &Surroundings<'_>) -> u32 {
    if resources::total_cpu(template) < Cpu::from_millis(1000) { 1 } else { around.settings.default_concurrency }
}

/// Rows G05, G07 and G25.
fn fill_gpu_settings(template: &mut RevisionTemplate, key: &ServiceKey, around: &Surroundings<'_>) {
    let (Some(_), Some(gpu)) = (template.gpu_container(), template.gpu_type.clone()) else {
        return;
    };
    template.cpu_throttling.get_or_insert(false);
    template.execution_environment.get_or_insert(ExecutionEnvironment::Gen2);
    let zones = around.gpus.zone_count(&key.region, &gpu);
    let zonal_redundancy = *template.gpu_zonal_redundancy.get_or_insert(zones > 1);
    let quota = QuotaKey { project: key.project.clone(), region: key.region.clone(), gpu, zonal_redundancy };
    // Without any quota the deployment is refused anyway, and 0 would be a mistake of its own.
    let limit = around.quotas.limit(&quota).max(1);
    template.max_instances.get_or_insert(limit.min(around.settings.default_max_instances_gpu));
}
