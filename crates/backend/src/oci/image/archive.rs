//! Files of an image on disk, in a folder or inside a tar archive, by their names.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom};
use std::path::{Component, Path, PathBuf};

use tar::EntryType;

use super::ImageError;
use super::error::ArchiveProblem;

/// Documents of an image are far smaller; what is larger is not one.
const MAX_DOCUMENT: u64 = 8 * 1024 * 1024;
/// `docker save` once linked equal layers; a chain longer than this is a loop.
const MAX_LINKS: usize = 8;

/// A folder or an uncompressed tar archive.
pub(super) struct Bundle {
    /// As the user knows it, for messages.
    label: PathBuf,
    content: Content,
}

enum Content {
    Folder(PathBuf),
    Archive { file: File, members: HashMap<PathBuf, Member> },
}

enum Member {
    File { offset: u64, size: u64 },
    Link(PathBuf),
}

impl Bundle {
    pub(super) fn folder(path: &Path) -> Bundle {
        Bundle { label: path.to_owned(), content: Content::Folder(path.to_owned()) }
    }

    /// Reads the archive's headers; its content stays on disk.
    pub(super) fn archive(label: &Path, file: File) -> Result<Bundle, ImageError> {
        let read = || {
            let mut members = HashMap::new();
            (&file).rewind()?;
            for entry in tar::Archive::new(&file).entries_with_seek()? {
                let entry = entry?;
                let name = normal(&entry.path()?);
                let target = || io::Result::Ok(entry.link_name()?.unwrap_or_default().into_owned());
                let member = match entry.header().entry_type() {
                    EntryType::Regular | EntryType::Continuous => {
                        Member::File { offset: entry.raw_file_position(), size: entry.size() }
                    }
                    EntryType::Symlink => {
                        let folder = name.parent().unwrap_or(Path::new("")).to_owned();
                        Member::Link(normal(&folder.join(target()?)))
                    }
                    EntryType::Link => Member::Link(normal(&target()?)),
                    _ => continue,
                };
                members.insert(name, member);
            }
            Ok(members)
        };
        let members =
            read().map_err(|e| ImageError::NotAnImage { path: label.to_owned(), source: ArchiveProblem::NotTar(e) })?;
        Ok(Bundle { label: label.to_owned(), content: Content::Archive { file, members } })
    }

    pub(super) fn has(&self, name: &str) -> bool {
        match &self.content {
            Content::Folder(folder) => folder.join(name).is_file(),
            Content::Archive { members, .. } => members.contains_key(Path::new(name)),
        }
    }

    /// Whether nothing is in it.
    pub(super) fn is_empty(&self) -> bool {
        matches!(&self.content, Content::Archive { members, .. } if members.is_empty())
    }

    /// Opens one file of the bundle.
    pub(super) fn open(&self, name: &str) -> Result<Box<dyn Read + '_>, ImageError> {
        let missing = || self.problem(ArchiveProblem::Missing(name.to_owned()));
        let failed = |e| ImageError::io("read", &self.label, e);
        let mut path = normal(Path::new(name));
        match &self.content {
            Content::Folder(folder) => match File::open(folder.join(path)) {
                Ok(file) => Ok(Box::new(file)),
                Err(e) if e.kind() == io::ErrorKind::NotFound => Err(missing()),
                Err(e) => Err(failed(e)),
            },
            Content::Archive { file, members } => {
                for _ in 0..MAX_LINKS {
                    match members.get(&path).ok_or_else(missing)? {
                        Member::Link(target) => path = target.clone(),
                        Member::File { offset, size } => {
                            let mut file = file;
                            file.seek(SeekFrom::Start(*offset)).map_err(failed)?;
                            return Ok(Box::new(file.take(*size)));
                        }
                    }
                }
                Err(missing())
            }
        }
    }

    /// A small file as a whole.
    pub(super) fn document(&self, name: &str) -> Result<Vec<u8>, ImageError> {
        let mut bytes = Vec::new();
        self.open(name)?
            .take(MAX_DOCUMENT)
            .read_to_end(&mut bytes)
            .map_err(|e| ImageError::io("read", &self.label, e))?;
        Ok(bytes)
    }

    pub(super) fn json<T: serde::de::DeserializeOwned>(&self, name: &str) -> Result<T, ImageError> {
        serde_json::from_slice(&self.document(name)?)
            .map_err(|source| self.problem(ArchiveProblem::Json { file: name.to_owned(), source }))
    }

    pub(super) fn problem(&self, source: ArchiveProblem) -> ImageError {
        ImageError::NotAnImage { path: self.label.clone(), source }
    }
}

/// A name relative to the bundle, never leading out of it.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => normal.push(name),
            Component::ParentDir => {
                normal.pop();
            }
            _ => {}
        }
    }
    normal
}
