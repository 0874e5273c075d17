//! What holds for every service, right or wrong.

use std::collections::BTreeMap;

use homerun_model::Timestamp;
use homerun_model::container::{Check, Container, EnvVar, Port, Probe, Protocol, Volume, VolumeMount, VolumeSource};
use homerun_model::names::{GpuType, RevisionName, ServiceName};
use homerun_model::quantity::{Cpu, Memory};
use homerun_model::revision::{ExecutionEnvironment, RevisionTemplate};
use homerun_model::service::{Change, Origin, Service, ServiceSpec, defaults};
use homerun_model::traffic::TrafficTarget;
use proptest::collection::{btree_map, vec};
use proptest::option::of;
use proptest::prelude::*;

use crate::case::{Case, NO_GPU, ONE_ZONE, TWO_ZONES, container, http1, spec};

// The strategies of large parts are boxed: a test's stack is too small for their values otherwise.

/// Texts that are often right, often nearly right and sometimes anything.
fn text() -> impl Strategy<Value = String> {
    let known = [
        "",
        "app",
        "db",
        "hello-1",
        "hello-blue",
        "nvidia-l4",
        "/data",
        "/",
        "..",
        "a---b",
        "PORT",
        "K_SERVICE",
        "Ü",
        "1",
    ];
    prop_oneof![4 => proptest::sample::select(known.to_vec()).prop_map(str::to_owned), 1 => ".{0,70}"]
}

fn number() -> impl Strategy<Value = u32> {
    prop_oneof![4 => 0..5_u32, 2 => 0..2000_u32, 1 => any::<u32>()]
}

fn cpu() -> impl Strategy<Value = Cpu> {
    let known = [0, 80, 500, 1000, 2000, 3000, 4000, 8000, 20_000];
    prop_oneof![3 => proptest::sample::select(known.to_vec()), 1 => any::<u64>()].prop_map(Cpu::from_millis)
}

fn memory() -> impl Strategy<Value = Memory> {
    let known = [0, 1 << 20, 512 << 20, 2 << 30, 16 << 30, 80 << 30];
    prop_oneof![3 => proptest::sample::select(known.to_vec()), 1 => any::<u64>()].prop_map(Memory::from_bytes)
}

fn gpu_type() -> impl Strategy<Value = GpuType> {
    let known = ["nvidia-l4", "nvidia-rtx-4090", "nvidia-rtx-pro-6000", "nvidia-L4", "nvidia-14"];
    prop_oneof![4 => proptest::sample::select(known.to_vec()).prop_map(str::to_owned), 1 => ".{0,20}"]
        .prop_map(GpuType::new)
}

fn check() -> BoxedStrategy<Check> {
    prop_oneof![
        of(number()).prop_map(|port| Check::Tcp { port }),
        (of(text()), of(number()), vec((text(), text()), 0..2)).prop_map(|(path, port, headers)| Check::Http {
            path,
            port,
            headers
        }),
        (of(number()), of(text())).prop_map(|(port, service)| Check::Grpc { port, service }),
    ]
    .boxed()
}

fn probe() -> BoxedStrategy<Probe> {
    (check(), proptest::array::uniform5(of(number())))
        .prop_map(|(check, [delay, timeout, period, failures, successes])| Probe {
            check,
            initial_delay_seconds: delay,
            timeout_seconds: timeout,
            period_seconds: period,
            failure_threshold: failures,
            success_threshold: successes,
        })
        .boxed()
}

fn mount() -> impl Strategy<Value = VolumeMount> {
    (text(), text(), of(text()), any::<bool>()).prop_map(|(name, mount_path, sub_path, read_only)| VolumeMount {
        name,
        mount_path,
        sub_path,
        read_only,
    })
}

fn any_container() -> BoxedStrategy<Container> {
    let port = number().prop_map(|number| Port { protocol: Protocol::H2c, number });
    let texts = (text(), text(), vec((text(), text()), 0..3), btree_map(text(), text(), 0..2));
    let sizes = (of(cpu()), of(memory()), of(0..3_u32), of(port));
    let probes = (of(probe()), of(probe()), of(probe()), vec(mount(), 0..3));
    (texts, sizes, probes)
        .prop_map(
            |(
                (name, image, env, other_limits),
                (cpu, memory, gpu_count, port),
                (startup, liveness, readiness, mounts),
            )| Container {
                name,
                image,
                env: env.into_iter().map(|(name, value)| EnvVar { name, value }).collect(),
                port,
                cpu,
                memory,
                gpu_count,
                other_limits,
                startup_probe: startup,
                liveness_probe: liveness,
                readiness_probe: readiness,
                volume_mounts: mounts,
                ..Container::default()
            },
        )
        .boxed()
}

