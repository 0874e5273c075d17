//! What the visitor is told when a page cannot be shown.

use axum::extract::{OriginalUri, Request};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use homerun_api::error::ApiError;
use http::StatusCode;
use maud::html;

use super::lang::Lang;
use super::layout;

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
pub(super) async fn explain(request: Request, next: Next) -> Response {
    let lang = Lang::of(request.headers());
    let response = next.run(request).await;
    let Some(Told(message)) = response.extensions().get::<Told>().cloned() else {
        return response;
    };
    let title = lang.t("error-title");
    let body = html! {
        main .narrow {
            h1 { (title) }
            p .message.error role="alert" { (message) }
            p { a href="/console" { (lang.t("error-home")) } }
        }
    };
    (response.status(), layout::document(lang, &title, &body)).into_response()
}
