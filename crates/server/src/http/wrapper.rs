//! The one wrapper around every call: who may use this port, who calls, what was done, how long it took.

use std::net::SocketAddr;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use homerun_api::error::ApiError;
use homerun_model::names::Region;
use http::{HeaderMap, Method, Uri};

use super::Api;
use super::error::Failure;
use crate::audit::{self, Record};
use crate::auth;

/// First labels of the hosts that `homerun gcloud-env` gives gcloud; regional calls have `REGION-`
/// before them.
const API_HOSTS: [&str; 10] = [
    "run",
    "serviceusage",
    "logging",
    "iam",
    "iamcredentials",
    "cloudresourcemanager",
    "cloudquotas",
    "monitoring",
    "artifactregistry",
    "cloudbuild",
];

/// The region that a regional API host names, `us-central1` of `us-central1-run.localhost`.
#[derive(Debug, Clone)]
pub(super) struct HostRegion(pub(super) Option<Region>);

pub(super) async fn wrap(State(api): State<Api>, mut request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let mut email = String::new();
    let response = match admit(&api, request.uri(), request.method(), request.headers()).await {
        Ok((caller, region)) => {
            caller.email().clone_into(&mut email);
            request.extensions_mut().insert(caller);
            request.extensions_mut().insert(region);
            if method == Method::GET {
                next.run(request).await
            } else {
                let record = record(&api, &email, &method, &path);
                audit::during(record, next.run(request)).await
            }
        }
        Err(error) => error.into_response(),
    };
    let (status, micros) = (response.status().as_u16(), begun.elapsed().as_micros());
    if method == Method::GET {
        tracing::debug!(%method, path, status, caller = email, micros, "call");
    } else {
        tracing::info!(%method, path, status, caller = email, micros, "call");
    }
    response
}

fn record(api: &Api, by: &str, verb: &Method, path: &str) -> Record {
    Record {
        at: api.platform.clock.now(),
        by: by.to_owned(),
        verb: verb.to_string(),
        path: path.to_owned(),
        project: project_of(api, path),
    }
}

/// Id of the project that a path names; that of the installation's own where it names none.
fn project_of(api: &Api, path: &str) -> String {
    let mut segments = path.split('/').skip_while(|segment| !["projects", "namespaces"].contains(segment)).skip(1);
    let named = segments.next().and_then(|segment| segment.split(':').next()).unwrap_or_default();
    match api.platform.store.project(named) {
        Ok(Some(found)) => found.project.id.to_string(),
        _ => api.platform.config.project.id.clone(),
    }
}

/// Refuses what is for other hosts, whatever its path.
pub(super) async fn refuse_foreign(State(control): State<SocketAddr>, request: Request, next: Next) -> Response {
    match own_host(request.uri(), request.method(), control) {
        Ok(_) => next.run(request).await,
        Err(refused) => refused.into_response(),
    }
}

/// Everything of Cloud Run needs its API to be enabled in the project (row G23).
pub(super) async fn require_run_api(
    place: super::path::Place,
    request: Request,
    next: Next,
) -> Result<Response, Failure> {
    crate::app::projects::require_api(&place.project.id, &place.enabled_apis, "run.googleapis.com")?;
    Ok(next.run(request).await)
}

async fn admit(
    api: &Api,
    uri: &Uri,
    method: &Method,
    headers: &HeaderMap,
) -> Result<(auth::Caller, HostRegion), Failure> {
    let region = own_host(uri, method, api.control)?;
    let caller = match auth::bearer(headers) {
        Some(token) => api.auth.caller(token).await,
        None => None,
    };
    Ok((caller.ok_or(Failure(ApiError::Unauthenticated))?, HostRegion(region)))
}

/// gcloud sends whole URLs, as to a proxy. Only homerun's own API hosts are answered, so this port is
/// never an open proxy.
fn own_host(uri: &Uri, method: &Method, control: SocketAddr) -> Result<Option<Region>, Failure> {
    let foreign = |host: &str| {
        Failure(ApiError::FailedPrecondition(format!(
            "{host} is not an API host of homerun; this port is no proxy for other hosts"
        )))
    };
    if method == Method::CONNECT {
        return Err(foreign(uri.authority().map_or("it", |authority| authority.as_str())));
    }
    let Some(host) = uri.host() else {
        return Ok(None);
    };
    if host.parse().is_ok_and(|ip: std::net::IpAddr| ip == control.ip()) || host == "localhost" {
        return Ok(None);
    }
    let label = host.strip_suffix(".localhost").ok_or_else(|| foreign(host))?;
    for name in API_HOSTS {
        match label.strip_suffix(name) {
            Some("") => return Ok(None),
            Some(region) if region.ends_with('-') => {
                return Ok(Some(Region::new(&region[..region.len() - 1])));
            }
            _ => {}
        }
    }
    Err(foreign(host))
}
