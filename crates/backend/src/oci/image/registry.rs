//! A session with one registry about one repository: login, documents, and blobs that resume after
//! a network error.

use std::io;
use std::sync::Once;
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use futures_util::StreamExt as _;
use oci_client::client::{BlobResponse, ClientConfig, ClientProtocol, SizedStream};
use oci_client::errors::{DigestError, OciDistributionError};
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference, RegistryOperation};
use tokio::sync::mpsc;

use super::answer::{Answer, is_passing};
use super::credentials::{self, Credentials};
use super::digest::Digest;
use super::documents::{DOCKER_LIST, DOCKER_MANIFEST, Descriptor, OCI_INDEX, OCI_MANIFEST};
use super::error::{BlobKind, DocumentProblem};
use super::layer::Piece;
use super::reference::ImageName;
use super::token::exchange_identity_token;
use super::{ImageError, Settings};

/// Tries per request, the first included.
const ATTEMPTS: u32 = 3;
/// Pause before the second try; doubled before each further one.
const PAUSE: Duration = Duration::from_millis(250);
/// Configurations are a few kilobytes; this is containerd's limit for such documents.
const MAX_CONFIG: u64 = 8 * 1024 * 1024;
/// Bytes between two reports of progress.
const REPORT_EVERY: u64 = 256 * 1024;

pub(super) struct Session<'a> {
    client: Client,
    auth: RegistryAuth,
    name: &'a ImageName,
    /// As the user wrote it.
    image: &'a str,
}

