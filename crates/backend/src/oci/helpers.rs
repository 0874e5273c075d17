//! Helper processes, started ahead of need.
//!
//! Starting a program costs a millisecond or two, and the first move of a process into a cgroup several
//! more under version 1. So there is always one helper that has both behind it and waits for a job.

use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::cgroup::{Cgroups, Limits};
use super::sandbox::{Answer, HELPER, Job};

/// How long the next helper waits so as not to be in the way of the start that the last one is for.
const REFILL_PAUSE: Duration = Duration::from_millis(50);

/// A helper that waits for its job, in the cgroup of the container that it will make.
pub(super) struct Helper {
    process: Child,
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
                surplus.into_iter().for_each(|helper| self.discard(helper));
            }
            // The next start makes its own and reports what is wrong.
            Err(error) => tracing::warn!(%error, "no helper could be started ahead of need"),
        }
    }

    fn start(&self) -> io::Result<Helper> {
        let cgroup = random_name()?;
        let process = Command::new("/proc/self/exe")
            .arg(HELPER)
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let helper = Helper { process, cgroup };
        match self.cgroups.enter(&helper.cgroup, helper.process.id()) {
            Ok(()) => Ok(helper),
            Err(error) => {
                self.discard(helper);
                Err(error)
            }
        }
    }

    /// It may have been killed while it waited, for instance when the machine ran out of memory.
    fn if_alive(&self, mut helper: Helper) -> Option<Helper> {
        if matches!(helper.process.try_wait(), Ok(None)) {
            return Some(helper);
        }
        self.discard(helper);
        None
    }

    /// Ends a helper that is not needed.
    fn discard(&self, mut helper: Helper) {
        drop(helper.process.stdin.take());
        let _ = helper.process.wait();
        self.cgroups.remove(&helper.cgroup, Duration::from_secs(1));
    }

    /// Whether a cgroup is the spare helper's.
    pub(super) fn owns(&self, cgroup: &str) -> bool {
        self.lock().as_ref().is_some_and(|helper| helper.cgroup == cgroup)
    }

    /// Ends the spare helper, also one that is being made, and has no other made.
    pub(super) fn close(&self) {
        *self.closed.lock().unwrap_or_else(PoisonError::into_inner) = true;
        let spare = self.lock().take();
        spare.into_iter().for_each(|helper| self.discard(helper));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Helper>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Helper {
    /// Makes the container; its process id, or why not as a sentence. Blocks for some milliseconds.
    pub(super) fn make(mut self, cgroups: &Cgroups, limits: &Limits, job: &Job) -> Result<i32, String> {
        let answer = self.ask(cgroups, limits, job);
        if answer.is_err() {
            // Its child may be alive, and is homerun's when the helper has been waited for.
            cgroups.remove(&self.cgroup, Duration::from_secs(5));
            let _ = self.process.wait();
        } else {
            // Its end takes the kernel a while (it has mounts to undo), and nobody needs to wait for it.
            let reaper = std::thread::Builder::new().name("reaper".to_owned()).spawn(move || self.process.wait());
            reaper.map_err(|error| format!("no thread: {error}"))?;
        }
        match answer? {
            Answer::Started { pid } => Ok(pid),
            Answer::Failed { message } => Err(message),
        }
    }

    /// Hands over the job and waits for the answer; why there is none as a sentence.
    fn ask(&mut self, cgroups: &Cgroups, limits: &Limits, job: &Job) -> Result<Answer, String> {
        cgroups
            .limit(&self.cgroup, limits)
            .map_err(|error| format!("the container's limits cannot be set: {error}"))?;
        let text = serde_json::to_vec(job).map_err(|error| error.to_string())?;
        if let Some(mut stdin) = self.process.stdin.take() {
            stdin.write_all(&text).map_err(|error| format!("the helper has ended: {error}"))?;
        }
        let mut line = String::new();
        if let Some(stdout) = self.process.stdout.take() {
            BufReader::new(stdout)
                .read_line(&mut line)
                .map_err(|error| format!("the helper cannot be heard: {error}"))?;
        }
        serde_json::from_str(&line).map_err(|_| "the helper ended without an answer".to_owned())
    }
}

fn random_name() -> io::Result<String> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(format!("{:016x}", u64::from_ne_bytes(bytes)))
}
