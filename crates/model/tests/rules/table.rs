//! One test per rule: a right service, one edit that breaks the rule, and what the user is told.

use std::collections::BTreeMap;

use crate::case::{CPU, Case, MAX_SCALE, MEMORY, NO_GPU, ONE_ZONE, SELECTOR, TWO_ZONES, container, http1};
use homerun_model::container::{Check, EnvVar, Probe, Volume, VolumeMount, VolumeSource};
use homerun_model::names::{GpuType, RevisionName, ServiceName};
use homerun_model::quantity::{Cpu, Memory};
use homerun_model::revision::{ExecutionEnvironment, UtilizationTarget};
use homerun_model::traffic::TrafficTarget;

/// Edits a service and compares everything that is then wrong with it: fields, and parts of messages.
macro_rules! refused {
    ($($name:ident: $base:ident, |$case:ident| $edit:expr => [$(($field:expr, $part:expr)),+ $(,)?];)+) => {$(
        #[test]
        fn $name() {
            let mut case = Case::$base();
            assert_eq!(case.violations(), [], "the service must be right before the edit");
            let $case = &mut case;
            $edit;
            let expected: &[(&str, &str)] = &[$(($field, $part)),+];
            let found = case.violations();
            let matches = found.len() == expected.len()
                && found.iter().zip(expected).all(|(v, (field, part))| v.field == *field && v.message.contains(part));
            assert!(matches, "expected {expected:#?}, found {found:#?}");
        }
    )+};
}

/// Edits a service and expects it to stay right.
macro_rules! accepted {
    ($($name:ident: $base:ident, |$case:ident| $edit:expr;)+) => {$(
        #[test]
        fn $name() {
            let mut case = Case::$base();
            let $case = &mut case;
            $edit;
            assert_eq!(case.violations(), []);
        }
    )+};
}

const GPU: &str = "spec.template.spec.containers[0].resources.limits[nvidia.com/gpu]";
const REDUNDANCY: &str = "spec.template.metadata.annotations[run.googleapis.com/gpu-zonal-redundancy-disabled]";
const DEPENDENCIES: &str = "spec.template.metadata.annotations[run.googleapis.com/container-dependencies]";
const STARTUP: &str = "spec.template.spec.containers[0].startupProbe";

