//! Row S09: the certificate of the ingress, given or made here.
#![allow(missing_docs, clippy::unwrap_used)]

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::Stack;
use homerun_server::certificate::renew::{Look, Renewal};
use homerun_server::certificate::{CertificateError, load};
use homerun_server::config::Config;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

mod common;

fn config(folder: &Path) -> Config {
    let mut config = Config { data_dir: folder.to_owned(), ..Config::default() };
    config.ingress.self_made_certificate = true;
    config
}

#[test]
fn s09_a_certificate_made_here_is_kept_until_its_names_change_or_its_end_is_near() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(folder.path());
    let (file, about) = (folder.path().join("tls/certificate.pem"), folder.path().join("tls/names"));
    assert!(load(&config).unwrap().is_some());
    let first = fs::read_to_string(&file).unwrap();
    assert!(load(&config).unwrap().is_some());
    assert_eq!(fs::read_to_string(&file).unwrap(), first);

    config.url.domain = "run.example.com".to_owned();
    assert!(load(&config).unwrap().is_some());
    let second = fs::read_to_string(&file).unwrap();
    assert_ne!(second, first, "the services' hosts are others");

    let (end, names) =
        fs::read_to_string(&about).unwrap().split_once(' ').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    assert!(names.contains("*.us-central1.run.example.com"), "{names}");
    let soon = chrono::Utc::now().timestamp() + 20 * 86_400;
    assert!(end.parse::<i64>().unwrap() > soon);
    fs::write(&about, format!("{soon} {names}")).unwrap();
    assert!(load(&config).unwrap().is_some());
    assert_ne!(fs::read_to_string(&file).unwrap(), second, "it ends in 20 days");
}

#[test]
fn s09_wrong_certificate_settings_say_what_would_be_right() {
    let folder = tempfile::tempdir().unwrap();
    assert!(load(&Config { data_dir: folder.path().to_owned(), ..Config::default() }).unwrap().is_none());

    let mut half = config(folder.path());
    half.ingress.certificate = Some("cert.pem".into());
    half.ingress.self_made_certificate = false;
    let error = load(&half).unwrap_err();
    assert!(matches!(error, CertificateError::Half { missing: "key" }));
    assert!(error.to_string().contains("--tls-key"), "{error}");

    let mut both = config(folder.path());
    (both.ingress.certificate, both.ingress.key) = (Some("cert.pem".into()), Some("key.pem".into()));
    assert!(matches!(load(&both).unwrap_err(), CertificateError::Both));

    both.ingress.self_made_certificate = false;
    let error = load(&both).unwrap_err();
    assert!(matches!(error, CertificateError::Read { field: "certificate", .. }), "{error}");

    // The certificate that is made is right; its key is another's.
    let other = tempfile::tempdir().unwrap();
    let kept = [config(folder.path()), config(other.path())];
    assert!(kept.iter().all(|config| load(config).unwrap().is_some()));
    let mut mixed = Config::default();
    mixed.ingress.certificate = Some(folder.path().join("tls/certificate.pem"));
    mixed.ingress.key = Some(other.path().join("tls/key.pem"));
    assert!(matches!(load(&mixed).unwrap_err(), CertificateError::Wrong { .. }));
}

/// Certificates that are given: these files, with what is made for a domain in them.
fn give(folder: &Path, domain: &str) {
    let made = tempfile::tempdir().unwrap();
    let mut settings = config(made.path());
    settings.url.domain = domain.to_owned();
    load(&settings).unwrap().unwrap();
    for name in ["key.pem", "certificate.pem"] {
        fs::copy(made.path().join("tls").join(name), folder.join(name)).unwrap();
    }
}

fn given(folder: &Path, config: &mut Config) {
    config.ingress.certificate = Some(folder.join("certificate.pem"));
    config.ingress.key = Some(folder.join("key.pem"));
}

