//! Usage and cost over the API, with simulated instances (rows G21, B05).

mod common;

use std::time::Duration;

use common::browser::Browser;
use common::{Stack, service};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const USAGE: &str = "/homerun/v1/projects/demo/usage";
const BUDGETS: &str = "/homerun/v1/projects/demo/budgets";

/// Units of each SKU of a report, all lines together.
fn units(report: &Value) -> Vec<(String, f64)> {
    let lines = report["lines"].as_array().cloned().unwrap_or_default();
    let items = lines.iter().flat_map(|line| line["items"].as_array().cloned().unwrap_or_default());
    let mut units: Vec<(String, f64)> = items
        .map(|item| {
            let quantity = item["quantity"].as_str().and_then(|text| text.parse().ok()).expect("a number");
            (item["sku"].as_str().unwrap_or_default().to_owned(), quantity)
        })
        .collect();
    units.sort_by(|one, other| one.0.cmp(&other.0));
    units
}

fn of(report: &Value, sku: &str) -> f64 {
    units(report).into_iter().filter(|(name, _)| name == sku).map(|(_, quantity)| quantity).sum()
}

/// A service that has had one instance and is at zero again.
async fn served_once(gpu: bool) -> Stack {
    let stack = Stack::start(if gpu { "simulated:nvidia-l4=1" } else { "none" }).await;
    stack.create(service("ocr", "sim/hello", gpu)).await;
    assert_eq!(stack.settled("ocr").await["status"], "True");
    stack.until("zero", |status| status["instances"] == json!([])).await;
    stack
}

