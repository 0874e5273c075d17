//! Containers, probes and volumes, both ways.

use std::collections::BTreeMap;

use homerun_model::container::{Check, Container, EnvVar, Port, Probe, Protocol, Volume, VolumeMount, VolumeSource};
use homerun_model::gpu::GPU_RESOURCE;
use homerun_model::quantity::{Cpu, Memory};
use homerun_model::violation::Violation;

use crate::run_v1::types as wire;

/// Collects what is wrong while a container is read.
pub(super) struct Problems<'a>(pub(super) &'a mut Vec<Violation>);

impl Problems<'_> {
    pub(super) fn add(&mut self, field: String, message: &str) {
        self.0.push(Violation::new(field, message));
    }

    /// A field that homerun cannot honour must not be there.
    pub(super) fn refuse(&mut self, there: bool, field: String) {
        if there {
            self.add(field, "This field is not supported.");
        }
    }

    /// A field of which homerun can honour only one value must have it, or be empty.
    fn only(&mut self, given: Option<&str>, honoured: &str, field: impl FnOnce() -> String) {
        if let Some(given) = given.filter(|given| !given.is_empty() && *given != honoured) {
            self.add(field(), &format!("'{given}' is not supported; it must be '{honoured}' or be left out."));
        }
    }

    fn number(&mut self, value: Option<i32>, field: impl FnOnce() -> String) -> Option<u32> {
        let value = value?;
        let number = u32::try_from(value).ok();
        if number.is_none() {
            self.add(field(), &format!("{value} is not valid; it must not be negative."));
        }
        number
    }
}

pub(super) fn container(wire: wire::Container, path: &str, problems: &mut Problems<'_>) -> Container {
    refuse_unsupported(&wire, path, problems);
    // A revision's image is looked up in its registry once, when it is made, whatever is here already.
    problems.only(wire.image_pull_policy.as_deref(), "Always", || format!("{path}.imagePullPolicy"));
    let resources = wire.resources.unwrap_or_default();
    check_requests(&resources, path, problems);
    let mut limits: BTreeMap<String, String> =
        resources.limits.into_iter().filter(|(_, value)| !value.is_empty()).collect();
    let mut limit = |name: &str| limits.remove(name);
    let (cpu, memory, gpu) = (limit("cpu"), limit("memory"), limit(GPU_RESOURCE));
    let mut quantity = |name: &str, text: &str, right: &str| {
        problems
            .add(format!("{path}.resources.limits[{name}]"), &format!("'{text}' is not valid; it must be {right}."));
    };
    let cpu = cpu.and_then(|text| {
        Cpu::parse(&text).or_else(|| {
            quantity("cpu", &text, "a CPU amount such as '1', '500m' or '4'");
            None
        })
    });
    let memory = memory.and_then(|text| {
        Memory::parse(&text).or_else(|| {
            quantity("memory", &text, "a memory amount such as '512Mi' or '16Gi'");
            None
        })
    });
    let gpu_count = gpu.and_then(|text| {
        text.parse().ok().or_else(|| {
            quantity(GPU_RESOURCE, &text, "0 or 1");
            None
        })
    });
    Container {
        name: wire.name.unwrap_or_default(),
        image: wire.image.unwrap_or_default(),
        command: wire.command,
        args: wire.args,
        working_dir: wire.working_dir.filter(|dir| !dir.is_empty()),
        env: environment(wire.env, path, problems),
        port: port(wire.ports, path, problems),
        cpu,
        memory,
        gpu_count,
        other_limits: limits,
        startup_probe: wire.startup_probe.and_then(|p| probe(p, &format!("{path}.startupProbe"), problems)),
        liveness_probe: wire.liveness_probe.and_then(|p| probe(p, &format!("{path}.livenessProbe"), problems)),
        readiness_probe: wire.readiness_probe.and_then(|p| probe(p, &format!("{path}.readinessProbe"), problems)),
        volume_mounts: wire.volume_mounts.into_iter().map(volume_mount).collect(),
    }
}

fn refuse_unsupported(wire: &wire::Container, path: &str, problems: &mut Problems<'_>) {
    let given = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
    for (there, name) in [
        (!wire.env_from.is_empty(), "envFrom"),
        (
            wire.security_context.as_ref().is_some_and(|context| *context != wire::SecurityContext::default()),
            "securityContext",
        ),
        (given(&wire.termination_message_path), "terminationMessagePath"),
        (given(&wire.termination_message_policy), "terminationMessagePolicy"),
        (wire.sandbox_launcher == Some(true), "sandboxLauncher"),
    ] {
        problems.refuse(there, format!("{path}.{name}"));
    }
}

