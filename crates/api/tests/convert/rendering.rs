//! Services and what belongs to them as clients are shown them.

use homerun_api::run_v1::convert::{configuration_to_wire, revision_to_wire, route_to_wire, service_to_wire};
use homerun_model::condition::{Condition, ConditionType, set};
use homerun_model::names::RevisionName;
use homerun_model::revision::{PinnedImage, Revision};
use homerun_model::service::{Service, ServingTarget};
use serde::Serialize;
use serde_json::{Value, json};

use super::{World, key, origin, page, parse, place, read};

const CREATED: &str = "2027-01-15T08:00:00.000000Z";

/// The page's service, its first revision ready but not yet serving all, and that revision.
fn made() -> (Service, Revision) {
    let world = World::new();
    let spec = read(parse(&page())).expect("no violation");
    let made = Service::create(&key(), spec, &world.around(), origin()).expect("it keeps every rule");
    let (mut service, revision) = (made.service, made.revision.expect("the first revision"));
    let name = revision.key.name.clone();
    let status = &mut service.status;
    status.observed_generation = 1;
    status.latest_ready_revision = Some(name.clone());
    status.traffic = vec![
        ServingTarget { revision: name, latest: true, percent: 100, tag: None },
        ServingTarget {
            revision: RevisionName::from("ocr-old"),
            latest: false,
            percent: 0,
            tag: Some("old".to_owned()),
        },
    ];
    set(&mut status.conditions, Condition::met(ConditionType::ConfigurationsReady, origin().now));
    let moving = Condition::pending(ConditionType::RoutesReady, "Deploying", "Traffic moves.", origin().now);
    set(&mut status.conditions, moving);
    (service, revision)
}

fn shown(wire: impl Serialize) -> Value {
    serde_json::to_value(wire).expect("JSON")
}

#[test]
fn s01_a_service_is_shown_whole() {
    let service = shown(service_to_wire(&made().0, &place()));
    assert_eq!(
        service["metadata"],
        json!({
            "name": "ocr", "namespace": "7", "uid": "uid-s", "generation": 1, "resourceVersion": "42",
            "selfLink": "/apis/serving.knative.dev/v1/namespaces/7/services/ocr",
            "creationTimestamp": CREATED,
            "labels": {"cloud.googleapis.com/location": "us-central1"},
            "annotations": {
                "run.googleapis.com/ingress": "all",
                "run.googleapis.com/ingress-status": "all",
                "run.googleapis.com/launch-stage": "BETA",
                "run.googleapis.com/urls": "[\"http://ocr\"]",
                "serving.knative.dev/creator": "ann@example.com",
                "serving.knative.dev/lastModifier": "ann@example.com",
            },
        })
    );
    let status = &service["status"];
    assert_eq!(
        (&status["observedGeneration"], &status["url"], &status["address"]),
        (&json!(1), &json!("http://ocr"), &json!({"url": "http://ocr"}))
    );
    for name in ["latestCreatedRevisionName", "latestReadyRevisionName"] {
        assert_eq!(status[name], json!("ocr-00001-abc"), "{name}");
    }
    assert_eq!(
        status["traffic"],
        json!([
            {"latestRevision": true, "percent": 100, "revisionName": "ocr-00001-abc"},
            {"revisionName": "ocr-old", "tag": "old", "url": "http://old---ocr"},
        ])
    );
    assert_eq!(
        status["conditions"][2],
        json!({"type": "RoutesReady", "status": "Unknown", "reason": "Deploying", "message": "Traffic moves.",
            "lastTransitionTime": CREATED})
    );
}

/// gcloud waits by the operations API, which is not served, for a service that names an operation.
#[test]
fn g10_a_service_names_no_operation_to_wait_for() {
    let service = shown(service_to_wire(&made().0, &place()));
    assert_eq!(service["metadata"]["annotations"].get("run.googleapis.com/operation-id"), None);
}

#[test]
fn g13_the_gpu_is_shown_where_clients_look_for_it() {
    let (service, revision) = made();
    let service = shown(service_to_wire(&service, &place()));
    let revision = shown(revision_to_wire(&revision, 7, 3));
    for spec in [&service["spec"]["template"]["spec"], &revision["spec"]] {
        assert_eq!(spec["nodeSelector"], json!({"run.googleapis.com/accelerator": "nvidia-l4"}));
        let limits = json!({"cpu": "4", "memory": "16Gi", "nvidia.com/gpu": "1"});
        assert_eq!(spec["containers"][0]["resources"], json!({"limits": limits}));
    }
}

