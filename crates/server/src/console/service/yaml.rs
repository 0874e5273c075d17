//! A service as YAML.

use homerun_api::error::ApiError;
use homerun_api::run_v1;
use homerun_model::iam::Resource;
use homerun_model::service::Service;
use maud::{Markup, html};

use super::super::failure::Failure;
use super::super::visit::Visit;
use super::super::words;
use crate::app;
use crate::store::Versioned;

pub(super) fn show(visit: &Visit, service: &Versioned<Service>) -> Result<Markup, Failure> {
    let yaml = text(&app::wire::service(visit.platform(), service))?;
    let key = &service.value.key;
    Ok(html! {
        @if visit.may_on("run.services.update", &Resource::Service(key.clone())) {
            p { a .button href=(words::path(key, "yaml/edit")) { (visit.lang.t("yaml-edit")) } }
        }
        pre .yaml tabindex="0" aria-label=(visit.lang.t("tab-yaml")) { code { (yaml) } }
    })
}

/// The service without what only homerun writes.
pub(super) fn editable(visit: &Visit, service: &Versioned<Service>) -> Result<String, Failure> {
    let wire = app::wire::service(visit.platform(), service);
    text(&run_v1::Service { status: None, ..wire })
}

fn text(wire: &run_v1::Service) -> Result<String, Failure> {
    let yaml = serde_saphyr::to_string(wire);
    Ok(yaml.map_err(|error| ApiError::Internal(format!("the service cannot be written as YAML: {error}")))?)
}
