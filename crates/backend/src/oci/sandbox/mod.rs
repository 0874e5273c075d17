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
//! All mounts live in the private namespace of the helper and its child, so the host never sees one and
//! none can be left behind, however anything ends.

mod child;
mod confine;
mod job;
mod parent;
mod rooted;
mod users;

use std::io::{Read, Write};

pub(super) use job::{Answer, Bind, BindKind, Hook, Job};

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
    let mut text = Vec::new();
    // An empty job: homerun has ended and needs this helper no more.
    if std::io::stdin().read_to_end(&mut text).is_err() || text.is_empty() {
        std::process::exit(0);
    }
    let answer = match serde_json::from_slice::<Job>(&text) {
        Ok(job) => match parent::make(&job) {
            Ok(pid) => Answer::Started { pid },
            Err(message) => Answer::Failed { message },
        },
        Err(error) => Answer::Failed { message: format!("the helper cannot read its job: {error}") },
    };
    let line = serde_json::to_string(&answer).map(|text| text + "\n");
    let written = line.is_ok_and(|line| std::io::stdout().write_all(line.as_bytes()).is_ok());
    std::process::exit(if written { 0 } else { 1 });
}
