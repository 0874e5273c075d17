//! Header rules of a proxy: what is refused, what ends here, what is added.

use std::time::Duration;

use http::header::{
    CONNECTION, COOKIE, FORWARDED, HOST, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version};

use homerun_model::container::Protocol;
use homerun_model::receipt::Receipt;

use crate::client::Client;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
/// With any value but `0` a request asks for what took its time; see [`timing`].
const X_HOMERUN_TIMING: HeaderName = HeaderName::from_static("x-homerun-timing");
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Headers that mean one connection only (RFC 9110, section 7.6.1).
const HOP_BY_HOP: [HeaderName; 8] =
    [CONNECTION, KEEP_ALIVE, PROXY_CONNECTION, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE];

/// Whether a header, its name in lower case, means one connection only.
pub(crate) fn is_hop_by_hop(name: &[u8]) -> bool {
    HOP_BY_HOP.iter().any(|known| known.as_str().as_bytes() == name)
}

/// Whether ingress does more about a request's header, its name in lower case, than pass it on. Without any such header
/// [`forward`] and `trace` only add to a request; `Connection` is left to the caller.
pub(crate) fn needs_more(name: &[u8]) -> bool {
    matches!(
        name,
        b"te"
            | b"expect"
            | b"trailer"
            | b"upgrade"
            | b"forwarded"
            | b"keep-alive"
            | b"traceparent"
            | b"http2-settings"
            | b"x-forwarded-for"
            | b"proxy-connection"
            | b"x-forwarded-host"
            | b"x-homerun-timing"
            | b"transfer-encoding"
            | b"x-forwarded-proto"
            | b"proxy-authenticate"
            | b"proxy-authorization"
            | b"x-cloud-trace-context"
    )
}

/// Refuses what two servers could understand differently, and returns the host that the request is for.
///
/// # Errors
/// What is wrong with the request, for people.
pub(crate) fn check<B>(request: &Request<B>) -> Result<Authority, &'static str> {
    let headers = request.headers();
    if request.method() == Method::CONNECT {
        return Err("CONNECT is for proxies; this is a server");
    }
    // With a Content-Length beside it, hyper takes that away and closes the connection after the answer
    // (RFC 9112, section 6.1); what it lets through is a coding before the last one.
    let mut codings = values(headers, &TRANSFER_ENCODING);
    if codings.next().is_some_and(|coding| !coding.eq_ignore_ascii_case("chunked")) || codings.next().is_some() {
        return Err("the only Transfer-Encoding understood here is chunked");
    }
    let mut hosts = headers.get_all(HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err("there is more than one Host header");
    }
    // The target's host comes first (RFC 9112, section 3.2.2); in HTTP/2 another beside it is wrong (RFC 9113, section
    // 8.3.1).
    let authority = match (request.uri().authority(), host) {
        (Some(authority), Some(host)) if request.version() >= Version::HTTP_2 && *host != *authority.as_str() => {
            return Err("the Host header and the :authority are two hosts");
        }
        (Some(authority), _) => authority.clone(),
        (None, Some(host)) => Authority::try_from(host.as_bytes()).map_err(|_| "the Host header is no host")?,
        (None, None) => return Err("the Host header is missing"),
    };
    if authority.as_str().contains('@') {
        return Err("the Host must not have a user");
    }
    Ok(authority)
}

/// The protocol that the client asks to change to, for instance `websocket`. Never `h2c`: the container
/// would then take requests on a connection that nobody checks.
pub(crate) fn upgrade<B>(request: &Request<B>) -> Option<HeaderValue> {
    let asked = request.version() == Version::HTTP_11 && lists(request.headers(), &CONNECTION, "upgrade");
    let protocol = request.headers().get(UPGRADE).filter(|_| asked)?;
    let h2c = protocol.to_str().is_ok_and(|text| text.split(',').any(|name| name.trim().eq_ignore_ascii_case("h2c")));
    (!h2c).then(|| protocol.clone())
}

/// Removes what means one connection only.
pub(crate) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    // Most messages have none, and a look at each name is cheaper than a search for each of these.
    if !headers.keys().any(|name| HOP_BY_HOP.contains(name)) {
        return;
    }
    if headers.contains_key(CONNECTION) {
        let named: Vec<HeaderName> =
            values(headers, &CONNECTION).filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok()).collect();
        named.iter().for_each(|name| drop(headers.remove(name)));
    }
    HOP_BY_HOP.iter().for_each(|name| drop(headers.remove(name)));
}

