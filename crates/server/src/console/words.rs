//! How things are shown: states, times, GPUs.

use homerun_model::Timestamp;
use homerun_model::billing::Money;
use homerun_model::condition::{self, Condition, ConditionType, Status};
use homerun_model::names::{ProjectId, Region, ServiceKey};
use homerun_model::revision::{Phase, Revision, RevisionTemplate};
use homerun_model::service::Service;
use maud::{Markup, html};

use super::lang::Lang;
use super::visit::Visit;

/// A state: its class and the name of its text.
pub(super) type State = (&'static str, &'static str);

/// The state of a service.
pub(super) fn of_service(service: &Service) -> State {
    if service.deleted_at.is_some() {
        return ("busy", "state-deleting");
    }
    of_condition(condition::get(&service.status.conditions, ConditionType::Ready))
}

fn of_condition(ready: Option<&Condition>) -> State {
    match ready.map(|ready| ready.status) {
        Some(Status::True) => ("good", "state-ready"),
        Some(Status::False) => ("bad", "state-failed"),
        Some(Status::Unknown) | None => ("busy", "state-deploying"),
    }
}

/// The state of a revision.
pub(super) fn of_revision(revision: &Revision) -> State {
    match revision.phase {
        Phase::Deploying => ("busy", "state-deploying"),
        Phase::Ready => ("good", "state-ready"),
        Phase::Failed => ("bad", "state-failed"),
    }
}

/// The state of an instance, by its word in the API.
pub(super) fn of_instance(state: &str) -> State {
    match state {
        "creating" => ("busy", "instance-creating"),
        "starting" => ("busy", "instance-starting"),
        "ready" => ("good", "instance-ready"),
        "unready" => ("bad", "instance-unready"),
        "draining" => ("idle", "instance-draining"),
        "stopping" => ("idle", "instance-stopping"),
        "stopped" => ("idle", "instance-stopped"),
        _ => ("bad", "instance-failed"),
    }
}

/// A state as it is shown: by a mark, whose form tells it too, and a word.
pub(super) fn badge(lang: Lang, (class, text): State) -> Markup {
    let mark = match class {
        "good" => "✓",
        "bad" => "✕",
        "busy" => "…",
        _ => "–",
    };
    html! { span class={ "badge " (class) } { span aria-hidden="true" { (mark) } " " (lang.t(text)) } }
}

/// Why a service is not ready, or what is being done.
pub(super) fn why(service: &Service) -> Option<&str> {
    let ready = condition::get(&service.status.conditions, ConditionType::Ready)?;
    (ready.status != Status::True && !ready.message.is_empty()).then_some(ready.message.as_str())
}

/// A time; the browser shows it in its own time zone.
pub(super) fn time(time: Timestamp) -> Markup {
    html! {
        time datetime=(time.format("%Y-%m-%dT%H:%M:%S%.3fZ")) { (time.format("%Y-%m-%d %H:%M:%S")) " UTC" }
    }
}

/// Whether what is read from GPUs here is simulated.
pub(super) fn gpus_are_simulated(visit: &Visit) -> bool {
    visit.platform().backend.devices().iter().any(|device| device.simulated)
}

/// The GPUs of each instance, as people say it; simulated ones say so.
pub(super) fn gpu(visit: &Visit, template: &RevisionTemplate) -> Option<Markup> {
    let count: u32 = template.containers.iter().filter_map(|container| container.gpu_count).sum();
    let kind = template.gpu_type.as_ref()?;
    (count > 0).then(|| {
        html! {
            (count) " × " (kind)
            @if gpus_are_simulated(visit) { " " (simulated(visit.lang)) }
        }
    })
}

/// An amount of money, rounded; the files have it exactly.
pub(super) fn money(visit: &Visit, money: Money) -> String {
    const NANOS_OF_LAST: i128 = 100_000;
    let sign = if money.0 < 0 { "-" } else { "" };
    let rounded = (money.0.abs() + NANOS_OF_LAST / 2) / NANOS_OF_LAST;
    format!("{sign}{}.{:04} {}", rounded / 10_000, rounded % 10_000, visit.platform().prices.list().currency)
}

/// What marks a simulated thing.
pub(super) fn simulated(lang: Lang) -> Markup {
    html! { span .tag title=(lang.t("simulated-why")) { (lang.t("simulated")) } }
}

/// The path of a service's page.
pub(super) fn path(key: &ServiceKey, below: &str) -> String {
    let page = format!("/console/{}/services/{}/{}", key.project, key.region, key.name);
    if below.is_empty() { page } else { format!("{page}/{below}") }
}

/// The API's path of a region's services: changes are recorded under the path that they have there.
pub(super) fn api_path(project: &ProjectId, region: &Region) -> String {
    format!("/v1/projects/{project}/locations/{region}/services")
}
