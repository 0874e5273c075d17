//! homerun ends, however it ends, and comes back: a child process of the tests plays the homerun that
//! ends.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use homerun_backend::LogStream;
use homerun_model::instance::{Failure, InstanceState};
use homerun_model::names::InstanceId;

use crate::Test;
use crate::health::limits;
use crate::images::{self, PLAIN, pinned};
use crate::world::{Lines, World, container, instance, open, runtime, with_env};

/// The argument of the child; the data directory and the number of instances follow.
const CHILD: &str = "--play-homerun";

/// The tests.
pub fn tests() -> Vec<Test> {
    vec![
        Test::new("restart::instances_outlive_a_killed_homerun_and_are_adopted", adopted),
        Test::new("restart::an_instance_that_ended_meanwhile_is_over", ended_meanwhile),
        Test::new("restart::a_homerun_killed_at_any_moment_leaves_nothing_for_ever", killed_at_any_moment),
        Test::new("restart::an_instance_that_was_stopping_goes_on_stopping", was_stopping),
        Test::new("restart::instances_can_be_left_running_on_purpose", left_running),
    ]
}

/// Opens the backend, starts instances, says `ready` when they are, and waits to be killed; or, after a line
/// of standard input, begins to stop them with that many seconds of grace, which they ignore.
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
        // One that nobody will use.
        backend.stand_by(vec![instance("never", with_env(&image, "COLOR", "none"))]);
        for number in 0..count {
            let deaf = with_env(&image, "IGNORE_TERM", "1");
            let made = if arguments[4] == "deaf" { deaf } else { container(&image) };
            backend.start(instance(&format!("number-{number}"), made)).await.expect("recorded");
        }
        while !backend.list().iter().all(|instance| instance.state == InstanceState::Ready) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // The next homerun must give them their CPU back.
        backend.list().iter().for_each(|instance| backend.set_cpu(&instance.spec.id, false));
        println!("ready");
        // Until standard input ends, which asks to leave the instances running.
        let line = tokio::task::spawn_blocking(|| std::io::stdin().lines().next()).await.expect("no panic");
        if let Some(Ok(grace)) = line {
            let grace = Duration::from_secs(grace.parse().expect("a number"));
            for instance in backend.list() {
                backend.stop(&instance.spec.id, grace).await;
            }
            while !backend.list().iter().all(|instance| instance.state == InstanceState::Stopping) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            println!("stopping");
            std::future::pending::<()>().await;
        }
        backend.shutdown(true).await;
    });
    true
}

fn play(folder: &Path, count: usize) -> (Child, BufReader<std::process::ChildStdout>) {
    play_with(folder, count, "polite")
}

fn play_with(folder: &Path, count: usize, manners: &str) -> (Child, BufReader<std::process::ChildStdout>) {
    let mut child = Command::new("/proc/self/exe")
        .arg(CHILD)
        .arg(folder)
        .arg(count.to_string())
        .arg(manners)
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

    let before = containers();
    assert_eq!(before.len(), 2, "they outlive homerun");
    let world = adopt(folder).await;
    assert_eq!(containers(), before, "the same processes");
    let list = world.backend.list();
    assert_eq!(list.len(), 2);
    assert!(list.iter().all(|instance| instance.state == InstanceState::Ready), "{list:?}");
    // Adopting begins at once and takes a moment.
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(limits(&world), [100_000, 100_000], "they rested");
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

/// The first processes of containers: they have come to this process, as the nearest that takes orphans.
fn containers() -> Vec<u32> {
    let is_container =
        |pid: &u32| std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "inside\n");
    let mut found: Vec<u32> = crate::leaks::descendants(std::process::id()).into_iter().filter(is_container).collect();
    found.sort_unstable();
    found
}

async fn ended_meanwhile() {
    let folder = images::data_dir().await;
    let (mut child, mut said) = play(folder.path(), 1);
    wait_for(&mut said, "ready");
    kill(&mut child);
    // The container ends while there is no homerun.
    let pid = containers()[0] as i32;
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL)
        .expect("kill the container");
    // In life the machine's first process does it.
    nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(pid), None).expect("it has come to this process");

    let world = adopt(folder).await;
    let id = InstanceId::new("number-0");
    let over = world.wait_for(&id, InstanceState::is_over).await;
    assert!(matches!(over.state, InstanceState::Failed(Failure::Exited { was_ready: true, .. })), "{:?}", over.state);
    let steady = over.stamps.steady;
    assert!(over.lost && steady.ready.is_some() && steady.ended.is_none(), "nobody saw when it ended: {steady:?}");
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

/// Nobody asks it to stop once more.
async fn was_stopping() {
    let folder = images::data_dir().await;
    let (mut child, mut said) = play_with(folder.path(), 2, "deaf");
    wait_for(&mut said, "ready");
    writeln!(child.stdin.as_mut().expect("piped"), "3").expect("it listens");
    wait_for(&mut said, "stopping");
    kill(&mut child);
    // One of them ends while there is no homerun.
    let ended = nix::unistd::Pid::from_raw(containers()[0] as i32);
    nix::sys::signal::kill(ended, nix::sys::signal::Signal::SIGKILL).expect("kill a container");
    crate::leaks::reap_orphans();

    let world = adopt(folder).await;
    for observed in world.backend.list() {
        let over = world.wait_for(&observed.spec.id, InstanceState::is_over).await;
        assert_eq!(over.state, InstanceState::Stopped);
        let took = over.stamps.ended.zip(over.stamps.stopping).map(|(ended, stopping)| ended - stopping);
        assert!(took.is_some_and(|took| took.num_seconds() < 20), "the grace is the one given: {took:?}");
    }
    world.end().await;
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
