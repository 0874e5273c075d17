//! The helper's half: everything that needs the host's root and the host's files.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::Path;

use nix::fcntl::OFlag;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::{chdir, chown, pipe2};

use super::job::{Bind, BindKind, GpuPart, Hold, Job, Last};
use super::{Homerun, child, confine, rooted};

/// Devices that every container has.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];
/// Name of the folder on which the overlay is mounted.
pub(super) const MERGED: &str = "merged";
const NONE: Option<&str> = None;

/// Makes the container; its process id on the host.
///
/// # Errors
/// A sentence. Nothing is left then: the mounts end with this process, and the child was ended.
pub(super) fn make(mut job: Job, homerun: &mut Homerun) -> Result<i32, String> {
    let root = root_file_system(&job)?;
    // Before it waits: the folder's name changes when a container that stands by is given to an instance.
    let logs = [open_log(&job, "stdout")?, open_log(&job, "stderr")?];
    if job.hold == Hold::BeforeGpu {
        let Last { gpu } = homerun.wait(None)?;
        let GpuPart { env, binds, hooks } = gpu.unwrap_or_default();
        bind_all(&root, &binds, job.id_base)?;
        (job.env, job.hooks) = (env, hooks);
    }
    let job = &job;
    describe_bundle(job, &root)?;
    let filter = fs::read(&job.seccomp).map_err(|error| format!("the system call filter cannot be read: {error}"))?;
    // The score counts for the child and everything it starts: containers go before the host's services.
    let _ = fs::write("/proc/self/oom_score_adj", "500");
    confine::limit_open_files(job.open_files)
        .map_err(|error| format!("the number of open files cannot be limited: {error}"))?;
    let joined = job
        .join
        .map(join)
        .transpose()
        .map_err(|error| format!("the instance's namespaces cannot be joined: {error}"))?;
    // The child finds its root by its working directory, which the kernel carries into its own copy of
    // the mounts; the path there may lead through folders that the child's user cannot enter.
    chdir(&rooted::path(&root)).map_err(|error| format!("the root file system cannot be entered: {error}"))?;
    drop(root);
    clone(job, joined.is_some(), (logs, &filter), homerun)
}

/// Mounts everything that comes from the host, in a mount namespace that only this process and its child
/// see.
fn root_file_system(job: &Job) -> Result<OwnedFd, String> {
    let step = |what: &'static str| move |error: nix::Error| format!("{what}: {error}");
    unshare(CloneFlags::CLONE_NEWNS).map_err(step("no mount namespace"))?;
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE)
        .map_err(step("the mounts cannot be made private"))?;
    let place = job.folder.join("root");
    let owner = job.id_base;
    let options = format!("size={},mode=0755", job.writable_bytes);
    mount(Some("tmpfs"), &place, Some("tmpfs"), MsFlags::MS_NODEV, Some(options.as_str()))
        .map_err(step("no memory file system"))?;
    let (upper, work, merged) = (place.join("upper"), place.join("work"), place.join(MERGED));
    for folder in [&upper, &work, &merged] {
        fs::create_dir(folder).map_err(|error| format!("{} cannot be made: {error}", folder.display()))?;
    }
    chown(&upper, Some(owner.into()), Some(owner.into())).map_err(step("the root folder's owner cannot be set"))?;
    overlay(job, &upper, &work, &merged).map_err(|error| format!("the image's layers cannot be mounted: {error}"))?;
    let root = File::open(&merged).map_err(|error| format!("the root file system cannot be opened: {error}"))?.into();
    devices(&root, owner).map_err(|error| format!("/dev cannot be made: {error}"))?;
    bind_all(&root, &job.binds, owner)?;
    Ok(root)
}

/// What the GPU driver's hooks read about the container.
fn describe_bundle(job: &Job, root: &OwnedFd) -> Result<(), String> {
    if job.hooks.is_empty() {
        return Ok(());
    }
    let bundle = serde_json::json!({ "ociVersion": "1.0.2", "root": { "path": MERGED } });
    fs::write(rooted::path(root).join("../config.json"), bundle.to_string())
        .map_err(|error| format!("the description for the GPU driver's hooks cannot be written: {error}"))
}

