//! GPU quotas: how many GPUs the live instances of a project may hold in a region.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::names::{GpuType, ProjectId, Region};

/// What a quota limits: GPUs of one type, of one project, in one region, with or without zonal
/// redundancy (each has a quota of its own, row G25).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct QuotaKey {
    /// The project.
    pub project: ProjectId,
    /// The region.
    pub region: Region,
    /// The GPU type.
    pub gpu: GpuType,
    /// Whether it counts instances with zonal redundancy.
    pub zonal_redundancy: bool,
}

/// The limits in force.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quotas {
    limits: BTreeMap<QuotaKey, u32>,
}

impl Quotas {
    /// Sets a limit, in GPUs.
    pub fn set(&mut self, key: QuotaKey, limit: u32) {
        self.limits.insert(key, limit);
    }

    /// The limit, in GPUs; 0 where none was ever granted.
    pub fn limit(&self, key: &QuotaKey) -> u32 {
        self.limits.get(key).copied().unwrap_or(0)
    }
}

impl QuotaKey {
    /// The quota's metric as Cloud Run names it, for instance
    /// `run.googleapis.com/nvidia_l4_gpu_allocation_no_zonal_redundancy`.
    pub fn metric(&self) -> String {
        let gpu = self.gpu.as_str().replace('-', "_");
        let suffix = if self.zonal_redundancy { "" } else { "_no_zonal_redundancy" };
        format!("run.googleapis.com/{gpu}_gpu_allocation{suffix}")
    }
}
