//! The console's forms that move traffic, delete, and edit YAML (row G24).

mod common;

use common::browser::Browser;
use common::{SERVICES, Stack, service};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

const WEB: &str = "/console/demo/services/us-central1/web";

/// A service with two revisions that are ready, and their names.
async fn two_revisions(stack: &Stack) -> [String; 2] {
    stack.create(service("web", "sim/hello", false)).await;
    assert_eq!(stack.settled("web").await["status"], "True");
    let path = format!("{SERVICES}/web");
    let mut stored = stack.get(&path).await;
    let first = stored["status"]["latestReadyRevisionName"].as_str().expect("a name").to_owned();
    stored["spec"]["template"]["spec"]["timeoutSeconds"] = json!(60);
    let (status, body) = stack.call(Method::PUT, &path, Some(stored)).await;
    assert_eq!(status, StatusCode::OK, "{body:#}");
    assert_eq!(stack.settled("web").await["status"], "True");
    let second = stack.get(&path).await["status"]["latestReadyRevisionName"].as_str().expect("a name").to_owned();
    [first, second]
}

async fn traffic(stack: &Stack) -> Value {
    stack.get(&format!("{SERVICES}/web")).await["spec"]["traffic"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn g24_s03_traffic_is_split_by_the_form() {
    let stack = Stack::start("none").await;
    let [first, _] = two_revisions(&stack).await;
    let mut visitor = Browser::owner(&stack).await.in_japanese();
    let path = format!("{WEB}/traffic");
    let page = visitor.get(&path).await;
    assert!(page.text().contains("トラフィックを管理"), "{}", page.text());
    let page = visitor.send(&path, &page.form("deploy").with("do", "add:spec.traffic")).await;
    let fields = page.form("deploy").with("spec.traffic[1].revisionName", &first).with("spec.traffic[1].tag", "old");
    let fields = fields.with("spec.traffic[1].percent", "30").with("do", "save");

    let page = visitor.send(&path, &fields).await;
    assert_eq!(page.status, StatusCode::BAD_REQUEST);
    assert_eq!(page.wrong("spec.traffic"), "The sum of all percents should be 100; it is 130.");
    assert_eq!(page.form("deploy").get("spec.traffic[1].revisionName"), first, "what was chosen is still there");

    let page = visitor.send(&path, &page.form("deploy").with("spec.traffic[0].percent", "70").with("do", "save")).await;
    assert_eq!(page.status, StatusCode::SEE_OTHER, "{}", page.text());
    let split = json!([
        {"latestRevision": true, "percent": 70}, {"revisionName": first, "percent": 30, "tag": "old"},
    ]);
    assert_eq!(traffic(&stack).await, split);

    let fields = visitor.get(&path).await.form("deploy");
    let page = visitor.send(&path, &fields.with("do", "remove:spec.traffic[1]")).await;
    let page =
        visitor.send(&path, &page.form("deploy").with("spec.traffic[0].percent", "100").with("do", "save")).await;
    assert_eq!(page.status, StatusCode::SEE_OTHER, "{}", page.text());
    assert_eq!(traffic(&stack).await, json!([{"latestRevision": true, "percent": 100}]));
    stack.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn g24_a_service_is_deleted_only_by_its_name_and_a_revision_only_if_nothing_needs_it() {
    let stack = Stack::start("none").await;
    let [first, second] = two_revisions(&stack).await;
    let mut visitor = Browser::owner(&stack).await;

    let path = format!("{WEB}/revisions/{second}/delete");
    let page = visitor.get(&path).await;
    assert_eq!(page.status, StatusCode::CONFLICT);
    assert!(
        page.text().contains("it is the service's latest revision; deploy another revision first"),
        "{}",
        page.text()
    );
    let page = visitor.get(&format!("{WEB}/revisions?revision={first}")).await;
    let path = format!("{WEB}/revisions/{first}/delete");
    assert!(page.contains(&path), "{page}");
    let fields = visitor.get(&path).await.form("card");
    for slip in ["", "web", &second] {
        let page = visitor.send(&path, &fields.clone().with("name", slip)).await;
        assert_eq!(page.status, StatusCode::BAD_REQUEST, "{slip}");
        assert!(page.wrong("name").contains(&format!("Type the name exactly: {first}")), "{}", page.text());
    }
    let page = visitor.send(&path, &fields.with("name", &first)).await;
    assert_eq!(page.status, StatusCode::SEE_OTHER, "{}", page.text());
    assert!(!visitor.get(&format!("{WEB}/revisions")).await.contains(&first));

    let path = format!("{WEB}/delete");
    let fields = visitor.get(&path).await.form("card");
    let page = visitor.send(&path, &fields.clone().with("name", "wbe")).await;
    assert_eq!(page.status, StatusCode::BAD_REQUEST);
    assert!(page.wrong("name").contains("Type the name exactly: web"), "{}", page.text());
    assert_eq!(stack.get(&format!("{SERVICES}/web")).await["metadata"].get("deletionTimestamp"), None);
    let page = visitor.send(&path, &fields.clone().without("form-secret").with("name", "web")).await;
    assert_eq!(page.status, StatusCode::BAD_REQUEST, "no other site can send it");
    let page = visitor.send(&path, &fields.with("name", "web")).await;
    assert_eq!((page.status, page.location()), (StatusCode::SEE_OTHER, "/console/demo/services"));
    let begun = std::time::Instant::now();
    while stack.call(Method::GET, &format!("{SERVICES}/web"), None).await.0 != StatusCode::NOT_FOUND {
        assert!(begun.elapsed() < std::time::Duration::from_secs(30), "it is never gone");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    stack.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn g12_g24_yaml_is_edited_by_the_api_s_rules_and_looked_over_before_it_is_deployed() {
    let stack = Stack::start("none").await;
    stack.create(service("web", "sim/hello", false)).await;
    assert_eq!(stack.settled("web").await["status"], "True");
    let mut visitor = Browser::owner(&stack).await.in_japanese();
    let path = format!("{WEB}/yaml/edit");
    assert!(visitor.get(&format!("{WEB}/yaml")).await.contains(&path));
    let page = visitor.get(&path).await;
    assert!(page.text().contains("YAML を編集") && !page.text().contains("conditions:"), "{}", page.text());
    let fields = page.form("class=\"yaml\"");
    let before = fields.get("yaml").replace("\r\n", "\n");

    for (text, status, sentence) in [
        (
            before.replace("timeoutSeconds:", "timeoutSecond:"),
            400,
            "Unknown name \"timeoutSecond\" at 'spec.template.spec'",
        ),
        (before.replace("spec:", "spec: ["), 400, "YAML として読み取れません: "),
        (
            before.replace("timeoutSeconds: 300", "timeoutSeconds: 99999"),
            400,
            "must be between 1 and 3600; it is 99999",
        ),
    ] {
        let page = visitor.send(&path, &fields.clone().with("yaml", &text).with("do", "review")).await;
        assert_eq!(page.status.as_u16(), status, "{}", page.text());
        assert!(page.text().contains(sentence), "{sentence}: {}", page.text());
        assert_eq!(
            page.form("class=\"yaml\"").get("yaml").replace("\r\n", "\n"),
            text,
            "what was written is still there"
        );
    }

    let text = before.replace("timeoutSeconds: 300", "timeoutSeconds: 60");
    let page = visitor.send(&path, &fields.clone().with("yaml", &text).with("do", "review")).await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.text());
    for line in ["<del>-       timeoutSeconds: 300</del>", "<ins>+       timeoutSeconds: 60</ins>"] {
        assert!(page.contains(line), "{line}: {page}");
    }
    assert_eq!(stack.get(&format!("{SERVICES}/web")).await["spec"]["template"]["spec"]["timeoutSeconds"], 300);
    let page = visitor.send(&path, &fields.with("yaml", &text).with("do", "deploy")).await;
    assert_eq!(page.status, StatusCode::SEE_OTHER, "{}", page.text());
    let deployed = stack.get(&format!("{SERVICES}/web")).await;
    assert_eq!(deployed["spec"]["template"]["spec"]["timeoutSeconds"], 60);
    stack.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn g24_after_a_conflict_yaml_is_compared_with_what_is_stored_now_and_can_be_deployed() {
    let stack = Stack::start("none").await;
    stack.create(service("web", "sim/hello", false)).await;
    assert_eq!(stack.settled("web").await["status"], "True");
    let mut visitor = Browser::owner(&stack).await;
    let path = format!("{WEB}/yaml/edit");
    let fields = visitor.get(&path).await.form("class=\"yaml\"");
    let mine = fields.get("yaml").replace("\r\n", "\n").replace("timeoutSeconds: 300", "timeoutSeconds: 60");
    let mut theirs = stack.get(&format!("{SERVICES}/web")).await;
    theirs["spec"]["template"]["spec"]["containerConcurrency"] = json!(7);
    let (status, body) = stack.call(Method::PUT, &format!("{SERVICES}/web"), Some(theirs)).await;
    assert_eq!(status, StatusCode::OK, "{body:#}");

    let page = visitor.send(&path, &fields.clone().with("yaml", &mine).with("do", "deploy")).await;
    assert_eq!(page.status, StatusCode::CONFLICT);
    assert!(page.text().contains("changed by somebody else"), "{}", page.text());
    assert!(page.text().contains("Deploying again replaces that by what is filled in here."), "{}", page.text());
    for line in ["<del>-       containerConcurrency: 7</del>", "<ins>+       timeoutSeconds: 60</ins>"] {
        assert!(page.contains(line), "{line}: {page}");
    }
    let fields = page.form("class=\"yaml\"");
    assert!(fields.get("yaml").contains("timeoutSeconds: 60"), "what was written is still there");
    let page = visitor.send(&path, &fields.clone().with("do", "review")).await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.text());
    let page = visitor.send(&path, &fields.with("do", "deploy")).await;
    assert_eq!(page.status, StatusCode::SEE_OTHER, "{}", page.text());
    let deployed = &stack.get(&format!("{SERVICES}/web")).await["spec"]["template"]["spec"];
    assert_eq!((&deployed["timeoutSeconds"], &deployed["containerConcurrency"]), (&json!(60), &json!(80)));
    stack.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn g24_a_service_says_what_was_not_done_after_it_was_created() {
    let stack = Stack::start("none").await;
    stack.create(service("web", "sim/hello", false)).await;
    let mut visitor = Browser::owner(&stack).await.in_japanese();
    let page = visitor.get(&format!("{WEB}?not-done=public")).await;
    let to = page.location().to_owned();
    assert!(to.starts_with(WEB), "its first tab: {to}");
    let page = visitor.get(&to).await;
    assert!(page.text().contains("未認証の呼び出しは許可されていません"), "{}", page.text());
    assert!(page.contains(&format!("href=\"{WEB}/permissions\"")), "{page}");
    let page = visitor.get(&to.replace("public", "anything")).await;
    assert!(!page.text().contains("未認証の呼び出しは許可されていません"), "{}", page.text());
    stack.end().await;
}
