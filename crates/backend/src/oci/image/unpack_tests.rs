//! Layers in odd and hostile forms. Needs root: files get other owners.

use std::io::Cursor;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};

use super::super::rooted::get_xattr;
use super::*;

const BASE: u32 = 1_000_000;

/// An entry as raw as tar has it, so that names can be hostile.
fn put(tar: &mut Vec<u8>, kind: EntryType, name: &str, link: &str, content: &[u8]) {
    append(tar, header(kind, name, link), content);
}

/// An entry without content, with other attributes.
fn put_with(tar: &mut Vec<u8>, kind: EntryType, (name, link): (&str, &str), change: impl Fn(&mut tar::Header)) {
    let mut header = header(kind, name, link);
    change(&mut header);
    append(tar, header, b"");
}

fn header(kind: EntryType, name: &str, link: &str) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    let fields = header.as_gnu_mut().expect("gnu");
    fields.name[..name.len()].copy_from_slice(name.as_bytes());
    fields.linkname[..link.len()].copy_from_slice(link.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(if kind == EntryType::Directory { 0o755 } else { 0o644 });
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1_600_000_000);
    header
}

fn append(tar: &mut Vec<u8>, mut header: tar::Header, content: &[u8]) {
    header.set_size(content.len() as u64);
    header.set_cksum();
    tar.extend_from_slice(header.as_bytes());
    tar.extend_from_slice(content);
    tar.resize(tar.len().next_multiple_of(512), 0);
}

fn file(tar: &mut Vec<u8>, name: &str, content: &str) {
    put(tar, EntryType::Regular, name, "", content.as_bytes());
}

fn folder(tar: &mut Vec<u8>, name: &str) {
    put(tar, EntryType::Directory, name, "", b"");
}

fn symlink(tar: &mut Vec<u8>, name: &str, target: &str) {
    put(tar, EntryType::Symlink, name, target, b"");
}

/// `outer/layer` is unpacked into; `outer/secret` must stay as it is.
struct Sandbox {
    outer: tempfile::TempDir,
}

impl Sandbox {
    fn unpack(tar: &[u8]) -> (Sandbox, Result<()>) {
        let outer = tempfile::tempdir().expect("temp dir");
        std::fs::create_dir(outer.path().join("layer")).expect("layer");
        std::fs::create_dir(outer.path().join("secret")).expect("secret");
        std::fs::write(outer.path().join("secret/file"), "untouched").expect("secret");
        let done = unpack(&mut Cursor::new(tar), &outer.path().join("layer"), BASE);
        (Sandbox { outer }, done)
    }

    fn good(tar: &[u8]) -> Sandbox {
        let (sandbox, done) = Sandbox::unpack(tar);
        done.expect("unpacks");
        sandbox
    }

