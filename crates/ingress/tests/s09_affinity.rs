//! Row S09: clients come back to their instance.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use bytes::Bytes;
use http::{Method, Response};
use support::container;
use support::*;

/// `GET /` with a cookie; the answering instance's name, and the cookie that it sets.
async fn ask(bench: &Bench, cookie: Option<&str>) -> (String, Option<String>) {
    let mut request = request(Method::GET, "/", empty());
    if let Some(cookie) = cookie {
        request.headers_mut().insert("cookie", cookie.parse().unwrap());
    }
    let response = bench.send(request).await;
    assert_eq!(response.status(), 200);
    (text(&response).to_owned(), set_cookie(&response))
}

fn set_cookie(response: &Response<Bytes>) -> Option<String> {
    let cookie = response.headers().get("set-cookie")?.to_str().unwrap();
    let (pair, attributes) = cookie.split_once("; ").unwrap();
    assert_eq!(attributes, "Max-Age=2592000; Path=/; HttpOnly");
    Some(pair.to_owned())
}

#[tokio::test]
async fn s09_a_client_comes_back_to_its_instance_across_the_split_until_that_goes() {
    let bench = bench().await;
    for name in ["i1", "i2", "j1"] {
        bench.instance(name, container::named(name).await);
    }
    let sticky = |instances| homerun_ingress::RevisionRoute { affinity: true, ..revision(1, instances) };
    let split = || route(&[("one", 50), ("two", 50)]);
    bench.publish(tables(&[(HOST, split())], &[("one", sticky(&["i1", "i2"])), ("two", sticky(&["j1"]))]));

    let (first, cookie) = ask(&bench, None).await;
    let cookie = cookie.expect("a client without a cookie gets one");
    for _ in 0..20 {
        assert_eq!(ask(&bench, Some(&cookie)).await, (first.clone(), None), "the same instance, and no new cookie");
    }
    let (_, other) = ask(&bench, Some("a=b; GAESA=0000000000000000")).await;
    assert!(other.is_some(), "a cookie that names no instance is replaced");

    // The instance has gone: another answers, and is the client's from now on.
    let left: Vec<&str> = ["i1", "i2"].into_iter().filter(|name| *name != first).collect();
    let two = if first == "j1" { sticky(&[]) } else { sticky(&["j1"]) };
    bench.publish(tables(
        &[(HOST, if first == "j1" { route(&[("one", 100)]) } else { split() })],
        &[("one", sticky(&left)), ("two", two)],
    ));
    let (second, cookie) = ask(&bench, Some(&cookie)).await;
    let cookie = cookie.expect("the new instance's cookie");
    assert_ne!(second, first);
    assert_eq!(ask(&bench, Some(&cookie)).await, (second, None));
}

#[tokio::test]
async fn s09_a_client_whose_instance_is_full_goes_to_another() {
    let bench = bench().await;
    let (gate, address) = container::Gate::serve().await;
    bench.instance("i1", address);
    bench.instance("i2", container::named("i2").await);
    let sticky = homerun_ingress::RevisionRoute { affinity: true, ..revision(1, &["i1", "i2"]) };
    bench.publish(table("r1", sticky));
    let first = tokio::spawn(bench.http1().await.send_request(to(request(Method::GET, "/", empty()), HOST)));
    until("it is inside", || bench.ingress.in_flight(&"i1".into()) == 1).await;
    gate.let_go(1);
    let response = in_time("the first", first).await.unwrap().unwrap();
    let cookie = response.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    until("it is over", || bench.ingress.in_flight(&"i1".into()) == 0).await;

    let mut again = to(request(Method::GET, "/", empty()), HOST);
    again.headers_mut().insert("cookie", cookie.parse().unwrap());
    let holds = tokio::spawn(bench.http1().await.send_request(again));
    until("it is inside again", || bench.ingress.in_flight(&"i1".into()) == 1).await;
    assert_eq!(ask(&bench, Some(&cookie)).await.0, "i2");
    gate.let_go(1);
    assert_eq!(in_time("the second", holds).await.unwrap().unwrap().status(), 200);
}

#[tokio::test]
async fn s09_without_affinity_no_cookie_is_set() {
    let bench = bench().await;
    bench.instance("i1", container::named("i1").await);
    bench.publish(table("r1", revision(1, &["i1"])));
    assert_eq!(ask(&bench, None).await, ("i1".to_owned(), None));
}
