//! Compiles the stand-in driver for simulated GPUs (`stand-in/`) with the rustc that builds the crate:
//! a static `nvidia-smi` and two driver libraries without any dependency, embedded by
//! `gpu::simulated`. They use only `core`, so nothing beyond rustc and its linker is needed.

use std::env;
use std::path::Path;
use std::process::{Child, Command, exit};

/// Source, and the file that it becomes. Sonames are those of the real driver.
const PARTS: [(&str, &str); 3] =
    [("nvidia_smi", "nvidia-smi"), ("libcuda", "libcuda.so.1"), ("libnvidia_ml", "libnvidia-ml.so.1")];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=stand-in");
    println!("cargo::rustc-check-cfg=cfg(gpu_stand_in)");
    let variable = |name: &str| env::var(name).unwrap_or_default();
    let supported = variable("CARGO_CFG_TARGET_OS") == "linux"
        && ["x86_64", "aarch64"].contains(&variable("CARGO_CFG_TARGET_ARCH").as_str());
    if !supported {
        println!("cargo::warning=no stand-in GPU driver for this target: --gpu simulated: will refuse to start");
        return;
    }
    let out = variable("OUT_DIR");
    let compilers: Vec<_> =
        PARTS.iter().map(|(source, file)| (source, compile(source, file, Path::new(&out)))).collect();
    for (source, compiler) in compilers {
        let done = compiler.and_then(|mut child| child.wait());
        if !done.as_ref().is_ok_and(|status| status.success()) {
            println!("cargo::error=stand-in/{source}.rs did not compile: {done:?}");
            exit(1);
        }
    }
    println!("cargo::rustc-cfg=gpu_stand_in");
}

fn compile(source: &str, file: &str, out: &Path) -> std::io::Result<Child> {
    let mut rustc = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    rustc
        .args(["--edition=2024", "-O", "-Cpanic=abort", "-Cstrip=symbols", "-Ccodegen-units=1"])
        .args(["-Clto=fat", "-Clink-arg=-nostdlib", "-Clink-arg=-nostartfiles"])
        .args(["--crate-name", source, "-o"])
        .arg(out.join(file))
        .arg(format!("stand-in/{source}.rs"));
    if let Ok(target) = env::var("TARGET") {
        rustc.args(["--target", &target]);
    }
    if let Ok(linker) = env::var("RUSTC_LINKER") {
        rustc.arg(format!("-Clinker={linker}"));
    }
    if source == "nvidia_smi" {
        rustc.args(["--crate-type=bin", "-Crelocation-model=static"]);
        rustc.args(["-Ctarget-feature=+crt-static", "-Clink-arg=-static"]);
        // Otherwise rustc adds the start-up files that it carries for musl, and they want a libc.
        if env::var("CARGO_CFG_TARGET_ENV").is_ok_and(|environment| environment == "musl") {
            rustc.arg("-Clink-self-contained=no");
        }
    } else {
        // Targets that link statically by default (musl) make shared libraries only without this.
        rustc.args(["--crate-type=cdylib", "-Ctarget-feature=-crt-static"]);
        rustc.arg(format!("-Clink-arg=-Wl,-soname,{file}"));
    }
    rustc.spawn()
}
