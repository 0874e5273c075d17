//! What can go wrong with an image, in words for the person who named it.

use std::io;
use std::path::PathBuf;

use oci_client::errors::OciDistributionError;

use super::credentials::CredentialsError;
use super::digest::Digest;
use super::entry_name::UnpackError;
use super::reference::NameProblem;

/// Why an image can't be had.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The text is no image name.
    #[error("Image name '{image}' is not valid: {problem}.")]
    InvalidName {
        /// What was given.
        image: String,
        /// The rule that it breaks.
        problem: NameProblem,
    },
    /// The registry, or the local store for `localhost/...`, has no such image.
    #[error("Image '{image}' not found.")]
    NotFound {
        /// The image as named by the user.
        image: String,
    },
    /// The registry wants other credentials, or hides whether the image exists.
    #[error(
        "Registry {registry} refused access to image '{image}': it needs a login ('docker login {registry}'), or the image does not exist."
    )]
    Unauthorized {
        /// The image as named by the user.
        image: String,
        /// The registry's host.
        registry: String,
        /// What the registry answered.
        #[source]
        source: Box<OciDistributionError>,
    },
    /// The credentials in docker's configuration can't be had.
    #[error("The credentials for registry {registry} can't be read.")]
    Credentials {
        /// The registry's host.
        registry: String,
        /// The step that failed.
        #[source]
        source: CredentialsError,
    },
    /// No connection, or none that answers in time.
    #[error("Registry {registry} can't be reached.")]
    Unreachable {
        /// Host and port.
        registry: String,
        /// The failed request.
        #[source]
        source: Box<OciDistributionError>,
    },
    /// The registry answered with something that is no image.
    #[error("Registry {registry} failed to deliver image '{image}'.")]
    Registry {
        /// The image as named by the user.
        image: String,
        /// Host and port.
        registry: String,
        /// What the registry answered.
        #[source]
        source: Box<OciDistributionError>,
    },
    /// The HTTP client can't be set up: a machine without any certificates, which the client insists
    /// on even for plain HTTP.
    #[error(
        "No registry can be spoken to, {registry} included, without this machine's list of certificate authorities (on Debian: apt-get install ca-certificates)."
    )]
    Client {
        /// Host and port.
        registry: String,
        /// Why.
        #[source]
        source: Box<OciDistributionError>,
    },
    /// The download broke off and could not be resumed.
    #[error("The download of {digest} from registry {registry} broke off after {done} of {total} bytes.")]
    Interrupted {
        /// Host and port.
        registry: String,
        /// The blob.
        digest: Digest,
        /// Bytes that arrived.
        done: u64,
        /// Bytes that the manifest promises.
        total: u64,
        /// The last network error; none if the registry closed the connection in good order.
        #[source]
        source: Option<io::Error>,
    },
    /// The image exists, though not for this machine.
    #[error("Image '{image}' has no platform {wanted}; it has {}.", available.join(", "))]
    NoPlatform {
        /// The image as named by the user.
        image: String,
        /// What this machine runs, for instance `linux/amd64`.
        wanted: String,
        /// What the image is built for.
        available: Vec<String>,
    },
    /// Content differs from what its digest promises. Nothing of it is kept.
    #[error("The {what} of the image is damaged: its digest should be {expected} and is {actual}.")]
    DigestMismatch {
        /// Which part.
        what: BlobKind,
        /// What was promised.
        expected: Digest,
        /// What came.
        actual: Digest,
    },
    /// A manifest, index or configuration isn't what the specification says.
    #[error("The {what} of image '{image}' is not valid.")]
    Malformed {
        /// The image as named by the user.
        image: String,
        /// Which document.
        what: BlobKind,
        /// The rule that it breaks.
        #[source]
        source: DocumentProblem,
    },
    /// A layer can't be unpacked.
    #[error("Layer {layer} can't be unpacked.")]
    Layer {
        /// Digest or file name of the layer.
        layer: String,
        /// The entry and the reason.
        #[source]
        source: UnpackError,
    },
    /// The disk under the store has no room left.
    #[error("The disk is full: no room for images in {}.", path.display())]
    DiskFull {
        /// The store's folder.
        path: PathBuf,
        /// The failed write.
        #[source]
        source: io::Error,
    },
    /// What was given to import is none of the known forms.
    #[error("{} can't be imported.", path.display())]
    NotAnImage {
        /// File or folder.
        path: PathBuf,
        /// What is missing.
        #[source]
        source: ArchiveProblem,
    },
    /// A name for an imported image that is not of the local store.
    #[error("An imported image is named 'localhost/NAME:TAG', not '{image}'.")]
    NotLocal {
        /// What was given.
        image: String,
    },
    /// Another process has the store open.
    #[error("The image store {} is in use by another homerun.", path.display())]
    InUse {
        /// The store's folder.
        path: PathBuf,
    },
    /// The store's layers belong to other host ids.
    #[error(
        "The image store {} was made for ids from {found}, not from {wanted}; use that number or another folder.",
        path.display()
    )]
    IdBase {
        /// The store's folder.
        path: PathBuf,
        /// The base recorded in the store.
        found: u32,
        /// The base in the settings.
        wanted: u32,
    },
    /// A file operation failed.
    #[error("Can't {doing} {}.", path.display())]
    Io {
        /// The step, as a verb.
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The process is shutting down, or a worker thread died.
    #[error("Work on the image was broken off.")]
    Aborted(#[source] tokio::task::JoinError),
}

/// A part of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlobKind {
    /// The manifest or index.
    Manifest,
    /// The configuration.
    Config,
    /// A layer as the registry stores it.
    Layer,
    /// A layer's archive after decompression.
    UncompressedLayer,
}

