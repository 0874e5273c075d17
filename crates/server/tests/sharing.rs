//! Few GPUs, many services: row B02 over HTTP.

mod common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::{Stack, service};
use futures_util::{StreamExt, stream::FuturesUnordered};
use reqwest::{Method, StatusCode};
use serde_json::json;

/// One GPU, and two services that would keep theirs for ten minutes.
async fn two_services(give_way: bool) -> Stack {
    let stack = Stack::start_with("simulated:nvidia-l4=1", |config| {
        config.services.idle_gpus_give_way = give_way;
        config.services.give_way_seconds = 1;
    })
    .await;
    for name in ["ocr", "chat"] {
        let mut warm = service(name, "sim/hello", true);
        let annotations = &mut warm["spec"]["template"]["metadata"]["annotations"];
        annotations["homerun.dev/idle-timeout"] = json!(if give_way { "600s" } else { "2s" });
        stack.create(warm).await;
        assert_eq!(stack.settled(name).await["status"], "True", "{name}: the one before gives way, or is at zero");
        stack.make_public(name).await;
    }
    stack
}

#[tokio::test(flavor = "multi_thread")]
async fn b02_idle_services_take_turns_on_one_gpu() {
    let stack = two_services(true).await;
    for turn in 0..3 {
        for name in ["ocr", "chat"] {
            let begun = Instant::now();
            let (status, body) = stack.visit(name, "/").await;
            assert_eq!(status, StatusCode::OK, "{name}, turn {turn}: {body}");
            assert!(begun.elapsed() < Duration::from_secs(4), "{name} waited for {:?}", begun.elapsed());
        }
    }
    let status = stack.get("/homerun/v1/status").await;
    assert_eq!(status["instances"].as_array().map(Vec::len), Some(1), "{status:#}");
    assert_eq!(status["waiting"], json!([]), "{status:#}");
    stack.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b02_a_waiting_request_is_told_who_holds_the_gpu_and_what_it_does() {
    let stack = two_services(true).await;
    // A request every 200 ms: ocr is never idle for a second.
    let busy = async {
        loop {
            assert_eq!(stack.visit("ocr", "/").await.0, StatusCode::OK);
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let refused = async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        let asked = stack.visit("chat", "/");
        let shown = stack.until("chat waits", |status| status["waiting"][0]["service"] == "chat");
        let ((status, body), shown) = tokio::join!(asked, shown);
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{body}");
        assert!(body.contains("ocr (1) since 20"), "{body}");
        let message = shown["waiting"][0]["message"].as_str().expect("a message");
        assert!(message.contains("ocr (1) since 20"), "{message}");
        assert!(message.contains("Z, idle") || message.contains("Z, serving"), "{message}");
    };
    tokio::select! {
        () = busy => {}
        () = refused => {}
    }
    stack.end().await;
}

/// Two services with a minimum have the two GPUs, and a third one's deployment has failed for want of one.
async fn a_stalled_deployment() -> Stack {
    let stack = Stack::start("simulated:nvidia-l4=2").await;
    for (name, ready) in [("a", "True"), ("b", "True"), ("c", "False")] {
        stack.create(warm(name, "sim/hello")).await;
        assert_eq!(stack.settled(name).await["status"], ready, "{name}");
        stack.make_public(name).await;
    }
    stack
}

fn warm(name: &str, image: &str) -> serde_json::Value {
    let mut warm = service(name, image, true);
    let annotations = &mut warm["spec"]["template"]["metadata"]["annotations"];
    annotations["autoscaling.knative.dev/minScale"] = json!("1");
    annotations["autoscaling.knative.dev/maxScale"] = json!("1");
    warm
}

#[tokio::test(flavor = "multi_thread")]
async fn b01_an_update_gets_the_gpu_of_its_own_service_and_a_stalled_deployment_does_not() {
    let stack = a_stalled_deployment().await;
    let path = format!("{}/a", common::SERVICES);
    for image in ["sim/hello?2", "sim/hello?3"] {
        assert_eq!(stack.call(Method::PUT, &path, Some(warm("a", image))).await.0, StatusCode::OK);
        assert_eq!(stack.settled("a").await["status"], "True");
        for name in ["a", "b"] {
            assert_eq!(stack.visit(name, "/").await.0, StatusCode::OK, "{name}");
        }
    }
    assert_eq!(stack.settled("c").await["status"], "False", "nobody was idle above a minimum");
    stack.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn g08_after_a_restart_those_that_served_come_before_a_stalled_deployment() {
    let stack = a_stalled_deployment().await;
    let dir = stack.end().await;
    let stack = Stack::start_in(dir, "simulated:nvidia-l4=2", |_| {}).await;
    for name in ["a", "b"] {
        assert_eq!(stack.visit(name, "/").await.0, StatusCode::OK, "{name}");
    }
    let status = stack.until("c waits", |status| status["waiting"][0]["service"] == "c").await;
    assert_eq!(status["instances"].as_array().map(Vec::len), Some(2), "{status:#}");
    stack.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b02_with_the_setting_off_an_idle_service_keeps_its_gpu() {
    let stack = two_services(false).await;
    assert_eq!(stack.visit("ocr", "/").await.0, StatusCode::OK);
    let begun = Instant::now();
    assert_eq!(stack.visit("chat", "/").await.0, StatusCode::OK);
    assert!(begun.elapsed() > Duration::from_millis(1500), "ocr keeps it for its idle time: {:?}", begun.elapsed());
    stack.end().await;
}

/// Twenty requests a second until told to end: how each was answered.
async fn load(stack: &Stack, ended: &AtomicBool) -> Vec<(StatusCode, String)> {
    let mut asked = FuturesUnordered::new();
    let mut answers = Vec::new();
    let mut ticks = tokio::time::interval(Duration::from_millis(50));
    while !ended.load(Ordering::Relaxed) {
        tokio::select! {
            _ = ticks.tick() => asked.push(stack.visit("a", "/")),
            Some(answer) = asked.next() => answers.push(answer),
        }
    }
    answers.extend(asked.collect::<Vec<_>>().await);
    answers
}

/// Deploys the service under load; its Ready condition, and the revisions that answered, in order.
async fn deploy_under_load(stack: &Stack, service: serde_json::Value) -> (serde_json::Value, Vec<String>) {
    let ended = AtomicBool::new(false);
    let deploy = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let path = format!("{}/a", common::SERVICES);
        assert_eq!(stack.call(Method::PUT, &path, Some(service)).await.0, StatusCode::OK);
        let ready = stack.settled("a").await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        ended.store(true, Ordering::Relaxed);
        ready
    };
    let (answers, ready) = tokio::join!(load(stack, &ended), deploy);
    let refused: Vec<_> = answers.iter().filter(|(status, _)| *status != StatusCode::OK).collect();
    assert!(refused.is_empty() && answers.len() > 10, "of {}: {refused:?}", answers.len());
    let mut revisions: Vec<String> =
        answers.iter().filter_map(|(_, body)| Some(body.rsplit_once(" of ")?.1.trim().to_owned())).collect();
    revisions.dedup();
    (ready, revisions)
}

#[tokio::test(flavor = "multi_thread")]
async fn b01_the_only_gpu_is_handed_over_under_load_without_a_refused_request() {
    let stack = Stack::start("simulated:nvidia-l4=1").await;
    stack.create(service("a", "sim/hello", true)).await;
    assert_eq!(stack.settled("a").await["status"], "True");
    stack.make_public("a").await;

    let (ready, revisions) = deploy_under_load(&stack, service("a", "sim/slow?ms=1500", true)).await;
    assert_eq!(ready["status"], "True", "{ready}");
    let numbers: Vec<_> = revisions.iter().map(|name| &name[..7]).collect();
    assert_eq!(numbers, ["a-00001", "a-00002"], "from one to the next, and never back");

    let (ready, revisions) = deploy_under_load(&stack, service("a", "sim/never-listens", true)).await;
    assert_eq!(ready["status"], "False", "{ready}");
    assert!(ready["message"].as_str().is_some_and(|text| text.contains("startup probe")), "{ready}");
    assert_eq!(revisions.len(), 1, "the one before serves on: {revisions:?}");

    // A revision without traffic is proven, and gives the GPU back.
    let mut silent = service("a", "sim/slow?ms=500", true);
    silent["spec"]["traffic"] = json!([{"revisionName": revisions[0], "percent": 100}]);
    let (ready, served) = deploy_under_load(&stack, silent).await;
    assert_eq!(ready["status"], "True", "{ready}");
    assert_eq!(served, revisions);
    stack.end().await;
}

/// A condition of the only revision of a service.
async fn of_revision(stack: &Stack, service: &str, kind: &str) -> serde_json::Value {
    let revisions = stack.get("/apis/serving.knative.dev/v1/namespaces/demo/revisions").await;
    let items = revisions["items"].as_array().cloned().unwrap_or_default();
    let own = items.iter().find(|item| item["metadata"]["labels"]["serving.knative.dev/service"] == service);
    common::condition(own.expect("it has a revision"), kind)
}

#[tokio::test(flavor = "multi_thread")]
async fn b02_a_service_at_zero_that_waits_for_a_gpu_says_so_and_stays_ready() {
    let stack = Stack::start("simulated:nvidia-l4=1").await;
    stack.create(service("chat", "sim/hello", true)).await;
    assert_eq!(stack.settled("chat").await["status"], "True");
    stack.make_public("chat").await;
    stack.until("chat is at zero", |status| status["instances"] == json!([])).await;
    stack.create(warm("ocr", "sim/hello")).await;
    assert_eq!(stack.settled("ocr").await["status"], "True");
    let asked = stack.visit("chat", "/");
    let shown = async {
        let begun = Instant::now();
        loop {
            let available = of_revision(&stack, "chat", "ResourcesAvailable").await;
            if available["status"] == "Unknown" {
                return available;
            }
            assert!(begun.elapsed() < Duration::from_secs(9), "never: {available:#}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let ((status, _), available) = tokio::join!(asked, shown);
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(available["reason"], "WaitingForGpu");
    assert!(available["message"].as_str().is_some_and(|text| text.contains("ocr (1) since 20")), "{available:#}");
    assert_eq!(of_revision(&stack, "chat", "Ready").await["status"], "True");
    assert_eq!(stack.settled("chat").await["status"], "True");
    let begun = Instant::now();
    while of_revision(&stack, "chat", "ResourcesAvailable").await["status"] != "True" {
        assert!(begun.elapsed() < Duration::from_secs(9), "nobody waits any more");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    stack.end().await;
}
