//! The store: what is in memory is what the database holds, and loops miss no change.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use homerun_model::Timestamp;
use homerun_model::container::Container;
use homerun_model::gpu::{GpuInventory, published_types};
use homerun_model::iam::{Binding, Policy, Resource};
use homerun_model::names::{Project, ProjectId, Region, RevisionName, ServiceKey, ServiceName};
use homerun_model::quota::Quotas;
use homerun_model::revision::{Phase, Revision, RevisionTemplate};
use homerun_model::service::{Change, Origin, Service, ServiceSettings, ServiceSpec, ServiceStatus, Surroundings};
use homerun_model::traffic::TrafficTarget;
use homerun_server::store::{Feed, Store, StoreError, Versioned};
use tempfile::TempDir;

fn key(name: &str) -> ServiceKey {
    key_in("us-central1", name)
}

fn key_in(region: &str, name: &str) -> ServiceKey {
    ServiceKey { project: ProjectId::from("demo"), region: Region::from(region), name: ServiceName::from(name) }
}

fn spec(value: &str) -> ServiceSpec {
    let container = Container { image: format!("sim/hello?{value}"), ..Container::default() };
    ServiceSpec {
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        template: RevisionTemplate { containers: vec![container], ..RevisionTemplate::default() },
        traffic: vec![TrafficTarget::latest()],
        ingress: None,
        min_instances: None,
        manual_instances: None,
        max_instances: None,
        invoker_iam_disabled: None,
        default_url_disabled: None,
    }
}

/// Creates a service, or gives it a new revision.
fn deploy(store: &Store, key: &ServiceKey, value: &str) -> Result<u64, StoreError> {
    let project = Project { id: key.project.clone(), number: 1 };
    let gpus = GpuInventory { types: published_types(), regions: BTreeMap::new() };
    let (quotas, settings) = (Quotas::default(), ServiceSettings::default());
    let regions = [key.region.clone()];
    let around =
        Surroundings { project: &project, gpus: &gpus, quotas: &quotas, regions: &regions, settings: &settings };
    let origin = Origin {
        uid: "u".to_owned(),
        revision_uid: "r".to_owned(),
        suffix: "abc".to_owned(),
        actor: "ann@example.com".to_owned(),
        now: Timestamp::from_timestamp(1_800_000_000, 0).expect("in range"),
    };
    let present = store.service(key)?;
    let change: Change = match &present {
        None => Service::create(key, spec(value), &around, origin).expect("is valid"),
        Some(present) => {
            let existing: Vec<RevisionName> =
                store.revisions(key)?.into_iter().map(|revision| revision.value.key.name).collect();
            present.value.apply(spec(value), &existing, &around, origin).expect("is valid")
        }
    };
    store.put_service(&change.service, change.revision.as_ref(), present.map(|present| present.version))
}

fn opened() -> (TempDir, Store) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let store = Store::open(&dir.path().join("homerun.db")).expect("the store opens");
    (dir, store)
}

/// Everything that the store has.
fn content(store: &Store) -> Vec<(Versioned<Service>, Vec<Versioned<Revision>>)> {
    let services = store.all_services().expect("services");
    let with = |service: Versioned<Service>| {
        let revisions = store.revisions(&service.value.key).expect("revisions");
        (service, revisions)
    };
    services.into_iter().map(with).collect()
}

fn assert_same_after_restart(store: &Store, dir: &Path) {
    let read_again = Store::open(&dir.join("homerun.db")).expect("the store opens");
    assert_eq!(content(store), content(&read_again));
}

fn keys(names: &[&str]) -> BTreeSet<ServiceKey> {
    names.iter().map(|name| key(name)).collect()
}

