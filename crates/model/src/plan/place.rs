//! Who gets a GPU.
//!
//! The ledger is made anew from the instances that a backend reports, so it cannot drift from reality:
//! an instance holds its GPUs from the moment it is decided until nothing of it is left.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use chrono::SecondsFormat;
use serde::{Deserialize, Serialize};

use crate::Timestamp;
use crate::billing::budget::Exceeded;
use crate::instance::{InstanceSpec, ObservedInstance};
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
    /// By device: the quota that it counts for, who has it, and since when.
    held: BTreeMap<DeviceId, (QuotaKey, ServiceName, Timestamp)>,
}

/// A service that holds GPUs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The service.
    pub service: ServiceName,
    /// How many GPUs it holds.
    pub gpus: u32,
    /// Since when it has held the first of them.
    pub since: Timestamp,
    /// Requests that its instances with GPUs are serving.
    pub requests: u32,
}

/// GPUs that other projects hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Others {
    /// How many.
    pub gpus: u32,
    /// Since when they have held the first of them.
    pub since: Timestamp,
}

/// Why a GPU is not given now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denied {
    /// What ran out.
    pub cause: DeniedCause,
    /// The services of the same project and region that hold GPUs of the type.
    pub holders: Vec<Holder>,
    /// Where devices ran out: those of them that other projects hold. Whose they are is theirs to know.
    pub others: Option<Others>,
    /// Since when it has not been given.
    pub since: Timestamp,
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
    /// A budget, whatever instances need.
    Budget(Exceeded),
}

/// Says the cause and who holds what since when; with `{:#}` also what the holders are doing, which changes
/// from one moment to the next.
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
            DeniedCause::Budget(exceeded) => write!(f, "{exceeded}")?,
        }
        let time = |since: Timestamp| since.to_rfc3339_opts(SecondsFormat::Secs, true);
        let holder = |holder: &Holder| {
            let doing = match (f.alternate(), holder.requests) {
                (false, _) => String::new(),
                (true, 0) => ", idle".to_owned(),
                (true, 1) => ", serving 1 request".to_owned(),
                (true, many) => format!(", serving {many} requests"),
            };
            format!("{} ({}) since {}{doing}", holder.service, holder.gpus, time(holder.since))
        };
        let others = self.others.map(|others| format!("other projects ({}) since {}", others.gpus, time(others.since)));
        let holders: Vec<_> = self.holders.iter().map(holder).chain(others).collect();
        if holders.is_empty() { f.write_str(".") } else { write!(f, ". GPUs are held by: {}.", holders.join("; ")) }
    }
}

impl Ledger {
    /// The ledger as the instances that are not over make it.
    pub fn new(gpus: Vec<Gpu>, instances: &[ObservedInstance]) -> Self {
        let mut held = BTreeMap::new();
        for instance in instances.iter().filter(|instance| !instance.state.is_over()) {
            let spec = &instance.spec;
            for gpu in gpus.iter().filter(|gpu| spec.gpus.contains(&gpu.id)) {
                held.insert(gpu.id.clone(), (counted(spec, gpu), spec.service.clone(), spec.decided_at));
            }
        }
        Self { gpus, held }
    }

    /// Gives `revision` the GPUs for one more instance, and counts them as held.
    ///
    /// # Errors
    /// [`Denied`], and then nothing is held that was not before.
    pub fn grant(
        &mut self,
        revision: &Revision,
        quotas: &Quotas,
        now: Timestamp,
    ) -> Result<Vec<DeviceId>, Box<Denied>> {
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
        let used: u32 = holders.iter().map(|holder| holder.gpus).sum();
        let limit = quotas.limit(&key);
        if used + count > limit {
            let cause = DeniedCause::Quota { key, limit };
            return Err(Box::new(Denied { cause, holders, others: None, since: now }));
        }
        let free: Vec<DeviceId> = self.free(&key).take(count as usize).cloned().collect();
        if free.len() < count as usize {
            return Err(Box::new(self.no_device(key, now)));
        }
        for id in &free {
            self.held.insert(id.clone(), (key.clone(), revision.service.clone(), now));
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
        self.holders(key).iter().map(|holder| holder.gpus).sum()
    }

    /// The quota that an instance's GPUs count for; `None` if it has none of these.
    pub fn key_of(&self, spec: &InstanceSpec) -> Option<QuotaKey> {
        self.gpus.iter().find(|gpu| spec.gpus.contains(&gpu.id)).map(|gpu| counted(spec, gpu))
    }

    /// Why none of the devices is given: whatever quota they are counted for, somebody has them.
    fn no_device(&self, key: QuotaKey, now: Timestamp) -> Denied {
        let same = |held: &QuotaKey| held.gpu == key.gpu && held.region == key.region;
        let holders = self.holding(|held| same(held) && held.project == key.project);
        let others = self.held.values().filter(|(held, ..)| same(held) && held.project != key.project);
        let times: Vec<Timestamp> = others.map(|(_, _, since)| *since).collect();
        let others = times.iter().min().map(|since| Others { gpus: times.len() as u32, since: *since });
        Denied { cause: DeniedCause::Devices { gpu: key.gpu, region: key.region }, holders, others, since: now }
    }

    /// The services of the project that hold GPUs which the quota counts, most first.
    pub fn holders(&self, key: &QuotaKey) -> Vec<Holder> {
        self.holding(|held| held == key)
    }

    /// The services that hold GPUs which are counted for certain quotas, all of the same project; most first.
    fn holding(&self, counts: impl Fn(&QuotaKey) -> bool) -> Vec<Holder> {
        let mut holders = BTreeMap::<&ServiceName, Holder>::new();
        for (_, service, since) in self.held.values().filter(|(counted, ..)| counts(counted)) {
            let first = || Holder { service: service.clone(), gpus: 0, since: *since, requests: 0 };
            let holder = holders.entry(service).or_insert_with(first);
            holder.gpus += 1;
            holder.since = holder.since.min(*since);
        }
        let mut holders: Vec<_> = holders.into_values().collect();
        holders.sort_by(|a, b| b.gpus.cmp(&a.gpus).then_with(|| a.service.cmp(&b.service)));
        holders
    }
}

/// The quota that a GPU counts for while an instance has it.
fn counted(spec: &InstanceSpec, gpu: &Gpu) -> QuotaKey {
    QuotaKey {
        project: spec.revision.project.clone(),
        region: gpu.region.clone(),
        gpu: gpu.gpu.clone(),
        zonal_redundancy: spec.gpu_zonal_redundancy,
    }
}
