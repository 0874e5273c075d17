//! The control port: parse, delegate, wrap.
//!
//! Every call passes the one wrapper in [`wrapper`], which refuses foreign proxy requests,
//! authenticates, audits and times. Handlers are thin; `app` decides.

mod error;
mod iam;
mod locations;
mod logging;
mod own;
mod path;
mod projects;
mod revisions;
mod service_usage;
mod services;
mod wrapper;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};
use tokio::net::TcpListener;

use crate::auth::Auth;
use crate::platform::Platform;

/// What handlers share.
#[derive(Clone)]
pub struct Api {
    /// The platform.
    pub platform: Arc<Platform>,
    auth: Arc<Auth>,
    control: SocketAddr,
}

/// Every path that is served.
pub fn router(platform: Arc<Platform>, auth: Arc<Auth>, control: SocketAddr) -> Router {
    let api = Api { platform, auth, control };
    let knative = "/apis/serving.knative.dev/v1/namespaces/{project}";
    let located = "/v1/projects/{project}/locations/{location}";
    let mut router = Router::new();
    for base in [knative, located] {
        router = router
            .route(&format!("{base}/services"), get(services::list).post(services::create))
            .route(
                &format!("{base}/services/{{name}}"),
                get(services::get).put(services::replace).delete(services::delete).post(iam::post),
            )
            .route(&format!("{base}/revisions"), get(revisions::list))
            .route(&format!("{base}/revisions/{{name}}"), get(revisions::get));
    }
    router
        .route("/v1/projects/{project}", get(projects::get))
        .route("/v1/projects/{project}/locations", get(locations::list))
        .route("/v1/projects/{project}/services/{service}", get(service_usage::get).post(service_usage::enable))
        .route("/v2/entries:list", post(logging::list))
        .route("/homerun/v1/status", get(own::status))
        .route("/homerun/v1/images", get(own::images))
        .route("/homerun/v1/images:import", post(own::import))
        .fallback(error::unserved)
        .method_not_allowed_fallback(error::unserved)
        .layer(axum::middleware::from_fn_with_state(api.clone(), wrapper::wrap))
        .route("/readyz", get(|| async { "ok\n" }))
        .with_state(api)
}

/// Serves the control port until the task is dropped.
pub async fn serve(listener: TcpListener, router: Router) {
    if let Err(error) = axum::serve(listener, router).await {
        tracing::error!(%error, "the control port has failed");
    }
}
