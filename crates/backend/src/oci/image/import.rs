//! Images that don't come from a registry: OCI layouts and archives, `docker save` archives, and
//! plain root file systems.

use std::fs::File;
use std::io::{self, Read, Seek as _};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use tokio::io::AsyncRead;

use super::archive::Bundle;
use super::digest::Digest;
use super::documents::{
    ConfigFile, Descriptor, Document, Manifest, OCI_CONFIG, OCI_LAYER, OCI_MANIFEST, Platform, RootFs, RunConfig,
    choose,
};
use super::error::{ArchiveProblem, BlobKind, DocumentProblem};
use super::layer::{Expected, decompressed};
use super::pull::{check_platform, no_platform};
use super::reference::ImageName;
use super::rootfs;
use super::store::{Inner, MAX_NESTING};
use super::{ImageError, ImageStore, ResolvedImage};

/// How to run an image that is imported from a bare root file system, which doesn't say. Images with
/// a configuration of their own keep it.
#[derive(Debug, Clone, Default)]
pub struct ImportOptions {
    /// The program and its first arguments.
    pub entrypoint: Vec<String>,
    /// Further arguments.
    pub cmd: Vec<String>,
    /// Environment, as `NAME=VALUE`.
    pub env: Vec<String>,
}

impl ImageStore {
    /// Stores an image under a local name, `localhost/NAME:TAG` (`latest` if no tag is given).
    ///
    /// `path` is an OCI layout folder, a root file system folder, or a tar archive (plain, gzip or
    /// zstd) with an OCI layout, a `docker save` image or a root file system.
    ///
    /// # Errors
    /// The name is not local, or `path` is none of these or damaged.
    pub async fn import(&self, path: &Path, name: &str, options: ImportOptions) -> Result<ResolvedImage, ImageError> {
        let name = local_name(name)?;
        let _keep = self.inner.keep.read().await;
        let path = path.to_owned();
        self.blocking(move |inner| {
            let importer = Importer { inner, path: &path, image: name.to_string() };
            let digest = match path.is_dir() {
                true => importer.folder(options)?,
                false => {
                    let file = File::open(&path).map_err(|e| ImageError::io("open", &path, e))?;
                    importer.archive(file, options)?
                }
            };
            importer.finish(&name, digest)
        })
        .await
    }

    /// Stores an image from an archive that arrives as a stream, for instance an upload. The archive
    /// is put on disk first: its files may come in any order.
    ///
    /// # Errors
    /// As for [`ImageStore::import`]; also when the stream breaks off.
    pub async fn import_stream(
        &self,
        mut archive: impl AsyncRead + Unpin + Send,
        name: &str,
        options: ImportOptions,
    ) -> Result<ResolvedImage, ImageError> {
        let name = local_name(name)?;
        let _keep = self.inner.keep.read().await;
        let label = PathBuf::from("the uploaded archive");
        let spool = self.blocking(|inner| inner.temporary_file()).await?;
        let mut writer = tokio::fs::File::from_std(spool);
        tokio::io::copy(&mut archive, &mut writer).await.map_err(|e| ImageError::io("receive", &label, e))?;
        tokio::io::AsyncWriteExt::flush(&mut writer).await.map_err(|e| ImageError::io("store", &label, e))?;
        let mut file = writer.into_std().await;
        self.blocking(move |inner| {
            file.rewind().map_err(|e| ImageError::io("read", &label, e))?;
            let importer = Importer { inner, path: &label, image: name.to_string() };
            let digest = importer.archive(file, options)?;
            importer.finish(&name, digest)
        })
        .await
    }
}

fn local_name(name: &str) -> Result<ImageName, ImageError> {
    let parsed: ImageName = name.parse()?;
    match parsed.is_local() && parsed.tag().is_some() {
        true => Ok(parsed),
        false => Err(ImageError::NotLocal { image: name.to_owned() }),
    }
}

impl Inner {
    /// A file without a name, gone when it is closed.
    fn temporary_file(&self) -> Result<File, ImageError> {
        let folder = self.folder.join("tmp");
        tempfile::tempfile_in(&folder).map_err(|e| ImageError::io("create a file in", folder, e))
    }
}

/// One import. The methods return the digest of the image's manifest or index.
struct Importer<'a> {
    inner: &'a Inner,
    path: &'a Path,
    image: String,
}

/// An entry of `docker save`'s `manifest.json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    layers: Vec<String>,
}

/// `index.json` of an OCI layout.
#[derive(Deserialize)]
struct LayoutIndex {
    manifests: Vec<Descriptor>,
}

