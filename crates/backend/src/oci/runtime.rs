//! Where what runs is kept, apart from what is installed.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Tells this data directory's cgroups and folders from another's.
pub(super) fn key(dir: &Path) -> String {
    let mut hasher = DefaultHasher::new();
    std::fs::canonicalize(dir).unwrap_or_else(|_| dir.to_owned()).hash(&mut hasher);
    format!("{:012x}", hasher.finish() & 0xffff_ffff_ffff)
}

/// Where instances' records, pipes and volumes are: a memory file system of the host where there is one.
/// Volumes count as memory then, and starts never wait for a disk. A restart of the machine empties it,
/// and ends every instance too.
pub(super) fn folder(dir: &Path, key: &str) -> io::Result<PathBuf> {
    let memory = Path::new("/dev/shm");
    let usable =
        nix::sys::statfs::statfs(memory).is_ok_and(|stat| stat.filesystem_type() == nix::sys::statfs::TMPFS_MAGIC);
    let folder = if usable { memory.join(format!("homerun-{key}")) } else { dir.join("run") };
    match std::fs::DirBuilder::new().mode(0o700).create(&folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => made?,
    }
    // Everybody may make folders in /dev/shm, under this name too.
    let found = std::fs::symlink_metadata(&folder)?;
    if !found.is_dir() || found.uid() != 0 {
        let message = format!("{} is not root's; remove it", folder.display());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
    }
    Ok(folder)
}