/// The API's definition: requests that are left out are the limits. Any others would be a reservation, which
/// instances don't have.
fn check_requests(resources: &wire::ResourceRequirements, path: &str, problems: &mut Problems<'_>) {
    for (name, amount) in resources.requests.iter().filter(|(_, amount)| !amount.is_empty()) {
        let limit = resources.limits.get(name);
        let same = |limit: &String| match name.as_str() {
            "cpu" => Cpu::parse(limit).is_some_and(|limit| Cpu::parse(amount) == Some(limit)),
            "memory" => Memory::parse(limit).is_some_and(|limit| Memory::parse(amount) == Some(limit)),
            _ => limit == amount,
        };
        if !limit.is_some_and(same) {
            let message =
                format!("A request that differs from the limit is not supported; '{amount}' must be left out.");
            problems.add(format!("{path}.resources.requests[{name}]"), &message);
        }
    }
}

fn environment(wire: Vec<wire::EnvVar>, path: &str, problems: &mut Problems<'_>) -> Vec<EnvVar> {
    let mut env = Vec::with_capacity(wire.len());
    for (index, var) in wire.into_iter().enumerate() {
        let from = var.value_from.unwrap_or_default();
        let field = |name: &str| format!("{path}.env[{index}].valueFrom.{name}");
        if from.secret_key_ref.is_some() {
            problems.add(field("secretKeyRef"), "Secrets are not supported by homerun yet; give a value.");
        }
        if from.config_map_key_ref.is_some() {
            problems.add(field("configMapKeyRef"), "Config maps are not supported; give a value.");
        }
        env.push(EnvVar { name: var.name.unwrap_or_default(), value: var.value.unwrap_or_default() });
    }
    env
}

fn port(wire: Vec<wire::ContainerPort>, path: &str, problems: &mut Problems<'_>) -> Option<Port> {
    if wire.len() > 1 {
        problems.add(format!("{path}.ports"), "Only one port can be given.");
    }
    let port = wire.into_iter().next()?;
    let protocol = match port.name.as_deref() {
        None | Some("" | "http1") => Protocol::Http1,
        Some("h2c") => Protocol::H2c,
        Some(other) => {
            problems
                .add(format!("{path}.ports[0].name"), &format!("'{other}' is not valid; it must be 'http1' or 'h2c'."));
            Protocol::Http1
        }
    };
    problems.only(port.protocol.as_deref(), "TCP", || format!("{path}.ports[0].protocol"));
    let number = problems.number(port.container_port, || format!("{path}.ports[0].containerPort")).unwrap_or(8080);
    Some(Port { protocol, number })
}

fn probe(wire: wire::Probe, path: &str, problems: &mut Problems<'_>) -> Option<Probe> {
    if wire.exec.is_some() {
        problems.add(format!("{path}.exec"), "This field is not supported; give httpGet, tcpSocket or grpc.");
        return None;
    }
    let checks = usize::from(wire.http_get.is_some())
        + usize::from(wire.grpc.is_some())
        + usize::from(wire.tcp_socket.is_some());
    if checks != 1 {
        problems.add(path.to_owned(), "Exactly one of httpGet, tcpSocket and grpc must be given.");
        return None;
    }
    let port = |port: Option<i32>, name: &str, problems: &mut Problems<'_>| {
        problems.number(port, || format!("{path}.{name}.port"))
    };
    let check = if let Some(http) = wire.http_get {
        problems.refuse(http.host.is_some_and(|host| !host.is_empty()), format!("{path}.httpGet.host"));
        problems.only(http.scheme.as_deref(), "HTTP", || format!("{path}.httpGet.scheme"));
        let headers = http
            .http_headers
            .into_iter()
            .map(|header| (header.name.unwrap_or_default(), header.value.unwrap_or_default()));
        Check::Http {
            path: http.path.filter(|path| !path.is_empty()),
            port: port(http.port, "httpGet", problems),
            headers: headers.collect(),
        }
    } else if let Some(grpc) = wire.grpc {
        Check::Grpc {
            port: port(grpc.port, "grpc", problems),
            service: grpc.service.filter(|service| !service.is_empty()),
        }
    } else {
        let tcp = wire.tcp_socket.unwrap_or_default();
        problems.refuse(tcp.host.is_some_and(|host| !host.is_empty()), format!("{path}.tcpSocket.host"));
        Check::Tcp { port: port(tcp.port, "tcpSocket", problems) }
    };
    let mut number = |value, name: &str| problems.number(value, || format!("{path}.{name}"));
    Some(Probe {
        check,
        initial_delay_seconds: number(wire.initial_delay_seconds, "initialDelaySeconds"),
        timeout_seconds: number(wire.timeout_seconds, "timeoutSeconds"),
        period_seconds: number(wire.period_seconds, "periodSeconds"),
        failure_threshold: number(wire.failure_threshold, "failureThreshold"),
        success_threshold: number(wire.success_threshold, "successThreshold"),
    })
}

fn volume_mount(wire: wire::VolumeMount) -> VolumeMount {
    VolumeMount {
        name: wire.name.unwrap_or_default(),
        mount_path: wire.mount_path.unwrap_or_default(),
        sub_path: wire.sub_path.filter(|path| !path.is_empty()),
        read_only: wire.read_only.unwrap_or(false),
    }
}

