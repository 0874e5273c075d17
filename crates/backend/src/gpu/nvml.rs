//! The GPUs of a real machine, as NVIDIA's management library (NVML) reports them.
//!
//! The library belongs to the driver, so it is looked for at run time. The tests run this same code
//! against the stand-in `libnvidia-ml.so.1`, which answers in NVML's binary interface. What that cannot
//! show, and what is untested for want of hardware: drivers older than 510 (which lack the memory call
//! used here), GPUs divided by MIG, and GPUs that fail while they are being read.

use std::ffi::OsStr;

use homerun_model::gpu::GpuTypeInfo;
use homerun_model::names::{DeviceId, GpuType};
use nvml_wrapper::Nvml;
use nvml_wrapper::error::NvmlError;

use super::{CudaVersion, Device, Driver, GpuUse, Inventory};

/// The library's name; the loader knows where it is.
const LIBRARY: &str = "libnvidia-ml.so.1";
/// How simulated devices end their names, so that they are known for what they are everywhere.
pub(super) const SIMULATED_SUFFIX: &str = " (simulated)";

/// Asks the driver of this machine.
pub(super) fn inventory(types: &[GpuTypeInfo]) -> Inventory {
    inventory_from(OsStr::new(LIBRARY), types)
}

/// Asks the driver whose library this is. No driver is no error: the machine has no GPU then, and a note
/// says why.
pub(super) fn inventory_from(library: &OsStr, types: &[GpuTypeInfo]) -> Inventory {
    match Nvml::builder().lib_path(library).init() {
        Ok(nvml) => read(&nvml, types).unwrap_or_else(|error| note(error.to_string())),
        Err(NvmlError::LibloadingError(error)) => note(format!(
            "no NVIDIA driver: {} could not be loaded ({error}); --gpu simulated:nvidia-l4=1 simulates a GPU",
            library.display()
        )),
        Err(error) => note(format!("the NVIDIA driver does not answer: {error}")),
    }
}

/// Opens the driver, to be asked often. It was there when the devices were found; `None` if it does not answer now.
pub(super) fn driver() -> Option<Nvml> {
    let opened = Nvml::builder().lib_path(OsStr::new(LIBRARY)).init();
    opened.inspect_err(|error| tracing::warn!(%error, "how busy the GPUs are cannot be told")).ok()
}

/// How much of a device is in use; `None` if it does not answer.
pub(super) fn usage(nvml: &Nvml, device: &Device) -> Option<GpuUse> {
    let read = || {
        let found = nvml.device_by_uuid(device.id.as_str())?;
        let (rates, memory) = (found.utilization_rates()?, found.memory_info()?);
        Ok::<_, NvmlError>(GpuUse {
            device: device.id.clone(),
            busy: (f64::from(rates.gpu) / 100.0).clamp(0.0, 1.0),
            memory_bytes: memory.used,
            memory_total_bytes: memory.total,
            simulated: device.simulated,
        })
    };
    read().inspect_err(|error| tracing::debug!(gpu = %device.id, %error, "it does not say how busy it is")).ok()
}

fn note(text: String) -> Inventory {
    Inventory { notes: vec![text], ..Inventory::default() }
}

fn read(nvml: &Nvml, types: &[GpuTypeInfo]) -> Result<Inventory, NvmlError> {
    let mut inventory = Inventory {
        driver: Some(Driver {
            version: nvml.sys_driver_version()?,
            cuda: CudaVersion::from_encoded(nvml.sys_cuda_driver_version()?),
        }),
        ..Inventory::default()
    };
    for index in 0..nvml.device_count()? {
        match device(nvml, index, types) {
            Ok(device) => inventory.devices.push(device),
            // One GPU that has fallen off the bus must not take the others away.
            Err(error) => inventory.notes.push(format!("GPU {index} is left out: {error}")),
        }
    }
    if inventory.devices.is_empty() && inventory.notes.is_empty() {
        inventory.notes.push("the NVIDIA driver reports no GPU".to_owned());
    }
    Ok(inventory)
}

fn device(nvml: &Nvml, index: u32, types: &[GpuTypeInfo]) -> Result<Device, NvmlError> {
    let device = nvml.device_by_index(index)?;
    let product = device.name()?;
    Ok(Device {
        id: DeviceId::new(device.uuid()?),
        index,
        gpu_type: gpu_type(&product, types),
        memory_bytes: device.memory_info()?.total,
        simulated: product.ends_with(SIMULATED_SUFFIX),
        product,
    })
}

/// The type of a product: the declared type with that product name, else the name in the form that
/// types have (`NVIDIA A100-SXM4-80GB` is `nvidia-a100-sxm4-80gb`).
fn gpu_type(product: &str, types: &[GpuTypeInfo]) -> GpuType {
    let product = product.strip_suffix(SIMULATED_SUFFIX).unwrap_or(product);
    if let Some(info) = types.iter().find(|info| info.product == product) {
        return info.name.clone();
    }
    let words: Vec<_> = product
        .split(|character: char| !character.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_ascii_lowercase)
        .collect();
    match words.first().map(String::as_str) {
        Some("nvidia") => GpuType::new(words.join("-")),
        _ => GpuType::new(format!("nvidia-{}", words.join("-"))),
    }
}
