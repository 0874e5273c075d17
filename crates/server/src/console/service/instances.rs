//! The instances of a service: their state, their GPU and how they started.

use homerun_api::own;
use homerun_model::service::Service;
use maud::{Markup, html};

use super::super::failure::Failure;
use super::super::lang::Lang;
use super::super::visit::Visit;
use super::super::words;
use crate::app;

pub(super) fn show(visit: &Visit, service: &Service) -> Result<Markup, Failure> {
    let lang = visit.lang;
    let instances = app::status::instances(visit.platform(), &service.key);
    Ok(html! {
        @if instances.is_empty() {
            div .empty.card {
                h2 { (lang.t("instances-empty")) }
                p { (lang.t("instances-empty-next")) }
                @if let Some(url) = visit.platform().reached_at(service) { pre { code { "curl " (url) } } }
            }
        } @else {
            div .scroll tabindex="0" role="region" aria-label=(lang.t("tab-instances")) {
                table {
                    thead {
                        tr {
                            th scope="col" { (lang.t("instance")) }
                            th scope="col" { (lang.t("state")) }
                            th scope="col" { (lang.t("revision")) }
                            th scope="col" { (lang.t("gpu")) }
                            th scope="col" .number { (lang.t("in-flight")) }
                            th scope="col" { (lang.t("since")) }
                            th scope="col" { (lang.t("start-receipt")) }
                        }
                    }
                    tbody { @for instance in &instances { (line(visit, instance)) } }
                }
            }
        }
    })
}

fn line(visit: &Visit, instance: &own::Instance) -> Markup {
    let lang = visit.lang;
    html! {
        tr #{ "i-" (instance.id) } {
            th scope="row" { code { (instance.id) } }
            td { (words::badge(lang, words::of_instance(&instance.state))) }
            td .name { (instance.revision) }
            td {
                @for gpu in &instance.gpus { code { (gpu) } " " }
                @if instance.gpus.is_empty() { "–" }
                @else if words::gpus_are_simulated(visit) { (words::simulated(lang)) }
            }
            td .number { (instance.in_flight) }
            td { (words::time(instance.since)) }
            td { (receipt(lang, instance)) }
        }
    }
}

/// How long each step of the start took.
fn receipt(lang: Lang, instance: &own::Instance) -> Markup {
    html! {
        @if let Some(total) = instance.start_millis { strong { (format!("{total:.0} ms")) } " " }
        @else { (lang.t("not-ready-yet")) " " }
        @for step in &instance.start {
            span .step { (lang.t(step_name(&step.step))) " " (format!("{:.0} ms", step.millis)) } " "
        }
    }
}

/// The text for a step of a start.
fn step_name(step: &str) -> &'static str {
    match step {
        "record" => "step-record",
        "prepare" => "step-prepare",
        "create" => "step-create",
        "wake" => "step-wake",
        _ => "step-start",
    }
}
