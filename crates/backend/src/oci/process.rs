//! Processes of containers, recognised and watched across restarts of homerun.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::sys::wait::WaitPidFlag;
use serde::{Deserialize, Serialize};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A process, told apart from a later one with the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ProcessId {
    /// Its number on the host.
    pub pid: i32,
    /// When it was started, in clock ticks since the machine was.
    pub started: u64,
}

impl ProcessId {
    /// The process that has this number now.
    pub(super) fn of(pid: i32) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        Some(Self { pid, started: fields(&stat)?.nth(19)?.parse().ok()? })
    }

    /// Whether it is still there, and no zombie.
    pub(super) fn runs(self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        self.exists() && fields(&stat).and_then(|mut fields| fields.next()).is_some_and(|state| state != "Z")
    }

    /// Whether it is still there, be it as a zombie.
    pub(super) fn exists(self) -> bool {
        Self::of(self.pid) == Some(self)
    }
}

/// The fields of a process's state from the third on.
fn fields(stat: &str) -> Option<std::str::Split<'_, char>> {
    // The second field is the program's name in parentheses, which may contain anything.
    Some(stat.rsplit_once(") ")?.1.split(' '))
}

/// A watched process.
pub(super) struct Watched {
    pidfd: AsyncFd<OwnedFd>,
    /// Whether this homerun started it, so that it is, or is about to become, its child.
    own: bool,
}

/// How long a helper may take to end and to leave its container to homerun, and the pause between looks.
const HANDED_OVER: (Duration, Duration) = (Duration::from_secs(2), Duration::from_millis(1));

impl Watched {
    /// Watches a process, `own` if this homerun started it.
    ///
    /// # Errors
    /// `NotFound` (ESRCH) if it is gone.
    pub(super) fn new(process: ProcessId, own: bool) -> io::Result<Self> {
        // SAFETY: the call takes two numbers and returns a new descriptor or -1.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, process.pid, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call has just returned this descriptor, and nobody else has it.
        let pidfd = unsafe { OwnedFd::from_raw_fd(fd as i32) };
        if !process.exists() {
            return Err(io::ErrorKind::NotFound.into());
        }
        // SAFETY: an owned descriptor stays open, and the same, as long as the `AsyncFd` that owns it.
        let pidfd = unsafe { AsyncFd::register_with_interest(pidfd, Interest::READABLE)? };
        Ok(Self { pidfd, own })
    }

    /// Sends a signal; a process that is gone has no use for it.
    pub(super) fn signal(&self, signal: i32) {
        let info = std::ptr::null::<libc::siginfo_t>();
        // SAFETY: a null info asks for the default one.
        unsafe { libc::syscall(libc::SYS_pidfd_send_signal, self.pidfd.as_raw_fd(), signal, info, 0) };
    }

    /// Waits until it ends. Its exit code (128 + N for signal N) if it is a child of this process, which
    /// the containers of an earlier homerun are not.
    pub(super) async fn ended(&self) -> Option<i32> {
        // It fails only when the runtime ends, and then nobody looks at the answer.
        let _ = self.pidfd.readable().await;
        let deadline = Instant::now() + HANDED_OVER.0;
        loop {
            let code = self.reap();
            if code.is_some() || !self.own || Instant::now() >= deadline {
                return code;
            }
            tokio::time::sleep(HANDED_OVER.1).await;
        }
    }

    fn reap(&self) -> Option<i32> {
        // SAFETY: an all-zero siginfo is valid, and the kernel writes no more than one.
        unsafe {
            let mut info: libc::siginfo_t = std::mem::zeroed();
            let flags = libc::WEXITED | libc::WNOHANG;
            let done = libc::waitid(libc::P_PIDFD, self.pidfd.as_raw_fd() as u32, &mut info, flags);
            if done != 0 || info.si_pid() == 0 {
                return None;
            }
            Some(if info.si_code == libc::CLD_EXITED { info.si_status() } else { 128 + info.si_status() })
        }
    }
}

/// Reaps those of this process's children that were process 1 of a container, have ended, and are `wanted`.
pub(super) fn reap_containers(wanted: impl Fn(i32) -> bool) {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let children = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
    let children: String = children.collect();
    for pid in children.split_whitespace().filter_map(|pid| pid.parse().ok()).filter(|pid| wanted(*pid)) {
        if is_ended_container(pid) {
            // Its exit code says nothing to anybody.
            let _ = nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(pid), Some(WaitPidFlag::WNOHANG));
        }
    }
}

/// Whether it is a zombie that was process 1 in its own process namespace: homerun's other children are not.
fn is_ended_container(pid: i32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    let numbers: Vec<&str> = field("NSpid:").split_whitespace().collect();
    field("State:").trim_start().starts_with('Z') && numbers.len() > 1 && numbers.last() == Some(&"1")
}
