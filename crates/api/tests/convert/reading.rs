//! Services as clients write them.

use homerun_api::run_v1::convert::{policy_from_wire, policy_to_wire, service_from_wire};
use homerun_api::run_v1::{self, parse_strict};
use homerun_model::revision::UtilizationTarget;
use serde_json::{Value, json};

use super::{page, parse, read};

#[test]
fn g12_the_pages_yaml_is_understood() {
    let spec = read(parse(&page())).expect("no violation");
    let template = &spec.template;
    assert_eq!(template.containers[0].gpu_count, Some(1));
    assert_eq!(template.gpu_type.as_ref().map(|gpu| gpu.as_str()), Some("nvidia-l4"));
    assert_eq!((template.max_instances, template.cpu_throttling), (Some(1), Some(false)));
}

#[test]
fn s01_what_gcloud_writes_in_its_own_way_means_the_same() {
    let mut value = page();
    let annotations = &mut value["spec"]["template"]["metadata"]["annotations"];
    annotations["run.googleapis.com/cpu-throttling"] = json!("False");
    annotations["run.googleapis.com/sessionAffinity"] = json!("");
    let container = &mut value["spec"]["template"]["spec"]["containers"][0];
    container["name"] = json!("");
    container["resources"]["requests"] = json!({});
    value["status"] = json!({"address": {}});
    assert_eq!(read(parse(&value)), read(parse(&page())));
}

