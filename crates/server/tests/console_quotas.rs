//! The console's pages about GPUs and quotas: row G24.

mod common;

use common::browser::Browser;
use common::{Stack, service};
use homerun_model::quota::QuotaSettings;
use homerun_server::config::Config;
use reqwest::{Method, StatusCode};
use serde_json::json;

const L4: &str = "NvidiaL4GpuAllocNoZonalRedundancyPerProjectRegion";

/// A service with a GPU that it keeps.
fn warm(name: &str) -> serde_json::Value {
    let mut warm = service(name, "sim/hello", true);
    warm["spec"]["template"]["metadata"]["annotations"]["autoscaling.knative.dev/minScale"] = json!("1");
    warm
}

/// Two GPUs, of which the default project may have one.
async fn stack() -> Stack {
    Stack::start_with("simulated:nvidia-l4=2", |config| {
        config.quotas = QuotaSettings { default_project: Some(1), ..QuotaSettings::default() };
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn g24_the_page_of_gpus_tells_who_holds_which_and_who_waits_why() {
    let stack = stack().await;
    let mut owner = Browser::owner(&stack).await;
    let page = owner.page("/console/demo/gpus").await;
    assert!(page.contains("2 of 2 free") && page.contains("Nothing waits for a GPU."), "{page}");
    stack.create(warm("ocr")).await;
    assert_eq!(stack.settled("ocr").await["status"], "True");
    stack.create(warm("chat")).await;
    stack.settled("chat").await;
    let page = owner.page("/console/demo/gpus").await;
    assert!(page.contains("1 of 2 free"), "{page}");
    assert!(page.contains("<a href=\"/console/demo/services/us-central1/ocr/instances\">ocr</a>"), "{page}");
    assert!(page.contains("simulated") && page.contains("chat-00001"), "{page}");
    assert!(page.contains("GPUs are held by: ocr (1) since"), "{page}");
    let page = Browser::owner(&stack).await.in_japanese().page("/console/demo/gpus").await;
    assert!(page.contains("GPU のタイプ") && page.contains("2 個中 1 個が空き"), "{page}");
    stack.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn g24_the_page_of_gpus_does_not_tell_a_project_of_others_services() {
    let settings = |config: &mut Config| {
        config.quotas = QuotaSettings { default_project: Some(1), ..QuotaSettings::default() };
    };
    // A project is there from having been the default one.
    let first = Stack::start_with("simulated:nvidia-l4=2", |config| {
        settings(config);
        config.project.id = "other-1".to_owned();
        config.project.number = 100_000_000_002;
    })
    .await;
    let stack = Stack::start_in(first.end().await, "simulated:nvidia-l4=2", settings).await;
    let bindings = json!([
        {"role": "roles/viewer", "members": ["user:ann@example.com"]},
        {"role": "roles/owner", "members": ["user:owner@homerun.local"]},
    ]);
    let body = json!({"policy": {"bindings": bindings}});
    let (status, body) = stack.call(Method::POST, "/v1/projects/other-1:setIamPolicy", Some(body)).await;
    assert_eq!(status, StatusCode::OK, "{body:#}");
    stack.create(warm("secret-plan")).await;
    assert_eq!(stack.settled("secret-plan").await["status"], "True");
    stack.create(warm("second-plan")).await;
    stack.settled("second-plan").await;
    let mut ann = Browser::of(&stack, "ann@example.com", "other-1").await;
    let page = ann.page("/console/other-1/gpus").await;
    assert!(page.contains("1 of 2 free") && page.contains("Held by another project"), "{page}");
    assert!(!page.contains("secret-plan") && !page.contains("second-plan"), "{page}");
    assert_eq!(ann.get("/console/demo/gpus").await.status, StatusCode::FORBIDDEN);
    let everything = Browser::owner(&stack).await.page("/console/other-1/gpus").await;
    assert!(everything.contains("secret-plan") && everything.contains("second-plan"), "{everything}");
    stack.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn g24_a_region_is_chosen_before_quota_is_requested_or_lowered() {
    let stack = stack().await;
    let mut owner = Browser::owner(&stack).await;
    let page = owner.page("/console/demo/quotas/request").await;
    assert!(page.contains("<option value=\"\">Choose a region</option>"), "{page}");
    assert!(page.contains("name=\"region\" required") && !page.contains("value=\"global\" selected"), "{page}");
    for (path, number) in [("request", "preferred"), ("lower", "limit")] {
        let path = format!("/console/demo/quotas/{path}");
        let none = owner.submit(&path, &[("quota", L4), ("region", ""), (number, "1")]).await;
        assert_eq!(none.status, StatusCode::BAD_REQUEST);
        let message = "<p class=\"wrong\" id=\"region-error\">Choose a region, or all regions.</p>";
        assert!(none.contains(message), "{none}");
    }
    let everywhere = [("quota", L4), ("region", "global"), ("preferred", "2"), ("justification", "")];
    assert_eq!(owner.submit("/console/demo/quotas/request", &everywhere).await.status, StatusCode::SEE_OTHER);
    assert!(owner.page("/console/demo/quotas").await.contains("<td>All regions</td>"));
    stack.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn g24_more_quota_is_requested_and_granted_in_the_console() {
    let stack = stack().await;
    let mut owner = Browser::owner(&stack).await;
    stack.create(warm("ocr")).await;
    stack.settled("ocr").await;
    let page = owner.page("/console/demo/quotas").await;
    assert!(page.contains("<meter min=\"0\" max=\"1\" value=\"1\"") && page.contains("1 of 1"), "{page}");
    assert!(page.contains("Nothing has been requested yet."), "{page}");
    let form = format!("/console/demo/quotas/request?quota={L4}&amp;region=us-central1");
    assert!(page.contains(&format!("href=\"{form}\"")), "{page}");
    let fields =
        |value| [("quota", L4), ("region", "us-central1"), ("preferred", value), ("justification", "Two <models>")];
    let wrong = owner.submit("/console/demo/quotas/request", &fields("many")).await;
    assert_eq!(wrong.status, StatusCode::BAD_REQUEST);
    let message = "many is not valid; it must be a number of GPUs, 0 to 4294967295.";
    assert!(wrong.contains(&format!("<p class=\"wrong\" id=\"preferred-error\">{message}</p>")), "{wrong}");
    assert!(wrong.contains("aria-describedby=\"preferred-error preferred-hint\" aria-invalid=\"true\""));
    assert!(wrong.contains("<a href=\"#preferred\">") && wrong.contains("Two &lt;models&gt;"));
    let sent = owner.submit("/console/demo/quotas/request", &fields("2")).await;
    assert_eq!((sent.status, sent.location()), (StatusCode::SEE_OTHER, "/console/demo/quotas"));
    let page = owner.page("/console/demo/quotas").await;
    let (_, id) = page.body.split_once("/console/demo/quotas/decide?request=").expect("a decision is offered");
    let id = id.split('"').next().expect("its end").to_owned();
    assert!(page.contains("Pending") && page.contains("1 of 1"), "{page}");
    let version = owner.page(&format!("/console/demo/quotas/decide?request={id}")).await.hidden("version");
    let decide = |value, decision, version| {
        [("request", id.as_str()), ("version", version), ("value", value), ("decision", decision)]
    };
    let refused = owner.submit("/console/demo/quotas/decide", &decide("0", "approve", &version)).await;
    assert!(refused.contains("0 is less than the present limit 1"), "{refused}");
    for neither in ["", "approved", "DENY"] {
        let refused = owner.submit("/console/demo/quotas/decide", &decide("2", neither, &version)).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{neither}");
        assert!(refused.contains("Choose to approve or to deny."), "{refused}");
    }
    // Whoever has seen another request must look again.
    assert_eq!(owner.submit("/console/demo/quotas/request", &fields("3")).await.status, StatusCode::SEE_OTHER);
    let stale = owner.submit("/console/demo/quotas/decide", &decide("2", "approve", &version)).await;
    assert_eq!(stale.status, StatusCode::BAD_REQUEST);
    assert!(stale.contains("changed by somebody else") && stale.contains("<dd>3</dd>"), "{stale}");
    let version = stale.hidden("version");
    let decided = owner.submit("/console/demo/quotas/decide", &decide("2", "approve", &version)).await;
    assert_eq!(decided.status, StatusCode::SEE_OTHER, "{decided}");
    let page = owner.page("/console/demo/quotas").await;
    assert!(
        page.contains("1 of 2") && page.contains("Limit 2 granted by owner@homerun.local; 3 was asked for."),
        "{page}"
    );
    // The console's changes are in the record as the API's are.
    let audit = stack.get("/homerun/v1/projects/demo/audit").await;
    let approve = format!("/homerun/v1/projects/demo/quotaPreferences/{id}:approve");
    assert_eq!(audit["records"][0]["path"], json!(approve), "{audit:#}");
    let create = format!("/v1/projects/demo/locations/global/quotaPreferences/{id}");
    assert_eq!(audit["records"][2]["path"], json!(create), "{audit:#}");
    stack.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn g24_requests_are_denied_and_limits_lowered_in_the_console() {
    let stack = stack().await;
    let mut owner = Browser::owner(&stack).await;
    let more = [("quota", L4), ("region", "us-central1"), ("preferred", "9"), ("justification", "")];
    owner.submit("/console/demo/quotas/request", &more).await;
    let page = owner.page("/console/demo/quotas").await;
    let (_, id) = page.body.split_once("quotas/decide?request=").expect("a decision is offered");
    let id = id.split('"').next().expect("its end").to_owned();
    let version = owner.page(&format!("/console/demo/quotas/decide?request={id}")).await.hidden("version");
    let deny = [("request", id.as_str()), ("version", &version), ("reason", "There are two."), ("decision", "deny")];
    assert_eq!(owner.submit("/console/demo/quotas/decide", &deny).await.status, StatusCode::SEE_OTHER);
    let page = owner.page("/console/demo/quotas").await;
    assert!(page.contains("Denied by owner@homerun.local: There are two."), "{page}");
    let lower = |limit, force| {
        let mut fields = vec![("quota", L4), ("region", "us-central1"), ("limit", limit)];
        fields.extend(Some(("force", "on")).filter(|_| force));
        fields
    };
    let high = owner.submit("/console/demo/quotas/lower", &lower("5", false)).await;
    assert!(high.contains("COMMON_QUOTA_CONSUMER_OVERRIDE_TOO_HIGH"), "{high}");
    let steep = owner.submit("/console/demo/quotas/lower", &lower("0", false)).await;
    assert!(steep.contains("10 percent below") && steep.contains("name=\"force\""), "{steep}");
    assert_eq!(owner.submit("/console/demo/quotas/lower", &lower("0", true)).await.status, StatusCode::SEE_OTHER);
    let page = owner.page("/console/demo/quotas").await;
    assert!(page.contains("Lowered to 0; 1 are granted.") && page.contains("0 of 0"), "{page}");
    let remove = [("quota", L4), ("region", "us-central1"), ("action", "remove"), ("confirmed", "yes")];
    let asked = owner.submit("/console/demo/quotas/lower", &remove[..3]).await;
    assert_eq!(asked.status, StatusCode::OK);
    assert!(asked.contains("what is granted holds again"), "{asked}");
    assert!(owner.page("/console/demo/quotas").await.contains("0 of 0"), "nothing was done yet");
    assert_eq!(owner.submit("/console/demo/quotas/lower", &remove).await.status, StatusCode::SEE_OTHER);
    assert!(owner.page("/console/demo/quotas").await.contains("0 of 1"));
    stack.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn g24_what_a_role_may_not_do_about_quotas_is_neither_offered_nor_done() {
    let stack = stack().await;
    stack.grant("", "roles/viewer", "user:ann@example.com").await;
    let mut ann = Browser::of(&stack, "ann@example.com", "demo").await;
    let page = ann.page("/console/demo/quotas").await;
    assert!(!page.contains("quotas/request") && !page.contains("quotas/lower"), "{page}");
    for path in ["request", "lower", "decide"] {
        let path = format!("/console/demo/quotas/{path}");
        assert_eq!(ann.get(&path).await.status, StatusCode::FORBIDDEN, "{path}");
        let refused = ann.submit(&path, &[("quota", L4), ("preferred", "2")]).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{path}");
    }
    let mut owner = Browser::owner(&stack).await;
    let fields = [("quota", L4), ("region", "us-central1"), ("preferred", "2"), ("justification", "")];
    let forged = owner.post("/console/demo/quotas/request", &fields).await;
    assert_eq!(forged.status, StatusCode::BAD_REQUEST);
    assert!(owner.page("/console/demo/quotas").await.contains("Nothing has been requested yet."));
    stack.end().await;
}
