//! Images: pulled from registries or imported, verified, and unpacked once per layer.
//!
//! ```text
//! DIR/lock                 held while the store is open
//! DIR/names.json           name -> digest of its manifest or index
//! DIR/blobs/sha256/HEX     manifests, indexes and configurations, as they came
//! DIR/layers/sha256-HEX/   unpacked layers by diff id, ready to be lower layers of overlayfs
//! DIR/tmp/                 unfinished work; emptied when the store is opened
//! ```
//!
//! Files of layers belong to `id_base` + the id in the image, so one store serves containers in user
//! namespaces that map 0..65535 to that range. The layers' folder is closed to everybody but root of
//! the host, who has to do the mounting: it is full of setuid programs.
//!
//! An image has up to 127 layers by convention, and their paths together are longer than one
//! `mount(2)` option string (a page) may be. Mount with `fsopen`/`fsconfig` and one `lowerdir+` per
//! layer (Linux 6.5 or later), which knows no such limit.

mod answer;
mod archive;
mod credentials;
mod digest;
mod documents;
mod entry_name;
mod error;
mod gc;
mod import;
mod layer;
mod locks;
mod pull;
mod reference;
mod registry;
mod rooted;
mod rootfs;
mod store;
mod summary;
mod tar_meta;
mod token;
mod unpack;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

pub use credentials::CredentialsError;
pub use digest::Digest;
pub use entry_name::{NameRule, UnpackError};
pub use error::{ArchiveProblem, BlobKind, DocumentProblem, ImageError};
pub use import::ImportOptions;
pub use reference::{ImageName, NameProblem};
pub use store::{ImageStore, StoredImage};
pub use summary::PullSummary;

/// How the store pulls and unpacks.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The host id of the containers' root; ids 0..65535 follow it. Fixed for the life of a store.
    pub id_base: u32,
    /// Docker's configuration file with the registries' credentials. None: `$DOCKER_CONFIG/config.json`
    /// or `~/.docker/config.json`.
    pub docker_config: Option<PathBuf>,
    /// Longest wait for a connection to a registry.
    pub connect_timeout: Duration,
    /// Longest wait for the next bytes of an answer.
    pub stall_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            id_base: 1_000_000,
            docker_config: None,
            connect_timeout: Duration::from_secs(10),
            stall_timeout: Duration::from_secs(60),
        }
    }
}

/// How an image wants to be run, from its configuration. Empty means that the image doesn't say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageConfig {
    /// The program and its first arguments.
    pub entrypoint: Vec<String>,
    /// Further arguments, or the program if there is no entrypoint.
    pub cmd: Vec<String>,
    /// Environment, as `NAME=VALUE`.
    pub env: Vec<String>,
    /// The folder to start in.
    pub working_dir: String,
    /// `USER`, `UID`, `USER:GROUP` or `UID:GID`; names are those of the image's own `/etc/passwd`.
    pub user: String,
    /// Ports as `8080/tcp`.
    pub exposed_ports: Vec<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// The signal that asks the program to end, for instance `SIGQUIT`.
    pub stop_signal: Option<String>,
}

/// An image that is on this machine, ready to be mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedImage {
    /// The name pinned to the digest: `HOST/PATH@sha256:...`.
    pub reference: String,
    /// The digest that the name stood for: of the manifest, or of the index that leads to it.
    pub digest: String,
    /// How to run it.
    pub config: ImageConfig,
    /// Unpacked layers, bottom first, each at most once: overlayfs refuses repeated layers, and a
    /// lower copy never shows.
    pub layers: Vec<PathBuf>,
    /// Bytes of configuration and layers as the registry stores them.
    pub size: u64,
}

/// News about one layer of an image that is being pulled. The first report for every layer comes
/// before any download, so the sums over the layers give "pulling 3 layers, 41 of 120 MB".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerProgress {
    /// Digest of the layer as the registry stores it.
    pub layer: Digest,
    /// Bytes that have arrived. Unpacking goes on alongside.
    pub done: u64,
    /// Bytes of the layer.
    pub total: u64,
    /// What is being done.
    pub phase: LayerPhase,
}

/// Where a layer stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayerPhase {
    /// Not begun, or another pull is at it.
    Waiting,
    /// Bytes arrive and are unpacked.
    Downloading,
    /// On disk, verified; or it was there before.
    Done,
}

/// Receives progress. Called often and from within the pull: it must return at once.
pub type ProgressFn<'a> = &'a (dyn Fn(LayerProgress) + Send + Sync);
