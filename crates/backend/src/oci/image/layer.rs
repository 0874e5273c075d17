//! From the bytes of a layer to a folder under `layers/`: decompress, digest, unpack and verify in
//! one pass with constant memory, then move into place whole.

use std::fs::{self, File};
use std::io::{self, Cursor, Read};
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use tempfile::TempDir;
use tokio::sync::mpsc;

use super::ImageError;
use super::digest::{Digest, DigestReader};
use super::entry_name::UnpackError;
use super::error::{BlobKind, is_disk_full};
use super::unpack::unpack;

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// The unpacked layers of a store, by the digest of their uncompressed archives (diff ids), which
/// several compressed forms of one layer share.
#[derive(Debug, Clone)]
pub(super) struct Layers {
    folder: PathBuf,
    temporary: PathBuf,
    id_base: u32,
}

/// What a layer must turn out to be. Where nothing is promised nothing is checked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expected<'a> {
    /// Digest of the bytes as they come.
    pub digest: Option<&'a Digest>,
    /// Digest after decompression.
    pub diff_id: Option<&'a Digest>,
}

impl Layers {
    pub(super) fn new(folder: PathBuf, temporary: PathBuf, id_base: u32) -> Layers {
        Layers { folder, temporary, id_base }
    }

    /// Where a layer is or will be.
    pub(super) fn path(&self, diff_id: &Digest) -> PathBuf {
        self.folder.join(format!("sha256-{}", diff_id.hex()))
    }

    pub(super) fn has(&self, diff_id: &Digest) -> bool {
        self.path(diff_id).is_dir()
    }

    /// Every layer there is.
    pub(super) fn list(&self) -> Result<Vec<(Digest, PathBuf)>, ImageError> {
        let failed = |e| ImageError::io("list", &self.folder, e);
        let mut layers = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            let hex = name.to_str().and_then(|name| name.strip_prefix("sha256-"));
            if let Some(diff_id) = hex.and_then(|hex| Digest::parse(&format!("sha256:{hex}"))) {
                layers.push((diff_id, entry.path()));
            }
        }
        Ok(layers)
    }

    /// Removes a layer; first out of sight, so that a crash leaves no half of it.
    pub(super) fn remove(&self, diff_id: &Digest) -> Result<(), ImageError> {
        let path = self.path(diff_id);
        let aside = self.temporary_folder()?;
        fs::rename(&path, aside.path().join("layer")).map_err(|e| ImageError::io("remove", &path, e))
    }

    /// Reads a layer to its end, unpacks and verifies it and moves it into place. Nothing stays
    /// behind on failure. Blocks: call it from a thread that may. Returns the layer's diff id and
    /// the number of bytes read.
    pub(super) fn add(
        &self,
        source: impl Read,
        label: &str,
        expected: Expected<'_>,
    ) -> Result<(Digest, u64), ImageError> {
        let folder = self.temporary_folder()?;
        let root = folder.path().join("layer");
        fs::create_dir(&root).map_err(|e| ImageError::io("create", &root, e))?;
        let mut source = DigestReader::new(source);
        let unpacked = decompress_and_unpack(&mut source, &root, self.id_base);
        if let Err(UnpackError::Write { source, .. }) = unpacked {
            return Err(self.failed(label, UnpackError::Write { entry: label.into(), source }));
        }
        // The digest covers all bytes, and of a damaged layer it is the digest that says so.
        let drained = io::copy(&mut source, &mut io::sink());
        let (digest, size) = source.finish();
        match (expected.digest, drained) {
            (Some(expected), Ok(_)) if *expected != digest => {
                return Err(mismatch(BlobKind::Layer, expected, digest));
            }
            (_, Err(e)) => return Err(self.failed(label, UnpackError::Read(e))),
            _ => {}
        }
        let diff_id = unpacked.map_err(|e| self.failed(label, e))?;
        match expected.diff_id {
            Some(expected) if *expected != diff_id => {
                return Err(mismatch(BlobKind::UncompressedLayer, expected, diff_id));
            }
            _ => {}
        }
        self.commit(&root, &diff_id)?;
        Ok((diff_id, size))
    }

    /// Everything must be on disk before the name is: after a crash a layer is whole or absent.
    fn commit(&self, root: &Path, diff_id: &Digest) -> Result<(), ImageError> {
        let target = self.path(diff_id);
        let failed = |e| ImageError::io("store", &target, e);
        let open = File::open(root).map_err(failed)?;
        nix::unistd::syncfs(open.as_raw_fd()).map_err(|e| failed(e.into()))?;
        match fs::rename(root, &target) {
            // Another import brought the same layer in the meantime.
            Err(_) if target.is_dir() => return Ok(()),
            done => done.map_err(failed)?,
        }
        File::open(&self.folder).and_then(|folder| folder.sync_all()).map_err(failed)
    }

    fn temporary_folder(&self) -> Result<TempDir, ImageError> {
        tempfile::Builder::new()
            .prefix("layer-")
            .tempdir_in(&self.temporary)
            .map_err(|e| ImageError::io("create a folder in", &self.temporary, e))
    }

    fn failed(&self, label: &str, error: UnpackError) -> ImageError {
        match error {
            UnpackError::Write { source, .. } if is_disk_full(&source) => {
                ImageError::DiskFull { path: self.folder.clone(), source }
            }
            source => ImageError::Layer { layer: label.to_owned(), source },
        }
    }
}