impl std::fmt::Display for BlobKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            BlobKind::Manifest => "manifest",
            BlobKind::Config => "configuration",
            BlobKind::Layer => "layer",
            BlobKind::UncompressedLayer => "uncompressed layer",
        })
    }
}

/// How a manifest, index or configuration breaks the image specification.
#[derive(Debug, thiserror::Error)]
pub enum DocumentProblem {
    /// No JSON of the expected shape.
    #[error("it is not JSON of the expected shape")]
    Json(#[source] serde_json::Error),
    /// Docker's first manifest schema, which registries no longer serve.
    #[error("it has schema version {0}, and only 2 is supported; push the image again with a current tool")]
    SchemaVersion(u64),
    /// Both manifest and index at once, which could mean two images.
    #[error("it is both a manifest and an index")]
    Ambiguous,
    /// Neither manifest nor index.
    #[error("it is neither a manifest nor an index")]
    Neither,
    /// Index inside index inside index.
    #[error("its indexes are nested too deeply")]
    Nested,
    /// A layer that is no file system layer, as in charts and other artifacts.
    #[error("'{0}' is not a container layer")]
    LayerType(String),
    /// Manifest and configuration disagree.
    #[error("the manifest has {layers} layers and the configuration {diff_ids}")]
    LayerCount {
        /// Layers in the manifest.
        layers: usize,
        /// `diff_ids` in the configuration.
        diff_ids: usize,
    },
    /// Larger than any such document has reason to be.
    #[error("it is larger than {0} bytes")]
    TooLarge(u64),
    /// More or fewer bytes than the descriptor says.
    #[error("{digest} should have {expected} bytes and has more")]
    Size {
        /// The blob.
        digest: Digest,
        /// Bytes in the descriptor.
        expected: u64,
    },
}

/// Why a file or folder is no image.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveProblem {
    /// No tar archive, plain or compressed.
    #[error("it is no tar archive (plain, gzip or zstd) and no folder")]
    NotTar(#[source] io::Error),
    /// The archive or layout names a file that it doesn't have.
    #[error("it lacks the file '{0}' that it refers to")]
    Missing(String),
    /// `index.json` or `manifest.json` isn't as specified.
    #[error("its {file} is not valid")]
    Json {
        /// Which file.
        file: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// More than one image, and no way to tell which is meant.
    #[error("it holds {0} images; save one at a time")]
    SeveralImages(usize),
    /// No image at all.
    #[error("it holds no image")]
    Empty,
}

impl ImageError {
    /// A failed file operation; a full disk is its own error because the user can do something.
    pub(super) fn io(doing: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        let path = path.into();
        match is_disk_full(&source) {
            true => ImageError::DiskFull { path, source },
            false => ImageError::Io { doing, path, source },
        }
    }
}

/// No blocks, no inodes or no quota left.
pub(super) fn is_disk_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