impl Importer<'_> {
    fn finish(&self, name: &ImageName, digest: Digest) -> Result<ResolvedImage, ImageError> {
        self.inner.set_name(name.to_string(), digest.clone())?;
        self.inner.image(name, &digest).ok_or_else(|| ImageError::NotFound { image: self.image.clone() })
    }

    fn folder(&self, options: ImportOptions) -> Result<Digest, ImageError> {
        let bundle = Bundle::folder(self.path);
        if bundle.has("oci-layout") && bundle.has("index.json") {
            return self.layout(&bundle);
        }
        let (reader, writer) = io::pipe().map_err(|e| ImageError::io("read", self.path, e))?;
        std::thread::scope(|scope| {
            let archived = scope.spawn(|| rootfs::write_tar(self.path, writer));
            let imported = self.root_file_system(reader, options);
            match archived.join() {
                // The reader's end is gone because unpacking failed: that is the reason then.
                Ok(Err(e)) if e.kind() != io::ErrorKind::BrokenPipe => Err(ImageError::io("read", self.path, e)),
                _ => imported,
            }
        })
    }

    fn archive(&self, file: File, options: ImportOptions) -> Result<Digest, ImageError> {
        let file = self.plain(file)?;
        let again = file.try_clone().map_err(|e| ImageError::io("read", self.path, e))?;
        let bundle = Bundle::archive(self.path, file)?;
        if bundle.has("oci-layout") && bundle.has("index.json") {
            return self.layout(&bundle);
        }
        if bundle.has("manifest.json") {
            return self.saved(&bundle);
        }
        if bundle.is_empty() {
            return Err(bundle.problem(ArchiveProblem::Empty));
        }
        let mut again = again;
        again.rewind().map_err(|e| ImageError::io("read", self.path, e))?;
        self.root_file_system(io::BufReader::new(again), options)
    }

    /// The archive without compression, on disk because its files are read in another order.
    fn plain(&self, mut file: File) -> Result<File, ImageError> {
        let failed = |e| ImageError::io("read", self.path, e);
        let mut head = [0; 4];
        let n = file.read(&mut head).map_err(failed)?;
        file.rewind().map_err(failed)?;
        if !(head[..n].starts_with(&[0x1f, 0x8b]) || head[..n] == [0x28, 0xb5, 0x2f, 0xfd]) {
            return Ok(file);
        }
        let mut plain = self.inner.temporary_file()?;
        let mut content = decompressed(io::BufReader::new(file)).map_err(failed)?;
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let n = content.read(&mut buffer).map_err(|e| ImageError::NotAnImage {
                path: self.path.to_owned(),
                source: ArchiveProblem::NotTar(e),
            })?;
            if n == 0 {
                return Ok(plain);
            }
            io::Write::write_all(&mut plain, &buffer[..n]).map_err(|e| ImageError::io("decompress", self.path, e))?;
        }
    }

    fn layout(&self, bundle: &Bundle) -> Result<Digest, ImageError> {
        let entries = bundle.json::<LayoutIndex>("index.json")?.manifests;
        let host = Platform::host();
        let top = match entries.as_slice() {
            [] => return Err(bundle.problem(ArchiveProblem::Empty)),
            [only] => only,
            several if several.iter().all(|entry| entry.platform.is_some()) => {
                choose(several, &host).map_err(|has| no_platform(&self.image, &host, has))?
            }
            several => return Err(bundle.problem(ArchiveProblem::SeveralImages(several.len()))),
        };
        let mut documents = vec![self.blob(bundle, &top.digest, BlobKind::Manifest)?];
        for _ in 0..=MAX_NESTING {
            let current = &documents[documents.len() - 1];
            match Document::parse(current).map_err(|e| self.malformed(BlobKind::Manifest, e))? {
                Document::Index(entries) => {
                    let entry = choose(&entries, &host).map_err(|has| no_platform(&self.image, &host, has))?;
                    documents.push(self.blob(bundle, &entry.digest, BlobKind::Manifest)?);
                }
                Document::Manifest(manifest) => {
                    self.layout_layers(bundle, &manifest)?;
                    for document in documents.iter().rev() {
                        self.inner.put_blob(document)?;
                    }
                    return Ok(top.digest.clone());
                }
            }
        }
        Err(self.malformed(BlobKind::Manifest, DocumentProblem::Nested))
    }

    fn layout_layers(&self, bundle: &Bundle, manifest: &Manifest) -> Result<(), ImageError> {
        let bytes = self.blob(bundle, &manifest.config.digest, BlobKind::Config)?;
        let config = self.config(&bytes, manifest)?;
        for (layer, diff_id) in manifest.layers.iter().zip(&config.rootfs.diff_ids) {
            if !self.inner.layers.has(diff_id) {
                let expected = Expected { digest: Some(&layer.digest), diff_id: Some(diff_id) };
                let content = bundle.open(&blob_name(&layer.digest))?;
                self.inner.layers.add(content, layer.digest.as_str(), expected)?;
            }
        }
        self.inner.put_blob(&bytes)?;
        Ok(())
    }

    fn saved(&self, bundle: &Bundle) -> Result<Digest, ImageError> {
        let images: Vec<Saved> = bundle.json("manifest.json")?;
        let saved = match images.as_slice() {
            [] => return Err(bundle.problem(ArchiveProblem::Empty)),
            [only] => only,
            several => return Err(bundle.problem(ArchiveProblem::SeveralImages(several.len()))),
        };
        let config_bytes = bundle.document(&saved.config)?;
        let config: ConfigFile = serde_json::from_slice(&config_bytes)
            .map_err(|e| self.malformed(BlobKind::Config, DocumentProblem::Json(e)))?;
        let diff_ids = &config.rootfs.diff_ids;
        if saved.layers.len() != diff_ids.len() {
            let count = DocumentProblem::LayerCount { layers: saved.layers.len(), diff_ids: diff_ids.len() };
            return Err(self.malformed(BlobKind::Config, count));
        }
        check_platform(&self.image, &config.platform)?;
        let mut layers = Vec::new();
        for (name, diff_id) in saved.layers.iter().zip(diff_ids) {
            let expected = Expected { digest: None, diff_id: Some(diff_id) };
            let (_, size) = self.inner.layers.add(bundle.open(name)?, name, expected)?;
            layers.push((diff_id.clone(), size));
        }
        self.put_image(&config_bytes, layers)
    }

    fn root_file_system(&self, archive: impl Read, options: ImportOptions) -> Result<Digest, ImageError> {
        let expected = Expected { digest: None, diff_id: None };
        let label = self.path.display().to_string();
        let (diff_id, size) = self.inner.layers.add(archive, &label, expected)?;
        let config = ConfigFile {
            created: None,
            platform: Platform::host(),
            config: Some(RunConfig {
                entrypoint: options.entrypoint,
                cmd: options.cmd,
                env: options.env,
                ..RunConfig::default()
            }),
            rootfs: RootFs { kind: "layers".into(), diff_ids: vec![diff_id.clone()] },
        };
        self.put_image(&to_json(&config), vec![(diff_id, size)])
    }

    /// Stores a configuration with a manifest made for it. The layers count as uncompressed: what
    /// form they had in the archive is of no further use.
    fn put_image(&self, config: &[u8], layers: Vec<(Digest, u64)>) -> Result<Digest, ImageError> {
        let descriptor =
            |media_type: &str, digest, size| Descriptor { media_type: media_type.into(), digest, size, platform: None };
        let digest = self.inner.put_blob(config)?;
        let manifest = Manifest {
            schema_version: 2,
            media_type: OCI_MANIFEST.into(),
            config: descriptor(OCI_CONFIG, digest, config.len() as u64),
            layers: layers.into_iter().map(|(diff_id, size)| descriptor(OCI_LAYER, diff_id, size)).collect(),
        };
        self.inner.put_blob(&to_json(&manifest))
    }

    fn blob(&self, bundle: &Bundle, digest: &Digest, what: BlobKind) -> Result<Vec<u8>, ImageError> {
        let bytes = bundle.document(&blob_name(digest))?;
        let actual = Digest::of(&bytes);
        match actual == *digest {
            true => Ok(bytes),
            false => Err(ImageError::DigestMismatch { what, expected: digest.clone(), actual }),
        }
    }

    fn config(&self, bytes: &[u8], manifest: &Manifest) -> Result<ConfigFile, ImageError> {
        let config = ConfigFile::parse(bytes, manifest).map_err(|e| self.malformed(BlobKind::Config, e))?;
        check_platform(&self.image, &config.platform)?;
        Ok(config)
    }

    fn malformed(&self, what: BlobKind, source: DocumentProblem) -> ImageError {
        ImageError::Malformed { image: self.image.clone(), what, source }
    }
}

fn blob_name(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn to_json(document: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(document).expect("documents of strings and numbers are always JSON")
}
