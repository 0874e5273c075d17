//! Metrics over the API, with simulated instances (row G24).

mod common;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use chrono::{TimeDelta, Utc};
use common::{Stack, service};
use homerun_model::Timestamp;
use homerun_server::clock::Clock;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

const METRICS: &str = "/homerun/v1/projects/demo/metrics";

/// A clock that goes on only when it is told to.
struct HandClock(Mutex<Timestamp>);

impl HandClock {
    /// It stands in the middle of a minute.
    fn new() -> Arc<Self> {
        let minute = Utc::now().timestamp() / 60 * 60;
        Arc::new(Self(Mutex::new(Timestamp::from_timestamp(minute + 30, 0).expect("in range"))))
    }

    fn pass(&self, time: TimeDelta) {
        *self.0.lock().expect("no panic") += time;
    }
}

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().expect("no panic")
    }
}

fn points(metrics: &Value) -> Vec<Value> {
    metrics["points"].as_array().cloned().unwrap_or_default()
}

/// A number, all points together.
fn sum(metrics: &Value, pointer: &str) -> f64 {
    points(metrics).iter().filter_map(|point| point.pointer(pointer)?.as_f64()).sum()
}

/// Asks until it is as it should be.
async fn until(stack: &Stack, query: &str, holds: impl Fn(&Value) -> bool) -> Value {
    let begun = Instant::now();
    loop {
        let metrics = stack.get(&format!("{METRICS}?{query}")).await;
        if holds(&metrics) {
            return metrics;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "never: {metrics:#}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Waits until a minute is in the database.
async fn written(stack: &Stack) {
    let begun = Instant::now();
    let database = rusqlite::Connection::open(stack.dir.path().join("metrics.db")).expect("the database opens");
    let count = || database.query_row("SELECT count(*) FROM minutes", [], |row| row.get::<_, i64>(0));
    while count().expect("a count") == 0 {
        assert!(begun.elapsed() < Duration::from_secs(30), "no minute was written");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn g24_requests_starts_and_instances_show_at_once_and_outlive_a_restart() {
    let clock = HandClock::new();
    let dir = tempfile::tempdir().expect("a folder");
    let stack = Stack::start_at(dir, "none", |_| {}, clock.clone()).await;
    stack.create(service("web", "sim/hello", false)).await;
    assert_eq!(stack.settled("web").await["status"], "True");
    assert_eq!(stack.visit("web", "/").await.0, StatusCode::FORBIDDEN);
    stack.make_public("web").await;
    for _ in 0..3 {
        assert_eq!(stack.visit("web", "/").await.0, StatusCode::OK);
    }
    let whole = |metrics: &Value| {
        (sum(metrics, "/requests/2xx"), sum(metrics, "/requests/4xx")) == (3.0, 1.0)
            && sum(metrics, "/starts/count") >= 1.0
            && sum(metrics, "/instances/ready/mean") > 0.0
    };
    let now = until(&stack, "service=web&region=us-central1", whole).await;
    let last = points(&now).last().cloned().unwrap_or_default();
    assert_eq!((now["stepSeconds"].as_i64(), last["seconds"].as_f64()), (Some(60), Some(30.0)), "{now:#}");
    assert!(last["latency"]["p50Millis"].as_f64() <= last["latency"]["p99Millis"].as_f64(), "{last:#}");
    let steps = last["starts"]["steps"].as_array().cloned().unwrap_or_default();
    assert!(steps.iter().any(|step| step["step"] == "start" && step["meanMillis"].is_number()), "{last:#}");

    // The next minute: what was is written, and what is new is beside it.
    clock.pass(TimeDelta::minutes(1));
    written(&stack).await;
    assert_eq!(stack.visit("web", "/").await.0, StatusCode::OK);
    let four = |metrics: &Value| sum(metrics, "/requests/2xx") == 4.0;
    let after = until(&stack, "service=web", four).await;
    let by_minute: Vec<f64> = points(&after).iter().filter_map(|point| point["requests"]["2xx"].as_f64()).collect();
    assert_eq!(by_minute, [3.0, 1.0], "{after:#}");

    let dir = stack.end().await;
    let stack = Stack::start_at(dir, "none", |_| {}, clock.clone()).await;
    let again = stack.get(&format!("{METRICS}?service=web")).await;
    assert!(four(&again) && sum(&again, "/requests/4xx") == 1.0, "{again:#}");
    // A day later they are in longer steps, and all services together are this one.
    clock.pass(TimeDelta::days(20));
    let from = (clock.now() - TimeDelta::days(30)).format("%Y-%m-%dT%H:%M:%SZ");
    let month = stack.get(&format!("{METRICS}?from={from}")).await;
    assert!(four(&month) && month["stepSeconds"] == 10_800, "{month:#}");
    stack.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn g24_a_simulated_gpu_says_that_it_is_one() {
    let stack = Stack::start("simulated:nvidia-l4=1").await;
    let mut ocr = service("ocr", "sim/busy?cpu=2000", true);
    ocr["spec"]["template"]["metadata"]["annotations"]["autoscaling.knative.dev/minScale"] = json!("1");
    stack.create(ocr).await;
    assert_eq!(stack.settled("ocr").await["status"], "True");
    let id = stack.get("/homerun/v1/status").await["gpus"][0]["id"].as_str().expect("a GPU").to_owned();
    let busy = |metrics: &Value| {
        let gpus: Vec<Value> = points(metrics).iter().filter_map(|point| point["gpus"].get(&id).cloned()).collect();
        gpus.iter().any(|gpu| gpu["mostBusy"].as_f64().is_some_and(|busy| (0.4..0.6).contains(&busy)))
    };
    let found = until(&stack, "service=ocr", busy).await;
    assert_eq!((&found["gpus"][0]["simulated"], &found["gpus"][0]["id"]), (&json!(true), &json!(id)), "{found:#}");
    assert!(found["notes"][0].as_str().is_some_and(|note| note.contains("simulated")), "{found:#}");
    let used =
        points(&found).iter().filter_map(|point| point["gpus"][&id]["mostMemoryBytes"].as_f64()).fold(0.0, f64::max);
    assert_eq!(used, f64::from(1 << 30) * 4.0, "a quarter of its 16 GiB");
    stack.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn g24_metrics_are_for_who_may_read_them_and_a_wrong_question_says_what_is_wrong() {
    let stack = Stack::start("none").await;
    stack.create(service("web", "sim/hello", false)).await;
    for (query, status, expected) in [
        ("service=web", StatusCode::OK, ""),
        ("", StatusCode::OK, ""),
        ("service=nobody", StatusCode::NOT_FOUND, "Service 'nobody' was not found."),
        ("service=web&region=europe-west1", StatusCode::NOT_FOUND, "Service 'web' was not found."),
        ("region=us-central1", StatusCode::BAD_REQUEST, "name the service too"),
        ("from=yesterday", StatusCode::BAD_REQUEST, "'yesterday' is no time"),
        ("from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", StatusCode::BAD_REQUEST, "must be before 'to'"),
        ("from=2999-01-01T00:00:00Z&to=2999-01-02T00:00:00Z", StatusCode::BAD_REQUEST, "lies in the future"),
    ] {
        let (found, body) = stack.call(Method::GET, &format!("{METRICS}?{query}"), None).await;
        let message = body["error"]["message"].as_str().unwrap_or_default();
        assert!(found == status && message.contains(expected), "{query}: {found} {body:#}");
    }
    let path = "/v1/projects/demo/serviceAccounts";
    let (status, body) = stack.call(Method::POST, path, Some(json!({"accountId": "eye-of-demo"}))).await;
    assert_eq!(status, StatusCode::OK, "{body:#}");
    let email = body["email"].as_str().expect("an account").to_owned();
    stack.grant("", "roles/run.viewer", &format!("serviceAccount:{email}")).await;
    let token = stack.access(&email).await;
    let (status, body) = stack.call_as(&token, Method::GET, METRICS, None).await;
    assert_eq!(status, StatusCode::FORBIDDEN, "{body:#}");
    assert!(
        body["error"]["message"].as_str().is_some_and(|text| text.contains("monitoring.timeSeries.list")),
        "{body:#}"
    );
    stack.grant("", "roles/monitoring.viewer", &format!("serviceAccount:{email}")).await;
    assert_eq!(stack.call_as(&token, Method::GET, METRICS, None).await.0, StatusCode::OK);
    stack.end().await;
}
