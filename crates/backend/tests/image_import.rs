//! Importing archives, layouts and root file systems.

mod image_support;

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use homerun_backend::oci::image::{ArchiveProblem, Digest, ImageError, ImportOptions, ResolvedImage};
use image_support::*;
use serde_json::json;

fn image() -> Image {
    Image::new(vec![Layer::new(&[("base", b"base")], "gzip"), Layer::new(&[("app", b"app")], "zstd")])
}

/// The files of an OCI layout.
fn layout(image: &Image) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = image.blobs().into_iter().collect();
    files.push((image.digest(), image.manifest.clone()));
    let mut files: Vec<_> =
        files.into_iter().map(|(digest, bytes)| (format!("blobs/{}", digest.replace(':', "/")), bytes)).collect();
    let mut entry = image.entry(architecture());
    entry.as_object_mut().expect("object").remove("platform");
    files.push(("oci-layout".into(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()));
    files.push(("index.json".into(), index_of(vec![entry])));
    files
}

/// A `docker save` archive as docker before 25 wrote it: plain layers, an equal one as a link.
fn saved(image: &Image) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut add = |name: &str, bytes: &[u8], link: Option<&str>| {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(bytes.len() as u64);
        match link {
            Some(target) => {
                header.set_entry_type(tar::EntryType::Symlink);
                builder.append_link(&mut header, name, target).expect("link");
            }
            None => builder.append_data(&mut header, name, bytes).expect("append"),
        }
    };
    add("a/layer.tar", &image.layers[0].plain, None);
    add("b/layer.tar", &image.layers[1].plain, None);
    add("c/layer.tar", b"", Some("../a/layer.tar"));
    let mut config: serde_json::Value = serde_json::from_slice(&image.config).expect("config");
    let diff_ids = config["rootfs"]["diff_ids"].as_array_mut().expect("list");
    diff_ids.push(diff_ids[0].clone());
    add("config.json", config.to_string().as_bytes(), None);
    let layers = ["a/layer.tar", "b/layer.tar", "c/layer.tar"];
    let manifest = json!([{"Config": "config.json", "RepoTags": ["x:1"], "Layers": layers}]);
    add("manifest.json", manifest.to_string().as_bytes(), None);
    builder.into_inner().expect("tar")
}

fn archive(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let files: Vec<_> = files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
    tar_of(&files)
}

