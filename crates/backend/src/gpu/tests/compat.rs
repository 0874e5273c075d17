use crate::gpu::{CudaVersion, driver_warning, prefer_compat};

const DRIVER: CudaVersion = CudaVersion { major: 12, minor: 2 };

fn warning(env: &[&str]) -> Option<String> {
    let env: Vec<String> = env.iter().map(|pair| (*pair).to_owned()).collect();
    driver_warning(&env, DRIVER)
}

#[test]
fn g17_an_image_for_a_newer_cuda_is_warned_about() {
    for (env, needed, package) in [
        (&["NVIDIA_REQUIRE_CUDA=cuda>=12.4"][..], "CUDA 12.4 (NVIDIA_REQUIRE_CUDA)", "cuda-compat-12-4"),
        (&["NVIDIA_REQUIRE_CUDA=cuda>=12.4 brand=tesla,driver>=535,driver<536"], "CUDA 12.4", "cuda-compat-12-4"),
        (&["NVIDIA_REQUIRE_CUDA=cuda>=13.0 cuda>=12.6"], "CUDA 12.6", "cuda-compat-12-6"),
        (&["NVIDIA_REQUIRE_CUDA=driver>=470,cuda>=12.9"], "CUDA 12.9", "cuda-compat-12-9"),
        (&["CUDA_VERSION=12.4.1"], "CUDA 12.4 (CUDA_VERSION)", "cuda-compat-12-4"),
        (&["CUDA_VERSION=13"], "CUDA 13.0", "cuda-compat-13-0"),
        (&["NVIDIA_REQUIRE_CUDA=cuda>=11.8", "CUDA_VERSION=12.4.1"], "CUDA 12.4", "cuda-compat-12-4"),
        (
            &["CUDA_VERSION=12.4.1", "LD_LIBRARY_PATH=/usr/local/nvidia/lib:/usr/local/nvidia/lib64"],
            "CUDA 12.4",
            "cuda-compat-12-4",
        ),
        // Found too late: the driver's own libcuda comes first.
        (
            &["CUDA_VERSION=12.4.1", "LD_LIBRARY_PATH=/usr/local/nvidia/lib64:/usr/local/cuda/compat"],
            "CUDA 12.4",
            "cuda-compat-12-4",
        ),
    ] {
        let warning = warning(env).unwrap_or_else(|| panic!("no warning for {env:?}"));
        assert!(warning.contains(needed), "{env:?}: {warning}");
        assert!(warning.contains("driver supports CUDA up to 12.2"), "{env:?}: {warning}");
        assert!(warning.contains(package), "{env:?}: {warning}");
        assert!(warning.contains("LD_LIBRARY_PATH"), "{env:?}: {warning}");
    }
}

#[test]
fn g17_an_image_that_fits_the_driver_is_not_warned_about() {
    for env in [
        &[][..],
        &["PATH=/usr/bin"],
        &["CUDA_VERSION=12.2.2"],
        &["CUDA_VERSION=11.8.0", "NVIDIA_REQUIRE_CUDA=cuda>=11.8 brand=tesla,driver>=470,driver<471"],
        &["NVIDIA_REQUIRE_CUDA=cuda>=12.4 cuda>=12.1"],
        &["NVIDIA_REQUIRE_CUDA=brand=tesla,driver>=535"],
        &["CUDA_VERSION=unknown"],
        &["CUDA_VERSION="],
        // The service's value comes after the image's and counts.
        &["CUDA_VERSION=12.4.1", "CUDA_VERSION=12.0.0"],
        &["CUDA_VERSION=12.4.1", "LD_LIBRARY_PATH=/usr/local/cuda/compat:/usr/local/nvidia/lib64"],
        &["CUDA_VERSION=12.4.1", "LD_LIBRARY_PATH=/usr/local/cuda-12.4/compat/"],
    ] {
        assert_eq!(warning(env), None, "{env:?}");
    }
}

#[test]
fn g17_the_setting_puts_the_images_libraries_first_and_ends_the_warning() {
    for (before, after) in [
        (&["CUDA_VERSION=12.4.1"][..], "LD_LIBRARY_PATH=/usr/local/cuda/compat:/usr/local/nvidia/lib64"),
        (
            &["CUDA_VERSION=12.4.1", "LD_LIBRARY_PATH=/opt/lib:/usr/local/nvidia/lib64"],
            "LD_LIBRARY_PATH=/usr/local/cuda/compat:/opt/lib:/usr/local/nvidia/lib64",
        ),
    ] {
        let mut env: Vec<String> = before.iter().map(|pair| (*pair).to_owned()).collect();
        assert!(driver_warning(&env, DRIVER).is_some());
        prefer_compat(&mut env);
        assert_eq!(env, ["CUDA_VERSION=12.4.1", after]);
        assert_eq!(driver_warning(&env, DRIVER), None);
    }
}
