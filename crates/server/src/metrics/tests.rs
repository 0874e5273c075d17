use std::time::Duration;

use chrono::TimeDelta;
use homerun_backend::gpu::GpuUse;
use homerun_model::billing::Steady;
use homerun_model::container::Protocol;
use homerun_model::instance::{IngressPort, InstanceSpec, InstanceState, Stamps, SteadyStamps};
use homerun_model::metrics::State as Life;
use homerun_model::names::RevisionKey;

use super::*;

/// 10:00 on some day, and so many milliseconds after it.
fn at(millis: i64) -> Moment {
    let wall = Timestamp::from_timestamp_millis(1_790_848_800_000 + millis).expect("in range");
    Moment { wall, steady: Steady(u64::try_from(1_000_000 + millis).expect("in range")) }
}

fn key() -> ServiceKey {
    ServiceKey { project: "demo".into(), region: "us-central1".into(), name: "ocr".into() }
}

/// An instance that became ready then, 30 ms after it was decided.
fn ready(id: &str, since: i64) -> ObservedInstance {
    let spec = InstanceSpec {
        id: id.into(),
        revision: RevisionKey { project: "demo".into(), region: "us-central1".into(), name: "ocr-00001-abc".into() },
        service: "ocr".into(),
        containers: Vec::new(),
        start_waves: Vec::new(),
        volumes: Vec::new(),
        gpus: Vec::new(),
        gpu_zonal_redundancy: false,
        ingress: IngressPort { port: 8080, protocol: Protocol::Http1 },
        decided_at: at(since - 30).wall,
    };
    let steady = SteadyStamps { ready: Some(at(since).steady), ..SteadyStamps::default() };
    let stamps =
        Stamps { started: Some(at(since - 20).wall), ready: Some(at(since).wall), steady, ..Stamps::default() };
    let (warnings, unready, lost) = (Vec::new(), BTreeMap::new(), false);
    ObservedInstance { spec, state: InstanceState::Ready, stamps, warnings, unready, lost }
}

fn open(folder: &tempfile::TempDir) -> Metrics {
    Metrics::new(MetricsStore::open(&folder.path().join("metrics.db")).expect("a database"))
}

/// The points of the minutes from 10:00 on.
fn minutes(metrics: &Metrics, count: usize) -> Vec<Point> {
    let range = (at(0).wall, at(60_000 * count as i64).wall);
    let place = |time: Timestamp| usize::try_from((time - range.0).num_minutes()).ok().filter(|index| *index < count);
    metrics.read((Grain::Minute, range), &BTreeSet::from([key()]), count, place).expect("metrics")
}

#[test]
fn g24_time_is_shared_out_exactly_between_minutes_and_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let metrics = open(&folder);
    metrics.look(at(50_000), &[]).expect("a look");
    for second in 51..=65 {
        // From 10:00:55.5 on there is one; the looks lie half a second beside the minutes' ends.
        let instances = if second >= 56 { vec![ready("one", 55_500)] } else { Vec::new() };
        metrics.look(at(second * 1000 + 500), &instances).expect("a look");
    }
    let check = |metrics: &Metrics| {
        let found = minutes(metrics, 2);
        // The look of 10:00:56.5 says it of the second before it.
        assert_eq!(found[0].instances[Life::Ready as usize].sum, 4500);
        assert_eq!(found[1].instances[Life::Ready as usize].sum, 5500);
        assert_eq!((found[0].starts.whole.count, found[1].starts.whole.count), (1, 0));
        assert_eq!(found[0].starts.whole.mean_millis(), Some(30.0));
    };
    // The first minute is written, the second is not.
    check(&metrics);
    metrics.flush().expect("it is written");
    check(&metrics);
    check(&open(&folder));
}