fn any_template() -> BoxedStrategy<RevisionTemplate> {
    let texts = (of(text()), btree_map(text(), text(), 0..3), btree_map(text(), text(), 0..3), of(text()));
    let dependencies = btree_map(text(), vec(text(), 0..3), 0..3);
    let volume = (text(), of(memory()))
        .prop_map(|(name, size_limit)| Volume { name, source: VolumeSource::EmptyDir { size_limit } });
    let environment = prop_oneof![Just(ExecutionEnvironment::Gen1), Just(ExecutionEnvironment::Gen2)];
    let gpu = (of(gpu_type()), of(any::<bool>()), of(any::<bool>()), of(environment));
    let parts = (texts, vec(any_container(), 0..4), dependencies, vec(volume, 0..3), gpu);
    (parts, proptest::array::uniform5(of(number())))
        .prop_map(|(parts, [concurrency, timeout, min, max, idle])| {
            let ((name, labels, annotations, service_account), containers, container_dependencies, volumes, gpu) =
                parts;
            let (gpu_type, gpu_zonal_redundancy, cpu_throttling, execution_environment) = gpu;
            RevisionTemplate {
                name,
                labels,
                annotations,
                containers,
                volumes,
                container_dependencies,
                concurrency,
                timeout_seconds: timeout,
                service_account,
                gpu_type,
                gpu_zonal_redundancy,
                min_instances: min,
                max_instances: max,
                cpu_throttling,
                execution_environment,
                idle_timeout_seconds: idle,
                ..RevisionTemplate::default()
            }
        })
        .boxed()
}

/// A service that may have anything wrong with it, in any region.
fn any_case() -> BoxedStrategy<Case> {
    let target = (of(text()), number(), of(text())).prop_map(|(revision, percent, tag)| TrafficTarget {
        revision: revision.map(RevisionName::new),
        percent,
        tag,
    });
    let region = proptest::sample::select(vec![ONE_ZONE, TWO_ZONES, NO_GPU, "mars-north1"]);
    let scale = (of(number()), of(number()));
    (text(), region, any_template(), vec(target, 0..3), scale)
        .prop_map(|(name, region, template, traffic, (min, max))| {
            let mut case = Case::plain();
            case.key.name = ServiceName::new(name);
            case.region(region);
            case.spec = ServiceSpec { template, traffic, min_instances: min, max_instances: max, ..case.spec };
            case
        })
        .boxed()
}

prop_compose! {
    /// A service that breaks no rule, with or without a GPU, sidecars, probes and sizes.
    fn right_case()(
        gpu in of((proptest::sample::select(vec!["nvidia-l4", "nvidia-rtx-4090"]), any::<bool>(), any::<bool>())),
        size in of(proptest::sample::select(vec![(4000, 16), (8000, 16), (8000, 32), (6000, 24)])),
        sidecars in 0..4_usize,
        names in proptest::array::uniform5(any::<bool>()),
        port in of(1..=65535_u32),
        (tries, period) in (1..=8_u32, 1..=30_u32),
        probed in any::<bool>(),
        concurrency in of(1..=1000_u32),
        timeout in of(1..=3600_u32),
        idle in of(1..=600_u32),
        env in btree_map("[A-J][A-Z0-9_]{0,8}", ".{0,20}", 0..4),
        labels in btree_map("[a-z][a-z0-9_-]{0,20}[a-z0-9]", "[a-z0-9_-]{0,20}", 0..4),
        max in of(1..=1_u32),
    ) -> Case {
        let mut case = Case::plain();
        let mut containers: Vec<_> = (0..=sidecars)
            .map(|index| container(&if names[index] { format!("c{index}") } else { String::new() }))
            .collect();
        containers[0].port = if sidecars > 0 { Some(http1(port.unwrap_or(80))) } else { port.map(http1) };
        containers[0].env = env.into_iter().map(|(name, value)| EnvVar { name, value: value.replace('\0', "") }).collect();
        if let Some((cpu, gib)) = size {
            containers[0].cpu = Some(Cpu::from_millis(cpu));
            containers[0].memory = Some(Memory::gib(gib));
        }
        if probed {
            containers[0].startup_probe = Some(Probe {
                check: Check::Tcp { port: None },
                initial_delay_seconds: None,
                timeout_seconds: Some(period),
                period_seconds: Some(period),
                failure_threshold: Some(tries),
                success_threshold: None,
            });
        }
        case.spec = spec(containers);
        case.spec.labels = labels;
        if let Some((gpu, typed, counted)) = gpu {
            case.container().gpu_count = (counted || !typed).then_some(1);
            case.template().gpu_type = typed.then(|| GpuType::from(gpu));
        }
        case.template().concurrency = concurrency;
        case.template().timeout_seconds = timeout;
        case.template().idle_timeout_seconds = idle;
        case.template().max_instances = max;
        case
    }
}

fn origin(suffix: &str) -> Origin {
    let now = Timestamp::from_timestamp(1_800_000_000, 0).expect("in range");
    Origin { uid: "u".into(), revision_uid: "r".into(), suffix: suffix.into(), actor: "ann@example.com".into(), now }
}

