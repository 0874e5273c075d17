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
/// How long the kernel may take to end the processes of a helper that is dropped.
const REMOVED: Duration = Duration::from_secs(5);

/// A helper that waits for its job, in the cgroup of the container that it will make. Dropped, it ends with what it
/// has made: whatever goes wrong before its container runs leaves nothing.
pub(super) struct Helper {
    /// `None` once its container runs.
    running: Option<Running>,
    /// The cgroup's name.
    pub cgroup: String,
    cgroups: Cgroups,
}

/// A helper's process, and how to speak with it.
struct Running {
    process: Child,
    messages: ChildStdin,
    answers: BufReader<ChildStdout>,
}

/// Why there is no container.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unmade {
    /// The helper was killed, which says nothing of the container.
    #[error("the helper ended without an answer")]
    HelperDied,
    /// What the helper says, or what it could not be given.
    #[error("{0}")]
    Told(String),
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
        // It may have been killed while it waited, for instance when the machine ran out of memory.
        let waited = self.lock().take();
        let spare = waited.and_then(|mut helper| helper.is_alive().then_some(helper));
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
                drop(surplus);
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
        let pid = process.id();
        let running = Some(Running { process, messages, answers: BufReader::new(answers) });
        let helper = Helper { running, cgroup, cgroups: self.cgroups.clone() };
        self.cgroups.enter(&helper.cgroup, pid)?;
        Ok(helper)
    }

    /// Whether a cgroup is the spare helper's.
    pub(super) fn owns(&self, cgroup: &str) -> bool {
        self.lock().as_ref().is_some_and(|helper| helper.cgroup == cgroup)
    }

    /// Ends the spare helper, also one that is being made, and has no other made.
    pub(super) fn close(&self) {
        *self.closed.lock().unwrap_or_else(PoisonError::into_inner) = true;
        let spare = self.lock().take();
        drop(spare);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Helper>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Helper {
    /// Makes the container; its process id. Blocks for some milliseconds.
    pub(super) fn make(mut self, limits: &Limits, job: &Job) -> Result<i32, Unmade> {
        let answer = self.begin(limits, job);
        self.end(answer)
    }

    /// Makes the container as far as the job says, and waits there; with its process id if it has one yet.
    pub(super) fn prepare(mut self, limits: &Limits, job: &Job) -> Result<(Self, Option<i32>), Unmade> {
        match self.begin(limits, job) {
            Ok(Answer::Prepared { pid }) => Ok((self, pid)),
            other => self.end(other).and(Err(Unmade::Told("the helper did not wait".to_owned()))),
        }
    }

    /// Completes a container that waits; its process id.
    pub(super) fn complete(mut self, last: &Last) -> Result<i32, Unmade> {
        let answer = self.running().and_then(|running| running.ask(last));
        self.end(answer)
    }

    /// Whether it has not been killed while it waited, for instance when the machine ran out of memory.
    pub(super) fn is_alive(&mut self) -> bool {
        self.running.as_mut().is_some_and(|running| matches!(running.process.try_wait(), Ok(None)))
    }

    fn running(&mut self) -> Result<&mut Running, Unmade> {
        self.running.as_mut().ok_or(Unmade::HelperDied)
    }

    fn begin(&mut self, limits: &Limits, job: &Job) -> Result<Answer, Unmade> {
        let limited = self.cgroups.limit(&self.cgroup, limits);
        limited.map_err(|error| Unmade::Told(format!("the container's limits cannot be set: {error}")))?;
        self.running()?.ask(job)
    }

    /// The helper has done its work, or cannot.
    fn end(mut self, answer: Result<Answer, Unmade>) -> Result<i32, Unmade> {
        match answer? {
            Answer::Started { pid } => {
                if let Some(mut running) = self.running.take() {
                    // Its end takes the kernel a while (it has mounts to undo), and nobody needs to wait for it.
                    let reaper = std::thread::Builder::new().name("reaper".to_owned());
                    let reaper = reaper.spawn(move || running.process.wait());
                    reaper.map_err(|error| Unmade::Told(format!("no thread: {error}")))?;
                }
                Ok(pid)
            }
            Answer::Failed { message } => Err(Unmade::Told(message)),
            Answer::Prepared { .. } => Err(Unmade::Told("the helper waits and should not".to_owned())),
        }
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        let Some(Running { mut process, messages, answers }) = self.running.take() else {
            return;
        };
        // It ends when nobody speaks with it any more, or is killed with its cgroup.
        drop((messages, answers));
        // Its child may be alive, and is homerun's when the helper has been waited for.
        self.cgroups.remove(&self.cgroup, REMOVED);
        let _ = process.wait();
    }
}

impl Running {
    fn ask(&mut self, message: &impl Serialize) -> Result<Answer, Unmade> {
        let mut line = serde_json::to_vec(message).map_err(|error| Unmade::Told(error.to_string()))?;
        line.push(b'\n');
        let told = self.messages.write_all(&line);
        let mut line = String::new();
        // Neither fails unless the other end is gone.
        told.and_then(|()| self.answers.read_line(&mut line)).map_err(|_| Unmade::HelperDied)?;
        serde_json::from_str(&line).map_err(|_| Unmade::HelperDied)
    }
}

pub(super) fn random_name() -> io::Result<String> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(format!("{:016x}", u64::from_ne_bytes(bytes)))
}