impl<'a> Session<'a> {
    /// Logs in with what docker's configuration has for the registry.
    pub(super) async fn open(
        image: &'a str,
        name: &'a ImageName,
        settings: &Settings,
    ) -> Result<Session<'a>, ImageError> {
        let bad_credentials = |source| ImageError::Credentials { registry: name.host().to_owned(), source };
        let credentials =
            credentials::lookup(name.host(), settings.docker_config.as_deref()).await.map_err(bad_credentials)?;
        install_tls_provider();
        let client = Client::try_from(client_config(name, settings))
            .map_err(|source| ImageError::Client { registry: name.endpoint(), source: Box::new(source) })?;
        let auth = match credentials {
            Credentials::Anonymous => RegistryAuth::Anonymous,
            Credentials::Basic { user, password } => RegistryAuth::Basic(user, password),
            Credentials::IdentityToken(token) => {
                let exchange = exchange_identity_token(name, &token, settings);
                RegistryAuth::Bearer(exchange.await.map_err(bad_credentials)?)
            }
        };
        let session = Session { client, auth, name, image };
        let reference = session.reference(None);
        let mut attempt = 1;
        // Requests log in by themselves, but swallow the reason when that fails.
        while let Err(e) = session.client.auth(&reference, &session.auth, RegistryOperation::Pull).await {
            session.pause_or_fail(&mut attempt, e, BlobKind::Manifest).await?;
        }
        Ok(session)
    }

    /// A manifest or index, by digest or else by the name's own tag or digest.
    pub(super) async fn document(&self, digest: Option<&Digest>) -> Result<(Digest, Bytes), ImageError> {
        let reference = self.reference(digest);
        let types = [OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST];
        let mut attempt = 1;
        let bytes = loop {
            match self.client.pull_manifest_raw(&reference, &self.auth, &types).await {
                Ok((bytes, _)) => break bytes,
                Err(e) => self.pause_or_fail(&mut attempt, e, BlobKind::Manifest).await?,
            }
        };
        let actual = Digest::of(&bytes);
        match digest.or(self.name.digest()) {
            Some(expected) if *expected != actual => {
                Err(ImageError::DigestMismatch { what: BlobKind::Manifest, expected: expected.clone(), actual })
            }
            _ => Ok((actual, bytes)),
        }
    }

    /// The configuration, in memory.
    pub(super) async fn config(&self, descriptor: &Descriptor) -> Result<Vec<u8>, ImageError> {
        if descriptor.size > MAX_CONFIG {
            return Err(ImageError::Malformed {
                image: self.image.to_owned(),
                what: BlobKind::Config,
                source: DocumentProblem::TooLarge(MAX_CONFIG),
            });
        }
        let (sender, mut receiver) = mpsc::channel(4);
        let collect = async {
            let mut content = Vec::new();
            while let Some(Piece::Data(bytes)) = receiver.recv().await {
                content.extend_from_slice(&bytes);
            }
            content
        };
        let (sent, content) = tokio::join!(self.blob(descriptor, BlobKind::Config, sender, |_| {}), collect);
        sent?;
        let actual = Digest::of(&content);
        match actual == descriptor.digest {
            true => Ok(content),
            false => {
                Err(ImageError::DigestMismatch { what: BlobKind::Config, expected: descriptor.digest.clone(), actual })
            }
        }
    }

    /// Sends a blob's bytes to `sender`, resuming after network errors. The receiver verifies the
    /// digest; if it hangs up, that is its own decision and no error here.
    pub(super) async fn blob(
        &self,
        descriptor: &Descriptor,
        kind: BlobKind,
        sender: mpsc::Sender<Piece>,
        report: impl Fn(u64),
    ) -> Result<(), ImageError> {
        let (mut done, mut reported, mut attempt) = (0, 0, 1);
        while done < descriptor.size {
            let (mut skip, mut stream) = match self.blob_from(descriptor, done).await {
                Ok(opened) => opened,
                Err(e) => {
                    self.pause_or_fail(&mut attempt, e, kind).await?;
                    continue;
                }
            };
            let before = done;
            let broken = loop {
                let mut bytes = match stream.next().await {
                    Some(Ok(bytes)) => bytes,
                    Some(Err(e)) => break Some(e),
                    None => break None,
                };
                let known = skip.min(bytes.len() as u64);
                bytes.advance(known as usize);
                skip -= known;
                done += bytes.len() as u64;
                if done > descriptor.size {
                    return Err(self.oversized(descriptor, kind));
                }
                if sender.send(Piece::Data(bytes)).await.is_err() {
                    return Ok(());
                }
                if done - reported >= REPORT_EVERY {
                    reported = done;
                    report(done);
                }
            };
            if done >= descriptor.size {
                break;
            }
            if done > before {
                attempt = 1; // only tries without any progress count
            }
            if attempt == ATTEMPTS {
                return Err(self.interrupted(descriptor, done, broken));
            }
            pause(&mut attempt).await;
        }
        report(done);
        let _ = sender.send(Piece::End).await;
        Ok(())
    }

    /// Opens a blob at an offset; returns how many bytes to skip if the registry has no ranges.
    async fn blob_from(
        &self,
        descriptor: &Descriptor,
        offset: u64,
    ) -> Result<(u64, SizedStream), OciDistributionError> {
        let (reference, digest) = (self.reference(None), descriptor.digest.as_str());
        if offset == 0 {
            // A range from zero, so that the client leaves the digest to the one who unpacks:
            // computing it twice would double the work.
            return match self.client.pull_blob_stream_partial(&reference, digest, 0, Some(descriptor.size)).await? {
                BlobResponse::Partial(stream) | BlobResponse::Full(stream) => Ok((0, stream)),
            };
        }
        match self.client.pull_blob_stream_partial(&reference, digest, offset, None).await? {
            BlobResponse::Partial(stream) => Ok((0, stream)),
            BlobResponse::Full(stream) => Ok((offset, stream)),
        }
    }

    fn reference(&self, digest: Option<&Digest>) -> Reference {
        let (registry, path) = (self.name.address(), self.name.path().to_owned());
        match (digest.or(self.name.digest()), self.name.tag()) {
            (Some(digest), _) => Reference::with_digest(registry, path, digest.to_string()),
            (None, tag) => Reference::with_tag(registry, path, tag.unwrap_or("latest").to_owned()),
        }
    }

    /// Waits before the next try if there is one and it could help.
    async fn pause_or_fail(
        &self,
        attempt: &mut u32,
        error: OciDistributionError,
        kind: BlobKind,
    ) -> Result<(), ImageError> {
        if *attempt == ATTEMPTS || !is_passing(&error) {
            return Err(self.failed(error, kind));
        }
        pause(attempt).await;
        Ok(())
    }

    fn failed(&self, error: OciDistributionError, kind: BlobKind) -> ImageError {
        use OciDistributionError as E;
        let (image, registry) = (self.image.to_owned(), self.name.endpoint());
        if let E::DigestError(DigestError::VerificationError { expected, actual }) = &error
            && let (Some(expected), Some(actual)) = (Digest::parse(expected), Digest::parse(actual))
        {
            return ImageError::DigestMismatch { what: kind, expected, actual };
        }
        let answer = Answer::of(&error);
        let source = Box::new(error);
        match answer {
            Answer::NoConnection => ImageError::Unreachable { registry, source },
            // A manifest that names a missing blob is the registry's fault, not the user's.
            Answer::NotFound if kind == BlobKind::Manifest => ImageError::NotFound { image },
            Answer::Refused => {
                let registry = self.name.host().to_owned();
                ImageError::Unauthorized { image, registry, source }
            }
            _ => ImageError::Registry { image, registry, source },
        }
    }

    fn oversized(&self, descriptor: &Descriptor, what: BlobKind) -> ImageError {
        let source = DocumentProblem::Size { digest: descriptor.digest.clone(), expected: descriptor.size };
        ImageError::Malformed { image: self.image.to_owned(), what, source }
    }

    fn interrupted(&self, descriptor: &Descriptor, done: u64, source: Option<io::Error>) -> ImageError {
        ImageError::Interrupted {
            registry: self.name.endpoint(),
            digest: descriptor.digest.clone(),
            done,
            total: descriptor.size,
            source,
        }
    }
}

async fn pause(attempt: &mut u32) {
    tokio::time::sleep(PAUSE * 2u32.pow(*attempt - 1)).await;
    *attempt += 1;
}

fn client_config(name: &ImageName, settings: &Settings) -> ClientConfig {
    let variable = |name: &str| {
        let value = std::env::var(name).or_else(|_| std::env::var(name.to_lowercase()));
        value.ok().filter(|value| !value.is_empty())
    };
    let protocol = match name.is_loopback() {
        true => ClientProtocol::Http,
        false => ClientProtocol::Https,
    };
    // The HTTP client would follow the environment by itself, though without sparing loopback.
    let no_proxy = variable("NO_PROXY").map_or_else(String::new, |list| list + ",");
    ClientConfig {
        protocol,
        platform_resolver: None,
        connect_timeout: Some(settings.connect_timeout),
        read_timeout: Some(settings.stall_timeout),
        user_agent: concat!("homerun/", env!("CARGO_PKG_VERSION")),
        https_proxy: variable("HTTPS_PROXY"),
        http_proxy: variable("HTTP_PROXY"),
        no_proxy: Some(no_proxy + "localhost,127.0.0.0/8,::1"),
        ..ClientConfig::default()
    }
}

/// The HTTP client needs one process-wide provider of cryptography. Whoever came first decides.
fn install_tls_provider() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // An error means that there is one already, which serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}
