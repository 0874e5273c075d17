//! The folder with everything that was pulled or imported, and what is known of it in memory.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{self, File, TryLockError};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::documents::{ConfigFile, Document, Manifest, Platform, choose};
use super::layer::Layers;
use super::locks::DigestLocks;
use super::reference::ImageName;
use super::rooted::get_xattr;
use super::unpack::OPAQUE_XATTR;
use super::{ImageConfig, ImageError, ProgressFn, ResolvedImage, Settings};

/// Indexes in indexes, at most.
pub(super) const MAX_NESTING: usize = 3;

/// An open image store. Clones share it. See the module's documentation for the folder's layout.
#[derive(Debug, Clone)]
pub struct ImageStore {
    pub(super) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub folder: PathBuf,
    pub settings: Settings,
    pub layers: Layers,
    pub locks: DigestLocks,
    /// Read while content is added or used by name, written while unused content is removed.
    pub keep: tokio::sync::RwLock<()>,
    names: Mutex<Names>,
    ready: RwLock<HashMap<Digest, Arc<Ready>>>,
    _lock: File,
}

/// `names.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Names {
    id_base: u32,
    names: BTreeMap<String, Name>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Name {
    digest: Digest,
    created: DateTime<Utc>,
}

/// What starting an instance needs of an image.
#[derive(Debug)]
pub(super) struct Ready {
    config: ImageConfig,
    layers: Vec<PathBuf>,
    size: u64,
}

/// A line of `homerun image list`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredImage {
    /// The whole name with tag or digest.
    pub name: String,
    /// Digest of the manifest or index.
    pub digest: String,
    /// Bytes of configuration and layers as a registry stores them.
    pub size: u64,
    /// When the name was last pulled or imported.
    pub created: DateTime<Utc>,
}

impl ImageStore {
    /// Opens the store in `folder`, made if absent, and removes what a crash left unfinished.
    ///
    /// # Errors
    /// The folder can't be written, another process has it open, or its layers belong to another id
    /// base than `settings` says.
    pub fn open(folder: &Path, settings: Settings) -> Result<ImageStore, ImageError> {
        let made = |path: &Path, mode| {
            let built = fs::DirBuilder::new().recursive(true).mode(mode).create(path);
            built.map_err(|e| ImageError::io("create", path, e))
        };
        made(folder, 0o755)?;
        let lock_path = folder.join("lock");
        let lock = File::create(&lock_path).map_err(|e| ImageError::io("open", &lock_path, e))?;
        lock.try_lock().map_err(|e| match e {
            TryLockError::WouldBlock => ImageError::InUse { path: folder.to_owned() },
            TryLockError::Error(e) => ImageError::io("lock", &lock_path, e),
        })?;
        let (layers, temporary) = (folder.join("layers"), folder.join("tmp"));
        match fs::remove_dir_all(&temporary) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(ImageError::io("empty", &temporary, e));
            }
            _ => {}
        }
        made(&temporary, 0o700)?;
        made(&layers, 0o700)?;
        fs::set_permissions(&layers, fs::Permissions::from_mode(0o700))
            .map_err(|e| ImageError::io("close to others", &layers, e))?;
        made(&folder.join("blobs/sha256"), 0o755)?;
        let mut inner = Inner {
            folder: folder.to_owned(),
            layers: Layers::new(layers, temporary, settings.id_base),
            names: Mutex::new(Names { id_base: settings.id_base, names: BTreeMap::new() }),
            settings,
            locks: DigestLocks::default(),
            keep: tokio::sync::RwLock::default(),
            ready: RwLock::default(),
            _lock: lock,
        };
        inner.read_names()?;
        Ok(ImageStore { inner: Arc::new(inner) })
    }

    /// Finds out which digest a name stands for, asking its registry unless the name is pinned or
    /// local, and pulls what is missing.
    ///
    /// # Errors
    /// See [`ImageError`]; each variant is for one thing that the user can do something about.
    pub async fn resolve(&self, image: &str, progress: ProgressFn<'_>) -> Result<ResolvedImage, ImageError> {
        let name: ImageName = image.parse()?;
        let _keep = self.inner.keep.read().await;
        let known = match (name.digest(), name.is_local()) {
            (Some(digest), _) => Some(digest.clone()),
            (None, true) => self.inner.named(&name.to_string()),
            (None, false) => None,
        };
        let found = known.and_then(|digest| self.inner.image(&name, &digest));
        match found {
            Some(found) => Ok(found),
            None if name.is_local() => Err(ImageError::NotFound { image: image.to_owned() }),
            None => self.pull(image, &name, progress).await,
        }
    }

    /// An image by its pinned name (`NAME@sha256:...`), from this machine alone. Fast: what was found
    /// once is remembered. None if the name isn't pinned or not everything is here.
    pub fn get(&self, pinned: &str) -> Option<ResolvedImage> {
        let name: ImageName = pinned.parse().ok()?;
        self.inner.image(&name, name.digest()?)
    }

    /// Every name in the store, in the order of names.
    pub fn list(&self) -> Vec<StoredImage> {
        let names = self.inner.names.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let stored = |(name, entry): (String, Name)| {
            let size = self.inner.ready(&entry.digest)?.size;
            let digest = entry.digest.to_string();
            Some(StoredImage { name, digest, size, created: entry.created })
        };
        names.names.into_iter().filter_map(stored).collect()
    }

    /// Forgets a name. The content stays until [`ImageStore::gc`]. Returns whether there was one.
    ///
    /// # Errors
    /// The name is malformed, or the index can't be written.
    pub async fn remove(&self, image: &str) -> Result<bool, ImageError> {
        let name = image.parse::<ImageName>()?.to_string();
        self.blocking(move |inner| inner.change_names(|names| names.remove(&name).is_some())).await
    }

    /// Runs file operations on a thread that may wait for the disk.
    pub(super) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, ImageError> + Send + 'static,
    ) -> Result<T, ImageError> {
        let inner = self.inner.clone();
        tokio::task::spawn_blocking(move || work(&inner)).await.map_err(ImageError::Aborted)?
    }
}

