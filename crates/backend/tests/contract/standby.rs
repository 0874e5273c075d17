//! Sandboxes that are made ahead of need make starts quicker and change nothing else.

use std::time::{Duration, Instant};

use homerun_model::instance::{InstanceSpec, InstanceState, ObservedInstance};
use homerun_model::names::InstanceId;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::faults::{ended, helpers};
use crate::leaks;
use crate::world::{PATIENCE, World, instance, plain, with_env, with_sidecar};

tests![
    "standby":
    a_sandbox_is_woken_by_the_first_instance_like_it,
    a_sandbox_gets_the_gpu_that_the_instance_has,
    containers_that_belong_together_are_woken_together,
    an_instance_of_another_kind_is_created,
    a_sandbox_that_died_is_no_loss,
    where_one_container_cannot_be_woken_all_are_made_anew,
    a_sandbox_whose_gpu_cannot_be_given_leaves_nothing,
    a_program_that_is_missing_is_named,
    a_sandbox_that_nobody_wants_any_more_is_ended,
];

/// Has a sandbox made and waits until it stands by.
async fn stand_by(world: &World, spec: &InstanceSpec) {
    world.backend.stand_by(vec![spec.clone()]);
    stands_by(world, 1).await;
}

/// Waits until so many sandboxes stand by. Nothing of them shows, except on the machine.
async fn stands_by(world: &World, count: usize) {
    let key = leaks::of(world.folder.path(), Vec::new()).key;
    let folder = std::path::Path::new("/dev/shm").join(key).join("instances");
    let made = || {
        let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
        entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(".standby-")).count()
    };
    let begun = Instant::now();
    while made() != count {
        assert!(begun.elapsed() < PATIENCE, "{} stand by", made());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // Its folder comes first.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(world.backend.list(), [], "nothing of it shows");
}

async fn started(world: &World, spec: &InstanceSpec, id: &str) -> ObservedInstance {
    let spec = InstanceSpec { id: InstanceId::new(id), decided_at: chrono::Utc::now(), ..spec.clone() };
    world.ready(&spec).await
}

async fn a_sandbox_is_woken_by_the_first_instance_like_it() {
    let world = World::oci().await;
    let spec = instance("any", with_env(&plain(&world).await.image, "COLOR", "blue"));
    stand_by(&world, &spec).await;
    let one = started(&world, &spec, "one").await;
    assert!(one.stamps.woken, "{:?}", one.stamps);
    assert!(world.body(&one.spec.id, "/env").await.contains("COLOR=blue"));
    assert!(!started(&world, &spec, "two").await.stamps.woken, "there was one only");
    // It says what it writes, and ends as any other does.
    world.body(&one.spec.id, "/write?path=/tmp/a&bytes=1000").await;
    world.backend.stop(&one.spec.id, Duration::from_secs(10)).await;
    let over = world.wait_for(&one.spec.id, InstanceState::is_over).await;
    assert_eq!(over.state, InstanceState::Stopped);
    world.end().await;
}

async fn a_sandbox_gets_the_gpu_that_the_instance_has() {
    let world = World::oci().await;
    let mut spec = instance("any", plain(&world).await);
    spec.containers[0].gpu = true;
    stand_by(&world, &spec).await;
    let second = world.backend.devices()[1].id.clone();
    let one = started(&world, &InstanceSpec { gpus: vec![second], ..spec }, "one").await;
    assert!(one.stamps.woken, "{:?}", one.stamps);
    let devices = world.body(&one.spec.id, "/list?path=/dev").await;
    assert!(devices.contains("nvidia1") && !devices.contains("nvidia0"), "{devices}");
    assert!(world.body(&one.spec.id, "/list?path=/usr/local/nvidia/lib64").await.contains("libcuda.so.1"));
    assert!(world.body(&one.spec.id, "/env").await.contains("LD_LIBRARY_PATH=/usr/local/nvidia/lib64"));
    world.end().await;
}

async fn containers_that_belong_together_are_woken_together() {
    let world = World::oci().await;
    let spec = with_sidecar(&world).await;
    stand_by(&world, &spec).await;
    let pair = started(&world, &spec, "pair").await;
    assert!(pair.stamps.woken, "{:?}", pair.stamps);
    world.body(&pair.spec.id, "/write?path=/shared/a&bytes=5").await;
    // What one has written the other one sees; both are in one network.
    let mut stream = world.backend.connect(&pair.spec.id, 9100).await.expect("connect");
    tokio::io::AsyncWriteExt::write_all(&mut stream, b"GET /list?path=/shared HTTP/1.1\r\n\r\n").await.expect("ask");
    let mut answer = String::new();
    tokio::io::AsyncReadExt::read_to_string(&mut stream, &mut answer).await.expect("an answer");
    assert!(answer.ends_with("\r\n\r\na"), "{answer}");
    world.end().await;
}

