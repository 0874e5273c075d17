//! Who may do what: rows S13, G22 and S10 over HTTP.

mod common;

use std::collections::BTreeSet;

use common::{Stack, service};
use homerun_model::iam::roles;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

/// `VERB PATH PERMISSION` of every call.
const CALLS: &str = include_str!("../../../api/permissions.txt");
const PUBLISHED: &str = include_str!("../../../api/run.v1.methods.txt");
const UNSERVED: &str = include_str!("../../../api/unserved.txt");

const COMPUTE: &str = "100000000001-compute@developer.gserviceaccount.com";
const SERVICES: &str = common::SERVICES;

fn calls() -> impl Iterator<Item = [&'static str; 3]> {
    let lines = CALLS.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| match line.split(' ').collect::<Vec<_>>()[..] {
        [verb, path, permission] => [verb, path, permission],
        _ => panic!("not `verb path permission`: {line}"),
    })
}

/// A body with which the call gets as far as asking for its permission.
fn body(path: &str) -> Value {
    match path {
        "/v2/entries:list" => json!({"resourceNames": ["projects/demo"]}),
        "/homerun/v1/tokens" => json!({"account": "bob@example.com"}),
        _ if path.ends_with("/services") || path.ends_with("/services/hello") => {
            json!({"metadata": {"name": "hello"}, "spec": {"template": {"spec": {"containers": [{"image": "sim/hello"}]}}}})
        }
        _ if path.ends_with(":generateIdToken") => json!({"audience": "http://example.test"}),
        _ => json!({}),
    }
}

async fn with_robot() -> Stack {
    let stack = Stack::start("none").await;
    let robot = json!({"accountId": "robot-one"});
    let (status, body) = stack.call(Method::POST, "/v1/projects/demo/serviceAccounts", Some(robot)).await;
    assert_eq!(status, StatusCode::OK, "{body:#}");
    stack
}

#[tokio::test(flavor = "multi_thread")]
async fn s13_each_call_needs_its_permission_and_no_more() {
    let stack = with_robot().await;
    // Deploying needs a right on the instances' identity too; a test of its own asks for that one.
    stack.grant(&format!("serviceAccounts/{COMPUTE}"), "roles/iam.serviceAccountUser", "domain:example.com").await;
    let nobody = stack.access("nobody@example.net").await;
    for (number, [verb, path, permission]) in calls().enumerate() {
        let method: Method = verb.parse().expect("a verb");
        let path = &path.replace("robot@", "robot-one@");
        let url = format!("http://{}{path}", stack.up.control);
        let anonymous = stack.client.request(method.clone(), url).json(&body(path)).send().await.expect("an answer");
        assert_eq!(anonymous.status(), StatusCode::UNAUTHORIZED, "{verb} {path}");

        let (status, answer) = stack.call_as(&nobody, method.clone(), path, Some(body(path))).await;
        if permission == "signed-in" {
            assert_eq!(status, StatusCode::OK, "{verb} {path}: {answer:#}");
            continue;
        }
        assert_eq!(status, StatusCode::FORBIDDEN, "{verb} {path}: {answer:#}");
        let message = answer["error"]["message"].as_str().expect("a message");
        assert_eq!(answer["error"]["status"], "PERMISSION_DENIED");
        if let Some(permission) = permission.strip_prefix("owner:") {
            assert!(message.contains(permission), "{verb} {path}: {message}");
            continue;
        }
        assert!(message.contains(&format!("'{permission}' denied on resource '")), "{verb} {path}: {message}");

        let having = roles().iter().filter(|role| role.includes(permission));
        let least = having.min_by_key(|role| role.permissions().count()).expect("a role has it");
        let member = format!("member-{number}@example.com");
        stack.grant("", least.name, &format!("user:{member}")).await;
        let token = stack.access(&member).await;
        let (status, answer) = stack.call_as(&token, method, path, Some(body(path))).await;
        let refused = [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN].contains(&status);
        assert!(!refused, "{verb} {path} with {}: {answer:#}", least.name);
    }
    stack.end().await;
}

