//! Removing what no image needs any more.

use std::collections::HashSet;
use std::fs;

use super::digest::Digest;
use super::reference::ImageName;
use super::store::Inner;
use super::{ImageError, ImageStore};

impl ImageStore {
    /// Removes layers and documents that neither a name in the store nor `in_use` (pinned names)
    /// needs. Waits for running pulls. Returns the number of layers removed.
    ///
    /// # Errors
    /// A folder can't be listed or removed; what was removed until then stays removed.
    pub async fn gc(&self, in_use: &[String]) -> Result<usize, ImageError> {
        let mut roots: HashSet<Digest> = HashSet::new();
        for pinned in in_use {
            roots.extend(pinned.parse::<ImageName>()?.digest().cloned());
        }
        let _keep = self.inner.keep.write().await;
        self.blocking(move |inner| inner.remove_unused(roots)).await
    }
}

impl Inner {
    fn remove_unused(&self, mut roots: HashSet<Digest>) -> Result<usize, ImageError> {
        roots.extend(self.named_digests());
        let (mut blobs, mut diff_ids) = (HashSet::new(), HashSet::new());
        for (path, _, config) in roots.iter().filter_map(|digest| self.documents(digest)) {
            blobs.extend(path);
            diff_ids.extend(config.rootfs.diff_ids);
        }
        // Documents first: an image without its documents asks for no layers.
        let folder = self.folder.join("blobs/sha256");
        let failed = |e| ImageError::io("clean", &folder, e);
        for entry in fs::read_dir(&folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if !Digest::parse(&format!("sha256:{name}")).is_some_and(|d| blobs.contains(&d)) {
                fs::remove_file(&path).map_err(failed)?;
            }
        }
        // Now that they can't be read again. Layers go last.
        self.forget_except(&roots);
        let mut removed = 0;
        for (diff_id, _) in self.layers.list()? {
            if !diff_ids.contains(&diff_id) {
                self.layers.remove(&diff_id)?;
                removed += 1;
            }
        }
        Ok(removed)
    }
}
