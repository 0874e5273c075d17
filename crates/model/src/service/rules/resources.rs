//! CPU and memory.

use std::ops::RangeInclusive;

use super::container_path;
use crate::container::Container;
use crate::gpu::GpuTypeInfo;
use crate::quantity::{Cpu, Memory};
use crate::revision::{ExecutionEnvironment, RevisionTemplate};
use crate::service::Surroundings;
use crate::violation::Violation;

/// The numbers of CPUs that a container may have, apart from fractions of one
/// (cloud.google.com/run/docs/configuring/services/cpu).
pub(in crate::service) const WHOLE_CPUS: [Cpu; 5] = [
    Cpu::from_millis(1000),
    Cpu::from_millis(2000),
    Cpu::from_millis(4000),
    Cpu::from_millis(6000),
    Cpu::from_millis(8000),
];

const ONE_CPU: Cpu = Cpu::from_millis(1000);
const LEAST_CPU: Cpu = Cpu::from_millis(80);
/// The least memory of an instance in the second generation execution environment.
const GEN2_LEAST_MEMORY: Memory = Memory::mib(512);

/// The memory that a container with so much CPU may have; `None` if it may not have so much CPU.
pub(in crate::service) fn memory_range(cpu: Cpu) -> Option<RangeInclusive<Memory>> {
    let least = Memory::mib(128);
    match cpu.millis() {
        80..500 => Some(least..=Memory::mib(512)),
        500..1000 => Some(least..=Memory::gib(1)),
        1000 => Some(least..=Memory::gib(4)),
        2000 => Some(least..=Memory::gib(8)),
        4000 => Some(Memory::gib(2)..=Memory::gib(16)),
        6000 => Some(Memory::gib(4)..=Memory::gib(24)),
        8000 => Some(Memory::gib(4)..=Memory::gib(32)),
        _ => None,
    }
}

/// CPU of all containers of an instance.
pub(in crate::service) fn total_cpu(template: &RevisionTemplate) -> Cpu {
    let millis = template.containers.iter().filter_map(|container| container.cpu).map(Cpu::millis);
    Cpu::from_millis(millis.fold(0, u64::saturating_add))
}

pub(super) fn check(template: &RevisionTemplate, around: &Surroundings<'_>, found: &mut Vec<Violation>) {
    let gpu = template.gpu_type.as_ref().and_then(|name| around.gpus.type_info(name));
    for (index, container) in template.containers.iter().enumerate() {
        let limits = format!("{}.resources.limits", container_path(index));
        for name in container.other_limits.keys() {
            let message = format!("Only 'cpu', 'memory' and 'nvidia.com/gpu' limits are supported, not '{name}'.");
            found.push(Violation::new(format!("{limits}[{name}]"), message));
        }
        match gpu.filter(|_| container.has_gpu()) {
            // The GPU rules say so with both minimums; what follows from it would only distract.
            Some(info) if below_minimum(container, info) => {}
            info => size(container, &limits, info, found),
        }
    }
    fraction(template, found);
    let memory = template.containers.iter().filter_map(|container| container.memory).map(Memory::bytes);
    let memory = Memory::from_bytes(memory.fold(0, u64::saturating_add));
    let known =
        !template.containers.is_empty() && template.containers.iter().all(|container| container.memory.is_some());
    if known && template.execution_environment == Some(ExecutionEnvironment::Gen2) && memory < GEN2_LEAST_MEMORY {
        let message = format!(
            "Invalid value specified for memory with gen2 execution environment. Memory must be at least {GEN2_LEAST_MEMORY}; it \
             is {memory}."
        );
        found.push(Violation::new(format!("{}.resources.limits[memory]", ingress_path(template)), message));
    }
}

fn ingress_path(template: &RevisionTemplate) -> String {
    container_path(template.ingress_container().unwrap_or(0))
}

fn below_minimum(container: &Container, info: &GpuTypeInfo) -> bool {
    container.cpu.is_some_and(|cpu| cpu < info.min_cpu)
        || container.memory.is_some_and(|memory| memory < info.min_memory)
}

fn size(container: &Container, limits: &str, gpu: Option<&GpuTypeInfo>, found: &mut Vec<Violation>) {
    let Some(cpu) = container.cpu else { return };
    let Some(range) = memory_range(cpu) else {
        // Types that need more CPUs than other containers may have take any whole number from there on.
        let from = gpu.map(|info| info.min_cpu).filter(|from| *from > WHOLE_CPUS[WHOLE_CPUS.len() - 1]);
        if from.is_some_and(|from| cpu >= from && cpu.millis().is_multiple_of(1000)) {
            return;
        }
        let allowed = match from {
            Some(from) => format!("a whole number of at least {from}"),
            None => "one of [.08-1], 1, 2, 4, 6, 8".to_owned(),
        };
        let message = format!("Invalid value specified for container cpu. Must be equal to {allowed}; it is {cpu}.");
        found.push(Violation::new(format!("{limits}[cpu]"), message));
        return;
    };
    if let Some(memory) = container.memory.filter(|memory| !range.contains(memory)) {
        let message = format!(
            "Invalid value specified for container memory. For {cpu} CPU, memory must be between {} and {} inclusive; it is {memory}.",
            range.start(),
            range.end()
        );
        found.push(Violation::new(format!("{limits}[memory]"), message));
    }
}

/// What Cloud Run asks of instances with less than one CPU.
fn fraction(template: &RevisionTemplate, found: &mut Vec<Violation>) {
    let total = total_cpu(template);
    let known = !template.containers.is_empty() && template.containers.iter().all(|container| container.cpu.is_some());
    if !known || total >= ONE_CPU || total < LEAST_CPU {
        return;
    }
    let with = [
        (template.concurrency.is_some_and(|concurrency| concurrency > 1), "concurrency > 1"),
        (template.cpu_throttling == Some(false), "cpu always allocated (unthrottled)"),
        (template.execution_environment == Some(ExecutionEnvironment::Gen2), "gen2"),
    ];
    for (_, what) in with.into_iter().filter(|(broken, _)| *broken) {
        let message =
            format!("Invalid value specified for cpu. Total cpu < 1 is not supported with {what}. It is {total}.");
        found.push(Violation::new(format!("{}.resources.limits[cpu]", ingress_path(template)), message));
    }
}
