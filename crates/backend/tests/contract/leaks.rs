//! What a backend may leave behind on the machine: nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A backend's data directory, by which its traces are recognised.
pub struct Traces {
    data_dir: PathBuf,
    /// What was there before the backend.
    before: Vec<String>,
    /// Cgroups that are the backend's, noted while it runs.
    cgroups: Vec<PathBuf>,
}

/// Notes what belongs to the backend of this directory, while it runs.
pub fn of(data_dir: &Path, before: Vec<String>) -> Traces {
    let cgroups: Vec<PathBuf> =
        ours().into_iter().filter(|path| !before.contains(&path.display().to_string())).collect();
    Traces { data_dir: data_dir.to_owned(), before, cgroups }
}

/// What an earlier test that failed has left.
pub fn before() -> Vec<String> {
    let cgroups = ours();
    left(&Traces { data_dir: PathBuf::from("/no/such/folder"), before: Vec::new(), cgroups })
}

/// Reaps what a killed homerun has started and this process has inherited. In life that is the task of
/// the machine's first process.
pub fn reap_orphans() {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(300) {
        let any = nix::sys::wait::waitpid(None, Some(nix::sys::wait::WaitPidFlag::WNOHANG));
        if !any.is_ok_and(|status| status != nix::sys::wait::WaitStatus::StillAlive) {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Folders of homerun in every cgroup hierarchy whose containers are this process's.
fn ours() -> Vec<PathBuf> {
    let own: Vec<u32> = descendants(std::process::id());
    let root = Path::new("/sys/fs/cgroup");
    let entries = |folder: &Path| -> Vec<PathBuf> {
        fs::read_dir(folder)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.is_dir())
            .collect()
    };
    let is_homeruns =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("homerun-"));
    let mut tops: Vec<PathBuf> =
        entries(root).into_iter().chain(entries(root).iter().flat_map(|path| entries(path))).collect();
    tops.retain(is_homeruns);
    let has_own = |top: &PathBuf| {
        entries(top).iter().any(|group| {
            let pids = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
            pids.lines().any(|pid| pid.parse().is_ok_and(|pid: u32| own.contains(&pid)))
        })
    };
    tops.retain(has_own);
    tops
}

/// Every process below `pid`.
pub fn descendants(pid: u32) -> Vec<u32> {
    let mut found = Vec::new();
    let mut left = vec![pid];
    while let Some(pid) = left.pop() {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        let children = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
        let children: Vec<u32> =
            children.flat_map(|text| text.split(' ').filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()).collect();
        found.extend(&children);
        left.extend(children);
    }
    found
}

/// Panics if anything of the backend is left.
pub fn nothing_left(traces: &Traces) {
    let begun = Instant::now();
    // The program's own threads may still be ending.
    while begun.elapsed() < Duration::from_secs(2) && !left(traces).is_empty() {
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(left(traces), Vec::<String>::new(), "left behind");
}

fn left(traces: &Traces) -> Vec<String> {
    let mut left: Vec<String> = descendants(std::process::id()).iter().map(|pid| describe(*pid)).collect();
    left.extend(traces.cgroups.iter().filter(|path| path.exists()).map(|path| path.display().to_string()));
    let data_dir = traces.data_dir.display().to_string();
    let mounts = fs::read_to_string("/proc/self/mounts").expect("the mounts");
    left.extend(mounts.lines().filter(|line| line.contains(&data_dir)).map(str::to_owned));
    let links = fs::read_to_string("/proc/self/net/dev").expect("the interfaces");
    let names = links.lines().skip(2).filter_map(|line| line.trim().split_once(':')).map(|(name, _)| name.to_owned());
    left.extend(names.filter(|name| name.starts_with("hr")));
    let shared =
        fs::read_dir("/dev/shm").into_iter().flatten().flatten().map(|entry| entry.path().display().to_string());
    let keys: Vec<_> =
        traces.cgroups.iter().filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned())).collect();
    left.extend(shared.filter(|path| keys.iter().any(|key| path.contains(key))));
    let instances = fs::read_dir(traces.data_dir.join("instances")).into_iter().flatten().flatten();
    left.extend(instances.map(|entry| entry.path().display().to_string()));
    left.retain(|trace| !traces.before.contains(trace));
    left
}

fn describe(pid: u32) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // Its number, name and state.
    format!("process {}", text.split(' ').take(3).collect::<Vec<_>>().join(" "))
}
