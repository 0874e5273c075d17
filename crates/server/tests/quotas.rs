//! GPU quotas over HTTP: rows G07, G08 and G09.

mod common;

use std::time::{Duration, Instant};

use common::{SERVICES, Stack, service};
use homerun_model::quota::{AutoApprove, QuotaSettings};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

const L4: &str = "NvidiaL4GpuAllocNoZonalRedundancyPerProjectRegion";
const PREFERENCES: &str = "/v1beta/projects/demo/locations/global/quotaPreferences";
const METRIC: &str = "run.googleapis.com/nvidia_l4_gpu_allocation_no_zonal_redundancy";
const METRICS: &str = "/v1beta1/projects/demo/services/run.googleapis.com/consumerQuotaMetrics";

fn preference(value: u32) -> Value {
    json!({
        "service": "run.googleapis.com", "quotaId": L4, "dimensions": {"region": "us-central1"},
        "quotaConfig": {"preferredValue": value.to_string()}, "justification": "two models",
    })
}

/// Sets the limit, whatever it takes.
async fn set_limit(stack: &Stack, value: u32) {
    let checks = "ignoreSafetyChecks=QUOTA_DECREASE_BELOW_USAGE&ignoreSafetyChecks=QUOTA_DECREASE_PERCENTAGE_TOO_HIGH";
    let path = format!("{PREFERENCES}/l4?allowMissing=true&{checks}");
    let (status, asked) = stack.call(Method::PATCH, &path, Some(preference(value))).await;
    assert_eq!(status, StatusCode::OK, "{asked:#}");
    if asked["reconciling"] == true {
        let path = "/homerun/v1/projects/demo/quotaPreferences/l4:approve";
        let (status, body) = stack.call(Method::POST, path, None).await;
        assert_eq!(status, StatusCode::OK, "{body:#}");
    }
}

async fn l4(stack: &Stack) -> Value {
    let quotas = stack.get("/homerun/v1/projects/demo/quotas").await;
    let found = quotas["quotas"].as_array().and_then(|all| all.iter().find(|quota| quota["quotaId"] == L4));
    found.cloned().unwrap_or(Value::Null)
}

