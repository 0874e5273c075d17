//! What a request makes of a service: generations, revisions and their names.

use crate::case::Case;
use homerun_model::Timestamp;
use homerun_model::condition::{self, ConditionType, Status};
use homerun_model::names::RevisionName;
use homerun_model::revision::Phase;
use homerun_model::service::{Change, Origin, Service, ServiceSpec};
use homerun_model::traffic::TrafficTarget;
use homerun_model::violation::Violation;

fn origin(count: u32) -> Origin {
    Origin {
        uid: "service-uid".into(),
        revision_uid: format!("uid-{count}"),
        suffix: "abc".into(),
        actor: "ann@example.com".into(),
        now: Timestamp::from_timestamp(1_800_000_000 + i64::from(count), 0).expect("in range"),
    }
}

fn create(case: &Case) -> Change {
    Service::create(&case.key, case.spec.clone(), &case.around(), origin(0)).expect("a right service")
}

fn apply(case: &Case, service: &Service, spec: ServiceSpec, existing: &[&str]) -> Result<Change, Vec<Violation>> {
    let existing: Vec<_> = existing.iter().map(|name| RevisionName::from(*name)).collect();
    service.apply(spec, &existing, &case.around(), origin(1))
}

#[test]
fn s03_the_first_revision() {
    let case = Case::gpu();
    let Change { service, revision } = create(&case);
    let revision = revision.unwrap();
    assert_eq!((service.generation, service.revisions_made), (1, 1));
    assert_eq!(service.spec, case.filled());
    assert_eq!(service.status.latest_created_revision, Some(RevisionName::from("hello-00001-abc")));
    assert_eq!(revision.key.to_string(), "projects/demo/locations/us-central1/revisions/hello-00001-abc");
    assert_eq!((revision.phase, revision.generation, revision.uid.as_str()), (Phase::Deploying, 1, "uid-0"));
    assert_eq!(revision.template, service.spec.template);
    let ready = condition::get(&revision.conditions, ConditionType::Ready).unwrap();
    assert_eq!(ready.status, Status::Unknown);
    assert_eq!(condition::get(&service.status.conditions, ConditionType::Ready).unwrap().status, Status::Unknown);
}

#[test]
fn g15_each_change_makes_a_revision_that_keeps_the_rest() {
    let case = Case::gpu();
    let Change { service, .. } = create(&case);
    let mut spec = service.spec.clone();
    spec.template.concurrency = Some(4);
    let Change { service: changed, revision } = apply(&case, &service, spec, &["hello-00001-abc"]).unwrap();
    let revision = revision.unwrap();
    assert_eq!((changed.generation, changed.revisions_made), (2, 2));
    assert_eq!(revision.key.name, RevisionName::from("hello-00002-abc"));
    assert_eq!((revision.generation, revision.template.concurrency), (2, Some(4)));
    assert_eq!(revision.template.gpu_type, service.spec.template.gpu_type);
    assert_eq!((changed.uid.as_str(), changed.created_at), ("service-uid", service.created_at));
    assert_eq!((changed.operation_id.as_str(), changed.updated_at), ("uid-1", origin(1).now));
}

#[test]
fn g12_replacing_a_service_by_itself_changes_nothing() {
    let case = Case::gpu();
    let Change { service, .. } = create(&case);
    for spec in [service.spec.clone(), case.spec.clone()] {
        let change = apply(&case, &service, spec, &["hello-00001-abc"]).unwrap();
        assert_eq!(change, Change { service: service.clone(), revision: None });
    }
}

#[test]
fn g12_another_client_that_changes_nothing_changes_nothing() {
    let case = Case::plain();
    let Change { service, .. } = create(&case);
    let mut spec = service.spec.clone();
    spec.annotations.insert("run.googleapis.com/client-name".into(), "cloud-console".into());
    spec.template.annotations.insert("run.googleapis.com/client-version".into(), "528.0.0".into());
    assert_eq!(apply(&case, &service, spec, &["hello-00001-abc"]).unwrap().service, service);
}

#[test]
fn g10_gclouds_nonce_makes_a_revision_that_carries_it() {
    let case = Case::plain();
    let Change { service, .. } = create(&case);
    let mut spec = service.spec.clone();
    spec.template.labels.insert("client.knative.dev/nonce".into(), "abcdefghij".into());
    let change = apply(&case, &service, spec, &["hello-00001-abc"]).unwrap();
    assert_eq!(change.revision.unwrap().template.labels["client.knative.dev/nonce"], "abcdefghij");
}

#[test]
fn s03_moving_traffic_makes_no_revision() {
    let case = Case::plain();
    let Change { service, .. } = create(&case);
    let mut spec = service.spec.clone();
    let first = RevisionName::from("hello-00001-abc");
    spec.traffic = vec![TrafficTarget { revision: Some(first), percent: 100, tag: Some("blue".into()) }];
    let Change { service: changed, revision } = apply(&case, &service, spec, &["hello-00001-abc"]).unwrap();
    assert_eq!(revision, None);
    assert_eq!((changed.generation, changed.revisions_made), (2, 1));
}

