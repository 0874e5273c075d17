//! Respond: what clients are told when ingress answers by itself. The one place that knows status codes.
//!
//! Sentences are those of Cloud Run, which people search for.

use std::borrow::Cow;

use http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, Response, StatusCode, Version};

use crate::body::Body;
use crate::observe::{Ledger, Outcome};
use crate::route::Refusal;

/// Why an instance's answer does not reach the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The request is not one that can be passed on; what is wrong with it.
    BadRequest(&'static str),
    /// Its body is larger than the settings allow.
    RequestTooLarge,
    /// The instance's response is larger than the settings allow.
    ResponseTooLarge,
    /// No service has this host.
    UnknownHost,
    /// The service is not for clients from there.
    Outside,
    /// The service is not public, and the request has no token.
    NoToken,
    /// The token tells nobody.
    BadToken,
    /// The caller lacks the permission.
    Forbidden,
    /// No instance can take it.
    Refused(Refusal),
    /// No instance took the connection.
    Unreachable,
    /// The instance broke off before it answered.
    ConnectionLost,
    /// What the instance sent is not HTTP.
    Malformed,
    /// The instance took too long to answer.
    Timeout,
}

/// The parts of an answer.
struct Answer {
    status: StatusCode,
    body: Cow<'static, str>,
    /// The sentence for the service's log.
    log: Cow<'static, str>,
}

const NO_INSTANCE: &str = "The request was aborted because there was no available instance.";
const INSTANCE_ERROR: &str =
    "The request failed because either the HTTP response was malformed or connection to the instance had an error.";
const NOT_AUTHENTICATED: &str = "The request was not authenticated. Either allow unauthenticated invocations or set the proper Authorization header.";
const BAD_TOKEN: &str =
    "The request was not authorized to invoke this service: the token in the Authorization header is not valid.";
const FORBIDDEN: &str =
    "The request was not authorized to invoke this service: the caller lacks the permission run.routes.invoke.";
const OUTSIDE: &str = "The request was not let in: it came from outside, and the ingress setting of the service lets nobody in from there.";
const LARGE_RESPONSE: &str = "Response size was too large. Please consider reducing response size.";
const TIMEOUT: &str = "The request has been terminated because it has reached the maximum request timeout.";
const UNAVAILABLE: &str = "Service Unavailable";

/// The only map from what went wrong to status, body and log sentence. `path` is quoted in pages.
fn answer(failure: &Failure, path: &str) -> Answer {
    let plain =
        |status, body: &str, log: &'static str| Answer { status, body: body.to_owned().into(), log: log.into() };
    let page = |status, text: &str, log| plain(status, &html(status, text), log);
    let reset = |reason: &str| {
        let body = format!("upstream connect error or disconnect/reset before headers. reset reason: {reason}");
        plain(StatusCode::SERVICE_UNAVAILABLE, &body, INSTANCE_ERROR)
    };
    let denied =
        || format!("Your client does not have permission to get URL <code>{}</code> from this server.", escape(path));
    match failure {
        Failure::BadRequest(why) => plain(StatusCode::BAD_REQUEST, &format!("Bad Request: {why}"), why),
        Failure::RequestTooLarge => {
            let log = "The request's body was larger than the settings of this machine allow.";
            page(StatusCode::PAYLOAD_TOO_LARGE, "Your client issued a request that was too large.", log)
        }
        Failure::ResponseTooLarge => {
            let text = "The server encountered an error and could not complete your request.";
            page(StatusCode::INTERNAL_SERVER_ERROR, text, LARGE_RESPONSE)
        }
        Failure::UnknownHost | Failure::Outside => {
            let text = format!("The requested URL <code>{}</code> was not found on this server.", escape(path));
            let unknown = *failure == Failure::UnknownHost;
            let log = if unknown { "No service has the host of the request." } else { OUTSIDE };
            page(StatusCode::NOT_FOUND, &text, log)
        }
        Failure::NoToken => page(StatusCode::FORBIDDEN, &denied(), NOT_AUTHENTICATED),
        Failure::Forbidden => page(StatusCode::FORBIDDEN, &denied(), FORBIDDEN),
        Failure::BadToken => page(StatusCode::UNAUTHORIZED, &denied(), BAD_TOKEN),
        Failure::Refused(Refusal::NoInstance) => plain(StatusCode::TOO_MANY_REQUESTS, "Rate exceeded.", NO_INSTANCE),
        Failure::Refused(Refusal::ScalingFailed) => {
            let text = "The server encountered an error and could not complete your request.<p>Please try again in 30 seconds.";
            page(StatusCode::INTERNAL_SERVER_ERROR, text, NO_INSTANCE)
        }
        Failure::Refused(Refusal::QuotaExceeded { message } | Refusal::CannotStart { message }) => Answer {
            status: StatusCode::SERVICE_UNAVAILABLE,
            body: message.clone().into(),
            log: message.clone().into(),
        },
        Failure::Refused(Refusal::NotReady) => {
            plain(StatusCode::SERVICE_UNAVAILABLE, UNAVAILABLE, "The service has no revision that is ready.")
        }
        Failure::Unreachable => reset("connection failure"),
        Failure::ConnectionLost => reset("connection termination"),
        Failure::Malformed => reset("protocol error"),
        Failure::Timeout => plain(StatusCode::GATEWAY_TIMEOUT, "upstream request timeout", TIMEOUT),
    }
}

