//! Logs over HTTP: Cloud Logging's `entries:list`, with simulated instances.

mod common;

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use common::browser::Browser;
use common::{Stack, service};
use homerun_server::config::LogsConfig;
use reqwest::header::USER_AGENT;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

const LIST: &str = "/v2/entries:list";
const OF_HELLO: &str = "resource.type = cloud_run_revision \n AND resource.labels.service_name = hello \n AND \
                        resource.labels.location = us-central1 \n AND severity >= DEFAULT \n";

async fn list(stack: &Stack, filter: &str) -> Vec<Value> {
    let body =
        json!({"resourceNames": ["projects/demo"], "filter": filter, "orderBy": "timestamp desc", "pageSize": 1000});
    let (status, body) = stack.call(Method::POST, LIST, Some(body)).await;
    assert_eq!(status, StatusCode::OK, "{filter}: {body:#}");
    body["entries"].as_array().cloned().unwrap_or_default()
}

/// The entries that a filter finds, once there are `count`.
async fn found(stack: &Stack, filter: &str, count: usize) -> Vec<Value> {
    let begun = Instant::now();
    loop {
        let entries = list(stack, filter).await;
        if entries.len() == count {
            return entries;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{filter}: {count} wanted: {entries:#?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A stack with a public, ready service.
async fn with_service(name: &str, image: &str) -> Stack {
    let stack = Stack::start("none").await;
    deploy(&stack, name, image).await;
    stack
}

async fn deploy(stack: &Stack, name: &str, image: &str) {
    stack.create(service(name, image, false)).await;
    assert_eq!(stack.settled(name).await["status"], "True");
    stack.make_public(name).await;
}

async fn g24_the_console_finds_structured_entries_by_their_text(stack: &Stack) {
    let mut visitor = Browser::owner(stack).await;
    let page = visitor.page("/console/demo/services/us-central1/hello/logs?text=BROKE").await;
    assert!(page.contains("&quot;message&quot;:&quot;broke&quot;"), "{page}");
    assert!(!page.contains("<code>plain text</code>"), "{page}");
    let page = visitor.page("/console/demo/services/us-central1/hello/logs?text=cloud_run_revision").await;
    assert!(page.contains("There are no log entries like this."), "the resource is no text of an entry: {page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn s12_lines_of_a_container_are_entries_as_cloud_run_writes_them() {
    let stack = with_service("hello", "sim/prints").await;
    let json = "%7B%22severity%22:%22ERROR%22,%22message%22:%22broke%22,%22part%22:7%7D";
    for line in ["plain%20text", json, "%7B%22message%22:%22only%22,%22severity%22:%22notice%22%7D"] {
        assert_eq!(stack.visit("hello", &format!("/?{line}")).await.0, StatusCode::OK);
    }
    let entries = found(&stack, &format!("{OF_HELLO} AND log_id(\"run.googleapis.com/stdout\")"), 3).await;
    g24_the_console_finds_structured_entries_by_their_text(&stack).await;
    let plain = &entries[2];
    assert_eq!(plain["logName"], "projects/demo/logs/run.googleapis.com%2Fstdout");
    assert_eq!(plain["resource"]["type"], "cloud_run_revision");
    let labels = &plain["resource"]["labels"];
    for (label, value) in [
        ("project_id", "demo"),
        ("location", "us-central1"),
        ("service_name", "hello"),
        ("configuration_name", "hello"),
    ] {
        assert_eq!(labels[label], value, "{labels:#}");
    }
    let revision = labels["revision_name"].as_str().unwrap_or_default();
    assert!(revision.starts_with("hello-00001-"), "{revision}");
    assert!(plain["labels"]["instanceId"].as_str().is_some_and(|id| !id.is_empty()), "{plain:#}");
    assert_eq!((&plain["textPayload"], plain.get("severity")), (&json!("plain text"), None));
    let structured = &entries[1];
    assert_eq!(structured["jsonPayload"], json!({"message": "broke", "part": 7}));
    assert_eq!((&structured["severity"], structured.get("textPayload")), (&json!("ERROR"), None));
    assert_eq!((&entries[0]["textPayload"], &entries[0]["severity"]), (&json!("only"), &json!("NOTICE")));
    assert_ne!(plain["insertId"], structured["insertId"]);
    assert!(plain["receiveTimestamp"].as_str() >= plain["timestamp"].as_str());

    found(&stack, "severity>=ERROR AND jsonPayload.part > 6", 1).await;
    found(&stack, &format!("resource.labels.revision_name = {revision} AND \"plain\" AND NOT httpRequest:*"), 1).await;
    found(&stack, "resource.labels.service_name = other", 0).await;
    stack.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s12_requests_are_entries_with_their_latency_and_status() {
    let stack = with_service("hello", "sim/hello").await;
    assert_eq!(stack.visit("hello", "/find?q=1").await.0, StatusCode::OK);
    let found_entries = found(&stack, "httpRequest.requestUrl:\"/find\"", 1).await;
    let entry = &found_entries[0];
    assert_eq!(entry["logName"], "projects/demo/logs/run.googleapis.com%2Frequests");
    let request = &entry["httpRequest"];
    assert_eq!(request["requestMethod"], "GET");
    assert_eq!(request["requestUrl"], "http://hello-100000000001.us-central1.run.localhost/find?q=1");
    assert_eq!((&request["status"], &request["protocol"]), (&json!(200), &json!("HTTP/1.1")));
    assert_eq!((&request["remoteIp"], &request["requestSize"]), (&json!("127.0.0.1"), &json!("0")));
    assert!(request["responseSize"].as_str().and_then(|size| size.parse::<u64>().ok()).is_some_and(|size| size > 20));
    let latency = request["latency"].as_str().and_then(|text| text.strip_suffix('s')?.parse::<f64>().ok());
    assert!(latency.is_some_and(|seconds| seconds > 0.0 && seconds < 30.0), "{request:#}");
    assert_eq!(entry["severity"], "INFO");
    let trace = entry["trace"].as_str().unwrap_or_default();
    assert_eq!((trace.starts_with("projects/demo/traces/"), trace.len()), (true, "projects/demo/traces/".len() + 32));
    assert_eq!(entry["spanId"].as_str().map(str::len), Some(16));

    // One that the service's policy refuses.
    stack.create(service("private", "sim/hello", false)).await;
    stack.settled("private").await;
    assert_eq!(stack.visit("private", "/").await.0, StatusCode::FORBIDDEN);
    let refused = found(&stack, "resource.labels.service_name=private AND httpRequest.status=403", 1).await;
    assert_eq!(refused[0]["severity"], "WARNING");
    stack.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s12_pages_follow_each_other_and_survive_a_restart() {
    let stack = with_service("hello", "sim/prints").await;
    for number in 0..25 {
        stack.visit("hello", &format!("/?line-{number:02}")).await;
    }
    found(&stack, "textPayload:\"line-\"", 25).await;
    let dir = stack.end().await;
    let stack = Stack::start_in(dir, "none", |_| {}).await;
    for (order, reversed) in [("timestamp asc", false), ("timestamp desc", true), ("", false)] {
        let (mut lines, mut token, mut pages) = (Vec::new(), String::new(), 0);
        loop {
            let body = json!({
                "resourceNames": ["projects/100000000001"], "filter": "textPayload:line", "orderBy": order,
                "pageSize": 10, "pageToken": token,
            });
            let (status, body) = stack.call(Method::POST, LIST, Some(body)).await;
            assert_eq!(status, StatusCode::OK, "{body:#}");
            let entries = body["entries"].as_array().expect("entries");
            lines.extend(entries.iter().map(|entry| entry["textPayload"].as_str().unwrap_or_default().to_owned()));
            pages += 1;
            match body["nextPageToken"].as_str() {
                Some(next) => token = next.to_owned(),
                None => break,
            }
        }
        let mut expected: Vec<String> = (0..25).map(|number| format!("line-{number:02}")).collect();
        if reversed {
            expected.reverse();
        }
        assert_eq!((lines, pages), (expected, 3), "{order}");
    }
    stack.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s12_the_log_of_a_deleted_service_stays() {
    let stack = with_service("hello", "sim/prints").await;
    stack.visit("hello", "/?goodbye").await;
    let path = format!("{}/hello", common::SERVICES);
    assert_eq!(stack.call(Method::DELETE, &path, None).await.0, StatusCode::OK);
    stack.until("no services", |status| status["services"].as_array().is_some_and(Vec::is_empty)).await;
    found(&stack, "textPayload=goodbye", 1).await;
    stack.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s12_a_wrong_request_is_told_what_is_wrong() {
    let stack = Stack::start("none").await;
    let projects = json!(["projects/demo"]);
    for (body, message) in [
        (
            json!({"resourceNames": projects, "filter": "severity>=LOUD"}),
            "filter: at character 11: \"LOUD\" is no severity",
        ),
        (json!({"resourceNames": projects, "orderBy": "severity"}), "orderBy: \"severity\" is no order"),
        (json!({"resourceNames": projects, "pageSize": -1}), "pageSize: -1 is less than 0"),
        (json!({"resourceNames": projects, "pageToken": "x"}), "pageToken: it is not from the answer"),
        (json!({"resourceNames": ["folders/1"]}), "resourceNames: \"folders/1\" is none"),
        (json!({}), "resourceNames: name 1 to 100 resources"),
        (json!({"resourceNames": projects, "fliter": ""}), "Unknown name \"fliter\""),
    ] {
        let (status, answer) = stack.call(Method::POST, LIST, Some(body)).await;
        let found = answer["error"]["message"].as_str().unwrap_or_default();
        assert!(found.contains(message), "{message}: {answer:#}");
        assert_eq!((status, &answer["error"]["status"]), (StatusCode::BAD_REQUEST, &json!("INVALID_ARGUMENT")));
    }
    let (status, _) = stack.call(Method::POST, LIST, Some(json!({"resourceNames": ["projects/other"]}))).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    let anonymous = stack.client.post(format!("http://{}{LIST}", stack.up.control)).body("{}").send().await;
    assert_eq!(anonymous.expect("an answer").status(), StatusCode::UNAUTHORIZED);
    stack.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s12_gclouds_reader_of_run_logs_gets_a_text_for_every_line() {
    let stack = with_service("hello", "sim/prints").await;
    stack.visit("hello", "/?%7B%22message%22:%22told%22,%22a%22:1%7D").await;
    stack.visit("hello", "/?%7B%22b%22:2%7D").await;
    let filter = "log_id(\"run.googleapis.com/stdout\")";
    found(&stack, filter, 2).await;
    for (command, texts) in [
        ("gcloud.run.services.logs.read", json!(["{\"b\":2}", "told"])),
        ("gcloud.beta.run.revisions.logs.read", json!(["{\"b\":2}", "told"])),
        ("gcloud.logging.read", json!([null, null])),
    ] {
        let body = json!({"resourceNames": ["projects/demo"], "filter": filter, "orderBy": "timestamp desc"});
        let request = stack.client.post(format!("http://{}{LIST}", stack.up.control)).bearer_auth(&stack.token);
        let agent = format!("gcloud/528.0.0 command/{command} invocation-id/1");
        let answer = request.header(USER_AGENT, agent).json(&body).send().await.expect("an answer");
        let answer: Value = answer.json().await.expect("JSON");
        let found: Vec<&Value> =
            answer["entries"].as_array().into_iter().flatten().map(|e| &e["textPayload"]).collect();
        assert_eq!(json!(found), texts, "{command}");
        assert!(answer["entries"][0]["jsonPayload"].is_object(), "{answer:#}");
    }
    stack.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s12_a_container_that_logs_50_mib_per_second_harms_nobody() {
    let mib = |number| NonZeroU32::new(number).expect("more than 0");
    let stack = Stack::start_with("none", |config| {
        config.logs = LogsConfig { service_mib: mib(4), service_mib_per_second: mib(1), ..LogsConfig::default() };
    })
    .await;
    let mut flood = service("flood", "sim/floods?mib=50", false);
    flood["spec"]["template"]["metadata"]["annotations"]["homerun.dev/idle-timeout"] = json!("600s");
    stack.create(flood).await;
    assert_eq!(stack.settled("flood").await["status"], "True");
    deploy(&stack, "hello", "sim/prints").await;
    let (begun, mut slowest, mut visits) = (Instant::now(), Duration::ZERO, 0);
    while begun.elapsed() < Duration::from_secs(4) {
        let sent = Instant::now();
        assert_eq!(stack.visit("hello", &format!("/?visit-{visits}")).await.0, StatusCode::OK);
        slowest = slowest.max(sent.elapsed());
        visits += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(slowest < Duration::from_secs(2), "requests to another service: {slowest:?}");
    found(&stack, "textPayload:\"visit-\" AND log_id(\"run.googleapis.com/stdout\")", visits).await;
    let told = list(&stack, "resource.labels.service_name=flood AND severity=WARNING AND \"were dropped\"").await;
    assert!(!told.is_empty(), "an entry says how many lines were dropped");
    let logs = stack.up.platform.config.data_dir.join("logs/demo/us-central1/flood");
    let bytes: u64 =
        std::fs::read_dir(logs).expect("a folder").flatten().map(|f| f.metadata().map_or(0, |m| m.len())).sum();
    assert!(bytes <= 4 << 20, "{bytes}");
    stack.end().await;
}
