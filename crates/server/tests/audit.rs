//! The record of changes: row S13 over HTTP.

mod common;

use common::{SERVICES, Stack, service};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

/// `WHO VERB PATH` of every record, the newest first.
async fn records(stack: &Stack) -> Vec<String> {
    let audit = stack.get("/homerun/v1/projects/demo/audit?pageSize=1000").await;
    let text = |record: &Value, field: &str| record[field].as_str().expect("text").to_owned();
    let line = |record: &Value| format!("{} {} {}", text(record, "by"), text(record, "verb"), text(record, "path"));
    audit["records"].as_array().expect("a list").iter().map(line).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn s13_every_change_is_recorded_with_who_made_it_and_nothing_else_is() {
    let stack = Stack::start("none").await;
    let owner = "owner@homerun.local";
    assert_eq!(records(&stack).await, Vec::<String>::new(), "what homerun does at start is nobody's call");
    let ann = stack.access("ann@example.com").await;
    stack.grant("", "roles/owner", "user:ann@example.com").await;

    let (status, made) = stack.call_as(&ann, Method::POST, SERVICES, Some(service("hello", "sim/hello", false))).await;
    assert_eq!(status, StatusCode::OK, "{made:#}");
    stack.settled("hello").await;
    let path = format!("{SERVICES}/hello");
    let mut stale = service("hello", "sim/hello?2", false);
    stale["metadata"]["resourceVersion"] = json!("1");
    let nothing_changes = [
        (Method::GET, path.clone(), None, StatusCode::OK),
        (Method::POST, SERVICES.to_owned(), Some(service("hello", "sim/hello", false)), StatusCode::CONFLICT),
        (Method::POST, SERVICES.to_owned(), Some(json!({"metadata": {"name": "X"}})), StatusCode::BAD_REQUEST),
        (Method::PUT, path.clone(), Some(stale), StatusCode::CONFLICT),
        (Method::DELETE, format!("{SERVICES}/absent"), None, StatusCode::NOT_FOUND),
        (Method::DELETE, format!("{path}?dryRun=all"), None, StatusCode::OK),
        (
            Method::POST,
            "/v1/projects/demo:testIamPermissions".to_owned(),
            Some(json!({"permissions": []})),
            StatusCode::OK,
        ),
    ];
    for (method, path, body, expected) in nothing_changes {
        let (status, answer) = stack.call_as(&ann, method.clone(), &path, body).await;
        assert_eq!(status, expected, "{method} {path}: {answer:#}");
    }
    let nobody = stack.access("nobody@example.net").await;
    assert_eq!(stack.call_as(&nobody, Method::DELETE, &path, None).await.0, StatusCode::FORBIDDEN);

    let robot = json!({"accountId": "robot-one"});
    let accounts = "/v1/projects/demo/serviceAccounts";
    assert_eq!(stack.call_as(&ann, Method::POST, accounts, Some(robot)).await.0, StatusCode::OK);
    let api = "/v1/projects/100000000001/services/storage.googleapis.com:enable";
    assert_eq!(stack.call_as(&ann, Method::POST, api, None).await.0, StatusCode::OK);
    assert_eq!(stack.call_as(&ann, Method::DELETE, &path, None).await.0, StatusCode::OK);
    let expected = [
        format!("ann@example.com DELETE {path}"),
        format!("ann@example.com POST {api}"),
        format!("ann@example.com POST {accounts}/robot-one@demo.iam.gserviceaccount.com"),
        format!("{owner} POST /homerun/v1/tokens/nobody@example.net"),
        format!("ann@example.com POST {path}"),
        format!("{owner} POST /v1/projects/demo:setIamPolicy"),
        format!("{owner} POST /homerun/v1/tokens/ann@example.com"),
    ];
    assert_eq!(records(&stack).await, expected);

    let first = stack.get("/homerun/v1/projects/demo/audit?pageSize=3").await;
    let token = first["nextPageToken"].as_str().expect("more");
    let second = stack.get(&format!("/homerun/v1/projects/demo/audit?pageSize=3&pageToken={token}")).await;
    assert_eq!(second["records"][0]["path"], "/homerun/v1/tokens/nobody@example.net");

    let dir = stack.end().await;
    let stack = Stack::start_in(dir, "none", |_| {}).await;
    assert_eq!(records(&stack).await, expected, "a restart changes nothing");
    stack.end().await;
}
