//! `crun run`.

use std::error::Error;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::mount::{MntFlags, umount2};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

use crate::{answer, bundle};

const UNIFIED: &str = "/sys/fs/cgroup/unified";

pub struct Crun {
    pub user_namespace: bool,
}

impl Crun {
    /// Changes the thread's namespaces: call it in a thread of its own.
    pub fn measure(&self, folder: &Path, lower: &Path, number: usize) -> Result<Duration, Box<dyn Error>> {
        let id = format!("crun{}-{}-{number}", u8::from(self.user_namespace), std::process::id());
        let bundle = bundle::make(folder, &id, self.user_namespace)?;
        answer::private_mounts()?;
        // crun 1.8 refuses a cgroup2 hierarchy beside the version 1 controllers.
        if Path::new(UNIFIED).exists() {
            umount2(UNIFIED, MntFlags::MNT_DETACH)?;
        }
        let state = folder.join("crun");
        let command = |arguments: &[&str]| {
            let mut command = Command::new("crun");
            command.arg("--root").arg(&state).args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
            command
        };
        let pid_file = bundle.join("pid");
        let (place, pid_place) = (bundle.display().to_string(), pid_file.display().to_string());
        std::thread::sleep(crate::IDLE);
        let begun = Instant::now();
        bundle::mount_root(&bundle, lower)?;
        let ran = command(&["run", "--detach", "--pid-file", &pid_place, "--bundle", &place, &id])
            .stderr(Stdio::null())
            .status()?;
        if !ran.success() {
            return Err(format!("crun run: {ran}").into());
        }
        let pid: i32 = std::fs::read_to_string(&pid_file)?.trim().parse()?;
        answer::of_process(pid)?;
        let took = begun.elapsed();
        command(&["delete", "--force", &id]).status()?;
        waitpid(Pid::from_raw(pid), None)?;
        Ok(took)
    }
}