fn check(image: &ResolvedImage, name: &str) {
    assert!(image.reference.starts_with(&format!("localhost/{name}@sha256:")), "{}", image.reference);
    let file = |file: &str| image.layers.iter().any(|layer| layer.join(file).is_file());
    assert!(file("base") && file("app"));
    assert_eq!((&image.config.cmd[..], &image.config.env[..]), (&["/app".into()][..], &["A=1".into()][..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn layouts_and_archives_of_all_kinds_are_imported_and_found_by_name() {
    let image = image();
    let test = TestStore::new("{}");
    let folder = test.dir.path().join("layout");
    for (name, bytes) in layout(&image) {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().expect("parent")).expect("folder");
        std::fs::write(path, bytes).expect("file");
    }
    let oci = archive(&layout(&image));
    let docker = saved(&image);
    let forms: [(&str, Option<Vec<u8>>); 6] = [
        ("folder", None),
        ("oci", Some(oci.clone())),
        ("oci-gzip", Some(gzip(&oci))),
        ("oci-zstd", Some(zstd(&oci))),
        ("docker", Some(docker.clone())),
        ("docker-gzip", Some(gzip(&docker))),
    ];
    for (name, bytes) in forms {
        let path = match &bytes {
            Some(bytes) => {
                let path = test.dir.path().join(name);
                std::fs::write(&path, bytes).expect("archive");
                path
            }
            None => folder.clone(),
        };
        let full = format!("localhost/{name}:v1");
        let imported = test.store.import(&path, &full, ImportOptions::default()).await;
        let imported = imported.unwrap_or_else(|e| panic!("{name}: {}", chain(&e)));
        check(&imported, name);
        assert_eq!(test.resolve(&full).await.expect("by name"), imported);
        assert_eq!(test.store.get(&imported.reference), Some(imported.clone()));
        if !name.starts_with("docker") {
            assert_eq!(imported.digest, image.digest(), "{name} keeps its digest");
        }
        if let Some(bytes) = bytes {
            let streamed = test.store.import_stream(bytes.as_slice(), "localhost/streamed", ImportOptions::default());
            assert_eq!(streamed.await.expect(name).digest, imported.digest, "{name}");
        }
    }
    let names: Vec<_> = test.store.list().into_iter().map(|image| image.name).collect();
    assert_eq!(names.len(), 7);
    assert!(names.contains(&"localhost/streamed:latest".to_owned()), "{names:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_root_file_system_becomes_an_image_with_the_given_command() {
    let test = TestStore::new("{}");
    let root = test.dir.path().join("root");
    std::fs::create_dir_all(root.join("usr/bin")).expect("folder");
    std::fs::write(root.join("usr/bin/app"), "app").expect("file");
    std::fs::hard_link(root.join("usr/bin/app"), root.join("usr/bin/twin")).expect("link");
    std::os::unix::fs::symlink("usr/bin", root.join("bin")).expect("symlink");
    std::os::unix::fs::chown(root.join("usr/bin/app"), Some(5), Some(6)).expect("chown");
    std::fs::set_permissions(root.join("usr/bin/app"), std::os::unix::fs::PermissionsExt::from_mode(0o4711))
        .expect("mode");
    let long = "n".repeat(200);
    std::fs::write(root.join(&long), "long").expect("file");
    std::os::unix::net::UnixListener::bind(root.join("socket")).expect("socket");
    let options =
        ImportOptions { entrypoint: vec!["/usr/bin/app".into()], cmd: vec!["-v".into()], env: vec!["A=1".into()] };
    let image = test.store.import(&root, "localhost/tools/app", options.clone()).await;
    let image = image.unwrap_or_else(|e| panic!("{}", chain(&e)));
    assert_eq!(
        (&image.config.entrypoint, &image.config.cmd, &image.config.env),
        (&options.entrypoint, &options.cmd, &options.env)
    );
    let [layer] = image.layers.as_slice() else { panic!("one layer") };
    let meta = std::fs::metadata(layer.join("usr/bin/app")).expect("app");
    assert_eq!((meta.uid(), meta.gid(), meta.mode() & 0o7777), (1_000_005, 1_000_006, 0o4711));
    assert_eq!(meta.ino(), std::fs::metadata(layer.join("usr/bin/twin")).expect("twin").ino());
    assert_eq!(std::fs::read_link(layer.join("bin")).expect("symlink"), Path::new("usr/bin"));
    assert_eq!(std::fs::read_to_string(layer.join(&long)).expect("long"), "long");
    assert!(!layer.join("socket").exists());
    // The same folder is the same image.
    let again = test.store.import(&root, "localhost/tools/again", options.clone()).await.expect("again");
    assert_eq!(again.digest, image.digest);

    let tar = tar_of(&[("bin/app", b"app")]);
    for bytes in [tar.clone(), gzip(&tar)] {
        let image = test.store.import_stream(bytes.as_slice(), "localhost/tar:1", options.clone()).await;
        let image = image.expect("a root file system in a tar");
        assert_eq!(std::fs::read(image.layers[0].join("bin/app")).expect("app"), b"app");
        assert_eq!(image.config.cmd, ["-v"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_imported_says_why_and_keeps_the_old_image() {
    let test = TestStore::new("{}");
    let store = &test.store;
    let import = |bytes: Vec<u8>, name: &'static str| async move {
        store.import_stream(bytes.as_slice(), name, ImportOptions::default()).await
    };
    let good = import(archive(&layout(&image())), "localhost/app").await.expect("good");

    for name in ["app", "127.0.0.1:5000/app", "ghcr.io/app"] {
        assert!(matches!(import(tar_of(&[("a", b"a")]), name).await, Err(ImageError::NotLocal { .. })), "{name}");
    }
    let mut files = layout(&image());
    let bad = files.iter_mut().find(|(name, _)| name.ends_with(&image().layers[0].digest()[7..])).expect("layer");
    bad.1[20] ^= 1;
    let actual = Digest::of(&bad.1);
    // Not known yet, or the layer would not be read at all.
    let fresh = TestStore::new("{}");
    let bytes = archive(&files);
    let error = fresh.store.import_stream(bytes.as_slice(), "localhost/app", ImportOptions::default());
    let error = error.await.expect_err("damaged");
    assert!(
        matches!(error, ImageError::DigestMismatch { .. }) && error.to_string().contains(actual.as_str()),
        "{error}"
    );
    fresh.assert_nothing_kept(&[]).await;

    assert_eq!(test.resolve("localhost/app").await.expect("still there"), good);
    test.store.remove("localhost/app").await.expect("removes");
    assert!(matches!(test.resolve("localhost/app").await, Err(ImageError::NotFound { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn archives_that_hold_no_image_say_what_they_lack() {
    let test = TestStore::new("{}");
    let store = &test.store;
    let import = |bytes: Vec<u8>, name: &'static str| async move {
        store.import_stream(bytes.as_slice(), name, ImportOptions::default()).await
    };
    let without: Vec<_> =
        layout(&image()).into_iter().filter(|(name, _)| !name.ends_with(&image().digest()[7..])).collect();
    for (bytes, wanted) in [
        (archive(&without), "lacks the file 'blobs/sha256/"),
        (b"this is no archive at all, however long it may be".repeat(50), "no tar archive"),
        (gzip(b"nor is this".repeat(100).as_slice()), "no tar archive"),
        (Vec::new(), "no image"),
        (tar_of(&[("manifest.json", b"[]")]), "no image"),
        (tar_of(&[("manifest.json", b"{")]), "manifest.json is not valid"),
        (tar_of(&[("manifest.json", br#"[{"Config":"c","Layers":[]},{"Config":"c","Layers":[]}]"#)]), "2 images"),
    ] {
        let error = import(bytes, "localhost/app").await.expect_err(wanted);
        assert!(chain(&error).contains(wanted), "{wanted}: {}", chain(&error));
    }
    let half = gzip(&tar_of(&[("a", &noise(100_000))]));
    let error = import(half[..half.len() / 2].to_vec(), "localhost/app").await.expect_err("half");
    assert!(matches!(error, ImageError::NotAnImage { source: ArchiveProblem::NotTar(_), .. }), "{error}");
    let missing = store.import(Path::new("/nonexistent"), "localhost/app", ImportOptions::default()).await;
    assert!(matches!(missing, Err(ImageError::Io { .. })));
}
