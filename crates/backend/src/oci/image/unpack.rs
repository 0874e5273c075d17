//! A layer's tar archive to a folder that overlayfs takes as a lower layer.
//!
//! Rules are those of the OCI image specification's layer format. Differences and choices:
//! - Whiteouts become overlayfs' own: a character device 0:0, and `trusted.overlay.opaque` on folders.
//! - Owners are shifted by the id base of the containers' user namespace. Ids beyond 65535 have no
//!   counterpart there and become 65534 (nobody).
//! - Device nodes are skipped: the runtime provides `/dev`, and a 0:0 device would be a whiteout.
//! - Of extended attributes only `user.*` and `security.capability` are kept. `trusted.overlay.*`
//!   from an archive could redirect lookups into other layers.
//! - Folders that the archive only implies get mode 0755 and root as owner.
//!
//! No entry reaches outside of the folder: `..` is refused, and the kernel resolves every path with
//! the folder as root (`openat2` with `RESOLVE_IN_ROOT`), links of the same archive included.

use std::cell::Cell;
use std::ffi::OsStr;
use std::io::{self, Read, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use tar::EntryType;

use super::entry_name::{NameRule, UnpackError, clean, flatten, name_error, write_error};
use super::rooted::{Folder, Found, set_mtime, set_xattr};
use super::tar_meta::Meta;

const WHITEOUT: &[u8] = b".wh.";
const WHITEOUT_META: &[u8] = b".wh..wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// Overlayfs hides what is below a folder that bears this attribute with the value `y`.
pub(super) const OPAQUE_XATTR: &std::ffi::CStr = c"trusted.overlay.opaque";
/// Extended headers are held in memory; without a limit a small layer could ask for all of it.
const MAX_HEADERS: u64 = 8 * 1024 * 1024;
/// More links on the way to one folder are a loop, as for the kernel.
const MAX_LINKS: u32 = 40;

type Result<T> = std::result::Result<T, UnpackError>;

/// Unpacks `archive` into the empty folder `root`.
pub(super) fn unpack(archive: &mut dyn Read, root: &Path, id_base: u32) -> Result<()> {
    let open = |source| UnpackError::Write { entry: "/".into(), source };
    let root = Folder::open(root).map_err(open)?;
    Meta::default_folder(id_base).apply(&root).map_err(open)?;
    let mut unpacker = Unpacker { root, id_base, parent: None, folders: Vec::new() };
    let budget = Cell::new(MAX_HEADERS);
    let mut metered = Metered { inner: archive, budget: &budget };
    let mut archive = tar::Archive::new(&mut metered as &mut dyn Read);
    let mut entries = archive.entries().map_err(UnpackError::Read)?;
    loop {
        budget.set(MAX_HEADERS);
        let Some(entry) = entries.next() else { break };
        budget.set(u64::MAX);
        let mut entry = entry.map_err(UnpackError::Read)?;
        unpacker.entry(&mut entry)?;
        // What an entry holds beyond its use, so that only headers count against the budget.
        io::copy(&mut entry, &mut io::sink()).map_err(UnpackError::Read)?;
    }
    unpacker.set_folder_times()
}

/// Ends the archive with an error when headers take more than their budget.
struct Metered<'a> {
    inner: &'a mut dyn Read,
    budget: &'a Cell<u64>,
}

impl Read for Metered<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.budget.get();
        if left == 0 {
            let message = format!("the headers of one entry are larger than {MAX_HEADERS} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        let most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let n = self.inner.read(&mut buffer[..most])?;
        self.budget.set(left - n as u64);
        Ok(n)
    }
}

struct Unpacker {
    root: Folder,
    id_base: u32,
    /// The folder of the last entry: archives list a folder's content together.
    parent: Option<(PathBuf, Folder)>,
    /// Writing into a folder changes its time, so times are set at the end.
    folders: Vec<(PathBuf, Meta)>,
}

