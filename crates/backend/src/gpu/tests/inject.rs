use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use container_device_interface::spec::{parse_spec, validate_spec};
use homerun_model::names::DeviceId;

use super::{destinations, env, injected, simulated, spec};
use crate::gpu::{GpuSetting, Gpus, InjectError};

#[test]
fn g16_a_container_sees_its_own_device_and_the_driver_only() {
    let data_dir = tempfile::tempdir().unwrap();
    let gpus = simulated("simulated:nvidia-l4=2,nvidia-rtx-pro-6000=1", data_dir.path());
    let common = ["/dev/nvidiactl", "/dev/nvidia-uvm", "/usr/local/nvidia/bin", "/usr/local/nvidia/lib64"];
    for index in 0..3 {
        let own = [format!("/dev/nvidia{index}"), format!("/usr/local/nvidia/homerun-simulated/{index}")];
        let expected: Vec<_> = common.map(str::to_owned).into_iter().chain(own).collect();
        assert_eq!(destinations(&injected(&gpus, &[index], &[])), expected);
    }
}

#[test]
fn g16_two_devices_share_the_driver() {
    let data_dir = tempfile::tempdir().unwrap();
    let gpus = simulated("simulated:nvidia-l4=3", data_dir.path());
    assert_eq!(
        destinations(&injected(&gpus, &[2, 0], &[])),
        [
            "/dev/nvidiactl",
            "/dev/nvidia-uvm",
            "/usr/local/nvidia/bin",
            "/usr/local/nvidia/lib64",
            "/dev/nvidia2",
            "/usr/local/nvidia/homerun-simulated/2",
            "/dev/nvidia0",
            "/usr/local/nvidia/homerun-simulated/0",
        ]
    );
}

#[test]
fn g06_a_container_without_a_device_is_left_as_it_is() {
    let data_dir = tempfile::tempdir().unwrap();
    let gpus = simulated("simulated:nvidia-l4=1", data_dir.path());
    let before = spec(&["PATH=/bin"]);
    let mut after = before.clone();
    gpus.inject(&mut after, &[]).unwrap();
    assert_eq!(after, before);
}

#[test]
fn g16_the_library_path_of_image_or_service_is_respected() {
    let data_dir = tempfile::tempdir().unwrap();
    let gpus = simulated("simulated:nvidia-l4=1", data_dir.path());
    for (before, after) in [
        (
            &["PATH=/usr/bin:/bin"][..],
            &["PATH=/usr/bin:/bin:/usr/local/nvidia/bin", "LD_LIBRARY_PATH=/usr/local/nvidia/lib64"][..],
        ),
        (
            &["LD_LIBRARY_PATH=/opt/mine", "PATH=/usr/local/nvidia/bin:/bin"],
            &["LD_LIBRARY_PATH=/opt/mine", "PATH=/usr/local/nvidia/bin:/bin"],
        ),
        (&["LD_LIBRARY_PATH="], &["LD_LIBRARY_PATH="]),
    ] {
        assert_eq!(env(&injected(&gpus, &[0], before)), after);
    }
}

#[test]
fn an_unknown_device_changes_nothing() {
    let data_dir = tempfile::tempdir().unwrap();
    let gpus = simulated("simulated:nvidia-l4=1", data_dir.path());
    let before = spec(&[]);
    let mut after = before.clone();
    let wanted = [gpus.devices()[0].id.clone(), DeviceId::from("GPU-gone")];
    let error = gpus.inject(&mut after, &wanted).unwrap_err();
    assert!(matches!(error, InjectError::UnknownDevice(id) if id.as_str() == "GPU-gone"));
    assert_eq!(after, before);
}

#[test]
fn the_generated_cdi_file_follows_the_published_schema() {
    let data_dir = tempfile::tempdir().unwrap();
    simulated("simulated:nvidia-l4=2,nvidia-rtx-pro-6000=1", data_dir.path());
    let file = parse_spec(&data_dir.path().join("gpu/cdi/homerun.json")).unwrap();
    validate_spec(&file).unwrap();
}

#[test]
fn simulated_devices_keep_their_ids_and_say_that_they_are_simulated() {
    let data_dir = tempfile::tempdir().unwrap();
    let before = simulated("simulated:nvidia-l4=2", data_dir.path());
    let after = simulated("simulated:nvidia-rtx-pro-6000=1,nvidia-l4=2", data_dir.path());
    let ids = |gpus: &Gpus| -> Vec<DeviceId> {
        let devices = gpus.devices().iter();
        devices.filter(|device| device.gpu_type.as_str() == "nvidia-l4").map(|device| device.id.clone()).collect()
    };
    assert_eq!(ids(&before), ids(&after));
    assert_ne!(ids(&before)[0], ids(&before)[1]);
    for device in after.devices() {
        assert!(device.simulated && device.product.ends_with(" (simulated)"), "{device:?}");
        assert!(device.id.as_str().starts_with("GPU-") && device.id.as_str().len() == 40, "{device:?}");
    }
    assert_eq!(after.devices()[2].index, 2);
    assert_eq!(after.devices()[2].memory_bytes >> 20, 23_034);
}

#[test]
fn files_that_are_right_are_not_written_again() {
    let data_dir = tempfile::tempdir().unwrap();
    let files = ["bin/nvidia-smi", "lib64/libcuda.so.535.129.03", "lib64/libcuda.so.1"];
    let identity = |name: &&str| {
        let path = data_dir.path().join("gpu/nvidia").join(name);
        fs::symlink_metadata(path).unwrap().ino()
    };
    simulated("simulated:nvidia-l4=1", data_dir.path());
    let first: Vec<u64> = files.iter().map(identity).collect();
    simulated("simulated:nvidia-l4=1", data_dir.path());
    assert_eq!(files.iter().map(identity).collect::<Vec<_>>(), first);

    let tool = data_dir.path().join("gpu/nvidia/bin/nvidia-smi");
    fs::write(&tool, "damaged").unwrap();
    simulated("simulated:nvidia-l4=1", data_dir.path());
    assert!(fs::read(&tool).unwrap().starts_with(b"\x7fELF"));
    assert_eq!(fs::metadata(&tool).unwrap().permissions().mode() & 0o777, 0o755);
}

#[test]
fn a_data_directory_that_cannot_be_written_is_named() {
    let data_dir = tempfile::tempdir().unwrap();
    fs::write(data_dir.path().join("gpu"), "in the way").unwrap();
    let setting: GpuSetting = "simulated:nvidia-l4=1".parse().unwrap();
    let types = homerun_model::gpu::published_types();
    let error = Gpus::open(&setting, &types, data_dir.path()).unwrap_err();
    let path = data_dir.path().join("gpu");
    assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
}

#[test]
fn none_has_no_device_and_a_count_of_zero_neither() {
    for setting in ["none", "simulated:nvidia-l4=0"] {
        let data_dir = tempfile::tempdir().unwrap();
        assert_eq!(simulated(setting, data_dir.path()).devices(), []);
        assert_eq!(Path::new(data_dir.path()).join("gpu").exists(), setting != "none");
    }
}
