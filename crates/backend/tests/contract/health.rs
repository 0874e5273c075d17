//! What happens to an instance while it runs: readiness, the end of its CPU boost, and the order of its end.

use std::time::{Duration, Instant};

use homerun_backend::LogStream;
use homerun_model::container::{Check, Probe};
use homerun_model::instance::{ContainerSpec, InstanceState, ObservedInstance};
use homerun_model::names::InstanceId;
use homerun_model::quantity::Cpu;

use crate::Test;
use crate::images::{PLAIN, pinned};
use crate::world::{PATIENCE, World, container, instance, with_env, with_sidecar};

/// The tests.
pub fn tests() -> Vec<Test> {
    vec![
        Test::new("health::a_failing_readiness_probe_is_told_until_it_passes", readiness),
        Test::new("health::containers_stop_in_the_reverse_order_of_their_start", reverse),
        Test::new("health::the_cpu_boost_ends_after_the_start", boost),
        Test::new("health::an_instance_that_rests_has_nearly_no_cpu_but_when_it_is_probed_and_ends", rests),
    ]
}

/// Waits until something holds of an instance.
async fn until(world: &World, id: &InstanceId, what: &str, holds: impl Fn(&ObservedInstance) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !world.observed(id).is_some_and(|instance| holds(&instance)) {
        assert!(Instant::now() < deadline, "never: {what}: {:?}", world.observed(id));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn readiness() {
    let world = World::oci().await;
    let image = pinned(world.backend.as_ref(), PLAIN).await;
    let probe = Probe {
        check: Check::Http { path: Some("/read?path=/note".to_owned()), port: None, headers: Vec::new() },
        initial_delay_seconds: None,
        timeout_seconds: Some(1),
        period_seconds: Some(1),
        failure_threshold: Some(2),
        success_threshold: Some(2),
    };
    let spec = instance("one", ContainerSpec { readiness_probe: Some(probe), ..container(&image) });
    let ready = world.ready(&spec).await;
    assert!(ready.takes_requests(), "the startup probe makes it ready; one failure is not yet two");
    until(&world, &spec.id, "it is unready", |instance| !instance.takes_requests()).await;
    let observed = world.observed(&spec.id).expect("it runs");
    assert_eq!(observed.state, InstanceState::Ready, "it is not ended");
    assert_eq!(observed.unready["app"], "GET /read?path=/note answered 500");

    world.body(&spec.id, "/write?path=/note&bytes=1").await;
    until(&world, &spec.id, "it is ready again", ObservedInstance::takes_requests).await;
    let said = world.lines.of("app", LogStream::System).join("\n");
    assert!(said.contains("gets no requests: its readiness probe failed: GET /read"), "{said}");
    assert!(said.contains("passes its readiness probe again"), "{said}");
    world.end().await;
}

async fn reverse() {
    let world = World::oci().await;
    let mut spec = with_sidecar(&world).await;
    spec.containers[0].env.insert("IGNORE_TERM".to_owned(), "1".to_owned());
    world.ready(&spec).await;
    let begun = Instant::now();
    world.backend.stop(&spec.id, Duration::from_secs(2)).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(world.lines.of("sidecar", LogStream::Stdout), [""; 0], "the app, which needs it, has not ended");
    assert_eq!(world.body(&spec.id, "/connect?to=127.0.0.1:9100").await, "connected");
    let over = world.wait_for(&spec.id, InstanceState::is_over).await;
    assert_eq!(over.state, InstanceState::Stopped);
    assert!(begun.elapsed() < Duration::from_secs(4), "the time is not counted twice: {:?}", begun.elapsed());

    // Asked at the very end, it may have had time to say so.
    let before = world.lines.of("sidecar", LogStream::Stdout).len();
    let mut polite = with_sidecar(&world).await;
    polite.id = InstanceId::new("polite");
    world.ready(&polite).await;
    world.backend.stop(&polite.id, Duration::from_secs(30)).await;
    world.wait_for(&polite.id, InstanceState::is_over).await;
    assert_eq!(world.lines.of("sidecar", LogStream::Stdout).len(), before + 1);
    world.end().await;
}

async fn boost() {
    let world = World::oci().await;
    let image = pinned(world.backend.as_ref(), PLAIN).await;
    let quarter = Cpu::from_millis(250);
    let boosted = ContainerSpec { cpu: quarter, startup_cpu: Some(Cpu::from_millis(500)), ..container(&image) };
    world.ready(&instance("one", boosted)).await;
    assert_eq!(limits(&world), [50_000]);
    world.ready(&instance("two", ContainerSpec { cpu: quarter, ..container(&image) })).await;
    assert_eq!(limits(&world), [25_000, 50_000]);
    let deadline = Instant::now() + PATIENCE;
    while limits(&world) != [25_000, 25_000] {
        assert!(Instant::now() < deadline, "the boost does not end");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    world.end().await;
}

async fn rests() {
    let world = World::oci().await;
    let image = pinned(world.backend.as_ref(), PLAIN).await;
    let probe = Probe {
        check: Check::Http { path: Some("/env".to_owned()), port: None, headers: Vec::new() },
        initial_delay_seconds: None,
        timeout_seconds: Some(1),
        period_seconds: Some(1),
        failure_threshold: Some(1),
        success_threshold: None,
    };
    let burns = ContainerSpec { liveness_probe: Some(probe), ..with_env(&image, "BURN", "1") };
    let (burning, probed) = (instance("burning", with_env(&image, "BURN", "1")), instance("probed", burns));
    world.ready(&burning).await;
    assert!(used(&world, &burning.id).await > Duration::from_millis(100), "it burns what it can get");
    world.backend.set_cpu(&burning.id, false);
    world.backend.set_cpu(&burning.id, false);
    assert_eq!(limits(&world), [1_000]);
    // What it had of the period in which its CPU was taken is its own.
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(used(&world, &burning.id).await < Duration::from_millis(30), "a hundredth");
    world.backend.set_cpu(&burning.id, true);
    assert_eq!(limits(&world), [100_000]);
    assert!(used(&world, &burning.id).await > Duration::from_millis(100), "and again all that it can get");

    world.ready(&probed).await;
    world.backend.set_cpu(&probed.id, false);
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(world.observed(&probed.id).map(|observed| observed.state), Some(InstanceState::Ready), "it is probed");
    world.backend.set_cpu(&burning.id, false);
    let begun = Instant::now();
    world.backend.stop(&burning.id, Duration::from_secs(10)).await;
    world.wait_for(&burning.id, InstanceState::is_over).await;
    assert!(begun.elapsed() < Duration::from_secs(5), "it has its CPU while it ends");
    world.end().await;
}

/// CPU time of an instance in half a second.
async fn used(world: &World, id: &InstanceId) -> Duration {
    let time = || world.backend.cpu(id).expect("it runs").time;
    let before = time();
    tokio::time::sleep(Duration::from_millis(500)).await;
    time() - before
}

/// Microseconds of CPU that containers may use in 100 ms, of those that have a limit.
pub fn limits(world: &World) -> Vec<u64> {
    let tops = crate::leaks::cgroups(&crate::leaks::of(world.folder.path(), world.before.clone()));
    let containers = tops.iter().filter_map(|top| std::fs::read_dir(top).ok()).flatten().flatten();
    let quota = |folder: std::path::PathBuf| {
        let read = |file: &str| std::fs::read_to_string(folder.join(file)).ok();
        read("cpu.cfs_quota_us").or_else(|| read("cpu.max"))?.split_whitespace().next()?.parse().ok()
    };
    let mut limits: Vec<u64> = containers.filter_map(|entry| quota(entry.path())).collect();
    limits.sort_unstable();
    limits
}
