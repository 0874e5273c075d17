//! Who gets a GPU.
//!
//! The ledger is made anew from the instances that a backend reports, so it cannot drift from reality:
//! an instance holds its GPUs from the moment it is decided until nothing of it is left.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::instance::ObservedInstance;
use crate::names::{DeviceId, GpuType, Region, ServiceName};
use crate::quota::{QuotaKey, Quotas};
use crate::revision::Revision;

/// A GPU that instances can be given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gpu {
    /// Its id.
    pub id: DeviceId,
    /// Its type.
    pub gpu: GpuType,
    /// The region that its machine is in.
    pub region: Region,
}

/// Which GPUs are held, and by whom.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    gpus: Vec<Gpu>,
    /// By device: the quota that it counts for, and who has it.
    held: BTreeMap<DeviceId, (QuotaKey, ServiceName)>,
}

/// Why a GPU is not given now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denied {
    /// What ran out.
    pub cause: DeniedCause,
    /// The services of the same project and region that hold GPUs of the type, and how many.
    pub holders: Vec<(ServiceName, u32)>,
}

/// What ran out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeniedCause {
    /// The project's quota in the region.
    Quota {
        /// Which quota.
        key: QuotaKey,
        /// GPUs that it allows.
        limit: u32,
    },
    /// The machines' GPUs of the type.
    Devices {
        /// The type.
        gpu: GpuType,
        /// The region.
        region: Region,
    },
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.cause {
            DeniedCause::Quota { key, limit } => write!(
                f,
                "The request failed because the project exceeded its quota limit for {} ({limit} in {})",
                key.metric(),
                key.region
            )?,
            DeniedCause::Devices { gpu, region } => {
                write!(f, "The request failed because no GPU of type {gpu} is free in {region}")?;
            }
        }
        let holders: Vec<_> = self.holders.iter().map(|(service, count)| format!("{service} ({count})")).collect();
        if holders.is_empty() { f.write_str(".") } else { write!(f, ". GPUs are held by: {}.", holders.join(", ")) }
    }
}

impl Ledger {
    /// The ledger as the instances that are not over make it.
    pub fn new(gpus: Vec<Gpu>, instances: &[ObservedInstance]) -> Self {
        let mut held = BTreeMap::new();
        for instance in instances.iter().filter(|instance| !instance.state.is_over()) {
            let spec = &instance.spec;
            for gpu in gpus.iter().filter(|gpu| spec.gpus.contains(&gpu.id)) {
                let key = QuotaKey {
                    project: spec.revision.project.clone(),
                    region: gpu.region.clone(),
                    gpu: gpu.gpu.clone(),
                    zonal_redundancy: spec.gpu_zonal_redundancy,
                };
                held.insert(gpu.id.clone(), (key, spec.service.clone()));
            }
        }
        Self { gpus, held }
    }

    /// Gives `revision` the GPUs for one more instance, and counts them as held.
    ///
    /// # Errors
    /// [`Denied`], and then nothing is held that was not before.
    pub fn grant(&mut self, revision: &Revision, quotas: &Quotas) -> Result<Vec<DeviceId>, Denied> {
        let (count, Some(gpu)) = (revision.gpus_per_instance(), revision.template.gpu_type.clone()) else {
            return Ok(Vec::new());
        };
        if count == 0 {
            return Ok(Vec::new());
        }
        let key = QuotaKey {
            project: revision.key.project.clone(),
            region: revision.key.region.clone(),
            gpu,
            zonal_redundancy: revision.template.gpu_zonal_redundancy.unwrap_or(false),
        };
        let holders = self.holders(&key);
        let used: u32 = holders.iter().map(|(_, count)| count).sum();
        let limit = quotas.limit(&key);
        if used + count > limit {
            return Err(Denied { cause: DeniedCause::Quota { key, limit }, holders });
        }
        let free: Vec<DeviceId> = self.free(&key).take(count as usize).cloned().collect();
        if free.len() < count as usize {
            let cause = DeniedCause::Devices { gpu: key.gpu, region: key.region };
            return Err(Denied { cause, holders });
        }
        for id in &free {
            self.held.insert(id.clone(), (key.clone(), revision.service.clone()));
        }
        Ok(free)
    }

    /// GPUs that nobody holds.
    pub fn free_gpus(&self) -> BTreeSet<&DeviceId> {
        self.gpus.iter().map(|gpu| &gpu.id).filter(|id| !self.held.contains_key(id)).collect()
    }

    fn free<'a>(&'a self, key: &'a QuotaKey) -> impl Iterator<Item = &'a DeviceId> {
        let matching = self.gpus.iter().filter(|gpu| gpu.gpu == key.gpu && gpu.region == key.region);
        matching.map(|gpu| &gpu.id).filter(|id| !self.held.contains_key(id))
    }

    /// GPUs that the quota counts as used.
    pub fn used(&self, key: &QuotaKey) -> u32 {
        self.holders(key).iter().map(|(_, count)| count).sum()
    }

    /// The services of the project that hold GPUs which the quota counts, most first.
    pub fn holders(&self, key: &QuotaKey) -> Vec<(ServiceName, u32)> {
        let mut counts = BTreeMap::<&ServiceName, u32>::new();
        for (counted, service) in self.held.values() {
            if counted == key {
                *counts.entry(service).or_default() += 1;
            }
        }
        let mut counts: Vec<_> = counts.into_iter().map(|(service, count)| (service.clone(), count)).collect();
        counts.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        counts
    }
}