#[test]
fn s03_traffic_to_a_revision_that_does_not_exist() {
    let mut case = Case::plain();
    let unknown = RevisionName::from("hello-00009-xyz");
    case.spec.traffic = vec![TrafficTarget { revision: Some(unknown), percent: 100, tag: None }];
    let expected = vec![Violation::new("spec.traffic[0].revisionName", "Revision 'hello-00009-xyz' does not exist.")];
    let refused = Service::create(&case.key, case.spec.clone(), &case.around(), origin(0));
    assert_eq!(refused, Err(expected.clone()));
    let service = create(&Case::plain()).service;
    assert_eq!(apply(&case, &service, case.spec.clone(), &["hello-00001-abc"]), Err(expected));
}

#[test]
fn s03_traffic_may_name_the_revision_that_is_being_made() {
    let mut case = Case::plain();
    case.template().name = Some("hello-blue".into());
    let blue = RevisionName::from("hello-blue");
    case.spec.traffic = vec![TrafficTarget { revision: Some(blue.clone()), percent: 100, tag: None }];
    assert_eq!(create(&case).revision.unwrap().key.name, blue);
}

#[test]
fn s03_a_chosen_revision_name() {
    let case = Case::plain();
    let Change { service, .. } = create(&case);
    let mut spec = service.spec.clone();
    spec.template.name = Some("hello-blue".into());
    let Change { service, revision } = apply(&case, &service, spec.clone(), &["hello-00001-abc"]).unwrap();
    assert_eq!(revision.unwrap().key.name, RevisionName::from("hello-blue"));
    let existing = ["hello-00001-abc", "hello-blue"];

    let again = apply(&case, &service, spec.clone(), &existing).unwrap();
    assert_eq!(again, Change { service: service.clone(), revision: None });

    let mut nameless = spec.clone();
    nameless.template.name = None;
    let change = apply(&case, &service, nameless, &existing).unwrap();
    assert_eq!(change.revision, None, "the newest revision is as wanted");
    let named = apply(&case, &change.service, spec.clone(), &existing).unwrap();
    assert_eq!(named.revision, None, "the newest revision has that name");

    let mut other = spec;
    other.template.concurrency = Some(1);
    let message = "Revision named 'hello-blue' with different configuration already exists.";
    let refused = apply(&case, &service, other, &existing);
    assert_eq!(refused, Err(vec![Violation::new("spec.template.metadata.name", message)]));
}

#[test]
fn s03_a_made_up_name_avoids_chosen_ones() {
    let case = Case::plain();
    let Change { service, .. } = create(&case);
    let mut spec = service.spec.clone();
    spec.template.concurrency = Some(1);
    let existing = ["hello-00001-abc", "hello-00002-abc"];
    let change = apply(&case, &service, spec, &existing).unwrap();
    assert_eq!(change.revision.unwrap().key.name, RevisionName::from("hello-00003-abc"));
}

#[test]
fn g07_traffic_moves_back_although_the_quota_has_shrunk() {
    let mut case = Case::gpu();
    let Change { service, .. } = create(&case);
    case.grant("us-central1", "nvidia-l4", false, 1);
    let mut spec = service.spec.clone();
    spec.traffic[0].revision = Some(RevisionName::from("hello-00001-abc"));
    assert!(apply(&case, &service, spec.clone(), &["hello-00001-abc"]).is_ok());
    spec.template.concurrency = Some(1);
    let refused = apply(&case, &service, spec, &["hello-00001-abc"]).unwrap_err();
    assert_eq!(refused.len(), 1);
    assert!(refused[0].message.contains("Max instances must be set to 1 or fewer"));
}

#[test]
fn g14_a_removed_gpu_makes_a_revision_without_one() {
    let case = Case::gpu();
    let Change { service, .. } = create(&case);
    let mut spec = service.spec.clone();
    spec.template.containers[0].gpu_count = None;
    spec.template.gpu_type = None;
    let revision = apply(&case, &service, spec, &["hello-00001-abc"]).unwrap().revision.unwrap();
    assert_eq!((revision.gpus_per_instance(), revision.template.gpu_type), (0, None));
}

#[test]
fn g01_a_wrong_service_changes_nothing() {
    let case = Case::plain();
    let Change { service, .. } = create(&case);
    let mut spec = service.spec.clone();
    spec.template.containers[0].gpu_count = Some(2);
    spec.traffic[0].percent = 99;
    let fields: Vec<_> = apply(&case, &service, spec, &[]).unwrap_err().into_iter().map(|v| v.field).collect();
    assert!(fields.contains(&"spec.traffic".to_owned()));
    assert!(fields.contains(&"spec.template.spec.containers[0].resources.limits[nvidia.com/gpu]".to_owned()));
}
