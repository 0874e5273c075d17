//! GPU types and where they are.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::names::{GpuType, Region};
use crate::quantity::{Cpu, Memory};

/// The limit's name in `resources.limits`.
pub const GPU_RESOURCE: &str = "nvidia.com/gpu";
/// The node selector's name that chooses the GPU type.
pub const ACCELERATOR_SELECTOR: &str = "run.googleapis.com/accelerator";
/// The type that a GPU without a type gets (row G02).
pub const DEFAULT_GPU_TYPE: &str = "nvidia-l4";

/// A type of GPU and what a service must give an instance that has one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuTypeInfo {
    /// The name users write.
    pub name: GpuType,
    /// The product's name as NVML reports it.
    pub product: String,
    /// The GPU's own memory.
    pub memory: Memory,
    /// Least CPU of the container that has it.
    pub min_cpu: Cpu,
    /// Least memory of the container that has it.
    pub min_memory: Memory,
    /// CPU that the console and command line recommend.
    pub recommended_cpu: Cpu,
    /// Memory that the console and command line recommend.
    pub recommended_memory: Memory,
}

/// The types that Cloud Run publishes, with its minimums (row G03).
pub fn published_types() -> Vec<GpuTypeInfo> {
    vec![
        GpuTypeInfo {
            name: GpuType::from(DEFAULT_GPU_TYPE),
            product: "NVIDIA L4".to_owned(),
            memory: Memory::gib(24),
            min_cpu: Cpu::from_millis(4_000),
            min_memory: Memory::gib(16),
            recommended_cpu: Cpu::from_millis(8_000),
            recommended_memory: Memory::gib(32),
        },
        GpuTypeInfo {
            name: GpuType::from("nvidia-rtx-pro-6000"),
            product: "NVIDIA RTX PRO 6000 Blackwell Server Edition".to_owned(),
            memory: Memory::gib(96),
            min_cpu: Cpu::from_millis(20_000),
            min_memory: Memory::gib(80),
            recommended_cpu: Cpu::from_millis(20_000),
            recommended_memory: Memory::gib(80),
        },
    ]
}

/// How many GPUs of each type each zone of each region has, as the operator's machines report it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuInventory {
    /// The types that exist here: the published ones and those that the operator declares.
    pub types: Vec<GpuTypeInfo>,
    /// Region -> type -> GPUs in each zone that has any.
    pub regions: BTreeMap<Region, BTreeMap<GpuType, Vec<u32>>>,
}

impl GpuInventory {
    /// The type's description, if there is such a type.
    pub fn type_info(&self, name: &GpuType) -> Option<&GpuTypeInfo> {
        self.types.iter().find(|info| &info.name == name)
    }

    /// The type that a misspelt name means: upper case, or the digit 1 for the letter l (row G03).
    pub fn meant_type(&self, name: &GpuType) -> Option<&GpuTypeInfo> {
        let shape = |name: &GpuType| name.as_str().to_lowercase().replace('1', "l");
        self.types.iter().find(|info| shape(&info.name) == shape(name))
    }

    /// GPUs of a type in a region, over all zones.
    pub fn count(&self, region: &Region, gpu: &GpuType) -> u32 {
        self.zones(region, gpu).iter().sum()
    }

    /// How many zones of the region have the type.
    pub fn zone_count(&self, region: &Region, gpu: &GpuType) -> usize {
        self.zones(region, gpu).len()
    }

    /// The regions that have at least one GPU of the type.
    pub fn regions_with<'a>(&'a self, gpu: &'a GpuType) -> impl Iterator<Item = &'a Region> {
        self.regions.keys().filter(move |region| self.count(region, gpu) > 0)
    }

    fn zones(&self, region: &Region, gpu: &GpuType) -> &[u32] {
        self.regions.get(region).and_then(|types| types.get(gpu)).map_or(&[], Vec::as_slice)
    }
}