/// Layers are named relative to their folder, so that many fit into the one page that mount takes.
fn overlay(job: &Job, upper: &Path, work: &Path, merged: &Path) -> io::Result<()> {
    let mut lower: Vec<&Path> = job.layers.iter().rev().map(AsRef::as_ref).collect();
    let empty = work.with_file_name("empty");
    if lower.is_empty() {
        fs::create_dir(&empty)?;
        lower.push(&empty);
    }
    let parent = lower[0].parent().unwrap_or(Path::new("/"));
    let names: Vec<String> =
        lower.iter().map(|layer| layer.strip_prefix(parent).unwrap_or(layer).display().to_string()).collect();
    chdir(parent)?;
    let options = format!("lowerdir={},upperdir={},workdir={}", names.join(":"), upper.display(), work.display());
    if options.len() < 4096 {
        mount(Some("overlay"), merged, Some("overlay"), MsFlags::MS_NODEV, Some(options.as_str()))?;
    } else {
        overlay_of_many(&lower, upper, work, merged)?;
    }
    chdir("/")?;
    Ok(())
}

/// The new mount calls take any number of layers (Linux 6.5).
fn overlay_of_many(lower: &[&Path], upper: &Path, work: &Path, merged: &Path) -> io::Result<()> {
    const SET_STRING: u32 = 1;
    const CREATE: u32 = 6;
    let check = |result: i64| {
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
    };
    // SAFETY: every pointer is a C string that outlives the call, or null where the call takes null.
    unsafe {
        let context = OwnedFd::from_raw_fd(check(libc::syscall(libc::SYS_fsopen, c"overlay".as_ptr(), 1))?);
        let set = |key: &std::ffi::CStr, path: &Path| -> io::Result<()> {
            let value = CString::new(path.as_os_str().as_encoded_bytes())?;
            check(libc::syscall(libc::SYS_fsconfig, context.as_raw_fd(), SET_STRING, key.as_ptr(), value.as_ptr(), 0))
                .map(drop)
        };
        for layer in lower {
            set(c"lowerdir+", layer)?;
        }
        set(c"upperdir", upper)?;
        set(c"workdir", work)?;
        let null = std::ptr::null::<libc::c_char>();
        check(libc::syscall(libc::SYS_fsconfig, context.as_raw_fd(), CREATE, null, null, 0)).map_err(|error| {
            io::Error::new(error.kind(), format!("{} layers need Linux 6.5 or later ({error})", lower.len()))
        })?;
        let mounted = OwnedFd::from_raw_fd(check(libc::syscall(
            libc::SYS_fsmount,
            context.as_raw_fd(),
            1,
            libc::MOUNT_ATTR_NODEV,
        ))?);
        let target = CString::new(merged.as_os_str().as_encoded_bytes())?;
        let from_fd = libc::MOVE_MOUNT_F_EMPTY_PATH;
        check(libc::syscall(
            libc::SYS_move_mount,
            mounted.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_FDCWD,
            target.as_ptr(),
            from_fd,
        ))?;
    }
    Ok(())
}