#[test]
fn s01_a_revision_is_shown_with_its_service_its_images_and_its_warnings() {
    let mut revision = made().1;
    revision.images =
        vec![PinnedImage { reference: "localhost/ocr@sha256:12".to_owned(), digest: "sha256:12".to_owned() }];
    revision.warnings = vec!["The image is newer than the driver.".to_owned()];
    revision.conditions = vec![Condition::met(ConditionType::Active, origin().now)];
    let shown = shown(revision_to_wire(&revision, 7, 3));
    let metadata = &shown["metadata"];
    assert_eq!(
        metadata["labels"],
        json!({
            "cloud.googleapis.com/location": "us-central1",
            "run.googleapis.com/startupProbeType": "Custom",
            "serving.knative.dev/configuration": "ocr", "serving.knative.dev/configurationGeneration": "1",
            "serving.knative.dev/route": "ocr", "serving.knative.dev/service": "ocr",
        })
    );
    assert_eq!(
        (&metadata["name"], &metadata["namespace"], &metadata["uid"]),
        (&json!("ocr-00001-abc"), &json!("7"), &json!("uid-r"))
    );
    let owner = &metadata["ownerReferences"][0];
    assert_eq!((&owner["kind"], &owner["name"]), (&json!("Configuration"), &json!("ocr")));
    assert_eq!(metadata["annotations"]["serving.knative.dev/creator"], json!("ann@example.com"));
    assert_eq!(
        shown["status"],
        json!({
            "observedGeneration": 1, "serviceName": "ocr", "imageDigest": "localhost/ocr@sha256:12",
            "containerStatuses": [{"imageDigest": "localhost/ocr@sha256:12"}],
            "conditions": [
                {"type": "Active", "status": "True", "severity": "Info", "lastTransitionTime": CREATED},
                {"type": "Warning", "status": "True", "severity": "Warning", "lastTransitionTime": CREATED,
                    "message": "The image is newer than the driver."},
            ],
        })
    );
}

#[test]
fn s01_a_configuration_is_the_part_of_its_service_that_makes_revisions() {
    let service = made().0;
    let configuration = shown(configuration_to_wire(&service, &place()));
    assert_eq!(configuration["kind"], json!("Configuration"));
    assert_eq!(configuration["spec"]["template"], shown(service_to_wire(&service, &place()))["spec"]["template"]);
    assert_eq!(
        configuration["status"],
        json!({
            "observedGeneration": 1,
            "latestCreatedRevisionName": "ocr-00001-abc", "latestReadyRevisionName": "ocr-00001-abc",
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": CREATED}],
        })
    );
    let metadata = &configuration["metadata"];
    assert_eq!(metadata["selfLink"], json!("/apis/serving.knative.dev/v1/namespaces/7/configurations/ocr"));
    assert_eq!(metadata["labels"]["serving.knative.dev/service"], json!("ocr"));
    let owner = &metadata["ownerReferences"][0];
    assert_eq!((&owner["kind"], &owner["uid"], metadata.get("uid")), (&json!("Service"), &json!("uid-s"), None));
}

#[test]
fn s01_a_route_is_the_part_of_its_service_that_says_where_requests_go() {
    let service = made().0;
    let route = shown(route_to_wire(&service, &place()));
    assert_eq!(route["kind"], json!("Route"));
    assert_eq!(route["spec"]["traffic"], json!([{"configurationName": "ocr", "latestRevision": true, "percent": 100}]));
    let of_service = &shown(service_to_wire(&service, &place()))["status"];
    for name in ["url", "address", "traffic", "observedGeneration"] {
        assert_eq!(route["status"][name], of_service[name], "{name}");
    }
    assert_eq!(
        route["status"]["conditions"],
        json!([{"type": "Ready", "status": "Unknown", "reason": "Deploying", "message": "Traffic moves.",
            "lastTransitionTime": CREATED}])
    );
    assert_eq!(route["metadata"]["selfLink"], json!("/apis/serving.knative.dev/v1/namespaces/7/routes/ocr"));
}
