//! The child's half: root of its own user namespace, until it becomes the container's program.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::{Command, Stdio};

use nix::fcntl::OFlag;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::unistd::{chdir, dup2, execve, pivot_root, sethostname, setsid};

use super::job::{Hold, Hook, Job};
use super::users::{self, Account};
use super::{confine, parent, rooted};

/// Hidden: they tell about the host or reach its hardware.
const MASKED: [&str; 11] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];
/// Readable only.
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];
/// Where hooks see the container's bundle: in every system's layout, and in nobody's way, since the mount
/// ends with the host's files.
const BUNDLE: &str = "/mnt";
const NONE: Option<&str> = None;

/// What the child says when it has come to its program and stands by.
pub(super) const READY: [u8; 1] = [0];

/// What the child was born with.
pub(super) struct Pipes {
    /// A byte arrives when the ids are mapped, and another when the program is to run.
    pub go: OwnedFd,
    /// Takes what goes wrong; exec closes it.
    pub outcome: OwnedFd,
    /// Standard output and standard error.
    pub logs: [File; 2],
}

/// Becomes the container's program, or tells why not and ends.
pub(super) fn run(job: &Job, first: bool, pipes: Pipes, filter: &[u8]) -> ! {
    let message = match wait(&pipes.go).and_then(|()| become_program(job, first, &pipes, filter)) {
        Ok(never) => match never {},
        Err(message) => message,
    };
    parent::tell(pipes.outcome, &message);
    // SAFETY: _exit ends the process at once, without running what belongs to the parent.
    unsafe { libc::_exit(127) }
}

/// Waits for the helper's word.
fn wait(go: &OwnedFd) -> Result<(), String> {
    match nix::unistd::read(go.as_raw_fd(), &mut [0]) {
        Ok(1) => Ok(()),
        _ => Err("the helper has ended".to_owned()),
    }
}

fn become_program(job: &Job, first: bool, pipes: &Pipes, filter: &[u8]) -> Result<std::convert::Infallible, String> {
    let step = |what: &'static str| move |error: io::Error| format!("{what}: {error}");
    confine::root_of_namespace().map_err(step("no root in the user namespace"))?;
    setsid().map_err(|error| format!("no session: {error}"))?;
    if first {
        sethostname(&job.hostname).map_err(|error| format!("the host name cannot be set: {error}"))?;
        loopback_up().map_err(step("the loopback interface cannot be brought up"))?;
    }
    own_mount().map_err(step("the root file system cannot be bound"))?;
    let root = File::open(".").map_err(step("the root file system cannot be opened"))?.into();
    kernel_file_systems(&root).map_err(step("/proc and /sys cannot be mounted"))?;
    run_hooks(job)?;
    drop(root);
    enter_root().map_err(step("the root file system cannot be entered"))?;
    let root: OwnedFd = File::open("/").map_err(step("the root file system cannot be opened"))?.into();
    if first {
        network_settings();
    }
    hide(root.as_fd()).map_err(step("/proc cannot be masked"))?;
    let account = users::find(root.as_fd(), &job.user)?;
    let cwd = working_folder(root.as_fd(), &job.cwd)?;
    standard_streams(root.as_fd(), &pipes.logs).map_err(step("the standard streams cannot be opened"))?;
    nix::unistd::fchdir(cwd.as_raw_fd()).map_err(|error| format!("{} cannot be entered: {error}", job.cwd))?;
    drop((cwd, root));
    let program = Program::prepare(job, &account)?;
    confine::reset_signals().map_err(step("the signals cannot be reset"))?;
    confine::confine(&account, filter).map_err(step("the container cannot be confined"))?;
    if job.hold == Hold::BeforeProgram {
        nix::unistd::write(&pipes.outcome, &READY).map_err(|error| format!("the helper has ended: {error}"))?;
    }
    wait(&pipes.go)?;
    program.exec()
}

/// Mounts that came along into a user namespace are locked to their place, and none of them can become
/// the root; a bind made here is not. The name leads to the topmost mount, the working directory does
/// not, hence the way round.
fn own_mount() -> io::Result<()> {
    mount(Some("."), ".", NONE, MsFlags::MS_BIND | MsFlags::MS_REC, NONE)?;
    chdir("..")?;
    chdir(parent::MERGED)?;
    Ok(())
}