refused! {
    g01_two_gpus: gpu, |c| c.container().gpu_count = Some(2) => [(GPU, "GPU can only be set to 1: an instance has 0 or 1 GPU")];
    g03_unknown_type_lists_types: gpu, |c| c.template().gpu_type = Some(GpuType::from("nvidia-t4")) =>
        [(SELECTOR, "'nvidia-t4' does not exist. GPU types: nvidia-l4, nvidia-rtx-pro-6000, nvidia-rtx-4090.")];
    g03_upper_case_l: gpu, |c| c.template().gpu_type = Some(GpuType::from("nvidia-L4")) =>
        [(SELECTOR, "Did you mean nvidia-l4? Its l is a lower-case letter L")];
    g03_digit_one_for_l: gpu, |c| c.template().gpu_type = Some(GpuType::from("nvidia-14")) =>
        [(SELECTOR, "Did you mean nvidia-l4? Its l is a lower-case letter L")];
    g03_capitals_of_an_operators_type: gpu, |c| {
        c.gpus.types[2].name = GpuType::from("nvidia-a100");
        c.template().gpu_type = Some(GpuType::from("nvidia-A100"));
    } => [(SELECTOR, "GPU types: nvidia-l4, nvidia-rtx-pro-6000, nvidia-a100. Did you mean nvidia-a100?")];
    g04_too_little_cpu: gpu, |c| c.container().cpu = Some(Cpu::from_millis(2000)) =>
        [(CPU, "CPU must be at least 4; memory must be at least 16Gi")];
    g04_too_little_memory: gpu, |c| c.container().memory = Some(Memory::gib(8)) =>
        [(MEMORY, "CPU must be at least 4; memory must be at least 16Gi")];
    g04_too_little_of_both: gpu, |c| c.size(1000, Memory::mib(512)) =>
        [(CPU, "CPU must be at least 4; memory must be at least 16Gi"), (MEMORY, "CPU must be at least 4; memory must be at least 16Gi")];
    g04_rtx_has_its_own_minimums: gpu, |c| {
        c.template().gpu_type = Some(GpuType::from("nvidia-rtx-pro-6000"));
        c.size(8000, Memory::gib(32));
    } => [(CPU, "CPU must be at least 20; memory must be at least 80Gi"), (MEMORY, "CPU must be at least 20; memory must be at least 80Gi")];
    g04_rtx_takes_whole_cpus: gpu, |c| {
        c.template().gpu_type = Some(GpuType::from("nvidia-rtx-pro-6000"));
        c.size(20_500, Memory::gib(80));
    } => [(CPU, "Must be equal to a whole number of at least 20")];
    g05_throttling: gpu, |c| c.template().cpu_throttling = Some(true) =>
        [("spec.template.metadata.annotations[run.googleapis.com/cpu-throttling]", "CPU throttling must be disabled in order to set GPU requirements")];
    g05_gen1: gpu, |c| c.template().execution_environment = Some(ExecutionEnvironment::Gen1) =>
        [("spec.template.metadata.annotations[run.googleapis.com/execution-environment]", "Execution environment must be set to gen2 in order to set GPU")];
    g06_gpu_on_two_containers: sidecar, |c| for container in &mut c.template().containers { container.gpu_count = Some(1); } =>
        [("spec.template.spec.containers[1].resources.limits[nvidia.com/gpu]", "on one container")];
    g07_more_than_the_quota: gpu, |c| c.template().max_instances = Some(4) =>
        [(MAX_SCALE, "Max instances must be set to 3 or fewer in order to set GPU requirements")];
    g07_quota_is_named: gpu, |c| c.template().max_instances = Some(4) =>
        [(MAX_SCALE, "Quota violated: NvidiaL4GpuAllocNoZonalRedundancyPerProjectRegion requested: 4 allowed: 3")];
    g07_no_quota: gpu, |c| c.grant("us-central1", "nvidia-l4", false, 0) =>
        [(MAX_SCALE, "You do not have quota for using GPUs without zonal redundancy")];
    g07_no_quota_says_how_to_ask: gpu, |c| c.grant("us-central1", "nvidia-l4", false, 0) =>
        [(MAX_SCALE, "gcloud beta quotas preferences create --service=run.googleapis.com --quota-id=NvidiaL4GpuAllocNoZonalRedundancyPerProjectRegion --dimensions=region=us-central1")];
    g20_region_without_the_type: gpu, |c| c.region(NO_GPU) =>
        [(SELECTOR, "GPU type nvidia-l4 is not available in region asia-east1. Regions that have it: europe-west1, us-central1.")];
    g20_type_that_no_region_has: gpu, |c| c.gpus.regions.clear() => [(SELECTOR, "No region here has it.")];
    g20_unknown_region: plain, |c| c.region("mars-north1") =>
        [("metadata.labels[cloud.googleapis.com/location]", "Regions: us-central1, europe-west1, asia-east1.")];
    g25_one_zone: gpu, |c| c.template().gpu_zonal_redundancy = Some(true) =>
        [(REDUNDANCY, "You could deploy using GPUs without zonal redundancy instead.")];
    g25_no_zonal_quota: gpu, |c| c.region(TWO_ZONES) =>
        [(MAX_SCALE, "You do not have quota for using GPUs with zonal redundancy")];
    g25_no_zonal_quota_offers_the_other: gpu, |c| c.region(TWO_ZONES) =>
        [(MAX_SCALE, "You could deploy using GPUs without zonal redundancy instead.")];
    g25_zonal_quota_is_its_own: gpu, |c| {
        c.region(TWO_ZONES);
        c.grant(TWO_ZONES, "nvidia-l4", true, 1);
        c.template().max_instances = Some(2);
    } => [(MAX_SCALE, "Quota violated: NvidiaL4GpuAllocPerProjectRegion requested: 2 allowed: 1")];
    unknown_node_selector: plain, |c| c.template().other_node_selectors.insert("disk".into(), "ssd".into()) =>
        [("spec.template.spec.nodeSelector[disk]", "Only the node selector 'run.googleapis.com/accelerator' is supported")];

    s03_service_name_upper_case: plain, |c| c.key.name = ServiceName::from("Hello") => [("metadata.name", "lowercase letters")];
    s03_service_name_too_long: plain, |c| c.key.name = ServiceName::new("a".repeat(50)) => [("metadata.name", "at most 49 characters")];
    s03_service_name_like_a_tagged_one: plain, |c| c.key.name = ServiceName::from("a---b") => [("metadata.name", "double hyphens")];
    s03_service_name_too_long_for_the_host: plain, |c| {
        c.key.name = ServiceName::new("a".repeat(49));
        c.project.number = 10_000_000_000_000;
    } => [("metadata.name", "host name")];
    s03_revision_name_of_another_service: plain, |c| c.template().name = Some("other-one".into()) => [("spec.template.metadata.name", "must be 'hello-' and a suffix")];
    s03_revision_name_without_suffix: plain, |c| c.template().name = Some("hello-".into()) => [("spec.template.metadata.name", "must be 'hello-' and a suffix")];
    s03_revision_name_too_long: plain, |c| c.template().name = Some(format!("hello-{}", "x".repeat(58))) => [("spec.template.metadata.name", "at most 63 characters")];
    s03_traffic_sum: plain, |c| c.spec.traffic = vec![target(50, None), target(40, None)] => [("spec.traffic", "The sum of all percents should be 100; it is 90.")];
    s03_traffic_percent: plain, |c| c.spec.traffic = vec![target(101, None)] =>
        [("spec.traffic", "should be 100"), ("spec.traffic[0].percent", "between 0 and 100")];
    s03_duplicate_tag: plain, |c| c.spec.traffic = vec![target(100, Some("blue")), target(0, Some("blue"))] => [("spec.traffic[1].tag", "may not contain a duplicate tag")];
    s03_tag_syntax: plain, |c| c.spec.traffic = vec![target(100, Some("Blue"))] => [("spec.traffic[0].tag", "lowercase letters")];
    s03_tag_with_the_separator: plain, |c| c.spec.traffic = vec![target(100, Some("a---b"))] => [("spec.traffic[0].tag", "double hyphens")];
    s03_tag_too_long_for_the_host: plain, |c| c.spec.traffic = vec![target(100, Some(&"a".repeat(43)))] => [("spec.traffic[0].tag", "at most 42 characters here")];

    s01_label_key: plain, |c| c.spec.labels.insert("bad key".into(), "x".into()) => [("metadata.labels[bad key]", "Label key")];
    s01_too_many_labels: plain, |c| c.spec.labels = labels(65) => [("metadata.labels", "at most 64 labels; there are 65")];
    s01_label_value: plain, |c| c.template().labels.insert("key".into(), "a/b".into()) => [("spec.template.metadata.labels[key]", "Label value")];
    s01_annotation_key: plain, |c| c.spec.annotations.insert("-x".into(), "y".into()) => [("metadata.annotations[-x]", "Annotation key")];
    s01_annotation_size: plain, |c| c.spec.annotations.insert("x".into(), "y".repeat(300_000)) => [("metadata.annotations", "262144 bytes")];
    s01_annotation_on_the_wrong_kind: plain, |c| c.spec.annotations.insert("autoscaling.knative.dev/maxScale".into(), "3".into()) =>
        [("metadata.annotations[autoscaling.knative.dev/maxScale]", "not supported on resources of kind Service. Supported kinds are: Revision.")];
    s01_misspelt_annotation: plain, |c| c.template().annotations.insert("run.googleapis.com/cpu-throtling".into(), "false".into()) =>
        [("spec.template.metadata.annotations[run.googleapis.com/cpu-throtling]", "not supported on resources of kind Revision")];
    s01_misspelt_annotation_of_homerun: plain, |c| c.template().annotations.insert("homerun.dev/idle".into(), "9".into()) =>
        [("spec.template.metadata.annotations[homerun.dev/idle]", "not supported on resources of kind Revision")];
    s14_a_protection_that_is_not_there: plain, |c| c.spec.annotations.insert("run.googleapis.com/iap-enabled".into(), "true".into()) =>
        [("metadata.annotations[run.googleapis.com/iap-enabled]", "Identity-Aware Proxy is not supported by homerun.")];
    s14_a_key_that_would_not_encrypt: plain, |c| c.template().annotations.insert("run.googleapis.com/encryption-key".into(), "k".into()) =>
        [("spec.template.metadata.annotations[run.googleapis.com/encryption-key]", "is not supported by homerun. Remove it")];
    s01_service_account: plain, |c| c.template().service_account = Some("me".into()) => [("spec.template.spec.serviceAccountName", "Unsupported service account 'me'")];

    s04_no_container: plain, |c| c.template().containers.clear() => [("spec.template.spec.containers", "at least one container")];
    s04_no_image: plain, |c| c.container().image.clear() => [("spec.template.spec.containers[0].image", "An image is required")];
    s04_env_reserved: plain, |c| c.container().env = vec![var("PORT", "1"), var("K_SERVICE", "x")] =>
        [("spec.template.spec.containers[0].env", "The following reserved env names were provided: K_SERVICE, PORT.")];
    s04_env_reserved_prefix: plain, |c| c.container().env = vec![var("X_GOOGLE_A", "1")] => [("spec.template.spec.containers[0].env", "provided: X_GOOGLE_A.")];
    s04_env_without_name: plain, |c| c.container().env = vec![var("", "1")] => [("spec.template.spec.containers[0].env[0].name", "must not be empty")];
    s04_env_name_with_equals: plain, |c| c.container().env = vec![var("A=B", "1")] => [("spec.template.spec.containers[0].env[0].name", "contain '='")];
    s04_env_value_too_long: plain, |c| c.container().env = vec![var("A", &"x".repeat(32_769))] => [("spec.template.spec.containers[0].env[0].value", "at most 32768 bytes")];
    s04_too_many_env: plain, |c| c.container().env = (0..1001).map(|n| var(&format!("V{n}"), "")).collect() => [("spec.template.spec.containers[0].env", "at most 1000")];
    s04_too_many_args: plain, |c| c.container().args = vec![String::new(); 1001] => [("spec.template.spec.containers[0].args", "at most 1000")];
    s04_too_many_arguments_in_all: plain, |c| {
        c.container().command = vec![String::new(); 501];
        c.container().args = vec![String::new(); 500];
    } => [("spec.template.spec.containers[0].args", "at most 1000")];
    s04_port_out_of_range: plain, |c| c.container().port = Some(http1(65_536)) =>
        [("spec.template.spec.containers[0].ports[0].containerPort", "between 1 and 65535"), ("spec.template.spec.containers[0].startupProbe.tcpSocket.port", "between 1 and 65535")];
    s04_relative_working_dir: plain, |c| c.container().working_dir = Some("app".into()) => [("spec.template.spec.containers[0].workingDir", "absolute path")];
    s04_mount_of_no_volume: plain, |c| c.container().volume_mounts = vec![mount("cache", "/cache")] => [("spec.template.spec.containers[0].volumeMounts[0].name", "There is no volume 'cache'")];
    s04_mount_path_relative: plain, |c| mounted(c, &["cache"]) => [("spec.template.spec.containers[0].volumeMounts[0].mountPath", "absolute path")];
    s04_mount_over_the_root: plain, |c| mounted(c, &["//"]) => [("spec.template.spec.containers[0].volumeMounts[0].mountPath", "below '/'")];
    s04_mount_path_climbs: plain, |c| mounted(c, &["/a/../../etc"]) => [("spec.template.spec.containers[0].volumeMounts[0].mountPath", "without ':' and '..'")];
    s04_mount_in_the_systems_folders: plain, |c| mounted(c, &["/proc/self"]) => [("spec.template.spec.containers[0].volumeMounts[0].mountPath", "belong to the system")];
    s04_two_mounts_at_one_place: plain, |c| mounted(c, &["/a", "/a/"]) => [("spec.template.spec.containers[0].volumeMounts[1].mountPath", "already")];
    s04_sub_path_climbs: plain, |c| {
        mounted(c, &["/a"]);
        c.container().volume_mounts[0].sub_path = Some("../x".into());
    } => [("spec.template.spec.containers[0].volumeMounts[0].subPath", "without '..'")];
    s04_volume_name: plain, |c| c.template().volumes = vec![volume("Cache")] => [("spec.template.spec.volumes[0].name", "lowercase")];
    s04_volume_name_reserved: plain, |c| c.template().volumes = vec![volume("cloudsql")] => [("spec.template.spec.volumes[0].name", "not be 'cloudsql'")];
    s04_volume_names_unique: plain, |c| c.template().volumes = vec![volume("a"), volume("a")] => [("spec.template.spec.volumes[1].name", "must be unique")];
    s04_unknown_limit: plain, |c| c.container().other_limits.insert("tpu".into(), "1".into()) =>
        [("spec.template.spec.containers[0].resources.limits[tpu]", "Only 'cpu', 'memory' and 'nvidia.com/gpu' limits are supported")];
    s04_cpu_value: plain, |c| c.size(3000, Memory::gib(4)) => [(CPU, "Must be equal to one of [.08-1], 1, 2, 4, 6, 8; it is 3.")];
    s04_cpu_too_small: plain, |c| c.size(50, Memory::mib(128)) => [(CPU, "one of [.08-1]")];
    s04_cpu_too_large: plain, |c| c.size(16_000, Memory::gib(32)) => [(CPU, "one of [.08-1]")];
    s04_memory_below_what_4_cpus_need: plain, |c| c.size(4000, Memory::gib(1)) => [(MEMORY, "For 4 CPU, memory must be between 2Gi and 16Gi inclusive")];
    s04_memory_above_what_1_cpu_may_have: plain, |c| c.size(1000, Memory::gib(5)) => [(MEMORY, "For 1 CPU, memory must be between 128Mi and 4Gi inclusive; it is 5Gi.")];
    s04_memory_above_what_half_a_cpu_may_have: plain, |c| c.size(500, Memory::gib(2)) => [(MEMORY, "For 500m CPU, memory must be between 128Mi and 1Gi inclusive")];
    s04_memory_below_the_least: plain, |c| c.container().memory = Some(Memory::mib(64)) => [(MEMORY, "between 128Mi and 4Gi")];
    s04_gen2_memory: plain, |c| {
        c.size(1000, Memory::mib(256));
        c.template().execution_environment = Some(ExecutionEnvironment::Gen2);
    } => [(MEMORY, "with gen2 execution environment. Memory must be at least 512Mi")];
    s04_part_of_a_cpu: plain, |c| {
        c.size(500, Memory::mib(512));
        c.template().concurrency = Some(2);
        c.template().cpu_throttling = Some(false);
        c.template().execution_environment = Some(ExecutionEnvironment::Gen2);
    } => [
        (CPU, "Total cpu < 1 is not supported with concurrency > 1"),
        (CPU, "Total cpu < 1 is not supported with cpu always allocated (unthrottled)"),
        (CPU, "Total cpu < 1 is not supported with gen2"),
    ];

    s05_startup_budget: gpu, |c| startup(c, 1801, 1, 1) => [(&format!("{STARTUP}.failureThreshold"), "at most 1800 seconds; 1801 times 1 is 1801")];
    s05_startup_period: gpu, |c| startup(c, 1, 241, 1) => [(&format!("{STARTUP}.periodSeconds"), "between 1 and 240")];
    s05_timeout_longer_than_the_period: plain, |c| startup(c, 3, 5, 6) => [(&format!("{STARTUP}.timeoutSeconds"), "not be longer than the period; they are 6 and 5 seconds")];
    s05_zeros: plain, |c| startup(c, 0, 0, 0) => [
        (&format!("{STARTUP}.periodSeconds"), "between 1 and 240; it is 0"),
        (&format!("{STARTUP}.timeoutSeconds"), "between 1 and 3600; it is 0"),
        (&format!("{STARTUP}.failureThreshold"), "at least 1; it is 0"),
    ];
    s05_initial_delay: plain, |c| {
        startup(c, 1, 10, 1);
        c.container().startup_probe.as_mut().unwrap().initial_delay_seconds = Some(241);
    } => [(&format!("{STARTUP}.initialDelaySeconds"), "between 0 and 240")];
    s05_success_threshold: plain, |c| {
        startup(c, 1, 10, 1);
        c.container().startup_probe.as_mut().unwrap().success_threshold = Some(2);
    } => [(&format!("{STARTUP}.successThreshold"), "must be 1; it is 2")];
    s05_success_threshold_zero: plain, |c| {
        c.container().readiness_probe = Some(Probe { success_threshold: Some(0), ..http("/", &[]) });
    } => [("spec.template.spec.containers[0].readinessProbe.successThreshold", "at least 1; it is 0")];
    s05_readiness_by_tcp: plain, |c| c.container().readiness_probe = Some(probe(Check::Tcp { port: None })) =>
        [("spec.template.spec.containers[0].readinessProbe.tcpSocket", "must use httpGet or grpc")];
    s05_liveness_by_tcp: plain, |c| c.container().liveness_probe = Some(probe(Check::Tcp { port: None })) =>
        [("spec.template.spec.containers[0].livenessProbe.tcpSocket", "must use httpGet or grpc")];
    s05_http_path: plain, |c| c.container().liveness_probe = Some(http("healthz", &[])) => [("spec.template.spec.containers[0].livenessProbe.httpGet.path", "must begin with '/'")];
    s05_http_header: plain, |c| c.container().liveness_probe = Some(http("/", &[("X-A", "1"), ("X B", "2")])) =>
        [("spec.template.spec.containers[0].livenessProbe.httpGet.httpHeaders[1]", "'X B' is no header field's name")];
    s05_probe_without_any_port: sidecar, |c| c.template().containers[1].startup_probe = Some(probe(Check::Tcp { port: None })) =>
        [("spec.template.spec.containers[1].startupProbe.tcpSocket.port", "must name a port")];

    s06_too_many_containers: sidecar, |c| for n in 0..9 { c.template().containers.push(container(&format!("c{n}"))); } =>
        [("spec.template.spec.containers", "at most 10 containers; there are 11")];
    s06_two_ports: sidecar, |c| c.template().containers[1].port = Some(http1(9000)) => [("spec.template.spec.containers", "exactly one container with an exposed port; 2 have one")];
    s06_no_port: sidecar, |c| c.container().port = None => [("spec.template.spec.containers", "exactly one container with an exposed port; 0 have one")];
    s06_duplicate_names: sidecar, |c| c.template().containers[1].name = "app".into() => [("spec.template.spec.containers[1].name", "must be unique")];
    s06_container_name: sidecar, |c| c.template().containers[1].name = "My_DB".into() => [("spec.template.spec.containers[1].name", "Invalid container name 'My_DB'")];
    s06_unknown_dependency: sidecar, |c| depends(c, &[("app", "cache")]) => [(DEPENDENCIES, "Container 'cache' does not exist.")];
    s06_dependency_of_an_unknown_container: sidecar, |c| depends(c, &[("web", "app")]) => [(DEPENDENCIES, "Container 'web' does not exist.")];
    s06_dependency_without_startup_probe: sidecar, |c| depends(c, &[("app", "db")]) => [(DEPENDENCIES, "Dependent container 'db' must have startup probe specified.")];
    s06_dependency_cycle: sidecar, |c| {
        c.template().containers[1].startup_probe = Some(probe(Check::Tcp { port: Some(5432) }));
        depends(c, &[("app", "db"), ("db", "app")]);
    } => [(DEPENDENCIES, "dependency cycle detected: app -> db -> app")];
    s06_container_that_needs_itself: sidecar, |c| depends(c, &[("app", "app")]) => [(DEPENDENCIES, "dependency cycle detected: app -> app")];

    s07_concurrency: plain, |c| c.template().concurrency = Some(1001) => [("spec.template.spec.containerConcurrency", "between 1 and 1000")];
    s09_timeout: plain, |c| c.template().timeout_seconds = Some(3601) => [("spec.template.spec.timeoutSeconds", "between 1 and 3600")];
    s09_timeout_zero: plain, |c| c.template().timeout_seconds = Some(0) => [("spec.template.spec.timeoutSeconds", "between 1 and 3600")];
    s07_max_instances_zero: plain, |c| c.template().max_instances = Some(0) => [(MAX_SCALE, "must be 1 or more")];
    s07_min_above_max: plain, |c| {
        c.template().min_instances = Some(5);
        c.template().max_instances = Some(4);
    } => [("spec.template.metadata.annotations[autoscaling.knative.dev/minScale]", "they are 5 and 4")];
    s07_service_min_above_max: plain, |c| {
        c.spec.min_instances = Some(5);
        c.spec.max_instances = Some(4);
    } => [("metadata.annotations[run.googleapis.com/minScale]", "they are 5 and 4")];
    s07_cpu_target_too_low: plain, |c| c.template().cpu_target = Some(UtilizationTarget::Thousandths(50)) =>
        [("spec.template.metadata.annotations[run.googleapis.com/scaling-cpu-target]", "between 0.1 and 0.95, or 'disabled'; it is 0.05")];
    s07_concurrency_target_too_high: plain, |c| c.template().concurrency_target = Some(UtilizationTarget::Thousandths(1000)) =>
        [("spec.template.metadata.annotations[run.googleapis.com/scaling-concurrency-target]", "it is 1.")];
    s07_no_reason_to_scale: plain, |c| {
        c.template().cpu_target = Some(UtilizationTarget::Disabled);
        c.template().concurrency_target = Some(UtilizationTarget::Disabled);
    } => [("spec.template.metadata.annotations[run.googleapis.com/scaling-cpu-target]", "cannot both be disabled")];
    s07_service_max_zero: plain, |c| c.spec.max_instances = Some(0) => [("metadata.annotations[run.googleapis.com/maxScale]", "must be 1 or more")];
    g19_idle_timeout_of_a_gpu_service: gpu, |c| c.template().idle_timeout_seconds = Some(601) =>
        [("spec.template.metadata.annotations[homerun.dev/idle-timeout]", "between 1 and 600; it is 601")];
    g19_idle_timeout_zero: plain, |c| c.template().idle_timeout_seconds = Some(0) =>
        [("spec.template.metadata.annotations[homerun.dev/idle-timeout]", "between 1 and 900; it is 0")];
}

