//! The GPUs: which instance holds which since when, and who waits for one.

use axum::response::Response;
use homerun_model::iam::Resource;
use homerun_model::names::ServiceKey;
use maud::{Markup, html};

use super::failure::Failure;
use super::layout::{Page, Section};
use super::visit::Visit;
use super::words;
use crate::app::gpus::{self, Gpu, Holder, Waiting};

pub(super) async fn page(visit: Visit) -> Result<Response, Failure> {
    let lang = visit.lang;
    let all = gpus::held(visit.platform(), visit.caller(), &visit.project.id)?;
    let waiting = gpus::waiting(visit.platform(), visit.caller(), &visit.project.id)?;
    let title = lang.t("gpus").into_owned();
    let free = all.iter().filter(|gpu| gpu.holder.is_none()).count();
    let content = html! {
        div .heading {
            h1 { (title) }
            @if visit.may(Section::Quotas.needs()) {
                div .actions { a .button href=(visit.path("quotas")) { (lang.t("quotas")) } }
            }
        }
        @if all.is_empty() {
            div .empty.card {
                h2 { (lang.t("gpus-empty")) }
                p { (lang.t("gpus-empty-next")) }
                pre { code { "homerun up --gpu simulated:nvidia-l4=1" } }
            }
        } @else {
            p .count { (lang.with("gpus-count", [("free", free), ("total", all.len())])) }
            (devices(&visit, &all))
        }
        h2 { (lang.t("gpus-waiting")) }
        @if waiting.is_empty() { p .empty { (lang.t("gpus-waiting-empty")) } }
        @else { (queue(&visit, &waiting)) }
    };
    Ok(Page { title, section: Section::Gpus, live: true, content }.show(&visit))
}

fn devices(visit: &Visit, all: &[Gpu]) -> Markup {
    let lang = visit.lang;
    html! {
        div .scroll tabindex="0" role="region" aria-label=(lang.t("gpus")) {
            table {
                thead {
                    tr {
                        th scope="col" { (lang.t("gpu")) }
                        th scope="col" { (lang.t("gpu-type")) }
                        th scope="col" { (lang.t("gpu-product")) }
                        th scope="col" .number { (lang.t("memory")) }
                        th scope="col" { (lang.t("service")) }
                        th scope="col" { (lang.t("revision")) }
                        th scope="col" { (lang.t("instance")) }
                        th scope="col" { (lang.t("held-since")) }
                    }
                }
                tbody { @for gpu in all { (device(visit, gpu)) } }
            }
        }
    }
}

fn device(visit: &Visit, Gpu { device, holder }: &Gpu) -> Markup {
    let lang = visit.lang;
    html! {
        tr #{ "g-" (device.id) } {
            th scope="row" { code { (device.id) } }
            td { (device.gpu_type) @if device.simulated { " " (words::simulated(lang)) } }
            td { (device.product) }
            td .number { (format!("{:.0} GiB", device.memory_bytes as f64 / f64::from(1 << 30))) }
            @match holder {
                None => { td colspan="3" { (words::badge(lang, ("good", "gpu-free"))) } td { "–" } }
                Some(Holder { since, instance: None }) => {
                    td colspan="3" { (lang.t("gpu-elsewhere")) }
                    td { (words::time(*since)) }
                }
                Some(Holder { since, instance: Some(instance) }) => {
                    td { (service(visit, &instance.service)) }
                    td { (instance.revision.name) }
                    td { code { (instance.id) } }
                    td { (words::time(*since)) }
                }
            }
        }
    }
}

/// A service by its name, with its project if that is another, and a link if the visitor may follow it.
fn service(visit: &Visit, key: &ServiceKey) -> Markup {
    html! {
        @if visit.may_on("run.services.get", &Resource::Service(key.clone())) {
            a href=(words::path(key, "instances")) { (key.name) }
        } @else { (key.name) }
        @if key.project != visit.project.id { " " span .tag { (key.project) } }
    }
}

fn queue(visit: &Visit, waiting: &[Waiting]) -> Markup {
    let lang = visit.lang;
    html! {
        div .scroll tabindex="0" role="region" aria-label=(lang.t("gpus-waiting")) {
            table {
                thead {
                    tr {
                        th scope="col" { (lang.t("service")) }
                        th scope="col" { (lang.t("revision")) }
                        th scope="col" { (lang.t("waits-since")) }
                        th scope="col" { (lang.t("reason")) }
                    }
                }
                tbody {
                    @for one in waiting {
                        tr #{ "w-" (one.revision.name) } {
                            th scope="row" {
                                @if let Some(key) = &one.service { (service(visit, key)) } @else { "–" }
                            }
                            td { (one.revision.name) }
                            td { (words::time(one.since)) }
                            td { (one.message) }
                        }
                    }
                }
            }
        }
    }
}
