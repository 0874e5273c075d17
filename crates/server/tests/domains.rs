//! Row S16: hosts of one's own, and services without a URL of theirs.

mod common;

use std::time::{Duration, Instant};

use common::{SERVICES, Stack, condition, service};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

const MAPPINGS: &str = "/apis/domains.cloudrun.com/v1/namespaces/demo/domainmappings";

/// A mapping as gcloud sends it.
fn mapping(domain: &str, service: &str, force: bool) -> Value {
    json!({
        "apiVersion": "domains.cloudrun.com/v1", "kind": "DomainMapping",
        "metadata": {"name": domain, "namespace": "demo", "annotations": {"run.googleapis.com/launch-stage": "BETA"}},
        "spec": {"routeName": service, "forceOverride": force},
    })
}

async fn status(stack: &Stack, host: &str) -> StatusCode {
    let request = stack.client.get(format!("http://{}/", stack.up.ingress)).header("host", host);
    request.send().await.expect("an answer").status()
}

/// Waits until requests for a host are answered so.
async fn until(stack: &Stack, host: &str, wanted: StatusCode) {
    let begun = Instant::now();
    loop {
        let now = status(stack, host).await;
        if now == wanted {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{host}: {now} instead of {wanted}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn with_hello() -> Stack {
    let stack = Stack::start_with("none", |config| config.ingress.domains.push("example.com".to_owned())).await;
    stack.create(service("hello", "sim/hello", false)).await;
    stack.settled("hello").await;
    stack.make_public("hello").await;
    stack
}

#[tokio::test(flavor = "multi_thread")]
async fn s16_a_mapped_host_leads_to_its_service_until_it_is_unmapped() {
    let stack = with_hello().await;
    assert_eq!(status(&stack, "www.example.com").await, StatusCode::NOT_FOUND);
    let (code, made) = stack.call(Method::POST, MAPPINGS, Some(mapping("www.example.com", "hello", false))).await;
    assert_eq!(code, StatusCode::OK, "{made:#}");
    until(&stack, "WWW.example.com:8080", StatusCode::OK).await;

    let seen = stack.get(&format!("{MAPPINGS}/www.example.com")).await;
    assert_eq!(condition(&seen, "Ready")["status"], "True", "{seen:#}");
    assert_eq!(seen["status"]["resourceRecords"], json!([{"name": "www", "type": "A", "rrdata": "127.0.0.1"}]));
    assert_eq!(seen["status"]["mappedRouteName"], "hello");
    let domains = stack.get("/v1/projects/demo/authorizeddomains").await;
    assert_eq!(domains["domains"][1]["id"], "example.com");

    let (code, again) = stack.call(Method::POST, MAPPINGS, Some(mapping("www.example.com", "hello", false))).await;
    assert_eq!((code, &again["error"]["status"]), (StatusCode::CONFLICT, &json!("ALREADY_EXISTS")), "{again:#}");
    let (code, _) = stack.call(Method::DELETE, &format!("{MAPPINGS}/www.example.com"), None).await;
    assert_eq!(code, StatusCode::OK);
    until(&stack, "www.example.com", StatusCode::NOT_FOUND).await;
    assert_eq!(stack.visit("hello", "/").await.0, StatusCode::OK, "its own URL has stayed");
    let (code, _) = stack.call(Method::DELETE, &format!("{MAPPINGS}/www.example.com"), None).await;
    assert_eq!(code, StatusCode::NOT_FOUND);
    stack.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s16_a_wrong_mapping_is_told_all_that_is_wrong() {
    let stack = with_hello().await;
    let (code, answer) = stack.call(Method::POST, MAPPINGS, Some(mapping("www.other.net", "absent", false))).await;
    assert_eq!(code, StatusCode::BAD_REQUEST);
    let fields = answer["error"]["details"][0]["fieldViolations"].as_array().expect("violations");
    let fields: Vec<_> = fields.iter().map(|violation| violation["field"].as_str().expect("a field")).collect();
    assert_eq!(fields, ["metadata.name", "spec.routeName"], "{answer:#}");
    let mut wrong = mapping("www.example.com", "hello", false);
    wrong["spec"]["certificateMode"] = json!("SOME");
    let (code, answer) = stack.call(Method::POST, MAPPINGS, Some(wrong)).await;
    assert!(code == StatusCode::BAD_REQUEST && answer.to_string().contains("NONE or AUTOMATIC"), "{answer:#}");
    let dry = format!("{MAPPINGS}?dryRun=all");
    let (code, _) = stack.call(Method::POST, &dry, Some(mapping("www.example.com", "hello", false))).await;
    assert_eq!(code, StatusCode::OK);
    assert_eq!(stack.get(MAPPINGS).await["items"], Value::Null, "nothing was stored");
    stack.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s16_a_host_that_two_want_is_the_first_ones_until_it_is_taken_by_force() {
    let stack = with_hello().await;
    let there = "/v1/projects/demo/locations/europe-west1";
    let (code, answer) =
        stack.call(Method::POST, &format!("{there}/services"), Some(service("away", "sim/hello", false))).await;
    assert_eq!(code, StatusCode::OK, "{answer:#}");
    let make = async |path: &str, service: &str, force| {
        let (code, made) = stack.call(Method::POST, path, Some(mapping("a.localhost", service, force))).await;
        assert_eq!(code, StatusCode::OK, "{made:#}");
        condition(&made, "Ready")["reason"].clone()
    };
    let elsewhere = format!("{there}/domainmappings");
    assert_eq!(make(MAPPINGS, "hello", false).await, Value::Null);
    until(&stack, "a.localhost", StatusCode::OK).await;
    assert_eq!(make(&elsewhere, "away", false).await, "MappingAlreadyExists");
    assert_eq!(status(&stack, "a.localhost").await, StatusCode::OK);
    stack.call(Method::DELETE, &format!("{elsewhere}/a.localhost"), None).await;
    assert_eq!(make(&elsewhere, "away", true).await, Value::Null);
    // That service is not public.
    until(&stack, "a.localhost", StatusCode::FORBIDDEN).await;
    let first = stack.get(&format!("{MAPPINGS}/a.localhost")).await;
    assert_eq!(condition(&first, "Ready")["reason"], "MappingAlreadyExists");
    stack.call(Method::DELETE, &format!("{elsewhere}/a.localhost"), None).await;
    until(&stack, "a.localhost", StatusCode::OK).await;
    stack.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s16_mappings_outlive_a_restart_and_lists_come_in_pages() {
    let stack = with_hello().await;
    for domain in ["c.localhost", "a.localhost", "b.localhost"] {
        let (code, made) = stack.call(Method::POST, MAPPINGS, Some(mapping(domain, "hello", false))).await;
        assert_eq!(code, StatusCode::OK, "{made:#}");
    }
    let dir = stack.end().await;
    let stack = Stack::start_in(dir, "none", |_| {}).await;
    let mut names = Vec::new();
    let mut token = String::new();
    loop {
        let page = stack.get(&format!("{MAPPINGS}?limit=1&continue={token}")).await;
        names.push(page["items"][0]["metadata"]["name"].as_str().expect("a name").to_owned());
        match page["metadata"]["continue"].as_str() {
            Some(next) => token = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(names, ["a.localhost", "b.localhost", "c.localhost"]);
    until(&stack, "b.localhost", StatusCode::OK).await;
    stack.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s10_a_service_whose_default_url_is_disabled_is_reached_by_its_own_hosts_alone() {
    let stack = with_hello().await;
    stack.call(Method::POST, MAPPINGS, Some(mapping("www.example.com", "hello", false))).await;
    let put = async |disabled: &str| {
        let mut hello = service("hello", "sim/hello", false);
        hello["metadata"]["annotations"]["run.googleapis.com/default-url-disabled"] = json!(disabled);
        hello["spec"]["traffic"] = json!([{"latestRevision": true, "percent": 100, "tag": "blue"}]);
        let (code, answer) = stack.call(Method::PUT, &format!("{SERVICES}/hello"), Some(hello)).await;
        assert_eq!(code, StatusCode::OK, "{answer:#}");
        stack.settled("hello").await;
        stack.get(&format!("{SERVICES}/hello")).await
    };
    let hosts = ["hello-100000000001.us-central1.run.localhost", "blue---hello-100000000001.us-central1.run.localhost"];
    let disabled = put("True").await;
    assert_eq!(disabled["metadata"]["annotations"]["run.googleapis.com/default-url-disabled"], "true");
    for absent in ["/status/url", "/status/address", "/status/traffic/0/url"] {
        assert_eq!(disabled.pointer(absent), None, "{disabled:#}");
    }
    assert_eq!(disabled["metadata"]["annotations"].get("run.googleapis.com/urls"), None);
    for host in hosts {
        until(&stack, host, StatusCode::NOT_FOUND).await;
    }
    assert_eq!(status(&stack, "www.example.com").await, StatusCode::OK);

    let enabled = put("False").await;
    assert!(enabled["status"]["url"].as_str().is_some_and(|url| url.contains(hosts[0])), "{enabled:#}");
    for host in hosts {
        until(&stack, host, StatusCode::OK).await;
    }
    let mut wrong = service("hello", "sim/hello", false);
    wrong["metadata"]["annotations"]["run.googleapis.com/default-url-disabled"] = json!("perhaps");
    let (code, answer) = stack.call(Method::PUT, &format!("{SERVICES}/hello"), Some(wrong)).await;
    assert!(code == StatusCode::BAD_REQUEST && answer.to_string().contains("'true' or 'false'"), "{answer:#}");
    stack.end().await;
}