accepted! {
    s07_targets_at_their_ends: plain, |c| {
        c.template().cpu_target = Some(UtilizationTarget::Thousandths(100));
        c.template().concurrency_target = Some(UtilizationTarget::Thousandths(950));
    };
    s07_one_target_disabled: plain, |c| c.template().cpu_target = Some(UtilizationTarget::Disabled);
    g01_zero_gpus: plain, |c| c.container().gpu_count = Some(0);
    g03_operators_own_type: gpu, |c| {
        c.template().gpu_type = Some(GpuType::from("nvidia-rtx-4090"));
        c.size(2000, Memory::gib(8));
    };
    g03_rtx_pro: gpu, |c| {
        c.template().gpu_type = Some(GpuType::from("nvidia-rtx-pro-6000"));
        c.size(22_000, Memory::gib(100));
    };
    g06_gpu_on_the_sidecar: sidecar, |c| c.template().containers[1].gpu_count = Some(1);
    g07_exactly_the_quota: gpu, |c| c.template().max_instances = Some(3);
    g19_idle_timeout_of_seconds: gpu, |c| c.template().idle_timeout_seconds = Some(1);
    g19_operator_allows_longer: gpu, |c| {
        c.settings.idle_timeout_gpu_seconds = 7200;
        c.template().idle_timeout_seconds = Some(7200);
    };
    g25_without_redundancy_where_there_could_be: gpu, |c| {
        c.region(TWO_ZONES);
        c.template().gpu_zonal_redundancy = Some(false);
    };
    s04_port_variable_of_a_sidecar: sidecar, |c| c.template().containers[1].env = vec![var("PORT", "5432")];
    s04_same_variable_twice: plain, |c| c.container().env = vec![var("A", "1"), var("A", "2")];
    s04_part_of_a_cpu_for_a_sidecar: sidecar, |c| {
        c.template().containers[1].cpu = Some(Cpu::from_millis(100));
        c.template().containers[1].memory = Some(Memory::mib(128));
    };
    s04_mount: plain, |c| mounted(c, &["/a", "/a/b"]);
    s05_startup_budget_of_a_gpu: gpu, |c| startup(c, 1800, 1, 1);
    g14_startup_budget_after_the_gpu_is_gone: plain, |c| startup(c, 1800, 1, 1);
    s01_as_many_labels_as_allowed: plain, |c| c.spec.labels = labels(64);
    s05_readiness_after_two_successes: plain, |c| {
        c.container().readiness_probe = Some(Probe { success_threshold: Some(2), ..http("/", &[]) });
    };
    s07_as_many_instances_always: plain, |c| {
        c.template().min_instances = Some(4);
        c.template().max_instances = Some(4);
    };
    s06_dependency: sidecar, |c| {
        c.template().containers[1].startup_probe = Some(probe(Check::Tcp { port: Some(5432) }));
        depends(c, &[("app", "db")]);
    };
    s03_traffic_to_two_with_tags: plain, |c| {
        c.spec.traffic = vec![target(90, None), target(10, Some("canary")), target(0, Some("old"))];
        c.spec.traffic[2].revision = Some(RevisionName::from("hello-00001-abc"));
    };
    s03_revision_suffix: plain, |c| c.template().name = Some("hello-blue".into());
    s01_gclouds_labels_and_annotations: plain, |c| {
        c.template().labels.insert("client.knative.dev/nonce".into(), "abcdefghij".into());
        for annotations in [&mut c.spec.annotations, &mut c.spec.template.annotations] {
            annotations.insert("run.googleapis.com/client-name".into(), "gcloud".into());
            annotations.insert("run.googleapis.com/client-version".into(), "528.0.0".into());
            annotations.insert("client.knative.dev/user-image".into(), "hello:1".into());
        }
        c.spec.annotations.insert("run.googleapis.com/launch-stage".into(), "BETA".into());
    };
}

