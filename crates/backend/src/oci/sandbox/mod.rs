//! Makes one container, in a process of its own.
//!
//! homerun runs many threads, and what a container needs (namespaces, mounts, a working directory, ids)
//! belongs to a process. So each container is made by a *helper*: the same program, started again with
//! one hidden argument, single-threaded, and gone as soon as the container runs. A helper is started
//! ahead of need and waits for its [`Job`] already inside the container's cgroup: starting a program
//! and the first move into a cgroup are the slow parts (see docs/decisions).
//!
//! ```text
//! helper (root of the host)               child (root of its own user namespace, process 1)
//! private mount namespace
//! tmpfs + overlay + /dev + binds
//! clone into new namespaces ------------> waits
//! writes the id maps -------------------> lo up, /proc, /sys, pivot_root, masks
//!                                         limits, ids, capabilities, seccomp, exec
//! reads the outcome from a pipe that exec closes, answers, ends
//! ```
//!
//! A container that stands by is made up to its program, or up to its GPU where it has one ([`job::Hold`]); its
//! helper and its child wait there for one more message. If homerun ends instead, so do both.
//!
//! All mounts live in the private namespace of the helper and its child, so the host never sees one and
//! none can be left behind, however anything ends.

mod child;
mod confine;
mod job;
mod parent;
mod rooted;
mod users;

use std::io::{BufRead, StdinLock, Write};

use serde::de::DeserializeOwned;

pub(super) use job::{Answer, Bind, BindKind, GpuPart, Hold, Hook, Job, Last};

/// The hidden argument.
pub(super) const HELPER: &str = "__container-helper";

/// Does a helper's work and ends the process, if this process was started as one. Call it before any
/// thread exists.
pub fn helper_main_if_asked() {
    let mut arguments = std::env::args_os();
    if arguments.nth(1).is_none_or(|argument| argument != HELPER) {
        return;
    }
    if let Err(error) = confine::forget_origin() {
        eprintln!("homerun: a container's helper cannot be set apart from its origin: {error}");
        std::process::exit(1);
    }
    let mut homerun = Homerun { messages: std::io::stdin().lock() };
    let answer = match homerun.hear::<Job>() {
        // homerun has ended and needs this helper no more.
        Ok(None) => std::process::exit(0),
        Ok(Some(job)) => match parent::make(job, &mut homerun) {
            Ok(pid) => Answer::Started { pid },
            Err(message) => Answer::Failed { message },
        },
        Err(message) => Answer::Failed { message },
    };
    std::process::exit(if homerun.tell(&answer) { 0 } else { 1 });
}

/// The other side, which speaks in lines of JSON.
struct Homerun {
    messages: StdinLock<'static>,
}

impl Homerun {
    /// The next message; `None` if homerun has ended or let go of this helper.
    fn hear<T: DeserializeOwned>(&mut self) -> Result<Option<T>, String> {
        let mut line = String::new();
        match self.messages.read_line(&mut line) {
            Ok(0) | Err(_) => Ok(None),
            Ok(_) => serde_json::from_str(&line)
                .map(Some)
                .map_err(|error| format!("the helper cannot read what it was told: {error}")),
        }
    }

    /// Whether the answer could be written.
    fn tell(&self, answer: &Answer) -> bool {
        let line = serde_json::to_string(answer).map(|text| text + "\n");
        line.is_ok_and(|line| std::io::stdout().write_all(line.as_bytes()).is_ok())
    }

    /// Says that the container is prepared, and waits for what comes last.
    fn wait(&mut self, pid: Option<i32>) -> Result<Last, String> {
        self.tell(&Answer::Prepared { pid });
        self.hear()?.ok_or_else(|| "it is not needed any more".to_owned())
    }
}