#[tokio::test(flavor = "multi_thread")]
async fn g09_a_denied_service_comes_up_by_itself_when_its_project_gets_more() {
    let stack = Stack::start_with("simulated:nvidia-l4=2", |config| {
        config.quotas = QuotaSettings { default_project: Some(1), ..QuotaSettings::default() };
    })
    .await;
    for name in ["ocr", "chat"] {
        let mut warm = service(name, "sim/hello", true);
        warm["spec"]["template"]["metadata"]["annotations"]["autoscaling.knative.dev/minScale"] = json!("1");
        stack.create(warm).await;
        stack.make_public(name).await;
        if name == "ocr" {
            assert_eq!(stack.settled("ocr").await["status"], "True");
        }
    }
    let failed = stack.settled("chat").await;
    let message = failed["message"].as_str().expect("a message");
    assert_eq!(failed["status"], "False", "{failed:#}");
    for words in ["Quota exceeded for total allowable count of GPUs per project per region", METRIC, "ocr (1)"] {
        assert!(message.contains(words), "{message}");
    }
    let holder = l4(&stack).await["holders"][0].clone();
    assert_eq!((&holder["service"], &holder["gpus"]), (&json!("ocr"), &json!(1)));

    let (status, asked) =
        stack.call(Method::POST, &format!("{PREFERENCES}?quotaPreferenceId=more"), Some(preference(2))).await;
    assert_eq!((status, &asked["reconciling"]), (StatusCode::OK, &json!(true)), "{asked:#}");
    assert_eq!(asked["quotaConfig"]["grantedValue"], "1");
    // The project's owner is not who shares out the machine.
    stack.grant("", "roles/owner", "user:ann@example.com").await;
    let ann = stack.access("ann@example.com").await;
    let approve = "/homerun/v1/projects/demo/quotaPreferences/more:approve";
    assert_eq!(stack.call_as(&ann, Method::POST, approve, None).await.0, StatusCode::FORBIDDEN);
    let (status, body) = stack.call(Method::POST, approve, None).await;
    assert_eq!(status, StatusCode::OK, "{body:#}");

    let begun = Instant::now();
    while stack.settled("chat").await["status"] != "True" {
        assert!(begun.elapsed() < Duration::from_secs(10), "chat does not come up");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(stack.visit("chat", "/").await.0, StatusCode::OK);
    let quota = l4(&stack).await;
    assert_eq!((&quota["limit"], &quota["used"]), (&json!(2), &json!(2)));

    // Nothing of it is lost with the process.
    let dir = stack.end().await;
    let stack = Stack::start_in(dir, "simulated:nvidia-l4=2", |config| {
        config.quotas = QuotaSettings { default_project: Some(1), ..QuotaSettings::default() };
    })
    .await;
    assert_eq!(l4(&stack).await["limit"], 2);
    let changes = stack.get("/homerun/v1/projects/demo/quotaChanges").await;
    let told: Vec<_> =
        changes["changes"].as_array().expect("a list").iter().map(|c| (&c["action"], &c["to"])).collect();
    assert_eq!(told, [(&json!("granted"), &json!(2)), (&json!("requested"), &json!(2))]);
    stack.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn g09_a_newer_revision_ends_the_wait_of_the_one_before() {
    let stack = Stack::start_with("simulated:nvidia-l4=2", |config| {
        config.quotas = QuotaSettings { default_project: Some(1), ..QuotaSettings::default() };
    })
    .await;
    let mut warm = service("ocr", "sim/hello", true);
    warm["spec"]["template"]["metadata"]["annotations"]["autoscaling.knative.dev/minScale"] = json!("1");
    stack.create(warm).await;
    assert_eq!(stack.settled("ocr").await["status"], "True");
    stack.create(service("chat", "sim/hello", true)).await;
    assert_eq!(stack.settled("chat").await["status"], "False");
    let waits = stack.get(&format!("{SERVICES}/chat")).await["status"]["latestCreatedRevisionName"].clone();

    let path = format!("{SERVICES}/chat");
    let (status, body) = stack.call(Method::PUT, &path, Some(service("chat", "sim/hello", false))).await;
    assert_eq!(status, StatusCode::OK, "{body:#}");
    assert_eq!(stack.settled("chat").await["status"], "True", "without a GPU it needs no quota");
    set_limit(&stack, 2).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(l4(&stack).await["used"], 1, "the revision before waits no more");
    let path = format!("/apis/serving.knative.dev/v1/namespaces/demo/revisions/{}", waits.as_str().expect("a name"));
    assert_eq!(common::condition(&stack.get(&path).await, "Ready")["status"], "False");

    set_limit(&stack, 0).await;
    let (status, refused) = stack.call(Method::POST, SERVICES, Some(service("more", "sim/hello", true))).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{refused:#}");
    assert!(refused["error"]["message"].as_str().is_some_and(|m| m.contains("You do not have quota")), "{refused:#}");
    stack.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn g09_the_settings_can_approve_and_a_stale_etag_is_a_conflict() {
    let stack = Stack::start_with("simulated:nvidia-l4=2", |config| {
        config.quotas =
            QuotaSettings { default_project: Some(0), auto_approve: AutoApprove::Machine, other_projects: 0 };
    })
    .await;
    let path = format!("{PREFERENCES}?quotaPreferenceId=l4");
    let (_, made) = stack.call(Method::POST, &path, Some(preference(2))).await;
    assert_eq!((&made["quotaConfig"]["grantedValue"], &made["reconciling"]), (&json!("2"), &Value::Null), "{made:#}");
    let (status, again) = stack.call(Method::POST, &path, Some(preference(2))).await;
    assert_eq!(status, StatusCode::CONFLICT, "{again:#}");
    let (_, waits) = stack.call(Method::PATCH, &format!("{PREFERENCES}/l4"), Some(preference(3))).await;
    assert_eq!(waits["reconciling"], true, "the machine has two: {waits:#}");

    let mut stale = preference(2);
    stale["etag"] = made["etag"].clone();
    let (status, body) = stack.call(Method::PATCH, &format!("{PREFERENCES}/l4"), Some(stale)).await;
    assert_eq!((status, &body["error"]["status"]), (StatusCode::CONFLICT, &json!("ABORTED")), "{body:#}");

    let mut masked = preference(9);
    masked["justification"] = json!("for the demo");
    let path = format!("{PREFERENCES}/l4?updateMask=justification");
    let (_, body) = stack.call(Method::PATCH, &path, Some(masked)).await;
    assert_eq!(body["justification"], "for the demo", "{body:#}");
    assert_eq!(body["quotaConfig"]["preferredValue"], "3", "only what the mask names changes: {body:#}");

    let mut elsewhere = preference(1);
    elsewhere["dimensions"] = json!({"region": "us-east4"});
    let (status, body) = stack.call(Method::PATCH, &format!("{PREFERENCES}/l4"), Some(elsewhere)).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{body:#}");
    assert!(body["error"]["message"].as_str().is_some_and(|m| m.contains("cannot be changed")), "{body:#}");
    stack.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn g09_lists_are_filtered_ordered_and_paged() {
    let stack = Stack::start("simulated:nvidia-l4=2").await;
    for (id, quota, value) in [("b", L4, 9), ("a", "NvidiaL4GpuAllocPerProjectRegion", 0)] {
        let mut given = preference(value);
        given["quotaId"] = json!(quota);
        let path = format!("{PREFERENCES}?quotaPreferenceId={id}");
        let (status, body) = stack.call(Method::POST, &path, Some(given)).await;
        assert_eq!(status, StatusCode::OK, "{body:#}");
    }
    let ids = async |query: &str| {
        let answer = stack.get(&format!("{PREFERENCES}?{query}")).await;
        let all = answer["quotaPreferences"].as_array().cloned().unwrap_or_default();
        let id = |each: &Value| each["name"].as_str().and_then(|name| name.rsplit('/').next()).unwrap_or("").to_owned();
        all.iter().map(id).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(ids("").await, "b a", "by creation");
    assert_eq!(ids("orderBy=name").await, "a b");
    assert_eq!(ids("orderBy=name%20desc").await, "b a");
    assert_eq!(ids("orderBy=service%20desc,name").await, "a b", "equals keep the order of the next field");
    assert_eq!(ids("filter=reconciling:true").await, "b");
    assert_eq!(ids(&format!("filter=quota_id={L4}%20AND%20service:run.googleapis.com")).await, "b");
    for wrong in ["colour:red", "service=run.googleapis.com%20OR%20reconciling=true", "quotaId:Nvidia*", "quotaId"] {
        let (status, body) = stack.call(Method::GET, &format!("{PREFERENCES}?filter={wrong}"), None).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{wrong}: {body:#}");
    }

    let infos = "/v1/projects/demo/locations/global/services/run.googleapis.com/quotaInfos?pageSize=3";
    let first = stack.get(infos).await;
    let token = first["nextPageToken"].as_str().expect("more");
    let second = stack.get(&format!("{infos}&pageToken={token}")).await;
    let count = |page: &Value| page["quotaInfos"].as_array().map_or(0, Vec::len);
    assert_eq!((count(&first), count(&second), &second["nextPageToken"]), (3, 1, &Value::Null));
    stack.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn g09_a_note_decides_nothing_and_what_is_asked_again_is_no_request() {
    let stack = Stack::start("simulated:nvidia-l4=2").await;
    let path = format!("{PREFERENCES}/example_Default.l4");
    let patch =
        async |query: &str, body: Value| stack.call(Method::PATCH, &format!("{path}?{query}"), Some(body)).await;
    let count = async || {
        let changes = stack.get("/homerun/v1/projects/demo/quotaChanges").await;
        changes["changes"].as_array().map_or(0, Vec::len)
    };
    for _ in 0..3 {
        let (status, body) = patch("allowMissing=true", preference(5)).await;
        assert_eq!(status, StatusCode::OK, "{body:#}");
    }
    assert_eq!(count().await, 1, "the same again is no request");
    let (_, noted) = patch(
        "updateMask=justification",
        json!({"service": "run.googleapis.com", "quotaId": L4,
        "dimensions": {"region": "us-central1"}, "justification": "three models"}),
    )
    .await;
    assert_eq!((&noted["justification"], &noted["reconciling"]), (&json!("three models"), &json!(true)), "{noted:#}");

    let decide = async |verb: &str, body: Value| {
        let path = format!("/homerun/v1/projects/demo/quotaPreferences/example_Default.l4:{verb}");
        stack.call(Method::POST, &path, Some(body)).await
    };
    let (status, refused) = decide("approve", json!({"value": 1})).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "an approval takes nothing away: {refused:#}");
    assert_eq!(decide("approve", json!({"value": 9})).await.0, StatusCode::OK);
    let mut note = preference(1);
    note["quotaConfig"]["annotations"] = json!({"ticket": "7"});
    let (status, noted) = patch("updateMask=quotaConfig.annotations", note).await;
    assert_eq!(status, StatusCode::OK, "{noted:#}");
    assert_eq!((&noted["quotaConfig"]["grantedValue"], count().await), (&json!("9"), 2), "{noted:#}");

    // Two who change different fields at the same time both succeed.
    for round in 10..30 {
        let body = |field: &str| match field {
            "justification" => json!({"service": "run.googleapis.com", "quotaId": L4,
                "dimensions": {"region": "us-central1"}, "justification": format!("round {round}")}),
            _ => preference(round),
        };
        let (a, b) = tokio::join!(
            patch("updateMask=justification", body("justification")),
            patch("updateMask=quotaConfig.preferredValue", body("value")),
        );
        assert_eq!((a.0, b.0), (StatusCode::OK, StatusCode::OK));
        let both = stack.get(&path).await;
        assert_eq!(both["justification"], format!("round {round}"));
        assert_eq!(both["quotaConfig"]["preferredValue"], round.to_string());
    }

    let mut long = preference(40);
    long["justification"] = json!("x".repeat(5000));
    let (status, body) = patch("", long).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(body["error"]["message"].as_str().is_some_and(|m| m.contains("at most 4096 bytes")), "{body:#}");
    assert_eq!(decide("deny", json!({"reason": "x".repeat(5000)})).await.0, StatusCode::BAD_REQUEST);
    stack.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn g09_overrides_of_service_usage_lower_a_limit_and_go_again() {
    let stack = Stack::start("simulated:nvidia-l4=2").await;
    let limit = format!("{METRICS}/{}/limits/%2Fproject%2Fregion", METRIC.replace('/', "%2F"));
    let one = json!({"overrideValue": "1", "dimensions": {"region": "us-central1"}});
    let (status, body) = stack.call(Method::POST, &format!("{limit}/consumerOverrides"), Some(one.clone())).await;
    assert_eq!(
        (status, &body["error"]["status"]),
        (StatusCode::BAD_REQUEST, &json!("FAILED_PRECONDITION")),
        "{body:#}"
    );
    let path = format!("{limit}/consumerOverrides?force=true");
    let (status, body) = stack.call(Method::POST, &path, Some(one)).await;
    assert_eq!((status, &body["done"]), (StatusCode::OK, &json!(true)), "{body:#}");
    assert_eq!(l4(&stack).await["limit"], 1);
    let shown = stack.get(&limit).await;
    assert_eq!(shown["quotaBuckets"][1]["effectiveLimit"], "1", "{shown:#}");
    assert_eq!(shown["quotaBuckets"][1]["defaultLimit"], "2", "{shown:#}");
    let name = shown["quotaBuckets"][1]["consumerOverride"]["name"].as_str().expect("a name").to_owned();
    let path = format!("/v1beta1/{}", name.replace("projects/100000000001", "projects/demo"));
    assert_eq!(stack.call(Method::DELETE, &path, None).await.0, StatusCode::OK);
    assert_eq!(stack.call(Method::DELETE, &path, None).await.0, StatusCode::NOT_FOUND);
    assert_eq!(l4(&stack).await["limit"], 2);

    let wrong = [
        (json!({}), "inlineSource.overrides"),
        (json!({"inlineSource": {"overrides": [{"metric": "x", "overrideValue": "1"}]}}), "overrides[0].metric"),
        (json!({"inlineSource": {"overrides": [{"metric": METRIC, "overrideValue": "1", "unit": "1"}]}}), "unit"),
        (json!({"inlineSource": {"overrides": [{"metric": METRIC}]}}), "overrideValue"),
        (
            json!({"inlineSource": {"overrides": [{"metric": METRIC, "overrideValue": "1"}]}, "forceOnly": ["X"]}),
            "forceOnly",
        ),
    ];
    for (body, field) in wrong {
        let (status, answer) =
            stack.call(Method::POST, &format!("{METRICS}:importConsumerOverrides"), Some(body)).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{answer:#}");
        assert!(answer["error"]["message"].as_str().is_some_and(|m| m.contains(field)), "{field}: {answer:#}");
    }
    stack.end().await;
}
