//! Projects as Resource Manager shows them.

mod common;

use common::Stack;
use reqwest::{Method, StatusCode};

#[tokio::test(flavor = "multi_thread")]
async fn g12_a_project_is_found_by_id_and_by_number_so_that_gcloud_can_replace_an_export() {
    let stack = Stack::start("none").await;
    for name in ["demo", "100000000001"] {
        let project = stack.get(&format!("/v1/projects/{name}")).await;
        assert_eq!(project["projectId"], "demo");
        assert_eq!(project["projectNumber"], "100000000001", "a number as text, as published");
        assert_eq!(project["lifecycleState"], "ACTIVE");
    }
    let (status, body) = stack.call(Method::GET, "/v1/projects/other", None).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert!(body["error"]["message"].as_str().is_some_and(|message| message.contains("other")), "{body}");
    stack.end().await;
}
