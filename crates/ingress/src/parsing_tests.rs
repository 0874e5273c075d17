//! Whatever clients send: what ingress reads of it by itself must neither panic nor let anything through.

use std::net::{IpAddr, SocketAddr};

use http::header::{CONNECTION, COOKIE, HOST, TE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use proptest::prelude::*;

use crate::affinity;
use crate::client::Client;
use crate::headers;
use crate::origin::Network;
use crate::route::without_port;
use crate::trace::TraceContext;

/// Header values as hyper lets them through, among them such as look right.
fn value() -> impl Strategy<Value = HeaderValue> {
    let alike = "[ ,;=:./\\-\\[\\]a-zA-Z0-9\"@%\t]{0,60}";
    let words =
        "(close|te|upgrade|h2c|websocket|trailers|chunked|x-forwarded-for|cookie|host|,| |GAESA=[0-9a-f]{0,17};?){0,8}";
    let bytes = proptest::collection::vec(any::<u8>(), 0..60);
    prop_oneof![
        alike.prop_map(|text| text.into_bytes()),
        words.prop_map(|text| text.into_bytes()),
        "00-[0-9a-f]{31,33}-[0-9a-f]{15,17}-[0-9a-f]{1,3}".prop_map(|text| text.into_bytes()),
        "[0-9a-f]{0,40}/[0-9+]{0,22}(;o=[01])?".prop_map(|text| text.into_bytes()),
        bytes,
    ]
    .prop_filter_map("not a header's value", |bytes| HeaderValue::from_bytes(&bytes).ok())
}

fn name() -> impl Strategy<Value = HeaderName> {
    let names = [
        "connection",
        "te",
        "upgrade",
        "host",
        "cookie",
        "traceparent",
        "x-cloud-trace-context",
        "x-forwarded-for",
        "forwarded",
        "x-forwarded-proto",
        "x-forwarded-host",
        "transfer-encoding",
        "keep-alive",
        "authorization",
        "a",
    ];
    proptest::sample::select(names.map(HeaderName::from_static).to_vec())
}

fn request() -> impl Strategy<Value = Request<()>> {
    proptest::collection::vec((name(), value()), 0..12).prop_map(|headers| {
        let mut request = Request::new(());
        for (name, value) in headers {
            request.headers_mut().append(name, value);
        }
        request
    })
}

proptest! {
    #[test]
    fn s09_any_headers_are_read_and_leave_as_they_should(mut request in request(), peer in any::<IpAddr>()) {
        let peer = SocketAddr::new(peer, 1);
        if let Ok(host) = headers::check(&request) {
            prop_assert!(!host.as_str().contains(['@', ' ', '/']));
            prop_assert!(request.headers().get_all(HOST).iter().count() == 1);
        }
        let named: Vec<String> = request.headers().get_all(CONNECTION).iter()
            .filter_map(|value| value.to_str().ok()).flat_map(|text| text.split(',')).map(|name| name.trim().to_owned()).collect();
        let asked_for_h2c = headers::upgrade(&request).is_some_and(|to| {
            to.to_str().is_ok_and(|text| text.split(',').any(|one| one.trim().eq_ignore_ascii_case("h2c")))
        });
        prop_assert!(!asked_for_h2c);
        let trace = TraceContext::take(request.headers_mut());
        prop_assert!(trace.trace_id != 0 && trace.span_id != 0);
        headers::forward(request.headers_mut(), &Client::untold(peer, "http"), &HeaderValue::from_static("a.test"));
        let left = request.headers();
        for gone in [CONNECTION, UPGRADE, TRANSFER_ENCODING] {
            prop_assert!(!left.contains_key(gone));
        }
        prop_assert!(!left.contains_key(TE) || left[TE] == "trailers");
        // What the client named goes, but for what is set here.
        for name in named.iter().filter(|name| ["cookie", "a", "authorization"].contains(&name.as_str())) {
            prop_assert!(!left.contains_key(name.as_str()), "{name}");
        }
        let address = peer.ip().to_canonical().to_string();
        prop_assert!(left["x-forwarded-for"].to_str().unwrap().ends_with(&address));
        prop_assert_eq!(left.get_all("x-forwarded-for").iter().count(), 1);
        prop_assert_eq!(&left["x-forwarded-host"], "a.test");
        prop_assert_eq!(&left["x-forwarded-proto"], "http");
    }

    #[test]
    fn s09_a_trace_that_was_made_is_read_again_as_it_was(trace_id in 1_u128.., span_id in 1_u64.., flags in 0_u8..2) {
        let mut headers = HeaderMap::new();
        headers.insert("traceparent", format!("00-{trace_id:032x}-{span_id:016x}-{flags:02x}").parse().unwrap());
        let first = TraceContext::take(&mut headers);
        prop_assert_eq!((first.trace_id, first.span_id, first.sampled), (trace_id, span_id, flags == 1));
        headers.remove("traceparent");
        // The other form says the same.
        prop_assert_eq!(TraceContext::take(&mut headers), first);
    }

    #[test]
    fn s09_a_cookie_is_found_among_any_others(before in value(), mark in any::<u64>()) {
        let mut headers = HeaderMap::new();
        headers.append(COOKIE, before.clone());
        let alone = affinity::named(&headers);
        let own = affinity::cookie(mark);
        headers.append(COOKIE, own.to_str().unwrap().split(';').next().unwrap().parse().unwrap());
        let claimed = before.to_str().is_ok_and(|text| text.contains("GAESA="));
        prop_assert!(claimed || alone.is_none());
        prop_assert!(claimed || affinity::named(&headers) == Some(mark));
    }

    #[test]
    fn s09_a_hosts_port_is_taken_off_whatever_it_is(host in "[a-z.]{1,20}", port in "(:[0-9]{0,6})?", dot in "\\.?") {
        let bare = host.strip_suffix('.').unwrap_or(&host);
        prop_assume!(!host.ends_with('.'));
        let whole = format!("{host}{dot}{port}");
        prop_assert_eq!(without_port(&whole), bare);
    }

    #[test]
    fn s10_any_text_is_a_network_or_not(text in "[0-9a-f.:/]{0,24}") {
        if let Ok(network) = text.parse::<Network>() {
            let address = text.split('/').next().unwrap().parse::<IpAddr>().unwrap();
            prop_assert!(network.contains(address));
        }
    }
}