/// Cloud Run's table of CPU and memory: each end is allowed, a step beyond is not.
#[test]
fn s04_memory_by_cpu() {
    let mib = |count: u64| count << 20;
    let table = [
        (80, mib(128), mib(512)),
        (499, mib(128), mib(512)),
        (500, mib(128), mib(1024)),
        (999, mib(128), mib(1024)),
        (1000, mib(128), mib(4096)),
        (2000, mib(128), mib(8192)),
        (4000, mib(2048), mib(16_384)),
        (6000, mib(4096), mib(24_576)),
        (8000, mib(4096), mib(32_768)),
    ];
    for (cpu, least, most) in table {
        for (bytes, right) in [(least, true), (most, true), (least - 1, false), (most + 1, false)] {
            let mut case = Case::plain();
            case.size(cpu, Memory::from_bytes(bytes));
            let fields: Vec<String> = case.violations().into_iter().map(|violation| violation.field).collect();
            let expected: &[&str] = if right { &[] } else { &[MEMORY] };
            assert_eq!(fields, expected, "{cpu} thousandths of a CPU with {bytes} bytes");
        }
    }
}

/// The page's YAML with 4 CPU, 16Gi, one GPU, nvidia-l4, port 8080 and MAX_INSTANCE 1.
#[test]
fn g12_the_pages_yaml() {
    let mut case = Case::plain();
    case.spec.annotations.insert("run.googleapis.com/launch-stage".into(), "BETA".into());
    case.size(4000, Memory::gib(16));
    case.container().port = Some(http1(8080));
    case.container().gpu_count = Some(1);
    startup(&mut case, 1800, 1, 1);
    case.template().gpu_type = Some(GpuType::from("nvidia-l4"));
    case.template().max_instances = Some(1);
    case.template().cpu_throttling = Some(false);
    assert_eq!(case.violations(), []);
    let filled = case.filled().template;
    let given = &case.spec.template;
    assert_eq!(filled.containers[0].cpu, given.containers[0].cpu);
    assert_eq!(
        filled.containers[0].startup_probe,
        Some(Probe { check: Check::Tcp { port: Some(8080) }, ..given.containers[0].startup_probe.clone().unwrap() })
    );
    assert_eq!((filled.max_instances, filled.cpu_throttling), (Some(1), Some(false)));
}

