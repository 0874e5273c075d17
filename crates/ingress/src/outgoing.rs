//! Bytes on their way out.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;

use crate::scratch;

/// Bytes of which the first ones may be written already. Their buffer is another's when they are gone.
#[derive(Default)]
pub(crate) struct Outgoing {
    bytes: Vec<u8>,
    written: usize,
}

impl Outgoing {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, written: 0 }
    }

    /// Writes what is left; ready when all is written.
    pub(crate) fn poll_write<W: AsyncWrite>(
        &mut self,
        mut to: Pin<&mut W>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while self.written < self.bytes.len() {
            match ready!(to.as_mut().poll_write(cx, &self.bytes[self.written..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.written += written,
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Begins anew: all of it is to be written, to another connection.
    pub(crate) fn rewind(&mut self) {
        self.written = 0;
    }

    pub(crate) fn is_done(&self) -> bool {
        self.written == self.bytes.len()
    }

    /// Bytes that are written.
    pub(crate) fn written(&self) -> usize {
        self.written
    }

    /// Bytes that are not written.
    pub(crate) fn left(&self) -> usize {
        self.bytes.len() - self.written
    }

    /// Bytes in all.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Room for more, once all is written.
    pub(crate) fn more(&mut self) -> &mut Vec<u8> {
        if self.is_done() {
            self.bytes.clear();
            self.written = 0;
        }
        &mut self.bytes
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        scratch::give_back(std::mem::take(&mut self.bytes));
    }
}
