//! Owner, mode, time and extended attributes of a tar entry, as they are set on the host.

use std::ffi::{CString, OsStr};
use std::io::{self, Read};
use std::os::fd::AsFd;

use nix::sys::stat::Mode;
use nix::sys::time::TimeSpec;

use super::rooted::{Folder, set_mtime, set_owner_and_mode, set_xattr};

/// The highest id that exists inside the containers' user namespace.
const MAX_ID: u64 = 65_535;
/// Stands for ids that don't exist there, as the kernel's own overflow id does.
const NOBODY: u32 = 65_534;
/// Where tar archives carry extended attributes (the star and GNU tar convention).
const PAX_XATTR: &str = "SCHILY.xattr.";
const CAPABILITY: &str = "security.capability";

// linux/capability.h: the version is in the top byte of the first word, little endian.
const CAP_REVISION_MASK: u32 = 0xff00_0000;
const CAP_REVISION_2: u32 = 0x0200_0000;
const CAP_REVISION_3: u32 = 0x0300_0000;
const CAP_V2_LEN: usize = 20;
const CAP_V3_LEN: usize = 24;

/// Attributes of one entry, with host ids.
#[derive(Debug)]
pub(super) struct Meta {
    owner: (u32, u32),
    mode: Mode,
    mtime: TimeSpec,
    xattrs: Vec<(CString, Vec<u8>)>,
}

impl Meta {
    /// For folders that an archive implies without listing them.
    pub(super) fn default_folder(id_base: u32) -> Meta {
        Meta {
            owner: (id_base, id_base),
            mode: Mode::from_bits_truncate(0o755),
            mtime: TimeSpec::new(0, 0),
            xattrs: Vec::new(),
        }
    }

    pub(super) fn read<R: Read>(entry: &mut tar::Entry<'_, R>, id_base: u32) -> io::Result<Meta> {
        let header = entry.header();
        let mut meta = Meta {
            owner: (host_id(header.uid()?, id_base), host_id(header.gid()?, id_base)),
            mode: Mode::from_bits_truncate(header.mode()? & 0o7777),
            mtime: TimeSpec::new(i64::try_from(header.mtime()?).unwrap_or(i64::MAX), 0),
            xattrs: Vec::new(),
        };
        for extension in entry.pax_extensions()?.into_iter().flatten() {
            let extension = extension?;
            let Ok(key) = extension.key() else { continue };
            if key == "mtime" {
                if let Some(time) = extension.value().ok().and_then(parse_time) {
                    meta.mtime = time;
                }
            } else if let Some(name) = key.strip_prefix(PAX_XATTR) {
                meta.add_xattr(name, extension.value_bytes(), id_base);
            }
        }
        Ok(meta)
    }

    pub(super) fn mtime(&self) -> TimeSpec {
        self.mtime
    }

    /// Sets everything on an open file or folder.
    pub(super) fn apply(&self, file: &impl AsFd) -> io::Result<()> {
        set_owner_and_mode(file, self.owner, self.mode)?;
        for (name, value) in &self.xattrs {
            match set_xattr(file, name, value) {
                // A file system without such attributes still holds the content.
                Err(e) if e.raw_os_error() == Some(libc::ENOTSUP) => {}
                done => done?,
            }
        }
        set_mtime(file, self.mtime)
    }

    /// Sets what symbolic links and FIFOs have.
    pub(super) fn apply_nofollow(&self, parent: &Folder, name: &OsStr) -> io::Result<()> {
        parent.set_meta_nofollow(name, self.owner, self.mode, self.mtime)
    }

    fn add_xattr(&mut self, name: &str, value: &[u8], id_base: u32) {
        let value = match name {
            CAPABILITY => match namespaced_capability(value, id_base) {
                Some(value) => value,
                None => return,
            },
            _ if name.starts_with("user.") => value.to_vec(),
            _ => return,
        };
        if let Ok(name) = CString::new(name) {
            self.xattrs.push((name, value));
        }
    }
}

fn host_id(id: u64, id_base: u32) -> u32 {
    let id = match u32::try_from(id) {
        Ok(small) if id <= MAX_ID => small,
        _ => NOBODY,
    };
    id_base + id
}

/// File capabilities for the user namespace whose root is `id_base` on the host: without that id
/// (revision 2) the kernel honours them in the host's namespace alone. None if it isn't understood.
fn namespaced_capability(value: &[u8], id_base: u32) -> Option<Vec<u8>> {
    let magic = u32::from_le_bytes(value.get(..4)?.try_into().ok()?);
    match (magic & CAP_REVISION_MASK, value.len()) {
        (CAP_REVISION_2, CAP_V2_LEN) | (CAP_REVISION_3, CAP_V3_LEN) => {
            let magic = magic & !CAP_REVISION_MASK | CAP_REVISION_3;
            let mut new = magic.to_le_bytes().to_vec();
            new.extend_from_slice(&value[4..CAP_V2_LEN]);
            new.extend_from_slice(&id_base.to_le_bytes());
            Some(new)
        }
        _ => None,
    }
}

/// A PAX time: seconds, with an optional fraction of any length.
fn parse_time(text: &str) -> Option<TimeSpec> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds_value: i64 = seconds.parse().ok()?;
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let nanos: i64 = digits.parse().ok()?;
    // -1.5 is half a second before -1.
    match seconds.starts_with('-') && nanos > 0 {
        true => Some(TimeSpec::new(seconds_value.checked_sub(1)?, 1_000_000_000 - nanos)),
        false => Some(TimeSpec::new(seconds_value, nanos)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pax_times_keep_their_fraction() {
        for (text, seconds, nanos) in [
            ("12", 12, 0),
            ("12.5", 12, 500_000_000),
            ("12.1234567891", 12, 123_456_789),
            ("-1.25", -2, 750_000_000),
            ("-3", -3, 0),
        ] {
            let time = parse_time(text).expect(text);
            assert_eq!((time.tv_sec(), time.tv_nsec()), (seconds, nanos), "{text}");
        }
        assert!(parse_time("x").is_none());
    }

    #[test]
    fn ids_beyond_the_namespace_become_nobody() {
        assert_eq!(host_id(0, 1_000_000), 1_000_000);
        assert_eq!(host_id(65_535, 1_000_000), 1_065_535);
        assert_eq!(host_id(65_536, 1_000_000), 1_065_534);
        assert_eq!(host_id(u64::MAX, 1_000_000), 1_065_534);
    }
}
