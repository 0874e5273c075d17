//! The control port: parse, delegate, wrap.
//!
//! Every call passes the one wrapper in [`wrapper`], which refuses foreign proxy requests,
//! authenticates, audits and times. Handlers are thin; `app` decides.

mod accounts;
mod budgets;
mod domains;
mod error;
mod iam;
mod list;
mod locations;
mod logging;
mod metrics;
mod operations;
mod own;
mod path;
mod projects;
mod quotas;
mod revisions;
mod service_usage;
mod services;
mod usage;
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

/// The version of the v1 API's objects.
const RUN_API: &str = "serving.knative.dev/v1";

/// Every path that is served: the API's, and `others`, which know callers by other means.
pub fn router(platform: Arc<Platform>, auth: Arc<Auth>, control: SocketAddr, others: Router) -> Router {
    let api = Api { platform, auth, control };
    run(&api)
        .merge(iam_routes())
        .merge(quotas::routes())
        .route("/v1/projects/{project}", get(projects::get).post(projects::post))
        .route("/v1/projects/{project}/services", get(service_usage::list))
        .route("/v1/projects/{project}/services:batchEnable", post(service_usage::batch_enable))
        .route("/v1/projects/{project}/services/{name}", get(service_usage::get).post(service_usage::post))
        .route("/v2/entries:list", post(logging::list))
        .route("/homerun/v1/status", get(own::status))
        .route("/homerun/v1/projects/{project}/audit", get(own::audit_log))
        .route("/homerun/v1/projects/{project}/metrics", get(metrics::of_project))
        .route("/homerun/v1/usage", get(usage::of_all))
        .route("/homerun/v1/usage:focus", get(usage::focus_of_all))
        .route("/homerun/v1/projects/{project}/usage", get(usage::of_project))
        .route("/homerun/v1/projects/{project}/usage:focus", get(usage::focus_of_project))
        .route("/homerun/v1/projects/{project}/usage:instances", get(usage::instances))
        .route("/homerun/v1/prices", get(usage::prices))
        .route("/homerun/v1/projects/{project}/budgets", get(budgets::list))
        .route(
            "/homerun/v1/projects/{project}/budgets/{name}",
            get(budgets::get).put(budgets::put).delete(budgets::delete),
        )
        .route("/homerun/v1/images", get(own::images))
        .route("/homerun/v1/images:import", post(own::import))
        .route("/homerun/v1/tokens", post(own::token))
        .route("/homerun/v1/keys:rotate", post(own::rotate_keys))
        .fallback(error::unserved)
        .method_not_allowed_fallback(error::unserved)
        .layer(axum::middleware::from_fn_with_state(api.clone(), wrapper::wrap))
        .route("/readyz", get(|| async { "ok\n" }))
        .route("/.well-known/openid-configuration", get(own::openid_configuration))
        .route("/oauth2/v3/certs", get(own::public_keys))
        .with_state(api)
        .merge(others)
        .layer(axum::middleware::from_fn_with_state(control, wrapper::refuse_foreign))
}

/// The v1 API, by both of its path families. All of it needs the API to be enabled in the project.
fn run(api: &Api) -> Router<Api> {
    let knative = "/apis/serving.knative.dev/v1/namespaces/{project}";
    let located = "/v1/projects/{project}/locations/{location}";
    let domains = "/apis/domains.cloudrun.com/v1/namespaces/{project}";
    let mut router = Router::new();
    for base in [knative, located] {
        router = router
            .route(&format!("{base}/services"), get(services::list).post(services::create))
            .route(
                &format!("{base}/services/{{name}}"),
                get(services::get).put(services::replace).delete(services::delete).post(services::post),
            )
            .route(&format!("{base}/configurations"), get(services::list_configurations))
            .route(&format!("{base}/configurations/{{name}}"), get(services::configuration))
            .route(&format!("{base}/routes"), get(services::list_routes))
            .route(&format!("{base}/routes/{{name}}"), get(services::route))
            .route(&format!("{base}/revisions"), get(revisions::list))
            .route(&format!("{base}/revisions/{{name}}"), get(revisions::get).delete(revisions::delete));
    }
    for base in [domains, located] {
        router = router
            .route(&format!("{base}/domainmappings"), get(domains::list).post(domains::create))
            .route(&format!("{base}/domainmappings/{{name}}"), get(domains::get).delete(domains::delete));
    }
    for base in [domains, located, "/v1/projects/{project}"] {
        router = router.route(&format!("{base}/authorizeddomains"), get(domains::authorized));
    }
    router
        .route(&format!("{located}/operations"), get(operations::list))
        .route(
            &format!("{located}/operations/{{name}}"),
            get(operations::get).delete(operations::delete).post(operations::post),
        )
        .route("/v1/projects/{project}/locations", get(locations::list))
        .route_layer(axum::middleware::from_fn_with_state(api.clone(), wrapper::require_run_api))
}

/// IAM and IAM Credentials.
fn iam_routes() -> Router<Api> {
    Router::new()
        .route("/v1/projects/{project}/serviceAccounts", get(accounts::list).post(accounts::create))
        .route(
            "/v1/projects/{project}/serviceAccounts/{account}",
            get(accounts::get)
                .patch(accounts::update)
                .put(accounts::update)
                .delete(accounts::delete)
                .post(accounts::post),
        )
        .route("/v1/roles", get(accounts::list_roles))
        .route("/v1/roles/{name}", get(accounts::get_role))
}

/// Serves the control port until the task is dropped.
pub async fn serve(listener: TcpListener, router: Router) {
    if let Err(error) = axum::serve(listener, router).await {
        tracing::error!(%error, "the control port has failed");
    }
}
