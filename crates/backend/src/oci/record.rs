//! What is remembered of an instance across restarts of homerun.
//!
//! The records matter as long as the processes that they name, so they are written whole or not at all
//! but need not survive the machine: after its restart every process is gone, and the record says what
//! to clean up.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use homerun_model::Timestamp;
use homerun_model::instance::ObservedInstance;
use homerun_model::names::InstanceId;
use serde::{Deserialize, Serialize};

use super::process::ProcessId;

/// One instance.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Record {
    /// What [`crate::Backend::list`] answers.
    pub observed: ObservedInstance,
    /// When what is left of it is killed; it is stopping since it has this.
    #[serde(default)]
    pub kill_at: Option<Timestamp>,
    /// Its containers, in the order in which they were started.
    pub containers: Vec<ContainerRecord>,
}

impl Record {
    /// How long an instance that is stopping may still take.
    pub(super) fn grace_left(&self, now: Timestamp) -> Option<Duration> {
        self.kill_at.map(|at| (at - now).to_std().unwrap_or(Duration::ZERO))
    }
}

/// One container of an instance.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct ContainerRecord {
    /// Its index in the instance's description.
    pub index: usize,
    /// Name of its cgroup.
    pub cgroup: String,
    /// Its first process; `None` until the helper has answered.
    pub process: Option<ProcessId>,
}

/// The folder of all instances.
#[derive(Debug, Clone)]
pub(super) struct Records {
    folder: PathBuf,
}

impl Records {
    /// Makes the folder.
    pub(super) fn open(runtime: &Path) -> io::Result<Self> {
        let folder = runtime.join("instances");
        fs::create_dir_all(&folder)?;
        Ok(Self { folder })
    }

    /// An instance's folder.
    pub(super) fn folder(&self, id: &InstanceId) -> PathBuf {
        self.folder.join(id.as_str())
    }

    /// Writes a record.
    pub(super) fn save(&self, record: &Record) -> io::Result<()> {
        let folder = self.folder(&record.observed.spec.id);
        fs::create_dir_all(&folder)?;
        let new = folder.join("instance.json.new");
        fs::write(&new, serde_json::to_vec(record)?)?;
        fs::rename(new, folder.join("instance.json"))
    }

    /// Removes an instance's folder.
    pub(super) fn remove(&self, id: &InstanceId) {
        if let Err(error) = fs::remove_dir_all(self.folder(id))
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(instance = %id, %error, "the instance's folder could not be removed");
        }
    }

    /// Removes the folder of all instances; it stays if there is one.
    pub(super) fn close(&self) {
        let _ = fs::remove_dir(&self.folder);
    }

    /// Every record. A folder without one, or with one that cannot be read, belongs to an instance that
    /// never ran; it is removed.
    pub(super) fn all(&self) -> io::Result<Vec<Record>> {
        let mut records = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let folder = entry?.path();
            match fs::read(folder.join("instance.json")).map(|bytes| serde_json::from_slice(&bytes)) {
                Ok(Ok(record)) => records.push(record),
                _ => fs::remove_dir_all(&folder)?,
            }
        }
        Ok(records)
    }
}