#[tokio::test(flavor = "multi_thread")]
async fn g21_an_instance_with_a_gpu_is_billed_for_its_life_and_at_least_a_minute() {
    let stack = served_once(true).await;
    let report = stack.get(USAGE).await;
    let expected = [("cpu-instance", 480.0), ("gpu/nvidia-l4", 60.0), ("memory-instance", 960.0)];
    let found = units(&report);
    // CPU while it starts is boosted: by 4 vCPUs for what the start took and 10 s more.
    assert_eq!(found[1..], expected[1..].iter().map(|(sku, n)| ((*sku).to_owned(), *n)).collect::<Vec<_>>());
    assert!(found[0].1 > 240.0 && found[0].1 < 300.0, "{found:?}");
    assert_eq!((&report["lines"][0]["key"], &report["lines"][0]["starts"]), (&json!(["ocr"]), &json!(1)));
    let gpu =
        report["lines"][0]["items"].as_array().and_then(|items| items.iter().find(|i| i["sku"] == "gpu/nvidia-l4"));
    assert_eq!(gpu.map(|item| (&item["price"], &item["cost"])), Some((&json!("0.0001867"), &json!("0.011202"))));
    assert!(report["notes"][0].as_str().is_some_and(|note| note.contains("simulated")), "{report:#}");
    stack.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b05_a_restart_neither_loses_nor_doubles_anything() {
    let stack = served_once(true).await;
    let before = stack.get(USAGE).await;
    let dir = stack.end().await;
    let stack = Stack::start_in(dir, "simulated:nvidia-l4=1", |_| {}).await;
    let after = stack.get(USAGE).await;
    assert_eq!(
        (&before["lines"][0]["items"], &before["cost"], &before["lines"][0]["starts"]),
        (&after["lines"][0]["items"], &after["cost"], &after["lines"][0]["starts"])
    );
    let instances = stack.get(&format!("{USAGE}:instances")).await;
    assert_eq!(instances["instances"][0]["billedSeconds"], "60.0", "{instances:#}");
    // One that runs when homerun is asked to end is billed to its end.
    stack.make_public("ocr").await;
    assert_eq!(stack.visit("ocr", "/").await.0, StatusCode::OK);
    let dir = stack.end().await;
    let stack = Stack::start_in(dir, "simulated:nvidia-l4=1", |_| {}).await;
    let twice = stack.get(USAGE).await;
    assert_eq!(of(&twice, "gpu/nvidia-l4"), 120.0, "{twice:#}");
    assert_eq!((&twice["lines"][0]["starts"], &twice["lines"][0]["requests"]), (&json!(2), &json!(1)));
    stack.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b05_with_request_based_billing_time_without_a_request_is_free() {
    let stack = Stack::start("none").await;
    let mut web = service("web", "sim/hello?takes=300", false);
    web["spec"]["template"]["metadata"]["annotations"]["homerun.dev/idle-timeout"] = json!("3s");
    web["spec"]["template"]["metadata"]["annotations"]["run.googleapis.com/startup-cpu-boost"] = json!("false");
    stack.create(web).await;
    assert_eq!(stack.settled("web").await["status"], "True");
    stack.make_public("web").await;
    // Together they take as long as one.
    let (one, other) = tokio::join!(stack.visit("web", "/"), stack.visit("web", "/"));
    assert_eq!((one.0, other.0), (StatusCode::OK, StatusCode::OK));
    stack.until("zero", |status| status["instances"] == json!([])).await;
    let report = stack.get(&format!("{USAGE}?by=service,revision")).await;
    let cpu = of(&report, "cpu-request");
    // Its life was longer by the three idle seconds at least.
    assert!((0.4..2.5).contains(&cpu), "a start, two requests at the same time and an end: {cpu}");
    assert_eq!((of(&report, "requests"), of(&report, "cpu-idle")), (2.0, 0.0));
    stack.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b05_an_idle_instance_of_the_minimum_costs_the_idle_rate() {
    let stack = Stack::start("none").await;
    let begun = std::time::Instant::now();
    let mut web = service("web", "sim/hello", false);
    web["spec"]["template"]["metadata"]["annotations"]["autoscaling.knative.dev/minScale"] = json!("1");
    stack.create(web).await;
    assert_eq!(stack.settled("web").await["status"], "True");
    tokio::time::sleep(Duration::from_millis(3500)).await;
    let report = stack.get(USAGE).await;
    let (idle, active) = (of(&report, "cpu-idle"), of(&report, "cpu-request"));
    let life = begun.elapsed().as_secs_f64();
    assert!((2.0..life).contains(&idle) && active + idle < life + 0.5, "{idle} idle, {active} active: {report:#}");
    stack.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b05_reports_are_grouped_as_asked_and_wrong_questions_are_told_so() {
    let stack = Stack::start("none").await;
    // Its start is all that it is billed for, so it has to take time.
    let mut web = service("web", "sim/slow?ms=150", false);
    web["metadata"]["labels"]["team"] = json!("vision");
    stack.create(web).await;
    assert_eq!(stack.settled("web").await["status"], "True");
    stack.until("zero", |status| status["instances"] == json!([])).await;
    let report = stack.get(&format!("{USAGE}?by=label:team,sku")).await;
    assert_eq!(report["lines"][0]["key"], json!(["vision", "cpu-request"]), "{report:#}");
    assert!(report.get("alwaysOn").is_none());
    let by_day = stack.get(&format!("{USAGE}?by=day")).await;
    assert_eq!(by_day["lines"].as_array().map(Vec::len), Some(1));
    let always_on = stack.get(&format!("{USAGE}?by=service")).await;
    let cost = |value: &Value| value.as_str().and_then(|text| text.parse::<f64>().ok()).expect("an amount");
    assert!(cost(&always_on["alwaysOn"]) > cost(&always_on["cost"]), "{always_on:#}");
    for (query, told) in [
        ("by=team", "by: 'team' is unknown; it must be one of project, region"),
        ("from=yesterday", "from: 'yesterday' is no time such as"),
        ("from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", "from: must be before 'to'."),
        ("from=2999-01-02T00:00:00Z&to=2999-02-01T00:00:00Z", "from: lies in the future"),
    ] {
        let (status, body) = stack.call(Method::GET, &format!("{USAGE}?{query}"), None).await;
        let message = body["error"]["message"].as_str().unwrap_or_default().to_owned();
        assert!(status == StatusCode::BAD_REQUEST && message.contains(told), "{query}: {message}");
    }
    let bob = stack.access("bob@example.com").await;
    assert_eq!(stack.call_as(&bob, Method::GET, USAGE, None).await.0, StatusCode::FORBIDDEN);
    assert_eq!(stack.call_as(&bob, Method::GET, "/homerun/v1/usage", None).await.0, StatusCode::FORBIDDEN);
    stack.grant("", "roles/viewer", "user:bob@example.com").await;
    assert_eq!(stack.call_as(&bob, Method::GET, USAGE, None).await.0, StatusCode::OK);
    assert_eq!(stack.call_as(&bob, Method::GET, "/homerun/v1/usage", None).await.0, StatusCode::FORBIDDEN);
    stack.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b05_the_export_has_focus_s_columns_and_its_sums() {
    let stack = served_once(true).await;
    let table = stack.get("/homerun/v1/usage:focus").await;
    let names: Vec<&str> =
        table["columns"].as_array().into_iter().flatten().filter_map(|column| column["name"].as_str()).collect();
    assert_eq!((names.len(), names.is_sorted(), table["version"].as_str()), (57, true, Some("1.2")));
    let rows = table["rows"].as_array().cloned().unwrap_or_default();
    let value = |row: &Value, name: &str| {
        let index = names.iter().position(|found| *found == name).expect("a column");
        row[index].as_str().unwrap_or_default().to_owned()
    };
    let number = |row: &Value, name: &str| value(row, name).parse::<f64>().expect("a number");
    assert_eq!(rows.len(), 3);
    for row in &rows {
        assert!((number(row, "ListUnitPrice") * number(row, "PricingQuantity") - number(row, "ListCost")).abs() < 1e-9);
        assert!(value(row, "PricingQuantity").contains('.') && value(row, "ChargePeriodEnd").ends_with("T00:00:00Z"));
        let tags: Value = serde_json::from_str(&value(row, "Tags")).expect("an object");
        assert!(tags["homerun/revision"].as_str().is_some_and(|name| name.starts_with("ocr-00001")));
        assert_eq!(value(row, "ResourceId"), "projects/demo/locations/us-central1/services/ocr");
        assert_eq!(value(row, "InvoiceId"), "");
    }
    let total: f64 = rows.iter().map(|row| number(row, "BilledCost")).sum();
    let report = stack.get(USAGE).await;
    let cost: f64 = report["cost"].as_str().and_then(|text| text.parse().ok()).expect("an amount");
    assert!((total - cost).abs() < 1e-8, "{total} {cost}");
    stack.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b05_free_usage_is_taken_off_once_in_a_month() {
    let stack = Stack::start_with("none", |config| config.usage.free_tier = true).await;
    // A start that takes time: one within a millisecond is billed for none.
    stack.create(service("web", "sim/slow?ms=150", false)).await;
    assert_eq!(stack.settled("web").await["status"], "True");
    stack.until("zero", |status| status["instances"] == json!([])).await;
    let report = stack.get("/homerun/v1/usage").await;
    assert_eq!(report["cost"], "0", "{report:#}");
    assert!(report["credits"].as_array().is_some_and(|credits| credits.len() == 2), "CPU and memory: {report:#}");
    stack.end().await;
}

/// Answers one request and returns it.
async fn hear(listener: TcpListener) -> String {
    let (mut stream, _) = listener.accept().await.expect("a connection");
    let mut heard = Vec::new();
    while !String::from_utf8_lossy(&heard).contains("\"threshold\":50") {
        assert_ne!(stream.read_buf(&mut heard).await.expect("bytes"), 0);
    }
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await.expect("it listens");
    String::from_utf8_lossy(&heard).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn b05_a_budget_tells_and_starts_no_further_instances() {
    let stack = served_once(true).await;
    stack.make_public("ocr").await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let webhook = format!("http://{}/spent", listener.local_addr().expect("an address"));
    let path = format!("{BUDGETS}/vision");
    let budget = json!({"amount": "0.01", "service": "ocr", "thresholds": [50], "stop": true, "webhook": webhook});
    let (status, body) = stack.call(Method::PUT, &path, Some(budget.clone())).await;
    assert_eq!(status, StatusCode::OK, "{body:#}");
    assert_eq!((&body["reached"], &body["stopped"], &body["currency"]), (&json!(50), &json!(true), &json!("USD")));
    let heard = tokio::time::timeout(Duration::from_secs(20), hear(listener)).await.expect("it is told");
    assert!(heard.starts_with("POST /spent ") && heard.contains("\"budget\":\"vision\""), "{heard}");
    let (status, text) = stack.visit("ocr", "/").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(text.contains("budget 'vision' of 0.01 USD per month is used up"), "{text}");
    // What a budget holds back waits for no GPU: the GPU is free.
    let mut owner = Browser::owner(&stack).await;
    let page = owner.page("/console/demo/gpus").await;
    assert!(page.contains("1 of 1 free") && page.contains("Nothing waits for a GPU."), "{page}");
    let status = stack.get("/homerun/v1/status").await;
    assert!(status["waiting"].to_string().contains("budget 'vision'"), "{status:#}");
    let audit = stack.get("/homerun/v1/projects/demo/audit").await;
    assert!(audit.to_string().contains("budgets/vision: 50 % of 0.01 USD spent"), "{audit:#}");
    // Raised, it lets them start.
    let raised = json!({"amount": "100", "stop": true});
    assert_eq!(stack.call(Method::PUT, &path, Some(raised)).await.0, StatusCode::OK);
    stack.until("nobody waits", |status| status["waiting"] == json!([])).await;
    assert_eq!(stack.visit("ocr", "/").await.0, StatusCode::OK);
    assert_eq!(stack.get(BUDGETS).await["budgets"][0]["budget"]["thresholds"], json!([50, 90, 100]));
    for (change, told) in [
        (json!({"amount": "lots"}), "amount: 'lots' must be an amount such as 250"),
        (json!({"amount": "0"}), "amount: must be more than 0"),
        (json!({"amount": "1", "thresholds": [0]}), "thresholds: 0 must be a percentage from 1 to 1000"),
        (
            json!({"amount": "1", "webhook": "ftp://x"}),
            "webhook: 'ftp://x' must be an address that begins with http://",
        ),
        (json!({"amount": "1", "region": "us-central1"}), "region: is given without a service"),
    ] {
        let (status, body) = stack.call(Method::PUT, &path, Some(change)).await;
        let message = body["error"]["message"].as_str().unwrap_or_default().to_owned();
        assert!(status == StatusCode::BAD_REQUEST && message.contains(told), "{message}");
    }
    assert_eq!(stack.call(Method::DELETE, &path, None).await.0, StatusCode::OK);
    assert_eq!(stack.call(Method::GET, &path, None).await.0, StatusCode::NOT_FOUND);
    stack.end().await;
}