#[test]
fn b08_a_feed_begins_with_everything_and_then_names_what_was_written() {
    let (_dir, store) = opened();
    deploy(&store, &key("a"), "1").expect("stored");
    let version = deploy(&store, &key("b"), "1").expect("stored");
    let feed = store.feed();
    assert_eq!(feed.take(), keys(&["a", "b"]));
    assert_eq!(feed.take(), keys(&[]));

    deploy(&store, &key("a"), "2").expect("stored");
    assert_eq!(feed.take(), keys(&["a"]));
    let status = ServiceStatus { observed_generation: 1, ..ServiceStatus::default() };
    store.put_status(&key("b"), version, &status, chrono::Utc::now()).expect("stored");
    assert_eq!(feed.take(), keys(&["b"]));
    let revision = store.revisions(&key("a")).expect("revisions").remove(0).value;
    store.update_revision(&Revision { phase: Phase::Ready, ..revision.clone() }).expect("stored");
    assert_eq!(feed.take(), keys(&["a"]));
    store.delete_revision(&revision.key).expect("deleted");
    assert_eq!(feed.take(), keys(&["a"]));

    let everybody = Binding { role: "roles/run.invoker".to_owned(), members: vec!["allUsers".to_owned()] };
    let policy = Policy { bindings: vec![everybody], ..Policy::default() };
    store.put_policy(&Resource::Service(key("b")).policy_name(), policy.clone()).expect("stored");
    assert_eq!(feed.take(), keys(&["b"]), "its routes ask no token any more");
    store.put_policy(&Resource::Project(ProjectId::from("demo")).policy_name(), policy).expect("stored");
    assert_eq!(feed.take(), keys(&["a", "b"]), "a project's policy counts for all that is in it");

    store.delete_service(&key("a")).expect("deleted");
    assert_eq!(feed.take(), keys(&["a"]));
    assert!(store.intents(&keys(&["a"])).is_empty());
    let refused = store.put_service(&store.service(&key("b")).expect("read").expect("there").value, None, Some(0));
    assert!(matches!(refused, Err(StoreError::Conflict)));
    assert_eq!(feed.take(), keys(&[]), "what was refused is no change");
}

#[tokio::test]
async fn b08_a_change_that_a_loop_missed_is_still_there_when_it_looks() {
    let (_dir, store) = opened();
    let feed = store.feed();
    for value in 0..20 {
        deploy(&store, &key("a"), &value.to_string()).expect("stored");
        deploy(&store, &key("b"), &value.to_string()).expect("stored");
    }
    feed.changed().await;
    let missed = feed.take();
    assert_eq!(missed, keys(&["a", "b"]), "however much was written");
    assert_eq!(store.intents(&missed)[0].revisions.len(), 20, "it sees the newest of it");

    // A pass that failed gives back what it has not done, and what came meanwhile is not lost by that.
    deploy(&store, &key("c"), "1").expect("stored");
    feed.put_back(missed);
    assert_eq!(feed.take(), keys(&["a", "b", "c"]));
    let late = store.feed();
    assert_eq!(late.take(), keys(&["a", "b", "c"]), "a loop that begins later, as after a restart, sees all");
    drop(late);
    deploy(&store, &key("c"), "2").expect("stored");
    let woken = tokio::time::timeout(Duration::from_secs(5), feed.changed()).await;
    assert!(woken.is_ok(), "a write wakes who waits");
}

#[test]
fn b08_concurrent_writes_leave_memory_and_database_alike_and_no_reader_behind() {
    let (dir, store) = opened();
    let (feed, done) = (store.feed(), AtomicBool::new(false));
    let mirror = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut mirror = BTreeMap::new();
            while !done.load(Ordering::SeqCst) {
                follow(&store, &feed, &mut mirror);
            }
            follow(&store, &feed, &mut mirror);
            mirror
        });
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                let store = &store;
                scope.spawn(move || (0..60).for_each(|turn| write_something(store, writer, turn)))
            })
            .collect();
        writers.into_iter().for_each(|writer| writer.join().expect("a writer"));
        done.store(true, Ordering::SeqCst);
        reader.join().expect("the reader")
    });
    let expected: BTreeMap<_, _> = content(&store)
        .into_iter()
        .map(|(service, revisions)| (service.value.key.clone(), (service, revisions)))
        .collect();
    assert!(!expected.is_empty());
    assert_eq!(mirror, expected);
    assert_same_after_restart(&store, dir.path());
}

