//! Registries that lie, break off or want tokens, played by a small server in the test.

mod image_support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use homerun_backend::oci::image::{BlobKind, Digest, ImageError, ImageStore, Settings};
use image_support::*;
use serde_json::json;

fn image() -> Image {
    let big = noise(400_000);
    Image::new(vec![Layer::new(&[("small", b"small")], "gzip"), Layer::new(&[("big", big.as_slice())], "gzip")])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_blob_names_both_digests_and_leaves_nothing() {
    let image = image();
    let parts =
        [(image.layers[1].digest(), BlobKind::Layer), (Digest::of(&image.config).to_string(), BlobKind::Config)];
    // One bit anywhere: in the header, in the middle, in the last byte.
    for (digest, kind) in parts {
        let good = image.blobs().remove(&digest).expect("blob");
        for at in [0, 3, good.len() / 2, good.len() - 1] {
            let mut bad = good.clone();
            bad[at] ^= 0x40;
            let (actual, wanted) = (Digest::of(&bad), digest.clone());
            let server = FakeServer::with_image(&image, move |request| {
                request.path.ends_with(&wanted).then(|| Answer::new(200, bad.clone()))
            })
            .await;
            let test = TestStore::new("{}");
            let error = test.resolve(&format!("{}/app:1", server.host)).await.expect_err("damaged");
            let text = chain(&error);
            assert!(matches!(&error, ImageError::DigestMismatch { what, .. } if *what == kind), "{at}: {text}");
            assert!(text.contains(&digest) && text.contains(actual.as_str()), "{text}");
            test.assert_nothing_kept(&[&image.layers[0]]).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_manifest_or_diff_id_is_refused() {
    let image = image();
    let mut other = image.manifest.clone();
    other.push(b'\n');
    let bad = other.clone();
    let server = FakeServer::with_image(&image, move |request| {
        request.path.contains("/manifests/").then(|| Answer::new(200, bad.clone()))
    })
    .await;
    let test = TestStore::new("{}");
    let pinned = format!("{}/app@{}", server.host, image.digest());
    let text = chain(&test.resolve(&pinned).await.expect_err("another manifest"));
    assert!(text.contains(&image.digest()) && text.contains(Digest::of(&other).as_str()), "{text}");

    let mut lying = image.layers[0].clone();
    lying.plain = tar_of(&[("small", b"other")]);
    let promised = lying.diff_id();
    let lying = Image::new(vec![lying]);
    let server = FakeServer::with_image(&lying, |_| None).await;
    let error = test.resolve(&format!("{}/app:1", server.host)).await.expect_err("wrong diff id");
    assert!(matches!(&error, ImageError::DigestMismatch { what: BlobKind::UncompressedLayer, .. }), "{error}");
    assert!(error.to_string().contains(&promised), "{error}");
    test.assert_nothing_kept(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncated_blob_is_an_interrupted_download() {
    let image = image();
    let digest = image.layers[1].digest();
    let wanted = digest.clone();
    let server = FakeServer::with_image(&image, move |request| {
        request.path.ends_with(&wanted).then(|| Answer::new(200, noise(1000)))
    })
    .await;
    let test = TestStore::new("{}");
    let error = test.resolve(&format!("{}/app:1", server.host)).await.expect_err("short");
    let text = chain(&error);
    assert!(matches!(error, ImageError::Interrupted { done: 1000, .. }), "{text}");
    assert!(text.contains(&server.host) && text.contains(&digest), "{text}");
    test.assert_nothing_kept(&[&image.layers[0]]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_longer_than_promised_is_refused() {
    let image = image();
    let wanted = image.layers[1].digest();
    let long = [image.layers[1].stored.clone(), vec![0; 5000]].concat();
    let server = FakeServer::with_image(&image, move |request| {
        request.path.ends_with(&wanted).then(|| Answer::new(200, long.clone()))
    })
    .await;
    let test = TestStore::new("{}");
    let error = test.resolve(&format!("{}/app:1", server.host)).await.expect_err("long");
    assert!(matches!(error, ImageError::Malformed { what: BlobKind::Layer, .. }), "{}", chain(&error));
    test.assert_nothing_kept(&[&image.layers[0]]).await;
}

/// With ranges the rest is asked for; without them what is known already is skipped.
#[tokio::test(flavor = "multi_thread")]
async fn a_broken_connection_is_resumed() {
    for ranges in [true, false] {
        let image = image();
        let (digest, stored) = (image.layers[1].digest(), image.layers[1].stored.clone());
        let tries = Arc::new(AtomicUsize::new(0));
        let (count, size) = (tries.clone(), stored.len());
        let server = FakeServer::with_image(&image, move |request| {
            if !request.path.ends_with(&digest) {
                return None;
            }
            let from: usize = request.headers["range"]
                .trim_start_matches("bytes=")
                .split('-')
                .next()
                .and_then(|from| from.parse().ok())
                .expect("a range");
            let mut answer = match ranges {
                true => Answer::new(206, stored[from..].to_vec())
                    .header("content-range", format!("bytes {from}-{}/{size}", size - 1)),
                false => Answer::new(200, stored.clone()),
            };
            if count.fetch_add(1, Ordering::SeqCst) == 0 {
                answer.cut = Some(size / 2);
            }
            Some(answer)
        })
        .await;
        let test = TestStore::new("{}");
        let resolved = test.resolve(&format!("{}/app:1", server.host)).await;
        let resolved = resolved.unwrap_or_else(|e| panic!("ranges {ranges}: {}", chain(&e)));
        assert_eq!(std::fs::read(resolved.layers[1].join("big")).expect("big"), noise(400_000));
        assert_eq!(tries.load(Ordering::SeqCst), 2, "ranges {ranges}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn passing_failures_are_tried_again_and_lasting_ones_reported() {
    let tries = Arc::new(AtomicUsize::new(0));
    let count = tries.clone();
    let server = FakeServer::with_image(&image(), move |request| {
        let first = request.path.contains("/manifests/") && count.fetch_add(1, Ordering::SeqCst) == 0;
        first.then(|| Answer::new(503, "busy"))
    })
    .await;
    let test = TestStore::new("{}");
    test.resolve(&format!("{}/app:1", server.host)).await.expect("second try");

    let server = FakeServer::start(|_| Answer::new(500, "down")).await;
    let error = test.resolve(&format!("{}/app:1", server.host)).await.expect_err("down");
    assert!(matches!(error, ImageError::Registry { .. }), "{}", chain(&error));
    assert!(error.to_string().contains(&server.host), "{error}");

    // A port that nobody listens on, and one where nobody answers.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("port");
    let error = test.resolve(&format!("{closed}/app:1")).await.expect_err("closed");
    assert_eq!(error.to_string(), format!("Registry {closed} can't be reached."));
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = silent.local_addr().expect("address");
    let error = test.resolve(&format!("{address}/app:1")).await.expect_err("silent");
    assert!(matches!(error, ImageError::Unreachable { .. }), "{}", chain(&error));
}

#[tokio::test(flavor = "multi_thread")]
async fn simultaneous_pulls_do_the_work_once() {
    let server = Arc::new(FakeServer::with_image(&image(), |_| None).await);
    let test = TestStore::new("{}");
    let pulls = (0..8).map(|_| {
        let (store, name) = (test.store.clone(), format!("{}/app:1", server.host));
        tokio::spawn(async move { store.resolve(&name, &|_| {}).await })
    });
    let mut results = Vec::new();
    for pull in pulls.collect::<Vec<_>>() {
        results.push(pull.await.expect("task").expect("pulls"));
    }
    assert!(results.iter().all(|result| *result == results[0]));
    assert_eq!(server.count("/blobs/"), 3, "configuration and two layers");
    // A pinned name asks nobody.
    let before = server.count("");
    test.resolve(&results[0].reference).await.expect("here");
    assert_eq!(server.count(""), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_that_is_given_up_leaves_nothing_and_the_next_one_succeeds() {
    let image = image();
    let digest = image.layers[1].digest();
    let tries = Arc::new(AtomicUsize::new(0));
    let (count, stored) = (tries.clone(), image.layers[1].stored.clone());
    let server = FakeServer::with_image(&image, move |request| {
        let first = request.path.ends_with(&digest) && count.fetch_add(1, Ordering::SeqCst) == 0;
        first.then(|| {
            // Slow enough to be given up on.
            std::thread::sleep(std::time::Duration::from_millis(700));
            Answer::new(200, stored.clone())
        })
    })
    .await;
    let test = TestStore::new("{}");
    let name = format!("{}/app:1", server.host);
    let pull = tokio::time::timeout(std::time::Duration::from_millis(300), test.resolve(&name));
    assert!(pull.await.is_err(), "given up");
    test.resolve(&name).await.expect("second pull");
    let left = std::fs::read_dir(test.images().join("tmp")).expect("tmp").count();
    assert_eq!(left, 0);
}

/// The token server of the distribution specification, as Docker Hub and others have it.
async fn with_token_server(
    token_answer: impl Fn(&Request) -> Answer + Send + Sync + 'static,
) -> (FakeServer, FakeServer) {
    let tokens = FakeServer::start(token_answer).await;
    let challenge = format!("Bearer realm=\"http://{}/token\",service=\"registry.test\"", tokens.host);
    let registry = FakeServer::with_image(&image(), move |request| {
        let authorized = request.headers.get("authorization").is_some_and(|a| a == "Bearer good-token");
        (!authorized).then(|| {
            Answer::new(401, r#"{"errors":[{"code":"UNAUTHORIZED","message":"no"}]}"#)
                .header("www-authenticate", challenge.clone())
        })
    })
    .await;
    (registry, tokens)
}

#[tokio::test(flavor = "multi_thread")]
async fn bearer_tokens_are_fetched_anonymously_or_with_a_password() {
    let basic = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode("ann:pw"));
    for (config, expected) in [("anonymous", None), ("password", Some(basic))] {
        let wanted = expected.clone();
        let (registry, tokens) = with_token_server(move |request| {
            let scoped = request.path.contains("scope=repository%3Ateam%2Fapp%3Apull")
                && request.path.contains("service=registry.test");
            match scoped && request.headers.get("authorization") == wanted.as_ref() {
                true => Answer::new(200, r#"{"token":"good-token","expires_in":300}"#),
                false => Answer::new(401, "no"),
            }
        })
        .await;
        let docker = match config {
            "password" => json!({"auths": {&registry.host: {"username": "ann", "password": "pw"}}}),
            _ => json!({}),
        };
        let test = TestStore::new(&docker.to_string());
        let pulled = test.resolve(&format!("{}/team/app:1", registry.host)).await;
        pulled.unwrap_or_else(|e| panic!("{config}: {}", chain(&e)));
        assert_eq!(tokens.count("/token"), 1, "one token serves the whole pull");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusing_token_server_means_unauthorized() {
    let (registry, _tokens) = with_token_server(|_| Answer::new(401, "no")).await;
    let test = TestStore::new("{}");
    let error = test.resolve(&format!("{}/team/app:1", registry.host)).await.expect_err("refused");
    assert!(matches!(error, ImageError::Unauthorized { .. }), "{}", chain(&error));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_token_is_exchanged() {
    let (registry, tokens) = with_token_server(|request| {
        let good = request.method == "POST"
            && request.body.contains("grant_type=refresh_token")
            && request.body.contains("refresh_token=refresh%26me")
            && request.body.contains("scope=repository%3Ateam%2Fapp%3Apull");
        match good {
            true => Answer::new(200, r#"{"access_token":"good-token"}"#),
            false => Answer::new(400, request.body.clone()),
        }
    })
    .await;
    let config = |token: &str| json!({"auths": {&registry.host: {"identitytoken": token}}}).to_string();
    let name = format!("{}/team/app:1", registry.host);
    let pulled = TestStore::new(&config("refresh&me")).resolve(&name).await;
    pulled.unwrap_or_else(|e| panic!("{}", chain(&e)));
    assert_eq!(tokens.count("/token"), 1);
    let error = TestStore::new(&config("stale")).resolve(&name).await.expect_err("stale");
    assert!(matches!(error, ImageError::Credentials { .. }), "{}", chain(&error));
}

#[tokio::test(flavor = "multi_thread")]
async fn artifacts_and_ambiguous_documents_are_no_images() {
    let mut chart = Layer::new(&[("Chart.yaml", b"x")], "gzip");
    chart.media_type = "application/vnd.cncf.helm.chart.content.v1.tar+gzip".into();
    let chart = Image::new(vec![chart]);
    let server = FakeServer::with_image(&chart, |_| None).await;
    let test = TestStore::new("{}");
    let error = test.resolve(&format!("{}/chart:1", server.host)).await.expect_err("a chart");
    assert!(chain(&error).contains("helm"), "{}", chain(&error));
    for document in [r#"{"schemaVersion":1}"#, r#"{"schemaVersion":2,"manifests":[],"layers":[]}"#, "<html>", ""] {
        let server = FakeServer::start(move |request| match request.path.contains("/manifests/") {
            true => Answer::new(200, document),
            false => Answer::new(200, ""),
        })
        .await;
        let error = test.resolve(&format!("{}/app:1", server.host)).await.expect_err(document);
        assert!(matches!(error, ImageError::Malformed { .. }), "{document}: {}", chain(&error));
    }
}

#[test]
fn opening_removes_what_a_crash_left_and_refuses_other_ids() {
    let dir = tempfile::tempdir().expect("temp dir");
    drop(ImageStore::open(dir.path(), Settings::default()).expect("open"));
    std::fs::create_dir_all(dir.path().join("tmp/layer-x/layer/etc")).expect("leftover");
    std::fs::write(dir.path().join("tmp/layer-x/layer/etc/half"), "half").expect("leftover");
    drop(ImageStore::open(dir.path(), Settings::default()).expect("reopen"));
    assert_eq!(std::fs::read_dir(dir.path().join("tmp")).expect("tmp").count(), 0);
    let moved = Settings { id_base: 2_000_000, ..Settings::default() };
    let error = ImageStore::open(dir.path(), moved).expect_err("other ids").to_string();
    assert!(error.contains("1000000") && error.contains("2000000"), "{error}");
}
