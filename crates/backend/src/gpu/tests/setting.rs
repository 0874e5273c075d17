use homerun_model::gpu::{GpuTypeInfo, published_types};
use homerun_model::names::GpuType;
use homerun_model::quantity::Memory;

use crate::gpu::GpuSetting;

#[test]
fn g03_the_setting_reads_and_prints_its_three_forms() {
    for text in [
        "auto",
        "none",
        "simulated:nvidia-l4=2",
        "simulated:nvidia-l4=0",
        "simulated:nvidia-l4=63,nvidia-rtx-pro-6000=1",
        "simulated:nvidia-rtx-pro-6000=1,nvidia-l4=2",
    ] {
        let setting: GpuSetting = text.parse().unwrap();
        assert_eq!(setting.to_string(), text);
    }
}

#[test]
fn g03_a_wrong_setting_says_what_would_be_right() {
    let lower_case =
        "(did you mean nvidia-l4? The l is a lower-case letter L); the types are nvidia-l4, nvidia-rtx-pro-6000";
    for (text, expected) in [
        ("", "use auto, none or simulated:TYPE=COUNT"),
        ("Auto", "`Auto` is not a GPU setting; use auto"),
        ("none:", "`none:` is not a GPU setting"),
        ("simulated", "for example simulated:nvidia-l4=2"),
        ("simulated:", "`` in the GPU setting must be TYPE=COUNT"),
        ("simulated:nvidia-l4", "`nvidia-l4` in the GPU setting must be TYPE=COUNT"),
        ("simulated:nvidia-l4=1,", "must be TYPE=COUNT"),
        ("simulated:nvidia-L4=1", lower_case),
        ("simulated:nvidia-14=1", lower_case),
        ("simulated:NVIDIA-L4=1", lower_case),
        ("simulated:Nvidia-RTX-Pro-6000=1", "(did you mean nvidia-rtx-pro-6000?); the types"),
        ("simulated:nvidia-h100=1", "there is no GPU type `nvidia-h100`; the types are nvidia-l4, nvidia-rtx-pro-6000"),
        ("simulated:nvidia-l4=65", "`65` GPUs of type nvidia-l4: the count must be a whole number from 0 to 64"),
        ("simulated:nvidia-l4=-1", "from 0 to 64"),
        ("simulated:nvidia-l4=1.5", "from 0 to 64"),
        ("simulated:nvidia-l4=", "from 0 to 64"),
        ("simulated:nvidia-l4=1,nvidia-l4=1", "`nvidia-l4` is given twice"),
        ("simulated:nvidia-l4=64,nvidia-rtx-pro-6000=1", "65 simulated GPUs in all: at most 64"),
    ] {
        let error = text.parse::<GpuSetting>().unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn g03_a_type_that_the_operator_declares_can_be_simulated() {
    let mut types = published_types();
    types.push(GpuTypeInfo {
        name: GpuType::from("acme-x1"),
        product: "ACME X1".to_owned(),
        memory: Memory::gib(12),
        ..types[0].clone()
    });
    let setting = GpuSetting::parse("simulated:acme-x1=1", &types).unwrap();
    let data_dir = tempfile::tempdir().unwrap();
    let gpus = crate::gpu::Gpus::open(&setting, &types, data_dir.path()).unwrap();
    let [device] = gpus.devices() else { panic!("one device expected: {:?}", gpus.devices()) };
    assert_eq!(device.product, "ACME X1 (simulated)");
    assert_eq!(device.gpu_type.as_str(), "acme-x1");
    assert_eq!(device.memory_bytes, 12 << 30);
}
