//! Signing in and out.

pub(super) mod oidc;

use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Redirect, Response};
use homerun_api::error::ApiError;
use homerun_model::Timestamp;
use http::request::Parts;
use http::{HeaderMap, StatusCode, header};
use maud::html;
use serde::Deserialize;

use super::Console;
use super::failure::Failure;
use super::lang::Lang;
use super::layout;
use super::visit::{Posted, Visit, back, cookie};

/// The cookie with the session's secret.
pub(super) const COOKIE: &str = "homerun_session";

/// Where to go on after signing in.
#[derive(Deserialize)]
pub(super) struct Next {
    #[serde(default)]
    next: String,
}

/// To the sign-in page, and back here afterwards.
pub(super) fn redirect(here: &str) -> Response {
    let query = form_urlencoded::Serializer::new(String::new()).append_pair("next", here).finish();
    Redirect::to(&format!("/console/-/sign-in?{query}")).into_response()
}

/// The answer to a form of somebody whose session has ended: the page can be loaded again after signing in elsewhere,
/// which sends the form once more. For who wanted to sign out, that is all.
pub(super) fn ended(parts: &Parts) -> Response {
    if parts.uri.path() == "/-/sign-out" {
        return Redirect::to("/console/-/sign-in").into_response();
    }
    let lang = Lang::of(&parts.headers);
    let title = lang.t("session-ended");
    let body = html! {
        main .narrow {
            h1 { (title) }
            p .message.busy role="alert" { (lang.t("session-ended-next")) }
            p { a .button.primary href="/console/-/sign-in" target="_blank" { (lang.t("sign-in")) } }
        }
    };
    (StatusCode::UNAUTHORIZED, layout::document(lang, &title, &body)).into_response()
}

/// The page that asks for a token.
pub(super) async fn page(State(console): State<Console>, headers: HeaderMap, Query(next): Query<Next>) -> Response {
    form(&console, Lang::of(&headers), &next.next, false)
}

fn form(console: &Console, lang: Lang, next: &str, wrong: bool) -> Response {
    let title = lang.t("sign-in");
    let here = redirect_path(next);
    let body = html! {
        main .narrow {
            h1 { (lang.t("sign-in-title")) }
            @if wrong { p .message.error #wrong role="alert" { (lang.t("sign-in-wrong")) } }
            form .card method="post" action=(here) {
                label for="token" { (lang.t("sign-in-token")) }
                input #token type="password" name="token" required autofocus autocomplete="off" spellcheck="false"
                    aria-describedby=(if wrong { "wrong how" } else { "how" }) aria-invalid=[wrong.then_some("true")];
                p .hint #how { (lang.t("sign-in-how")) " " code { "homerun auth print-access-token" } }
                button .primary type="submit" { (title) }
            }
            (oidc::buttons(console, lang, next))
            (layout::languages(lang, &here))
        }
    };
    let status = if wrong { StatusCode::FORBIDDEN } else { StatusCode::OK };
    (status, layout::document(lang, &title, &body)).into_response()
}

fn redirect_path(next: &str) -> String {
    let query = form_urlencoded::Serializer::new(String::new()).append_pair("next", back(next)).finish();
    format!("/console/-/sign-in?{query}")
}

/// Begins a session, if the token is good.
pub(super) async fn submit(
    State(console): State<Console>,
    headers: HeaderMap,
    Query(next): Query<Next>,
    body: Bytes,
) -> Result<Response, Failure> {
    let lang = Lang::of(&headers);
    if !same_site(&headers) {
        return Err(Failure(ApiError::FailedPrecondition(lang.t("error-form-secret").into_owned())));
    }
    let token = form_urlencoded::parse(&body).find(|(name, _)| name == "token").map(|(_, token)| token.into_owned());
    let begun = console.auth.sign_in(token.unwrap_or_default().trim()).await;
    let begun = begun.map_err(|error| ApiError::Internal(format!("the session cannot be kept: {error}")))?;
    let Some((secret, expires_at)) = begun else {
        return Ok(form(&console, lang, &next.next, true));
    };
    let cookie = session_cookie(&console, &secret, expires_at);
    Ok(([(header::SET_COOKIE, cookie)], Redirect::to(back(&next.next))).into_response())
}

/// The cookie that holds a session's secret for as long as the session is good.
fn session_cookie(console: &Console, secret: &str, expires_at: Timestamp) -> String {
    let seconds = (expires_at - console.platform.clock.now()).num_seconds().max(1);
    format!("{COOKIE}={secret}; Path=/console; Max-Age={seconds}; HttpOnly; SameSite=Lax")
}

/// Whether a form comes from a page of this console, as far as the browser says: another site must not sign visitors
/// in as somebody else.
fn same_site(headers: &HeaderMap) -> bool {
    let site = headers.get("sec-fetch-site").and_then(|value| value.to_str().ok());
    matches!(site, None | Some("same-origin" | "none"))
}

/// Ends the session.
pub(super) async fn sign_out(visit: Visit, headers: HeaderMap, body: Bytes) -> Result<Response, Failure> {
    Posted::read(&visit, &body)?;
    if let Some(secret) = cookie(&headers, COOKIE) {
        let ended = visit.console.auth.sign_out(&secret);
        ended.map_err(|error| ApiError::Internal(format!("the session cannot be ended: {error}")))?;
    }
    let gone = format!("{COOKIE}=; Path=/console; Max-Age=0; HttpOnly; SameSite=Lax");
    Ok(([(header::SET_COOKIE, gone)], Redirect::to("/console/-/sign-in")).into_response())
}