/// A small /dev: the usual nodes bound from the host, since a user namespace cannot make any.
fn devices(root: &OwnedFd, owner: u32) -> io::Result<()> {
    let dev = rooted::real_folder(root.as_fd(), "/dev", Some(owner))?;
    let options = format!("size=64k,mode=0755,uid={owner},gid={owner}");
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    mount(Some("tmpfs"), &rooted::path(&dev), Some("tmpfs"), flags, Some(options.as_str()))?;
    for name in DEVICES {
        let source = Path::new("/dev").join(name);
        bind_one(root, &Bind { source, below: None, target: format!("/dev/{name}"), kind: BindKind::Device }, owner)?;
    }
    let dev = rooted::open(root.as_fd(), "/dev", OFlag::O_PATH | OFlag::O_DIRECTORY)?;
    let link = |target: &str, name: &str| nix::unistd::symlinkat(target, Some(dev.as_raw_fd()), name);
    for (target, name) in [
        ("/proc/self/fd", "fd"),
        ("/proc/self/fd/0", "stdin"),
        ("/proc/self/fd/1", "stdout"),
        ("/proc/self/fd/2", "stderr"),
        ("pts/ptmx", "ptmx"),
    ] {
        link(target, name)?;
    }
    for (name, options) in [("shm", "size=64m,mode=1777"), ("mqueue", "")] {
        let folder = rooted::folder(root.as_fd(), &format!("/dev/{name}"), Some(owner))?;
        if name == "shm" {
            let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
            mount(Some("tmpfs"), &rooted::path(&folder), Some("tmpfs"), flags, Some(options))?;
        }
    }
    Ok(())
}

fn bind_all(root: &OwnedFd, binds: &[Bind], owner: u32) -> Result<(), String> {
    binds.iter().try_for_each(|bind| {
        bind_one(root, bind, owner)
            .map_err(|error| format!("{} cannot be mounted at {}: {error}", bind.source.display(), bind.target))
    })
}

fn bind_one(root: &OwnedFd, bind: &Bind, owner: u32) -> io::Result<()> {
    let below = bind.below.as_deref().map(|below| folder_below(&bind.source, below)).transpose()?;
    let source = below.as_ref().map_or_else(|| bind.source.clone(), rooted::path);
    let target = if source.is_dir() {
        rooted::folder(root.as_fd(), &bind.target, Some(owner))?
    } else {
        rooted::file(root.as_fd(), &bind.target, owner)?
    };
    mount(Some(&source), &rooted::path(&target), NONE, MsFlags::MS_BIND, NONE)?;
    // The bind covers what was opened; its own flags are set through the name that now leads to it.
    let covered = rooted::open(root.as_fd(), &bind.target, OFlag::O_PATH)?;
    let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_NOSUID;
    let flags = match bind.kind {
        BindKind::ReadOnly => flags | MsFlags::MS_RDONLY | MsFlags::MS_NODEV,
        BindKind::Writable => flags | MsFlags::MS_NODEV,
        BindKind::Device => flags | MsFlags::MS_NOEXEC,
    };
    mount(NONE, &rooted::path(&covered), NONE, flags, NONE)?;
    Ok(())
}

/// A folder of a volume, writable for every user as the volume is.
fn folder_below(volume: &Path, below: &str) -> io::Result<OwnedFd> {
    let volume = OwnedFd::from(File::open(volume)?);
    let folder = rooted::folder(volume.as_fd(), below, None)?;
    fs::set_permissions(rooted::path(&folder), std::os::unix::fs::PermissionsExt::from_mode(0o777))?;
    Ok(folder)
}

/// Open for reading too, so that a homerun that has ended does not break the pipe.
fn open_log(job: &Job, name: &str) -> Result<File, String> {
    let path = job.folder.join(name);
    File::options()
        .read(true)
        .write(true)
        .open(&path)
        .map_err(|error| format!("{} cannot be opened: {error}", path.display()))
}

/// Enters the namespaces that the containers of an instance share.
fn join(pid: i32) -> io::Result<()> {
    let open = |name: &str| File::open(format!("/proc/{pid}/ns/{name}"));
    let spaces = [
        (open("user")?, CloneFlags::CLONE_NEWUSER),
        (open("net")?, CloneFlags::CLONE_NEWNET),
        (open("ipc")?, CloneFlags::CLONE_NEWIPC),
        (open("uts")?, CloneFlags::CLONE_NEWUTS),
    ];
    for (file, kind) in spaces {
        setns(file, kind)?;
    }
    Ok(())
}

