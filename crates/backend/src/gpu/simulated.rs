//! Simulated GPUs: devices that can be listed, allocated and seen from inside a container, with a
//! stand-in driver that names them and refuses all work. Nothing here ever looks like real hardware:
//! every name ends in "(simulated)".
//!
//! The stand-in's programs are compiled by `build.rs` and carried in the binary. [`install`] lays them
//! out as a container runtime wants them:
//!
//! ```text
//! DATA_DIR/gpu/nvidia/bin     nvidia-smi
//! DATA_DIR/gpu/nvidia/lib64   libcuda.so.1, libnvidia-ml.so.1 and the links of the real driver
//! DATA_DIR/gpu/devices/N      what the stand-in reports for /dev/nvidiaN
//! DATA_DIR/gpu/cdi            the CDI file that mounts these into a container
//! ```
//!
//! Everything is readable by all, because container users are not users of this machine: their ids are
//! mapped far above any real one.

#[path = "../../stand-in/version.rs"]
mod version;

use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use homerun_model::gpu::{DEFAULT_GPU_TYPE, GpuTypeInfo};
use homerun_model::names::{DeviceId, GpuType};
use homerun_model::quantity::Memory;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

pub(super) use version::MAX_DEVICES;

use super::cdi::{LIBRARY_FOLDER, TOOL_FOLDER};
use super::nvml::SIMULATED_SUFFIX;
use super::{CudaVersion, Device, Driver, Inventory};

/// CDI kind of the simulated devices: never `nvidia.com/gpu`, so that no other tool takes them for real.
pub(super) const CDI_KIND: &str = "homerun.dev/simulated-gpu";
/// Major and minor number 1:3, which swallows what is written and has nothing to read. The node of the
/// host is mounted rather than a new one made: that works without the right to make device nodes and
/// on a data directory that is mounted `nodev`.
const DEVICE_NODE: &str = "/dev/null";

/// The stand-in driver, if it exists for the machine that this homerun was built for.
#[cfg(gpu_stand_in)]
const STAND_IN: Option<StandIn> = Some(StandIn {
    nvidia_smi: include_bytes!(concat!(env!("OUT_DIR"), "/nvidia-smi")),
    libcuda: include_bytes!(concat!(env!("OUT_DIR"), "/libcuda.so.1")),
    libnvidia_ml: include_bytes!(concat!(env!("OUT_DIR"), "/libnvidia-ml.so.1")),
});
#[cfg(not(gpu_stand_in))]
const STAND_IN: Option<StandIn> = None;

struct StandIn {
    nvidia_smi: &'static [u8],
    libcuda: &'static [u8],
    libnvidia_ml: &'static [u8],
}

/// Why GPUs cannot be simulated here.
#[derive(Debug, thiserror::Error)]
pub enum SimulationError {
    /// This homerun was built for a machine that has no stand-in driver.
    #[error("this homerun cannot simulate GPUs: its stand-in driver exists for Linux on x86_64 and aarch64 only")]
    NoStandIn,
    /// A folder could not be made.
    #[error("the folder {} for simulated GPUs cannot be made", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file could not be written.
    #[error("the file {} for simulated GPUs cannot be written", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The data directory's path cannot be written into a CDI file.
    #[error("the path {} is not UTF-8; simulated GPUs need a data directory with a UTF-8 path", .0.display())]
    PathNotUtf8(PathBuf),
}

/// The devices that the setting asks for, in its order. Types are known ones: the setting's parser
/// has seen to that.
pub(super) fn inventory(counts: &[(GpuType, u32)], types: &[GpuTypeInfo]) -> Inventory {
    let wanted = counts.iter().flat_map(|(gpu_type, count)| {
        let info = types.iter().find(|info| info.name == *gpu_type);
        (0..*count).filter_map(move |ordinal| Some((info?, ordinal)))
    });
    let devices = wanted
        .zip(0..)
        .map(|((info, ordinal), index)| Device {
            id: device_id(&info.name, ordinal),
            index,
            gpu_type: info.name.clone(),
            product: format!("{}{SIMULATED_SUFFIX}", info.product),
            memory_bytes: usable_memory(info).bytes(),
            simulated: true,
        })
        .collect();
    Inventory {
        devices,
        driver: Some(Driver {
            version: version::DRIVER_VERSION.to_owned(),
            cuda: CudaVersion::from_encoded(version::CUDA_VERSION),
        }),
        notes: Vec::new(),
    }
}