    fn path(&self, name: &str) -> PathBuf {
        self.outer.path().join("layer").join(name)
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    fn assert_nothing_escaped(&self) {
        let names = |path: PathBuf| {
            let mut names: Vec<_> = std::fs::read_dir(path)
                .expect("list")
                .map(|entry| entry.expect("entry").file_name().into_string().expect("text"))
                .collect();
            names.sort();
            names
        };
        assert_eq!(names(self.outer.path().to_owned()), ["layer", "secret"]);
        assert_eq!(names(self.outer.path().join("secret")), ["file"]);
        let secret = self.outer.path().join("secret/file");
        assert_eq!(std::fs::read_to_string(&secret).expect("secret"), "untouched");
        let meta = std::fs::metadata(secret).expect("secret");
        assert_eq!((meta.uid(), meta.nlink()), (nix::unistd::geteuid().as_raw(), 1));
    }

    fn is_opaque(&self, name: &str) -> bool {
        get_xattr(&self.path(name), OPAQUE_XATTR).expect("xattr").as_deref() == Some(b"y")
    }

    fn is_whiteout(&self, name: &str) -> bool {
        let meta = std::fs::symlink_metadata(self.path(name)).expect(name);
        meta.file_type().is_char_device() && meta.rdev() == 0
    }
}

#[test]
fn no_entry_reaches_outside_of_the_layer() {
    let up = "../secret/file";
    // What is refused outright.
    for (kind, name, link) in [
        (EntryType::Regular, up, ""),
        (EntryType::Regular, "a/../../secret/file", ""),
        (EntryType::Directory, "../evil", ""),
        (EntryType::Symlink, "../evil", "x"),
        (EntryType::Link, "evil", up),
        (EntryType::Link, "evil", "/../secret/file"),
        (EntryType::Regular, "../.wh.secret", ""),
        (EntryType::Regular, ".wh...", ""),
        (EntryType::Regular, ".wh..", ""),
        (EntryType::Regular, ".wh.", ""),
        (EntryType::Regular, "..", ""),
    ] {
        let mut tar = Vec::new();
        put(&mut tar, kind, name, link, b"");
        let (sandbox, done) = Sandbox::unpack(&tar);
        assert!(matches!(done, Err(UnpackError::Name { .. })), "{kind:?} {name} {link}: {done:?}");
        sandbox.assert_nothing_escaped();
    }
}

#[test]
fn links_of_the_same_layer_lead_nowhere_outside() {
    let outside = ["../secret", "/../../secret", "../../../../../../../../../../tmp", "/tmp", "/proc/self/root"];
    for target in outside {
        let mut tar = Vec::new();
        symlink(&mut tar, "d", target);
        file(&mut tar, "d/evil-homerun-test", "evil");
        folder(&mut tar, "d/evil-folder-homerun-test");
        file(&mut tar, "d/.wh.file", "");
        file(&mut tar, "d/.wh..wh..opq", "");
        let (sandbox, done) = Sandbox::unpack(&tar);
        done.unwrap_or_else(|e| panic!("{target}: {e}"));
        sandbox.assert_nothing_escaped();
        assert!(!Path::new("/tmp/evil-homerun-test").exists());
        assert!(!Path::new("/tmp/evil-folder-homerun-test").exists());
    }
    // A file through a link to a file: the link itself is replaced.
    let mut tar = Vec::new();
    symlink(&mut tar, "f", "../secret/file");
    file(&mut tar, "f", "evil");
    let sandbox = Sandbox::good(&tar);
    sandbox.assert_nothing_escaped();
    assert_eq!(sandbox.text("f"), "evil");
    // A hard link to a link links the link, and never what is behind it.
    let mut tar = Vec::new();
    symlink(&mut tar, "f", "../secret/file");
    put(&mut tar, EntryType::Link, "g", "f", b"");
    file(&mut tar, "g", "evil");
    Sandbox::good(&tar).assert_nothing_escaped();
    // A hard link through a link to a folder.
    let mut tar = Vec::new();
    symlink(&mut tar, "d", "../secret");
    put(&mut tar, EntryType::Link, "g", "d/file", b"");
    let (sandbox, done) = Sandbox::unpack(&tar);
    assert!(done.is_err());
    sandbox.assert_nothing_escaped();
    // A folder's time and mode set through a link that replaced it.
    let mut tar = Vec::new();
    folder(&mut tar, "d");
    symlink(&mut tar, "d", "../secret");
    Sandbox::good(&tar).assert_nothing_escaped();
}

#[test]
fn absolute_names_mean_the_layers_root() {
    let mut tar = Vec::new();
    file(&mut tar, "/etc//./hello", "hi");
    symlink(&mut tar, "/link", "/etc");
    file(&mut tar, "link/there", "yes");
    let sandbox = Sandbox::good(&tar);
    assert_eq!(sandbox.text("etc/hello"), "hi");
    assert_eq!(sandbox.text("etc/there"), "yes");
}

#[test]
fn links_to_folders_of_lower_layers_are_followed_in_name() {
    let mut tar = Vec::new();
    folder(&mut tar, "var");
    symlink(&mut tar, "var/run", "/run");
    file(&mut tar, "var/run/app/pid", "1");
    symlink(&mut tar, "loop", "loop/again");
    let sandbox = Sandbox::good(&tar);
    assert_eq!(sandbox.text("run/app/pid"), "1");
    file(&mut tar, "loop/file", "x");
    let (sandbox, done) = Sandbox::unpack(&tar);
    assert!(done.is_err(), "a loop has no end to write to");
    sandbox.assert_nothing_escaped();
}

#[test]
fn whiteouts_become_those_of_overlayfs() {
    let mut tar = Vec::new();
    folder(&mut tar, "etc");
    file(&mut tar, "etc/.wh.gone", "");
    folder(&mut tar, "fresh");
    file(&mut tar, "fresh/.wh..wh..opq", "");
    file(&mut tar, "fresh/new", "new");
    file(&mut tar, "implied/.wh..wh..opq", "");
    file(&mut tar, ".wh..wh.plnk", "");
    // What the layer brings itself stays, before the whiteout or after it.
    file(&mut tar, "kept", "kept");
    file(&mut tar, ".wh.kept", "");
    file(&mut tar, ".wh.later", "");
    file(&mut tar, "later", "later");
    // A folder that replaces a deleted one doesn't show the deleted one's content.
    file(&mut tar, ".wh.remade", "");
    folder(&mut tar, "remade");
    file(&mut tar, ".wh.deep", "");
    file(&mut tar, "deep/er/file", "x");
    folder(&mut tar, "first");
    file(&mut tar, ".wh.first", "");
    let sandbox = Sandbox::good(&tar);
    assert!(sandbox.is_whiteout("etc/gone"));
    assert!(sandbox.is_opaque("fresh") && sandbox.is_opaque("implied"));
    assert!(!sandbox.is_opaque("etc"));
    assert!(!sandbox.path(".wh..wh.plnk").exists());
    assert_eq!(sandbox.text("kept"), "kept");
    assert_eq!(sandbox.text("later"), "later");
    assert!(sandbox.is_opaque("remade") && sandbox.is_opaque("deep") && sandbox.is_opaque("first"));
    assert!(!sandbox.path("etc/.wh.gone").exists());
}

#[test]
fn overlayfs_mounts_the_result_and_hides_what_was_deleted() {
    use nix::mount::{MntFlags, MsFlags, mount, umount2};
    let mut lower = Vec::new();
    file(&mut lower, "gone", "old");
    file(&mut lower, "stays", "old");
    file(&mut lower, "d/old", "old");
    let mut upper = Vec::new();
    file(&mut upper, ".wh.gone", "");
    file(&mut upper, "d/.wh..wh..opq", "");
    file(&mut upper, "d/new", "new");
    let (lower, upper) = (Sandbox::good(&lower), Sandbox::good(&upper));
    let target = tempfile::tempdir().expect("temp dir");
    let options = format!("lowerdir={}:{}", upper.path("").display(), lower.path("").display());
    let mounted = mount(Some("overlay"), target.path(), Some("overlay"), MsFlags::MS_RDONLY, Some(options.as_str()));
    if let Err(e) = mounted {
        eprintln!("SKIPPED: overlayfs can't be mounted here: {e}");
        return;
    }
    let shown = |name: &str| target.path().join(name).exists();
    let seen = [shown("gone"), shown("stays"), shown("d/old"), shown("d/new")];
    umount2(target.path(), MntFlags::MNT_DETACH).expect("unmount");
    assert_eq!(seen, [false, true, false, true]);
}

#[test]
fn owners_are_shifted_and_modes_and_times_kept() {
    let mut tar = Vec::new();
    put_with(&mut tar, EntryType::Directory, ("./", ""), |h| h.set_mode(0o750));
    put_with(&mut tar, EntryType::Regular, ("bin/su", ""), |h| {
        h.set_mode(0o4755);
        h.set_uid(0);
        h.set_gid(42);
    });
    put_with(&mut tar, EntryType::Directory, ("tmp", ""), |h| {
        h.set_mode(0o1777);
        h.set_uid(1000);
    });
    file(&mut tar, "tmp/inside", "changes the folder's time");
    put_with(&mut tar, EntryType::Symlink, ("link", "bin/su"), |h| h.set_uid(65_535));
    put_with(&mut tar, EntryType::Fifo, ("pipe", ""), |h| h.set_mode(0o620));
    put_with(&mut tar, EntryType::Regular, ("alien", ""), |h| h.set_uid(70_000));
    put(&mut tar, EntryType::Link, "bin/also", "/bin/su", b"");
    put(&mut tar, EntryType::Link, "bin/also", "bin/also", b"");
    put(&mut tar, EntryType::Char, "dev/null", "", b"");
    let sandbox = Sandbox::good(&tar);
    let stat = |name: &str| std::fs::symlink_metadata(sandbox.path(name)).expect(name);
    assert_eq!(stat("").mode() & 0o7777, 0o750);
    assert_eq!((stat("bin").uid(), stat("bin").mode() & 0o7777), (BASE, 0o755));
    let su = stat("bin/su");
    assert_eq!((su.mode() & 0o7777, su.uid(), su.gid()), (0o4755, BASE, BASE + 42));
    assert_eq!((su.mtime(), su.nlink()), (1_600_000_000, 2));
    assert_eq!(su.ino(), stat("bin/also").ino());
    let tmp = stat("tmp");
    assert_eq!((tmp.mode() & 0o7777, tmp.uid(), tmp.mtime()), (0o1777, BASE + 1000, 1_600_000_000));
    assert_eq!((stat("link").uid(), stat("link").mtime()), (BASE + 65_535, 1_600_000_000));
    assert!(stat("pipe").file_type().is_fifo());
    assert_eq!((stat("pipe").mode() & 0o7777, stat("pipe").uid()), (0o620, BASE));
    assert_eq!(stat("alien").uid(), BASE + 65_534);
    assert!(!sandbox.path("dev/null").exists(), "device nodes are the runtime's");
}

#[test]
fn capabilities_count_in_the_containers_namespace_and_overlay_attributes_are_dropped() {
    // CAP_NET_BIND_SERVICE, permitted and effective, revision 2.
    let mut capability = 0x0200_0001_u32.to_le_bytes().to_vec();
    capability.extend_from_slice(&(1_u32 << 10).to_le_bytes());
    capability.resize(20, 0);
    let mut builder = tar::Builder::new(Vec::new());
    builder
        .append_pax_extensions([
            ("SCHILY.xattr.security.capability", capability.as_slice()),
            ("SCHILY.xattr.trusted.overlay.redirect", b"/etc".as_slice()),
            ("SCHILY.xattr.user.note", b"mine".as_slice()),
            ("mtime", b"1600000000.25".as_slice()),
        ])
        .expect("pax");
    let mut header = tar::Header::new_ustar();
    header.set_mode(0o755);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(0);
    builder.append_data(&mut header, "ping", std::io::empty()).expect("append");
    let sandbox = Sandbox::good(&builder.into_inner().expect("tar"));
    let get = |name: &std::ffi::CStr| get_xattr(&sandbox.path("ping"), name).expect("xattr");
    let stored = get(c"security.capability").expect("kept");
    assert_eq!(stored[..4], 0x0300_0001_u32.to_le_bytes());
    assert_eq!(stored[4..20], capability[4..]);
    assert_eq!(stored[20..], BASE.to_le_bytes());
    assert_eq!(get(c"trusted.overlay.redirect"), None);
    if let Some(note) = get(c"user.note") {
        assert_eq!(note, b"mine"); // tmpfs may have no user attributes
    }
    assert_eq!(std::fs::metadata(sandbox.path("ping")).expect("ping").mtime_nsec(), 250_000_000);
}

#[test]
fn later_entries_replace_earlier_ones_whatever_they_were() {
    let mut tar = Vec::new();
    file(&mut tar, "a/b/c", "deep");
    file(&mut tar, "a", "flat");
    file(&mut tar, "x", "flat");
    file(&mut tar, "x/y", "deep");
    file(&mut tar, "twice", "one");
    file(&mut tar, "twice", "two");
    let sandbox = Sandbox::good(&tar);
    assert_eq!(sandbox.text("a"), "flat");
    assert_eq!(sandbox.text("x/y"), "deep");
    assert_eq!(sandbox.text("twice"), "two");
}

#[test]
fn headers_cannot_ask_for_all_memory() {
    for kind in [EntryType::XHeader, EntryType::GNULongName, EntryType::GNULongLink] {
        let mut tar = Vec::new();
        put(&mut tar, kind, "long", "", &vec![b'a'; 9 << 20]);
        file(&mut tar, "file", "x");
        let (_sandbox, done) = Sandbox::unpack(&tar);
        assert!(matches!(done, Err(UnpackError::Read(_))), "{kind:?}: {done:?}");
    }
    // Content is no header, whatever kind of entry carries it.
    let mut tar = Vec::new();
    put(&mut tar, EntryType::Directory, "odd", "", &vec![0; 9 << 20]);
    put(&mut tar, EntryType::Regular, "big", "", &vec![0; 9 << 20]);
    file(&mut tar, "after", "x");
    assert_eq!(Sandbox::good(&tar).text("after"), "x");
}