fn mismatch(what: BlobKind, expected: &Digest, actual: Digest) -> ImageError {
    ImageError::DigestMismatch { what, expected: expected.clone(), actual }
}

/// Returns the diff id.
fn decompress_and_unpack(source: &mut impl Read, root: &Path, id_base: u32) -> Result<Digest, UnpackError> {
    let mut plain = DigestReader::new(decompressed(source).map_err(UnpackError::Read)?);
    unpack(&mut plain, root, id_base)?;
    // What follows the archive's end mark (padding) is part of the diff id.
    io::copy(&mut plain, &mut io::sink()).map_err(UnpackError::Read)?;
    Ok(plain.finish().0)
}

/// Tells the compression by the content, as media types are wrong too often.
pub(super) fn decompressed<'a>(mut source: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let mut head = Vec::with_capacity(ZSTD_MAGIC.len());
    source.by_ref().take(ZSTD_MAGIC.len() as u64).read_to_end(&mut head)?;
    let (gzip, zstd) = (head.starts_with(&GZIP_MAGIC), head.starts_with(&ZSTD_MAGIC));
    let whole = Cursor::new(head).chain(source);
    Ok(match (gzip, zstd) {
        (true, _) => Box::new(flate2::read::MultiGzDecoder::new(whole)),
        (_, true) => Box::new(zstd::stream::read::Decoder::new(whole)?),
        _ => Box::new(whole),
    })
}

/// A part of a download on its way to the thread that unpacks it.
pub(super) enum Piece {
    Data(Bytes),
    /// Tells a finished download from one that was given up.
    End,
}

/// The reading end of a download.
pub(super) struct PieceReader {
    pieces: mpsc::Receiver<Piece>,
    current: Bytes,
    ended: bool,
}

impl PieceReader {
    pub(super) fn new(pieces: mpsc::Receiver<Piece>) -> Self {
        PieceReader { pieces, current: Bytes::new(), ended: false }
    }
}

impl Read for PieceReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() && !self.ended {
            match self.pieces.blocking_recv() {
                Some(Piece::Data(bytes)) => self.current = bytes,
                Some(Piece::End) => self.ended = true,
                None => return Err(io::ErrorKind::ConnectionAborted.into()),
            }
        }
        let n = buffer.len().min(self.current.len());
        buffer[..n].copy_from_slice(&self.current.split_to(n));
        Ok(n)
    }
}
