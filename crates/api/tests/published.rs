//! The wire types against the published definition (`api/run.v1.schemas.json`: schema -> property ->
//! shape), and the laws of their conversion.

use std::collections::BTreeMap;

use homerun_api::run_v1::convert::{Place, service_from_wire, service_to_wire};
use homerun_api::run_v1::{self, parse_strict};
use homerun_model::service::{Service, ServiceStatus};
use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

type Schemas = BTreeMap<String, BTreeMap<String, Value>>;

fn schemas() -> Schemas {
    serde_json::from_str(include_str!("../../../api/run.v1.schemas.json")).expect("the definition is JSON")
}

/// A value of a shape with every property set.
fn sample(shape: &Value, schemas: &Schemas) -> Value {
    match shape {
        Value::String(kind) => match kind.as_str() {
            "string" => json!("text"),
            "boolean" => json!(true),
            "integer" => json!(7),
            _ => json!({"any": 1}),
        },
        other if other.get("array").is_some() => json!([sample(&other["array"], schemas)]),
        other if other.get("object").is_some() => json!({"key": sample(&other["object"], schemas)}),
        other => whole(other["$ref"].as_str().expect("a reference"), schemas),
    }
}

/// An object of a schema with every property set.
fn whole(schema: &str, schemas: &Schemas) -> Value {
    let properties = schemas.get(schema).unwrap_or_else(|| panic!("{schema} is not in the definition"));
    Value::Object(properties.iter().map(|(name, shape)| (name.clone(), sample(shape, schemas))).collect::<Map<_, _>>())
}

fn same<T: DeserializeOwned + Serialize>(schema: &str) {
    let whole = whole(schema, &schemas());
    let text = serde_json::to_vec(&whole).expect("JSON");
    let parsed: T = parse_strict(&text).unwrap_or_else(|error| panic!("{schema}: {error}"));
    assert_eq!(serde_json::to_value(parsed).expect("JSON"), whole, "{schema}");
}

#[test]
fn s01_every_published_field_is_read_and_written() {
    same::<run_v1::Service>("Service");
    same::<run_v1::Revision>("Revision");
    same::<run_v1::ListServicesResponse>("ListServicesResponse");
    same::<run_v1::ListRevisionsResponse>("ListRevisionsResponse");
    same::<run_v1::ListLocationsResponse>("ListLocationsResponse");
    same::<run_v1::Status>("Status");
    same::<run_v1::SetIamPolicyRequest>("SetIamPolicyRequest");
    same::<run_v1::TestIamPermissionsRequest>("TestIamPermissionsRequest");
    same::<run_v1::TestIamPermissionsResponse>("TestIamPermissionsResponse");
}

fn service(wire: run_v1::Service) -> Result<Service, Vec<String>> {
    let (parsed, violations) = service_from_wire(wire);
    if !violations.is_empty() {
        return Err(violations.into_iter().map(|violation| violation.field).collect());
    }
    let now = chrono::DateTime::from_timestamp(1_800_000_000, 0).expect("in range");
    Ok(Service {
        key: homerun_model::names::ServiceKey {
            project: "demo".into(),
            region: "us-central1".into(),
            name: "ocr".into(),
        },
        uid: "u".to_owned(),
        generation: 1,
        revisions_made: 1,
        spec: parsed.spec,
        created_at: now,
        creator: "me".to_owned(),
        updated_at: now,
        last_modifier: "me".to_owned(),
        operation_id: String::new(),
        deleted_at: None,
        status: ServiceStatus::default(),
    })
}

fn render(service: &Service) -> run_v1::Service {
    let place = Place {
        project_number: 1,
        resource_version: 1,
        url: "http://x".to_owned(),
        tag_url: &|tag| format!("http://{tag}"),
    };
    service_to_wire(service, &place)
}

/// The page's own YAML with its placeholders filled in.
fn page() -> Value {
    json!({
        "apiVersion": "serving.knative.dev/v1", "kind": "Service",
        "metadata": {"name": "ocr", "annotations": {"run.googleapis.com/launch-stage": "BETA"}},
        "spec": {"template": {
            "metadata": {"annotations": {
                "autoscaling.knative.dev/maxScale": "1", "run.googleapis.com/cpu-throttling": "false"}},
            "spec": {
                "containers": [{
                    "image": "localhost/ocr", "ports": [{"containerPort": 8080, "name": "http1"}],
                    "resources": {"limits": {"cpu": "4", "memory": "16Gi", "nvidia.com/gpu": "1"}},
                    "startupProbe": {"failureThreshold": 1800, "periodSeconds": 1, "tcpSocket": {"port": 8080}, "timeoutSeconds": 1},
                }],
                "nodeSelector": {"run.googleapis.com/accelerator": "nvidia-l4"},
            },
        }},
    })
}

fn parse(value: &Value) -> run_v1::Service {
    parse_strict(value.to_string().as_bytes()).expect("a service")
}

#[test]
fn g12_the_pages_yaml_is_understood() {
    let service = service(parse(&page())).expect("no violation");
    let template = &service.spec.template;
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
    value["spec"]["template"]["spec"]["containers"][0]["name"] = json!("");
    value["status"] = json!({"address": {}});
    assert_eq!(service(parse(&value)).map(|s| s.spec), service(parse(&page())).map(|s| s.spec));
}

#[test]
fn s01_what_cannot_be_honoured_is_named() {
    let mut value = page();
    let spec = &mut value["spec"]["template"]["spec"];
    spec["containers"][0]["envFrom"] = json!([{"prefix": "x"}]);
    spec["containers"][0]["env"] = json!([{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "1"}}}]);
    spec["containers"][0]["resources"]["limits"]["cpu"] = json!("lots");
    spec["volumes"] = json!([{"name": "v", "nfs": {"server": "s", "path": "/"}}]);
    value["spec"]["template"]["metadata"]["annotations"]["autoscaling.knative.dev/maxScale"] = json!("many");
    let mut fields = service(parse(&value)).expect_err("five violations");
    fields.sort();
    let template = "spec.template";
    assert_eq!(
        fields,
        [
            format!("{template}.metadata.annotations[autoscaling.knative.dev/maxScale]"),
            format!("{template}.spec.containers[0].envFrom"),
            format!("{template}.spec.containers[0].env[0].valueFrom"),
            format!("{template}.spec.containers[0].resources.limits[cpu]"),
            format!("{template}.spec.volumes[0].nfs"),
        ]
    );
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
                "run.googleapis.com/ingress": "internal", "run.googleapis.com/minScale": "1", "example.com/x": text}},
            "spec": {
                "template": {
                    "metadata": {"name": "ocr-one", "labels": {"l": "m"}, "annotations": {
                        "autoscaling.knative.dev/minScale": min.to_string(), "autoscaling.knative.dev/maxScale": max.to_string(),
                        "run.googleapis.com/cpu-throttling": throttling, "run.googleapis.com/startup-cpu-boost": boost,
                        "run.googleapis.com/sessionAffinity": affinity, "homerun.dev/idle-timeout": "5m",
                        "run.googleapis.com/container-dependencies": "{\"a\":[\"b\"]}",
                        "run.googleapis.com/gpu-zonal-redundancy-disabled": "True",
                        "run.googleapis.com/execution-environment": "gen1", "example.com/y": "z"}},
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
        let first = service(parse(&value)).expect("no violation");
        let again = service(render(&first)).expect("no violation in what homerun itself renders");
        prop_assert_eq!(&first.spec, &again.spec);
        prop_assert_eq!(render(&first), render(&again));
    }
}