#[test]
fn s01_what_the_server_writes_may_come_back_and_says_nothing() {
    let mut value = page();
    value["metadata"]["uid"] = json!("u");
    value["metadata"]["generation"] = json!(3);
    value["metadata"]["selfLink"] = json!("/apis/x");
    value["metadata"]["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
    value["metadata"]["labels"] = json!({"cloud.googleapis.com/location": "us-central1"});
    for name in ["serving.knative.dev/creator", "run.googleapis.com/operation-id", "run.googleapis.com/urls"] {
        value["metadata"]["annotations"][name] = json!("x");
    }
    assert_eq!(read(parse(&value)), read(parse(&page())));
}

#[test]
fn s01_an_annotation_without_a_meaning_here_is_kept() {
    let mut value = page();
    value["metadata"]["annotations"]["example.com/owner"] = json!("team a");
    value["spec"]["template"]["metadata"]["annotations"]["run.googleapis.com/vpc-access-egress"] = json!("all-traffic");
    let spec = read(parse(&value)).expect("no violation");
    assert_eq!(spec.annotations["example.com/owner"], "team a");
    assert_eq!(spec.template.annotations["run.googleapis.com/vpc-access-egress"], "all-traffic");
}

#[test]
fn s01_the_version_that_a_client_has_read_is_passed_on() {
    let mut value = page();
    value["metadata"]["resourceVersion"] = json!("42");
    assert_eq!(service_from_wire(parse(&value)).0.resource_version, Some(42));
    value["metadata"]["resourceVersion"] = json!("AAYZ");
    let (_, violations) = service_from_wire(parse(&value));
    assert_eq!(violations.first().map(|violation| violation.field.as_str()), Some("metadata.resourceVersion"));
}

/// Puts `value` at `pointer` (RFC 6901) of the page's service.
fn with(pointer: &str, value: Value) -> Value {
    let mut service = page();
    let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
    service.pointer_mut(parent).unwrap_or_else(|| panic!("{parent} is not in the page"))[name.replace("~1", "/")] =
        value;
    service
}

const CONTAINER: &str = "spec.template.spec.containers[0]";

/// A field that exists and that cannot be honoured must be named, alone, and the answer say what would be right.
fn refused(pointer: &str, value: Value, field: &str, words: &str) {
    let found = read(parse(&with(pointer, value))).expect_err(pointer);
    assert_eq!(found.iter().map(|(field, _)| field.as_str()).collect::<Vec<_>>(), [field], "{found:?}");
    assert!(found[0].1.contains(words), "{field}: {}", found[0].1);
}

#[test]
fn s01_what_cannot_be_honoured_of_a_service_is_named_and_never_dropped() {
    for (pointer, value, field, words) in [
        ("/metadata/finalizers", json!(["x"]), "metadata.finalizers", "not supported"),
        ("/metadata/generateName", json!("x-"), "metadata.generateName", "give a name"),
        ("/metadata/clusterName", json!("x"), "metadata.clusterName", "not supported"),
        ("/metadata/ownerReferences", json!([{"name": "x"}]), "metadata.ownerReferences", "not supported"),
        ("/spec/template/metadata/finalizers", json!(["x"]), "spec.template.metadata.finalizers", "not supported"),
        ("/spec/template/spec/imagePullSecrets", json!([{}]), "spec.template.spec.imagePullSecrets", "not supported"),
        ("/spec/template/spec/runtimeClassName", json!("x"), "spec.template.spec.runtimeClassName", "not supported"),
        (
            "/spec/template/spec/enableServiceLinks",
            json!(true),
            "spec.template.spec.enableServiceLinks",
            "not supported",
        ),
        (
            "/spec/template/spec/volumes",
            json!([{"name": "v", "nfs": {}}]),
            "spec.template.spec.volumes[0].nfs",
            "not supported",
        ),
        ("/spec/template/spec/volumes", json!([{"name": "v"}]), "spec.template.spec.volumes[0]", "give emptyDir"),
        (
            "/spec/template/spec/volumes",
            json!([{"name": "v", "emptyDir": {"medium": "Disk"}}]),
            "spec.template.spec.volumes[0].emptyDir.medium",
            "'Disk' is not supported; it must be 'Memory'",
        ),
        (
            "/spec/traffic",
            json!([{"configurationName": "c", "latestRevision": true}]),
            "spec.traffic[0].configurationName",
            "not supported",
        ),
    ] {
        refused(pointer, value, field, words);
    }
}

#[test]
fn s01_what_cannot_be_honoured_of_a_container_is_named_and_never_dropped() {
    for (name, value, field, words) in [
        ("envFrom", json!([{"prefix": "x"}]), "envFrom", "not supported"),
        ("securityContext", json!({"runAsUser": 1}), "securityContext", "not supported"),
        ("imagePullPolicy", json!("Never"), "imagePullPolicy", "must be 'Always'"),
        ("terminationMessagePath", json!("/x"), "terminationMessagePath", "not supported"),
        ("ports/0/protocol", json!("UDP"), "ports[0].protocol", "must be 'TCP'"),
        (
            "env",
            json!([{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "1"}}}]),
            "env[0].valueFrom.secretKeyRef",
            "not supported by homerun yet",
        ),
        (
            "env",
            json!([{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "s", "key": "1"}}}]),
            "env[0].valueFrom.configMapKeyRef",
            "Config maps are not supported",
        ),
        ("startupProbe", json!({"exec": {"command": ["x"]}}), "startupProbe.exec", "not supported"),
        ("startupProbe", json!({"periodSeconds": 1}), "startupProbe", "Exactly one of"),
        ("startupProbe/tcpSocket/host", json!("x"), "startupProbe.tcpSocket.host", "not supported"),
        ("resources/requests", json!({"cpu": "2"}), "resources.requests[cpu]", "differs from the limit"),
        ("resources/requests", json!({"ephemeral-storage": "1Gi"}), "resources.requests[ephemeral-storage]", "differs"),
    ] {
        refused(&format!("/spec/template/spec/containers/0/{name}"), value, &format!("{CONTAINER}.{field}"), words);
    }
}

/// What says nothing new must not be refused.
#[test]
fn s01_fields_that_state_what_is_so_anyway_are_accepted() {
    for (pointer, value) in [
        ("imagePullPolicy", json!("Always")),
        ("securityContext", json!({})),
        ("env", json!([])),
        ("ports/0/protocol", json!("TCP")),
        ("resources/requests", json!({"cpu": "4000m", "memory": "16384Mi", "nvidia.com/gpu": ""})),
        ("resources/requests", json!({"nvidia.com/gpu": "1"})),
    ] {
        let service = with(&format!("/spec/template/spec/containers/0/{pointer}"), value);
        assert_eq!(read(parse(&service)), read(parse(&page())), "{pointer}");
    }
}