/// `lo` of a new network namespace is down.
fn loopback_up() -> io::Result<()> {
    let socket = nix::sys::socket::socket(
        nix::sys::socket::AddressFamily::Inet,
        nix::sys::socket::SockType::Datagram,
        nix::sys::socket::SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    // SAFETY: an all-zero ifreq is valid; the name fits with its end; the kernel reads only this struct.
    unsafe {
        let mut request: libc::ifreq = std::mem::zeroed();
        request.ifr_name[0] = b'l' as libc::c_char;
        request.ifr_name[1] = b'o' as libc::c_char;
        request.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
        if libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &request) != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Before the old root goes: the kernel gives a new /proc only where one is visible already.
fn kernel_file_systems(root: &OwnedFd) -> io::Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let place = |path: &str| rooted::real_folder(root.as_fd(), path, None);
    mount(Some("proc"), &rooted::path(&place("/proc")?), Some("proc"), flags, NONE)?;
    mount(Some("sysfs"), &rooted::path(&place("/sys")?), Some("sysfs"), flags | MsFlags::MS_RDONLY, NONE)?;
    // Only version 2 shows a container its own limits; under version 1 the folder stays empty.
    if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        let cgroup = place("/sys/fs/cgroup")?;
        mount(Some("cgroup2"), &rooted::path(&cgroup), Some("cgroup2"), flags | MsFlags::MS_RDONLY, NONE)?;
    }
    let options = "newinstance,ptmxmode=0666,mode=0620,gid=5";
    let pts = place("/dev/pts")?;
    mount(Some("devpts"), &rooted::path(&pts), Some("devpts"), MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC, Some(options))?;
    let queues = place("/dev/mqueue")?;
    mount(Some("mqueue"), &rooted::path(&queues), Some("mqueue"), flags, NONE)?;
    Ok(())
}

/// Runs the GPU driver's hooks, with the host's files still there. They look for the container's root in
/// the `config.json` of the bundle, so the bundle has to be where the child's user may go.
fn run_hooks(job: &Job) -> Result<(), String> {
    if job.hooks.is_empty() {
        return Ok(());
    }
    mount(Some(".."), BUNDLE, NONE, MsFlags::MS_BIND | MsFlags::MS_REC, NONE)
        .map_err(|error| format!("{BUNDLE} of the host cannot be used for the GPU driver's hooks: {error}"))?;
    job.hooks.iter().try_for_each(|hook| run_hook(job, hook))
}

fn run_hook(job: &Job, hook: &Hook) -> Result<(), String> {
    let failed = |message: String| format!("the GPU driver's hook {} failed: {message}", hook.path.display());
    let state = serde_json::json!({
        "ociVersion": "1.0.2", "id": job.id, "status": "creating", "pid": std::process::id(), "bundle": BUNDLE,
    });
    let env = hook.env.iter().filter_map(|pair| pair.split_once('='));
    let mut running = Command::new(&hook.path)
        .args(hook.args.iter().skip(1))
        .env_clear()
        .envs(env)
        .current_dir(BUNDLE)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    if let Some(mut stdin) = running.stdin.take() {
        // A hook that does not read its state closes the pipe; that is its affair.
        let _ = stdin.write_all(state.to_string().as_bytes());
    }
    let output = running.wait_with_output().map_err(|error| failed(error.to_string()))?;
    let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if output.status.success() { Ok(()) } else { Err(failed(format!("{} {message}", output.status))) }
}

/// Makes the working directory the root and lets go of everything else.
fn enter_root() -> io::Result<()> {
    pivot_root(".", ".")?;
    umount2(".", MntFlags::MNT_DETACH)?;
    chdir("/")?;
    Ok(())
}

/// Any user may listen on any port and ping, as on Cloud Run. Old kernels lack the files.
fn network_settings() {
    let _ = std::fs::write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0");
    let _ = std::fs::write("/proc/sys/net/ipv4/ping_group_range", "0 65535");
}

