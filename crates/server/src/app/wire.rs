//! Services as the v1 API writes them: the form in which every client, the console too, reads and writes them.

use homerun_api::error::ApiError;
use homerun_api::run_v1::{self, convert};
use homerun_model::names::{Project, Region, ServiceKey, ServiceName};
use homerun_model::service::Service;
use homerun_model::violation::Violation;

use crate::platform::Platform;
use crate::store::Versioned;

/// A service.
pub fn service(platform: &Platform, service: &Versioned<Service>) -> run_v1::Service {
    with_place(platform, service, convert::service_to_wire)
}

/// Renders a service, or a view of it, with what depends on where it is.
pub fn with_place<W>(
    platform: &Platform,
    service: &Versioned<Service>,
    render: impl Fn(&Service, &convert::Place<'_>) -> W,
) -> W {
    let key = &service.value.key;
    let tag_url = |tag: &str| platform.url(key, Some(tag));
    render(
        &service.value,
        &convert::Place {
            project_number: platform.project_number(&key.project),
            resource_version: service.version,
            url: platform.url(key, None),
            tag_url: &tag_url,
        },
    )
}

/// What a body asks for, and the service of this name that it is about.
///
/// # Errors
/// Every rule of the form that it breaks.
pub fn parse(
    project: &Project,
    region: Region,
    wire: run_v1::Service,
    name: &str,
) -> Result<(convert::ParsedService, ServiceKey), ApiError> {
    require_namespace(project, wire.metadata.as_ref())?;
    let (parsed, violations) = convert::service_from_wire(wire);
    if !violations.is_empty() {
        return Err(ApiError::InvalidArgument(violations));
    }
    Ok((parsed, ServiceKey { project: project.id.clone(), region, name: ServiceName::new(name) }))
}

/// Demands that an object's namespace, if it says one, is the project that its path names.
///
/// # Errors
/// `InvalidArgument`.
pub fn require_namespace(project: &Project, metadata: Option<&run_v1::ObjectMeta>) -> Result<(), ApiError> {
    let namespace = metadata.and_then(|metadata| metadata.namespace.as_deref()).unwrap_or_default();
    if namespace.is_empty() || namespace == project.id.as_str() || namespace == project.number.to_string() {
        return Ok(());
    }
    let message = format!("'{namespace}' must be the project of the URL: {} or {}.", project.id, project.number);
    Err(ApiError::InvalidArgument(vec![Violation::new("metadata.namespace", message)]))
}

/// Demands that a body that names a service names this one.
///
/// # Errors
/// `InvalidArgument`.
pub fn require_name(wire: &run_v1::Service, name: &str) -> Result<(), ApiError> {
    let given = wire.metadata.as_ref().and_then(|metadata| metadata.name.clone());
    if let Some(given) = given.filter(|given| !given.is_empty() && given != name) {
        let message = format!("The name in the body ('{given}') must be the name in the URL ('{name}').");
        return Err(ApiError::InvalidArgument(vec![Violation::new("metadata.name", message)]));
    }
    Ok(())
}