#[test]
fn s09_a_changed_certificate_is_taken_and_a_wrong_one_is_told_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = Config::default();
    given(folder.path(), &mut config);
    give(folder.path(), "one.test");
    let mut renewal = Renewal::new(load(&config).unwrap().unwrap());
    assert!(matches!(renewal.look(&config), Look::Same));
    give(folder.path(), "two.test");
    assert!(matches!(renewal.look(&config), Look::Replaced));
    assert!(matches!(renewal.look(&config), Look::Same));

    // The key is not there yet, or not that of the certificate: for a moment that is nothing to speak of.
    let other = tempfile::tempdir().unwrap();
    give(other.path(), "three.test");
    fs::copy(other.path().join("certificate.pem"), folder.path().join("certificate.pem")).unwrap();
    assert!(matches!(renewal.look(&config), Look::Same));
    assert!(matches!(renewal.look(&config), Look::Kept(CertificateError::Wrong { .. })));
    assert!(matches!(renewal.look(&config), Look::Same), "it is told once");
    fs::remove_file(folder.path().join("key.pem")).unwrap();
    assert!(matches!(renewal.look(&config), Look::Same));
    assert!(matches!(renewal.look(&config), Look::Kept(CertificateError::Read { field: "key", .. })));
    fs::copy(other.path().join("key.pem"), folder.path().join("key.pem")).unwrap();
    assert!(matches!(renewal.look(&config), Look::Replaced));
}

/// A client that trusts what is in the file now, and nothing else.
fn trusting(folder: &Path) -> reqwest::Client {
    let root = reqwest::Certificate::from_pem(&fs::read(folder.join("certificate.pem")).unwrap()).unwrap();
    reqwest::Client::builder().tls_certs_only([root]).build().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s09_connections_get_the_certificate_that_the_files_have_by_now() {
    let folder = tempfile::tempdir().unwrap();
    give(folder.path(), "one.test");
    let stack = Stack::start_with("none", |config| given(folder.path(), config)).await;
    let url = format!("https://localhost:{}/", stack.up.ingress.port());
    let before = trusting(folder.path());
    assert_eq!(before.get(&url).send().await.unwrap().status(), 404);
    give(folder.path(), "two.test");
    let (after, begun) = (trusting(folder.path()), Instant::now());
    while after.get(&url).send().await.is_err() {
        assert!(begun.elapsed() < Duration::from_secs(30), "the certificate of the start is still in use");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(before.get(&url).send().await.unwrap().status(), 404, "a connection from before goes on");
    stack.end().await;
}

/// Asks in TLS for the end of the connection with the answer, and reads all that comes; an error if it is cut instead.
fn last_answer(folder: &Path, port: u16) -> std::io::Result<String> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(folder.join("certificate.pem")).unwrap()).unwrap();
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let session = rustls::ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap();
    let mut stream = rustls::StreamOwned::new(session, TcpStream::connect(("127.0.0.1", port))?);
    stream.sock.set_read_timeout(Some(Duration::from_secs(20)))?;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s09_a_connection_in_tls_ends_with_a_goodbye() {
    let folder = tempfile::tempdir().unwrap();
    give(folder.path(), "one.test");
    let stack = Stack::start_with("none", |config| given(folder.path(), config)).await;
    let (files, port) = (folder.path().to_owned(), stack.up.ingress.port());
    let answer = tokio::task::spawn_blocking(move || last_answer(&files, port)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 404 ") && answer.contains("connection: close"), "{answer}");
    stack.end().await;
}

#[test]
fn s09_ingress_settings_are_read_and_wrong_networks_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("homerun.toml");
    fs::write(&file, "[ingress]\nload_balancers = [\"192.0.2.0/24\"]\nmax_http1_request_mib = 32\n").unwrap();
    let config = Config::read(&file).unwrap();
    assert_eq!(config.ingress.load_balancers, ["192.0.2.0/24".parse().unwrap()]);
    assert_eq!(config.ingress.max_http1_request_mib, Some(32));
    fs::write(&file, "[ingress]\ninternal = [\"10.0.0.0/40\"]\n").unwrap();
    let error = Config::read(&file).unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("'10.0.0.0/40' is not a network; expected one such as 10.0.0.0/8"), "{cause}");
    fs::write(&file, "[url]\nscheme = \"gopher\"\n").unwrap();
    let error = Config::read(&file).unwrap_err();
    assert!(std::error::Error::source(&error).unwrap().to_string().contains("`http` or `https`"), "{error:?}");
}
