//! One homerun per data directory.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};

/// How long a lock that is held is waited for, and the pause between looks.
const PATIENCE: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(10);

/// Held as long as this homerun runs; the kernel lets go of it however the process ends.
#[derive(Debug)]
pub struct DirLock {
    _file: Flock<File>,
}

/// Why the lock could not be taken.
#[derive(Debug)]
pub enum LockError {
    /// Another process has it; its id.
    Held(String),
    /// The file could not be made or locked.
    Io(io::Error),
}

impl DirLock {
    /// Takes the lock. One that is held is waited for shortly: a process that a homerun was just starting when it was
    /// killed has it too, until it becomes its program.
    ///
    /// # Errors
    /// See [`LockError`].
    pub fn take(dir: &Path) -> Result<Self, LockError> {
        let path = dir.join("lock");
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(LockError::Io)?;
        let begun = Instant::now();
        let locked = loop {
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Err((held, nix::errno::Errno::EWOULDBLOCK)) if begun.elapsed() < PATIENCE => file = held,
                locked => break locked,
            }
            std::thread::sleep(PAUSE);
        };
        match locked {
            Ok(mut file) => {
                let written =
                    file.set_len(0).and_then(|()| file.rewind()).and_then(|()| write!(file, "{}", std::process::id()));
                written.map_err(LockError::Io)?;
                Ok(Self { _file: file })
            }
            Err((mut file, nix::errno::Errno::EWOULDBLOCK)) => {
                let mut pid = String::new();
                file.read_to_string(&mut pid).map_err(LockError::Io)?;
                Err(LockError::Held(pid))
            }
            Err((_, errno)) => Err(LockError::Io(errno.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_that_is_let_go_of_in_a_moment_is_waited_for_and_another_one_is_not() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let first = DirLock::take(dir.path()).expect("nobody has it");
        assert!(
            matches!(DirLock::take(dir.path()), Err(LockError::Held(pid)) if pid == std::process::id().to_string())
        );
        let ends = std::thread::spawn(move || {
            std::thread::sleep(PATIENCE / 3);
            drop(first);
        });
        DirLock::take(dir.path()).expect("it is let go of");
        ends.join().expect("it only waits");
    }
}
