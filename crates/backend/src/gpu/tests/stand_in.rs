//! The stand-in driver where it is used: under a root file system with nothing but what was injected.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;

use homerun_model::gpu::published_types;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use oci_spec::runtime::Spec;

use super::{env, injected, simulated};
use crate::gpu::{Device, nvml};

/// The first id that containers' users have on the host.
const CONTAINER_ROOT: u32 = 1_000_000;

/// Runs `inside` in a mount namespace of its own whose root holds the spec's mounts and, read only,
/// these folders of the host. Thread, namespace and mounts end together.
fn in_container<T: Send>(spec: &Spec, host_folders: &[&str], inside: impl FnOnce() -> T + Send) -> T {
    let root = tempfile::tempdir().unwrap();
    let none = None::<&str>;
    let work = || {
        unshare(CloneFlags::CLONE_NEWNS).expect("these tests need root");
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
        mount(Some("tmpfs"), root.path(), Some("tmpfs"), MsFlags::empty(), none).unwrap();
        let host = host_folders.iter().map(|folder| (Path::new(folder), Path::new(folder)));
        let own = spec.mounts().iter().flatten();
        let own = own.map(|mount| (mount.source().as_deref().unwrap(), mount.destination().as_path()));
        for (source, destination) in host.chain(own) {
            let target = root.path().join(destination.strip_prefix("/").unwrap());
            if source.is_dir() {
                fs::create_dir_all(&target).unwrap();
            } else {
                fs::create_dir_all(target.parent().unwrap()).unwrap();
                fs::write(&target, "").unwrap();
            }
            mount(Some(source), &target, none, MsFlags::MS_BIND, none).unwrap();
        }
        nix::unistd::chroot(root.path()).unwrap();
        std::env::set_current_dir("/").unwrap();
        inside()
    };
    thread::scope(|scope| scope.spawn(work).join().unwrap())
}

/// Runs a program as a container's root would, with the spec's environment.
fn run(spec: &Spec, program: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(program);
    command.args(arguments).env_clear();
    command.envs(env(spec).iter().filter_map(|pair| pair.split_once('=')));
    command.uid(CONTAINER_ROOT).gid(CONTAINER_ROOT);
    // Standard input would otherwise be /dev/null, which this root does not have.
    command.stdin(Stdio::piped()).output().unwrap()
}

