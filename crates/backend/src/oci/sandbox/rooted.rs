//! Paths inside a container's root that no symlink of the image can lead out of.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::Path;

use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, mkdirat};

/// `open_how` of openat2(2).
#[repr(C)]
struct OpenHow {
    flags: u64,
    mode: u64,
    resolve: u64,
}

/// Opens `path` as if `root` were `/`, symlinks included.
pub(super) fn open(root: BorrowedFd<'_>, path: &str, flags: OFlag) -> io::Result<OwnedFd> {
    let path = CString::new(path.trim_start_matches('/'))?;
    let path = if path.is_empty() { c".".to_owned() } else { path };
    let mode = if flags.contains(OFlag::O_CREAT) { 0o644 } else { 0 };
    let how = OpenHow {
        flags: (flags | OFlag::O_CLOEXEC).bits() as u64,
        mode,
        resolve: libc::RESOLVE_IN_ROOT | libc::RESOLVE_NO_MAGICLINKS,
    };
    // SAFETY: the path is a C string and `how` has the size that is passed.
    let fd = unsafe { libc::syscall(libc::SYS_openat2, root.as_raw_fd(), path.as_ptr(), &how, size_of::<OpenHow>()) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call has just returned this descriptor, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// A folder inside the root, made with its parents where it is missing; `owner` becomes the owner of
/// what is made.
pub(super) fn folder(root: BorrowedFd<'_>, path: &str, owner: Option<u32>) -> io::Result<OwnedFd> {
    let mut at = open(root, "/", OFlag::O_PATH | OFlag::O_DIRECTORY)?;
    let mut done = String::new();
    for part in path.split('/').filter(|part| !part.is_empty() && *part != ".") {
        done = format!("{done}/{part}");
        at = match open(root, &done, OFlag::O_PATH | OFlag::O_DIRECTORY) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                mkdirat(Some(at.as_raw_fd()), part, Mode::from_bits_truncate(0o755))?;
                if let Some(owner) = owner {
                    let flags = nix::fcntl::AtFlags::AT_SYMLINK_NOFOLLOW;
                    nix::unistd::fchownat(Some(at.as_raw_fd()), part, Some(owner.into()), Some(owner.into()), flags)?;
                }
                open(root, &done, OFlag::O_PATH | OFlag::O_DIRECTORY)?
            }
            other => other?,
        };
    }
    Ok(at)
}

/// A folder for one of the kernel's file systems, made where it is missing. An image that has a link in
/// its place could have the kernel's files appear where they are not masked.
pub(super) fn real_folder(root: BorrowedFd<'_>, path: &str, owner: Option<u32>) -> io::Result<OwnedFd> {
    drop(folder(root, path, owner)?);
    open(root, path, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW)
        .map_err(|error| io::Error::new(error.kind(), format!("the image's {path} is not a plain folder ({error})")))
}

/// A file inside the root, made empty where it is missing, as a place to mount on.
pub(super) fn file(root: BorrowedFd<'_>, path: &str, owner: u32) -> io::Result<OwnedFd> {
    match open(root, path, OFlag::O_PATH) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        other => return other,
    }
    let (parent, name) = path.trim_end_matches('/').rsplit_once('/').unwrap_or(("", path));
    let parent = folder(root, parent, Some(owner))?;
    // The name is there and leads nowhere: a link whose target comes with an init system, such as
    // /etc/resolv.conf of systemd's images. The container gets a file of its own in its place.
    if open(parent.as_fd(), name, OFlag::O_PATH | OFlag::O_NOFOLLOW).is_ok() {
        nix::unistd::unlinkat(Some(parent.as_raw_fd()), name, nix::unistd::UnlinkatFlags::NoRemoveDir)?;
    }
    drop(open(parent.as_fd(), name, OFlag::O_CREAT | OFlag::O_WRONLY | OFlag::O_NOFOLLOW)?);
    open(root, path, OFlag::O_PATH)
}

/// A path that leads to an open descriptor, for calls that take paths only.
pub(super) fn path(fd: &OwnedFd) -> std::path::PathBuf {
    Path::new("/proc/self/fd").join(fd.as_raw_fd().to_string())
}