impl Unpacker {
    fn entry(&mut self, entry: &mut tar::Entry<'_, &mut dyn Read>) -> Result<()> {
        let raw = entry.path_bytes().into_owned();
        let kind = match entry.header().entry_type() {
            // Before POSIX, a folder was a file whose name ends in a slash.
            EntryType::Regular if raw.ends_with(b"/") => EntryType::Directory,
            EntryType::XGlobalHeader | EntryType::Char | EntryType::Block => return Ok(()),
            kind => kind,
        };
        let path = clean(&raw, &raw)?;
        let meta = Meta::read(entry, self.id_base).map_err(UnpackError::Read)?;
        let Some(name) = path.file_name().map(OsStr::to_owned) else {
            if kind == EntryType::Directory {
                meta.apply(&self.root).map_err(write_error(&raw))?;
                self.folders.push((path, meta));
            }
            return Ok(());
        };
        let parent = path.parent().unwrap_or(Path::new("")).to_owned();
        self.enter(&parent, &raw)?;
        if name.as_bytes().starts_with(WHITEOUT) {
            return self.whiteout(&name, &raw);
        }
        match kind {
            EntryType::Directory => self.folder(&name, meta, path, &raw),
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => self.file(&name, &meta, entry, &raw),
            EntryType::Symlink => {
                let target = link_target(entry, &raw)?;
                self.replace(&name, &raw)?;
                let parent = self.parent();
                parent
                    .symlink(OsStr::from_bytes(&target), &name)
                    .and_then(|()| meta.apply_nofollow(parent, &name))
                    .map_err(write_error(&raw))
            }
            EntryType::Link => {
                let target = clean(&link_target(entry, &raw)?, &raw)?;
                self.hard_link(&target, &name, &raw)
            }
            EntryType::Fifo => {
                self.replace(&name, &raw)?;
                let parent = self.parent();
                parent.fifo(&name).and_then(|()| meta.apply_nofollow(parent, &name)).map_err(write_error(&raw))
            }
            _ => Err(name_error(&raw, NameRule::Type)),
        }
    }

    /// The folder that `enter` opened last.
    fn parent(&self) -> &Folder {
        self.parent.as_ref().map_or(&self.root, |(_, folder)| folder)
    }

    /// Makes `path` the current folder, with all of its parents.
    fn enter(&mut self, path: &Path, raw: &[u8]) -> Result<()> {
        if self.parent.as_ref().is_none_or(|(current, _)| current != path) {
            let folder = self.make_path(path, MAX_LINKS, raw)?;
            self.parent = Some((path.to_owned(), folder));
        }
        Ok(())
    }

    /// Opens a folder below the root and creates what is missing on the way. Symbolic links lead
    /// where they would lead in the container, also when their target is only in a lower layer.
    fn make_path(&self, path: &Path, links: u32, raw: &[u8]) -> Result<Folder> {
        match self.root.resolve(path) {
            Err(e) if is_missing(&e) => {}
            other => return other.map_err(write_error(raw)),
        }
        let (Some(name), Some(above)) = (path.file_name(), path.parent()) else {
            // The layer's own folder is gone: somebody works on the store from outside.
            return Err(write_error(raw)(io::ErrorKind::NotFound.into()));
        };
        let parent = self.make_path(above, links, raw)?;
        match parent.find(name).map_err(write_error(raw))? {
            Found::Nothing => {
                parent.make_folder(name).map_err(write_error(raw))?;
            }
            Found::Whiteout => {
                parent.remove(name).map_err(write_error(raw))?;
                parent.make_folder(name).map_err(write_error(raw))?;
                let made = parent.child(name).map_err(write_error(raw))?;
                set_xattr(&made, OPAQUE_XATTR, b"y").map_err(write_error(raw))?;
            }
            Found::Symlink => {
                if links == 0 {
                    return Err(name_error(raw, NameRule::Loop));
                }
                let target = PathBuf::from(parent.read_link(name).map_err(write_error(raw))?);
                let target = if target.is_absolute() { target } else { above.join(target) };
                return self.make_path(&flatten(&target), links - 1, raw);
            }
            // A file where the archive itself wants a folder: the later entry counts.
            Found::Folder | Found::Other => {
                parent.remove(name).map_err(write_error(raw))?;
                parent.make_folder(name).map_err(write_error(raw))?;
            }
        }
        let made = parent.child(name).map_err(write_error(raw))?;
        Meta::default_folder(self.id_base).apply(&made).map_err(write_error(raw))?;
        Ok(made)
    }

