//! How many instances a service has: by hand, by CPU, and divided among its revisions (row S07).

mod common;

use common::{SERVICES, Stack, service};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

const MODE: &str = "run.googleapis.com/scalingMode";
const COUNT: &str = "run.googleapis.com/manualInstanceCount";

/// Ready instances of each revision.
fn ready(status: &Value) -> Vec<(String, usize)> {
    let mut counts: Vec<(String, usize)> = Vec::new();
    for instance in status["instances"].as_array().into_iter().flatten().filter(|i| i["state"] == "ready") {
        let name = instance["revision"].as_str().unwrap_or_default().to_owned();
        match counts.iter_mut().find(|(known, _)| *known == name) {
            Some((_, count)) => *count += 1,
            None => counts.push((name, 1)),
        }
    }
    counts.sort();
    counts
}

fn total(status: &Value) -> usize {
    ready(status).iter().map(|(_, count)| count).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn s07_a_service_scaled_by_hand_has_exactly_so_many_instances() {
    let stack = Stack::start("simulated:nvidia-l4=4").await;
    let mut by_hand = service("ocr", "sim/hello", true);
    by_hand["metadata"]["annotations"] = json!({MODE: "manual", COUNT: "3"});
    stack.create(by_hand.clone()).await;
    assert_eq!(stack.settled("ocr").await["status"], "True");
    stack.make_public("ocr").await;
    stack.until("three, though nobody asks", |status| total(status) == 3).await;

    let path = format!("{SERVICES}/ocr");
    by_hand["metadata"]["annotations"][COUNT] = json!("1");
    assert_eq!(stack.call(Method::PUT, &path, Some(by_hand.clone())).await.0, StatusCode::OK);
    stack.until("one", |status| total(status) == 1 && status["instances"].as_array().map(Vec::len) == Some(1)).await;
    assert_eq!(stack.visit("ocr", "/").await.0, StatusCode::OK);

    by_hand["metadata"]["annotations"][COUNT] = json!("0");
    assert_eq!(stack.call(Method::PUT, &path, Some(by_hand.clone())).await.0, StatusCode::OK);
    stack.until("none", |status| status["instances"] == json!([])).await;
    let (status, body) = stack.visit("ocr", "/").await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS, "{body}");

    by_hand["metadata"]["annotations"] = json!({MODE: "automatic"});
    assert_eq!(stack.call(Method::PUT, &path, Some(by_hand)).await.0, StatusCode::OK);
    assert_eq!(stack.visit("ocr", "/").await.0, StatusCode::OK);
    stack.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s07_a_services_minimum_is_divided_by_its_traffic() {
    let stack = Stack::start("none").await;
    let mut split = service("web", "sim/hello", false);
    stack.create(split.clone()).await;
    assert_eq!(stack.settled("web").await["status"], "True");
    let path = format!("{SERVICES}/web");
    let first = stack.get(&path).await["status"]["latestReadyRevisionName"].as_str().expect("a name").to_owned();
    split["spec"]["template"]["spec"]["containers"][0]["image"] = json!("sim/hello?2");
    split["metadata"]["annotations"]["run.googleapis.com/minScale"] = json!("5");
    split["spec"]["traffic"] = json!([{"revisionName": first, "percent": 70}, {"latestRevision": true, "percent": 30}]);
    assert_eq!(stack.call(Method::PUT, &path, Some(split)).await.0, StatusCode::OK);
    // 3.5 and 1.5: the one left over goes to the first named of equal remainders.
    let counts = |status: &Value| ready(status).into_iter().map(|(_, count)| count).collect::<Vec<_>>();
    stack.until("four and one", |status| counts(status) == [4, 1]).await;
    stack.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s05_an_instance_that_is_not_ready_gets_no_requests_until_it_is() {
    let stack = Stack::start("none").await;
    let mut one = service("web", "sim/pauses?after=1500&for=1500", false);
    one["spec"]["template"]["metadata"]["annotations"]["autoscaling.knative.dev/minScale"] = json!("1");
    one["spec"]["template"]["metadata"]["annotations"]["autoscaling.knative.dev/maxScale"] = json!("1");
    stack.create(one).await;
    assert_eq!(stack.settled("web").await["status"], "True");
    stack.make_public("web").await;
    assert_eq!(stack.visit("web", "/").await.0, StatusCode::OK);
    let shown = stack.until("unready", |status| status["instances"][0]["state"] == "unready").await;
    let id = shown["instances"][0]["id"].clone();
    assert!(shown["warnings"][0].as_str().is_some_and(|text| text.contains("readiness probe")), "{shown:#}");
    let asked = std::time::Instant::now();
    let (status, body) = stack.visit("web", "/").await;
    assert_eq!(status, StatusCode::OK, "{body}");
    assert!(asked.elapsed().as_millis() > 700, "it waited until the instance was ready: {:?}", asked.elapsed());
    let shown = stack.get("/homerun/v1/status").await;
    assert_eq!((&shown["instances"][0]["id"], &shown["instances"][0]["state"]), (&id, &json!("ready")), "{shown:#}");
    stack.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s07_busy_cpus_get_another_instance_if_there_is_more_than_one_request() {
    let stack = Stack::start("none").await;
    let mut hot = service("hot", "sim/busy?cpu=1000&takes=20000", false);
    let annotations = &mut hot["spec"]["template"]["metadata"]["annotations"];
    annotations["run.googleapis.com/scaling-cpu-target"] = json!("0.1");
    annotations["run.googleapis.com/scaling-concurrency-target"] = json!("disabled");
    stack.create(hot).await;
    assert_eq!(stack.settled("hot").await["status"], "True");
    stack.make_public("hot").await;
    let second = stack.until("a second instance", |status| total(status) == 2);
    let (first, other, status) = tokio::join!(stack.visit("hot", "/"), stack.visit("hot", "/"), second);
    assert_eq!((first.0, other.0), (StatusCode::OK, StatusCode::OK));
    assert_eq!(ready(&status).len(), 1, "{status:#}");
    stack.end().await;
}
