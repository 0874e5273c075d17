//! How much of each GPU is in use.
//!
//! Of real devices the driver says it. On simulated ones no work can run, so there would be nothing to see: what shows is
//! a stand-in of the instance that holds the device, and [`GpuUse::simulated`] says so. It is busy for the share of its
//! CPU limit that the instance uses, and has as much memory in use as the instance has.
//!
//! Untested for want of hardware: what a real driver answers while work runs, and how long it takes to.

use std::collections::BTreeMap;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use homerun_model::names::{DeviceId, InstanceId};
use nvml_wrapper::Nvml;

use super::{Device, Gpus, nvml};
use crate::CpuUse;

/// How much of a GPU is in use.
#[derive(Debug, Clone, PartialEq)]
pub struct GpuUse {
    /// The device.
    pub device: DeviceId,
    /// The share of the last moments in which it worked, 0 to 1. Of a real device the driver chooses how long they
    /// are, between a sixth of a second and a second; of a simulated one it is the time since it was asked last.
    pub busy: f64,
    /// Memory in use, in bytes.
    pub memory_bytes: u64,
    /// Its memory, in bytes.
    pub memory_total_bytes: u64,
    /// Whether the device is simulated, so that this is a stand-in.
    pub simulated: bool,
}

/// The instance that holds a simulated device.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Holder {
    pub(crate) instance: InstanceId,
    pub(crate) cpu: CpuUse,
    /// Memory in use, in bytes.
    pub(crate) memory_bytes: u64,
}

/// What was seen of a device's holder when it was last asked for.
#[derive(Debug, Clone, PartialEq)]
struct Seen {
    instance: InstanceId,
    cpu_time: Duration,
    at: Instant,
}

/// What is kept between two questions.
#[derive(Default)]
pub(super) struct Watch {
    /// The driver; `None` if it does not answer.
    driver: OnceLock<Option<Nvml>>,
    simulated: Mutex<BTreeMap<DeviceId, Seen>>,
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").field("simulated", &self.simulated).finish_non_exhaustive()
    }
}

impl Gpus {
    /// How much of each device is in use. A real device that does not answer is left out. `holder` tells who holds a
    /// device, and is asked for simulated ones only.
    pub(crate) fn usage(&self, holder: impl Fn(&DeviceId) -> Option<Holder>) -> Vec<GpuUse> {
        let mut seen = self.watch.simulated.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let usage = self.devices().iter().filter_map(|device| match device.simulated {
            true => Some(simulated(device, holder(&device.id), &mut seen, now)),
            false => nvml::usage(self.watch.driver.get_or_init(nvml::driver).as_ref()?, device),
        });
        usage.collect()
    }
}

/// The stand-in of a simulated device's use. Idle for the first question about a holder: a share needs two.
fn simulated(device: &Device, holder: Option<Holder>, seen: &mut BTreeMap<DeviceId, Seen>, now: Instant) -> GpuUse {
    let mut usage = GpuUse {
        device: device.id.clone(),
        busy: 0.0,
        memory_bytes: 0,
        memory_total_bytes: device.memory_bytes,
        simulated: true,
    };
    let Some(holder) = holder else {
        seen.remove(&device.id);
        return usage;
    };
    usage.memory_bytes = holder.memory_bytes.min(device.memory_bytes);
    let new = Seen { instance: holder.instance, cpu_time: holder.cpu.time, at: now };
    let old = seen.insert(device.id.clone(), new.clone()).filter(|old| old.instance == new.instance);
    if let Some(old) = old {
        let could = now.duration_since(old.at).as_secs_f64() * holder.cpu.limit;
        let did = new.cpu_time.saturating_sub(old.cpu_time).as_secs_f64();
        usage.busy = if could > 0.0 { (did / could).clamp(0.0, 1.0) } else { 0.0 };
    }
    usage
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn g16_a_simulated_gpu_is_as_busy_as_the_cpu_of_its_holder() {
        let device = Device {
            id: "GPU-1".into(),
            index: 0,
            gpu_type: "nvidia-l4".into(),
            product: "NVIDIA L4 (simulated)".to_owned(),
            memory_bytes: 24 << 30,
            simulated: true,
        };
        let holder = |id: &str, millis: u64, memory_bytes: u64| {
            let cpu = CpuUse { time: Duration::from_millis(millis), limit: 4.0 };
            Some(Holder { instance: id.into(), cpu, memory_bytes })
        };
        let (mut seen, begun) = (BTreeMap::new(), Instant::now());
        let mut after = |seconds: u64, holder: Option<Holder>| {
            let usage = simulated(&device, holder, &mut seen, begun + Duration::from_secs(seconds));
            assert!(usage.simulated && usage.memory_total_bytes == 24 << 30);
            (usage.busy, usage.memory_bytes)
        };
        assert_eq!(after(0, holder("one", 7000, 1 << 30)), (0.0, 1 << 30), "nothing to compare with");
        assert_eq!(after(10, holder("one", 17_000, 2 << 30)), (0.25, 2 << 30), "10 s of 40");
        assert_eq!(after(11, holder("one", 27_000, 32 << 30)), (1.0, 24 << 30), "no more than all");
        assert_eq!(after(12, holder("other", 27_500, 0)), (0.0, 0), "another's time is not its own");
        assert_eq!(after(13, None), (0.0, 0));
        assert_eq!(after(14, holder("other", 28_000, 0)), (0.0, 0), "it was let go of in between");
    }
}