    /// Clears the place for an entry; a later entry of the same name wins.
    fn replace(&mut self, name: &OsStr, raw: &[u8]) -> Result<Found> {
        let found = self.parent().find(name).map_err(write_error(raw))?;
        if found != Found::Nothing {
            self.parent().remove(name).map_err(write_error(raw))?;
        }
        Ok(found)
    }

    fn folder(&mut self, name: &OsStr, meta: Meta, path: PathBuf, raw: &[u8]) -> Result<()> {
        let found = self.parent().find(name).map_err(write_error(raw))?;
        if found != Found::Folder {
            self.replace(name, raw)?;
            self.parent().make_folder(name).map_err(write_error(raw))?;
        }
        let folder = self.parent().child(name).map_err(write_error(raw))?;
        meta.apply(&folder).map_err(write_error(raw))?;
        if found == Found::Whiteout {
            // The lower folder was deleted before this one was made in its place.
            set_xattr(&folder, OPAQUE_XATTR, b"y").map_err(write_error(raw))?;
        }
        self.folders.push((path, meta));
        Ok(())
    }

    fn file(&mut self, name: &OsStr, meta: &Meta, content: &mut dyn Read, raw: &[u8]) -> Result<()> {
        self.replace(name, raw)?;
        let mut file = self.parent().create_file(name).map_err(write_error(raw))?;
        let mut buffer = [0; 64 * 1024];
        loop {
            // Not io::copy: a failed read and a failed write are different errors to the user.
            let n = content.read(&mut buffer).map_err(UnpackError::Read)?;
            if n == 0 {
                break;
            }
            file.write_all(&buffer[..n]).map_err(write_error(raw))?;
        }
        meta.apply(&file).map_err(write_error(raw))
    }

    fn hard_link(&mut self, target: &Path, name: &OsStr, raw: &[u8]) -> Result<()> {
        let (Some(target_name), Some(above)) = (target.file_name(), target.parent()) else {
            return Err(name_error(raw, NameRule::NoTarget));
        };
        let from = self.root.resolve(above).map_err(write_error(raw))?;
        if self.parent().same_file(name, &from, target_name).map_err(write_error(raw))? {
            return Ok(());
        }
        self.replace(name, raw)?;
        from.link(target_name, self.parent(), name).map_err(write_error(raw))
    }

    fn whiteout(&mut self, marker: &OsStr, raw: &[u8]) -> Result<()> {
        let marker = marker.as_bytes();
        if marker == OPAQUE {
            return set_xattr(self.parent(), OPAQUE_XATTR, b"y").map_err(write_error(raw));
        }
        if marker.starts_with(WHITEOUT_META) {
            return Ok(()); // aufs' own bookkeeping
        }
        let name = OsStr::from_bytes(&marker[WHITEOUT.len()..]);
        if matches!(name.as_bytes(), b"" | b"." | b"..") {
            return Err(name_error(raw, NameRule::Whiteout));
        }
        let parent = self.parent();
        match parent.find(name).map_err(write_error(raw))? {
            Found::Nothing => parent.whiteout(name).map_err(write_error(raw)),
            // A whiteout concerns lower layers only: what this layer brings stays.
            Found::Folder => {
                parent.child(name).and_then(|folder| set_xattr(&folder, OPAQUE_XATTR, b"y")).map_err(write_error(raw))
            }
            _ => Ok(()),
        }
    }

    fn set_folder_times(self) -> Result<()> {
        for (path, meta) in self.folders.iter().rev() {
            match self.root.resolve(path) {
                Ok(folder) => {
                    let entry = path.as_os_str().as_bytes();
                    set_mtime(&folder, meta.mtime()).map_err(write_error(entry))?;
                }
                // Replaced by a later entry.
                Err(e) if is_missing(&e) => {}
                Err(e) => return Err(write_error(path.as_os_str().as_bytes())(e)),
            }
        }
        Ok(())
    }
}

fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn link_target(entry: &tar::Entry<'_, &mut dyn Read>, raw: &[u8]) -> Result<Vec<u8>> {
    match entry.link_name_bytes() {
        Some(target) if !target.is_empty() => match target.contains(&0) {
            true => Err(name_error(raw, NameRule::Nul)),
            false => Ok(target.into_owned()),
        },
        _ => Err(name_error(raw, NameRule::NoTarget)),
    }
}

#[cfg(test)]
#[path = "unpack_tests.rs"]
mod tests;
