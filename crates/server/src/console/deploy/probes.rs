//! The probes of the form.

use maud::{Markup, html};

use super::draft::CHECKS;
use super::form::{Form, id};
use super::path;

/// The probes of a container: their fields in the API, and their texts.
pub(super) const KINDS: [(&str, &str); 3] =
    [("startupProbe", "startup-probe"), ("livenessProbe", "liveness-probe"), ("readinessProbe", "readiness-probe")];

/// A probe's type, and the fields that go with it.
pub(super) fn one(form: &Form<'_>, probe: &str, name: &str) -> Markup {
    let lang = form.lang;
    let document = &form.draft.0;
    let kind = CHECKS.into_iter().find(|check| path::get(document, &format!("{probe}.{check}")).is_some());
    let menu = format!("{probe}.kind");
    let unset = if name == "startup-probe" { "probe-default" } else { "probe-none" };
    let startup_only = |check: &str| check == "tcpSocket" && name != "startup-probe";
    html! {
        fieldset .probe id=(id(probe)) {
            legend { (lang.t(name)) }
            (form.wrong(probe))
            @if let Some(kind) = kind { (form.wrong(&format!("{probe}.{kind}"))) }
            div .field {
                label for=(id(&menu)) { (lang.t("probe-type")) }
                select id=(id(&menu)) name=(menu) data-refresh {
                    option value="" { (lang.t(unset)) }
                    @for check in CHECKS.into_iter().filter(|check| !startup_only(check) || kind == Some(*check)) {
                        option value=(check) selected[kind == Some(check)] { (lang.t(text(check))) }
                    }
                }
            }
            @if let Some(kind) = kind { (fields(form, probe, kind, name)) }
        }
    }
}

fn text(check: &str) -> &'static str {
    match check {
        "httpGet" => "probe-http",
        "grpc" => "probe-grpc",
        _ => "probe-tcp",
    }
}

fn fields(form: &Form<'_>, probe: &str, kind: &str, name: &str) -> Markup {
    html! {
        div .columns {
            @if kind == "httpGet" { (form.text(&format!("{probe}.httpGet.path"), "probe-path", None)) }
            (form.number(&format!("{probe}.{kind}.port"), "port", None))
            @if kind == "grpc" { (form.text(&format!("{probe}.grpc.service"), "probe-service", None)) }
            (form.number(&format!("{probe}.initialDelaySeconds"), "probe-delay", None))
            (form.number(&format!("{probe}.periodSeconds"), "probe-period", None))
            (form.number(&format!("{probe}.timeoutSeconds"), "probe-timeout", None))
            (form.number(&format!("{probe}.failureThreshold"), "probe-failures", None))
            @if name == "readiness-probe" {
                (form.number(&format!("{probe}.successThreshold"), "probe-successes", None))
            }
        }
    }
}
