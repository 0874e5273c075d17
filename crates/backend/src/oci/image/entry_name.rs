//! Names of entries in layers, and what is said about those that can't be unpacked.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

/// Why a layer can't be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The archive can't be read: damaged compression or tar headers.
    #[error("its archive can't be read")]
    Read(#[source] io::Error),
    /// A name that leaves the layer, or none at all.
    #[error("its entry '{entry}' {problem}")]
    Name {
        /// The entry's name.
        entry: String,
        /// The rule that it breaks.
        problem: NameRule,
    },
    /// The file system refuses an entry.
    #[error("its entry '{entry}' can't be written")]
    Write {
        /// The entry's name.
        entry: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Rules for the names in a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameRule {
    /// `..` in a name or link target.
    #[error("contains '..', which could leave the image")]
    ParentFolder,
    /// A NUL byte.
    #[error("contains a NUL byte")]
    Nul,
    /// A whiteout without a name, or of `.` or `..`.
    #[error("is a whiteout of nothing")]
    Whiteout,
    /// A hard link without target.
    #[error("is a link without a target")]
    NoTarget,
    /// A tar entry type that layers don't have.
    #[error("has a type that layers don't have")]
    Type,
    /// Links that lead in a circle.
    #[error("lies behind too many symbolic links")]
    Loop,
}

/// A name relative to the layer's root, without `.` and empty components.
pub(super) fn clean(name: &[u8], entry: &[u8]) -> Result<PathBuf, UnpackError> {
    if name.contains(&0) {
        return Err(name_error(entry, NameRule::Nul));
    }
    let mut path = PathBuf::new();
    for component in name.split(|b| *b == b'/') {
        match component {
            b"" | b"." => {}
            b".." => return Err(name_error(entry, NameRule::ParentFolder)),
            other => path.push(OsStr::from_bytes(other)),
        }
    }
    Ok(path)
}

/// Resolves `..` in a link's target by its text, never above the root. For targets that don't exist
/// in this layer there is nothing else to go by.
pub(super) fn flatten(target: &Path) -> PathBuf {
    let mut flat = PathBuf::new();
    for component in target.components() {
        match component {
            Component::Normal(name) => flat.push(name),
            Component::ParentDir => {
                flat.pop();
            }
            _ => {}
        }
    }
    flat
}

pub(super) fn name_error(entry: &[u8], problem: NameRule) -> UnpackError {
    UnpackError::Name { entry: lossy(entry), problem }
}

pub(super) fn write_error(entry: &[u8]) -> impl Fn(io::Error) -> UnpackError {
    move |source| UnpackError::Write { entry: lossy(entry), source }
}

fn lossy(entry: &[u8]) -> String {
    String::from_utf8_lossy(entry).into_owned()
}
