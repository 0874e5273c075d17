//! The panel beside the revisions: what the chosen one is made of.

use homerun_model::container::{Check, Container, Probe, Protocol, VolumeSource};
use homerun_model::iam::Resource;
use homerun_model::revision::{ExecutionEnvironment, Revision, RevisionTemplate};
use homerun_model::service::Service;
use maud::{Markup, html};

use super::super::lang::Lang;
use super::super::visit::Visit;
use super::super::words;
use super::{Asked, conditions};

/// Name in the address, and text, of the panel's tabs.
const TABS: [(&str, &str); 4] = [
    ("containers", "tab-containers"),
    ("volumes", "tab-volumes"),
    ("networking", "tab-networking"),
    ("security", "tab-security"),
];

pub(super) fn show(visit: &Visit, service: &Service, revision: &Revision, asked: &Asked) -> Markup {
    let (lang, name) = (visit.lang, &revision.key.name);
    let current = asked.get("panel").map_or(TABS[0].0, String::as_str);
    let href = |tab: &str| format!("{}?revision={name}&panel={tab}", words::path(&service.key, "revisions"));
    html! {
        aside .panel.card aria-labelledby="panel-title" {
            h2 #panel-title { (name) }
            @if visit.may_on("run.revisions.delete", &Resource::Service(service.key.clone())) {
                p {
                    a .button.danger href=(words::path(&service.key, &format!("revisions/{name}/delete"))) {
                        (lang.t("delete-this-revision"))
                    }
                }
            }
            (conditions(lang, &revision.conditions))
            @for warning in &revision.warnings { p .message.busy { (warning) } }
            nav .tabs aria-label=(lang.t("revision-tabs")) {
                ul {
                    @for (tab, text) in TABS {
                        li { a href=(href(tab)) aria-current=[(tab == current).then_some("page")] { (lang.t(text)) } }
                    }
                }
            }
            @match current {
                "volumes" => (volumes(lang, &revision.template)),
                "networking" => (networking(visit, service, &revision.template)),
                "security" => (security(lang, &revision.template)),
                _ => (containers(visit, revision)),
            }
        }
    }
}

fn fact(name: &str, value: impl maud::Render) -> Markup {
    html! { div { dt { (name) } dd { (value) } } }
}

fn containers(visit: &Visit, revision: &Revision) -> Markup {
    let (lang, template) = (visit.lang, &revision.template);
    let none = lang.t("none");
    let on = |on: Option<bool>| lang.t(if on.unwrap_or(false) { "on" } else { "off" });
    html! {
        h3 { (lang.t("general")) }
        dl .facts {
            (fact(&lang.t("cpu-allocation"), lang.t(allocation(template))))
            (fact(&lang.t("startup-cpu-boost"), on(template.startup_cpu_boost)))
            (fact(&lang.t("concurrency"), count(template.concurrency, &none)))
            (fact(&lang.t("request-timeout"), lang.with("seconds", [("seconds", template.timeout_seconds.unwrap_or(0))])))
            (fact(&lang.t("execution-environment"), lang.t(environment(template))))
            (fact(&lang.t("min-instances"), count(template.min_instances.or(Some(0)), &none)))
            (fact(&lang.t("max-instances"), count(template.max_instances, &none)))
        }
        @for (index, container) in template.containers.iter().enumerate() {
            h3 { (if container.name.is_empty() { lang.t("container").into_owned() } else { container.name.clone() }) }
            dl .facts {
                (fact(&lang.t("image"), html! { code { (container.image) } }))
                @if let Some(image) = revision.images.get(index) {
                    (fact(&lang.t("digest"), html! { code { (image.digest) } }))
                }
                @if let Some(port) = &container.port {
                    (fact(&lang.t("port"), format!("{} ({})", port.number, protocol(port.protocol))))
                }
                (fact(&lang.t("cpu"), container.cpu.map_or(none.to_string(), homerun_model::quantity::Cpu::as_given)))
                (fact(&lang.t("memory"), container.memory.map_or(none.to_string(), |memory| memory.to_string())))
                (gpu(visit, template, container))
                @if !container.command.is_empty() { (fact(&lang.t("command"), words_of(&container.command))) }
                @if !container.args.is_empty() { (fact(&lang.t("args"), words_of(&container.args))) }
                @for (name, of) in [
                    ("startup-probe", &container.startup_probe),
                    ("liveness-probe", &container.liveness_probe),
                    ("readiness-probe", &container.readiness_probe),
                ] {
                    @if let Some(of) = of { (fact(&lang.t(name), probe(lang, of))) }
                }
            }
            @if !container.env.is_empty() {
                h4 { (lang.t("env")) }
                dl .facts {
                    @for variable in &container.env {
                        (fact(&variable.name, html! { code { (variable.value) } }))
                    }
                }
            }
        }
    }
}

