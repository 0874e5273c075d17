//! Admit: who may invoke a service.

use async_trait::async_trait;
use homerun_model::names::ServiceKey;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue};

/// Looked at before `Authorization`, which callers may need for the container's own purposes.
const SERVERLESS_AUTHORIZATION: HeaderName = HeaderName::from_static("x-serverless-authorization");

/// Decides about invocations of services that are not public.
#[async_trait]
pub trait Authorize: Send + Sync + 'static {
    /// Whether the caller may invoke the service. `bearer` is the token it sent.
    async fn may_invoke(&self, service: &ServiceKey, bearer: Option<&str>) -> Invocation;
}

/// The answer of [`Authorize::may_invoke`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Invocation {
    /// The caller may invoke the service.
    Allowed,
    /// There is no token, or none that tells who the caller is.
    Unauthenticated,
    /// The caller is known and lacks the permission.
    Forbidden,
}

/// The bearer token of a request and the header that has it.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<(HeaderName, &str)> {
    [SERVERLESS_AUTHORIZATION, AUTHORIZATION].into_iter().find_map(|name| {
        let (scheme, token) = headers.get(&name)?.to_str().ok()?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some((name, token.trim()))
    })
}

/// Makes the token that admitted the request useless to the container, which must not be able to act
/// for the caller elsewhere: an identity token keeps its claims and loses its signature (with the text
/// that Cloud Run puts there), any other token goes.
pub(crate) fn disarm(headers: &mut HeaderMap) {
    let Some((name, token)) = bearer(headers) else {
        return;
    };
    let unsigned = match token.split('.').collect::<Vec<_>>()[..] {
        [head, claims, _] => HeaderValue::try_from(format!("Bearer {head}.{claims}.SIGNATURE_REMOVED_BY_GOOGLE")).ok(),
        _ => None,
    };
    match unsigned {
        Some(value) => drop(headers.insert(name, value)),
        None => drop(headers.remove(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s10_the_token_is_taken_from_its_own_header_first_and_loses_its_signature() {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::from_static("Bearer own"));
        assert_eq!(bearer(&headers).unwrap().1, "own");
        headers.insert(SERVERLESS_AUTHORIZATION, HeaderValue::from_static("bearer a.b.c"));
        assert_eq!(bearer(&headers).unwrap().1, "a.b.c");
        disarm(&mut headers);
        assert_eq!(headers[SERVERLESS_AUTHORIZATION], "Bearer a.b.SIGNATURE_REMOVED_BY_GOOGLE");
        assert_eq!(headers[AUTHORIZATION], "Bearer own");
        headers.remove(SERVERLESS_AUTHORIZATION);
        disarm(&mut headers);
        assert!(!headers.contains_key(AUTHORIZATION));
        headers.insert(AUTHORIZATION, HeaderValue::from_static("Basic eA=="));
        assert!(bearer(&headers).is_none());
    }
}
