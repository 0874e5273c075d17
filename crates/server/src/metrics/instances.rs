//! What is seen of instances: their states, their starts, and the GPUs that they hold.

use std::collections::{BTreeMap, BTreeSet};

use homerun_backend::gpu::GpuUse;
use homerun_model::billing::Steady;
use homerun_model::instance::ObservedInstance;
use homerun_model::metrics::{Point, State};
use homerun_model::names::{DeviceId, InstanceId, ServiceKey};
use homerun_model::receipt::Receipt;

/// What must be known from one look to the next.
#[derive(Default)]
pub(super) struct Instances {
    /// When the first look was: what had become ready before, another homerun has counted.
    begun: Option<Steady>,
    /// Instances whose start has been counted.
    counted: BTreeSet<InstanceId>,
    /// Who holds each GPU.
    holders: BTreeMap<DeviceId, InstanceId>,
    /// How much of it is in use, as it was asked for last while this instance held it.
    usage: BTreeMap<DeviceId, GpuUse>,
}

impl Instances {
    /// Takes in what is seen, which is said to have been so for so many milliseconds.
    pub(super) fn look(
        &mut self,
        instances: &[ObservedInstance],
        millis: u64,
        now: Steady,
        points: &mut BTreeMap<ServiceKey, Point>,
    ) {
        let begun = *self.begun.get_or_insert(now);
        let mut states: BTreeMap<ServiceKey, [u64; 4]> = BTreeMap::new();
        let mut holders = BTreeMap::new();
        self.counted.retain(|id| instances.iter().any(|instance| instance.spec.id == *id));
        for instance in instances {
            let key = service(instance);
            let ready = instance.stamps.steady.ready.filter(|ready| *ready >= begun);
            if ready.is_some() && self.counted.insert(instance.spec.id.clone()) {
                let receipt = Receipt::of(instance.spec.decided_at, &instance.stamps);
                points.entry(key.clone()).or_default().starts.add(&receipt);
            }
            let Some(state) = State::of(&instance.state).filter(|_| !instance.lost) else { continue };
            for device in &instance.spec.gpus {
                holders.insert(device.clone(), instance.spec.id.clone());
                if let Some(usage) = self.usage_of(device, &instance.spec.id) {
                    let held = points.entry(key.clone()).or_default().devices.entry(device.clone()).or_default();
                    held.add(usage.busy, usage.memory_bytes, millis);
                }
            }
            states.entry(key).or_default()[state as usize] += 1;
        }
        for (key, counts) in states {
            points.entry(key).or_default().instances(counts, millis);
        }
        self.usage.retain(|device, _| holders.get(device) == self.holders.get(device));
        self.holders = holders;
    }

    /// How much of a GPU is in use, if it was asked for since this instance holds it.
    fn usage_of(&self, device: &DeviceId, instance: &InstanceId) -> Option<&GpuUse> {
        self.usage.get(device).filter(|_| self.holders.get(device) == Some(instance))
    }

    pub(super) fn hold_gpus(&self) -> bool {
        !self.holders.is_empty()
    }

    pub(super) fn set_gpu_use(&mut self, usage: Vec<GpuUse>) {
        let held = usage.into_iter().filter(|usage| self.holders.contains_key(&usage.device));
        self.usage = held.map(|usage| (usage.device.clone(), usage)).collect();
    }
}

fn service(instance: &ObservedInstance) -> ServiceKey {
    let revision = &instance.spec.revision;
    ServiceKey {
        project: revision.project.clone(),
        region: revision.region.clone(),
        name: instance.spec.service.clone(),
    }
}
