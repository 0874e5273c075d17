//! What the visitor is told when a page cannot be shown.

use axum::extract::{OriginalUri, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use homerun_api::error::ApiError;
use http::{StatusCode, header};
use maud::html;

use super::Console;
use super::lang::Lang;
use super::layout;
use super::visit::Visit;

/// Longest sentence of axum's own that is passed on, in bytes.
const LONGEST: usize = 4096;

/// An error on its way to the visitor.
#[derive(Debug)]
pub(super) struct Failure(pub(super) ApiError);

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Self(error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        if let ApiError::Internal(message) = &self.0 {
            tracing::error!("{message}");
        }
        let status = StatusCode::from_u16(self.0.code()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = status.into_response();
        response.extensions_mut().insert(Told(self.0.to_string()));
        response
    }
}

/// The sentence of an error that is not on a page yet.
#[derive(Debug, Clone)]
struct Told(String);

pub(super) async fn no_such_page(OriginalUri(uri): OriginalUri) -> Failure {
    Failure(ApiError::NotFound { kind: "Page", name: uri.path().to_owned() })
}

/// Puts an error's sentence on a page.
pub(super) async fn explain(State(console): State<Console>, request: Request, next: Next) -> Response {
    let headers = request.headers().clone();
    let here = request.extensions().get::<OriginalUri>().map_or_else(String::new, |OriginalUri(uri)| uri.to_string());
    let response = next.run(request).await;
    let status = response.status();
    let message = match response.extensions().get::<Told>() {
        Some(Told(message)) => message.clone(),
        // What no page could be asked for: a query, a body or a method that is none.
        None if status.is_client_error() && !is_page(&response) => plain(response).await,
        None => return response,
    };
    let lang = Lang::of(&headers);
    let title = lang.t("error-title");
    let content = html! {
        h1 { (title) }
        p .message.error role="alert" { (message) }
        p { a href="/console" { (lang.t("error-home")) } }
    };
    match Visit::anywhere(&console, &headers, here) {
        Some(visit) => (status, layout::bare(&visit, &title, &content)).into_response(),
        None => (status, layout::document(lang, &title, &html! { main .narrow { (content) } })).into_response(),
    }
}

fn is_page(response: &Response) -> bool {
    let kind = response.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    kind.is_some_and(|kind| !kind.starts_with("text/plain"))
}

/// What a response says that is no page.
async fn plain(response: Response) -> String {
    let status = response.status();
    let body = axum::body::to_bytes(response.into_body(), LONGEST).await.unwrap_or_default();
    let text = String::from_utf8_lossy(&body).into_owned();
    if text.is_empty() { status.to_string() } else { text }
}
