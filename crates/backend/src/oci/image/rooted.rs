//! File operations that can't leave a folder: everything goes through a descriptor of the folder
//! that an entry lies in, and paths are resolved by the kernel with the layer's folder as root.

use std::ffi::{CStr, OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat, openat2, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, UtimensatFlags, fchmod, fstatat, futimens, mkdirat, mknodat, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchownat, linkat, mkfifoat, symlinkat, unlinkat};

/// What a name in a folder stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    Nothing,
    Folder,
    Symlink,
    /// A character device 0:0.
    Whiteout,
    Other,
}

/// An open folder.
#[derive(Debug)]
pub(super) struct Folder(OwnedFd);

impl AsFd for Folder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

const FOLDER: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_CLOEXEC);

impl Folder {
    pub(super) fn open(path: &Path) -> io::Result<Folder> {
        Ok(Folder(File::open(path)?.into()))
    }

    /// Opens a folder below this one, with this one as the root for `..` and absolute links.
    pub(super) fn resolve(&self, path: &Path) -> io::Result<Folder> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let how =
            OpenHow::new().flags(FOLDER).resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        owned(openat2(self.0.as_raw_fd(), path, how)?)
    }

    /// Opens a folder in this folder, not through a link.
    pub(super) fn child(&self, name: &OsStr) -> io::Result<Folder> {
        owned(openat(Some(self.raw()), name, FOLDER | OFlag::O_NOFOLLOW, Mode::empty())?)
    }

    pub(super) fn find(&self, name: &OsStr) -> io::Result<Found> {
        let stat = match self.stat(name) {
            Err(nix::Error::ENOENT) => return Ok(Found::Nothing),
            other => other?,
        };
        Ok(match SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT {
            SFlag::S_IFDIR => Found::Folder,
            SFlag::S_IFLNK => Found::Symlink,
            SFlag::S_IFCHR if stat.st_rdev == 0 => Found::Whiteout,
            _ => Found::Other,
        })
    }

    /// Whether a name here and one in another folder are the same file.
    pub(super) fn same_file(&self, name: &OsStr, other: &Folder, other_name: &OsStr) -> io::Result<bool> {
        let there = other.stat(other_name)?;
        match self.stat(name) {
            Ok(here) => Ok((here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)),
            Err(nix::Error::ENOENT) => Ok(false),
            Err(e) => Err(e.into()),
        }
    }

    /// Creates a file that must not exist yet. Nobody else may open it before its mode is set.
    pub(super) fn create_file(&self, name: &OsStr) -> io::Result<File> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let fd = openat(Some(self.raw()), name, flags, Mode::S_IRUSR | Mode::S_IWUSR)?;
        // SAFETY: openat returned a descriptor that nothing else owns.
        Ok(File::from(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    pub(super) fn make_folder(&self, name: &OsStr) -> io::Result<()> {
        Ok(mkdirat(Some(self.raw()), name, Mode::S_IRWXU)?)
    }

    pub(super) fn symlink(&self, target: &OsStr, name: &OsStr) -> io::Result<()> {
        Ok(symlinkat(target, Some(self.raw()), name)?)
    }

    pub(super) fn fifo(&self, name: &OsStr) -> io::Result<()> {
        Ok(mkfifoat(Some(self.raw()), name, Mode::S_IRUSR | Mode::S_IWUSR)?)
    }

    /// Hides the name in lower layers.
    pub(super) fn whiteout(&self, name: &OsStr) -> io::Result<()> {
        Ok(mknodat(Some(self.raw()), name, SFlag::S_IFCHR, Mode::empty(), 0)?)
    }

    /// Links a file of this folder, never what a symbolic link points to.
    pub(super) fn link(&self, name: &OsStr, to: &Folder, new_name: &OsStr) -> io::Result<()> {
        Ok(linkat(Some(self.raw()), name, Some(to.raw()), new_name, AtFlags::empty())?)
    }

    pub(super) fn read_link(&self, name: &OsStr) -> io::Result<OsString> {
        Ok(readlinkat(Some(self.raw()), name)?)
    }

    /// Removes a name and, if it is a folder, all that is in it. Links are not followed.
    pub(super) fn remove(&self, name: &OsStr) -> io::Result<()> {
        if self.find(name)? != Found::Folder {
            return Ok(unlinkat(Some(self.raw()), name, UnlinkatFlags::NoRemoveDir)?);
        }
        std::fs::remove_dir_all(Path::new("/proc/self/fd").join(self.raw().to_string()).join(name))
    }

    /// Owner and time of something that can't be opened without side effects, and the mode of a FIFO.
    pub(super) fn set_meta_nofollow(
        &self,
        name: &OsStr,
        (uid, gid): (u32, u32),
        mode: Mode,
        mtime: TimeSpec,
    ) -> io::Result<()> {
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        let fd = Some(self.raw());
        fchownat(fd, name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW)?;
        if self.find(name)? != Found::Symlink {
            let follow = nix::sys::stat::FchmodatFlags::FollowSymlink;
            nix::sys::stat::fchmodat(fd, name, mode, follow)?;
        }
        Ok(utimensat(fd, name, &mtime, &mtime, UtimensatFlags::NoFollowSymlink)?)
    }

    fn stat(&self, name: &OsStr) -> nix::Result<FileStat> {
        fstatat(Some(self.raw()), name, AtFlags::AT_SYMLINK_NOFOLLOW)
    }

    fn raw(&self) -> i32 {
        self.0.as_raw_fd()
    }
}

fn owned(fd: i32) -> io::Result<Folder> {
    // SAFETY: the callers pass a descriptor fresh from the kernel that nothing else owns.
    Ok(Folder(unsafe { OwnedFd::from_raw_fd(fd) }))
}

/// Sets owner and mode; the owner first, because a new owner clears the setuid bits.
pub(super) fn set_owner_and_mode(file: &impl AsFd, (uid, gid): (u32, u32), mode: Mode) -> io::Result<()> {
    let fd = file.as_fd();
    std::os::unix::fs::fchown(fd, Some(uid), Some(gid))?;
    Ok(fchmod(fd.as_raw_fd(), mode)?)
}

pub(super) fn set_mtime(file: &impl AsFd, mtime: TimeSpec) -> io::Result<()> {
    Ok(futimens(file.as_fd().as_raw_fd(), &mtime, &mtime)?)
}

pub(super) fn set_xattr(file: &impl AsFd, name: &CStr, value: &[u8]) -> io::Result<()> {
    // SAFETY: pointers and length describe live buffers; the kernel copies them during the call.
    let done =
        unsafe { libc::fsetxattr(file.as_fd().as_raw_fd(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// An extended attribute of the file at a path, not of what a link points to. None if it has none.
pub(super) fn get_xattr(path: &Path, name: &CStr) -> io::Result<Option<Vec<u8>>> {
    let path = std::ffi::CString::new(path.as_os_str().as_bytes())?;
    // The longest value that Linux stores (XATTR_SIZE_MAX).
    let mut value = vec![0; 64 * 1024];
    // SAFETY: both names end in NUL, and the kernel writes at most `value.len()` bytes.
    let n = unsafe { libc::lgetxattr(path.as_ptr(), name.as_ptr(), value.as_mut_ptr().cast(), value.len()) };
    match usize::try_from(n) {
        Ok(n) => {
            value.truncate(n);
            Ok(Some(value))
        }
        Err(_) => match io::Error::last_os_error() {
            e if matches!(e.raw_os_error(), Some(libc::ENODATA | libc::ENOTSUP)) => Ok(None),
            e => Err(e),
        },
    }
}