/// Makes a client's headers those of the request to an instance.
pub(crate) fn forward(headers: &mut HeaderMap, client: &Client, host: &HeaderValue) {
    let trailers = lists(headers, &TE, "trailers");
    strip_hop_by_hop(headers);
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    append(headers, X_FORWARDED_FOR, ", ", &client.forwarded_for);
    append(headers, FORWARDED, ",", &client.forwarded);
    headers.insert(X_FORWARDED_PROTO, client.proto.clone());
    headers.insert(X_FORWARDED_HOST, host.clone());
}

/// What [`forward`] adds to a request's headers where it finds none of its own, as lines.
pub(crate) fn write_forward(out: &mut Vec<u8>, client: &Client, host: &HeaderValue) {
    let added = [
        (X_FORWARDED_FOR, &client.forwarded_for),
        (FORWARDED, &client.forwarded),
        (X_FORWARDED_PROTO, &client.proto),
        (X_FORWARDED_HOST, host),
    ];
    for (name, value) in added {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            out.extend_from_slice(part);
        }
    }
}

/// Whether the request asks for what took its time; the question is not the container's.
pub(crate) fn take_timing(headers: &mut HeaderMap) -> bool {
    headers.remove(X_HOMERUN_TIMING).is_some_and(|value| value != "0")
}

/// Adds to what the container says of its own time: how long the request waited for an instance, and if it was
/// the cause of a start, what that start consisted of.
pub(crate) fn timing(headers: &mut HeaderMap, waited: Duration, start: Option<&Receipt>) {
    let mut text = format!("wait;dur={:.1}", waited.as_secs_f64() * 1000.0);
    if let Some(steps) = start.map(Receipt::server_timing).filter(|steps| !steps.is_empty()) {
        text.push_str(", ");
        text.push_str(&steps);
    }
    headers.append(SERVER_TIMING, HeaderValue::try_from(text).expect("words and numbers"));
}

/// Asks the container to change the protocol too.
pub(crate) fn ask_upgrade(headers: &mut HeaderMap, protocol: HeaderValue) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, protocol);
}

/// Gives the request the form that the container's protocol asks for.
pub(crate) fn address<B>(request: &mut Request<B>, host: &Authority, path: &PathAndQuery, protocol: Protocol) {
    match protocol {
        Protocol::Http1 => {
            *request.version_mut() = Version::HTTP_11;
            *request.uri_mut() = Uri::from(path.clone());
            if request.headers().get(HOST).is_none_or(|given| *given != *host.as_str()) {
                let host = HeaderValue::from_str(host.as_str()).expect("an authority is visible ASCII");
                request.headers_mut().insert(HOST, host);
            }
            join_cookies(request.headers_mut());
        }
        Protocol::H2c => {
            *request.version_mut() = Version::HTTP_2;
            let mut parts = http::uri::Parts::default();
            parts.scheme = Some(Scheme::HTTP);
            parts.authority = Some(host.clone());
            parts.path_and_query = Some(path.clone());
            *request.uri_mut() = Uri::from_parts(parts).expect("scheme, authority and path make a URI");
            request.headers_mut().remove(HOST);
        }
    }
}

/// HTTP/2 clients may send cookies apart; HTTP/1.1 has one header for all (RFC 9113, section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let cookies: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if cookies.len() > 1
        && let Ok(joined) = HeaderValue::from_bytes(&cookies.join(&b"; "[..]))
    {
        headers.insert(COOKIE, joined);
    }
}

/// Adds to a list header; the values that it had become one.
fn append(headers: &mut HeaderMap, name: HeaderName, separator: &str, entry: &HeaderValue) {
    let before = headers.get_all(&name).iter().filter_map(|value| value.to_str().ok());
    let mut text = String::new();
    for value in before {
        text.push_str(value);
        text.push_str(separator);
    }
    let value = if text.is_empty() {
        entry.clone()
    } else {
        text.push_str(entry.to_str().expect("made of an address"));
        HeaderValue::try_from(text).expect("made of header values and an address")
    };
    headers.insert(name, value);
}

