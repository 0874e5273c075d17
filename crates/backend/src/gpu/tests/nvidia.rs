//! Real GPUs: NVIDIA's CDI file, in the form that `nvidia-ctk cdi generate` gives it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use homerun_model::names::{DeviceId, GpuType};
use oci_spec::runtime::{LinuxDeviceType, Spec};

use super::{destinations, env, spec};
use crate::gpu::cdi::Registry;
use crate::gpu::{Device, Gpus, InjectError, Inventory};

/// A host with two L4, its libraries in `libraries` and a CDI file whose devices have these names.
fn host(folder: &Path, device_names: [&str; 2]) -> Gpus {
    let libraries = folder.join("usr/lib/x86_64-linux-gnu");
    fs::create_dir_all(&libraries).unwrap();
    for name in ["libcuda.so.550.54.15", "libnvidia-ml.so.550.54.15", "libunrelated.so.3"] {
        fs::write(libraries.join(name), name).unwrap();
    }
    for (target, name) in [
        ("libcuda.so.550.54.15", "libcuda.so.1"),
        ("libcuda.so.1", "libcuda.so"),
        ("libnvidia-ml.so.550.54.15", "libnvidia-ml.so.1"),
        ("libunrelated.so.3", "libunrelated.so"),
    ] {
        symlink(target, libraries.join(name)).unwrap();
    }
    let cdi = folder.join("cdi");
    fs::create_dir(&cdi).unwrap();
    fs::write(cdi.join("nvidia.yaml"), cdi_file(&libraries, device_names)).unwrap();
    gpus(vec![folder.join("missing"), cdi])
}

fn gpus(cdi_folders: Vec<PathBuf>) -> Gpus {
    let device = |index: u32| Device {
        id: DeviceId::new(format!("GPU-0000000{index}-1111-2222-3333-444444444444")),
        index,
        gpu_type: GpuType::from("nvidia-l4"),
        product: "NVIDIA L4".to_owned(),
        memory_bytes: 23_034 << 20,
        simulated: false,
    };
    let inventory = Inventory { devices: vec![device(0), device(1)], ..Inventory::default() };
    Gpus::new(inventory, Registry::nvidia_in(cdi_folders))
}

fn cdi_file(libraries: &Path, device_names: [&str; 2]) -> String {
    let libraries = libraries.display();
    let [first, second] = device_names;
    format!(
        r#"
cdiVersion: 0.5.0
kind: nvidia.com/gpu
devices:
  - name: "{first}"
    containerEdits:
      deviceNodes:
        - {{ path: /dev/nvidia0, type: c, major: 195, minor: 0 }}
  - name: "{second}"
    containerEdits:
      deviceNodes:
        - {{ path: /dev/nvidia1, type: c, major: 195, minor: 1 }}
containerEdits:
  env:
    - NVIDIA_VISIBLE_DEVICES=void
  deviceNodes:
    - {{ path: /dev/nvidiactl, type: c, major: 195, minor: 255 }}
    - {{ path: /dev/nvidia-uvm, type: c, major: 511, minor: 0 }}
  hooks:
    - hookName: createContainer
      path: /usr/bin/nvidia-cdi-hook
      args: [nvidia-cdi-hook, update-ldcache, --folder, /usr/lib/x86_64-linux-gnu]
  mounts:
    - hostPath: {libraries}/libcuda.so.550.54.15
      containerPath: /usr/lib/x86_64-linux-gnu/libcuda.so.550.54.15
      options: [ro, nosuid, nodev, rbind, rprivate]
    - hostPath: {libraries}/libnvidia-ml.so.550.54.15
      containerPath: /usr/lib/x86_64-linux-gnu/libnvidia-ml.so.550.54.15
      options: [ro, nosuid, nodev, rbind, rprivate]
    - hostPath: /usr/lib/i386-linux-gnu/libcuda.so.550.54.15
      containerPath: /usr/lib/i386-linux-gnu/libcuda.so.550.54.15
      options: [ro, nosuid, nodev, rbind, rprivate]
    - hostPath: /usr/bin/nvidia-smi
      containerPath: /usr/bin/nvidia-smi
      options: [ro, nosuid, nodev, rbind, rprivate]
    - hostPath: /run/nvidia-persistenced/socket
      containerPath: /run/nvidia-persistenced/socket
      options: [ro, nosuid, nodev, rbind, rprivate, noexec]
"#
    )
}

fn inject(gpus: &Gpus, index: usize, env: &[&str]) -> Result<Spec, InjectError> {
    let mut spec = spec(env);
    gpus.inject(&mut spec, &[gpus.devices()[index].id.clone()])?;
    Ok(spec)
}

/// Paths of the device nodes, and whether the device cgroup lets each be used.
fn devices(spec: &Spec) -> Vec<(String, bool)> {
    let linux = spec.linux().as_ref().unwrap();
    let rules = linux.resources().as_ref().unwrap().devices().iter().flatten();
    let rules: Vec<_> = rules.filter(|rule| rule.allow()).collect();
    let nodes = linux.devices().iter().flatten();
    nodes
        .map(|node| {
            assert_eq!(node.typ(), LinuxDeviceType::C);
            let allowed = rules.iter().any(|rule| {
                (rule.major(), rule.minor()) == (Some(node.major()), Some(node.minor()))
                    && rule.access().as_deref() == Some("rwm")
            });
            (node.path().display().to_string(), allowed)
        })
        .filter(|(path, _)| path.contains("nvidia"))
        .collect()
}

