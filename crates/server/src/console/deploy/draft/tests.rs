//! Tests of the way from a service to its form and back.

use serde_json::json;

use super::*;

fn everything() -> run_v1::Service {
    let service = json!({
        "apiVersion": "serving.knative.dev/v1", "kind": "Service",
        "metadata": {"name": "ocr", "resourceVersion": "7", "labels": {"team": "", "a": "b"},
            "annotations": {"run.googleapis.com/ingress": "internal", "run.googleapis.com/launch-stage": "BETA"}},
        "spec": {
            "template": {
                "metadata": {"labels": {"x": "y"}, "annotations": {
                    "autoscaling.knative.dev/maxScale": "2", "example.com/mine": "kept", "run.googleapis.com/cpu-throttling": "false",
                    "run.googleapis.com/container-dependencies": "{ \"app\": [\"db\"] }"}},
                "spec": {
                    "containerConcurrency": 8, "timeoutSeconds": 60, "serviceAccountName": "a@b",
                    "nodeSelector": {"run.googleapis.com/accelerator": "nvidia-l4"},
                    "volumes": [{"name": "v", "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}}],
                    "containers": [
                        {"name": "app", "image": "i", "command": ["sh"], "args": ["-c", "", "two\nlines"], "workingDir": "/w",
                         "env": [{"name": "A", "value": "b"}, {"name": "EMPTY"}],
                         "ports": [{"containerPort": 80, "name": "h2c"}],
                         "resources": {"limits": {"cpu": "4", "memory": "16Gi", "nvidia.com/gpu": "1"}},
                         "startupProbe": {"tcpSocket": {"port": 80}, "failureThreshold": 1800, "periodSeconds": 1},
                         "livenessProbe": {"httpGet": {"path": "/", "port": 80, "httpHeaders": [{"name": "H", "value": "1"}]}},
                         "readinessProbe": {"grpc": {"port": 80, "service": "s"}, "successThreshold": 2},
                         "volumeMounts": [{"name": "v", "mountPath": "/v", "readOnly": true, "subPath": "s"}]},
                        {"name": "db", "image": "j", "startupProbe": {"grpc": {"port": 5}}},
                    ],
                },
            },
            "traffic": [{"latestRevision": true, "percent": 90}, {"revisionName": "ocr-1", "percent": 10, "tag": "old"}],
        },
    });
    serde_json::from_value(service).unwrap()
}

#[test]
fn g24_a_service_comes_back_from_its_draft_as_it_was() {
    let service = everything();
    let draft = Draft::of(&service);
    assert_eq!(draft.service().unwrap(), service, "nothing was sent");
    assert_eq!(draft.without_empty_rows().service().unwrap(), service);
}

#[test]
fn g24_a_removed_container_takes_nothing_of_another_along() {
    let draft = Draft::of(&everything());
    let fields = [(ROWS, CONTAINERS), ("spec.template.spec.containers[0].from", "1")];
    let fields = fields.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let service = draft.posted(&fields).service().unwrap();
    let containers = service.spec.unwrap().template.unwrap().spec.unwrap().containers;
    assert_eq!(containers.iter().map(|container| container.name.as_deref()).collect::<Vec<_>>(), [Some("db")]);
    assert!(containers[0].startup_probe.is_some());
}

#[test]
fn g24_what_is_no_number_is_refused_at_its_field_and_stays_as_typed() {
    let field = format!("{CONTAINERS}[0].ports[0].containerPort");
    let draft = Draft::of(&everything()).posted(&[(field.clone(), "http".to_owned())]);
    assert_eq!(draft.text(&field), "http");
    let Err(ParseError::Type { path, .. }) = draft.service() else { panic!("{draft:?}") };
    assert_eq!(path, field);
}

#[test]
fn g24_rows_that_were_begun_and_left_empty_are_none() {
    let env = format!("{CONTAINERS}[0].env");
    let fields = [
        (ROWS.to_owned(), env.clone()),
        (format!("{env}[0].name"), String::new()),
        (format!("{env}[0].value"), String::new()),
        (format!("{env}[1].name"), "A".to_owned()),
        (format!("{env}[1].value"), String::new()),
        (ROWS.to_owned(), format!("{CONTAINERS}[0].args")),
        (format!("{CONTAINERS}[0].args[0]"), String::new()),
    ];
    let draft = Draft::empty().posted(&fields);
    assert_eq!((draft.length(&env), draft.length(&format!("{CONTAINERS}[0].args"))), (2, 1), "shown while typed");
    let draft = draft.without_empty_rows();
    assert_eq!(draft.text(&format!("{env}[0].name")), "A");
    assert_eq!((draft.length(&env), draft.length(&format!("{CONTAINERS}[0].args"))), (1, 0));
}

#[test]
fn g24_what_is_left_out_stays_left_out_until_another_choice_is_made() {
    let fields = |allocation: &str| {
        [(CPU_THROTTLING.to_owned(), allocation.to_owned()), (BOXES.to_owned(), AFFINITY.to_owned())]
    };
    assert_eq!(Draft::empty().posted(&fields("true")).service(), Draft::empty().service());
    let draft = Draft::empty().posted(&fields("false"));
    assert_eq!((draft.text(CPU_THROTTLING).as_str(), draft.text(AFFINITY).as_str()), ("false", ""));
    let draft = draft.posted(&[(AFFINITY.to_owned(), "true".to_owned())]).posted(&fields("true"));
    assert_eq!((draft.text(CPU_THROTTLING).as_str(), draft.text(AFFINITY).as_str()), ("true", "false"));
}
