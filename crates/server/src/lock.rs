//! One homerun per data directory.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::path::Path;

use nix::fcntl::{Flock, FlockArg};

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
    /// Takes the lock without waiting.
    ///
    /// # Errors
    /// See [`LockError`].
    pub fn take(dir: &Path) -> Result<Self, LockError> {
        let path = dir.join("lock");
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(LockError::Io)?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
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