fn lists(headers: &HeaderMap, name: &HeaderName, item: &str) -> bool {
    values(headers, name).any(|value| value.eq_ignore_ascii_case(item))
}

fn values<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).flat_map(|text| text.split(',')).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(target: &str, headers: &[(&'static str, &'static str)]) -> Request<()> {
        let mut request = Request::builder().uri(target).body(()).unwrap();
        for (name, value) in headers {
            request.headers_mut().append(*name, HeaderValue::from_static(value));
        }
        request
    }

    #[test]
    fn s09_what_two_servers_could_understand_differently_is_refused() {
        let host = ("host", "a.test");
        let refused: [&[(&str, &str)]; 6] = [
            &[],
            &[host, ("host", "b.test")],
            &[("host", "a test")],
            &[("host", "user@a.test")],
            &[host, ("transfer-encoding", "gzip, chunked")],
            &[host, ("transfer-encoding", "chunked"), ("transfer-encoding", "identity")],
        ];
        for headers in refused {
            assert!(check(&request("/", headers)).is_err(), "{headers:?}");
        }
        assert_eq!(check(&request("/", &[host])).unwrap(), "a.test");
        assert_eq!(check(&request("http://b.test/", &[host])).unwrap(), "b.test");
        assert!(check(&request("/", &[host, ("transfer-encoding", "Chunked")])).is_ok());
    }

    #[test]
    fn s09_headers_of_one_connection_end_here_and_the_client_is_named() {
        let mut request = request(
            "/",
            &[
                ("connection", "close, X-Private"),
                ("x-private", "1"),
                ("te", "gzip, trailers"),
                ("keep-alive", "timeout=5"),
                ("upgrade", "h2c"),
                ("x-forwarded-for", "192.0.2.1"),
                ("x-forwarded-host", "evil.test"),
                ("x-forwarded-proto", "gopher"),
            ],
        );
        let host = HeaderValue::from_static("a.test");
        let client = Client::untold("[::ffff:198.51.100.7]:9".parse().unwrap(), "http");
        forward(request.headers_mut(), &client, &host);
        let mut left: Vec<_> = request.headers().iter().map(|(n, v)| format!("{n}: {}", v.to_str().unwrap())).collect();
        left.sort();
        assert_eq!(
            left,
            [
                "forwarded: for=\"198.51.100.7\";proto=http",
                "te: trailers",
                "x-forwarded-for: 192.0.2.1, 198.51.100.7",
                "x-forwarded-host: a.test",
                "x-forwarded-proto: http",
            ]
        );
    }

    #[test]
    fn s09_a_header_that_ingress_does_something_about_is_known_as_such() {
        let added = [X_FORWARDED_FOR, FORWARDED, X_FORWARDED_PROTO, X_FORWARDED_HOST, X_HOMERUN_TIMING];
        for name in HOP_BY_HOP.iter().chain(&added).filter(|name| **name != CONNECTION) {
            assert!(needs_more(name.as_str().as_bytes()), "{name}");
        }
        for name in ["traceparent", "x-cloud-trace-context", "expect", "trailer", "http2-settings"] {
            assert!(needs_more(name.as_bytes()), "{name}");
        }
        assert!(!needs_more(b"accept"));
    }

    #[test]
    fn s09_headers_are_added_as_lines_as_they_are_to_a_map() {
        let client = Client::untold("192.0.2.1:9".parse().unwrap(), "https");
        let host = HeaderValue::from_static("a.test");
        let (mut map, mut out) = (HeaderMap::new(), Vec::new());
        forward(&mut map, &client, &host);
        write_forward(&mut out, &client, &host);
        let lines: String =
            map.iter().map(|(name, value)| format!("{name}: {}\r\n", value.to_str().unwrap())).collect();
        assert_eq!(String::from_utf8(out).unwrap(), lines);
    }

    #[test]
    fn s09_websocket_may_upgrade_and_h2c_may_not() {
        let asks = |protocol| upgrade(&request("/", &[("connection", "keep-alive, Upgrade"), ("upgrade", protocol)]));
        assert_eq!(asks("websocket").unwrap(), "websocket");
        assert_eq!(asks("h2c"), None);
        assert_eq!(asks("websocket, h2c"), None);
        assert_eq!(upgrade(&request("/", &[("upgrade", "websocket")])), None);
    }
}
