//! Pulling: from a name to documents and unpacked layers.

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::sync::mpsc;

use super::digest::Digest;
use super::documents::{ConfigFile, Descriptor, Document, Manifest, Platform, choose};
use super::error::{BlobKind, DocumentProblem};
use super::layer::{Expected, PieceReader};
use super::reference::ImageName;
use super::registry::Session;
use super::store::MAX_NESTING;
use super::{ImageError, ImageStore, LayerPhase, LayerProgress, ProgressFn, ResolvedImage};

/// Layers of one image that are downloaded at the same time, as docker does it.
const PARALLEL_LAYERS: usize = 3;
/// Pieces of a download (some kilobytes each) that may wait for the unpacking thread.
const PIECES_AHEAD: usize = 16;

impl ImageStore {
    /// Asks the registry and fetches what is not here.
    pub(super) async fn pull(
        &self,
        image: &str,
        name: &ImageName,
        progress: ProgressFn<'_>,
    ) -> Result<ResolvedImage, ImageError> {
        let session = Session::open(image, name, &self.inner.settings).await?;
        let (digest, document) = session.document(None).await?;
        let _alone = self.inner.locks.lock(&digest).await;
        if self.inner.image(name, &digest).is_none() {
            self.fetch(image, &session, document, progress).await?;
        }
        let (key, pinned) = (name.to_string(), digest.clone());
        self.blocking(move |inner| inner.set_name(key, pinned)).await?;
        // A missing image would mean that somebody removes files behind our back.
        self.inner.image(name, &digest).ok_or_else(|| ImageError::NotFound { image: image.to_owned() })
    }

    async fn fetch(
        &self,
        image: &str,
        session: &Session<'_>,
        document: Bytes,
        progress: ProgressFn<'_>,
    ) -> Result<(), ImageError> {
        let malformed = |what, source| ImageError::Malformed { image: image.to_owned(), what, source };
        let (manifest, mut documents) = find_manifest(image, session, document).await?;
        let config = session.config(&manifest.config).await?;
        let parsed = ConfigFile::parse(&config, &manifest).map_err(|problem| malformed(BlobKind::Config, problem))?;
        check_platform(image, &parsed.platform)?;
        documents.push(config.into());
        let mut fetches = Vec::new();
        for (layer, diff_id) in manifest.layers.iter().zip(&parsed.rootfs.diff_ids) {
            report(progress, layer, 0, LayerPhase::Waiting);
            fetches.push(self.fetch_layer(session, layer, diff_id, progress));
        }
        stream::iter(fetches).buffer_unordered(PARALLEL_LAYERS).try_collect::<()>().await?;
        self.blocking(move |inner| {
            for document in documents.iter().rev() {
                inner.put_blob(document)?;
            }
            Ok(())
        })
        .await
    }

    async fn fetch_layer(
        &self,
        session: &Session<'_>,
        layer: &Descriptor,
        diff_id: &Digest,
        progress: ProgressFn<'_>,
    ) -> Result<(), ImageError> {
        // By diff id: that is what a layer's place on disk is called.
        let _alone = self.inner.locks.lock(diff_id).await;
        if !self.inner.layers.has(diff_id) {
            let (sender, pieces) = mpsc::channel(PIECES_AHEAD);
            let (digest, promised) = (layer.digest.clone(), diff_id.clone());
            let unpack = self.blocking(move |inner| {
                let expected = Expected { digest: Some(&digest), diff_id: Some(&promised) };
                inner.layers.add(PieceReader::new(pieces), digest.as_str(), expected)
            });
            let arrived = |done| report(progress, layer, done, LayerPhase::Downloading);
            arrived(0);
            let download = session.blob(layer, BlobKind::Layer, sender, arrived);
            let (downloaded, unpacked) = tokio::join!(download, unpack);
            // A broken download makes the unpacking fail too, and is the reason for it.
            downloaded?;
            unpacked?;
        }
        report(progress, layer, layer.size, LayerPhase::Done);
        Ok(())
    }
}

/// Follows indexes down to this machine's manifest. Returns all documents on the way, top first.
async fn find_manifest(image: &str, session: &Session<'_>, top: Bytes) -> Result<(Manifest, Vec<Bytes>), ImageError> {
    let malformed = |source| ImageError::Malformed { image: image.to_owned(), what: BlobKind::Manifest, source };
    let host = Platform::host();
    let mut documents = vec![top];
    for _ in 0..=MAX_NESTING {
        let current = &documents[documents.len() - 1];
        match Document::parse(current).map_err(malformed)? {
            Document::Manifest(manifest) => return Ok((manifest, documents)),
            Document::Index(entries) => {
                let entry = choose(&entries, &host).map_err(|available| no_platform(image, &host, available))?;
                documents.push(session.document(Some(&entry.digest)).await?.1);
            }
        }
    }
    Err(malformed(DocumentProblem::Nested))
}

/// An image without an index can be for another machine too.
pub(super) fn check_platform(image: &str, platform: &Platform) -> Result<(), ImageError> {
    let host = Platform::host();
    match platform.runs_on(&host) {
        true => Ok(()),
        false => Err(no_platform(image, &host, vec![platform.to_string()])),
    }
}

pub(super) fn no_platform(image: &str, host: &Platform, available: Vec<String>) -> ImageError {
    ImageError::NoPlatform { image: image.to_owned(), wanted: host.to_string(), available }
}

fn report(progress: ProgressFn<'_>, layer: &Descriptor, done: u64, phase: LayerPhase) {
    progress(LayerProgress { layer: layer.digest.clone(), done, total: layer.size, phase });
}
