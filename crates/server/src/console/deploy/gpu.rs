//! The GPU of a service: its box, and what comes with it.

use homerun_model::gpu::{ACCELERATOR_SELECTOR, DEFAULT_GPU_TYPE, GPU_RESOURCE, GpuInventory, GpuTypeInfo};
use homerun_model::names::{GpuType, Region};
use homerun_model::quantity::{Cpu, Memory};

use super::draft::{CONTAINERS, CPU_THROTTLING, Draft, ENVIRONMENT};

/// Whether the GPU is in several zones; the annotation says that it is not.
pub(super) const NO_REDUNDANCY: &str =
    "spec.template.metadata.annotations[run.googleapis.com/gpu-zonal-redundancy-disabled]";
/// Whether the image's CUDA libraries come first.
pub(super) const COMPAT: &str = "spec.template.metadata.annotations[homerun.dev/cuda-compat]";

/// The field of the GPU's type.
pub(super) fn type_path() -> String {
    format!("spec.template.spec.nodeSelector[{ACCELERATOR_SELECTOR}]")
}

/// The field of the number of a container's GPUs.
pub(super) fn count_path(container: &str) -> String {
    format!("{container}.resources.limits[{GPU_RESOURCE}]")
}

/// Whether a container has a GPU.
pub(super) fn has(draft: &Draft, container: &str) -> bool {
    !matches!(draft.text(&count_path(container)).as_str(), "" | "0")
}

/// The first container that has a GPU.
pub(super) fn owner(draft: &Draft) -> Option<String> {
    let paths = (0..draft.length(CONTAINERS)).map(|index| format!("{CONTAINERS}[{index}]"));
    paths.into_iter().find(|container| has(draft, container))
}

/// Which container has which GPU: what the form remembers, to know when it changes.
pub(super) fn mark(draft: &Draft) -> String {
    owner(draft).map_or_else(String::new, |owner| format!("{owner} {}", draft.text(&type_path())))
}

/// Turns a container's GPU on or off (row G14: with the last GPU, everything about it goes).
pub(super) fn switch(draft: &mut Draft, container: &str, on: bool) {
    let count = count_path(container);
    match (on, has(draft, container)) {
        (true, false) => draft.set(&count, "1"),
        (false, true) => draft.clear(&count),
        _ => {}
    }
    if !on && owner(draft).is_none() {
        for path in [type_path().as_str(), NO_REDUNDANCY, COMPAT] {
            draft.clear(path);
        }
    }
}

/// Fills in what a GPU needs and was not there: a type, the least CPU and memory, CPU that is always allocated, the
/// second generation (rows G02 to G05).
pub(super) fn fill_in(draft: &mut Draft, inventory: &GpuInventory, region: &Region) {
    let Some(container) = owner(draft) else { return };
    if draft.text(&type_path()).is_empty() {
        let here = inventory.types.iter().find(|info| inventory.count(region, &info.name) > 0);
        draft.set(&type_path(), here.map_or(DEFAULT_GPU_TYPE, |info| info.name.as_str()));
    }
    let Some(info) = info(draft, inventory) else { return };
    let (cpu, memory) = (format!("{container}.resources.limits[cpu]"), format!("{container}.resources.limits[memory]"));
    if Cpu::parse(&draft.text(&cpu)).is_none_or(|given| given < info.min_cpu) {
        draft.set(&cpu, &info.min_cpu.as_given());
    }
    if Memory::parse(&draft.text(&memory)).is_none_or(|given| given < info.min_memory) {
        draft.set(&memory, &info.min_memory.to_string());
    }
    draft.set(CPU_THROTTLING, "false");
    draft.set(ENVIRONMENT, "gen2");
}

/// The type that is chosen, if there is such a type.
pub(super) fn info<'a>(draft: &Draft, inventory: &'a GpuInventory) -> Option<&'a GpuTypeInfo> {
    inventory.type_info(&GpuType::new(draft.text(&type_path())))
}

#[cfg(test)]
mod tests {
    use homerun_model::gpu::published_types;

    use super::*;

    fn here() -> (GpuInventory, Region) {
        let region = Region::from("here");
        let types = [(GpuType::from("nvidia-rtx-pro-6000"), vec![1])].into_iter().collect();
        (GpuInventory { types: published_types(), regions: [(region.clone(), types)].into_iter().collect() }, region)
    }

    #[test]
    fn g24_turning_the_gpu_on_fills_in_what_the_type_needs_and_leaves_what_is_enough() {
        let (inventory, region) = here();
        let mut draft = Draft::empty();
        let container = format!("{CONTAINERS}[0]");
        let (cpu, memory) =
            (format!("{container}.resources.limits[cpu]"), format!("{container}.resources.limits[memory]"));
        draft.set(&cpu, "1");
        draft.set(&memory, "128Gi");
        switch(&mut draft, &container, true);
        fill_in(&mut draft, &inventory, &region);
        assert_eq!(draft.text(&count_path(&container)), "1");
        assert_eq!(draft.text(&type_path()), "nvidia-rtx-pro-6000", "the type that is here");
        assert_eq!((draft.text(&cpu).as_str(), draft.text(&memory).as_str()), ("20", "128Gi"));
        assert_eq!((draft.text(CPU_THROTTLING).as_str(), draft.text(ENVIRONMENT).as_str()), ("false", "gen2"));
    }

    #[test]
    fn g14_g24_turning_the_gpu_off_takes_its_type_along() {
        let (inventory, region) = here();
        let mut draft = Draft::empty();
        let container = format!("{CONTAINERS}[0]");
        switch(&mut draft, &container, true);
        fill_in(&mut draft, &inventory, &region);
        draft.set(NO_REDUNDANCY, "true");
        switch(&mut draft, &container, false);
        for path in [count_path(&container), type_path(), NO_REDUNDANCY.to_owned()] {
            assert_eq!(draft.text(&path), "", "{path}");
        }
    }
}