fn gpu(visit: &Visit, template: &RevisionTemplate, container: &Container) -> Markup {
    let lang = visit.lang;
    html! {
        @if container.has_gpu() {
            (fact(&lang.t("gpu-type"), html! {
                (template.gpu_type.as_ref().map_or_else(String::new, ToString::to_string))
                @if words::gpus_are_simulated(visit) { " " (words::simulated(lang)) }
            }))
            (fact(&lang.t("gpu-count"), container.gpu_count.unwrap_or(0)))
        } @else { (fact(&lang.t("gpu"), lang.t("none"))) }
    }
}

fn count(number: Option<u32>, none: &str) -> String {
    number.map_or_else(|| none.to_owned(), |number| number.to_string())
}

fn allocation(template: &RevisionTemplate) -> &'static str {
    if template.cpu_throttling.unwrap_or(true) { "cpu-during-requests" } else { "cpu-always" }
}

fn environment(template: &RevisionTemplate) -> &'static str {
    match template.execution_environment {
        Some(ExecutionEnvironment::Gen1) => "gen1",
        Some(ExecutionEnvironment::Gen2) => "gen2",
        None => "environment-default",
    }
}

fn protocol(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Http1 => "HTTP/1.1",
        Protocol::H2c => "HTTP/2",
    }
}

fn words_of(words: &[String]) -> Markup {
    html! { @for word in words { code { (word) } " " } }
}

/// What a probe tries and how often.
fn probe(lang: Lang, probe: &Probe) -> Markup {
    let port = |port: &Option<u32>| port.map_or_else(String::new, |port| format!(":{port}"));
    let what = match &probe.check {
        Check::Tcp { port: number } => format!("TCP {}", port(number)),
        Check::Http { path, port: number, .. } => {
            format!("HTTP {}{}", port(number), path.as_deref().unwrap_or("/"))
        }
        Check::Grpc { port: number, service } => {
            format!("gRPC {} {}", port(number), service.as_deref().unwrap_or_default())
        }
    };
    let often = lang.with(
        "probe-often",
        [
            ("delay", probe.initial_delay_seconds.unwrap_or(0)),
            ("period", probe.period_seconds.unwrap_or(10)),
            ("timeout", probe.timeout_seconds.unwrap_or(1)),
            ("failures", probe.failure_threshold.unwrap_or(3)),
        ],
    );
    html! { code { (what.trim()) } br; (often) }
}

fn volumes(lang: Lang, template: &RevisionTemplate) -> Markup {
    html! {
        @if template.volumes.is_empty() { p .empty { (lang.t("volumes-empty")) } }
        dl .facts {
            @for volume in &template.volumes {
                (fact(&volume.name, match &volume.source {
                    VolumeSource::EmptyDir { size_limit } => match size_limit {
                        Some(limit) => lang.with("volume-memory-limited", [("limit", limit.to_string())]),
                        None => lang.t("volume-memory").into_owned(),
                    },
                }))
            }
        }
        @for container in &template.containers {
            @for mount in &container.volume_mounts {
                p { code { (mount.mount_path) } " ← " (mount.name) " (" (container.name) ")" }
            }
        }
    }
}

fn networking(visit: &Visit, service: &Service, template: &RevisionTemplate) -> Markup {
    use homerun_model::service::IngressSetting;
    let lang = visit.lang;
    let ingress = match service.spec.ingress {
        None | Some(IngressSetting::All) => "ingress-all",
        Some(IngressSetting::Internal) => "ingress-internal",
        Some(IngressSetting::InternalAndCloudLoadBalancing) => "ingress-internal-lb",
    };
    let affinity = if template.session_affinity.unwrap_or(false) { "on" } else { "off" };
    html! {
        dl .facts {
            (fact(&lang.t("ingress"), lang.t(ingress)))
            (fact(&lang.t("session-affinity"), lang.t(affinity)))
        }
    }
}

fn security(lang: Lang, template: &RevisionTemplate) -> Markup {
    html! {
        dl .facts {
            (fact(&lang.t("service-account"), template.service_account.as_deref().unwrap_or("–")))
        }
    }
}
