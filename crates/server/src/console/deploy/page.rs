//! The form as a page.

use maud::{Markup, html};

use super::draft::{
    AFFINITY, BOOST, CONTAINERS, CPU_THROTTLING, ENVIRONMENT, INGRESS, NAME, REVISION, VERSION, VOLUMES,
};
use super::form::{Form, Input, named};
use super::{Around, Entry, containers, gpu};
use crate::console::layout;
use crate::console::visit::Visit;

/// The sections below the settings of the service: their ids and texts.
const SECTIONS: [(&str, &str); 4] = [
    ("containers", "tab-containers"),
    ("volumes", "tab-volumes"),
    ("networking", "tab-networking"),
    ("security", "tab-security"),
];

/// Bounds of a service's instances.
const SERVICE_INSTANCES: [&str; 2] =
    ["metadata.annotations[run.googleapis.com/minScale]", "metadata.annotations[run.googleapis.com/maxScale]"];
/// Bounds of a revision's instances.
const REVISION_INSTANCES: [&str; 2] = [
    "spec.template.metadata.annotations[autoscaling.knative.dev/minScale]",
    "spec.template.metadata.annotations[autoscaling.knative.dev/maxScale]",
];
const IDLE: &str = "spec.template.metadata.annotations[homerun.dev/idle-timeout]";
const ACCOUNT: &str = "spec.template.spec.serviceAccountName";

/// Everything below the heading.
pub(super) fn show(visit: &Visit, form: &Form<'_>, around: &Around<'_>, entry: &Entry) -> Markup {
    let lang = visit.lang;
    let filled = entry.gpu_filled_in.then(|| gpu::info(form.draft, around.inventory)).flatten();
    let fields = html! {
        @if around.stored { (revision(form, entry)) } @else { (service(visit, form, around, entry)) }
        @let open = around.stored || entry.sent || form.is_wrong("spec.template");
        details .more #more open[open] {
            summary { (lang.t("deploy-more")) }
            nav .tabs aria-label=(lang.t("deploy-more")) {
                ul { @for (id, text) in SECTIONS { li { a href={ "#" (id) } { (lang.t(text)) } } } }
            }
            h2 #containers { (lang.t("tab-containers")) }
            (containers::all(form, around))
            h3 { (lang.t("revision-settings")) }
            (settings(form, around))
            h2 #volumes { (lang.t("tab-volumes")) }
            (volumes(form))
            h2 #networking { (lang.t("tab-networking")) }
            (form.tick(named(AFFINITY, "session-affinity").hint(Some(&lang.t("session-affinity-hint"))), form.draft.text(AFFINITY) == "true", false))
            @if around.stored { (ingress(form)) }
            h2 #security { (lang.t("tab-security")) }
            (account(form, around))
        }
    };
    html! {
        (form.summary())
        @if let Some(info) = filled {
            p .message.busy role="status" {
                (lang.with("gpu-filled-in", [("type", info.name.to_string())]))
            }
        }
        form .deploy method="post" {
            // The first button is the one that the Enter key presses.
            button .unscripted type="submit" name="do" value="refresh" formnovalidate { (lang.t("refresh")) }
            (layout::form_secret(visit))
            input type="hidden" name=(VERSION) value=(form.draft.text(VERSION));
            (fields)
            div .actions {
                button .primary type="submit" name="do" value="deploy" {
                    (lang.t(if around.stored { "deploy" } else { "create" }))
                }
                a .button href=(around.back) { (lang.t("cancel")) }
            }
        }
    }
}

/// An image, with those that are here already.
pub(super) fn image(form: &Form<'_>, around: &Around<'_>, index: usize) -> Markup {
    let path = format!("{CONTAINERS}[{index}].image");
    let hint = form.lang.t(if around.images.is_empty() { "image-hint" } else { "image-hint-local" });
    let list = format!("images-{index}");
    html! {
        (form.field(named(&path, "image-url").hint(Some(&hint)), |Input { id, by, wrong }| html! {
            input id=(id) type="text" name=(path) value=(form.draft.text(&path)) list=(list) aria-describedby=[by]
                aria-invalid=[wrong] autocomplete="off" spellcheck="false" autocapitalize="off";
            datalist id=(list) { @for image in &around.images { option value=(image) {} } }
        }))
    }
}

/// What a new service is.
fn service(visit: &Visit, form: &Form<'_>, around: &Around<'_>, entry: &Entry) -> Markup {
    let lang = visit.lang;
    html! {
        fieldset {
            legend { (lang.t("service-settings")) }
            (image(form, around, 0))
            (form.text(NAME, "service-name", Some(&lang.t("service-name-hint"))))
            div .field {
                label for="deploy-region" { (lang.t("region")) }
                select #deploy-region name="region" data-refresh {
                    @for region in &around.regions {
                        option value=(region) selected[*region == around.region] { (region) }
                    }
                }
            }
            @if visit.may("run.services.setIamPolicy") { (authentication(form, entry)) }
            (allocation(form))
            fieldset .choice {
                legend { (lang.t("service-scaling")) }
                div .columns {
                    (form.number(SERVICE_INSTANCES[0], "min-instances", None))
                    (form.number(SERVICE_INSTANCES[1], "max-instances", None))
                }
            }
            (ingress(form))
        }
    }
}

