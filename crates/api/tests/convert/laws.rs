//! What holds for every service.

use homerun_api::run_v1::convert::service_to_wire;
use homerun_model::service::{Service, ServiceSpec, ServiceStatus, defaults};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{World, key, origin, page, parse, place, read};

fn service(spec: ServiceSpec) -> Service {
    let origin = origin();
    Service {
        key: key(),
        uid: origin.uid,
        generation: 1,
        revisions_made: 1,
        spec,
        created_at: origin.now,
        creator: origin.actor.clone(),
        updated_at: origin.now,
        last_modifier: origin.actor,
        operation_id: origin.revision_uid,
        deleted_at: None,
        status: ServiceStatus::default(),
    }
}

/// A service as a client is sent it.
fn render(spec: &ServiceSpec) -> Value {
    serde_json::to_value(service_to_wire(&service(spec.clone()), &place())).expect("JSON")
}

/// Any service that uses every field which the conversion understands.
fn services() -> impl Strategy<Value = Value> {
    let flag = || prop_oneof![Just("true"), Just("False"), Just("TRUE")];
    let numbers = (0_u32..5, 1_u32..100, 1_u32..1000, 1_u32..3600, 0_u32..241);
    let flags = (flag(), flag(), flag(), any::<bool>(), any::<bool>());
    let texts = ("[a-z]{1,8}", "[ -~]{0,20}", "[a-z]{1,5}");
    (numbers, flags, texts).prop_map(|((min, max, concurrency, timeout, delay), flags, (name, text, tag))| {
        let (throttling, boost, affinity, http, sidecar) = flags;
        let check = if http { ("httpGet", json!({"path": "/x", "port": 1})) } else { ("grpc", json!({"service": "s"})) };
        let mut containers = vec![json!({
            "image": "i", "name": name, "args": [text], "command": ["c"], "workingDir": "/w",
            "env": [{"name": "A", "value": text}], "ports": [{"containerPort": 80, "name": "h2c"}],
            "resources": {"limits": {"cpu": "500m", "memory": "1536Mi"}},
            "startupProbe": {check.0: check.1, "initialDelaySeconds": delay},
            "volumeMounts": [{"name": "v", "mountPath": "/v", "readOnly": true, "subPath": "s"}],
        })];
        if sidecar {
            containers.push(json!({"image": "j", "name": "side", "resources": {"limits": {"cpu": "2"}}}));
        }
        json!({
            "apiVersion": "serving.knative.dev/v1", "kind": "Service",
            "metadata": {"name": "ocr", "labels": {"team": "a"}, "annotations": {
                "run.googleapis.com/ingress": "internal", "run.googleapis.com/minScale": "1",
                "run.googleapis.com/scalingMode": "manual", "run.googleapis.com/manualInstanceCount": "2",
                "example.com/x": text}},
            "spec": {
                "template": {
                    "metadata": {"name": "ocr-one", "labels": {"l": "m"}, "annotations": {
                        "autoscaling.knative.dev/minScale": min.to_string(), "autoscaling.knative.dev/maxScale": max.to_string(),
                        "run.googleapis.com/cpu-throttling": throttling, "run.googleapis.com/startup-cpu-boost": boost,
                        "run.googleapis.com/sessionAffinity": affinity, "homerun.dev/idle-timeout": "5m", "homerun.dev/cuda-compat": "true",
                        "run.googleapis.com/container-dependencies": "{\"a\":[\"b\"]}",
                        "run.googleapis.com/gpu-zonal-redundancy-disabled": "True",
                        "run.googleapis.com/execution-environment": "gen1",
                        "run.googleapis.com/scaling-cpu-target": "disabled",
                        "run.googleapis.com/scaling-concurrency-target": "0.725", "example.com/y": "z"}},
                    "spec": {
                        "containerConcurrency": concurrency, "timeoutSeconds": timeout, "serviceAccountName": "a@b",
                        "containers": containers, "volumes": [{"name": "v", "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}}],
                        "nodeSelector": {"run.googleapis.com/accelerator": "nvidia-l4", "other": "x"},
                    },
                },
                "traffic": [{"latestRevision": true, "percent": 90}, {"revisionName": "ocr-two", "percent": 10, "tag": tag}],
            },
        })
    })
}

proptest! {
    #[test]
    fn g12_what_is_rendered_reads_back_as_the_same_service(value in services()) {
        let first = read(parse(&value)).expect("no violation");
        let again = read(parse(&render(&first))).expect("no violation in what homerun itself renders");
        prop_assert_eq!(&first, &again);
        prop_assert_eq!(render(&first), render(&again));
    }

    #[test]
    fn g12_defaults_are_filled_in_once_and_read_back_as_they_are(value in services()) {
        let world = World::new();
        let fill = |spec| defaults(spec, &key(), &world.around());
        let first = fill(read(parse(&value)).expect("no violation"));
        let again = read(parse(&render(&first))).expect("no violation in what homerun itself renders");
        prop_assert_eq!(&first, &again);
        prop_assert_eq!(&first, &fill(again));
    }
}

/// An export and its replacement, by the rules that decide about revisions.
#[test]
fn g12_replacing_a_service_by_its_own_export_changes_nothing() {
    let world = World::new();
    let plain = json!({"metadata": {"name": "ocr"}, "spec": {"template": {"spec": {"containers": [{"image": "i"}]}}}});
    for value in [page(), plain] {
        let spec = read(parse(&value)).expect("no violation");
        let made = Service::create(&key(), spec, &world.around(), origin()).expect("it keeps every rule");
        // What `gcloud run services describe --format export` leaves out of what it was sent.
        let mut export = serde_json::to_value(service_to_wire(&made.service, &place())).expect("JSON");
        let export = export.as_object_mut().expect("an object");
        export.remove("status");
        for name in ["creationTimestamp", "generation", "resourceVersion", "selfLink", "uid"] {
            export["metadata"].as_object_mut().expect("an object").remove(name);
        }
        let spec = read(parse(&Value::Object(export.clone()))).expect("no violation");
        let change = made.service.apply(spec, &[], &world.around(), origin()).expect("it keeps every rule");
        assert_eq!((change.revision, &change.service), (None, &made.service));
    }
}
