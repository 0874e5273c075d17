//! The console: who gets in, what keeps others out, and what its pages show.

mod common;

use std::time::Duration;

use common::browser::Browser;
use common::{SERVICES, Stack, service};
use futures_util::StreamExt as _;
use homerun_model::names::Project;
use homerun_server::store::StoredProject;
use reqwest::{Method, StatusCode};
use serde_json::json;

const LIST: &str = "/console/demo/services";

#[tokio::test(flavor = "multi_thread")]
async fn g24_who_is_not_signed_in_is_asked_for_a_token_and_comes_back_to_the_page() {
    let stack = Stack::start("none").await;
    let mut browser = Browser::new(&stack);
    let page = browser.get("/console/demo/services?q=a%26b").await;
    assert_eq!(page.status, StatusCode::SEE_OTHER);
    let sign_in = page.location().to_owned();
    assert!(sign_in.starts_with("/console/-/sign-in?next="), "{sign_in}");
    let page = browser.post(&sign_in, &[("token", "wrong")]).await;
    assert_eq!(page.status, StatusCode::FORBIDDEN);
    assert!(page.words().contains("This token is not valid"), "{}", page.words());
    assert!(browser.cookies.is_empty());
    let token = stack.token.clone();
    let page = browser.post(&sign_in, &[("token", &format!(" {token}\n"))]).await;
    assert_eq!((page.status, page.location()), (StatusCode::SEE_OTHER, "/console/demo/services?q=a%26b"));
    let cookie = page.headers["set-cookie"].to_str().unwrap().to_owned();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax") && !cookie.contains(&token), "{cookie}");
    assert_eq!(browser.get(LIST).await.status, StatusCode::OK);
    stack.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn g24_nobody_is_sent_elsewhere_after_signing_in() {
    let stack = Stack::start("none").await;
    for elsewhere in
        ["https://example.com", "//example.com", "/console\\example.com", "/console/\r\nset-cookie: a=b", "/consoles"]
    {
        let mut browser = Browser::new(&stack);
        let query = form_urlencoded::Serializer::new(String::new()).append_pair("next", elsewhere).finish();
        let page = browser.post(&format!("/console/-/sign-in?{query}"), &[("token", &stack.token)]).await;
        assert_eq!((page.status, page.location()), (StatusCode::SEE_OTHER, "/console"), "{elsewhere}");
    }
    stack.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn g24_a_session_outlives_a_restart_and_ends_by_signing_out_with_its_token_and_with_its_account() {
    let mut stack = Stack::start("none").await;
    let token = stack.token.clone();
    let mut browser = Browser::signed_in(&stack, &token).await;
    let cookies = browser.cookies.clone();
    let dir = stack.end().await;
    stack = Stack::start_in(dir, "none", |_| {}).await;
    browser = Browser::new(&stack);
    browser.cookies = cookies.clone();
    let page = browser.get(LIST).await;
    assert_eq!(page.status, StatusCode::OK);

    let refused = browser.post("/console/-/sign-out", &[]).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST, "without the form's secret");
    assert_eq!(browser.get(LIST).await.status, StatusCode::OK, "still signed in");
    let gone = browser.submit("/console/-/sign-out", &[]).await;
    assert_eq!(gone.location(), "/console/-/sign-in");
    assert!(browser.cookies.is_empty());
    browser.cookies = cookies;
    assert_eq!(browser.get(LIST).await.status, StatusCode::SEE_OTHER, "the old cookie is of no use");

    let account = json!({"accountId": "robot-one"});
    let (status, made) = stack.call(Method::POST, "/v1/projects/demo/serviceAccounts", Some(account)).await;
    assert_eq!(status, StatusCode::OK, "{made:#}");
    let email = made["email"].as_str().unwrap();
    stack.grant("", "roles/run.viewer", &format!("serviceAccount:{email}")).await;
    let mut robot = Browser::signed_in(&stack, &stack.access(email).await).await;
    assert_eq!(robot.get(LIST).await.status, StatusCode::OK);
    let path = format!("/v1/projects/demo/serviceAccounts/{email}:disable");
    assert_eq!(stack.call(Method::POST, &path, Some(json!({}))).await.0, StatusCode::OK);
    assert_eq!(robot.get(LIST).await.status, StatusCode::SEE_OTHER, "its account is disabled");

    let mut owner = Browser::signed_in(&stack, &token).await;
    let dir = stack.end().await;
    std::fs::remove_file(dir.path().join("token")).unwrap();
    stack = Stack::start_in(dir, "none", |_| {}).await;
    let cookies = std::mem::take(&mut owner.cookies);
    owner = Browser::new(&stack);
    owner.cookies = cookies;
    assert_eq!(owner.get(LIST).await.status, StatusCode::SEE_OTHER, "the owner's token is another");
    stack.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn g24_every_answer_forbids_what_is_not_the_consoles_own() {
    let stack = Stack::start("none").await;
    let mut browser = Browser::signed_in(&stack, &stack.token).await;
    let page = browser.get(LIST).await;
    let link = regex::Regex::new(r#"(?:src|href)="([^"]+)""#).unwrap();
    let mut links: Vec<String> = link.captures_iter(&page.body).map(|link| link[1].to_owned()).collect();
    assert!(links.iter().filter(|link| link.contains("/static/")).count() >= 4, "{links:?}");
    assert!(links.iter().all(|link| link.starts_with(['/', '#'])), "nothing is from elsewhere: {links:?}");
    let inline = regex::Regex::new(r#"<[^>]* (?:style|on[a-z]+)="#).unwrap();
    assert!(!inline.is_match(&page.body), "no inline style or handler");
    links.retain(|link| link.starts_with("/console/"));
    for path in links.iter().map(String::as_str).chain([LIST, "/console/-/sign-in", "/console/demo/nothing"]) {
        let answer = browser.get(path).await;
        let policy = answer.headers["content-security-policy"].to_str().unwrap();
        assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{path}: {policy}");
        assert!(policy.contains("frame-ancestors 'none'"), "{path}: {policy}");
        assert_eq!(answer.headers["x-content-type-options"], "nosniff", "{path}");
        let kept = answer.headers["cache-control"].to_str().unwrap();
        assert_eq!(kept.contains("immutable"), path.contains("/static/"), "{path}: {kept}");
    }
    let elsewhere = [("sec-fetch-site", "cross-site")];
    let fields = [("token", stack.token.as_str())];
    let page = Browser::new(&stack).request("/console/-/sign-in", Some(&fields), &elsewhere).await;
    assert_eq!(page.status, StatusCode::BAD_REQUEST, "another site signs nobody in");
    stack.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn g24_the_list_tells_services_apart_and_finds_them() {
    let stack = Stack::start("simulated:nvidia-l4=1").await;
    let mut browser = Browser::signed_in(&stack, &stack.token).await;
    let page = browser.get(LIST).await;
    assert!(page.words().contains("There is no service yet"), "{}", page.words());
    stack.create(service("plain", "hello", false)).await;
    stack.create(service("accelerated", "hello", true)).await;
    stack.settled("accelerated").await;
    let page = browser.get(LIST).await;
    let words = page.words();
    assert!(words.contains("2 of 2 services") && words.contains("1 × nvidia-l4 simulated"), "{words}");
    assert!(words.contains("✓ Ready") && words.contains("owner@homerun.local"), "{words}");
    let page = browser.get("/console/demo/services?q=PLAIN").await;
    assert!(page.words().contains("1 of 2 services") && !page.words().contains("accelerated"), "{}", page.words());
    let page = browser.get("/console/demo/services?region=europe-west1").await;
    assert!(page.words().contains("No service matches"), "{}", page.words());
    browser.language = "ja";
    let page = browser.get(LIST).await;
    assert!(page.words().contains("2 件中 2 件のサービス") && page.words().contains("準備完了"), "{}", page.words());
    stack.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn g13_the_containers_panel_shows_the_gpu() {
    let stack = Stack::start("simulated:nvidia-l4=1").await;
    stack.create(service("accelerated", "hello", true)).await;
    stack.settled("accelerated").await;
    let mut browser = Browser::signed_in(&stack, &stack.token).await;
    let at = "/console/demo/services/us-central1/accelerated";
    assert_eq!(browser.get(at).await.location().rsplit('/').nth(1), Some("accelerated"));
    let words = browser.get(&format!("{at}/revisions")).await.words();
    assert!(words.contains("GPU type nvidia-l4 simulated Number of GPUs 1 "), "{words}");
    assert!(words.contains("100 % Latest"), "{words}");
    browser.language = "ja";
    let words = browser.get(&format!("{at}/revisions")).await.words();
    assert!(words.contains("GPU のタイプ nvidia-l4") && words.contains("GPU の数 1"), "{words}");
    let yaml = browser.get(&format!("{at}/yaml")).await;
    assert!(yaml.contains("nvidia.com/gpu"), "{yaml}");
    for tab in ["instances", "logs"] {
        assert_eq!(browser.get(&format!("{at}/{tab}")).await.status, StatusCode::OK, "{tab}");
    }
    for nowhere in ["other", "accelerated/nothing"] {
        let page = browser.get(&format!("/console/demo/services/us-central1/{nowhere}")).await;
        let page = if page.status == StatusCode::SEE_OTHER { browser.get(page.location()).await } else { page };
        assert_eq!(page.status, StatusCode::NOT_FOUND, "{nowhere}");
    }
    stack.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn g24_requests_and_starts_are_plotted_and_simulated_gpus_say_so() {
    let stack = Stack::start("simulated:nvidia-l4=1").await;
    let mut made = service("accelerated", "hello", true);
    made["spec"]["template"]["metadata"]["annotations"]["homerun.dev/idle-timeout"] = json!("600s");
    stack.create(made).await;
    stack.settled("accelerated").await;
    stack.make_public("accelerated").await;
    for _ in 0..3 {
        assert_eq!(stack.visit("accelerated", "/").await.0, StatusCode::OK);
    }
    let mut browser = Browser::signed_in(&stack, &stack.token).await;
    let at = "/console/demo/services/us-central1/accelerated";
    assert_eq!(browser.get(at).await.location(), format!("{at}/metrics"));
    let begun = std::time::Instant::now();
    let page = loop {
        let page = browser.get(&format!("{at}/metrics?range=24h")).await;
        if page.contains("GPU utilization (simulated)") || begun.elapsed() > Duration::from_secs(20) {
            break page;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    let words = page.words();
    assert!(page.contains("3 requests, of which 0 had a server error."), "{words}");
    assert!(
        words.contains("GPU utilization (simulated)") && words.contains("A simulated GPU cannot compute"),
        "{words}"
    );
    assert!(page.contains("One start, which took") && words.contains("sandbox created"), "{words}");
    let words = browser.get(LIST).await.words();
    assert!(words.contains(" 0.05 "), "three requests in a minute: {words}");
    browser.cookies.insert("homerun_offset".to_owned(), "540".to_owned());
    assert!(browser.get(&format!("{at}/metrics")).await.words().contains("Times are in UTC+09:00."));
    let mut robot = Browser::signed_in(&stack, &stack.access("robot@example.com").await).await;
    stack.grant("", "roles/run.viewer", "user:robot@example.com").await;
    assert_eq!(robot.get(at).await.location(), format!("{at}/revisions"), "run.viewer may not read metrics");
    stack.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn g22_a_page_shows_no_more_than_the_visitor_may_see() {
    let stack = Stack::start("none").await;
    stack.create(service("hello", "hello", false)).await;
    let mut nobody = Browser::signed_in(&stack, &stack.access("nobody@example.com").await).await;
    for path in [LIST, "/console/demo/services/us-central1/hello/yaml"] {
        let page = nobody.get(path).await;
        assert_eq!(page.status, StatusCode::FORBIDDEN, "{path}");
        assert!(page.words().contains("Permission 'run.services."), "{}", page.words());
    }
    stack.grant("", "roles/run.viewer", "user:nobody@example.com").await;
    let page = nobody.get(LIST).await;
    assert!(page.words().contains("hello") && !page.words().contains("Deploy container"), "{}", page.words());
    let page = nobody.get("/console/demo/services/us-central1/hello/revisions").await;
    assert!(!page.words().contains("Edit") && !page.words().contains("Delete"), "{}", page.words());
    stack.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn g23_services_are_not_shown_while_the_api_is_disabled() {
    let stack = Stack::start("none").await;
    stack.create(service("hello", "hello", false)).await;
    let disable = "/v1/projects/demo/services/run.googleapis.com:disable";
    assert_eq!(stack.call(Method::POST, disable, Some(json!({}))).await.0, StatusCode::OK);
    let mut browser = Browser::signed_in(&stack, &stack.token).await;
    for path in [LIST, "/console/demo/services/us-central1/hello/yaml", "/console/demo/services/new"] {
        let page = browser.get(path).await;
        assert_eq!(page.status, StatusCode::FORBIDDEN, "{path}: {}", page.words());
        assert!(page.words().contains("run.googleapis.com"), "{}", page.words());
    }
    stack.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn g22_who_has_a_role_in_another_project_alone_begins_there_and_is_offered_what_it_allows() {
    let stack = Stack::start("none").await;
    let project = Project { id: "other".into(), number: 7 };
    let enabled_apis = ["run.googleapis.com".to_owned()].into();
    stack.up.platform.store.ensure_project(&StoredProject { project, enabled_apis, created_at: None }).unwrap();
    let policy = json!({"policy": {"bindings": [{"role": "roles/run.viewer", "members": ["user:ann@example.com"]}]}});
    let (status, body) = stack.call(Method::POST, "/v1/projects/other:setIamPolicy", Some(policy)).await;
    assert_eq!(status, StatusCode::OK, "{body:#}");
    let mut ann = Browser::signed_in(&stack, &stack.access("ann@example.com").await).await;
    assert_eq!(ann.get("/console").await.location(), "/console/other/services");
    let words = ann.get("/console/other/services").await.words();
    assert!(words.contains("GPUs") && !words.contains("Quotas") && !words.contains("Activity"), "{words}");
    let page = ann.get(LIST).await;
    assert_eq!(page.status, StatusCode::FORBIDDEN);
    assert!(page.words().contains("ann@example.com Sign out"), "a way on: {}", page.words());
    stack.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn g24_nothing_that_is_sent_brings_the_console_down() {
    let stack = Stack::start("none").await;
    let mut browser = Browser::signed_in(&stack, &stack.token).await;
    let new = "/console/demo/services/new";
    browser.get(new).await;
    let deep = format!("spec.template.metadata.labels{}", ".a".repeat(4000));
    let answer = browser.submit(new, &[(&deep, "x"), ("do", "refresh")]).await;
    assert_eq!(answer.status, StatusCode::OK, "what is no field is ignored");
    let many: Vec<(&str, &str)> = std::iter::repeat_n(("box", "x"), 6000).collect();
    let answer = browser.submit(new, &many).await;
    assert!(answer.words().contains("A form has at most 5000 fields"), "{}", answer.words());
    let large = "x".repeat(3 << 20);
    let answer = browser.submit(new, &[("box", &large)]).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(answer.words().contains("This page cannot be shown"), "{}", answer.words());
    for (path, status) in [
        ("/console/demo/services?page=x", StatusCode::BAD_REQUEST),
        ("/console/-/sign-out", StatusCode::METHOD_NOT_ALLOWED),
    ] {
        let answer = browser.get(path).await;
        assert_eq!(answer.status, status, "{path}");
        assert!(answer.words().contains("This page cannot be shown"), "{path}: {}", answer.words());
    }
    let year_one = "/console/demo/usage?period=dates&from=0001-01-01&to=2026-11-26";
    assert!(browser.get(year_one).await.body.len() < 200_000, "a plot has a bound");
    assert_eq!(browser.get("/console/").await.location(), "/console");
    let events = [("accept", "text/event-stream")];
    for form in ["/console/-/sign-in", new] {
        let answer = browser.request(form, None, &events).await;
        assert!(answer.contains("</html>"), "{form} is no stream");
    }
    stack.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn g24_a_form_that_outlives_its_session_is_sent_again_after_signing_in() {
    let stack = Stack::start("none").await;
    let mut browser = Browser::signed_in(&stack, &stack.token).await;
    let new = "/console/demo/services/new";
    let secret = browser.get(new).await.hidden("form-secret");
    browser.cookies.clear();
    let fields = [("metadata.name", "hello"), ("do", "refresh"), ("form-secret", &secret)];
    let ended = browser.post(new, &fields).await;
    assert_eq!(ended.status, StatusCode::UNAUTHORIZED);
    assert!(ended.words().contains("nothing that you have filled in is lost"), "{}", ended.words());
    browser.cookies = Browser::signed_in(&stack, &stack.token).await.cookies;
    let again = browser.post(new, &fields).await;
    assert_eq!(again.status, StatusCode::OK, "the form is good in the next session: {}", again.words());
    browser.cookies = Browser::signed_in(&stack, &stack.access("ann@example.com").await).await.cookies;
    stack.grant("", "roles/run.admin", "user:ann@example.com").await;
    let other = browser.post(new, &fields).await;
    assert_eq!(other.status, StatusCode::BAD_REQUEST, "but not somebody else's");
    browser.cookies.clear();
    let out = browser.post("/console/-/sign-out", &[("form-secret", &secret)]).await;
    assert_eq!(out.location(), "/console/-/sign-in");
    stack.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn g24_an_open_page_follows_changes_until_the_visitor_signs_out() {
    let stack = Stack::start("none").await;
    let mut browser = Browser::signed_in(&stack, &stack.token).await;
    browser.get(LIST).await;
    let cookie = format!("homerun_session={}", browser.cookies["homerun_session"]);
    let request = stack.client.get(format!("http://{}{LIST}", stack.up.control));
    let request = request.header("cookie", cookie).header("accept", "text/event-stream");
    let mut events = request.send().await.expect("an answer").bytes_stream();
    let mut seen = String::new();
    let mut until = async |what: &str| {
        while !seen.contains(what) {
            let next = tokio::time::timeout(Duration::from_secs(10), events.next()).await;
            let next = next.unwrap_or_else(|_| panic!("no event with {what}: {seen}"));
            seen.push_str(&String::from_utf8_lossy(&next.expect("more").expect("bytes")));
        }
    };
    until("There is no service yet").await;
    stack.create(service("hello", "hello", false)).await;
    until("s-us-central1-hello").await;
    assert_eq!(stack.call(Method::DELETE, &format!("{SERVICES}/hello"), None).await.0, StatusCode::OK);
    browser.submit("/console/-/sign-out", &[]).await;
    until("event: over").await;
    stack.end().await;
}
