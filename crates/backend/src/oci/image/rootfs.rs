//! A root file system folder as a tar stream, so that it becomes a layer like any other. The order is
//! by name, so the same folder gives the same layer.

use std::collections::HashMap;
use std::fs::{self, File, Metadata};
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use tar::{Builder, EntryType, Header};

use super::rooted::get_xattr;

/// Writes the folder's content as a tar archive. Sockets and devices are left out.
pub(super) fn write_tar(folder: &Path, out: impl Write) -> io::Result<()> {
    let mut writer = Writer { root: folder, tar: Builder::new(out), linked: HashMap::new() };
    writer.folder(Path::new(""), &fs::metadata(folder)?)?;
    writer.tar.into_inner()?.flush()
}

struct Writer<'a, W: Write> {
    root: &'a Path,
    tar: Builder<W>,
    /// First name of each file that has several, by device and inode.
    linked: HashMap<(u64, u64), PathBuf>,
}

impl<W: Write> Writer<'_, W> {
    fn folder(&mut self, path: &Path, metadata: &Metadata) -> io::Result<()> {
        let name = if path.as_os_str().is_empty() { Path::new("./") } else { path };
        let mut header = self.header(path, metadata, EntryType::Directory)?;
        self.tar.append_data(&mut header, name, io::empty())?;
        let mut entries = fs::read_dir(self.root.join(path))?.collect::<io::Result<Vec<_>>>()?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let path = path.join(entry.file_name());
            let metadata = entry.metadata()?;
            match metadata.is_dir() {
                true => self.folder(&path, &metadata)?,
                false => self.other(&path, &metadata)?,
            }
        }
        Ok(())
    }

    fn other(&mut self, path: &Path, metadata: &Metadata) -> io::Result<()> {
        let (source, kind) = (self.root.join(path), metadata.file_type());
        if kind.is_symlink() {
            let mut header = self.header(path, metadata, EntryType::Symlink)?;
            return self.tar.append_link(&mut header, path, fs::read_link(source)?);
        }
        if !(kind.is_file() || kind.is_fifo()) {
            return Ok(());
        }
        if metadata.nlink() > 1 {
            let id = (metadata.dev(), metadata.ino());
            if let Some(first) = self.linked.get(&id).cloned() {
                let mut header = self.header(path, metadata, EntryType::Link)?;
                return self.tar.append_link(&mut header, path, first);
            }
            self.linked.insert(id, path.to_owned());
        }
        if kind.is_fifo() {
            let mut header = self.header(path, metadata, EntryType::Fifo)?;
            return self.tar.append_data(&mut header, path, io::empty());
        }
        let content = File::open(source)?;
        // Sized by the open file: the archive breaks if header and content disagree.
        let metadata = content.metadata()?;
        let mut header = self.header(path, &metadata, EntryType::Regular)?;
        header.set_size(metadata.len());
        self.tar.append_data(&mut header, path, io::Read::take(content, metadata.len()))
    }

    fn header(&mut self, path: &Path, metadata: &Metadata, kind: EntryType) -> io::Result<Header> {
        if kind == EntryType::Regular
            && let Some(value) = get_xattr(&self.root.join(path), c"security.capability")?
        {
            let extension = ("SCHILY.xattr.security.capability", value.as_slice());
            self.tar.append_pax_extensions([extension])?;
        }
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(metadata.mode() & 0o7777);
        header.set_uid(metadata.uid().into());
        header.set_gid(metadata.gid().into());
        header.set_mtime(u64::try_from(metadata.mtime()).unwrap_or(0));
        header.set_size(0);
        Ok(header)
    }
}