impl Inner {
    /// An image that is wholly here.
    pub(super) fn image(&self, name: &ImageName, digest: &Digest) -> Option<ResolvedImage> {
        let ready = self.ready(digest)?;
        Some(ResolvedImage {
            reference: name.pinned(digest).to_string(),
            digest: digest.to_string(),
            config: ready.config.clone(),
            layers: ready.layers.clone(),
            size: ready.size,
        })
    }

    fn ready(&self, digest: &Digest) -> Option<Arc<Ready>> {
        let known = self.ready.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(ready) = known.get(digest) {
            return Some(ready.clone());
        }
        drop(known);
        let (_, manifest, config) = self.documents(digest)?;
        let diff_ids = &config.rootfs.diff_ids;
        if !diff_ids.iter().all(|diff_id| self.layers.has(diff_id)) {
            return None;
        }
        let ready = Arc::new(Ready {
            layers: lower_layers(&self.layers, diff_ids)?,
            size: manifest.size(),
            config: config.run(),
        });
        let mut known = self.ready.write().unwrap_or_else(PoisonError::into_inner);
        Some(known.entry(digest.clone()).or_insert(ready).clone())
    }

    /// The documents of an image, with the digests of those on the way. None if one is missing or
    /// damaged, which then counts as not pulled.
    pub(super) fn documents(&self, digest: &Digest) -> Option<(Vec<Digest>, Manifest, ConfigFile)> {
        let host = Platform::host();
        let mut path = vec![digest.clone()];
        for _ in 0..=MAX_NESTING {
            let bytes = self.blob(path.last()?)?;
            match Document::parse(&bytes).ok()? {
                Document::Index(entries) => path.push(choose(&entries, &host).ok()?.digest.clone()),
                Document::Manifest(manifest) => {
                    path.push(manifest.config.digest.clone());
                    let config = ConfigFile::parse(&self.blob(&manifest.config.digest)?, &manifest);
                    return Some((path, manifest, config.ok()?));
                }
            }
        }
        None
    }

    fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.folder.join("blobs/sha256").join(digest.hex())
    }

    fn blob(&self, digest: &Digest) -> Option<Vec<u8>> {
        let bytes = fs::read(self.blob_path(digest)).ok()?;
        (Digest::of(&bytes) == *digest).then_some(bytes)
    }

    /// Stores a document under its digest.
    pub(super) fn put_blob(&self, bytes: &[u8]) -> Result<Digest, ImageError> {
        let digest = Digest::of(bytes);
        self.write_whole(&self.blob_path(&digest), bytes)?;
        Ok(digest)
    }

    /// What the names of the store stand for.
    pub(super) fn named_digests(&self) -> HashSet<Digest> {
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        names.names.values().map(|entry| entry.digest.clone()).collect()
    }

    /// Forgets what is known of other images than these.
    pub(super) fn forget_except(&self, digests: &HashSet<Digest>) {
        let mut ready = self.ready.write().unwrap_or_else(PoisonError::into_inner);
        ready.retain(|digest, _| digests.contains(digest));
    }

    /// What a name stands for.
    fn named(&self, name: &str) -> Option<Digest> {
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        names.names.get(name).map(|entry| entry.digest.clone())
    }

    pub(super) fn set_name(&self, name: String, digest: Digest) -> Result<(), ImageError> {
        self.change_names(|names| {
            names.insert(name, Name { digest, created: Utc::now() });
        })
    }

    fn change_names<T>(&self, change: impl FnOnce(&mut BTreeMap<String, Name>) -> T) -> Result<T, ImageError> {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let mut new = names.clone();
        let result = change(&mut new.names);
        let bytes = serde_json::to_vec_pretty(&new).expect("strings and numbers are always JSON");
        self.write_whole(&self.folder.join("names.json"), &bytes)?;
        *names = new;
        Ok(result)
    }

    fn read_names(&mut self) -> Result<(), ImageError> {
        let path = self.folder.join("names.json");
        let bytes = match fs::read(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                // Written now, for the id base that the first layers will have.
                return self.change_names(|_| ());
            }
            read => read.map_err(|e| ImageError::io("read", &path, e))?,
        };
        let names: Names = serde_json::from_slice(&bytes).map_err(|e| ImageError::io("read", &path, e.into()))?;
        let wanted = self.settings.id_base;
        if names.id_base != wanted {
            let path = self.folder.clone();
            return Err(ImageError::IdBase { path, found: names.id_base, wanted });
        }
        self.names = Mutex::new(names);
        Ok(())
    }

    /// Writes a file so that after a crash it has its old or its new content, nothing between.
    fn write_whole(&self, path: &Path, bytes: &[u8]) -> Result<(), ImageError> {
        let write = || {
            let mut file = tempfile::NamedTempFile::new_in(self.folder.join("tmp"))?;
            file.write_all(bytes)?;
            file.as_file().sync_all()?;
            file.persist(path)?;
            File::open(path.parent().unwrap_or(&self.folder))?.sync_all()
        };
        write().map_err(|e| ImageError::io("write", path, e))
    }
}

/// The folders to mount, bottom first.
///
/// Of a repeated layer the topmost copy counts: whatever a lower copy brings, the upper one shows. A
/// layer whose root is opaque hides all below it, which overlayfs doesn't look for at the root.
fn lower_layers(layers: &Layers, diff_ids: &[Digest]) -> Option<Vec<PathBuf>> {
    let mut seen = HashSet::new();
    let mut paths = Vec::new();
    for diff_id in diff_ids.iter().rev() {
        if !seen.insert(diff_id) {
            continue;
        }
        let path = layers.path(diff_id);
        let opaque = get_xattr(&path, OPAQUE_XATTR).ok()?;
        paths.push(path);
        if opaque.as_deref() == Some(b"y") {
            break;
        }
    }
    paths.reverse();
    Some(paths)
}
