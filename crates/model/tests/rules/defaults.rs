//! What a service shows where its user said nothing, and what the quotas are called.

use crate::case::{Case, ONE_ZONE, TWO_ZONES, container, http1};
use homerun_model::container::{Check, Port, Probe, Protocol};
use homerun_model::names::{GpuType, ProjectId, Region};
use homerun_model::quantity::{Cpu, Memory};
use homerun_model::quota::QuotaKey;
use homerun_model::revision::ExecutionEnvironment;
use homerun_model::service::IngressSetting;
use homerun_model::traffic::TrafficTarget;

fn size(case: &Case) -> (u64, Memory) {
    let filled = case.filled();
    let container = &filled.template.containers[0];
    (container.cpu.expect("filled in").millis(), container.memory.expect("filled in"))
}

#[test]
fn a_plain_service_gets_cloud_runs_defaults() {
    let spec = Case::plain().filled();
    assert_eq!(spec.traffic, [TrafficTarget::latest()]);
    assert_eq!(spec.ingress, Some(IngressSetting::All));
    let template = spec.template;
    assert_eq!(
        (template.concurrency, template.timeout_seconds, template.max_instances),
        (Some(80), Some(300), Some(100))
    );
    assert_eq!(template.service_account.as_deref(), Some("100000000001-compute@developer.gserviceaccount.com"));
    assert_eq!((template.cpu_throttling, template.execution_environment, template.gpu_type), (None, None, None));
    let container = &template.containers[0];
    assert_eq!((container.cpu, container.memory), (Some(Cpu::from_millis(1000)), Some(Memory::mib(512))));
    assert_eq!(container.port, Some(http1(8080)));
    let startup = Probe {
        check: Check::Tcp { port: Some(8080) },
        initial_delay_seconds: None,
        timeout_seconds: Some(240),
        period_seconds: Some(240),
        failure_threshold: Some(1),
        success_threshold: None,
    };
    assert_eq!(container.startup_probe, Some(startup));
    assert_eq!(container.name, "", "a single container stays without a name");
}

#[test]
fn settings_decide_what_the_pages_disagree_on() {
    let mut case = Case::plain();
    case.settings.default_max_instances = 20;
    case.settings.default_concurrency = 160;
    let template = case.filled().template;
    assert_eq!((template.max_instances, template.concurrency), (Some(20), Some(160)));
}

#[test]
fn g02_a_count_without_a_type_is_an_l4() {
    let mut case = Case::gpu();
    assert_eq!(case.filled().template.gpu_type, Some(GpuType::from("nvidia-l4")));
    case.template().gpu_type = Some(GpuType::from("nvidia-rtx-4090"));
    assert_eq!(case.filled().template.gpu_type, Some(GpuType::from("nvidia-rtx-4090")));
}

#[test]
fn g02_a_type_without_a_count_is_one_gpu_for_the_ingress_container() {
    let mut case = Case::sidecar();
    case.template().containers.swap(0, 1);
    case.template().gpu_type = Some(GpuType::from("nvidia-l4"));
    let template = case.filled().template;
    let counts: Vec<_> = template.containers.iter().map(|c| (c.name.as_str(), c.gpu_count)).collect();
    assert_eq!(counts, [("db", None), ("app", Some(1))]);
}

#[test]
fn g04_a_gpu_without_sizes_gets_the_minimum_of_its_type() {
    let mut case = Case::gpu();
    assert_eq!(size(&case), (4000, Memory::gib(16)));
    case.template().gpu_type = Some(GpuType::from("nvidia-rtx-pro-6000"));
    assert_eq!(size(&case), (20_000, Memory::gib(80)));
    case.template().gpu_type = Some(GpuType::from("nvidia-rtx-4090"));
    assert_eq!(size(&case), (2000, Memory::gib(8)));
}

#[test]
fn g04_a_gpu_with_one_size_gets_the_least_that_fits_for_the_other() {
    let mut case = Case::gpu();
    case.container().cpu = Some(Cpu::from_millis(8000));
    assert_eq!(size(&case), (8000, Memory::gib(16)));
    case.container().cpu = None;
    case.container().memory = Some(Memory::gib(16));
    assert_eq!(size(&case), (4000, Memory::gib(16)));
    case.container().memory = Some(Memory::gib(32));
    assert_eq!(size(&case), (8000, Memory::gib(32)), "4 CPUs may not have more than 16Gi");
    assert_eq!(case.violations(), []);
}

#[test]
fn g04_sidecars_of_a_gpu_container_stay_small() {
    let mut case = Case::sidecar();
    case.container().gpu_count = Some(1);
    let sidecar = case.filled().template.containers.remove(1);
    assert_eq!((sidecar.cpu, sidecar.memory), (Some(Cpu::from_millis(1000)), Some(Memory::mib(512))));
}

#[test]
fn g05_a_gpu_gets_cpu_always_and_gen2() {
    let template = Case::gpu().filled().template;
    assert_eq!(template.cpu_throttling, Some(false));
    assert_eq!(template.execution_environment, Some(ExecutionEnvironment::Gen2));
}

#[test]
fn g07_max_instances_is_the_smaller_of_quota_and_setting() {
    let mut case = Case::gpu();
    assert_eq!(case.filled().template.max_instances, Some(3));
    case.grant(ONE_ZONE, "nvidia-l4", false, 1);
    assert_eq!(case.filled().template.max_instances, Some(1));
    case.grant(ONE_ZONE, "nvidia-l4", false, 50);
    assert_eq!(case.filled().template.max_instances, Some(3));
    case.settings.default_max_instances_gpu = 7;
    assert_eq!(case.filled().template.max_instances, Some(7));
}

