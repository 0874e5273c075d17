//! Cgroups of containers: version 2, version 1, and the hybrid of both.
//!
//! Each homerun has a folder of its own, `homerun-KEY`, in every hierarchy that it uses, so several on
//! one machine keep apart; below it each container has one. Limits are written before the program
//! starts.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Processes and threads that a container may have.
const MOST_PIDS: u64 = 32_768;
/// Length of the period in which a container may use its share of CPU, in microseconds.
const PERIOD_MICROS: u64 = 100_000;
/// Version 1's controllers that are used.
const CONTROLLERS: [&str; 5] = ["memory", "cpu", "cpuacct", "pids", "devices"];
/// Character devices that every container may use: null, zero, full, random, urandom, tty, pts.
const DEVICES: [&str; 8] =
    ["c 1:3 rwm", "c 1:5 rwm", "c 1:7 rwm", "c 1:8 rwm", "c 1:9 rwm", "c 5:0 rwm", "c 5:2 rwm", "c 136:* rwm"];

/// Where this homerun's containers are.
#[derive(Debug, Clone)]
pub(super) struct Cgroups {
    version: Version,
    key: String,
}

#[derive(Debug, Clone)]
enum Version {
    /// One hierarchy; its root.
    Two(PathBuf),
    /// A hierarchy per controller; name and root.
    One(Vec<(&'static str, PathBuf)>),
}

/// What a container may use.
#[derive(Debug, Clone)]
pub(super) struct Limits {
    /// Bytes of memory, the writable file system included.
    pub memory_bytes: u64,
    /// Thousandths of a CPU.
    pub cpu_millis: u64,
    /// Further devices, as version 1 writes them (`c 195:0 rw`).
    pub devices: Vec<String>,
}

impl Cgroups {
    /// Finds the hierarchies of this machine and makes the folders for `key`.
    ///
    /// # Errors
    /// When there are none or they cannot be written, for instance without root.
    pub(super) fn open(key: &str) -> io::Result<Self> {
        let cgroups = Self { version: find(&fs::read_to_string("/proc/self/mounts")?)?, key: format!("homerun-{key}") };
        for (name, folder) in cgroups.tops() {
            fs::create_dir_all(&folder)?;
            if let Version::Two(root) = &cgroups.version {
                enable(root)?;
                enable(&folder)?;
            }
            let _ = name;
        }
        Ok(cgroups)
    }

    fn tops(&self) -> Vec<(&'static str, PathBuf)> {
        match &self.version {
            Version::Two(root) => vec![("", root.join(&self.key))],
            Version::One(roots) => roots.iter().map(|(name, root)| (*name, root.join(&self.key))).collect(),
        }
    }

    fn folders(&self, name: &str) -> Vec<(&'static str, PathBuf)> {
        self.tops().into_iter().map(|(controller, top)| (controller, top.join(name))).collect()
    }

    fn folder(&self, controller: &str, name: &str) -> Option<PathBuf> {
        let found = |(given, _): &(&str, PathBuf)| given.is_empty() || *given == controller;
        self.folders(name).into_iter().find(found).map(|(_, folder)| folder)
    }

    /// Makes a container's cgroup and moves a process into it.
    pub(super) fn enter(&self, name: &str, pid: u32) -> io::Result<()> {
        for (_, folder) in self.folders(name) {
            fs::create_dir_all(&folder)?;
            fs::write(folder.join("cgroup.procs"), pid.to_string())?;
        }
        Ok(())
    }

    /// Sets the limits of a container's cgroup.
    pub(super) fn limit(&self, name: &str, limits: &Limits) -> io::Result<()> {
        let quota = quota(limits.cpu_millis);
        for (controller, folder) in self.folders(name) {
            let set = |file: &str, value: &str| fs::write(folder.join(file), value);
            match controller {
                "" => {
                    set("memory.max", &limits.memory_bytes.to_string())?;
                    // Absent without swap accounting, and then there is nothing to limit.
                    let _ = set("memory.swap.max", "0");
                    set("cpu.max", &format!("{quota} {PERIOD_MICROS}"))?;
                    set("pids.max", &MOST_PIDS.to_string())?;
                }
                "memory" => {
                    set("memory.limit_in_bytes", &limits.memory_bytes.to_string())?;
                    let _ = set("memory.memsw.limit_in_bytes", &limits.memory_bytes.to_string());
                }
                "cpu" => {
                    set("cpu.cfs_period_us", &PERIOD_MICROS.to_string())?;
                    set("cpu.cfs_quota_us", &quota.to_string())?;
                }
                "pids" => set("pids.max", &MOST_PIDS.to_string())?,
                "devices" => {
                    set("devices.deny", "a")?;
                    DEVICES.into_iter().try_for_each(|device| set("devices.allow", device))?;
                }
                _ => {}
            }
        }
        self.allow_devices(name, &limits.devices)
    }

    /// Lets a container use further devices, as version 1 writes them.
    pub(super) fn allow_devices(&self, name: &str, devices: &[String]) -> io::Result<()> {
        let Some(folder) = self.folder("devices", name).filter(|_| matches!(self.version, Version::One(_))) else {
            return Ok(());
        };
        devices.iter().try_for_each(|device| fs::write(folder.join("devices.allow"), device))
    }

    /// Sets the CPU limit of a container that runs.
    pub(super) fn limit_cpu(&self, name: &str, cpu_millis: u64) -> io::Result<()> {
        let quota = quota(cpu_millis);
        let folder = self.folder("cpu", name).ok_or(io::ErrorKind::NotFound)?;
        match &self.version {
            Version::Two(_) => fs::write(folder.join("cpu.max"), format!("{quota} {PERIOD_MICROS}")),
            Version::One(_) => fs::write(folder.join("cpu.cfs_quota_us"), quota.to_string()),
        }
    }

    /// Whether the memory limit has ended a process of the container.
    pub(super) fn out_of_memory(&self, name: &str) -> bool {
        let Some(folder) = self.folder("memory", name) else {
            return false;
        };
        let text = fs::read_to_string(folder.join("memory.events"))
            .or_else(|_| fs::read_to_string(folder.join("memory.oom_control")))
            .unwrap_or_default();
        text.lines().any(|line| line.strip_prefix("oom_kill ").is_some_and(|count| count.trim() != "0"))
    }

    /// CPU time that a container's processes have used; `None` if it has no cgroup.
    pub(super) fn cpu_time(&self, name: &str) -> Option<Duration> {
        let folder = self.folder("cpuacct", name)?;
        if let Ok(nanos) = fs::read_to_string(folder.join("cpuacct.usage")) {
            return nanos.trim().parse().ok().map(Duration::from_nanos);
        }
        let stat = fs::read_to_string(folder.join("cpu.stat")).ok()?;
        let micros = stat.lines().find_map(|line| line.strip_prefix("usage_usec "))?;
        micros.parse().ok().map(Duration::from_micros)
    }

    /// Memory that a container has in use, in bytes, its writable file system included; `None` if it has no cgroup.
    pub(super) fn memory_bytes(&self, name: &str) -> Option<u64> {
        let folder = self.folder("memory", name)?;
        let file = match &self.version {
            Version::Two(_) => "memory.current",
            Version::One(_) => "memory.usage_in_bytes",
        };
        fs::read_to_string(folder.join(file)).ok()?.trim().parse().ok()
    }

    /// Ends every process of a container and removes its cgroup. Waits for the kernel to finish with the
    /// processes, a few milliseconds as a rule; `false` if it does not within `patience`.
    pub(super) fn remove(&self, name: &str, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        loop {
            self.kill(name);
            let left = self.folders(name).into_iter().filter(|(_, folder)| {
                fs::remove_dir(folder).is_err_and(|error| error.kind() != io::ErrorKind::NotFound)
            });
            if left.count() == 0 {
                return true;
            }
            if Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Sends SIGKILL to every process of a container.
    pub(super) fn kill(&self, name: &str) {
        for (_, folder) in self.folders(name) {
            if fs::write(folder.join("cgroup.kill"), "1").is_ok() {
                continue;
            }
            for pid in fs::read_to_string(folder.join("cgroup.procs"))
                .unwrap_or_default()
                .lines()
                .filter_map(|pid| pid.parse().ok())
            {
                let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
            }
        }
    }

    /// Names of the containers that have a cgroup.
    pub(super) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self
            .tops()
            .iter()
            .filter_map(|(_, top)| fs::read_dir(top).ok())
            .flat_map(|entries| entries.flatten().filter(|entry| entry.path().is_dir()))
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names.dedup();
        names
    }

    /// Removes this homerun's own folders; they stay if a container is left in them.
    pub(super) fn close(&self) {
        for (_, folder) in self.tops() {
            let _ = fs::remove_dir(folder);
        }
    }
}

/// Microseconds of CPU per period.
fn quota(cpu_millis: u64) -> u64 {
    (cpu_millis * PERIOD_MICROS / 1000).max(1000)
}

fn find(mounts: &str) -> io::Result<Version> {
    let mounts: Vec<Vec<&str>> =
        mounts.lines().map(|line| line.split(' ').collect()).filter(|fields: &Vec<_>| fields.len() > 3).collect();
    let with = |controller: &'static str| {
        let mount = mounts
            .iter()
            .find(|fields| fields[2] == "cgroup" && fields[3].split(',').any(|option| option == controller))?;
        Some((controller, PathBuf::from(mount[1])))
    };
    let one: Vec<_> = CONTROLLERS.into_iter().filter_map(with).collect();
    if !one.is_empty() {
        return Ok(Version::One(one));
    }
    let two = mounts.iter().find(|fields| fields[2] == "cgroup2").map(|fields| Version::Two(PathBuf::from(fields[1])));
    two.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no cgroup hierarchy is mounted"))
}

/// Lets children of a version 2 folder have limits.
fn enable(folder: &Path) -> io::Result<()> {
    let available = fs::read_to_string(folder.join("cgroup.controllers"))?;
    let wanted: Vec<String> = available
        .split_whitespace()
        .filter(|name| ["cpu", "memory", "pids"].contains(name))
        .map(|name| format!("+{name}"))
        .collect();
    fs::write(folder.join("cgroup.subtree_control"), wanted.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s14_hierarchies_are_found_in_version_1_2_and_hybrid() {
        let hybrid = "cgroup /sys/fs/cgroup/cpu cgroup rw,relatime,cpu 0 0\n\
                      cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        let Ok(Version::One(roots)) = find(hybrid) else { panic!("version 1 has the controllers") };
        assert_eq!(roots, [("memory", "/sys/fs/cgroup/memory".into()), ("cpu", "/sys/fs/cgroup/cpu".into())]);
        let Ok(Version::Two(root)) = find("cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n") else { panic!("version 2") };
        assert_eq!(root, Path::new("/sys/fs/cgroup"));
        assert!(find("proc /proc proc rw 0 0\n").is_err());
    }
}