/// Starts the child in its namespaces and waits until its program runs.
fn clone(job: &Job, joined: bool, (logs, filter): ([File; 2], &[u8]), homerun: &mut Homerun) -> Result<i32, String> {
    let pipe = || pipe2(OFlag::O_CLOEXEC).map_err(|error| format!("no pipe: {error}"));
    let ((go_read, go_write), (outcome_read, outcome_write)) = (pipe()?, pipe()?);
    let mut flags = CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWCGROUP;
    if !joined {
        flags |=
            CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWUTS;
    }
    // SAFETY: as fork(2): this process has one thread, and the child goes on with its own copy of the
    // memory and stack, which is what a null stack pointer asks for.
    let pid = unsafe { libc::syscall(libc::SYS_clone, libc::c_long::from(flags.bits() | libc::SIGCHLD), 0, 0, 0, 0) };
    match pid {
        0 => {
            drop((go_write, outcome_read));
            child::run(job, !joined, child::Pipes { go: go_read, outcome: outcome_write, logs }, filter)
        }
        pid if pid > 0 => {
            drop((go_read, outcome_write, logs));
            let outcome = File::from(outcome_read);
            let problem = map_ids(job, joined, pid as i32).and_then(|()| {
                if job.hold != Hold::BeforeProgram {
                    return release(go_write.as_fd(), b"gg");
                }
                release(go_write.as_fd(), b"g")?;
                stand_by(pid as i32, &outcome, homerun)?;
                release(go_write.as_fd(), b"g")
            });
            let problem = problem.err();
            drop(go_write);
            settle(pid as i32, problem, outcome)
        }
        _ => Err(no_process(&io::Error::last_os_error())),
    }
}

/// The kernel says "no space left" of namespaces too.
fn no_process(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::ENOSPC) => "the container's namespaces cannot be made: the machine has as many as it may have \
                               (the files /proc/sys/user/max_*_namespaces say how many)"
            .to_owned(),
        _ => format!("the container's process cannot be made: {error}"),
    }
}

/// Gives the child its ids.
fn map_ids(job: &Job, joined: bool, pid: i32) -> Result<(), String> {
    if !joined {
        let map = format!("0 {} 65536", job.id_base);
        for name in ["uid_map", "gid_map"] {
            fs::write(format!("/proc/{pid}/{name}"), &map)
                .map_err(|error| format!("{name} cannot be written: {error}"))?;
        }
    }
    Ok(())
}

/// Lets the child go on, once per byte.
fn release(go: BorrowedFd<'_>, bytes: &[u8]) -> Result<(), String> {
    nix::unistd::write(go, bytes).map(drop).map_err(|error| format!("the container's process has ended: {error}"))
}

/// Waits until the child has come to its program, and then until it is wanted.
fn stand_by(pid: i32, mut outcome: &File, homerun: &mut Homerun) -> Result<(), String> {
    let mut first = [0];
    match outcome.read(&mut first) {
        Ok(1) if first == child::READY => {}
        Ok(1) => {
            let mut rest = String::from_utf8_lossy(&first).into_owned();
            let _ = outcome.read_to_string(&mut rest);
            return Err(rest);
        }
        _ => return Err("the container's process has ended".to_owned()),
    }
    homerun.wait(Some(pid)).map(drop)
}

/// Waits for exec, which closes the pipe, or for what went wrong; then the child is ended and reaped.
fn settle(pid: i32, problem: Option<String>, mut outcome: File) -> Result<i32, String> {
    if let Some(problem) = problem {
        return Err(give_up(pid, problem));
    }
    let mut message = String::new();
    let read = outcome.read_to_string(&mut message);
    match (read, message.is_empty()) {
        (Ok(_), true) => Ok(pid),
        (Ok(_), false) => Err(give_up(pid, message)),
        (Err(error), _) => Err(give_up(pid, error.to_string())),
    }
}

/// Ends and reaps the child.
fn give_up(pid: i32, problem: String) -> String {
    let pid = nix::unistd::Pid::from_raw(pid);
    let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
    let _ = nix::sys::wait::waitpid(pid, None);
    problem
}

/// Tells the parent what went wrong.
pub(super) fn tell(outcome: OwnedFd, message: &str) {
    let _ = File::from(outcome).write_all(message.as_bytes());
}