fn nvidia_smi(spec: &Spec, arguments: &[&str]) -> (i32, String, String) {
    let output = in_container(spec, &[], || run(spec, "/usr/local/nvidia/bin/nvidia-smi", arguments));
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

const SIMULATED: &str = "SIMULATED GPU: homerun stand-in, no CUDA work can run";

#[test]
fn g16_nvidia_smi_runs_in_an_image_with_nothing_in_it() {
    let data_dir = tempfile::tempdir().unwrap();
    let gpus = simulated("simulated:nvidia-rtx-pro-6000=1,nvidia-l4=1", data_dir.path());
    let spec = injected(&gpus, &[1], &[]);
    let uuid = gpus.devices()[1].id.as_str();

    let (code, table, _) = nvidia_smi(&spec, &[]);
    assert_eq!(code, 0);
    for expected in [
        "Driver Version: 535.129.03",
        "CUDA Version: 12.2",
        SIMULATED,
        "NVIDIA L4 (simulated)",
        "23034MiB",
        uuid,
        "/dev/nvidia1",
    ] {
        assert!(table.contains(expected), "{expected} is missing:\n{table}");
    }
    assert!(!table.contains(gpus.devices()[0].id.as_str()), "another device shows:\n{table}");
    let widths: Vec<usize> = table.lines().map(str::len).collect();
    assert!(widths.iter().all(|width| *width == widths[0]), "ragged:\n{table}");

    let (code, list, note) = nvidia_smi(&spec, &["-L"]);
    assert_eq!((code, note.trim_end()), (0, SIMULATED));
    assert_eq!(list, format!("GPU 0: NVIDIA L4 (simulated) (UUID: {uuid})\n"));
}

#[test]
fn g16_nvidia_smi_answers_queries_as_scripts_expect() {
    let data_dir = tempfile::tempdir().unwrap();
    let gpus = simulated("simulated:nvidia-l4=1,nvidia-rtx-pro-6000=1", data_dir.path());
    let spec = injected(&gpus, &[0, 1], &[]);
    let [first, second] = [gpus.devices()[0].id.as_str(), gpus.devices()[1].id.as_str()];
    let all = "--query-gpu=index,name,uuid,driver_version,memory.total,memory.used,memory.free,utilization.gpu";
    let rtx = "NVIDIA RTX PRO 6000 Blackwell Server Edition (simulated)";
    for (arguments, code, expected) in [
        (
            [all, "--format=csv"],
            0,
            format!(
                "index, name, uuid, driver_version, memory.total [MiB], memory.used [MiB], memory.free [MiB], \
                 utilization.gpu [%]\n\
                 0, NVIDIA L4 (simulated), {first}, 535.129.03, 23034 MiB, 0 MiB, 23034 MiB, 0 %\n\
                 1, {rtx}, {second}, 535.129.03, 98304 MiB, 0 MiB, 98304 MiB, 0 %\n"
            ),
        ),
        (
            ["--query-gpu=memory.total, gpu_uuid,count", "--format=csv,noheader,nounits"],
            0,
            format!("23034, {first}, 2\n98304, {second}, 2\n"),
        ),
        (
            ["--query-gpu=index,colour", "--format=csv"],
            2,
            "Field \"colour\" is not a valid field to query.\n".to_owned(),
        ),
        (["--query-gpu=index", "--format=xml"], 2, String::new()),
        (["--query-gpu=index", "--loop=1"], 2, String::new()),
        (["-L", "--help"], 0, "nvidia-smi, homerun's stand-in".to_owned()),
    ] {
        let (got_code, output, errors) = nvidia_smi(&spec, &arguments);
        assert_eq!(got_code, code, "{arguments:?}: {output}{errors}");
        assert!(output.starts_with(&expected), "{arguments:?}:\n{output}");
    }
}

#[test]
fn g16_without_a_device_node_the_driver_finds_nothing() {
    let data_dir = tempfile::tempdir().unwrap();
    let gpus = simulated("simulated:nvidia-l4=1", data_dir.path());
    let mut spec = injected(&gpus, &[0], &[]);
    let mounts = spec.mounts_mut().as_mut().unwrap();
    mounts.retain(|mount| mount.destination() != Path::new("/dev/nvidia0"));
    let (code, output, _) = nvidia_smi(&spec, &[]);
    assert_eq!((code, output.as_str()), (6, "No devices were found\n"));
}

#[test]
fn g17_nvml_reads_devices_and_driver() {
    let data_dir = tempfile::tempdir().unwrap();
    let gpus = simulated("simulated:nvidia-rtx-pro-6000=1,nvidia-l4=2", data_dir.path());
    let spec = injected(&gpus, &[0, 1, 2], &[]);
    let library = OsStr::new("/usr/local/nvidia/lib64/libnvidia-ml.so.1");
    let found = in_container(&spec, &[], || nvml::inventory_from(library, &published_types()));
    assert_eq!(found.devices, gpus.devices());
    assert_eq!(found.driver.as_ref(), gpus.driver());
    assert_eq!(found.notes, [""; 0]);
    let driver = found.driver.unwrap();
    assert_eq!((driver.version.as_str(), driver.cuda.to_string().as_str()), ("535.129.03", "12.2"));

    // Numbers count the devices that are there; the node keeps its own.
    let spec = injected(&gpus, &[2], &[]);
    let found = in_container(&spec, &[], || nvml::inventory_from(library, &published_types()));
    let [device] = &found.devices[..] else { panic!("one device expected: {found:?}") };
    assert_eq!((device.index, &device.id), (0, &gpus.devices()[2].id));
}

/// The calls and their binary interface; the stand-in's devices are always idle.
#[test]
fn g17_nvml_says_how_much_of_a_device_is_in_use() {
    let data_dir = tempfile::tempdir().unwrap();
    let gpus = simulated("simulated:nvidia-l4=1", data_dir.path());
    let spec = injected(&gpus, &[0], &[]);
    let device = &gpus.devices()[0];
    let library = OsStr::new("/usr/local/nvidia/lib64/libnvidia-ml.so.1");
    let (found, missing) = in_container(&spec, &[], || {
        let driver = nvml_wrapper::Nvml::builder().lib_path(library).init().unwrap();
        let missing = Device { id: "GPU-of-nobody".into(), ..device.clone() };
        (nvml::usage(&driver, device), nvml::usage(&driver, &missing))
    });
    let found = found.unwrap();
    assert_eq!((found.busy, found.memory_bytes, found.memory_total_bytes), (0.0, 0, 23_034 << 20));
    assert_eq!((&found.device, found.simulated, missing), (&device.id, true, None));
}

#[test]
fn nvml_names_types_that_nobody_declared_and_says_why_there_is_none() {
    let data_dir = tempfile::tempdir().unwrap();
    let gpus = simulated("simulated:nvidia-rtx-pro-6000=1", data_dir.path());
    let spec = injected(&gpus, &[0], &[]);
    let library = OsStr::new("/usr/local/nvidia/lib64/libnvidia-ml.so.1");
    let found = in_container(&spec, &[], || nvml::inventory_from(library, &[]));
    assert_eq!(found.devices[0].gpu_type.as_str(), "nvidia-rtx-pro-6000-blackwell-server-edition");

    let missing = nvml::inventory_from(OsStr::new("/nowhere/libnvidia-ml.so.1"), &[]);
    assert_eq!(missing.devices, []);
    assert!(
        missing.notes[0].starts_with("no NVIDIA driver: /nowhere/libnvidia-ml.so.1 could not be loaded"),
        "{:?}",
        missing.notes
    );
}

#[test]
fn g16_a_c_program_finds_libcuda_by_the_library_path() {
    let build = tempfile::tempdir().unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("stand-in/check_libcuda.c");
    let gcc = Command::new("gcc")
        .args(["-Wall", "-Werror", "-o"])
        .arg(build.path().join("check"))
        .arg(source)
        .arg("-ldl")
        .output();
    let Ok(gcc) = gcc else {
        eprintln!("SKIPPED, libcuda is NOT tested: there is no gcc on this machine");
        return;
    };
    assert!(gcc.status.success(), "{}", String::from_utf8_lossy(&gcc.stderr));
    fs::set_permissions(build.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();

    let data_dir = tempfile::tempdir().unwrap();
    let gpus = simulated("simulated:nvidia-l4=2", data_dir.path());
    let spec = injected(&gpus, &[1], &[]);
    let program = build.path().join("check").display().to_string();
    let folder = build.path().display().to_string();
    let mut host_folders = vec!["/usr/lib", folder.as_str()];
    // The C library's loader is in /lib or /lib64, which may be links into /usr.
    host_folders.extend(["/lib", "/lib64"].into_iter().filter(|folder| Path::new(folder).is_dir()));
    let output = in_container(&spec, &host_folders, || run(&spec, &program, &[]));
    let uuid = gpus.devices()[1].id.as_str().trim_start_matches("GPU-").replace('-', "");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        format!(
            "before cuInit: 3\n\
             cuInit: 0\n\
             version: 12020\n\
             devices: 1\n\
             name: NVIDIA L4 (simulated)\n\
             memory: {}\n\
             uuid: {uuid}\n\
             second device: 101\n\
             cuCtxCreate_v2: 801\n\
             cuMemAlloc_v2: 801\n\
             CUDA_ERROR_NOT_SUPPORTED: this GPU is simulated by homerun: no CUDA work can run on it\n",
            23_034_u64 << 20
        ),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success());
}