/// gcloud asks whether to deploy without zonal redundancy only where that would work.
#[test]
fn g25_no_offer_without_any_quota() {
    for region in [ONE_ZONE, TWO_ZONES] {
        let mut case = Case::gpu();
        case.region(region);
        case.grant(region, "nvidia-l4", false, 0);
        let messages: Vec<String> = case.violations().into_iter().map(|violation| violation.message).collect();
        assert_eq!(messages.len(), 1);
        assert!(messages[0].starts_with("You do not have quota for using GPUs with"), "{messages:?}");
        assert!(!messages[0].contains("You could deploy"), "{messages:?}");
    }
}

/// Every mistake is told at once.
#[test]
fn g01_to_g07_all_at_once() {
    let mut case = Case::gpu();
    case.container().gpu_count = Some(2);
    case.size(2000, Memory::gib(8));
    case.template().cpu_throttling = Some(true);
    case.template().execution_environment = Some(ExecutionEnvironment::Gen1);
    case.template().max_instances = Some(99);
    let fields: Vec<String> = case.violations().into_iter().map(|violation| violation.field).collect();
    assert_eq!(
        fields,
        [
            GPU,
            CPU,
            MEMORY,
            "spec.template.metadata.annotations[run.googleapis.com/execution-environment]",
            "spec.template.metadata.annotations[run.googleapis.com/cpu-throttling]",
            MAX_SCALE,
        ]
    );
}

