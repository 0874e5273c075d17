//! homerun ends, however it ends, and comes back: a child process of the tests plays the homerun that
//! ends.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use homerun_backend::LogStream;
use homerun_model::instance::{Failure, InstanceState};
use homerun_model::names::InstanceId;

use crate::Test;
use crate::images::{self, PLAIN, pinned};
use crate::world::{Lines, World, container, instance, open, runtime};

/// The argument of the child; the data directory and the number of instances follow.
const CHILD: &str = "--play-homerun";

/// The tests.
pub fn tests() -> Vec<Test> {
    vec![
        Test::new("restart::instances_outlive_a_killed_homerun_and_are_adopted", adopted),
        Test::new("restart::an_instance_that_ended_meanwhile_is_over", ended_meanwhile),
        Test::new("restart::a_homerun_killed_at_any_moment_leaves_nothing_for_ever", killed_at_any_moment),
        Test::new("restart::instances_can_be_left_running_on_purpose", left_running),
    ]
}

/// Opens the backend, starts instances, says `ready` when they are, and waits to be killed.
pub fn child_main_if_asked() -> bool {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.get(1).map(String::as_str) != Some(CHILD) {
        return false;
    }
    let count: usize = arguments[3].parse().expect("a number");
    runtime().block_on(async {
        let backend = open(Path::new(&arguments[2]), Arc::new(Lines::default())).await;
        let image = pinned(backend.as_ref(), PLAIN).await;
        println!("opened");
        for number in 0..count {
            backend.start(instance(&format!("number-{number}"), container(&image))).await.expect("recorded");
        }
        while !backend.list().iter().all(|instance| instance.state == InstanceState::Ready) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        println!("ready");
        // Until standard input ends, which asks to leave the instances running.
        let _ = tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new())).await;
        backend.shutdown(true).await;
    });
    true
}

fn play(folder: &Path, count: usize) -> (Child, BufReader<std::process::ChildStdout>) {
    let mut child = Command::new("/proc/self/exe")
        .arg(CHILD)
        .arg(folder)
        .arg(count.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("start a homerun");
    let said = BufReader::new(child.stdout.take().expect("piped"));
    (child, said)
}

fn wait_for(said: &mut BufReader<std::process::ChildStdout>, word: &str) {
    let mut line = String::new();
    while line.trim() != word {
        line.clear();
        assert_ne!(said.read_line(&mut line).expect("it speaks"), 0, "it ended before it said {word}");
    }
}

fn kill(child: &mut Child) {
    child.kill().expect("kill it");
    child.wait().expect("it has ended");
    crate::leaks::reap_orphans();
}

async fn adopt(folder: tempfile::TempDir) -> World {
    let lines = Arc::new(Lines::default());
    World { backend: open(folder.path(), lines.clone()).await, lines, folder, before: Vec::new(), adopted: true }
}

async fn adopted() {
    let folder = images::data_dir().await;
    let (mut child, mut said) = play(folder.path(), 2);
    wait_for(&mut said, "ready");
    kill(&mut child);

    let world = adopt(folder).await;
    let list = world.backend.list();
    assert_eq!(list.len(), 2);
    assert!(list.iter().all(|instance| instance.state == InstanceState::Ready), "{list:?}");
    for observed in list {
        let id = observed.spec.id.clone();
        world.body(&id, "/say?text=still-here").await;
        world.start(&observed.spec).await;
    }
    assert_eq!(world.backend.list().len(), 2, "known instances are not started again");
    let one = InstanceId::new("number-0");
    world.backend.stop(&one, Duration::from_secs(20)).await;
    let over = world.wait_for(&one, InstanceState::is_over).await;
    assert_eq!(over.state, InstanceState::Stopped);
    let lines = world.lines.of("app", LogStream::Stdout);
    assert!(lines.contains(&"still-here".to_owned()) && lines.contains(&"terminating".to_owned()), "{lines:?}");
    world.end().await;
}

async fn ended_meanwhile() {
    let folder = images::data_dir().await;
    let (mut child, mut said) = play(folder.path(), 1);
    wait_for(&mut said, "ready");
    kill(&mut child);
    // The container ends while there is no homerun.
    // Its process has come to this one, as the nearest that takes orphans.
    let is_container =
        |pid: &u32| std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "inside\n");
    let found = crate::leaks::descendants(std::process::id());
    let pid = found.into_iter().find(is_container).expect("the container lives") as i32;
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL)
        .expect("kill the container");

    let world = adopt(folder).await;
    let id = InstanceId::new("number-0");
    let over = world.wait_for(&id, InstanceState::is_over).await;
    assert!(matches!(over.state, InstanceState::Failed(Failure::Exited { was_ready: true, .. })), "{:?}", over.state);
    world.end().await;
}

/// At whatever moment of a start homerun is killed, the next one comes to a state in which every instance
/// either serves or is over, and can end everything.
async fn killed_at_any_moment() {
    for round in 0..6 {
        let folder = images::data_dir().await;
        let (mut child, mut said) = play(folder.path(), 4);
        wait_for(&mut said, "opened");
        std::thread::sleep(Duration::from_millis(round * 7));
        kill(&mut child);
        let world = adopt(folder).await;
        for observed in world.backend.list() {
            let settled = |state: &InstanceState| *state == InstanceState::Ready || state.is_over();
            let id = observed.spec.id;
            if world.wait_for(&id, settled).await.state == InstanceState::Ready {
                world.body(&id, "/").await;
            }
        }
        world.end().await;
    }
}

async fn left_running() {
    let folder = images::data_dir().await;
    let (mut child, mut said) = play(folder.path(), 1);
    wait_for(&mut said, "ready");
    drop(child.stdin.take());
    assert!(child.wait().expect("it has ended").success());
    let world = adopt(folder).await;
    world.body(&InstanceId::new("number-0"), "/").await;
    world.end().await;
}
