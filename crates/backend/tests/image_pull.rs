//! Pulling from a real registry (Debian's docker-registry).

mod image_support;

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use homerun_backend::oci::image::{ImageConfig, ImageError, ImageStore, LayerPhase, LayerProgress, ResolvedImage};
use image_support::*;
use serde_json::json;

fn three_layers() -> Vec<Layer> {
    vec![
        Layer::new(&[("etc/base", b"base"), ("app", b"old")], "gzip"),
        Layer::new(&[("app", b"new")], "zstd"),
        Layer::new(&[("data", &noise(700_000))], ""),
    ]
}

/// The file that the container would see: the topmost that has it.
fn seen(image: &ResolvedImage, name: &str) -> Option<Vec<u8>> {
    image.layers.iter().rev().find_map(|layer| std::fs::read(layer.join(name)).ok())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_with_gzip_zstd_and_plain_layers_is_pulled_and_then_served_offline() {
    let Some(registry) = Registry::start(None).await else {
        return;
    };
    let run = json!({"Entrypoint": ["/app"], "Cmd": ["--serve"], "Env": ["A=1"], "User": "7:8",
        "WorkingDir": "/etc", "ExposedPorts": {"8080/tcp": {}}, "Labels": {"k": "v"}, "StopSignal": "SIGQUIT"});
    let ours = Image::with(three_layers(), architecture(), run, OCI_MANIFEST);
    let other = Image::with(vec![Layer::new(&[("app", b"alien")], "gzip")], "s390x", json!({}), OCI_MANIFEST);
    registry.push("team/app", "ours", &ours).await;
    registry.push("team/app", "other", &other).await;
    let index = index_of(vec![other.entry("s390x"), ours.entry(architecture())]);
    registry.push_manifest("team/app", "1.0", OCI_INDEX, index.clone()).await;

    let test = TestStore::new("{}");
    let name = format!("{}/team/app:1.0", registry.host);
    let (progress, report) = collect_progress();
    let image = test.store.resolve(&name, &report).await.expect("pulls");

    let digest = homerun_backend::oci::image::Digest::of(&index).to_string();
    assert_eq!(image.digest, digest);
    assert_eq!(image.reference, format!("{}/team/app@{digest}", registry.host));
    assert_eq!(image.layers.len(), 3);
    assert_eq!(seen(&image, "app").as_deref(), Some(b"new".as_slice()));
    assert_eq!(seen(&image, "data"), Some(noise(700_000)));
    let owner = std::fs::metadata(image.layers[0].join("etc/base")).expect("file");
    assert_eq!((owner.uid(), owner.gid()), (1_000_007, 1_000_008));
    assert_eq!(std::fs::metadata(&image.layers[0]).expect("root").permissions().mode() & 0o777, 0o755);
    assert_config(&image.config);
    let stored: usize = ours.layers.iter().map(|l| l.stored.len()).sum::<usize>() + ours.config.len();
    assert_eq!(image.size, stored as u64);

    assert_progress(&progress.lock().expect("lock"), &ours);
    drop(registry);
    assert_served_offline(test, &name, image).await;
}

fn assert_config(config: &ImageConfig) {
    assert_eq!((&config.entrypoint[..], &config.cmd[..]), (&["/app".into()][..], &["--serve".into()][..]));
    assert_eq!((config.user.as_str(), config.working_dir.as_str()), ("7:8", "/etc"));
    assert_eq!((&config.exposed_ports[..], config.labels["k"].as_str()), (&["8080/tcp".into()][..], "v"));
    assert_eq!(config.stop_signal.as_deref(), Some("SIGQUIT"));
}

/// Every layer is announced before the first byte, and ends complete.
fn assert_progress(progress: &[LayerProgress], ours: &Image) {
    assert!(progress[..3].iter().all(|p| p.phase == LayerPhase::Waiting && p.total > 0));
    for layer in &ours.layers {
        let last = progress.iter().rfind(|p| p.layer.as_str() == layer.digest()).expect("reported");
        assert_eq!((last.phase, last.done), (LayerPhase::Done, layer.stored.len() as u64));
    }
    let big = ours.layers[2].digest();
    assert!(progress.iter().any(|p| p.layer.as_str() == big && p.done > 0 && p.done < p.total));
}

/// Nothing of this needs the registry, in this process or the next.
async fn assert_served_offline(test: TestStore, name: &str, image: ResolvedImage) {
    assert_eq!(test.store.get(&image.reference), Some(image.clone()));
    assert_eq!(test.resolve(&image.reference).await.expect("offline"), image);
    assert!(matches!(test.resolve(name).await, Err(ImageError::Unreachable { .. })));
    let listed = test.store.list();
    assert_eq!((listed.len(), listed[0].name.as_str(), listed[0].size), (1, name, image.size));
    let (folder, settings) = (test.images(), test.settings.clone());
    let TestStore { dir: _dir, store, .. } = test;
    assert!(matches!(ImageStore::open(&folder, settings.clone()), Err(ImageError::InUse { .. })));
    drop(store);
    let again = ImageStore::open(&folder, settings).expect("reopens");
    assert_eq!(again.get(&image.reference), Some(image));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_moved_tag_gives_the_new_image_while_the_old_pin_stays() {
    let Some(registry) = Registry::start(None).await else {
        return;
    };
    let shared = Layer::new(&[("base", b"base")], "gzip");
    let first = Image::new(vec![shared.clone(), Layer::new(&[("v", b"1")], "gzip")]);
    let second = Image::with(
        vec![shared, Layer::new(&[("v", b"2")], "gzip")],
        architecture(),
        json!({"Labels": null, "Entrypoint": null}),
        DOCKER_MANIFEST,
    );
    let test = TestStore::new("{}");
    let name = format!("{}/app:latest", registry.host);
    registry.push("app", "latest", &first).await;
    let old = test.resolve(&name).await.expect("first");
    registry.push("app", "latest", &second).await;
    let new = test.resolve(&format!("{}/app", registry.host)).await.expect("Docker's manifest");
    assert_eq!(seen(&new, "v").as_deref(), Some(b"2".as_slice()));
    assert_eq!(test.store.get(&old.reference), Some(old.clone()));
    assert_eq!(new.layers[0], old.layers[0], "shared layers are unpacked once");

    // Without names, only what is in use stays.
    assert!(test.store.remove(&name).await.expect("removes"));
    assert!(!test.store.remove(&name).await.expect("knows"));
    let removed = test.store.gc(std::slice::from_ref(&old.reference)).await.expect("gc");
    assert_eq!(removed, 1);
    assert_eq!(test.store.get(&new.reference), None);
    assert_eq!(seen(&test.store.get(&old.reference).expect("kept"), "v").as_deref(), Some(b"1".as_slice()));
    assert_eq!(test.store.gc(&[]).await.expect("gc"), 2);
    assert_eq!(test.store.get(&old.reference), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_named() {
    let Some(registry) = Registry::start(None).await else {
        return;
    };
    let other = Image::with(vec![Layer::new(&[("a", b"a")], "gzip")], "s390x", json!({}), OCI_MANIFEST);
    registry.push("app", "alien", &other).await;
    registry.push_manifest("app", "index", OCI_INDEX, index_of(vec![other.entry("s390x")])).await;
    let test = TestStore::new("{}");
    let host = &registry.host;
    for missing in
        [format!("{host}/app:none"), format!("{host}/none:1"), format!("{host}/app@sha256:{}", "0".repeat(64))]
    {
        let error = test.resolve(&missing).await.expect_err("missing");
        assert_eq!(error.to_string(), format!("Image '{missing}' not found."));
    }
    for alien in ["index", "alien"] {
        let error = test.resolve(&format!("{host}/app:{alien}")).await.expect_err("other platform");
        let text = error.to_string();
        assert!(matches!(error, ImageError::NoPlatform { .. }), "{text}");
        assert!(text.contains(&format!("linux/{}", architecture())) && text.contains("linux/s390x"), "{text}");
    }
    test.assert_nothing_kept(&[]).await;
    let local = test.resolve("localhost/none").await.expect_err("not imported");
    assert_eq!(local.to_string(), "Image 'localhost/none' not found.");
    assert!(matches!(test.resolve("Bad Name").await, Err(ImageError::InvalidName { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn basic_auth_takes_dockers_credentials() {
    let Some(registry) = Registry::start(Some(("ann", "s3cret"))).await else {
        return;
    };
    let image = Image::new(vec![Layer::new(&[("a", b"a")], "gzip")]);
    registry.push("private", "1", &image).await;
    let name = format!("{}/private:1", registry.host);
    let config = |user: &str, password: &str| {
        json!({"auths": {&registry.host: {"username": user, "password": password}}}).to_string()
    };
    for refused in ["{}".to_owned(), config("ann", "wrong")] {
        let test = TestStore::new(&refused);
        let error = test.resolve(&name).await.expect_err("refused");
        assert!(matches!(error, ImageError::Unauthorized { .. }), "{}", chain(&error));
        assert!(error.to_string().contains(&name), "{error}");
    }
    let test = TestStore::new(&config("ann", "s3cret"));
    let resolved = test.resolve(&name).await.expect("with credentials");
    assert_eq!(seen(&resolved, "a").as_deref(), Some(b"a".as_slice()));
}

/// Runs itself again with a search path of its own: helpers are found there.
#[test]
fn basic_auth_takes_credentials_from_a_helper() {
    if let Ok(host) = std::env::var("HOMERUN_TEST_HELPER_HOST") {
        return pull_with_helper(&host);
    }
    let runtime = tokio::runtime::Runtime::new().expect("runtime");
    let Some(registry) = runtime.block_on(Registry::start(Some(("ann", "s3cret")))) else {
        return;
    };
    let image = Image::new(vec![Layer::new(&[("a", b"a")], "gzip")]);
    runtime.block_on(registry.push("private", "1", &image));
    let bin = tempfile::tempdir().expect("temp dir");
    let helper = bin.path().join("docker-credential-test");
    let script = "#!/bin/sh\nread -r server\n[ \"$1 $server\" = \"get $HOMERUN_TEST_HELPER_HOST\" ] || \
        { echo 'credentials not found in native keychain'; exit 1; }\n\
        echo '{\"ServerURL\":\"x\",\"Username\":\"ann\",\"Secret\":\"s3cret\"}'\n";
    std::fs::write(&helper, script).expect("helper");
    std::fs::set_permissions(&helper, std::fs::Permissions::from_mode(0o755)).expect("mode");
    let path = std::env::var("PATH").expect("PATH");
    let child = std::process::Command::new(std::env::current_exe().expect("self"))
        .args(["--exact", "basic_auth_takes_credentials_from_a_helper", "--nocapture"])
        .env("HOMERUN_TEST_HELPER_HOST", &registry.host)
        .env("PATH", format!("{}:{path}", bin.path().display()))
        .output()
        .expect("runs");
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stderr));
}

/// Runs itself again with other surroundings: a proxy, which loopback must not go through, or no
/// certificates, without which nobody can be asked.
#[test]
fn loopback_needs_no_proxy_and_missing_certificates_are_named() {
    let runtime = tokio::runtime::Runtime::new().expect("runtime");
    if let Ok(host) = std::env::var("HOMERUN_TEST_SURROUNDINGS_HOST") {
        let test = TestStore::new("{}");
        match runtime.block_on(test.resolve(&format!("{host}/app:1"))) {
            Ok(_) => println!("outcome: pulled"),
            Err(error) => println!("outcome: {}", error.full_message()),
        }
        return;
    }
    let Some(registry) = runtime.block_on(Registry::start(None)) else {
        return;
    };
    let image = Image::new(vec![Layer::new(&[("a", b"a")], "gzip")]);
    runtime.block_on(registry.push("app", "1", &image));
    let nothing = "/nonexistent";
    for (surroundings, outcome) in [
        ([("HTTP_PROXY", "http://127.0.0.1:9"), ("http_proxy", "http://127.0.0.1:9")], "pulled"),
        ([("SSL_CERT_FILE", nothing), ("SSL_CERT_DIR", nothing)], "ca-certificates"),
    ] {
        let child = std::process::Command::new(std::env::current_exe().expect("self"))
            .args(["--exact", "loopback_needs_no_proxy_and_missing_certificates_are_named"])
            .arg("--nocapture")
            .env("HOMERUN_TEST_SURROUNDINGS_HOST", &registry.host)
            .envs(surroundings)
            .env_remove("NO_PROXY")
            .env_remove("no_proxy")
            .output()
            .expect("runs");
        let text = String::from_utf8_lossy(&child.stdout);
        let line = text.lines().find(|line| line.contains("outcome: ")).unwrap_or_default();
        assert!(line.contains(outcome), "{surroundings:?}: {text}");
    }
}

fn pull_with_helper(host: &str) {
    let runtime = tokio::runtime::Runtime::new().expect("runtime");
    let name = format!("{host}/private:1");
    for (config, good) in [
        (json!({"credHelpers": {host: "test"}}), true),
        (json!({"credsStore": "test"}), true),
        (json!({"credHelpers": {"other.example": "test"}}), false),
    ] {
        let pulled = runtime.block_on(async { TestStore::new(&config.to_string()).resolve(&name).await });
        assert_eq!(pulled.is_ok(), good, "{config}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn repeated_layers_are_mounted_once_and_opaque_roots_hide_what_is_below() {
    let Some(registry) = Registry::start(None).await else {
        return;
    };
    let (a, b) = (Layer::new(&[("a", b"a")], "gzip"), Layer::new(&[("b", b"b")], "gzip"));
    let opaque = Layer::new(&[(".wh..wh..opq", b""), ("c", b"c")], "gzip");
    registry.push("app", "repeated", &Image::new(vec![a.clone(), b.clone(), a.clone()])).await;
    registry.push("app", "opaque", &Image::new(vec![a, opaque, b])).await;
    let test = TestStore::new("{}");
    let repeated = test.resolve(&format!("{}/app:repeated", registry.host)).await.expect("pulls");
    assert_eq!(repeated.layers.len(), 2);
    assert!(repeated.layers[0].join("b").exists() && repeated.layers[1].join("a").exists());
    let opaque = test.resolve(&format!("{}/app:opaque", registry.host)).await.expect("pulls");
    assert_eq!(opaque.layers.len(), 2);
    assert_eq!(seen(&opaque, "a"), None);
}