fn target(percent: u32, tag: Option<&str>) -> TrafficTarget {
    TrafficTarget { revision: None, percent, tag: tag.map(str::to_owned) }
}

fn labels(count: usize) -> BTreeMap<String, String> {
    (0..count).map(|number| (format!("label-{number}"), String::new())).collect()
}

fn var(name: &str, value: &str) -> EnvVar {
    EnvVar { name: name.to_owned(), value: value.to_owned() }
}

fn volume(name: &str) -> Volume {
    Volume { name: name.to_owned(), source: VolumeSource::EmptyDir { size_limit: None } }
}

fn mount(name: &str, path: &str) -> VolumeMount {
    VolumeMount { name: name.to_owned(), mount_path: path.to_owned(), sub_path: None, read_only: false }
}

/// Mounts one volume at each of the paths.
fn mounted(case: &mut Case, paths: &[&str]) {
    case.template().volumes = vec![volume("data")];
    case.container().volume_mounts = paths.iter().map(|path| mount("data", path)).collect();
}

fn depends(case: &mut Case, pairs: &[(&str, &str)]) {
    let pairs = pairs.iter().map(|(one, other)| ((*one).to_owned(), vec![(*other).to_owned()]));
    case.template().container_dependencies = pairs.collect();
}

fn probe(check: Check) -> Probe {
    Probe {
        check,
        initial_delay_seconds: None,
        timeout_seconds: None,
        period_seconds: None,
        failure_threshold: None,
        success_threshold: None,
    }
}

fn http(path: &str, headers: &[(&str, &str)]) -> Probe {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    probe(Check::Http { path: Some(path.to_owned()), port: None, headers })
}

fn startup(case: &mut Case, tries: u32, period: u32, timeout: u32) {
    case.container().startup_probe = Some(Probe {
        failure_threshold: Some(tries),
        period_seconds: Some(period),
        timeout_seconds: Some(timeout),
        ..probe(Check::Tcp { port: None })
    });
}