/// Made from the type and the place among its kind, so that a device keeps its id when homerun restarts
/// and when GPUs of other types are added.
fn device_id(gpu_type: &GpuType, ordinal: u32) -> DeviceId {
    let digest = Sha256::digest(format!("homerun simulated GPU {gpu_type} {ordinal}"));
    let hex: String = digest[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    DeviceId::new(format!("GPU-{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]))
}

/// What the driver reports of a GPU's memory, which is less than the data sheet says: an L4 of 24 GB has
/// 23034 MiB. Other types report their whole memory.
fn usable_memory(info: &GpuTypeInfo) -> Memory {
    match info.name.as_str() {
        DEFAULT_GPU_TYPE => Memory::mib(23_034),
        _ => info.memory,
    }
}

/// Writes the stand-in driver, the device descriptions and the CDI file into `folder`. Files that are
/// right already are left alone, others replaced whole, so running containers are never disturbed.
pub(super) fn install(folder: &Path, devices: &[Device]) -> Result<(), SimulationError> {
    let stand_in = STAND_IN.ok_or(SimulationError::NoStandIn)?;
    let nvidia = folder.join("nvidia");
    let (tools, libraries) = (nvidia.join("bin"), nvidia.join("lib64"));
    let (descriptions, cdi) = (folder.join("devices"), folder.join("cdi"));
    for each in [folder, &nvidia, &tools, &libraries, &descriptions, &cdi] {
        make_folder(each)?;
    }
    write_file(&tools.join("nvidia-smi"), stand_in.nvidia_smi, 0o755)?;
    for (name, content) in [("libcuda.so", stand_in.libcuda), ("libnvidia-ml.so", stand_in.libnvidia_ml)] {
        let file = format!("{name}.{}", version::DRIVER_VERSION);
        write_file(&libraries.join(&file), content, 0o755)?;
        link(&file, &libraries.join(format!("{name}.1")))?;
        link(&format!("{name}.1"), &libraries.join(name))?;
    }
    for device in devices {
        let description =
            format!("name={}\nuuid={}\nmemory_bytes={}\n", device.product, device.id, device.memory_bytes);
        let path = descriptions.join(device.index.to_string());
        write_file(&path, description.as_bytes(), 0o644)?;
    }
    let folder = folder.canonicalize().map_err(|source| SimulationError::Folder { path: folder.to_owned(), source })?;
    let folder = folder.to_str().ok_or_else(|| SimulationError::PathNotUtf8(folder.clone()))?;
    let spec = cdi_spec(folder, devices).to_string();
    write_file(&cdi.join("homerun.json"), spec.as_bytes(), 0o644)
}

/// The CDI file. Device nodes are mounts, not `deviceNodes`: these would have to exist on the host under
/// the name that they have in the container.
fn cdi_spec(folder: &str, devices: &[Device]) -> Value {
    let mount = |from: &str, to: &str, option: &str| json!({ "hostPath": from, "containerPath": to, "options": ["bind", "nosuid", option] });
    let devices: Vec<_> = devices
        .iter()
        .map(|Device { id, index, .. }| {
            json!({ "name": id.as_str(), "containerEdits": { "mounts": [
                mount(DEVICE_NODE, &format!("/dev/nvidia{index}"), "noexec"),
                mount(
                    &format!("{folder}/devices/{index}"),
                    &format!("{}/{index}", version::DEVICE_FILES),
                    "ro",
                ),
            ] } })
        })
        .collect();
    json!({
        "cdiVersion": "0.6.0",
        "kind": CDI_KIND,
        "devices": devices,
        "containerEdits": { "mounts": [
            mount(DEVICE_NODE, "/dev/nvidiactl", "noexec"),
            mount(DEVICE_NODE, "/dev/nvidia-uvm", "noexec"),
            mount(&format!("{folder}/nvidia/bin"), TOOL_FOLDER, "ro"),
            mount(&format!("{folder}/nvidia/lib64"), LIBRARY_FOLDER, "ro"),
        ] },
    })
}

fn make_folder(path: &Path) -> Result<(), SimulationError> {
    fs::create_dir_all(path)
        .and_then(|()| fs::set_permissions(path, Permissions::from_mode(0o755)))
        .map_err(|source| SimulationError::Folder { path: path.to_owned(), source })
}

fn write_file(path: &Path, content: &[u8], mode: u32) -> Result<(), SimulationError> {
    let write = || {
        let same_mode = |data: fs::Metadata| data.permissions().mode() & 0o7777 == mode;
        if fs::metadata(path).is_ok_and(same_mode) && fs::read(path)? == content {
            return Ok(());
        }
        let mut file = NamedTempFile::new_in(path.parent().unwrap_or(Path::new(".")))?;
        file.write_all(content)?;
        file.as_file().set_permissions(Permissions::from_mode(mode))?;
        file.persist(path)?;
        Ok(())
    };
    write().map_err(|source| SimulationError::File { path: path.to_owned(), source })
}

/// Makes `path` a symbolic link to `target`.
fn link(target: &str, path: &Path) -> Result<(), SimulationError> {
    let link = || {
        if fs::read_link(path).is_ok_and(|present| present == Path::new(target)) {
            return Ok(());
        }
        let new = path.with_extension("new");
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => symlink(target, &new)?,
        }
        fs::rename(&new, path)
    };
    link().map_err(|source| SimulationError::File { path: path.to_owned(), source })
}