#[test]
fn s07_scaling_by_hand_and_targets_are_read_and_written_back() {
    let mut value = page();
    value["metadata"]["annotations"] =
        json!({"run.googleapis.com/scalingMode": "manual", "run.googleapis.com/manualInstanceCount": "0"});
    let annotations = &mut value["spec"]["template"]["metadata"]["annotations"];
    annotations["run.googleapis.com/scaling-cpu-target"] = json!("disabled");
    annotations["run.googleapis.com/scaling-concurrency-target"] = json!("0.75");
    let spec = read(parse(&value)).expect("right");
    assert_eq!(spec.manual_instances, Some(0));
    assert_eq!(spec.template.cpu_target, Some(UtilizationTarget::Disabled));
    assert_eq!(spec.template.concurrency_target, Some(UtilizationTarget::Thousandths(750)));

    let refused = |mode: &str, count: Option<&str>| {
        let mut value = page();
        value["metadata"]["annotations"] = json!({"run.googleapis.com/scalingMode": mode});
        if let Some(count) = count {
            value["metadata"]["annotations"]["run.googleapis.com/manualInstanceCount"] = json!(count);
        }
        read(parse(&value)).err().map(|found| found.into_iter().map(|(field, _)| field).collect::<Vec<_>>())
    };
    let count = || Some(vec!["metadata.annotations[run.googleapis.com/manualInstanceCount]".to_owned()]);
    assert_eq!(refused("automatic", None), None);
    assert_eq!(refused("manual", None), count());
    assert_eq!(refused("manual", Some("-1")).map(|fields| fields[0].clone()), count().map(|fields| fields[0].clone()));
    assert_eq!(refused("automatic", Some("2")), count());
    assert_eq!(refused("sometimes", None).map(|fields| fields.len()), Some(1));
}

#[test]
fn s01_all_that_is_wrong_is_said_at_once() {
    let mut value = page();
    let spec = &mut value["spec"]["template"]["spec"];
    spec["timeoutSeconds"] = json!(-1);
    spec["containers"][0]["resources"]["limits"] = json!({"cpu": "lots", "memory": "much", "nvidia.com/gpu": "-1"});
    spec["containers"][0]["ports"][0]["name"] = json!("grpc");
    let annotations = &mut value["spec"]["template"]["metadata"]["annotations"];
    annotations["autoscaling.knative.dev/maxScale"] = json!("many");
    annotations["run.googleapis.com/cpu-throttling"] = json!("no");
    annotations["run.googleapis.com/execution-environment"] = json!("gen3");
    value["spec"]["traffic"] = json!([{"percent": 100}]);
    value["kind"] = json!("Job");
    let mut fields: Vec<String> =
        read(parse(&value)).expect_err("ten violations").into_iter().map(|(field, _)| field).collect();
    fields.sort();
    assert_eq!(
        fields,
        [
            "kind".to_owned(),
            "spec.template.metadata.annotations[autoscaling.knative.dev/maxScale]".to_owned(),
            "spec.template.metadata.annotations[run.googleapis.com/cpu-throttling]".to_owned(),
            "spec.template.metadata.annotations[run.googleapis.com/execution-environment]".to_owned(),
            format!("{CONTAINER}.ports[0].name"),
            format!("{CONTAINER}.resources.limits[cpu]"),
            format!("{CONTAINER}.resources.limits[memory]"),
            format!("{CONTAINER}.resources.limits[nvidia.com/gpu]"),
            "spec.template.spec.timeoutSeconds".to_owned(),
            "spec.traffic[0].revisionName".to_owned(),
        ]
    );
}

#[test]
fn g14_a_limit_of_no_gpu_is_no_gpu() {
    let mut value = page();
    value["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] = json!("0");
    let spec = read(parse(&value)).expect("no violation");
    assert_eq!(spec.template.gpu_container(), None);
}

#[test]
fn s10_a_policy_comes_back_as_it_was_set_and_conditions_are_refused() {
    let policy = |value: Value| {
        let wire: run_v1::Policy = parse_strict(value.to_string().as_bytes()).expect("a policy");
        policy_from_wire(wire)
    };
    let value = json!({
        "version": 1, "etag": "YWJj",
        "bindings": [{"role": "roles/run.invoker", "members": ["allUsers", "user:ann@example.com"]}],
    });
    let (read, violations) = policy(value.clone());
    assert_eq!(violations, []);
    assert_eq!(read.etag, "abc");
    assert_eq!(serde_json::to_value(policy_to_wire(&read)).expect("JSON"), value);

    let (_, violations) = policy(json!({
        "etag": "?", "auditConfigs": [{}],
        "bindings": [{"members": ["allUsers"], "condition": {"expression": "true"}}],
    }));
    let fields: Vec<&str> = violations.iter().map(|violation| violation.field.as_str()).collect();
    assert_eq!(
        fields,
        ["policy.auditConfigs", "policy.bindings[0].condition", "policy.bindings[0].role", "policy.etag"]
    );
}