#[test]
fn g14_a_removed_gpu_takes_its_settings_along() {
    let mut case = Case::gpu();
    case.spec = case.filled();
    case.container().gpu_count = Some(0);
    let template = case.filled().template;
    assert_eq!((template.gpu_type, template.gpu_zonal_redundancy), (None, None));
    assert_eq!(template.containers[0].gpu_count, None);

    case.container().gpu_count = None;
    case.template().gpu_type = None;
    let template = case.filled().template;
    assert_eq!((template.gpu_type, template.gpu_zonal_redundancy), (None, None));
    assert_eq!(case.violations(), []);
}

#[test]
fn g25_zonal_redundancy_is_on_where_there_are_two_zones() {
    let mut case = Case::gpu();
    assert_eq!(case.filled().template.gpu_zonal_redundancy, Some(false));
    case.region(TWO_ZONES);
    assert_eq!(case.filled().template.gpu_zonal_redundancy, Some(true));
    case.template().gpu_zonal_redundancy = Some(false);
    assert_eq!(case.filled().template.gpu_zonal_redundancy, Some(false));
}

#[test]
fn s05_probes_get_defaults_and_their_containers_port() {
    let mut case = Case::plain();
    case.container().port = Some(http1(9000));
    case.container().liveness_probe = Some(Probe {
        check: Check::Http { path: None, port: None, headers: Vec::new() },
        initial_delay_seconds: Some(0),
        timeout_seconds: None,
        period_seconds: None,
        failure_threshold: None,
        success_threshold: Some(1),
    });
    let container = case.filled().template.containers.remove(0);
    let liveness = Probe {
        check: Check::Http { path: Some("/".into()), port: Some(9000), headers: Vec::new() },
        initial_delay_seconds: None,
        timeout_seconds: Some(1),
        period_seconds: Some(10),
        failure_threshold: Some(3),
        success_threshold: None,
    };
    assert_eq!(container.liveness_probe, Some(liveness));
    assert_eq!(container.startup_probe.unwrap().check, Check::Tcp { port: Some(9000) });
}

#[test]
fn s04_a_port_with_only_a_protocol_is_8080() {
    let mut case = Case::plain();
    case.container().port = Some(Port { protocol: Protocol::H2c, number: 0 });
    let port = case.filled().template.containers.remove(0).port;
    assert_eq!(port, Some(Port { protocol: Protocol::H2c, number: 8080 }));
}

#[test]
fn s06_nameless_containers_are_named_and_so_are_their_dependencies() {
    let mut case = Case::sidecar();
    case.container().name.clear();
    case.template().containers[1].name = "hello-1".into();
    case.template().containers[1].startup_probe = Some(Probe {
        check: Check::Tcp { port: Some(5432) },
        initial_delay_seconds: None,
        timeout_seconds: None,
        period_seconds: None,
        failure_threshold: None,
        success_threshold: None,
    });
    case.template().container_dependencies.insert(String::new(), vec!["hello-1".into()]);
    let template = case.filled().template;
    assert_eq!(template.containers[0].name, "hello-2", "hello-1 is taken");
    assert_eq!(template.container_dependencies.keys().collect::<Vec<_>>(), ["hello-2"]);
    assert_eq!(case.violations(), []);

    let mut case = Case::sidecar();
    case.template().containers.push(container(""));
    assert_eq!(case.filled().template.containers[2].name, "hello-3");
}

#[test]
fn s07_less_than_one_cpu_serves_one_request_at_a_time() {
    let mut case = Case::plain();
    case.size(500, Memory::mib(512));
    assert_eq!(case.filled().template.concurrency, Some(1));
    case.size(1000, Memory::mib(512));
    case.template().concurrency = Some(0);
    assert_eq!(case.filled().template.concurrency, Some(80), "0 means the default");
}

#[test]
fn g07_quotas_have_cloud_runs_names() {
    let key = |gpu: &str, zonal_redundancy| QuotaKey {
        project: ProjectId::from("demo"),
        region: Region::from(ONE_ZONE),
        gpu: GpuType::from(gpu),
        zonal_redundancy,
    };
    let names = [
        ("nvidia-l4", false, "NvidiaL4GpuAllocNoZonalRedundancyPerProjectRegion"),
        ("nvidia-l4", true, "NvidiaL4GpuAllocPerProjectRegion"),
        ("nvidia-rtx-pro-6000", false, "NvidiaRtxPro6000GpuAllocNoZonalRedundancyPerProjectRegion"),
        ("amd-mi300x", true, "AmdMi300xGpuAllocPerProjectRegion"),
    ];
    for (gpu, zonal, id) in names {
        assert_eq!(key(gpu, zonal).quota_id(), id);
    }
    let l4 = key("nvidia-l4", false);
    assert_eq!(l4.metric(), "run.googleapis.com/nvidia_l4_gpu_allocation_no_zonal_redundancy");
    assert_eq!(l4.display_name(), "Total Nvidia L4 GPU allocation without zonal redundancy, per project per region");
    assert_eq!(key("nvidia-l4", true).display_name(), "Total Nvidia L4 GPU allocation, per project per region");
}