fn authentication(form: &Form<'_>, entry: &Entry) -> Markup {
    let lang = form.lang;
    html! {
        fieldset .choice {
            legend { (lang.t("authentication")) }
            div .inline {
                input #auth-public type="radio" name="authentication" value="public" checked[entry.public];
                label for="auth-public" { (lang.t("auth-public")) }
            }
            div .inline {
                input #auth-required type="radio" name="authentication" value="required" checked[!entry.public]
                    aria-describedby="auth-hint";
                label for="auth-required" { (lang.t("auth-required")) }
            }
            p .hint #auth-hint { (lang.t("auth-hint")) }
        }
    }
}

/// CPU allocation, and why a GPU leaves no choice.
fn allocation(form: &Form<'_>) -> Markup {
    let lang = form.lang;
    let hint = lang.t(if gpu::owner(form.draft).is_some() { "cpu-allocation-gpu" } else { "cpu-allocation-hint" });
    let choices = [("true", "cpu-during-requests"), ("false", "cpu-always")];
    form.radios(named(CPU_THROTTLING, "cpu-allocation").hint(Some(&hint)), &choices, "true")
}

fn ingress(form: &Form<'_>) -> Markup {
    let choices = [
        ("all", "ingress-all"),
        ("internal", "ingress-internal"),
        ("internal-and-cloud-load-balancing", "ingress-internal-lb"),
    ];
    form.radios(named(INGRESS, "ingress"), &choices, "all")
}

/// How a stored service takes its new revision.
fn revision(form: &Form<'_>, entry: &Entry) -> Markup {
    let lang = form.lang;
    html! {
        fieldset {
            legend { (lang.t("revision-new")) }
            (form.text(REVISION, "revision-name", Some(&lang.t("revision-name-hint"))))
            @if let Some(serve) = entry.serve {
                div .inline {
                    input #serve type="checkbox" name="serve" value="true" checked[serve] aria-describedby="serve-hint";
                    label for="serve" { (lang.t("serve-immediately")) }
                }
                p .hint #serve-hint { (lang.t("serve-immediately-hint")) }
            }
        }
    }
}

/// What concerns all containers of a revision.
fn settings(form: &Form<'_>, around: &Around<'_>) -> Markup {
    let lang = form.lang;
    let gpu = gpu::owner(form.draft).is_some();
    let environments = [("", "environment-default"), ("gen1", "gen1"), ("gen2", "gen2")];
    let environments = environments.map(|(value, text)| (value.to_owned(), lang.t(text).into_owned()));
    let quota = containers::quota(form, around);
    let environment = gpu.then(|| lang.t("environment-gpu"));
    html! {
        fieldset {
            legend { (lang.t("requests")) }
            div .columns {
                (form.number("spec.template.spec.timeoutSeconds", "request-timeout-seconds", None))
                (form.number("spec.template.spec.containerConcurrency", "concurrency", None))
            }
        }
        @if around.stored { (allocation(form)) }
        (form.menu(named(ENVIRONMENT, "execution-environment").hint(environment.as_deref()), &environments, false))
        (form.tick(named(BOOST, "startup-cpu-boost").hint(Some(&lang.t("startup-cpu-boost-hint"))), form.draft.text(BOOST) == "true", false))
        @if around.stored {
            fieldset {
                legend { (lang.t("service-scaling")) }
                div .columns {
                    (form.number(SERVICE_INSTANCES[0], "min-instances", None))
                    (form.number(SERVICE_INSTANCES[1], "max-instances", None))
                }
            }
        }
        fieldset {
            legend { (lang.t("revision-scaling")) }
            div .columns {
                (form.number(REVISION_INSTANCES[0], "min-instances", None))
                (form.number(REVISION_INSTANCES[1], "max-instances", quota.as_deref()))
                (form.text(IDLE, "idle-timeout", Some(&lang.t("idle-timeout-hint"))))
            }
        }
    }
}

fn volumes(form: &Form<'_>) -> Markup {
    html! {
        p .hint { (form.lang.t("volumes-hint")) }
        (form.rows(VOLUMES, "volume-memory", "row-add-volume", |row, _| html! {
            (form.text(&format!("{row}.name"), "volume-name", None))
            (form.text(&format!("{row}.emptyDir.sizeLimit"), "size-limit", None))
        }))
    }
}

/// The identity of instances: one of those that the visitor may see, else any by its email.
fn account(form: &Form<'_>, around: &Around<'_>) -> Markup {
    let hint = form.lang.t("service-account-hint");
    match &around.accounts {
        None => form.text(ACCOUNT, "service-account", Some(&hint)),
        Some(accounts) => {
            let unset = std::iter::once((String::new(), form.lang.t("service-account-default").into_owned()));
            let choices: Vec<(String, String)> =
                unset.chain(accounts.iter().map(|email| (email.clone(), email.clone()))).collect();
            form.menu(named(ACCOUNT, "service-account").hint(Some(&hint)), &choices, false)
        }
    }
}
