//! How much CPU an instance has at the moment: its limit, more while it starts, nearly nothing while it rests. And how
//! much it uses.

use std::collections::BTreeMap;

use homerun_model::Timestamp;
use homerun_model::instance::{InstanceState, STARTUP_BOOST};
use homerun_model::names::{DeviceId, InstanceId};

use super::record::Record;
use super::{Instance, Shared};
use crate::CpuUse;
use crate::gpu::Holder;

/// Thousandths of a CPU of a container that rests: the kernel's least, a hundredth.
const RESTING: u64 = 10;

/// What decides over an instance's CPU besides its description.
#[derive(Debug, Default)]
pub(super) struct CpuState {
    /// Whether its CPU was taken until the next request.
    pub(super) rests: bool,
    /// Probes that are under way.
    pub(super) probes: u32,
    /// What containers were given last, in thousandths, where it is known.
    given: BTreeMap<usize, u64>,
}

impl CpuState {
    /// A container has been started with this much, in thousandths.
    pub(super) fn begin(&mut self, index: usize, millis: u64) {
        self.given.insert(index, millis);
    }
}

impl Instance {
    /// Thousandths of a CPU that a container may use now.
    fn cpu_millis(&self, index: usize, now: Timestamp) -> u64 {
        let observed = &self.record.observed;
        if self.cpu.rests && self.cpu.probes == 0 && observed.state == InstanceState::Ready {
            return RESTING;
        }
        let container = &observed.spec.containers[index];
        let starts = observed.stamps.ready.is_none_or(|ready| now < ready + STARTUP_BOOST);
        container.startup_cpu.filter(|_| starts).unwrap_or(container.cpu).millis()
    }
}

impl Shared {
    /// What an instance uses of the CPU; `None` if it cannot be measured.
    pub(super) fn cpu_use(&self, record: &Record) -> Option<CpuUse> {
        let times = record.containers.iter().map(|container| self.cgroups.cpu_time(&container.cgroup));
        Some(CpuUse::new(&record.observed.spec, self.machine.cpu_millis, times.sum::<Option<_>>()?))
    }

    /// The instance that holds a GPU, as far as it runs.
    pub(super) fn holder(&self, device: &DeviceId) -> Option<Holder> {
        let holds = |instance: &&Instance| {
            let observed = &instance.record.observed;
            !observed.state.is_over() && observed.spec.gpus.contains(device)
        };
        let record = self.lock().values().find(holds)?.record.clone();
        let memory = record.containers.iter().map(|container| self.cgroups.memory_bytes(&container.cgroup));
        let memory_bytes = memory.sum::<Option<_>>()?;
        Some(Holder { instance: record.observed.spec.id.clone(), cpu: self.cpu_use(&record)?, memory_bytes })
    }

    /// Changes what decides over an instance's CPU, and gives its containers what follows.
    pub(super) fn set_cpu(&self, id: &InstanceId, change: impl FnOnce(&mut CpuState)) {
        let mut instances = self.lock();
        let Some(instance) = instances.get_mut(id) else { return };
        change(&mut instance.cpu);
        let now = chrono::Utc::now();
        let running = instance.record.containers.iter().filter(|container| container.process.is_some());
        let due: Vec<(usize, u64, String)> = running
            .map(|container| {
                let millis = instance.cpu_millis(container.index, now).min(self.machine.cpu_millis);
                (container.index, millis, container.cgroup.clone())
            })
            .filter(|(index, millis, _)| instance.cpu.given.get(index) != Some(millis))
            .collect();
        for (index, millis, cgroup) in due {
            match self.cgroups.limit_cpu(&cgroup, millis) {
                Ok(()) => drop(instance.cpu.given.insert(index, millis)),
                // A container that has just ended has no cgroup any more.
                Err(error) => tracing::debug!(instance = %id, %error, "the CPU of a container cannot be set"),
            }
        }
    }
}