#[tokio::test]
async fn s13_every_published_method_that_is_served_has_its_permission() {
    let unserved: BTreeSet<&str> = UNSERVED.lines().collect();
    let listed: BTreeSet<(String, String)> = calls().map(|[verb, path, _]| (verb.to_owned(), shape(path))).collect();
    for line in PUBLISHED.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let [id, verb, path] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("not `id verb path`: {line}") };
        let named = listed.contains(&(verb.to_owned(), shape(&format!("/{path}"))));
        assert_eq!(named, !unserved.contains(id), "{id} {verb} {path}");
    }
}

/// A path without the names in it.
fn shape(path: &str) -> String {
    let path = path.split_once("/namespaces/demo").map_or(path.to_owned(), |(before, rest)| format!("{before}{rest}"));
    let mut segments: Vec<String> = path.split('/').map(str::to_owned).collect();
    let collections = ["services", "revisions", "configurations", "routes", "operations", "locations"];
    for index in 1..segments.len() {
        if collections.contains(&segments[index - 1].as_str()) {
            let verb = segments[index].split_once(':').map(|(_, verb)| format!(":{verb}")).unwrap_or_default();
            segments[index] = format!("NAME{verb}");
        }
    }
    segments.join("/")
}

#[tokio::test(flavor = "multi_thread")]
async fn g22_a_developer_needs_act_as_on_the_services_identity() {
    let stack = Stack::start("none").await;
    stack.grant("", "roles/run.developer", "user:dev@example.com").await;
    let dev = stack.access("dev@example.com").await;
    let deploy = || stack.call_as(&dev, Method::POST, SERVICES, Some(service("hello", "sim/hello", false)));
    let (status, answer) = deploy().await;
    assert_eq!(status, StatusCode::FORBIDDEN, "{answer:#}");
    let message =
        format!("Permission 'iam.serviceaccounts.actAs' denied on service account {COMPUTE} (or it may not exist).");
    assert_eq!(answer["error"]["message"], message);
    stack.grant(&format!("serviceAccounts/{COMPUTE}"), "roles/iam.serviceAccountUser", "user:dev@example.com").await;
    let (status, answer) = deploy().await;
    assert_eq!(status, StatusCode::OK, "{answer:#}");
    assert_eq!(answer["metadata"]["annotations"]["serving.knative.dev/creator"], "dev@example.com");
    let path = "/v1/projects/demo/locations/us-central1/services/hello:setIamPolicy";
    let (status, answer) = stack.call_as(&dev, Method::POST, path, Some(json!({"policy": {}}))).await;
    assert_eq!(status, StatusCode::FORBIDDEN, "{answer:#}");
    stack.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn g22_a_role_on_one_service_is_for_that_service() {
    let stack = Stack::start("none").await;
    for name in ["mine", "other"] {
        stack.create(service(name, "sim/hello", false)).await;
    }
    stack.grant("services/mine", "roles/run.viewer", "user:ann@example.com").await;
    let ann = stack.access("ann@example.com").await;
    for (path, expected) in [
        (format!("{SERVICES}/mine"), StatusCode::OK),
        (format!("{SERVICES}/other"), StatusCode::FORBIDDEN),
        (SERVICES.to_owned(), StatusCode::FORBIDDEN),
    ] {
        assert_eq!(stack.call_as(&ann, Method::GET, &path, None).await.0, expected, "{path}");
    }
    let body = json!({"permissions": ["run.services.get", "run.services.update"]});
    let path = "/v1/projects/demo/locations/us-central1/services/mine:testIamPermissions";
    let (_, answer) = stack.call_as(&ann, Method::POST, path, Some(body)).await;
    assert_eq!(answer, json!({"permissions": ["run.services.get"]}));
    stack.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s14_only_the_owner_imports_the_machines_own_folders() {
    let stack = Stack::start("none").await;
    stack.grant("", "roles/editor", "user:ed@example.com").await;
    let ed = stack.access("ed@example.com").await;
    let path = "/homerun/v1/images:import?name=localhost/x&path=/etc";
    let (status, answer) = stack.call_as(&ed, Method::POST, path, None).await;
    assert_eq!(status, StatusCode::FORBIDDEN, "{answer:#}");
    assert!(answer["error"]["message"].as_str().is_some_and(|message| message.contains("send an archive instead")));
    assert_ne!(stack.call(Method::POST, path, None).await.0, StatusCode::FORBIDDEN);
    stack.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s13_service_accounts_are_made_used_and_removed() {
    let stack = with_robot().await;
    let path = "/v1/projects/demo/serviceAccounts";
    let email = "robot-one@demo.iam.gserviceaccount.com";
    let listed = stack.get(path).await;
    let emails: Vec<_> = listed["accounts"].as_array().expect("a list").iter().map(|a| a["email"].clone()).collect();
    assert_eq!(emails, [json!(COMPUTE), json!(email)]);
    for (id, status, words) in [
        ("robot-one", 409, "Service account robot-one already exists within project projects/demo."),
        ("Robot", 400, "accountId: 'Robot' is not valid; it must have 6 to 30 characters"),
    ] {
        let (given, answer) = stack.call(Method::POST, path, Some(json!({"accountId": id}))).await;
        assert_eq!(given.as_u16(), status);
        assert!(answer["error"]["message"].as_str().is_some_and(|message| message.starts_with(words)), "{answer:#}");
    }
    stack.grant("", "roles/run.viewer", &format!("serviceAccount:{email}")).await;
    let request = json!({"scope": ["https://www.googleapis.com/auth/cloud-platform"], "lifetime": "600s"});
    let minted = format!("/v1/projects/-/serviceAccounts/{email}:generateAccessToken");
    let (status, answer) = stack.call(Method::POST, &minted, Some(request)).await;
    assert_eq!(status, StatusCode::OK, "{answer:#}");
    let token = answer["accessToken"].as_str().expect("a token");
    assert_eq!(stack.call_as(token, Method::GET, SERVICES, None).await.0, StatusCode::OK);
    assert_eq!(stack.call(Method::DELETE, &format!("{path}/{email}"), None).await.0, StatusCode::OK);
    assert_eq!(stack.call_as(token, Method::GET, SERVICES, None).await.0, StatusCode::UNAUTHORIZED);
    stack.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s13_a_policy_that_was_changed_meanwhile_or_is_wrong_is_refused() {
    let stack = Stack::start("none").await;
    let read = "/v1/projects/demo:getIamPolicy";
    let (_, before) = stack.call(Method::POST, read, None).await;
    assert_eq!(before["bindings"], json!([{"role": "roles/owner", "members": ["user:owner@homerun.local"]}]));
    stack.grant("", "roles/viewer", "user:ann@example.com").await;
    let write =
        |policy: Value| stack.call(Method::POST, "/v1/projects/demo:setIamPolicy", Some(json!({"policy": policy})));
    let (status, answer) = write(before).await;
    assert_eq!((status, &answer["error"]["status"]), (StatusCode::CONFLICT, &json!("ABORTED")), "{answer:#}");
    let (status, answer) = write(json!({"bindings": [{"role": "roles/king", "members": ["ann"]}]})).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let message = answer["error"]["message"].as_str().expect("a message");
    assert!(
        message.contains("policy.bindings[0].role: Role roles/king") && message.contains("members[0]: Invalid member")
    );
    let (_, after) = stack.call(Method::POST, read, None).await;
    assert_eq!(after["bindings"].as_array().map(Vec::len), Some(2), "nothing was lost");
    stack.end().await;
}
