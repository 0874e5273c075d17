//! GPUs: which ones this machine has, and how a container gets one (rows G03, G16, G17).
//!
//! [`Gpus`] is the whole interface: [`Gpus::open`] looks for devices as the operator's [`GpuSetting`]
//! says, [`Gpus::devices`] lists them, [`Gpus::inject`] edits the OCI runtime spec of the one container
//! that gets some, and `usage` says how busy they are. Which instance gets which device is decided by `homerun_model::plan`, never here.
//!
//! Real devices come from NVIDIA's management library (`nvml`), simulated ones from a stand-in
//! driver that homerun carries with it (`simulated`). Both reach a container the same way: through a
//! file in the Container Device Interface's format (`cdi`).

mod cdi;
mod compat;
mod nvml;
mod setting;
mod simulated;
mod usage;

use std::error::Error;
use std::fmt;
use std::path::Path;

use homerun_model::gpu::GpuTypeInfo;
use homerun_model::names::{DeviceId, GpuType};
use oci_spec::runtime::Spec;

pub use cdi::InjectError;
pub use compat::{driver_warning, prefer_compat};
pub use setting::{GpuSetting, GpuSettingError};
pub use simulated::SimulationError;
pub use usage::GpuUse;
pub(crate) use usage::Holder;

/// One GPU of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Its UUID as NVIDIA's tools show it (`GPU-...`), stable across restarts.
    pub id: DeviceId,
    /// Its number among this machine's GPUs, from 0.
    pub index: u32,
    /// The type that a service asks for, for instance `nvidia-l4`.
    pub gpu_type: GpuType,
    /// The product's name as NVML reports it.
    pub product: String,
    /// The GPU's own memory in bytes.
    pub memory_bytes: u64,
    /// Whether it is simulated: it can be seen and allocated, but no CUDA work can run on it.
    pub simulated: bool,
}

/// A CUDA version. Patch levels are left out: compatibility does not depend on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CudaVersion {
    /// The 12 of 12.2.
    pub major: u32,
    /// The 2 of 12.2.
    pub minor: u32,
}

impl CudaVersion {
    /// Reads CUDA's own encoding, 1000 * major + 10 * minor.
    fn from_encoded(version: i32) -> Self {
        let version = version.unsigned_abs();
        Self { major: version / 1000, minor: version % 1000 / 10 }
    }
}

impl fmt::Display for CudaVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// The driver that the devices share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Driver {
    /// Its version, for instance `535.129.03`.
    pub version: String,
    /// The newest CUDA version that it supports.
    pub cuda: CudaVersion,
}

/// What was found on this machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Inventory {
    devices: Vec<Device>,
    driver: Option<Driver>,
    notes: Vec<String>,
}

/// The GPUs of this machine and the way into a container.
#[derive(Debug)]
pub struct Gpus {
    inventory: Inventory,
    cdi: cdi::Registry,
    watch: usage::Watch,
}

impl Gpus {
    /// Finds the devices that the setting asks for. Under `auto` a machine without a usable NVIDIA
    /// driver has none, and [`notes`](Gpus::notes) says why. For `simulated:` the stand-in driver is
    /// written to `data_dir/gpu`; containers need search permission on the path there.
    ///
    /// # Errors
    /// Only for `simulated:`, when the stand-in driver could not be written.
    pub fn open(setting: &GpuSetting, types: &[GpuTypeInfo], data_dir: &Path) -> Result<Self, SimulationError> {
        let (inventory, cdi) = match setting {
            GpuSetting::None => (Inventory::default(), cdi::Registry::nvidia()),
            GpuSetting::Auto => (nvml::inventory(types), cdi::Registry::nvidia()),
            GpuSetting::Simulated(counts) => {
                let folder = data_dir.join("gpu");
                let inventory = simulated::inventory(counts, types);
                simulated::install(&folder, &inventory.devices)?;
                (inventory, cdi::Registry::simulated(&folder))
            }
        };
        Ok(Self::new(inventory, cdi))
    }

    /// Finds out now, not at the first deploy, whether containers can be given the devices.
    fn new(mut inventory: Inventory, cdi: cdi::Registry) -> Self {
        if !inventory.devices.is_empty()
            && let Err(error) = cdi.check()
        {
            let mut note = format!("containers cannot be given a GPU yet: {error}");
            let mut cause = error.source();
            while let Some(error) = cause {
                note.push_str(&format!(": {error}"));
                cause = error.source();
            }
            inventory.notes.push(note);
        }
        Self { inventory, cdi, watch: usage::Watch::default() }
    }

    /// The devices, by index.
    pub fn devices(&self) -> &[Device] {
        &self.inventory.devices
    }

    /// The driver; `None` without one.
    pub fn driver(&self) -> Option<&Driver> {
        self.inventory.driver.as_ref()
    }

    /// Sentences for people: why there is no device, which one could not be used, or what is missing to
    /// give one to a container.
    pub fn notes(&self) -> &[String] {
        &self.inventory.notes
    }

    /// Gives devices to a container by editing its OCI runtime spec: device nodes, driver libraries
    /// under `/usr/local/nvidia/lib64`, tools under `/usr/local/nvidia/bin`, hooks. Does nothing for no
    /// devices. Call it once per container, when the spec's process and mounts are complete.
    ///
    /// `LD_LIBRARY_PATH` becomes `/usr/local/nvidia/lib64` if neither image nor service sets it, and is
    /// otherwise left exactly as it is, as is every other variable that is already set: Cloud Run's
    /// documentation makes the search path the user's own to set. `/usr/local/nvidia/bin` goes to the
    /// end of `PATH`, where it hides nothing.
    ///
    /// # Errors
    /// When a device is unknown, or has no usable CDI file; the spec is then unchanged.
    pub fn inject(&self, spec: &mut Spec, devices: &[DeviceId]) -> Result<(), InjectError> {
        let wanted = devices
            .iter()
            .map(|id| {
                let known = self.devices().iter().find(|device| &device.id == id);
                known.ok_or_else(|| InjectError::UnknownDevice(id.clone()))
            })
            .collect::<Result<Vec<_>, _>>()?;
        self.cdi.inject(spec, &wanted)
    }
}

#[cfg(test)]
mod tests;
