//! Whether a request has reached the instance to whose connection it was written.
//!
//! An instance may end a connection that it has not used for a while just when the next request is written to it. To
//! send such a request again does no harm, as none of it was read; to send one again that was read may do it twice.
//! The kernel knows which it was: the end of a connection acknowledges all that came before it. A reset acknowledges
//! nothing. It comes where the instance ended the connection without having read all that had come, and so not a whole
//! request; only an instance that asks for resets (`SO_LINGER` of 0) may have read one. So after a reset a request
//! counts as unheard only if its method is idempotent: doing it twice is as good as once (RFC 9110, 9.2.2).

use std::io;
use std::os::fd::AsRawFd as _;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use nix::libc;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

nix::ioctl_read_bad!(output_queue, libc::TIOCOUTQ, libc::c_int);

/// Bytes that the other end has not acknowledged (`SIOCOUTQ` in the kernel's sockios.h); 0 if that cannot be known.
fn unacknowledged(stream: &TcpStream) -> u64 {
    let mut bytes = 0;
    // SAFETY: the kernel writes one int to where the pointer points, and the socket is open as long as `stream` is.
    let known = unsafe { output_queue(stream.as_raw_fd(), &raw mut bytes) };
    known.ok().and_then(|_| u64::try_from(bytes).ok()).unwrap_or(0)
}

/// Whether an instance that has ended a connection had got none of the last `sent` bytes by then. For the meaning after
/// a reset see the module's page.
pub(crate) fn was_unheard(stream: &TcpStream, sent: usize) -> bool {
    unacknowledged(stream) >= sent as u64
}

/// What is known of the bytes that were written to a connection.
#[derive(Default)]
pub(crate) struct Heard {
    written: AtomicU64,
    /// How many of them were not acknowledged when the other end ended the connection.
    unheard: AtomicU64,
}

impl Heard {
    /// Bytes that were written so far.
    pub(crate) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Whether the other end, which has ended the connection, had got no byte that was written after the first `before`.
    pub(crate) fn nothing_since(&self, before: u64) -> bool {
        self.unheard.load(Ordering::Relaxed) >= self.written().saturating_sub(before)
    }
}

/// A connection to an instance that keeps count of what it is sent.
pub(crate) struct Watched {
    stream: TcpStream,
    heard: Arc<Heard>,
}

impl Watched {
    pub(crate) fn new(stream: TcpStream) -> (Self, Arc<Heard>) {
        let heard = Arc::<Heard>::default();
        (Self { stream, heard: heard.clone() }, heard)
    }

    fn count(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = written {
            self.heard.written.fetch_add(bytes as u64, Ordering::Relaxed);
        }
        written
    }
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.remaining();
        let read = ready!(Pin::new(&mut self.stream).poll_read(cx, buffer));
        if read.is_err() || buffer.remaining() == before && before > 0 {
            self.heard.unheard.store(unacknowledged(&self.stream), Ordering::Relaxed);
        }
        Poll::Ready(read)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.count(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, pieces);
        self.count(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// A connection to an instance, and the instance's end of it. One request has been answered on it.
    async fn connection() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (ours, theirs) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), async {
            listener.accept().await.unwrap().0
        });
        let (mut ours, mut theirs) = (ours.unwrap(), theirs);
        ours.write_all(b"first").await.unwrap();
        theirs.read_exact(&mut [0; 5]).await.unwrap();
        theirs.write_all(b"answer").await.unwrap();
        ours.read_exact(&mut [0; 6]).await.unwrap();
        (ours, theirs)
    }

    #[tokio::test]
    async fn s08_what_is_written_to_an_ended_connection_is_unheard() {
        let (mut ours, theirs) = connection().await;
        drop(theirs);
        ours.write_all(b"second").await.unwrap();
        assert_eq!(ours.read(&mut [0; 9]).await.unwrap(), 0);
        assert!(was_unheard(&ours, 6));
    }

    #[tokio::test]
    async fn s08_what_was_read_is_heard() {
        let (mut ours, mut theirs) = connection().await;
        ours.write_all(b"second").await.unwrap();
        theirs.read_exact(&mut [0; 6]).await.unwrap();
        drop(theirs);
        assert_eq!(ours.read(&mut [0; 9]).await.unwrap(), 0);
        assert!(!was_unheard(&ours, 6));
    }

    #[tokio::test]
    async fn s08_a_watched_connection_tells_them_apart() {
        for read in [false, true] {
            let (ours, mut theirs) = connection().await;
            let (mut ours, heard) = Watched::new(ours);
            if !read {
                theirs.shutdown().await.unwrap();
                drop(theirs);
                ours.write_all(b"second").await.unwrap();
            } else {
                ours.write_all(b"second").await.unwrap();
                theirs.read_exact(&mut [0; 6]).await.unwrap();
                drop(theirs);
            }
            assert_eq!(ours.read(&mut [0; 9]).await.unwrap(), 0);
            assert_eq!((heard.written(), heard.nothing_since(0)), (6, !read));
        }
    }
}