proptest! {
    #[test]
    fn any_service_can_be_judged_and_filled_once_for_all(case in any_case()) {
        // Neither may panic, and what is wrong does not depend on how often defaults are filled in.
        let _ = homerun_model::service::validate(&case.spec, &case.key, &case.around());
        let once = case.filled();
        let twice = defaults(once.clone(), &case.key, &case.around());
        prop_assert_eq!(once, twice);
        let violations = case.violations();
        prop_assert!(violations.iter().all(|violation| !violation.field.is_empty() && !violation.message.is_empty()));
    }

    #[test]
    fn a_right_service_is_right_once_filled_in(case in right_case()) {
        prop_assert_eq!(case.violations(), []);
    }

    #[test]
    fn only_right_services_are_made(case in any_case()) {
        let made = Service::create(&case.key, case.spec.clone(), &case.around(), origin("abc"));
        if !case.violations().is_empty() {
            prop_assert!(made.is_err());
        }
    }

    #[test]
    fn g12_replacing_by_the_same_is_a_no_op(case in right_case()) {
        let Change { service, revision } = Service::create(&case.key, case.spec.clone(), &case.around(), origin("abc")).unwrap();
        let existing = [revision.unwrap().key.name];
        for spec in [service.spec.clone(), case.spec.clone()] {
            let change = service.apply(spec, &existing, &case.around(), origin("xyz")).unwrap();
            prop_assert_eq!(change, Change { service: service.clone(), revision: None });
        }
    }

    #[test]
    fn s03_revision_names_are_never_used_twice(case in right_case(), edits in vec((of("[a-z]{1,2}"), 1..4_u32, "[ab]"), 1..20)) {
        let Change { mut service, revision } = Service::create(&case.key, case.spec.clone(), &case.around(), origin("a")).unwrap();
        let mut names = vec![revision.unwrap().key.name];
        for (name, concurrency, suffix) in edits {
            let mut spec = service.spec.clone();
            spec.template.name = name.map(|name| format!("hello-{name}"));
            spec.template.concurrency = Some(concurrency);
            let before = service.clone();
            let Ok(change) = service.apply(spec, &names, &case.around(), origin(&suffix)) else {
                continue; // A chosen name that is taken.
            };
            service = change.service;
            prop_assert_eq!(service.generation, before.generation + u64::from(service.spec != before.spec));
            if let Some(revision) = change.revision {
                prop_assert!(!names.contains(&revision.key.name));
                prop_assert!(revision.key.name.as_str().starts_with("hello-"));
                prop_assert_eq!(Some(&revision.key.name), service.status.latest_created_revision.as_ref());
                names.push(revision.key.name);
            }
        }
    }

    #[test]
    fn quantities_survive_printing(millis in any::<u64>(), bytes in any::<u64>()) {
        let (cpu, memory) = (Cpu::from_millis(millis), Memory::from_bytes(bytes));
        prop_assert_eq!(Cpu::parse(&cpu.to_string()), Some(cpu));
        prop_assert_eq!(Memory::parse(&memory.to_string()), Some(memory));
    }

    #[test]
    fn round_quantities_survive_printing(gib in 0..1_000_000_u64, shift in 0..31_u32) {
        let memory = Memory::from_bytes(gib << shift);
        prop_assert_eq!(Memory::parse(&memory.to_string()), Some(memory));
    }

    #[test]
    fn any_text_can_be_parsed_as_a_quantity(text in "[0-9.mKMGTik-]{0,12}|.{0,12}") {
        let (cpu, memory) = (Cpu::parse(&text), Memory::parse(&text));
        prop_assert!(cpu.is_none_or(|cpu| Cpu::parse(&cpu.to_string()) == Some(cpu)));
        prop_assert!(memory.is_none_or(|memory| Memory::parse(&memory.to_string()) == Some(memory)));
    }
}

/// Dependencies among many containers, some round in circles.
#[test]
fn s06_cycles_are_found_wherever_they_are() {
    proptest!(|(edges in vec((0..6_usize, 0..6_usize), 0..12))| {
        let mut case = Case::sidecar();
        case.template().containers = (0..6).map(|index| container(&format!("c{index}"))).collect();
        for container in &mut case.template().containers {
            container.startup_probe = Some(Probe {
                check: Check::Tcp { port: Some(80) },
                initial_delay_seconds: None,
                timeout_seconds: None,
                period_seconds: None,
                failure_threshold: None,
                success_threshold: None,
            });
        }
        case.container().port = Some(http1(80));
        let mut needs = BTreeMap::<String, Vec<String>>::new();
        let mut reach = [[false; 6]; 6];
        for (from, to) in edges {
            needs.entry(format!("c{from}")).or_default().push(format!("c{to}"));
            reach[from][to] = true;
        }
        case.template().container_dependencies = needs;
        for middle in 0..6 {
            for from in 0..6 {
                for to in 0..6 {
                    reach[from][to] |= reach[from][middle] && reach[middle][to];
                }
            }
        }
        let round = (0..6).any(|index| reach[index][index]);
        prop_assert_eq!(case.violations().iter().any(|violation| violation.message.contains("cycle")), round);
    });
}