#[test]
fn g24_what_an_earlier_homerun_started_is_no_start_and_what_nobody_saw_is_not_made_up() {
    let folder = tempfile::tempdir().expect("a folder");
    let metrics = open(&folder);
    let old = ready("old", 1000);
    metrics.look(at(5000), std::slice::from_ref(&old)).expect("a look");
    metrics.look(at(6000), &[old.clone(), ready("new", 5500)]).expect("a look");
    // The machine slept: of the minutes in between nobody knows.
    metrics.look(at(250_000), &[old]).expect("a look");
    let found = minutes(&metrics, 5);
    let starts: u64 = found.iter().map(|point| point.starts.whole.count).sum();
    let sum: u64 = found.iter().map(|point| point.all_instances.sum).sum();
    assert_eq!((starts, sum), (1, 2000 + 10_000));
}

#[test]
fn g24_a_gpu_is_that_of_the_instance_that_held_it_when_it_was_asked() {
    let folder = tempfile::tempdir().expect("a folder");
    let metrics = open(&folder);
    let holding = |id: &str| {
        let mut instance = ready(id, 500);
        instance.spec.gpus = vec!["GPU-1".into()];
        [instance]
    };
    let usage = |busy| {
        let (memory_bytes, memory_total_bytes, simulated) = (1 << 30, 24 << 30, true);
        vec![GpuUse { device: "GPU-1".into(), busy, memory_bytes, memory_total_bytes, simulated }]
    };
    metrics.look(at(1000), &[]).expect("a look");
    assert!(!metrics.wants_gpu_use());
    metrics.look(at(2000), &holding("one")).expect("a look");
    assert!(metrics.wants_gpu_use());
    metrics.set_gpu_use(usage(0.5));
    metrics.look(at(4000), &holding("one")).expect("a look");
    // Another has it now, and nobody has asked since.
    metrics.look(at(5000), &holding("two")).expect("a look");
    metrics.look(at(6000), &holding("two")).expect("a look");
    let found = minutes(&metrics, 1)[0].devices[&"GPU-1".into()];
    assert_eq!((found.held, found.mean_busy(), found.most_memory()), (2000, Some(0.5), 1 << 30));
}

#[test]
fn g24_old_points_are_forgotten_each_grain_by_its_age() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = MetricsStore::open(&folder.path().join("metrics.db")).expect("a database");
    let mut point = Point::default();
    point.request(200, Duration::from_millis(10));
    let minute = Grain::Minute.number(at(0).wall);
    let due: Due = [0, 1, 60, 60 * 48].map(|later| ((minute + later, key()), point.clone())).into();
    store.write(&due).expect("it is written");
    let count = |store: &MetricsStore, grain| {
        let mut sum = Point::default();
        let range = (at(0).wall - TimeDelta::days(1), at(0).wall + TimeDelta::days(3));
        let read = store.read(grain, range, &[key()], |_, bytes| Ok(sum.merge_bytes(bytes)?));
        read.expect("points");
        sum.all_requests()
    };
    assert_eq!(Grain::ALL.map(|grain| count(&store, grain)), [4, 4, 4]);
    store.forget(at(60_000).wall, at(0).wall).expect("it is forgotten");
    assert_eq!(Grain::ALL.map(|grain| count(&store, grain)), [3, 4, 4]);
    store.forget(at(0).wall + TimeDelta::days(1), at(0).wall + TimeDelta::days(1)).expect("it is forgotten");
    assert_eq!(Grain::ALL.map(|grain| count(&store, grain)), [1, 1, 1]);
    store.forget(at(0).wall + TimeDelta::days(9), at(0).wall + TimeDelta::days(9)).expect("it is forgotten");
    assert_eq!(store.services(&"demo".into()), []);
    store.write(&due).expect("a service that was forgotten comes again");
    assert_eq!(count(&store, Grain::Hour), 4);
    store.forget(at(0).wall, at(0).wall + TimeDelta::days(9)).expect("it is forgotten");
    assert_eq!(Grain::ALL.map(|grain| count(&store, grain)), [0, 0, 0], "no minute outlives its hour");
}
