//! The v1 API for services over HTTP, with simulated instances.

mod common;

use common::{SERVICES, Stack, client, service};
use reqwest::{Method, StatusCode};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn g10_a_gpu_service_is_created_serves_falls_to_zero_and_comes_back() {
    let stack = Stack::start("simulated:nvidia-l4=1").await;
    stack.create(service("ocr", "sim/hello", true)).await;
    let ready = stack.settled("ocr").await;
    assert_eq!(ready["status"], "True", "{ready:#}");
    stack.make_public("ocr").await;
    assert_eq!(stack.visit("ocr", "/").await.0, StatusCode::OK);
    let status =
        stack.until("zero instances", |status| status["instances"].as_array().is_some_and(Vec::is_empty)).await;
    assert!(status["gpus"][0]["instance"].is_null(), "the GPU is free: {status:#}");
    assert_eq!(stack.visit("ocr", "/").await.0, StatusCode::OK);
    stack.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s17_the_receipt_of_a_start_is_in_status_conditions_log_and_answer() {
    let stack = Stack::start("none").await;
    stack.create(service("web", "sim/slow?ms=120", false)).await;
    assert_eq!(stack.settled("web").await["status"], "True");
    stack.make_public("web").await;
    let shown = stack.until("an instance", |status| status["instances"][0]["startMillis"].is_number()).await;
    let instance = &shown["instances"][0];
    let steps = instance["start"].as_array().expect("steps");
    let names: Vec<_> = steps.iter().filter_map(|step| step["step"].as_str()).collect();
    assert_eq!(names, ["record", "create", "start"], "{instance:#}");
    let sum: f64 = steps.iter().filter_map(|step| step["millis"].as_f64()).sum();
    let whole = instance["startMillis"].as_f64().expect("a time");
    assert!((sum - whole).abs() < 0.01 && steps[2]["millis"].as_f64() >= Some(120.0), "{instance:#}");

    let name = stack.get(&format!("{SERVICES}/web")).await["status"]["latestReadyRevisionName"].clone();
    let path = SERVICES.replace("services", "revisions");
    let revision = stack.get(&format!("{path}/{}", name.as_str().expect("a name"))).await;
    let said = |kind| common::condition(&revision, kind)["message"].as_str().unwrap_or_default().to_owned();
    assert!(said("Ready").starts_with("Deploying revision succeeded in 0."), "{revision:#}");
    assert!(said("ContainerReady").starts_with("Container image import completed in 0"), "{revision:#}");
    assert!(said("ResourcesAvailable").starts_with("Provisioning imported containers completed in 0"), "{revision:#}");
    assert!(said("ContainerHealthy").starts_with("Containers became healthy in 0.1"), "{revision:#}");

    stack.until("zero", |status| status["instances"] == json!([])).await;
    let host = "web-100000000001.us-central1.run.localhost";
    let request = client().get(format!("http://{}/", stack.up.ingress)).header("host", host);
    let answer = request.header("x-homerun-timing", "1").send().await.expect("an answer");
    let timing = answer.headers()["server-timing"].to_str().expect("text").to_owned();
    assert!(timing.starts_with("wait;dur=1") && timing.contains("start;dur=1"), "{timing}");

    let filter = json!({"resourceNames": ["projects/demo"], "filter": "textPayload:\"is ready after\""});
    let (status, found) = stack.call(Method::POST, "/v2/entries:list", Some(filter)).await;
    assert_eq!(status, StatusCode::OK, "{found:#}");
    let text = found["entries"][0]["textPayload"].as_str().expect("an entry");
    assert!(text.contains(" ms (record ") && text.contains("start 1"), "{text}");
    stack.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn g02_g04_g05_defaults_of_a_gpu_service_are_shown() {
    let stack = Stack::start("simulated:nvidia-l4=2").await;
    let made = stack.create(service("ocr", "sim/hello", true)).await;
    let template = &made["spec"]["template"];
    let container = &template["spec"]["containers"][0];
    assert_eq!(
        container["resources"]["limits"],
        json!({"cpu": "4", "memory": "16Gi", "nvidia.com/gpu": "1"}),
        "{made:#}"
    );
    assert_eq!(template["spec"]["nodeSelector"]["run.googleapis.com/accelerator"], "nvidia-l4");
    assert_eq!(template["metadata"]["annotations"]["run.googleapis.com/cpu-throttling"], "false");
    assert_eq!(template["metadata"]["annotations"]["run.googleapis.com/execution-environment"], "gen2");
    assert_eq!(template["metadata"]["annotations"]["autoscaling.knative.dev/maxScale"], "2");
    assert_eq!(made["metadata"]["namespace"], "100000000001");
    stack.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s01_an_unknown_field_is_refused_by_name_and_nothing_is_stored() {
    let stack = Stack::start("none").await;
    let mut wrong = service("hello", "sim/hello", false);
    wrong["spec"]["template"]["spec"]["containerz"] = json!([]);
    let (status, body) = stack.call(Method::POST, SERVICES, Some(wrong)).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(
        body["error"]["message"].as_str().is_some_and(|m| m.contains("containerz") && m.contains("spec.template.spec")),
        "{body:#}"
    );
    assert_eq!(stack.call(Method::GET, &format!("{SERVICES}/hello"), None).await.0, StatusCode::NOT_FOUND);
    stack.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s01_a_stale_resource_version_is_a_conflict() {
    let stack = Stack::start("none").await;
    let first = stack.create(service("hello", "sim/hello", false)).await;
    stack.settled("hello").await;
    let mut change = first.clone();
    change["spec"]["template"]["spec"]["containerConcurrency"] = json!(4);
    let path = format!("{SERVICES}/hello");
    assert_eq!(stack.call(Method::PUT, &path, Some(change.clone())).await.0, StatusCode::OK);
    change["spec"]["template"]["spec"]["containerConcurrency"] = json!(5);
    let (status, body) = stack.call(Method::PUT, &path, Some(change)).await;
    assert_eq!(status, StatusCode::CONFLICT, "{body:#}");
    assert_eq!(body["error"]["status"], "ABORTED");
    stack.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn g12_export_and_replace_makes_no_revision() {
    let stack = Stack::start("simulated:nvidia-l4=1").await;
    stack.create(service("ocr", "sim/hello", true)).await;
    stack.settled("ocr").await;
    let path = format!("{SERVICES}/ocr");
    let before = stack.get(&path).await;
    let (status, after) = stack.call(Method::PUT, &path, Some(before.clone())).await;
    assert_eq!(status, StatusCode::OK, "{after:#}");
    assert_eq!(after["metadata"]["generation"], before["metadata"]["generation"]);
    let revisions = stack.get("/apis/serving.knative.dev/v1/namespaces/demo/revisions?labelSelector=serving.knative.dev/service%20%3D%20ocr").await;
    assert_eq!(revisions["items"].as_array().map(Vec::len), Some(1), "{revisions:#}");
    stack.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s03_a_failed_revision_leaves_the_one_before_serving() {
    let stack = Stack::start("none").await;
    stack.create(service("hello", "sim/hello", false)).await;
    stack.settled("hello").await;
    stack.make_public("hello").await;
    let path = format!("{SERVICES}/hello");
    for (image, words) in [("sim/missing", "not found"), ("sim/exits", "failed to start and listen")] {
        let mut change = stack.get(&path).await;
        change["spec"]["template"]["spec"]["containers"][0]["image"] = json!(image);
        assert_eq!(stack.call(Method::PUT, &path, Some(change)).await.0, StatusCode::OK);
        let ready = stack.settled("hello").await;
        assert_eq!(ready["status"], "False", "{image}");
        assert!(ready["message"].as_str().is_some_and(|message| message.contains(words)), "{ready:#}");
        assert_eq!(stack.visit("hello", "/").await.0, StatusCode::OK);
    }
    stack.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s03_a_revision_without_traffic_is_retired_and_has_no_instance() {
    let stack = Stack::start("none").await;
    stack.create(service("hello", "sim/hello", false)).await;
    stack.settled("hello").await;
    let path = format!("{SERVICES}/hello");
    let mut change = stack.get(&path).await;
    change["spec"]["template"]["spec"]["containerConcurrency"] = json!(7);
    assert_eq!(stack.call(Method::PUT, &path, Some(change)).await.0, StatusCode::OK);
    assert_eq!(stack.settled("hello").await["status"], "True");
    stack
        .until("one instance", |status| status["instances"].as_array().is_some_and(|instances| instances.len() == 1))
        .await;
    let revisions = stack.get("/v1/projects/demo/locations/us-central1/revisions").await;
    let active = |index: usize| common::condition(&revisions["items"][index], "Active")["status"].clone();
    assert_eq!([active(0), active(1)], ["True", "False"], "{revisions:#}");
    stack.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn g08_a_third_service_is_told_that_the_quota_is_used_and_by_whom() {
    let stack = Stack::start("simulated:nvidia-l4=2").await;
    for name in ["one", "two"] {
        let mut busy = service(name, "sim/hello", true);
        busy["spec"]["template"]["metadata"]["annotations"]["autoscaling.knative.dev/minScale"] = json!("1");
        stack.create(busy).await;
        assert_eq!(stack.settled(name).await["status"], "True");
    }
    stack.create(service("three", "sim/hello", true)).await;
    let ready = stack.settled("three").await;
    assert_eq!(ready["status"], "False");
    let message = ready["message"].as_str().unwrap_or_default();
    assert!(message.contains("Quota exceeded for total allowable count of GPUs per project per region"), "{message}");
    assert!(message.contains("one (1)") && message.contains("two (1)"), "{message}");
    stack.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s01_a_deleted_service_is_gone_with_its_instances() {
    let stack = Stack::start("none").await;
    stack.create(service("hello", "sim/hello", false)).await;
    stack.settled("hello").await;
    let path = format!("{SERVICES}/hello");
    assert_eq!(stack.call(Method::DELETE, &path, None).await.0, StatusCode::OK);
    stack
        .until("nothing", |s| {
            s["services"].as_array().is_some_and(Vec::is_empty) && s["instances"].as_array().is_some_and(Vec::is_empty)
        })
        .await;
    assert_eq!(stack.call(Method::GET, &path, None).await.0, StatusCode::NOT_FOUND);
    assert_eq!(stack.visit("hello", "/").await.0, StatusCode::NOT_FOUND);
    stack.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s01_the_deletion_of_a_failed_service_does_not_look_failed() {
    let stack = Stack::start("none").await;
    stack.create(service("hello", "sim/exits", false)).await;
    assert_eq!(stack.settled("hello").await["status"], "False");
    let path = format!("{SERVICES}/hello");
    assert_eq!(stack.call(Method::DELETE, &path, None).await.0, StatusCode::OK);
    loop {
        let (status, body) = stack.call(Method::GET, &path, None).await;
        if status == StatusCode::NOT_FOUND {
            break;
        }
        assert_ne!(common::condition(&body, "Ready")["status"], "False", "{body:#}");
    }
    stack.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s01_dry_run_checks_and_stores_nothing() {
    let stack = Stack::start("none").await;
    let (status, _) =
        stack.call(Method::POST, &format!("{SERVICES}?dryRun=all"), Some(service("hello", "sim/hello", false))).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(stack.call(Method::GET, &format!("{SERVICES}/hello"), None).await.0, StatusCode::NOT_FOUND);
    stack.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s13_no_token_or_a_wrong_one_is_refused_everywhere_but_readyz() {
    let stack = Stack::start("none").await;
    let base = format!("http://{}", stack.up.control);
    for path in [SERVICES, "/homerun/v1/status", "/v1/projects/demo/locations", "/nonsense"] {
        for token in [None, Some("wrong")] {
            let mut request = client().get(format!("{base}{path}"));
            if let Some(token) = token {
                request = request.bearer_auth(token);
            }
            let response = request.send().await.expect("an answer");
            assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{path} with {token:?}");
        }
    }
    let ready = client().get(format!("{base}/readyz")).send().await.expect("an answer");
    assert_eq!(ready.status(), StatusCode::OK);
    stack.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_control_port_is_no_open_proxy() {
    let stack = Stack::start("none").await;
    let proxy = reqwest::Proxy::http(format!("http://{}", stack.up.control)).expect("a proxy");
    let through = reqwest::Client::builder().proxy(proxy).build().expect("a client");
    let own = "http://us-central1-run.localhost/apis/serving.knative.dev/v1/namespaces/demo/services";
    let answer = through.get(own).bearer_auth(&stack.token).send().await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::OK);
    for path in ["", "v1/projects/demo", "console", "console/-/sign-in"] {
        let foreign = format!("http://x.example.com/{path}");
        let answer = through.get(&foreign).bearer_auth(&stack.token).send().await.expect("an answer");
        assert!(answer.status().is_client_error(), "{foreign}: {}", answer.status());
        assert!(answer.text().await.unwrap_or_default().contains("no proxy for other hosts"), "{foreign}");
    }
    stack.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s10_a_private_service_needs_a_token() {
    let stack = Stack::start("none").await;
    stack.create(service("hello", "sim/hello", false)).await;
    stack.settled("hello").await;
    assert_eq!(stack.visit("hello", "/").await.0, StatusCode::FORBIDDEN);
    let host = "hello-100000000001.us-central1.run.localhost";
    let request =
        |token: &str| client().get(format!("http://{}/", stack.up.ingress)).header("host", host).bearer_auth(token);
    let status = async |token: &str| request(token).send().await.expect("an answer").status();
    let ann = Some("ann@example.com");
    let (url, other) = (format!("http://{host}:8080"), "http://other-100000000001.us-central1.run.localhost");
    assert_eq!(status(&stack.identity(None, &url).await).await, StatusCode::OK);
    assert_eq!(status(&stack.identity(ann, &url).await).await, StatusCode::FORBIDDEN);
    for wrong in ["wrong", &stack.token, &stack.access("ann@example.com").await, &stack.identity(None, other).await] {
        assert_eq!(status(wrong).await, StatusCode::UNAUTHORIZED);
    }
    stack.grant("services/hello", "roles/run.invoker", "user:ann@example.com").await;
    assert_eq!(status(&stack.identity(ann, &url).await).await, StatusCode::OK);
    stack.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s10_a_token_is_for_the_services_url_whatever_its_tag_or_for_an_audience_that_it_names() {
    let stack = Stack::start("none").await;
    let mut hello = service("hello", "sim/hello", false);
    hello["metadata"]["annotations"]["run.googleapis.com/custom-audiences"] = json!("[\"https://api.example.com\"]");
    hello["spec"]["traffic"] = json!([{"latestRevision": true, "percent": 100, "tag": "blue"}]);
    stack.create(hello).await;
    stack.settled("hello").await;
    let host = "hello-100000000001.us-central1.run.localhost";
    for (called, audience, expected) in [
        (host, format!("http://{host}"), StatusCode::OK),
        (&format!("blue---{host}"), format!("http://{host}"), StatusCode::OK),
        (&format!("blue---{host}"), format!("http://blue---{host}"), StatusCode::UNAUTHORIZED),
        (host, "https://api.example.com".to_owned(), StatusCode::OK),
        (host, "https://other.example.com".to_owned(), StatusCode::UNAUTHORIZED),
    ] {
        let token = stack.identity(None, &audience).await;
        let request = client().get(format!("http://{}/", stack.up.ingress)).header("host", called).bearer_auth(token);
        assert_eq!(request.send().await.expect("an answer").status(), expected, "{called} with {audience}");
    }
    stack.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s03_a_route_to_a_revision_that_is_not_ready_stays_as_it_was() {
    let stack = Stack::start("none").await;
    let path = format!("{SERVICES}/hello");
    let put = |traffic: serde_json::Value, name: &'static str, image: &'static str| {
        let mut hello = service("hello", image, false);
        hello["spec"]["template"]["metadata"]["name"] = json!(name);
        hello["spec"]["traffic"] = traffic;
        hello
    };
    let latest = json!([{"latestRevision": true, "percent": 100}]);
    stack.create(put(latest.clone(), "hello-good", "sim/hello")).await;
    stack.settled("hello").await;
    stack.make_public("hello").await;
    let served = stack.get(&path).await["status"]["traffic"].clone();
    for traffic in [
        latest,
        json!([{"revisionName": "hello-bad", "percent": 100}]),
        json!([{"revisionName": "hello-good", "percent": 50}, {"revisionName": "hello-bad", "percent": 50}]),
    ] {
        let (status, body) = stack.call(Method::PUT, &path, Some(put(traffic, "hello-bad", "sim/exits"))).await;
        assert_eq!(status, StatusCode::OK, "{body:#}");
        assert_eq!(stack.settled("hello").await["status"], "False");
        assert_eq!(stack.get(&path).await["status"]["traffic"], served);
        assert_eq!(stack.visit("hello", "/").await.0, StatusCode::OK);
    }
    stack.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_deployed_is_there_after_a_restart() {
    let stack = Stack::start("none").await;
    stack.create(service("hello", "sim/hello", false)).await;
    stack.settled("hello").await;
    stack.make_public("hello").await;
    let dir = stack.end().await;
    let stack = Stack::start_in(dir, "none", |_| {}).await;
    assert_eq!(stack.settled("hello").await["status"], "True");
    assert_eq!(stack.visit("hello", "/").await.0, StatusCode::OK);
    stack.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn g12_cpu_is_shown_as_it_was_given_and_the_default_in_thousandths() {
    let stack = Stack::start("none").await;
    let cpu = |service: &serde_json::Value| {
        service["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["cpu"].clone()
    };
    for (name, given, expected) in [
        ("none", None, "1000m"),
        ("whole", Some("1"), "1"),
        ("thousandths", Some("2000m"), "2000m"),
        ("part", Some("0.5"), "500m"),
    ] {
        let mut wanted = service(name, "sim/hello", false);
        if let Some(given) = given {
            wanted["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["cpu"] = json!(given);
        }
        assert_eq!(cpu(&stack.create(wanted).await), expected, "{name}");
    }
    let stack = Stack::start_in(stack.end().await, "none", |_| {}).await;
    for (name, expected) in [("none", "1000m"), ("whole", "1"), ("thousandths", "2000m")] {
        stack.settled(name).await;
        let path = format!("{SERVICES}/{name}");
        let mut read = stack.get(&path).await;
        assert_eq!(cpu(&read), expected, "{name}");
        for notation in [expected, "1", "1000m"].into_iter().take(if name == "thousandths" { 1 } else { 3 }) {
            read["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["cpu"] = json!(notation);
            let (status, after) = stack.call(Method::PUT, &path, Some(read.clone())).await;
            assert_eq!((status, &after["metadata"]["generation"]), (StatusCode::OK, &json!(1)), "{name} {notation}");
        }
    }
    stack.end().await;
}