async fn an_instance_of_another_kind_is_created() {
    let world = World::oci().await;
    let image = plain(&world).await.image;
    stand_by(&world, &instance("any", with_env(&image, "COLOR", "blue"))).await;
    let red = started(&world, &instance("any", with_env(&image, "COLOR", "red")), "red").await;
    assert!(!red.stamps.woken);
    assert!(world.body(&red.spec.id, "/env").await.contains("COLOR=red"));
    world.end().await;
}

async fn a_sandbox_that_died_is_no_loss() {
    let world = World::oci().await;
    let spec = instance("any", plain(&world).await);
    for (round, helper_dies) in [true, false].into_iter().enumerate() {
        stand_by(&world, &spec).await;
        let child = |helper: u32| leaks::descendants(helper).first().copied();
        let (helper, child) =
            helpers().into_iter().find_map(|helper| Some((helper, child(helper)?))).expect("one stands by");
        let dies = Pid::from_raw(if helper_dies { helper } else { child } as i32);
        kill(dies, Signal::SIGKILL).expect("kill it");
        ended(dies).await;
        let one = started(&world, &spec, &format!("number-{round}")).await;
        assert!(!one.stamps.woken);
        world.body(&one.spec.id, "/").await;
        world.backend.stop(&one.spec.id, Duration::from_secs(5)).await;
        world.wait_for(&one.spec.id, InstanceState::is_over).await;
        world.backend.remove(&one.spec.id).await;
        world.backend.stand_by(Vec::new());
        stands_by(&world, 0).await;
    }
    world.end().await;
}

async fn where_one_container_cannot_be_woken_all_are_made_anew() {
    let world = World::oci().await;
    let spec = with_sidecar(&world).await;
    for round in 0..3 {
        stand_by(&world, &spec).await;
        // The process that both networks are of is that of the container that was made first.
        let children = helpers().into_iter().flat_map(leaks::descendants);
        let first = children.min_by_key(|pid| started_at(*pid)).expect("one stands by");
        let first = Pid::from_raw(first as i32);
        kill(first, Signal::SIGKILL).expect("kill it");
        ended(first).await;
        let pair = started(&world, &spec, &format!("pair-{round}")).await;
        assert!(!pair.stamps.woken, "{:?}", pair.stamps);
        let spaces: Vec<_> =
            leaks::descendants(std::process::id()).into_iter().filter_map(network_of_container).collect();
        assert_eq!(spaces.len(), 2, "{spaces:?}");
        assert_eq!(spaces[0], spaces[1], "containers of an instance are in one network");
        world.body(&pair.spec.id, "/write?path=/shared/a&bytes=5").await;
        world.backend.stand_by(Vec::new());
        world.backend.stop(&pair.spec.id, Duration::from_secs(5)).await;
        world.wait_for(&pair.spec.id, InstanceState::is_over).await;
        world.backend.remove(&pair.spec.id).await;
        stands_by(&world, 0).await;
    }
    world.end().await;
}

/// When a process was started, in clock ticks.
fn started_at(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let ticks = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(19)?.parse().ok());
    ticks.unwrap_or(u64::MAX)
}

/// The network that a process is in if it runs the program of a container of an instance.
fn network_of_container(pid: u32) -> Option<std::path::PathBuf> {
    let environment = std::fs::read(format!("/proc/{pid}/environ")).ok()?;
    let port = environment.split(|byte| *byte == 0).any(|pair| pair.starts_with(b"PORT="));
    port.then(|| std::fs::read_link(format!("/proc/{pid}/ns/net")).ok()).flatten()
}

async fn a_sandbox_whose_gpu_cannot_be_given_leaves_nothing() {
    let world = World::oci().await;
    let mut spec = instance("any", plain(&world).await);
    spec.containers[0].gpu = true;
    stand_by(&world, &spec).await;
    world.backend.stand_by(Vec::new());
    let over = world.over(&InstanceSpec { gpus: vec!["no-such-gpu".into()], ..spec }).await;
    assert!(format!("{:?}", over.state).contains("the GPU cannot be given"), "{:?}", over.state);
    // Its helper is neither left nor a zombie, and its cgroup is gone.
    world.end().await;
}

async fn a_program_that_is_missing_is_named() {
    let world = World::oci().await;
    let mut spec = instance("any", plain(&world).await);
    spec.containers[0].command = vec!["/no/such/program".to_owned()];
    stand_by(&world, &spec).await;
    let over = world.over(&spec).await;
    assert!(over.state.is_over() && format!("{:?}", over.state).contains("/no/such/program"), "{:?}", over.state);
    world.end().await;
}

async fn a_sandbox_that_nobody_wants_any_more_is_ended() {
    let world = World::oci().await;
    let spec = instance("any", plain(&world).await);
    stand_by(&world, &spec).await;
    world.backend.stand_by(Vec::new());
    stands_by(&world, 0).await;
    // And one that is wanted when all ends.
    stand_by(&world, &spec).await;
    world.end().await;
}
