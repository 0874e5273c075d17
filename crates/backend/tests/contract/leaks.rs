//! What a backend may leave behind on the machine: nothing.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What a backend is recognised by.
pub struct Traces {
    data_dir: PathBuf,
    /// Part of the names of everything that it makes outside of its data directory.
    pub key: String,
    /// Processes that an earlier test has left.
    before: Vec<u32>,
}

/// What the open backend of a data directory will be recognised by when it has ended.
///
/// # Panics
/// If it is not recognised by it now: then a look at what is left would find nothing, whatever is left.
pub fn of(data_dir: &Path, before: Vec<u32>) -> Traces {
    // As the backend itself does.
    let mut hasher = DefaultHasher::new();
    fs::canonicalize(data_dir).expect("the data directory").hash(&mut hasher);
    let key = format!("homerun-{:012x}", hasher.finish() & 0xffff_ffff_ffff);
    let traces = Traces { data_dir: data_dir.to_owned(), key, before };
    assert!(!cgroups(&traces).is_empty(), "no cgroup of {}", traces.key);
    assert!(!runtime_folders(&traces).is_empty(), "no folder for instances of {}", traces.key);
    traces
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

/// The backend's folder in every cgroup hierarchy.
pub fn cgroups(traces: &Traces) -> Vec<PathBuf> {
    let root = Path::new("/sys/fs/cgroup");
    let hierarchies = fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path());
    let folders = hierarchies.chain([root.to_owned()]).map(|hierarchy| hierarchy.join(&traces.key));
    folders.filter(|folder| folder.is_dir()).collect()
}

/// Where the backend has its instances' files.
fn runtime_folders(traces: &Traces) -> Vec<PathBuf> {
    let places = [Path::new("/dev/shm").join(&traces.key), traces.data_dir.join("run")];
    places.into_iter().filter(|folder| folder.exists()).collect()
}

/// What this process itself still holds of instances: open pipes, and network namespaces by descriptors and
/// by threads that are in one.
pub fn held(key: &str) -> Vec<String> {
    let entries = |folder: &str| fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let links = |paths: Vec<PathBuf>| -> Vec<String> {
        paths.iter().filter_map(|path| Some(fs::read_link(path).ok()?.display().to_string())).collect()
    };
    let mut held = links(entries("/proc/self/fd").collect());
    let own = fs::read_link("/proc/self/ns/net").expect("a network namespace").display().to_string();
    held.retain(|link| link.contains(key) || (link.starts_with("net:[") && *link != own));
    let threads = links(entries("/proc/self/task").map(|task| task.join("ns/net")).collect());
    held.extend(threads.into_iter().filter(|space| *space != own).map(|space| format!("a thread in {space}")));
    held
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
    let own = descendants(std::process::id()).into_iter().filter(|pid| !traces.before.contains(pid));
    let mut left: Vec<String> = own.map(describe).collect();
    let folders = cgroups(traces).into_iter().chain(runtime_folders(traces));
    left.extend(folders.map(|folder| folder.display().to_string()));
    let data_dir = traces.data_dir.display().to_string();
    let mounts = fs::read_to_string("/proc/self/mounts").expect("the mounts");
    left.extend(
        mounts.lines().filter(|line| line.contains(&data_dir) || line.contains(&traces.key)).map(str::to_owned),
    );
    let links = fs::read_to_string("/proc/self/net/dev").expect("the interfaces");
    let names = links.lines().skip(2).filter_map(|line| line.trim().split_once(':')).map(|(name, _)| name.to_owned());
    let prefix = format!("hr{}-", &traces.key["homerun-".len()..][..6]);
    left.extend(names.filter(|name| name.starts_with(&prefix)));
    left.extend(held(&traces.key));
    left
}

fn describe(pid: u32) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // Its number, name and state.
    format!("process {}", text.split(' ').take(3).collect::<Vec<_>>().join(" "))
}
