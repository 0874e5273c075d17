//! libcontainer, in a single-threaded process that this program starts from itself.

use std::error::Error;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use libcontainer::container::Container;
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::syscall::syscall::SyscallType;
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::answer;
use crate::bundle;

const HELPER: &str = "__libcontainer-helper";

#[derive(Serialize, Deserialize)]
struct Job {
    bundle: PathBuf,
    lower: PathBuf,
    id: String,
}

/// One way to use libcontainer.
pub struct Youki {
    pub user_namespace: bool,
    /// Whether the helper process is there before it is needed, which saves starting it.
    pub ahead: bool,
}

impl Youki {
    pub fn measure(&self, folder: &Path, lower: &Path, number: usize) -> Result<Duration, Box<dyn Error>> {
        let id = format!("lc{}{}-{}-{number}", u8::from(self.user_namespace), u8::from(self.ahead), std::process::id());
        let bundle = bundle::make(folder, &id, self.user_namespace)?;
        let mut helper = if self.ahead { Some(spawn()?) } else { None };
        std::thread::sleep(crate::IDLE);
        let begun = Instant::now();
        let mut helper = match helper.take() {
            Some(helper) => helper,
            None => spawn()?,
        };
        let job = Job { bundle, lower: lower.to_owned(), id };
        let mut stdin = helper.stdin.take().ok_or("no pipe")?;
        stdin.write_all((serde_json::to_string(&job)? + "\n").as_bytes())?;
        let mut line = String::new();
        BufReader::new(helper.stdout.take().ok_or("no pipe")?).read_line(&mut line)?;
        let pid: i32 = line.trim().parse().map_err(|_| format!("libcontainer: {line}"))?;
        answer::of_process(pid)?;
        let took = begun.elapsed();
        let pid = Pid::from_raw(pid);
        kill(pid, Signal::SIGKILL)?;
        drop(stdin);
        helper.wait()?;
        waitpid(pid, None)?;
        Ok(took)
    }
}

fn spawn() -> std::io::Result<Child> {
    Command::new("/proc/self/exe")
        .arg(HELPER)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
}

/// Does a helper's work, if this process was started as one.
pub fn helper_main_if_asked() {
    if std::env::args().nth(1).is_none_or(|argument| argument != HELPER) {
        return;
    }
    let mut lines = std::io::stdin().lines();
    let Some(Ok(text)) = lines.next() else { std::process::exit(0) };
    let made = serde_json::from_str::<Job>(&text).map_err(Into::into).and_then(|job| create(&job));
    let ended = made.and_then(|mut container: Container| {
        println!("{}", container.pid().map_or(0, Pid::as_raw));
        // Measured by now; who measured has killed the container and closes the pipe.
        drop(lines.next());
        Ok(container.delete(true)?)
    });
    if let Err(error) = ended {
        println!("{}", chain(error.as_ref()));
        std::process::exit(1);
    }
    std::process::exit(0)
}

fn create(job: &Job) -> Result<Container, Box<dyn Error>> {
    answer::private_mounts()?;
    bundle::mount_root(&job.bundle, &job.lower)?;
    let null = || File::options().read(true).write(true).open("/dev/null");
    let mut container = ContainerBuilder::new(job.id.clone(), SyscallType::default())
        .with_root_path(job.bundle.join("state"))?
        .with_stdin(null()?)
        .with_stdout(null()?)
        .with_stderr(null()?)
        .as_init(&job.bundle)
        .with_systemd(false)
        .with_detach(true)
        .build()?;
    let pid = container.pid().ok_or("no process")?;
    // It leaves `lo` down.
    let own = File::open("/proc/self/ns/net")?;
    setns(File::open(format!("/proc/{pid}/ns/net"))?, CloneFlags::CLONE_NEWNET)?;
    answer::loopback_up()?;
    setns(own, CloneFlags::CLONE_NEWNET)?;
    container.start()?;
    Ok(container)
}

/// The error and its causes, in one line.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text.replace('\n', " ")
}
