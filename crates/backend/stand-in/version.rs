//! What the stand-in driver reports, and where its parts meet. Compiled into the stand-in programs and
//! into homerun itself, so that both always agree.
#![allow(dead_code)] // compiled into several programs, each of which uses its part

/// NVIDIA driver version, the one that Cloud Run's GPU page names.
pub const DRIVER_VERSION: &str = "535.129.03";
/// Newest CUDA version that this driver supports: 1000 * major + 10 * minor, as CUDA encodes it.
pub const CUDA_VERSION: i32 = 12020;
/// Folder inside the container with one file per simulated device, named by the N of `/dev/nvidiaN`.
/// A file has the lines `name=`, `uuid=` and `memory_bytes=`.
pub const DEVICE_FILES: &str = "/usr/local/nvidia/homerun-simulated";
/// Device numbers reach from 0 to one below this.
pub const MAX_DEVICES: u32 = 64;
