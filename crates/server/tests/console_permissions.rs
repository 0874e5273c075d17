//! The console's page about who may do what to a service: row G24.

mod common;

use common::browser::Browser;
use common::{Stack, service};
use reqwest::{Method, StatusCode};
use serde_json::json;

const TAB: &str = "/console/demo/services/us-central1/hello/permissions";

async fn stack() -> Stack {
    let stack = Stack::start("none").await;
    stack.create(service("hello", "sim/hello", false)).await;
    stack.settled("hello").await;
    stack
}

#[tokio::test(flavor = "multi_thread")]
async fn g24_a_service_is_made_public_and_private_again_in_the_console() {
    let stack = stack().await;
    let mut owner = Browser::owner(&stack).await;
    let page = owner.page(TAB).await;
    assert!(page.contains("Authentication required"), "{page}");
    assert_eq!(stack.visit("hello", "/").await.0, StatusCode::FORBIDDEN);
    let asked = owner.submit(TAB, &[("etag", &page.hidden("etag")), ("action", "open")]).await;
    assert_eq!(asked.status, StatusCode::OK, "it is asked first: {asked}");
    assert!(asked.contains("Everybody who reaches hello may send requests"), "{asked}");
    assert_eq!(stack.visit("hello", "/").await.0, StatusCode::FORBIDDEN);
    let opened = [("etag", asked.hidden("etag")), ("action", "open".to_owned()), ("confirmed", "yes".to_owned())];
    let opened = owner.submit(TAB, &opened.each_ref().map(|(name, value)| (*name, value.as_str()))).await;
    assert_eq!((opened.status, opened.location()), (StatusCode::SEE_OTHER, TAB), "{opened}");
    assert_eq!(stack.visit("hello", "/").await.0, StatusCode::OK);
    let page = owner.page(TAB).await;
    assert!(page.contains("Unauthenticated") && page.contains("<td>allUsers</td>"), "{page}");
    let closed = owner.submit(TAB, &[("etag", &page.hidden("etag")), ("action", "close")]).await;
    assert_eq!(closed.status, StatusCode::SEE_OTHER, "{closed}");
    assert_eq!(stack.visit("hello", "/").await.0, StatusCode::FORBIDDEN);
    let audit = stack.get("/homerun/v1/projects/demo/audit").await;
    let path = "/v1/projects/demo/locations/us-central1/services/hello:setIamPolicy";
    assert_eq!(audit["records"][0]["path"], json!(path), "{audit:#}");
    stack.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn g24_roles_are_granted_and_removed_and_what_the_project_grants_is_told_apart() {
    let stack = stack().await;
    stack.grant("", "roles/run.viewer", "user:bob@example.com").await;
    let mut owner = Browser::owner(&stack).await;
    let page = owner.page(TAB).await;
    assert!(page.contains("<td>user:bob@example.com</td><td>Project demo (inherited)</td>"), "{page}");
    let first = page.hidden("etag");
    let add = |member, etag| [("member", member), ("role", "roles/run.developer"), ("etag", etag), ("action", "add")];
    for (member, message) in
        [("ann", "Invalid member &#39;ann&#39;"), ("group:all@example.com", "Groups are not supported here")]
    {
        let refused = owner.submit(TAB, &add(member, &first)).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST);
        let (_, at) = refused.body.split_once("id=\"member-error\">").expect("a message at the field");
        assert!(at.replace('\'', "&#39;").starts_with(message), "{at}");
        assert!(refused.contains(&format!("value=\"{member}\"")), "what was typed stays");
    }
    assert_eq!(owner.submit(TAB, &add("user:ann@example.com", &first)).await.status, StatusCode::SEE_OTHER);
    // Whoever has seen the policy as it was before must look again.
    let stale = owner.submit(TAB, &add("user:eve@example.com", &first)).await;
    assert_eq!(stale.status, StatusCode::BAD_REQUEST);
    assert!(stale.contains("changed by somebody else"), "{stale}");
    let page = owner.page(TAB).await;
    assert!(page.contains("<td>user:ann@example.com</td><td>This service</td>") && !page.contains("eve@"), "{page}");
    let remove = [
        ("member", "user:ann@example.com"),
        ("role", "roles/run.developer"),
        ("etag", &page.hidden("etag")),
        ("action", "remove"),
        ("confirmed", "yes"),
    ];
    let asked = owner.submit(TAB, &remove[..4]).await;
    assert_eq!(asked.status, StatusCode::OK, "{asked}");
    let means = "user:ann@example.com no longer has the role roles/run.developer on hello.";
    assert!(asked.contains(means), "{asked}");
    assert!(owner.page(TAB).await.contains("<td>user:ann@example.com</td>"), "nothing was done yet");
    assert_eq!(owner.submit(TAB, &remove).await.status, StatusCode::SEE_OTHER);
    let all = [("member", "allAuthenticatedUsers"), ("role", "roles/run.invoker"), ("etag", ""), ("action", "add")];
    let asked = owner.submit(TAB, &all).await;
    assert!(asked.status == StatusCode::OK && asked.contains("is not one person"), "{asked}");
    let path = "/v1/projects/demo/locations/us-central1/services/hello:getIamPolicy";
    let (_, policy) = stack.call(Method::GET, path, None).await;
    assert!(policy["bindings"].as_array().is_none_or(Vec::is_empty), "{policy:#}");
    stack.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn g24_permissions_are_neither_offered_nor_changed_without_the_role() {
    let stack = stack().await;
    stack.grant("services/hello", "roles/run.developer", "user:ann@example.com").await;
    stack.grant("", "roles/run.viewer", "user:ann@example.com").await;
    let mut ann = Browser::of(&stack, "ann@example.com", "demo").await.in_japanese();
    let page = ann.page(TAB).await;
    assert!(page.contains("プリンシパルとロール") && !page.contains("アクセス権を付与"), "{page}");
    assert!(page.contains("resourcemanager.projects.getIamPolicy"), "{page}");
    let open = ann.submit(TAB, &[("etag", ""), ("action", "open")]).await;
    assert_eq!(open.status, StatusCode::FORBIDDEN, "{open}");
    assert_eq!(stack.visit("hello", "/").await.0, StatusCode::FORBIDDEN);
    stack.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn g24_activity_tells_who_changed_what_page_by_page() {
    let stack = stack().await;
    let mut owner = Browser::owner(&stack).await;
    for _ in 0..26 {
        for action in ["open", "close"] {
            assert_eq!(
                owner.submit(TAB, &[("etag", ""), ("action", action), ("confirmed", "yes")]).await.status,
                StatusCode::SEE_OTHER
            );
        }
    }
    let newest = owner.page("/console/demo/activity").await;
    assert_eq!(newest.body.matches("services/hello:setIamPolicy").count(), 50, "{newest}");
    assert!(newest.contains("owner@homerun.local"), "{newest}");
    let (_, older) = newest.body.split_once("/console/demo/activity?before=").expect("older ones");
    let number = older.split('"').next().expect("a number");
    let older = owner.page(&format!("/console/demo/activity?before={number}")).await;
    assert_eq!(older.body.matches("services/hello:setIamPolicy").count(), 2, "{older}");
    assert!(older.contains("namespaces/demo/services/hello") && !older.contains("?before="), "{older}");
    stack.grant("", "roles/run.viewer", "user:ann@example.com").await;
    let mut ann = Browser::of(&stack, "ann@example.com", "demo").await;
    assert_eq!(ann.get("/console/demo/activity").await.status, StatusCode::FORBIDDEN);
    stack.end().await;
}
