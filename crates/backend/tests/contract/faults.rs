//! What goes wrong between homerun and its containers costs one start at most and leaves nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use homerun_model::instance::InstanceState;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::Test;
use crate::images::{PLAIN, pinned};
use crate::leaks;
use crate::world::{PATIENCE, World, container, instance};

/// The tests.
pub fn tests() -> Vec<Test> {
    vec![
        Test::new("faults::a_helper_that_dies_before_its_job_is_replaced", idle_helper),
        Test::new("faults::a_helper_that_dies_with_its_job_is_replaced", helper_with_job),
        Test::new("faults::a_helper_that_dies_beside_its_container_leaves_none", helper_with_child),
        Test::new("faults::nothing_of_an_ended_instance_is_held", held),
    ]
}

/// The processes that make containers, or wait to.
pub fn helpers() -> Vec<u32> {
    let is_helper = |pid: &u32| {
        let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        arguments.split(|byte| *byte == 0).any(|argument| argument == b"__container-helper")
    };
    leaks::descendants(std::process::id()).into_iter().filter(is_helper).collect()
}

/// The helper that waits for the next start.
async fn helper() -> Pid {
    let begun = Instant::now();
    loop {
        if let Some(pid) = helpers().first().copied() {
            return Pid::from_raw(pid as i32);
        }
        assert!(begun.elapsed() < PATIENCE, "no helper is started ahead of need");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Waits until the process has ended, be it as a zombie.
pub async fn ended(pid: Pid) {
    let begun = Instant::now();
    let lives = || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
    };
    while lives() {
        assert!(begun.elapsed() < PATIENCE, "SIGKILL ends every process");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn idle_helper() {
    let world = World::oci().await;
    let made = container(&pinned(world.backend.as_ref(), PLAIN).await);
    let pid = helper().await;
    kill(pid, Signal::SIGKILL).expect("kill the helper");
    ended(pid).await;
    for id in ["first", "second"] {
        let spec = instance(id, made.clone());
        world.ready(&spec).await;
        world.body(&spec.id, "/").await;
    }
    world.end().await;
}

async fn helper_with_job() {
    let world = World::oci().await;
    let made = container(&pinned(world.backend.as_ref(), PLAIN).await);
    let pid = helper().await;
    // It gets its job and does not begin.
    kill(pid, Signal::SIGSTOP).expect("stop the helper");
    let first = instance("first", made.clone());
    world.start(&first).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(world.observed(&first.id).map(|observed| observed.state), Some(InstanceState::Creating));
    kill(pid, Signal::SIGKILL).expect("kill the helper");
    let known = |state: &InstanceState| *state == InstanceState::Ready || state.is_over();
    assert_eq!(world.wait_for(&first.id, known).await.state, InstanceState::Ready);
    world.body(&first.id, "/").await;
    let next = instance("next", made);
    world.ready(&next).await;
    world.body(&next.id, "/").await;
    world.end().await;
}

/// It is killed as soon as the container's process exists: before, while or after that becomes the program.
async fn helper_with_child() {
    let world = World::oci().await;
    let made = container(&pinned(world.backend.as_ref(), PLAIN).await);
    let mut killed = 0;
    for round in 0..12 {
        let pid = helper().await;
        let children = format!("/proc/{pid}/task/{pid}/children");
        let settled = Arc::new(AtomicBool::new(false));
        let too_late = settled.clone();
        let killer = std::thread::spawn(move || {
            while !too_late.load(Ordering::Relaxed) {
                if std::fs::read_to_string(&children).is_ok_and(|pids| !pids.is_empty()) {
                    std::thread::sleep(Duration::from_micros(round * 200));
                    // It may be gone by now, which is one of the cases.
                    return kill(pid, Signal::SIGKILL).is_ok();
                }
            }
            false
        });
        let spec = instance(&format!("number-{round}"), made.clone());
        world.start(&spec).await;
        let known = |state: &InstanceState| *state == InstanceState::Ready || state.is_over();
        let seen = world.wait_for(&spec.id, known).await;
        settled.store(true, Ordering::Relaxed);
        killed += u32::from(killer.join().expect("it only looks and kills"));
        assert_eq!(seen.state, InstanceState::Ready, "another helper makes it");
        world.body(&spec.id, "/").await;
        world.backend.stop(&spec.id, Duration::ZERO).await;
        world.wait_for(&spec.id, InstanceState::is_over).await;
        world.backend.remove(&spec.id).await;
    }
    assert!(killed > 0, "no helper was killed in time");
    world.end().await;
}

/// Its network namespace would live on with everything in it, and so would what is in its pipes.
async fn held() {
    let world = World::oci().await;
    let spec = instance("one", container(&pinned(world.backend.as_ref(), PLAIN).await));
    world.ready(&spec).await;
    world.body(&spec.id, "/").await;
    let key = leaks::of(world.folder.path(), Vec::new()).key;
    assert!(leaks::held(&key).len() >= 3, "two pipes and a namespace: {:?}", leaks::held(&key));
    world.backend.stop(&spec.id, Duration::from_secs(10)).await;
    world.wait_for(&spec.id, InstanceState::is_over).await;
    assert_eq!(leaks::held(&key), Vec::<String>::new());
    world.end().await;
}
