//! Operations over HTTP: what became of changes of services.

mod common;

use std::time::{Duration, Instant};

use common::{SERVICES, Stack, service};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

const OPERATIONS: &str = "/v1/projects/demo/locations/us-central1/operations";

async fn newest(stack: &Stack) -> Value {
    stack.get(&format!("{OPERATIONS}?pageSize=1")).await["operations"][0].clone()
}

fn path(operation: &Value) -> String {
    format!("/v1/{}", operation["name"].as_str().expect("a name"))
}

async fn wait(stack: &Stack, operation: &Value, timeout: &str) -> Value {
    let body = json!({"timeout": timeout});
    let (status, answer) = stack.call(Method::POST, &format!("{}:wait", path(operation)), Some(body)).await;
    assert_eq!(status, StatusCode::OK, "{answer:#}");
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn s01_an_operation_ends_with_its_service_and_stays_as_it_ended() {
    let stack = Stack::start("none").await;
    stack.create(service("hello", "sim/slow?ms=400", false)).await;
    let made = newest(&stack).await;
    assert_eq!(made.get("done"), None, "{made:#}");
    assert_eq!(wait(&stack, &made, "0.05s").await.get("done"), None, "it takes longer than that");
    let begun = Instant::now();
    let done = wait(&stack, &made, "30s").await;
    assert!(begun.elapsed() < Duration::from_secs(5), "told at once: {:?}", begun.elapsed());
    assert_eq!((&done["done"], &done["response"]["metadata"]["name"]), (&json!(true), &json!("hello")), "{done:#}");

    let put = |image: &'static str| {
        stack.call(
            Method::PUT,
            "/apis/serving.knative.dev/v1/namespaces/demo/services/hello",
            Some(service("hello", image, false)),
        )
    };
    assert_eq!(put("sim/exits").await.0, StatusCode::OK);
    let failed = wait(&stack, &newest(&stack).await, "30s").await;
    assert_eq!(failed["error"]["code"], 9, "{failed:#}");
    assert!(failed["error"]["message"].as_str().is_some_and(|m| m.contains("called exit(1)")), "{failed:#}");
    assert_eq!(put("sim/hello").await.0, StatusCode::OK);
    assert!(wait(&stack, &newest(&stack).await, "30s").await["response"].is_object());
    assert_eq!(stack.get(&path(&failed)).await, failed, "what has ended stays as it ended");

    assert_eq!(put("sim/slow?ms=600000").await.0, StatusCode::OK);
    let superseded = newest(&stack).await;
    assert_eq!(put("sim/slow?ms=600001").await.0, StatusCode::OK);
    let superseded = wait(&stack, &superseded, "5s").await;
    assert_eq!(superseded["error"]["code"], 10, "{superseded:#}");
    let deleted = newest(&stack).await;
    assert_eq!(stack.call(Method::DELETE, &format!("{SERVICES}/hello"), None).await.0, StatusCode::OK);
    let deleted = wait(&stack, &deleted, "5s").await;
    assert!(deleted["error"]["message"].as_str().is_some_and(|m| m.contains("was deleted")), "{deleted:#}");

    let count = async |query: &str| {
        let page = stack.get(&format!("{OPERATIONS}?{query}")).await;
        page["operations"].as_array().map_or(0, Vec::len)
    };
    assert_eq!([count("").await, count("filter=done:true").await, count("filter=done%3Dfalse").await], [5, 5, 0]);
    let first = stack.get(&format!("{OPERATIONS}?pageSize=3")).await;
    let rest = stack.get(&format!("{OPERATIONS}?pageToken={}", first["nextPageToken"].as_str().expect("more"))).await;
    assert_eq!(rest["operations"].as_array().map(Vec::len), Some(2), "{rest:#}");

    let dir = stack.end().await;
    let stack = Stack::start_in(dir, "none", |_| {}).await;
    assert_eq!(stack.get(&path(&failed)).await, failed, "a restart changes nothing");
    assert_eq!(stack.call(Method::DELETE, &path(&failed), None).await.0, StatusCode::OK);
    assert_eq!(stack.call(Method::GET, &path(&failed), None).await.0, StatusCode::NOT_FOUND);
    for (query, field) in [("filter=late", "filter"), ("pageToken=x", "pageToken")] {
        let (status, answer) = stack.call(Method::GET, &format!("{OPERATIONS}?{query}"), None).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert!(answer["error"]["message"].as_str().is_some_and(|m| m.starts_with(field)), "{answer:#}");
    }
    stack.end().await;
}
