//! Signing in by an OpenID Connect provider.

use std::error::Error;

use axum::extract::{Path, Query, State};
use axum::response::{AppendHeaders, IntoResponse, Redirect, Response};
use homerun_api::error::ApiError;
use http::{HeaderMap, header};
use maud::{Markup, html};
use serde::Deserialize;

use super::super::Console;
use super::super::failure::Failure;
use super::super::lang::Lang;
use super::super::visit::{back, cookie};
use super::{Next, session_cookie};
use crate::auth::{OidcError, Return, TokenError};

/// The cookie of a browser that has begun to sign in.
const COOKIE: &str = "homerun_sign_in";
/// Where it is sent: the page that providers send people back to is below.
const PATH: &str = "/console/-/sign-in";

/// A button for each provider.
pub(super) fn buttons(console: &Console, lang: Lang, next: &str) -> Markup {
    let query = form_urlencoded::Serializer::new(String::new()).append_pair("next", back(next)).finish();
    html! {
        @for (index, name) in console.auth.providers() {
            p {
                a .button href={ (PATH) "/with/" (index) "?" (query) } { (lang.with("sign-in-with", [("name", name)])) }
            }
        }
    }
}

/// Sends the browser to a provider.
pub(in super::super) async fn begin(
    State(console): State<Console>,
    headers: HeaderMap,
    Path(provider): Path<usize>,
    Query(next): Query<Next>,
) -> Result<Response, Failure> {
    let lang = Lang::of(&headers);
    let Some(base) = base(&console, &headers) else {
        return Err(Failure(ApiError::FailedPrecondition(lang.t("sign-in-unknown-host").into_owned())));
    };
    let begun = console.auth.begin_sign_in(provider, &format!("{base}{PATH}/back"), back(&next.next)).await;
    let begun = begun.map_err(|error| told(lang, &error))?;
    let secure = secure(&console);
    let kept = format!("{COOKIE}={}; Path={PATH}; Max-Age=600; HttpOnly; SameSite=Lax{secure}", begun.browser);
    Ok(([(header::SET_COOKIE, kept)], Redirect::to(&begun.location)).into_response())
}

/// Where this browser reaches the console. What it says of that is believed only of this machine: elsewhere another site
/// could lead it there under a name of its own.
fn base(console: &Console, headers: &HeaderMap) -> Option<String> {
    if let Some(base) = console.auth.console_url() {
        return Some(base.to_owned());
    }
    let host = headers.get(header::HOST)?.to_str().ok()?;
    let authority: http::uri::Authority = host.parse().ok()?;
    let name = authority.host().trim_start_matches('[').trim_end_matches(']');
    let here = name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    here.then(|| format!("http://{host}"))
}

/// What keeps a cookie out of clear text, where providers send people back to HTTPS and so every such cookie is set by it.
fn secure(console: &Console) -> &'static str {
    let https = console.auth.console_url().is_some_and(|base| base.starts_with("https://"));
    if https { "; Secure" } else { "" }
}

/// What a provider sends back with the browser.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in super::super) struct Answer {
    state: String,
    code: String,
    error: Option<String>,
    error_description: Option<String>,
}

/// Takes a browser that comes back from a provider.
pub(in super::super) async fn finish(
    State(console): State<Console>,
    headers: HeaderMap,
    Query(answer): Query<Answer>,
) -> Result<Response, Failure> {
    let lang = Lang::of(&headers);
    let browser = cookie(&headers, COOKIE).unwrap_or_default();
    let refusal = answer.error.as_deref().map(|error| answer.error_description.as_deref().unwrap_or(error));
    let code = refusal.map_or(Ok(answer.code.as_str()), Err);
    let back = Return { browser: &browser, state: &answer.state, answer: code };
    let finished = console.auth.finish_sign_in(back).await.map_err(|error| told(lang, &error))?;
    let session = session_cookie(&console, &finished.secret, finished.expires_at) + secure(&console);
    let gone = format!("{COOKIE}=; Path={PATH}; Max-Age=0; HttpOnly; SameSite=Lax");
    let cookies = AppendHeaders([(header::SET_COOKIE, session), (header::SET_COOKIE, gone)]);
    Ok((cookies, Redirect::to(&finished.next)).into_response())
}

/// What the visitor is told. Details that are the operator's matter are in homerun's own log.
fn told(lang: Lang, error: &OidcError) -> Failure {
    let message = match error {
        OidcError::Unknown => return Failure(ApiError::NotFound { kind: "Page", name: PATH.to_owned() }),
        OidcError::Store(store) => return Failure(ApiError::Internal(format!("the session cannot be kept: {store}"))),
        OidcError::NotBegun => lang.t("sign-in-not-begun").into_owned(),
        OidcError::Provider(_) => lang.t("sign-in-provider-fails").into_owned(),
        OidcError::Refused(why) => lang.with("sign-in-refused", [("why", why.as_str())]),
        OidcError::Token(why) => lang.with("sign-in-token-bad", [("why", lang.t(text_of(*why)))]),
    };
    tracing::warn!(error = error as &dyn Error, "somebody could not sign in by a provider");
    Failure(ApiError::FailedPrecondition(message))
}

/// The text that says what is wrong with a token.
fn text_of(wrong: TokenError) -> &'static str {
    match wrong {
        TokenError::NotValid => "sign-in-token-not-valid",
        TokenError::OtherClient => "sign-in-token-other-client",
        TokenError::OtherParty => "sign-in-token-other-party",
        TokenError::OtherSignIn => "sign-in-token-other-sign-in",
        TokenError::NoEmail => "sign-in-token-no-email",
        TokenError::BadEmail => "sign-in-token-bad-email",
    }
}
