//! Helper processes, started ahead of need.
//!
//! Starting a program costs a millisecond or two, and the first move of a process into a cgroup several
//! more under version 1. So there is always one helper that has both behind it and waits for a job.

use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::cgroup::{Cgroups, Limits};
use super::sandbox::{Answer, HELPER, Job, Last};
use serde::Serialize;

/// How long the next helper waits so as not to be in the way of the start that the last one is for.
const REFILL_PAUSE: Duration = Duration::from_millis(50);

/// A helper that waits for its job, in the cgroup of the container that it will make.
pub(super) struct Helper {
    process: Child,
    messages: ChildStdin,
    answers: BufReader<ChildStdout>,
    /// The cgroup's name.
    pub cgroup: String,
}

/// Hands out helpers.
#[derive(Clone)]
pub(super) struct Helpers {
    cgroups: Cgroups,
    spare: Arc<Mutex<Option<Helper>>>,
    /// Locked while a spare helper is made; `true` when none is wanted any more.
    closed: Arc<Mutex<bool>>,
}

impl Helpers {
    /// Starts the first spare helper.
    pub(super) fn new(cgroups: Cgroups) -> Self {
        let helpers = Self { cgroups, spare: Arc::default(), closed: Arc::default() };
        helpers.refill();
        helpers
    }

    /// A helper, at once if the spare one is there.
    pub(super) fn take(&self) -> io::Result<Helper> {
        let spare = self.lock().take().and_then(|helper| self.if_alive(helper));
        let helpers = self.clone();
        let refill = move || {
            std::thread::sleep(REFILL_PAUSE);
            helpers.refill();
        };
        std::thread::Builder::new().name("helper".to_owned()).spawn(refill)?;
        match spare {
            Some(helper) => Ok(helper),
            None => self.start(),
        }
    }

    fn refill(&self) {
        let closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        if *closed || self.lock().is_some() {
            return;
        }
        match self.start() {
            Ok(helper) => {
                let surplus = self.lock().replace(helper);
                surplus.into_iter().for_each(|helper| helper.discard(&self.cgroups));
            }
            // The next start makes its own and reports what is wrong.
            Err(error) => tracing::warn!(%error, "no helper could be started ahead of need"),
        }
    }

    fn start(&self) -> io::Result<Helper> {
        let cgroup = random_name()?;
        let mut process = Command::new("/proc/self/exe")
            .arg(HELPER)
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (Some(messages), Some(answers)) = (process.stdin.take(), process.stdout.take()) else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        let helper = Helper { process, messages, answers: BufReader::new(answers), cgroup };
        match self.cgroups.enter(&helper.cgroup, helper.process.id()) {
            Ok(()) => Ok(helper),
            Err(error) => {
                helper.discard(&self.cgroups);
                Err(error)
            }
        }
    }

    /// It may have been killed while it waited, for instance when the machine ran out of memory.
    fn if_alive(&self, mut helper: Helper) -> Option<Helper> {
        if helper.is_alive() {
            return Some(helper);
        }
        helper.discard(&self.cgroups);
        None
    }

    /// Whether a cgroup is the spare helper's.
    pub(super) fn owns(&self, cgroup: &str) -> bool {
        self.lock().as_ref().is_some_and(|helper| helper.cgroup == cgroup)
    }

    /// Ends the spare helper, also one that is being made, and has no other made.
    pub(super) fn close(&self) {
        *self.closed.lock().unwrap_or_else(PoisonError::into_inner) = true;
        let spare = self.lock().take();
        spare.into_iter().for_each(|helper| helper.discard(&self.cgroups));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Helper>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Helper {
    /// Makes the container; its process id, or why not as a sentence. Blocks for some milliseconds.
    pub(super) fn make(mut self, cgroups: &Cgroups, limits: &Limits, job: &Job) -> Result<i32, String> {
        let answer = self.begin(cgroups, limits, job);
        self.end(cgroups, answer)
    }

    /// Makes the container as far as the job says, and waits there; with its process id if it has one yet.
    pub(super) fn prepare(
        mut self,
        cgroups: &Cgroups,
        limits: &Limits,
        job: &Job,
    ) -> Result<(Self, Option<i32>), String> {
        match self.begin(cgroups, limits, job) {
            Ok(Answer::Prepared { pid }) => Ok((self, pid)),
            other => self.end(cgroups, other).and(Err("the helper did not wait".to_owned())),
        }
    }

    /// Completes a container that waits; its process id, or why not as a sentence.
    pub(super) fn complete(mut self, cgroups: &Cgroups, last: &Last) -> Result<i32, String> {
        let answer = self.say(last).and_then(|()| self.hear());
        self.end(cgroups, answer)
    }

    /// Whether it has not been killed while it waited, for instance when the machine ran out of memory.
    pub(super) fn is_alive(&mut self) -> bool {
        matches!(self.process.try_wait(), Ok(None))
    }

    /// Ends a helper that is not needed, with what it has made.
    pub(super) fn discard(mut self, cgroups: &Cgroups) {
        drop(self.messages);
        let _ = self.process.wait();
        cgroups.remove(&self.cgroup, Duration::from_secs(1));
    }

    fn begin(&mut self, cgroups: &Cgroups, limits: &Limits, job: &Job) -> Result<Answer, String> {
        cgroups
            .limit(&self.cgroup, limits)
            .map_err(|error| format!("the container's limits cannot be set: {error}"))?;
        self.say(job)?;
        self.hear()
    }

    fn say(&mut self, message: &impl Serialize) -> Result<(), String> {
        let mut line = serde_json::to_vec(message).map_err(|error| error.to_string())?;
        line.push(b'\n');
        self.messages.write_all(&line).map_err(|error| format!("the helper has ended: {error}"))
    }

    fn hear(&mut self) -> Result<Answer, String> {
        let mut line = String::new();
        self.answers.read_line(&mut line).map_err(|error| format!("the helper cannot be heard: {error}"))?;
        serde_json::from_str(&line).map_err(|_| "the helper ended without an answer".to_owned())
    }

    /// The helper has done its work, or cannot.
    fn end(mut self, cgroups: &Cgroups, answer: Result<Answer, String>) -> Result<i32, String> {
        match answer {
            Ok(Answer::Started { pid }) => {
                // Its end takes the kernel a while (it has mounts to undo), and nobody needs to wait for it.
                let reaper = std::thread::Builder::new().name("reaper".to_owned()).spawn(move || self.process.wait());
                reaper.map_err(|error| format!("no thread: {error}"))?;
                Ok(pid)
            }
            other => {
                // Its child may be alive, and is homerun's when the helper has been waited for.
                cgroups.remove(&self.cgroup, Duration::from_secs(5));
                let _ = self.process.wait();
                Err(match other {
                    Ok(Answer::Failed { message }) | Err(message) => message,
                    Ok(_) => "the helper waits and should not".to_owned(),
                })
            }
        }
    }
}

pub(super) fn random_name() -> io::Result<String> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(format!("{:016x}", u64::from_ne_bytes(bytes)))
}
