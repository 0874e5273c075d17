//! Tests of [`super`]. Those of the stand-in driver run it where a container would: under a root file
//! system with nothing but what was injected, in a mount namespace that ends with the test.

mod compat;
mod inject;
mod nvidia;
mod setting;
mod stand_in;

use std::path::Path;

use homerun_model::gpu::published_types;
use homerun_model::names::DeviceId;
use oci_spec::runtime::{ProcessBuilder, Spec, SpecBuilder};

use super::{GpuSetting, Gpus};

/// Simulated GPUs in a data directory of their own.
fn simulated(setting: &str, data_dir: &Path) -> Gpus {
    let setting: GpuSetting = setting.parse().unwrap();
    Gpus::open(&setting, &published_types(), data_dir).unwrap()
}

/// A container's spec with this environment and no mounts.
fn spec(env: &[&str]) -> Spec {
    let env: Vec<String> = env.iter().map(|pair| (*pair).to_owned()).collect();
    let process = ProcessBuilder::default().env(env).build().unwrap();
    SpecBuilder::default().process(process).mounts(Vec::new()).build().unwrap()
}

/// The same with the devices at these indexes injected.
fn injected(gpus: &Gpus, indexes: &[usize], env: &[&str]) -> Spec {
    let mut spec = spec(env);
    let ids: Vec<DeviceId> = indexes.iter().map(|index| gpus.devices()[*index].id.clone()).collect();
    gpus.inject(&mut spec, &ids).unwrap();
    spec
}

fn env(spec: &Spec) -> Vec<String> {
    let process = spec.process().as_ref().unwrap();
    process.env().clone().unwrap_or_default()
}

/// Where the spec mounts something, in order.
fn destinations(spec: &Spec) -> Vec<String> {
    let mounts = spec.mounts().iter().flatten();
    mounts.map(|mount| mount.destination().display().to_string()).collect()
}
