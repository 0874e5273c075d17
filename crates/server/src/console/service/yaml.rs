//! A service as YAML.

use homerun_api::error::ApiError;
use homerun_model::service::Service;
use maud::{Markup, html};

use super::super::failure::Failure;
use super::super::visit::Visit;
use crate::app;
use crate::store::Versioned;

pub(super) fn show(visit: &Visit, service: &Versioned<Service>) -> Result<Markup, Failure> {
    let yaml = text(visit, service)?;
    Ok(html! {
        pre .yaml tabindex="0" aria-label=(visit.lang.t("tab-yaml")) { code { (yaml) } }
    })
}

/// The service as the API gives it.
fn text(visit: &Visit, service: &Versioned<Service>) -> Result<String, Failure> {
    let wire = app::wire::service(visit.platform(), service);
    let yaml = serde_saphyr::to_string(&wire);
    Ok(yaml.map_err(|error| ApiError::Internal(format!("the service cannot be written as YAML: {error}")))?)
}
