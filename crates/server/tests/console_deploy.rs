//! The console's forms that deploy, as a browser without its script sends them (row G24).

mod common;

use common::browser::{Browser, Fields};
use common::{SERVICES, Stack};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

const NEW: &str = "/console/demo/services/new";
const APP: &str = "spec.template.spec.containers[0]";
const GPU_TYPE: &str = "spec.template.spec.nodeSelector[run.googleapis.com/accelerator]";
const MOST: &str = "spec.template.metadata.annotations[autoscaling.knative.dev/maxScale]";
const THROTTLING: &str = "spec.template.metadata.annotations[run.googleapis.com/cpu-throttling]";
const ENVIRONMENT: &str = "spec.template.metadata.annotations[run.googleapis.com/execution-environment]";

fn app(field: &str) -> String {
    format!("{APP}.{field}")
}

fn of_template(service: &Value) -> &Value {
    &service["spec"]["template"]["spec"]
}

#[tokio::test(flavor = "multi_thread")]
async fn g24_a_service_with_a_gpu_is_created_by_the_form() {
    let stack = Stack::start("simulated:nvidia-l4=2").await;
    let mut visitor = Browser::owner(&stack).await.in_japanese();
    let page = visitor.get(NEW).await;
    for word in [
        "コンテナをデプロイ",
        "コンテナ、ボリューム、ネットワーキング、セキュリティ",
        "CPU を常に割り当てる",
        "最大インスタンス数",
        "作成",
    ] {
        assert!(page.text().contains(word), "{word}: {}", page.text());
    }
    let fields = page.form("deploy").with("metadata.name", "ocr").with(&app("image"), "sim/hello");
    let fields = fields.with("authentication", "public").with(&app("gpu"), "true");

    let page = visitor.send(NEW, &fields.with("do", "deploy")).await;
    assert_eq!(page.status, StatusCode::OK, "what a GPU needs is shown before it is deployed: {}", page.text());
    for word in
        ["GPU のタイプ", "GPU の数", "シミュレーション", "少なくとも 4 個の CPU と 16Gi", "8 個の CPU と 32Gi を推奨"]
    {
        assert!(page.text().contains(word), "{word}: {}", page.text());
    }
    let fields = page.form("deploy");
    let filled = [
        app("resources.limits[cpu]"),
        app("resources.limits[memory]"),
        GPU_TYPE.into(),
        app("resources.limits[nvidia.com/gpu]"),
    ];
    let filled: Vec<&str> = filled.iter().map(|name| fields.get(name)).collect();
    assert_eq!(filled, ["4", "16Gi", "nvidia-l4", "1"]);
    assert_eq!([fields.get(THROTTLING), fields.get(ENVIRONMENT)], ["false", "gen2"]);

    let page = visitor.send(NEW, &fields.with("do", "deploy")).await;
    assert_eq!(
        (page.status, page.location()),
        (StatusCode::SEE_OTHER, "/console/demo/services/us-central1/ocr"),
        "{}",
        page.text()
    );
    assert_eq!(stack.settled("ocr").await["status"], "True");
    assert_eq!(stack.visit("ocr", "/").await.0, StatusCode::OK, "everybody may send requests");
    let changes = stack.get("/homerun/v1/projects/demo/audit").await.to_string();
    assert!(changes.contains("/v1/projects/demo/locations/us-central1/services/ocr"), "{changes}");
    stack.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn g24_what_is_wrong_stands_at_its_field_and_nothing_typed_is_lost() {
    let stack = Stack::start("simulated:nvidia-l4=1").await;
    let mut visitor = Browser::owner(&stack).await;
    let fields = visitor.get(NEW).await.form("deploy").with("metadata.name", "Ocr").with(&app("gpu"), "true");
    let fields = visitor.send(NEW, &fields).await.form("deploy").with(&app("resources.limits[cpu]"), "2");
    let fields = fields.with(MOST, "5").with(THROTTLING, "true").with(ENVIRONMENT, "gen1").with("do", "deploy");
    let page = visitor.send(NEW, &fields).await;
    assert_eq!(page.status, StatusCode::BAD_REQUEST);
    for (field, sentence) in [
        ("metadata.name", "Ocr"),
        (app("image").as_str(), "An image is required"),
        (app("resources.limits[cpu]").as_str(), "CPU must be at least 4; memory must be at least 16Gi"),
        (MOST, "Max instances must be set to 1 or fewer in order to set GPU requirements"),
        (THROTTLING, "CPU throttling must be disabled in order to set GPU requirements"),
        (ENVIRONMENT, "Execution environment must be set to gen2 in order to set GPU"),
    ] {
        let wrong = page.wrong(field);
        assert!(wrong.contains(sentence), "{field}: {wrong}");
    }
    let again = page.form("deploy").with("do", "deploy");
    let sorted = |fields: &Fields| {
        let mut fields = fields.0.clone();
        fields.sort();
        fields
    };
    assert_eq!(sorted(&again), sorted(&fields.without(&app("gpu")).with(&app("gpu"), "true")));

    let page = visitor.send(NEW, &again.with("spec.template.spec.timeoutSeconds", "soon")).await;
    assert!(page.wrong("spec.template.spec.timeoutSeconds").contains("expected a whole number"), "{}", page.text());
    assert_eq!(page.form("deploy").get("spec.template.spec.timeoutSeconds"), "soon");
    stack.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn g14_g24_a_new_revision_without_gpu_keeps_what_the_form_does_not_show() {
    let stack = Stack::start("simulated:nvidia-l4=1").await;
    let mut service = common::service("ocr", "sim/hello", true);
    service["metadata"]["labels"] = json!({"team": "a"});
    service["spec"]["template"]["metadata"]["annotations"]["example.com/mine"] = json!("kept");
    stack.create(service).await;
    assert_eq!(stack.settled("ocr").await["status"], "True");
    let before = stack.get(&format!("{SERVICES}/ocr")).await;

    let mut visitor = Browser::owner(&stack).await.in_japanese();
    let path = "/console/demo/services/us-central1/ocr/deploy";
    let page = visitor.get(path).await;
    assert!(page.text().contains("新しいリビジョンの編集とデプロイ"), "{}", page.text());
    let fields = page.form("deploy");
    let page = visitor.send(path, &fields.clone().with("do", "deploy")).await;
    assert_eq!(page.status, StatusCode::BAD_REQUEST, "nothing differs");
    assert_eq!(stack.get(&format!("{SERVICES}/ocr")).await["spec"], before["spec"], "nor does it by being sent");

    let page = visitor.send(path, &fields.clone().without(&app("gpu")).with("do", "deploy")).await;
    assert_eq!(page.status, StatusCode::SEE_OTHER, "{}", page.text());
    assert_eq!(stack.settled("ocr").await["status"], "True");
    let after = stack.get(&format!("{SERVICES}/ocr")).await;
    assert_eq!(of_template(&after)["nodeSelector"], Value::Null, "{after:#}");
    assert_eq!(of_template(&after)["containers"][0]["resources"]["limits"].get("nvidia.com/gpu"), None);
    assert_eq!(after["metadata"]["labels"]["team"], "a");
    assert_eq!(after["spec"]["template"]["metadata"]["annotations"]["example.com/mine"], "kept");
    assert_ne!(after["status"]["latestReadyRevisionName"], before["status"]["latestReadyRevisionName"]);

    let page = visitor.send(path, &fields.with(MOST, "1").with("do", "deploy")).await;
    assert_eq!(page.status, StatusCode::CONFLICT, "somebody has changed it since: {}", page.text());
    let again = page.form("deploy");
    assert_eq!(again.get(MOST), "1", "what was typed is still there");
    assert_eq!(visitor.send(path, &again.with("do", "deploy")).await.status, StatusCode::SEE_OTHER);
    stack.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn g24_s03_a_revision_that_is_not_served_gets_no_requests() {
    let stack = Stack::start("none").await;
    stack.create(common::service("web", "sim/hello", false)).await;
    assert_eq!(stack.settled("web").await["status"], "True");
    let mut visitor = Browser::owner(&stack).await;
    let path = "/console/demo/services/us-central1/web/deploy";
    let fields = visitor.get(path).await.form("deploy");
    assert_eq!(fields.get("serve"), "true");
    let fields = fields
        .without("serve")
        .with("rows", &app("env"))
        .with(&app("env[0].name"), "A")
        .with(&app("env[0].value"), "b");
    let page = visitor.send(path, &fields.with("do", "deploy")).await;
    assert_eq!(page.status, StatusCode::SEE_OTHER, "{}", page.text());
    assert_eq!(stack.settled("web").await["status"], "True");
    let service = stack.get(&format!("{SERVICES}/web")).await;
    let traffic = service["spec"]["traffic"].as_array().expect("targets");
    assert_eq!(traffic.len(), 1, "{service:#}");
    assert_ne!(traffic[0]["revisionName"], service["status"]["latestReadyRevisionName"], "{service:#}");

    let fields = visitor.get(path).await.form("deploy");
    assert_eq!(fields.get("serve"), "", "requests go to a revision by its name");
    let page = visitor.send(path, &fields.with("serve", "true").with("do", "deploy")).await;
    assert_eq!(page.status, StatusCode::SEE_OTHER, "{}", page.text());
    let service = stack.get(&format!("{SERVICES}/web")).await;
    assert_eq!(service["spec"]["traffic"], json!([{"latestRevision": true, "percent": 100}]));
    stack.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn g22_g24_who_may_not_deploy_is_refused_the_form() {
    let stack = Stack::start("none").await;
    stack.create(common::service("web", "sim/hello", false)).await;
    stack.grant("", "roles/run.viewer", "user:vic@example.com").await;
    let mut visitor = Browser::of(&stack, "vic@example.com", "demo").await;
    for path in [NEW, "/console/demo/services/us-central1/web/deploy"] {
        let page = visitor.get(path).await;
        assert_eq!(page.status, StatusCode::FORBIDDEN, "{path}");
        assert!(page.text().contains("denied on resource"), "{path}: {}", page.text());
    }
    let page = visitor.get("/console/demo/services").await;
    assert!(!page.contains(NEW), "what one may not do is not offered");
    let (status, _) = stack.call(Method::GET, &format!("{SERVICES}/web"), None).await;
    assert_eq!(status, StatusCode::OK);
    stack.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s06_g24_a_sidecar_its_order_a_probe_and_a_volume_are_added_row_by_row() {
    let stack = Stack::start("none").await;
    let mut visitor = Browser::owner(&stack).await;
    let fields = visitor.get(NEW).await.form("deploy").with("metadata.name", "web").with(&app("image"), "sim/hello");
    let fields = fields.with(&app("name"), "app").with("do", "add:spec.template.spec.containers");
    let fields = visitor.send(NEW, &fields).await.form("deploy");
    let db = |field: &str| format!("spec.template.spec.containers[1].{field}");
    assert_eq!([fields.get(&app("ports[0].containerPort")), fields.get(&db("ports[0].containerPort"))], ["8080", ""]);
    let fields =
        fields.with(&db("name"), "db").with(&db("image"), "sim/hello").with(&db("startupProbe.kind"), "tcpSocket");
    let fields = visitor.send(NEW, &fields.with("do", "add:spec.template.spec.volumes")).await.form("deploy");
    let fields =
        fields.with("spec.template.spec.volumes[0].name", "scratch").with(&db("startupProbe.tcpSocket.port"), "5432");
    let fields = fields.with("spec.template.spec.volumes[0].emptyDir.sizeLimit", "64Mi");
    let fields = visitor.send(NEW, &fields.with("do", &format!("add:{}", app("volumeMounts")))).await.form("deploy");
    assert_eq!(fields.get(&app("volumeMounts[0].name")), "scratch");
    let fields =
        fields.with(&app("volumeMounts[0].mountPath"), "/scratch").with(&app("volumeMounts[0].readOnly"), "true");
    let page = visitor.send(NEW, &fields.with(&app("after"), "1").with("do", "deploy")).await;
    assert_eq!(page.status, StatusCode::SEE_OTHER, "{}", page.text());

    let service = stack.get(&format!("{SERVICES}/web")).await;
    let template = &service["spec"]["template"];
    let order = &template["metadata"]["annotations"]["run.googleapis.com/container-dependencies"];
    assert_eq!(order, r#"{"app":["db"]}"#, "{service:#}");
    let spec = of_template(&service);
    assert_eq!(spec["volumes"], json!([{"name": "scratch", "emptyDir": {"medium": "Memory", "sizeLimit": "64Mi"}}]));
    assert_eq!(
        spec["containers"][0]["volumeMounts"],
        json!([{"name": "scratch", "mountPath": "/scratch", "readOnly": true}])
    );
    assert_eq!(spec["containers"][1]["startupProbe"]["tcpSocket"]["port"], 5432);
    assert_eq!(spec["containers"][1].get("ports"), None);
    stack.end().await;
}

/// A service with all that a form has fields for, and more.
fn everything() -> Value {
    json!({
        "apiVersion": "serving.knative.dev/v1", "kind": "Service",
        "metadata": {"name": "ocr", "namespace": "demo", "labels": {"team": "", "a": "b"}, "annotations": {
            "run.googleapis.com/ingress": "internal", "run.googleapis.com/launch-stage": "BETA",
            "run.googleapis.com/maxScale": "3"}},
        "spec": {
            "template": {
                "metadata": {"labels": {"x": "y"}, "annotations": {
                    "autoscaling.knative.dev/maxScale": "1", "example.com/mine": "kept",
                    "run.googleapis.com/cpu-throttling": "false", "run.googleapis.com/startup-cpu-boost": "true",
                    "run.googleapis.com/sessionAffinity": "true", "homerun.dev/idle-timeout": "30s",
                    "run.googleapis.com/gpu-zonal-redundancy-disabled": "true",
                    "run.googleapis.com/container-dependencies": "{\"app\":[\"db\"]}"}},
                "spec": {
                    "containerConcurrency": 8, "timeoutSeconds": 60,
                    "nodeSelector": {"run.googleapis.com/accelerator": "nvidia-l4"},
                    "volumes": [{"name": "v", "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}},
                        {"name": "w", "emptyDir": {"medium": "Memory"}}],
                    "containers": [
                        {"name": "app", "image": "sim/hello", "command": ["sh"], "args": ["-c", "", "two\nlines"],
                         "workingDir": "/w", "env": [{"name": "A", "value": "<b> & \"c\""}, {"name": "EMPTY", "value": ""}],
                         "ports": [{"containerPort": 80, "name": "h2c"}],
                         "resources": {"limits": {"cpu": "4", "memory": "16Gi", "nvidia.com/gpu": "1"}},
                         "startupProbe": {"tcpSocket": {"port": 80}, "failureThreshold": 1800, "periodSeconds": 1,
                             "timeoutSeconds": 1},
                         "livenessProbe": {"httpGet": {"path": "/", "port": 80, "httpHeaders": [{"name": "H", "value": "1"}]}},
                         "readinessProbe": {"grpc": {"port": 80, "service": "s"}, "successThreshold": 2},
                         "volumeMounts": [{"name": "v", "mountPath": "/v", "readOnly": true, "subPath": "s"},
                             {"name": "w", "mountPath": "/w"}]},
                        {"name": "db", "image": "sim/hello", "startupProbe": {"grpc": {"port": 5}}},
                    ],
                },
            },
            "traffic": [{"latestRevision": true, "percent": 100, "tag": "new"}],
        },
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn g24_a_service_comes_back_from_its_pages_as_it_was() {
    let stack = Stack::start("simulated:nvidia-l4=1").await;
    stack.create(everything()).await;
    stack.settled("ocr").await;
    let whole = |service: &Value| {
        let mut service = json!({"labels": service["metadata"]["labels"], "annotations": service["metadata"]["annotations"],
            "spec": service["spec"]});
        service["annotations"].as_object_mut().expect("annotations").retain(|name, _| !name.starts_with("serving."));
        service
    };
    let before = stack.get(&format!("{SERVICES}/ocr")).await;
    let mut visitor = Browser::owner(&stack).await;
    let path = "/console/demo/services/us-central1/ocr/deploy";
    let page = visitor.get(path).await;
    let unchanged = visitor.send(path, &page.form("deploy").with("do", "deploy")).await;
    assert!(unchanged.text().contains("Nothing differs from the latest revision"), "{}", unchanged.text());
    assert_eq!(whole(&stack.get(&format!("{SERVICES}/ocr")).await), whole(&before));

    // One field more, and a button on the way: all else is as it was.
    let fields = page.form("deploy").with("spec.template.spec.timeoutSeconds", "61");
    let fields = visitor.send(path, &fields.with("do", "refresh")).await.form("deploy");
    let page = visitor.send(path, &fields.with("do", "deploy")).await;
    assert_eq!(page.status, StatusCode::SEE_OTHER, "{}", page.text());
    let mut wanted = whole(&before);
    wanted["spec"]["template"]["spec"]["timeoutSeconds"] = json!(61);
    assert_eq!(whole(&stack.get(&format!("{SERVICES}/ocr")).await), wanted);

    stack.settled("ocr").await;
    let path = "/console/demo/services/us-central1/ocr/traffic";
    let fields = visitor.get(path).await.form("deploy");
    let page = visitor.send(path, &fields.with("do", "save")).await;
    assert_eq!(page.status, StatusCode::SEE_OTHER, "{}", page.text());
    assert_eq!(whole(&stack.get(&format!("{SERVICES}/ocr")).await), wanted);
    stack.end().await;
}
