//! The console: what the API can do, for people who would rather look and click.
//!
//! Pages are made here, by the same `app` layer that the API calls, so that a rule says the same everywhere. They work
//! without a script; the script keeps them up to date ([`live`]) and saves reloading a form that changes while it is
//! filled in.

mod activity;
mod assets;
mod confirm;
mod delete;
mod deploy;
mod failure;
mod fields;
mod gpus;
mod lang;
mod layout;
mod live;
mod plot;
mod quotas;
mod service;
mod services;
mod sign_in;
mod usage;
mod visit;
mod words;

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{Redirect, Response};
use axum::routing::{get, post};
use http::{HeaderName, HeaderValue, header};
use tokio::sync::Semaphore;
use tower_http::compression::CompressionLayer;

use crate::auth::Auth;
use crate::platform::Platform;

/// What pages share.
#[derive(Clone)]
pub struct Console {
    platform: Arc<Platform>,
    auth: Arc<Auth>,
    /// One for each page that may be followed at a time.
    followers: Arc<Semaphore>,
}

/// Nothing from elsewhere, no script or style but the console's own files, no frame around it.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
     connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Every path of the console.
pub fn router(platform: Arc<Platform>, auth: Arc<Auth>) -> Router {
    let console = Console { platform, auth, followers: Arc::new(Semaphore::new(live::MOST)) };
    let of_service = "/{project}/services/{region}/{service}";
    let pages = Router::new()
        .route("/", get(visit::home))
        .route("/{project}", get(visit::project_home))
        .route("/{project}/services", get(services::list))
        .route("/{project}/services/new", get(deploy::new).post(deploy::create))
        .route(of_service, get(service::overview))
        .route(&format!("{of_service}/{{tab}}"), get(service::tab))
        .route("/{project}/gpus", get(gpus::page))
        .route("/{project}/quotas", get(quotas::page))
        .route("/{project}/quotas/request", get(quotas::request::page).post(quotas::request::submit))
        .route("/{project}/quotas/decide", get(quotas::decide::page).post(quotas::decide::submit))
        .route("/{project}/quotas/lower", get(quotas::lower::page).post(quotas::lower::submit))
        .route(&format!("{of_service}/permissions"), get(service::permissions::page).post(service::permissions::submit))
        .route(&format!("{of_service}/usage"), get(service::usage::page))
        .route("/{project}/usage", get(usage::page))
        .route("/{project}/usage.csv", get(usage::download::csv))
        .route("/{project}/usage-focus.csv", get(usage::download::focus))
        .route("/{project}/budgets/-/new", get(usage::budgets::new).post(usage::budgets::create))
        .route("/{project}/budgets/{budget}", get(usage::budgets::page).post(usage::budgets::submit))
        .route(&format!("{of_service}/deploy"), get(deploy::edit).post(deploy::deploy))
        .route(&format!("{of_service}/traffic"), get(deploy::traffic::page).post(deploy::traffic::save))
        .route(&format!("{of_service}/delete"), get(delete::confirm).post(delete::delete))
        .route(&format!("{of_service}/yaml/edit"), get(service::edit_yaml::page).post(service::edit_yaml::submit))
        .route(
            &format!("{of_service}/revisions/{{revision}}/delete"),
            get(delete::confirm_revision).post(delete::delete_revision),
        )
        .route("/{project}/activity", get(activity::page))
        .route("/-/language", get(lang::switch))
        .route("/-/project", get(visit::switch_project))
        .route("/-/sign-in", get(sign_in::page).post(sign_in::submit))
        .route("/-/sign-in/with/{provider}", get(sign_in::oidc::begin))
        .route("/-/sign-in/back", get(sign_in::oidc::finish))
        .route("/-/sign-out", post(sign_in::sign_out))
        .fallback(failure::no_such_page)
        .layer(axum::middleware::from_fn_with_state(console.clone(), failure::explain))
        .layer(axum::middleware::from_fn_with_state(console.clone(), live::stream))
        .route("/-/static/{version}/{file}", get(assets::serve))
        .layer(axum::middleware::from_fn(secure))
        .layer(CompressionLayer::new());
    Router::new()
        .nest("/console", pages)
        .route("/console/", get(|| async { Redirect::temporary("/console") }))
        .route("/", get(|| async { Redirect::temporary("/console") }))
        .with_state(console)
}

/// The headers that keep a page the console's own.
async fn secure(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}