#[test]
fn g16_a_real_cdi_file_is_applied_and_shown_where_cloud_run_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let gpus = host(folder.path(), ["0", "1"]);
    let spec = inject(&gpus, 1, &["NVIDIA_VISIBLE_DEVICES=all"]).unwrap();

    let node = |path: &str| (path.to_owned(), true);
    assert_eq!(devices(&spec), [node("/dev/nvidiactl"), node("/dev/nvidia-uvm"), node("/dev/nvidia1")]);
    let hooks = spec.hooks().as_ref().unwrap().create_container().as_ref().unwrap();
    assert_eq!(hooks[0].path(), Path::new("/usr/bin/nvidia-cdi-hook"));
    assert_eq!(
        destinations(&spec),
        [
            "/usr/lib/x86_64-linux-gnu/libcuda.so.550.54.15",
            "/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.550.54.15",
            "/usr/lib/i386-linux-gnu/libcuda.so.550.54.15",
            "/usr/bin/nvidia-smi",
            "/run/nvidia-persistenced/socket",
            "/usr/local/nvidia/bin/nvidia-smi",
            "/usr/local/nvidia/lib64/libcuda.so",
            "/usr/local/nvidia/lib64/libcuda.so.1",
            "/usr/local/nvidia/lib64/libcuda.so.550.54.15",
            "/usr/local/nvidia/lib64/libnvidia-ml.so.1",
            "/usr/local/nvidia/lib64/libnvidia-ml.so.550.54.15",
        ]
    );
    let mounts = spec.mounts().as_ref().unwrap();
    let [original, copy] = [&mounts[0], &mounts[7]];
    assert_eq!((original.source(), original.options()), (copy.source(), copy.options()));
    assert_eq!(env(&spec), ["NVIDIA_VISIBLE_DEVICES=all", "LD_LIBRARY_PATH=/usr/local/nvidia/lib64"]);
}

#[test]
fn a_device_is_found_by_uuid_too() {
    let folder = tempfile::tempdir().unwrap();
    let names = ["GPU-00000000-1111-2222-3333-444444444444", "GPU-00000001-1111-2222-3333-444444444444"];
    let gpus = host(folder.path(), names);
    let paths: Vec<_> = devices(&inject(&gpus, 0, &[]).unwrap()).into_iter().map(|node| node.0).collect();
    assert_eq!(paths, ["/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia0"]);
}

#[test]
fn without_a_cdi_file_start_up_and_error_say_how_to_make_one_and_it_is_then_found() {
    let folder = tempfile::tempdir().unwrap();
    let gpus = gpus(vec![folder.path().join("cdi")]);
    let advice = "nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml";
    let [note] = gpus.notes() else { panic!("one note expected: {:?}", gpus.notes()) };
    assert!(note.starts_with("containers cannot be given a GPU yet") && note.contains(advice), "{note}");
    let error = inject(&gpus, 0, &[]).unwrap_err();
    assert!(matches!(error, InjectError::NoCdiFile { .. }));
    assert!(error.to_string().contains(advice), "{error}");

    assert_eq!(host(folder.path(), ["0", "1"]).notes(), [""; 0]);
    inject(&gpus, 0, &[]).unwrap();
}

#[test]
fn a_cdi_file_that_is_made_anew_counts_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let gpus = host(folder.path(), ["0", "1"]);
    inject(&gpus, 1, &[]).unwrap();
    let file = folder.path().join("cdi/nvidia.yaml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("path: /dev/nvidia1,", "path: /dev/nvidia7,")).unwrap();
    let nodes = devices(&inject(&gpus, 1, &[]).unwrap());
    assert_eq!(nodes.last().unwrap().0, "/dev/nvidia7");
}

#[test]
fn an_outdated_cdi_file_is_told_from_a_missing_one() {
    let folder = tempfile::tempdir().unwrap();
    let error = inject(&host(folder.path(), ["2", "3"]), 1, &[]).unwrap_err().to_string();
    assert!(error.contains("nvidia.com/gpu=1;"), "{error}");
    assert!(error.contains("`nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml` again"), "{error}");
}

#[test]
fn a_broken_cdi_file_is_named_unless_another_one_serves() {
    let folder = tempfile::tempdir().unwrap();
    let broken = folder.path().join("broken");
    fs::create_dir(&broken).unwrap();
    fs::write(broken.join("nvidia.yaml"), "cdiVersion: [").unwrap();
    let gpus_there = gpus(vec![broken.clone()]);
    let note = &gpus_there.notes()[0];
    assert!(note.contains("cannot be used: ") && note.contains("line 1"), "the cause is missing: {note}");
    let error = inject(&gpus_there, 0, &[]).unwrap_err();
    assert!(error.to_string().contains("broken/nvidia.yaml"), "{error}");

    host(folder.path(), ["0", "1"]);
    inject(&gpus(vec![broken, folder.path().join("cdi")]), 0, &[]).unwrap();
}

#[test]
fn a_missing_device_node_is_an_error_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = "{cdiVersion: 0.5.0, kind: nvidia.com/gpu, devices: [{name: '0', containerEdits: \
                {deviceNodes: [{path: /dev/nvidia-that-is-not-there}]}}]}";
    fs::write(folder.path().join("nvidia.yaml"), file).unwrap();
    let gpus = gpus(vec![folder.path().to_owned()]);
    let before = spec(&[]);
    let mut after = before.clone();
    let error = gpus.inject(&mut after, &[gpus.devices()[0].id.clone()]).unwrap_err();
    assert!(matches!(error, InjectError::Edit { .. }), "{error:?}");
    assert_eq!(after, before);
}