type Mirror = BTreeMap<ServiceKey, (Versioned<Service>, Vec<Versioned<Revision>>)>;

/// Brings a copy up to date with what the feed names.
fn follow(store: &Store, feed: &Feed, mirror: &mut Mirror) {
    let changed = feed.take();
    changed.iter().for_each(|key| drop(mirror.remove(key)));
    for intent in store.intents(&changed) {
        let revisions = intent.revisions.iter().map(|revision| Versioned::clone(revision)).collect();
        mirror.insert(intent.service.value.key.clone(), (intent.service.clone(), revisions));
    }
}

/// One of the writes that users and loops make, on services that all writers share. Conflicts are part
/// of it.
fn write_something(store: &Store, writer: usize, turn: usize) {
    let key = key(["a", "b", "c"][(turn + writer) % 3]);
    let present = store.service(&key).expect("read");
    let refused = match ((turn * 7 + writer) % 6, present) {
        (5, _) if turn.is_multiple_of(4) => store.delete_service(&key).err(),
        (4, _) => {
            store.revisions(&key).expect("read").first().and_then(|old| store.delete_revision(&old.value.key).err())
        }
        (3, Some(present)) => {
            let status = ServiceStatus { observed_generation: turn as u64, ..present.value.status };
            store.put_status(&key, present.version, &status, chrono::Utc::now()).err()
        }
        (2, _) => store
            .revisions(&key)
            .expect("read")
            .pop()
            .and_then(|newest| store.update_revision(&Revision { phase: Phase::Failed, ..newest.value }).err()),
        _ => deploy(store, &key, &format!("{writer}-{turn}")).err(),
    };
    assert!(
        matches!(refused, None | Some(StoreError::Conflict | StoreError::Exists)),
        "{:?}",
        refused.map(|error| error.to_string())
    );
}

#[test]
fn s01_pages_follow_each_other_by_name_whatever_is_deleted_between_them() {
    let (dir, store) = opened();
    let project = ProjectId::from("demo");
    for name in ["b", "a-b", "a"] {
        for region in ["us-central1", "europe-west1"] {
            deploy(&store, &key_in(region, name), "1").expect("stored");
            deploy(&store, &key_in(region, name), "2").expect("stored");
        }
    }
    let services = |region: Option<&Region>, limit| {
        let (mut names, mut after) = (Vec::new(), None);
        loop {
            let page = store.services_page(&project, region, after.as_deref(), limit).expect("a page");
            after = page.last().map(|(key, _)| key.clone());
            names.extend(page.iter().map(|(key, _)| key.clone()));
            if page.len() < limit {
                return names;
            }
        }
    };
    let all =
        ["a/europe-west1", "a/us-central1", "a-b/europe-west1", "a-b/us-central1", "b/europe-west1", "b/us-central1"];
    let central = Region::from("us-central1");
    for limit in 1..8 {
        assert_eq!(services(None, limit), all);
        assert_eq!(services(Some(&central), limit), [all[1], all[3], all[5]]);
    }

    let revisions = |service: Option<&str>, after: Option<&str>, limit| {
        let page = store.revisions_page((&project, Some(&central)), service, after, limit).expect("a page");
        page.into_iter().map(|(key, _)| key).collect::<Vec<_>>()
    };
    let all = [
        "a/us-central1/2",
        "a/us-central1/1",
        "a-b/us-central1/2",
        "a-b/us-central1/1",
        "b/us-central1/2",
        "b/us-central1/1",
    ];
    assert_eq!(revisions(None, None, 9), all, "the newest first");
    assert_eq!(revisions(Some("a-b"), None, 9), all[2..4]);
    assert_eq!(revisions(Some("a-b"), Some(all[2]), 9), all[3..4]);
    for (index, last) in all.iter().enumerate() {
        assert_eq!(revisions(None, Some(last), 2), all[index + 1..(index + 3).min(6)]);
    }
    store.delete_service(&key("a-b")).expect("deleted");
    assert_eq!(revisions(None, Some(all[2]), 1), all[4..5], "what the page before ended with is gone");
    assert_same_after_restart(&store, dir.path());
}