pub(super) fn volume(wire: wire::Volume, path: &str, problems: &mut Problems<'_>) -> Volume {
    let others: Vec<&str> = [
        (wire.secret.is_some(), "secret"),
        (wire.csi.is_some(), "csi"),
        (wire.nfs.is_some(), "nfs"),
        (wire.filestore.is_some(), "filestore"),
        (wire.config_map.is_some(), "configMap"),
    ]
    .into_iter()
    .filter_map(|(there, name)| there.then_some(name))
    .collect();
    for name in &others {
        problems.add(format!("{path}.{name}"), "Volumes of this kind are not supported by homerun yet; emptyDir is.");
    }
    if others.is_empty() && wire.empty_dir.is_none() {
        problems.add(path.to_owned(), "A volume must say what is in it; give emptyDir.");
    }
    let empty = wire.empty_dir.unwrap_or_default();
    problems.only(empty.medium.as_deref(), "Memory", || format!("{path}.emptyDir.medium"));
    let size_limit = empty.size_limit.filter(|size| !size.is_empty()).and_then(|text| {
        let size = Memory::parse(&text);
        if size.is_none() {
            problems.add(
                format!("{path}.emptyDir.sizeLimit"),
                &format!("'{text}' is not valid; it must be an amount such as '256Mi'."),
            );
        }
        size
    });
    Volume { name: wire.name.unwrap_or_default(), source: VolumeSource::EmptyDir { size_limit } }
}

pub(super) fn container_to_wire(container: &Container) -> wire::Container {
    let mut limits = container.other_limits.clone();
    limits.extend(container.cpu.map(|cpu| ("cpu".to_owned(), cpu.as_given())));
    limits.extend(container.memory.map(|memory| ("memory".to_owned(), memory.to_string())));
    let gpus = container.gpu_count.filter(|count| *count > 0);
    limits.extend(gpus.map(|count| (GPU_RESOURCE.to_owned(), count.to_string())));
    wire::Container {
        name: some(&container.name),
        image: some(&container.image),
        command: container.command.clone(),
        args: container.args.clone(),
        working_dir: container.working_dir.clone(),
        env: container
            .env
            .iter()
            .map(|var| wire::EnvVar { name: some(&var.name), value: some(&var.value), value_from: None })
            .collect(),
        ports: container.port.iter().map(port_to_wire).collect(),
        resources: Some(wire::ResourceRequirements { limits, requests: BTreeMap::new() }),
        startup_probe: container.startup_probe.as_ref().map(probe_to_wire),
        liveness_probe: container.liveness_probe.as_ref().map(probe_to_wire),
        readiness_probe: container.readiness_probe.as_ref().map(probe_to_wire),
        volume_mounts: container
            .volume_mounts
            .iter()
            .map(|mount| wire::VolumeMount {
                name: some(&mount.name),
                mount_path: some(&mount.mount_path),
                sub_path: mount.sub_path.clone(),
                read_only: mount.read_only.then_some(true),
            })
            .collect(),
        ..wire::Container::default()
    }
}

fn port_to_wire(port: &Port) -> wire::ContainerPort {
    let name = match port.protocol {
        Protocol::Http1 => "http1",
        Protocol::H2c => "h2c",
    };
    wire::ContainerPort { container_port: i32::try_from(port.number).ok(), name: some(name), protocol: None }
}

fn probe_to_wire(probe: &Probe) -> wire::Probe {
    let number = |value: Option<u32>| value.and_then(|value| i32::try_from(value).ok());
    let mut wire = wire::Probe {
        initial_delay_seconds: number(probe.initial_delay_seconds),
        timeout_seconds: number(probe.timeout_seconds),
        period_seconds: number(probe.period_seconds),
        failure_threshold: number(probe.failure_threshold),
        success_threshold: number(probe.success_threshold),
        ..wire::Probe::default()
    };
    match &probe.check {
        Check::Tcp { port } => wire.tcp_socket = Some(wire::TcpSocketAction { host: None, port: number(*port) }),
        Check::Http { path, port, headers } => {
            let header = |(name, value): &(String, String)| wire::HttpHeader { name: some(name), value: some(value) };
            wire.http_get = Some(wire::HttpGetAction {
                path: path.clone(),
                port: number(*port),
                http_headers: headers.iter().map(header).collect(),
                ..wire::HttpGetAction::default()
            });
        }
        Check::Grpc { port, service } => {
            wire.grpc = Some(wire::GrpcAction { port: number(*port), service: service.clone() });
        }
    }
    wire
}

pub(super) fn volume_to_wire(volume: &Volume) -> wire::Volume {
    let VolumeSource::EmptyDir { size_limit } = &volume.source;
    let size_limit = size_limit.map(|size| size.to_string());
    let empty_dir = Some(wire::EmptyDirVolumeSource { medium: some("Memory"), size_limit });
    wire::Volume { name: some(&volume.name), empty_dir, ..wire::Volume::default() }
}

/// A text, absent if empty.
pub(super) fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}
