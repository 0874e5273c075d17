//! `server.json` in the data directory: where the homerun that runs there listens.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The file's content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerFile {
    /// Where the API listens.
    pub control: SocketAddr,
    /// Where users' requests arrive.
    pub ingress: SocketAddr,
    /// Process id of the server.
    pub pid: u32,
    /// The default project's id.
    pub project: String,
    /// The default region.
    pub region: String,
}

/// Writes the file, whole or not at all.
///
/// # Errors
/// When the directory cannot be written.
pub fn write(data_dir: &Path, content: &ServerFile) -> io::Result<()> {
    let new = data_dir.join("server.json.new");
    std::fs::write(&new, serde_json::to_vec_pretty(content)?)?;
    std::fs::rename(new, path(data_dir))
}

/// Reads the file; `None` if no homerun has run there or it has ended in order.
///
/// # Errors
/// When it is there and cannot be read.
pub fn read(data_dir: &Path) -> io::Result<Option<ServerFile>> {
    match std::fs::read(path(data_dir)) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Removes the file; it does no harm if it stays.
pub fn remove(data_dir: &Path) {
    let _ = std::fs::remove_file(path(data_dir));
}

fn path(data_dir: &Path) -> PathBuf {
    data_dir.join("server.json")
}