fn hide(root: BorrowedFd<'_>) -> io::Result<()> {
    let missing = |error: &io::Error| matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR | libc::EACCES));
    for path in READ_ONLY {
        let opened = match rooted::open(root, path, OFlag::O_PATH) {
            Err(error) if missing(&error) => continue,
            other => other?,
        };
        mount(Some(&rooted::path(&opened)), &rooted::path(&opened), NONE, MsFlags::MS_BIND | MsFlags::MS_REC, NONE)?;
        let covered = rooted::open(root, path, OFlag::O_PATH)?;
        let flags = MsFlags::MS_BIND
            | MsFlags::MS_REMOUNT
            | MsFlags::MS_RDONLY
            | MsFlags::MS_NOSUID
            | MsFlags::MS_NODEV
            | MsFlags::MS_NOEXEC;
        mount(NONE, &rooted::path(&covered), NONE, flags, NONE)?;
    }
    let null = null_device(root)?;
    for path in MASKED {
        let place = match rooted::open(root, path, OFlag::O_PATH) {
            Err(error) if missing(&error) => continue,
            other => other?,
        };
        if rooted::path(&place).is_dir() {
            mount(
                Some("tmpfs"),
                &rooted::path(&place),
                Some("tmpfs"),
                MsFlags::MS_RDONLY | MsFlags::MS_NOSUID,
                Some("size=0,nr_inodes=2"),
            )?;
        } else {
            mount(Some(&rooted::path(&null)), &rooted::path(&place), NONE, MsFlags::MS_BIND, NONE)?;
        }
    }
    Ok(())
}

fn working_folder(root: BorrowedFd<'_>, path: &str) -> Result<OwnedFd, String> {
    let path = if path.is_empty() { "/" } else { path };
    rooted::folder(root, path, None).map_err(|error| format!("the working directory {path} cannot be used: {error}"))
}

/// The real one: a volume may cover what the image calls /dev, and whatever lies over a masked file is
/// what the container gets to see.
fn null_device(root: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let opened = rooted::open(root, "/dev/null", OFlag::O_PATH | OFlag::O_NOFOLLOW)?;
    let found = nix::sys::stat::fstat(opened.as_raw_fd())?;
    let is_device = found.st_mode & libc::S_IFMT == libc::S_IFCHR;
    if !is_device || found.st_rdev != nix::sys::stat::makedev(1, 3) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "/dev/null is not the null device"));
    }
    Ok(opened)
}

fn standard_streams(root: BorrowedFd<'_>, logs: &[File; 2]) -> io::Result<()> {
    let null = File::options().read(true).write(true).open(rooted::path(&null_device(root)?))?;
    dup2(null.as_raw_fd(), 0)?;
    dup2(logs[0].as_raw_fd(), 1)?;
    dup2(logs[1].as_raw_fd(), 2)?;
    Ok(())
}

/// A program with everything that execve takes, made before memory and files are limited.
struct Program {
    candidates: Vec<CString>,
    args: Vec<CString>,
    env: Vec<CString>,
    name: String,
}

impl Program {
    fn prepare(job: &Job, account: &Account) -> Result<Self, String> {
        let name = job.args.first().cloned().ok_or("the image names no program; give a command")?;
        let mut env = job.env.clone();
        if !env.iter().any(|pair| pair.starts_with("HOME=")) {
            env.push(format!("HOME={}", account.home));
        }
        let path = env.iter().find_map(|pair| pair.strip_prefix("PATH=")).unwrap_or_default();
        let candidates: Vec<String> = if name.contains('/') {
            vec![name.clone()]
        } else {
            path.split(':').map(|folder| format!("{}/{name}", if folder.is_empty() { "." } else { folder })).collect()
        };
        let strings = |texts: &[String]| -> Result<Vec<CString>, String> {
            let string =
                |text: &String| CString::new(text.as_bytes()).map_err(|_| format!("'{text}' contains a zero byte"));
            texts.iter().map(string).collect()
        };
        Ok(Self { candidates: strings(&candidates)?, args: strings(&job.args)?, env: strings(&env)?, name })
    }

    /// Tries each place on the PATH, as a shell does: a file that may not be run is remembered, one that
    /// is missing is passed over.
    fn exec(self) -> Result<std::convert::Infallible, String> {
        let mut reason = nix::Error::ENOENT;
        for candidate in &self.candidates {
            match execve(candidate, &self.args, &self.env) {
                Ok(never) => return Ok(never),
                Err(nix::Error::ENOENT | nix::Error::ENOTDIR) => {}
                Err(error) => reason = error,
            }
        }
        let hint = match reason {
            nix::Error::ENOENT if self.name.contains('/') => "no such file, or its interpreter is missing in the image",
            nix::Error::ENOENT => "not found on the PATH of the image",
            nix::Error::ENOEXEC => "not a program for this machine's processor",
            nix::Error::EACCES => "permission denied; is it executable, also for the image's user?",
            other => other.desc(),
        };
        Err(format!("exec {}: {hint}", self.name))
    }
}