/// The sentence for the service's log when a response ends before it is whole.
pub(crate) fn break_off(outcome: Outcome) -> Option<&'static str> {
    match outcome {
        Outcome::TimedOut => Some(TIMEOUT),
        Outcome::InstanceGone => Some(INSTANCE_ERROR),
        Outcome::Served | Outcome::Refused | Outcome::ClientGone => None,
    }
}

/// Answers a request that no instance answers, and hands in its record.
pub(crate) fn refuse(failure: &Failure, mut ledger: Ledger) -> Response<Body> {
    let record = ledger.record();
    let Answer { status, body, log } = answer(failure, record.path.path());
    record.status = status.as_u16();
    record.outcome = Outcome::Refused;
    record.message = Some(log.into_owned());
    record.response_bytes = body.len() as u64;
    let content = if body.starts_with('<') { "text/html; charset=utf-8" } else { "text/plain; charset=utf-8" };
    let mut headers = vec![(CONTENT_TYPE, content), (CACHE_CONTROL, "no-store")];
    match failure {
        Failure::BadToken => headers.push((WWW_AUTHENTICATE, "Bearer error=\"invalid_token\"")),
        // What follows on the connection could be part of a request that was understood wrongly.
        Failure::BadRequest(_) | Failure::RequestTooLarge if record.version <= Version::HTTP_11 => {
            headers.push((CONNECTION, "close"))
        }
        _ => {}
    }
    response(status, &headers, body)
}

/// A `HEAD` request's answer is given its body here and loses it on the wire, where hyper keeps its length.
fn response(status: StatusCode, headers: &[(HeaderName, &'static str)], body: Cow<'static, str>) -> Response<Body> {
    let body = match body {
        Cow::Borrowed(text) => Body::text(text),
        Cow::Owned(text) => Body::text(text),
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    for (name, value) in headers {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// A page in the manner of Google's.
fn html(status: StatusCode, text: &str) -> String {
    let (code, reason) = (status.as_u16(), status.canonical_reason().unwrap_or_default());
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{code} {reason}</title></head>\n\
         <body><h1>Error: {reason}</h1>\n<h2>{text}</h2></body></html>\n"
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s08_each_failure_has_cloud_runs_status_and_sentence() {
        let quota = Refusal::QuotaExceeded { message: "The request failed because X holds it".to_owned() };
        let table = [
            (Failure::BadRequest("two Host headers"), 400, "two Host headers", "two Host headers"),
            (Failure::RequestTooLarge, 413, "too large", "larger than the settings"),
            (Failure::ResponseTooLarge, 500, "could not complete your request", LARGE_RESPONSE),
            (Failure::Outside, 404, "was not found on this server", "ingress setting"),
            (Failure::UnknownHost, 404, "was not found on this server", "No service has the host"),
            (Failure::NoToken, 403, "Your client does not have permission to get URL", NOT_AUTHENTICATED),
            (Failure::Forbidden, 403, "Your client does not have permission to get URL", "lacks the permission"),
            (Failure::BadToken, 401, "Your client does not have permission to get URL", "not valid"),
            (Failure::Refused(Refusal::NoInstance), 429, "Rate exceeded.", NO_INSTANCE),
            (Failure::Refused(Refusal::ScalingFailed), 500, "could not complete your request", NO_INSTANCE),
            (Failure::Refused(quota), 503, "X holds it", "X holds it"),
            (Failure::Refused(Refusal::NotReady), 503, "Service Unavailable", "no revision that is ready"),
            (Failure::Unreachable, 503, "reset reason: connection failure", "connection to the instance had an error"),
            (Failure::ConnectionLost, 503, "reset reason: connection termination", "malformed or connection"),
            (Failure::Malformed, 503, "reset reason: protocol error", "HTTP response was malformed"),
            (Failure::Timeout, 504, "upstream request timeout", "maximum request timeout"),
        ];
        for (failure, status, body, log) in table {
            let answer = answer(&failure, "/<path>");
            assert_eq!(answer.status.as_u16(), status, "{failure:?}");
            assert!(answer.body.contains(body), "{failure:?}: {}", answer.body);
            assert!(answer.log.contains(log), "{failure:?}: {}", answer.log);
            assert!(!answer.body.contains("<path>"), "{failure:?} echoes the path unescaped");
        }
    }
}
