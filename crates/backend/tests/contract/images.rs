//! The images that the tests run, made by hand from one static program.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, OnceLock};

use homerun_backend::Backend;
use serde_json::json;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

/// Runs as root, names a program only.
pub const PLAIN: &str = "localhost/plain:1";
/// Has a user, groups, a working directory that is missing, variables and arguments.
pub const RICH: &str = "localhost/rich:1";

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nweb:x:1234:1235:Web:/srv/web:/bin/false\n";
const GROUP: &str = "root:x:0:\nweb:x:1235:\nlogs:x:77:web\n";

/// The program that runs in the containers.
pub fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| match std::env::var_os("HOMERUN_TEST_INSIDE") {
        Some(path) => path.into(),
        None => compile(),
    })
}

fn compile() -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/contract/inside.rs");
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("inside");
    let flags = ["--edition=2024", "-O", "-Ctarget-feature=+crt-static", "-Cpanic=abort", "-Cstrip=symbols", "-o"];
    let done = Command::new("rustc").args(flags).arg(&program).arg(source).status();
    assert!(done.is_ok_and(|status| status.success()), "the program inside does not compile; set HOMERUN_TEST_INSIDE");
    program
}

/// Data directory with the images, imported once: that takes long on a slow machine.
static PREPARED: Mutex<Option<TempDir>> = Mutex::new(None);

/// A data directory with the images.
pub async fn data_dir() -> TempDir {
    let prepared =
        PREPARED.lock().expect("no test panics while it holds this").as_ref().map(|dir| dir.path().to_owned());
    let prepared = match prepared {
        Some(path) => path,
        None => {
            let dir = tempfile::tempdir().expect("a folder");
            let path = dir.path().to_owned();
            let backend = crate::world::open(&path, Arc::default()).await;
            import(backend.as_ref()).await;
            backend.shutdown(false).await;
            *PREPARED.lock().expect("no test panics while it holds this") = Some(dir);
            path
        }
    };
    let dir = tempfile::tempdir().expect("a folder");
    // With the owners, which are those that containers map.
    let copied = Command::new("cp").arg("-a").arg(prepared.join("images")).arg(dir.path()).status();
    assert!(copied.is_ok_and(|status| status.success()), "cp");
    dir
}

/// Removes what [`data_dir`] keeps.
pub fn forget() {
    drop(PREPARED.lock().expect("no test panics while it holds this").take());
}

/// Stores the images.
async fn import(backend: &dyn Backend) {
    let folder = tempfile::tempdir().expect("a folder");
    let plain = folder.path().join("plain");
    fs::create_dir_all(plain.join("tmp")).expect("a folder");
    fs::copy(program(), plain.join("inside")).expect("the program");
    fs::write(plain.join("from-image"), "of the image\n").expect("a file");
    backend.import(&plain, PLAIN, vec!["/inside".to_owned()]).await.expect("import a folder");
    let rich = folder.path().join("rich");
    layout(&rich);
    backend.import(&rich, RICH, Vec::new()).await.expect("import a layout");
}

/// The pinned name of a stored image.
pub async fn pinned(backend: &dyn Backend, name: &str) -> String {
    backend.pull(name, &|_| ()).await.expect("the image is here").pinned.reference
}

/// An OCI image layout with one layer.
fn layout(folder: &Path) {
    let mut tar = tar::Builder::new(Vec::new());
    let program = fs::read(program()).expect("the program");
    for (path, mode, content) in [
        ("inside", 0o755, program.as_slice()),
        ("etc/passwd", 0o644, PASSWD.as_bytes()),
        ("etc/group", 0o644, GROUP.as_bytes()),
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(content.len() as u64);
        tar.append_data(&mut header, path, content).expect("a file in the layer");
    }
    // As images with systemd have it: a link that leads nowhere until an init system runs.
    let mut link = tar::Header::new_gnu();
    link.set_entry_type(tar::EntryType::Symlink);
    link.set_size(0);
    link.set_mode(0o777);
    link.set_uid(0);
    link.set_gid(0);
    link.set_mtime(0);
    let target = "../run/systemd/resolve/stub-resolv.conf";
    tar.append_link(&mut link, "etc/resolv.conf", target).expect("a link in the layer");
    let layer = tar.into_inner().expect("a layer");
    let blobs = folder.join("blobs/sha256");
    fs::create_dir_all(&blobs).expect("a folder");
    let blob = |bytes: &[u8]| {
        let digest: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        fs::write(blobs.join(&digest), bytes).expect("a blob");
        (format!("sha256:{digest}"), bytes.len())
    };
    let (layer_digest, layer_size) = blob(&layer);
    let architecture = if std::env::consts::ARCH == "aarch64" { "arm64" } else { "amd64" };
    let config = json!({
        "architecture": architecture, "os": "linux", "rootfs": {"type": "layers", "diff_ids": [layer_digest]},
        "config": {"User": "web", "WorkingDir": "/made/up", "Entrypoint": ["/inside", "from-entrypoint"], "Cmd": ["from-cmd"],
                   "Env": ["FROM_IMAGE=yes", "BOTH=image", "PATH=/usr/bin:/"]},
    });
    let (config_digest, config_size) = blob(config.to_string().as_bytes());
    let manifest = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config_digest, "size": config_size},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": layer_digest, "size": layer_size}],
    });
    let (digest, size) = blob(manifest.to_string().as_bytes());
    let index = json!({
        "schemaVersion": 2,
        "manifests": [{"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": size}],
    });
    fs::write(folder.join("index.json"), index.to_string()).expect("the index");
    fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).expect("the layout's version");
}
