//! Row S10: who may invoke a service.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use homerun_ingress::{Outcome, Route};
use http::Request;
use support::*;
use tokio::sync::mpsc;

fn private() -> homerun_ingress::ServiceRoutes {
    let route = Route { public: false, ..route(&[("r1", 100)]) };
    tables(&[(HOST, route)], &[("r1", revision(80, &["i1"]))])
}

#[tokio::test]
async fn s10_a_private_service_answers_only_who_may_invoke_it() {
    let mut bench = bench().await;
    bench.instance("i1", container::named("inside").await);
    bench.publish(private());
    let cases = [
        (None, 403, "Your client does not have permission to get URL <code>/secret</code> from this server."),
        (Some("Bearer nobody"), 401, "Your client does not have permission"),
        (Some("Bearer stranger"), 403, "Your client does not have permission"),
        (Some("Basic b3duZXI6"), 403, "Your client does not have permission"),
        (Some("Bearer owner"), 200, "inside"),
    ];
    for (token, status, body) in cases {
        let mut request = Request::get("/secret").body(empty()).unwrap();
        if let Some(token) = token {
            request.headers_mut().insert("authorization", token.parse().unwrap());
        }
        let response = bench.send(request).await;
        assert_eq!(response.status(), status, "{token:?}");
        assert!(text(&response).contains(body), "{token:?}: {}", text(&response));
        assert_eq!(response.headers().contains_key("www-authenticate"), status == 401);
        let record = bench.record().await;
        assert_eq!(record.status, status);
        assert_eq!(record.service.as_deref(), Some(&service("hello")));
        assert_eq!(record.outcome, if status == 200 { Outcome::Served } else { Outcome::Refused });
        assert_eq!(record.instance.is_some(), status == 200);
        if token.is_none() {
            let sentence = record.message.unwrap();
            assert!(sentence.starts_with("The request was not authenticated."), "{sentence}");
        }
    }
    assert_eq!(bench.load("r1").arrivals, 1, "who may not invoke a service causes no instance");
    let asked = bench.doorman.asked.lock().unwrap();
    assert_eq!(asked[0], (service("hello").to_string(), None));
    assert_eq!(asked[4].1.as_deref(), Some("owner"));
}

#[tokio::test]
async fn s10_the_container_does_not_get_a_token_it_could_use() {
    let bench = bench().await;
    let (sender, mut heads) = mpsc::channel(8);
    let address = container::serve(move |request| {
        sender.try_send(request.headers().clone()).unwrap();
        async { http::Response::new(full("ok")) }
    })
    .await;
    bench.instance("i1", address);
    bench.publish(private());
    let token = "Bearer owner.claims.signature";
    bench.send(Request::get("/").header("authorization", token).body(empty()).unwrap()).await;
    assert_eq!(heads.recv().await.unwrap()["authorization"], "Bearer owner.claims.SIGNATURE_REMOVED_BY_GOOGLE");

    let both = Request::get("/").header("authorization", "Basic own").header("x-serverless-authorization", token);
    bench.send(both.body(empty()).unwrap()).await;
    assert_eq!(heads.recv().await.unwrap()["authorization"], "Basic own");
}

#[tokio::test]
async fn s10_nobody_is_asked_for_a_public_service() {
    let bench = bench().await;
    bench.instance("i1", container::named("open").await);
    bench.publish(table("r1", revision(80, &["i1"])));
    let request = Request::get("/").header("authorization", "Bearer whatever").body(empty()).unwrap();
    assert_eq!(text(&bench.send(request).await), "open");
    assert!(bench.doorman.asked.lock().unwrap().is_empty());
}
