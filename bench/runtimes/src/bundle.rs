//! What libcontainer and crun are asked to run: the same as homerun makes, as an OCI bundle.

use std::error::Error;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};
use oci_spec::runtime::Spec;
use serde_json::{Value, json};

use crate::{CPU_MILLIS, ID_BASE, MEMORY_BYTES, PORT};

/// Makes the folders and the configuration of one container, which is not part of what is measured.
pub fn make(parent: &Path, id: &str, user_namespace: bool) -> Result<PathBuf, Box<dyn Error>> {
    let folder = parent.join(id);
    for name in ["rootfs", "upper", "work"] {
        fs::create_dir_all(folder.join(name))?;
    }
    if user_namespace {
        chown(folder.join("upper"), Some(ID_BASE), Some(ID_BASE))?;
    }
    // The container's root has to reach its root file system.
    for folder in [parent, &folder, &folder.join("upper")] {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
    }
    let spec: Spec = serde_json::from_value(configuration(id, user_namespace))?;
    spec.save(folder.join("config.json"))?;
    Ok(folder)
}

/// Stacks the root file system, in the caller's mount namespace. Part of what is measured.
pub fn mount_root(bundle: &Path, lower: &Path) -> nix::Result<()> {
    let at = |name: &str| bundle.join(name).display().to_string();
    let options = format!("lowerdir={},upperdir={},workdir={}", lower.display(), at("upper"), at("work"));
    mount(Some("overlay"), &bundle.join("rootfs"), Some("overlay"), MsFlags::empty(), Some(options.as_str()))
}

/// No filter of system calls, which would only add to the time.
fn configuration(id: &str, user_namespace: bool) -> Value {
    let capabilities = ["CAP_CHOWN", "CAP_SETGID", "CAP_SETUID", "CAP_KILL", "CAP_NET_BIND_SERVICE"];
    let mapping = json!([{ "containerID": 0, "hostID": ID_BASE, "size": 65536 }]);
    let mut namespaces: Vec<Value> =
        ["pid", "network", "ipc", "uts", "mount"].iter().map(|kind| json!({ "type": kind })).collect();
    let mut linux = json!({
        // An absolute path: libcontainer uses systemd for a relative one.
        "cgroupsPath": format!("/homerun-bench-{id}"),
        "resources": {
            "memory": { "limit": MEMORY_BYTES },
            "cpu": { "quota": CPU_MILLIS * 100, "period": 100_000 },
        },
        "maskedPaths": ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware"],
        "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
    });
    if user_namespace {
        namespaces.push(json!({ "type": "user" }));
        linux["uidMappings"] = mapping.clone();
        linux["gidMappings"] = mapping;
    }
    linux["namespaces"] = namespaces.into();
    let mount = |destination: &str, kind: &str, options: &[&str]| json!({ "destination": destination, "type": kind, "source": kind, "options": options });
    json!({
        "ociVersion": "1.0.2",
        "root": { "path": "rootfs", "readonly": false },
        "hostname": "localhost",
        "process": {
            "terminal": false, "user": { "uid": 65532, "gid": 65532 }, "cwd": "/", "args": ["/hello"],
            "env": ["PATH=/", format!("PORT={PORT}")], "noNewPrivileges": true,
            "capabilities": { "bounding": capabilities, "effective": capabilities, "permitted": capabilities },
        },
        "mounts": [
            mount("/proc", "proc", &["nosuid", "noexec", "nodev"]),
            mount("/dev", "tmpfs", &["nosuid", "noexec", "mode=755", "size=64k"]),
            mount("/dev/pts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
            mount("/dev/shm", "tmpfs", &["nosuid", "noexec", "nodev", "mode=1777", "size=64m"]),
            mount("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
            mount("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
        ],
        "linux": linux,
    })
}
