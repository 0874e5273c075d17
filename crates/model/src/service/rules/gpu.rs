//! GPUs: rows G01 to G07, G20 and G25.

use super::{container_path, template_annotation};
use crate::container::Container;
use crate::gpu::{ACCELERATOR_SELECTOR, GPU_RESOURCE, GpuTypeInfo};
use crate::names::{GpuType, ServiceKey};
use crate::quota::{OFFER_NO_ZONAL_REDUNDANCY, QuotaKey};
use crate::revision::{ExecutionEnvironment, RevisionTemplate};
use crate::service::Surroundings;
use crate::violation::Violation;

pub(super) fn check(
    template: &RevisionTemplate,
    key: &ServiceKey,
    around: &Surroundings<'_>,
    found: &mut Vec<Violation>,
) {
    for name in template.other_node_selectors.keys() {
        let message = format!("Only the node selector '{ACCELERATOR_SELECTOR}' is supported, not '{name}'.");
        found.push(Violation::new(selector(name), message));
    }
    let owners: Vec<usize> =
        (0..template.containers.len()).filter(|index| template.containers[*index].has_gpu()).collect();
    for (turn, &index) in owners.iter().enumerate() {
        owner(&template.containers[index], index, turn > 0, found);
    }
    let Some(name) = &template.gpu_type else {
        if !owners.is_empty() {
            found.push(Violation::new(selector(ACCELERATOR_SELECTOR), "A GPU needs a type."));
        }
        return;
    };
    let Some(info) = around.gpus.type_info(name) else {
        found.push(Violation::new(selector(ACCELERATOR_SELECTOR), unknown_type(name, around)));
        return;
    };
    if owners.is_empty() {
        let message =
            format!("GPU type {name} is given, but no container has a GPU: set {GPU_RESOURCE} to 1 for one of them.");
        found.push(Violation::new(selector(ACCELERATOR_SELECTOR), message));
        return;
    }
    for index in owners {
        minimums(&template.containers[index], index, info, found);
    }
    platform(template, found);
    if around.gpus.count(&key.region, name) == 0 {
        found.push(Violation::new(selector(ACCELERATOR_SELECTOR), elsewhere(name, key, around)));
    } else {
        quota(template, key, info, around, found);
    }
}

fn selector(name: &str) -> String {
    format!("spec.template.spec.nodeSelector[{name}]")
}

fn owner(container: &Container, index: usize, another_has_one: bool, found: &mut Vec<Violation>) {
    let field = format!("{}.resources.limits[{GPU_RESOURCE}]", container_path(index));
    let count = container.gpu_count.unwrap_or(0);
    if count > 1 {
        let message = format!("GPU can only be set to 1: an instance has 0 or 1 GPU, and {count} were asked for.");
        found.push(Violation::new(&field, message));
    }
    if another_has_one {
        let message = "GPU can only be set on one container: the instance's GPU belongs to exactly one container.";
        found.push(Violation::new(&field, message));
    }
}

fn unknown_type(name: &GpuType, around: &Surroundings<'_>) -> String {
    let types: Vec<&str> = around.gpus.types.iter().map(|info| info.name.as_str()).collect();
    let hint = match around.gpus.meant_type(name) {
        Some(meant) if mistakes_l(name.as_str(), meant.name.as_str()) => {
            format!(" Did you mean {}? Its l is a lower-case letter L, not the digit 1.", meant.name)
        }
        Some(meant) => format!(" Did you mean {}?", meant.name),
        None => String::new(),
    };
    format!("GPU type '{name}' does not exist. GPU types: {}.{hint}", types.join(", "))
}

/// Whether a lower-case letter L was written as a capital or as the digit 1.
fn mistakes_l(given: &str, meant: &str) -> bool {
    given.chars().zip(meant.chars()).any(|pair| matches!(pair, ('L' | '1', 'l')))
}

/// Row G04.
fn minimums(container: &Container, index: usize, info: &GpuTypeInfo, found: &mut Vec<Violation>) {
    let GpuTypeInfo { name, min_cpu, min_memory, .. } = info;
    let limits = format!("{}.resources.limits", container_path(index));
    let message = |given: &dyn std::fmt::Display| {
        format!(
            "CPU must be at least {min_cpu}; memory must be at least {min_memory}, in order to use a GPU of type {name}. It is {given}."
        )
    };
    if let Some(cpu) = container.cpu.filter(|cpu| cpu < min_cpu) {
        found.push(Violation::new(format!("{limits}[cpu]"), message(&format_args!("{cpu} CPU"))));
    }
    if let Some(memory) = container.memory.filter(|memory| memory < min_memory) {
        found.push(Violation::new(format!("{limits}[memory]"), message(&format_args!("{memory} of memory"))));
    }
}

/// Row G05.
fn platform(template: &RevisionTemplate, found: &mut Vec<Violation>) {
    if template.execution_environment == Some(ExecutionEnvironment::Gen1) {
        let field = template_annotation("run.googleapis.com/execution-environment");
        found.push(Violation::new(field, "Execution environment must be set to gen2 in order to set GPU. It is gen1."));
    }
    if template.cpu_throttling == Some(true) {
        let message = "CPU throttling must be disabled in order to set GPU requirements: a GPU needs CPU that is always allocated \
                       (--no-cpu-throttling, or the value 'false').";
        found.push(Violation::new(template_annotation("run.googleapis.com/cpu-throttling"), message));
    }
}

/// Row G20.
fn elsewhere(name: &GpuType, key: &ServiceKey, around: &Surroundings<'_>) -> String {
    let regions: Vec<String> = around.gpus.regions_with(name).map(ToString::to_string).collect();
    let where_it_is = if regions.is_empty() {
        "No region here has it.".to_owned()
    } else {
        format!("Regions that have it: {}.", regions.join(", "))
    };
    format!("GPU type {name} is not available in region {}. {where_it_is}", key.region)
}

/// Rows G07 and G25.
fn quota(
    template: &RevisionTemplate,
    key: &ServiceKey,
    info: &GpuTypeInfo,
    around: &Surroundings<'_>,
    found: &mut Vec<Violation>,
) {
    let zonal_redundancy = template.gpu_zonal_redundancy.unwrap_or(false);
    if zonal_redundancy && around.gpus.zone_count(&key.region, &info.name) < 2 {
        let message = format!(
            "Region {} is unable to offer GPU enabled instances with zonal redundancy: it has {} in one zone only.\n\n\
             {OFFER_NO_ZONAL_REDUNDANCY}",
            key.region, info.name
        );
        found.push(Violation::new(template_annotation("run.googleapis.com/gpu-zonal-redundancy-disabled"), message));
        return;
    }
    let quota =
        QuotaKey { project: key.project.clone(), region: key.region.clone(), gpu: info.name.clone(), zonal_redundancy };
    // Every instance has one GPU.
    let requested = template.max_instances.unwrap_or(around.settings.default_max_instances_gpu);
    if let Err(violation) = around.quotas.check(&quota, requested.max(1)) {
        found.push(Violation::new(template_annotation("autoscaling.knative.dev/maxScale"), violation.to_string()));
    }
}
