//! Whether an instance has read a request that was written to a connection which it then ended.
//!
//! An instance may end a connection that it has not used for a while just when the next request is written to it. To
//! send such a request again does no harm, as it was not read; to send one again that was read may do it twice. What can
//! be known depends on how the connection ended:
//!
//! - An end (FIN) acknowledges all that had come before it. If nothing of the request was, then none of it had come. The
//!   kernel of an instance that has closed the connection refuses at once what comes then. One that has ended its own side
//!   alone may still read the request; if it then closes the connection that looks the same where it takes less time than
//!   a refusal and than the acknowledgement.
//! - A reset acknowledges nothing. The kernel sends it for a connection that was closed with something unread, so a
//!   request had not been read to its end. But its beginning may have been, and an instance can ask for a reset
//!   (`SO_LINGER` of 0) whatever it has read.
//!
//! A request whose method is idempotent (doing it twice is as good as once; RFC 9110, 9.2.2) need not be certain.

use std::io;
use std::os::fd::AsRawFd as _;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::Method;
use nix::libc;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// How long a refusal of what was sent is waited for. Instances are on this machine: mostly it is there before anyone asks.
const REFUSAL: Duration = Duration::from_millis(1);

/// `TCP_CLOSE` of the kernel's tcp_states.h.
const CLOSED: u8 = 7;

nix::ioctl_read_bad!(output_queue, libc::TIOCOUTQ, libc::c_int);

/// Bytes that the other end has not acknowledged (`SIOCOUTQ` of the kernel's sockios.h); 0 if that cannot be known.
fn unacknowledged(stream: &TcpStream) -> u64 {
    let mut bytes = 0;
    // SAFETY: the kernel writes one int to where the pointer points, and the socket is open as long as `stream` is.
    let known = unsafe { output_queue(stream.as_raw_fd(), &raw mut bytes) };
    known.ok().and_then(|_| u64::try_from(bytes).ok()).unwrap_or(0)
}

/// Whether nothing can come or go on a connection any more.
fn is_closed(stream: &TcpStream) -> bool {
    let mut state = 0_u8;
    let mut length: libc::socklen_t = 1;
    // SAFETY: the kernel writes at most `length` bytes, of which the first is `tcpi_state`, to where the pointer points;
    // the socket is open as long as `stream` is.
    let known = unsafe {
        let place = (&raw mut state).cast();
        libc::getsockopt(stream.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, place, &raw mut length)
    };
    known == 0 && length == 1 && state == CLOSED
}

/// How an instance ended a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// By an end.
    Closed,
    /// By a reset, or in another way that says nothing.
    Reset,
}

/// Whether an instance that has ended a connection has not read the last `sent` bytes, which are a request with this
/// method, or may be sent it again all the same.
pub(crate) async fn was_unread(stream: &TcpStream, sent: usize, end: End, method: &Method) -> bool {
    match end {
        End::Reset => method.is_idempotent(),
        End::Closed if method.is_idempotent() => unacknowledged(stream) >= sent as u64,
        End::Closed => {
            if !is_closed(stream) {
                tokio::time::sleep(REFUSAL).await;
            }
            is_closed(stream) && unacknowledged(stream) >= sent as u64
        }
    }
}

/// What is known of the bytes that passed on a connection.
pub(crate) struct Heard {
    written: AtomicU64,
    read: AtomicU64,
    /// How many of those that were written may have been read, once the other end has ended the connection.
    reached: AtomicU64,
}

/// A moment of a connection.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Mark {
    written: u64,
    read: u64,
}

impl Heard {
    /// Now.
    pub(crate) fn mark(&self) -> Mark {
        Mark { written: self.written.load(Ordering::Relaxed), read: self.read.load(Ordering::Relaxed) }
    }

    /// Whether the other end has ended the connection without having read or said anything since then. After a reset
    /// that is as certain as an idempotent request needs it.
    pub(crate) fn is_untouched_since(&self, mark: Mark) -> bool {
        self.reached.load(Ordering::Relaxed) <= mark.written && self.read.load(Ordering::Relaxed) == mark.read
    }
}

/// A connection to an instance that keeps count of what it is sent.
pub(crate) struct Counted {
    stream: TcpStream,
    heard: Arc<Heard>,
}

impl Counted {
    pub(crate) fn new(stream: TcpStream) -> (Self, Arc<Heard>) {
        let (written, read, reached) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(u64::MAX));
        let heard = Arc::new(Heard { written, read, reached });
        (Self { stream, heard: heard.clone() }, heard)
    }

    fn count(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match &written {
            Poll::Ready(Ok(bytes)) => drop(self.heard.written.fetch_add(*bytes as u64, Ordering::Relaxed)),
            // It takes the place of the reset that a read would tell.
            Poll::Ready(Err(_)) => self.heard.reached.store(0, Ordering::Relaxed),
            Poll::Pending => {}
        }
        written
    }
}

impl AsyncRead for Counted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.remaining();
        let read = ready!(Pin::new(&mut self.stream).poll_read(cx, buffer));
        match (&read, before - buffer.remaining()) {
            (Err(_), _) => self.heard.reached.store(0, Ordering::Relaxed),
            (Ok(()), 0) if before > 0 => {
                let written = self.heard.written.load(Ordering::Relaxed);
                self.heard.reached.store(written.saturating_sub(unacknowledged(&self.stream)), Ordering::Relaxed);
            }
            (Ok(()), bytes) => drop(self.heard.read.fetch_add(bytes as u64, Ordering::Relaxed)),
        }
        Poll::Ready(read)
    }
}

impl AsyncWrite for Counted {
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

    use nix::sys::socket::sockopt::Linger;
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

    /// On a very busy machine it takes a while.
    async fn refusal(stream: &TcpStream) {
        for _ in 0..5000 {
            if is_closed(stream) {
                return;
            }
            tokio::time::sleep(REFUSAL).await;
        }
        panic!("what was sent is not refused");
    }

    #[tokio::test]
    async fn s08_what_a_closed_connection_was_sent_is_unread() {
        for method in [Method::GET, Method::POST] {
            let (mut ours, theirs) = connection().await;
            drop(theirs);
            ours.write_all(b"second").await.unwrap();
            assert_eq!(ours.read(&mut [0; 9]).await.unwrap(), 0);
            refusal(&ours).await;
            assert!(was_unread(&ours, 6, End::Closed, &method).await, "{method}");
        }
    }

    #[tokio::test]
    async fn s08_what_a_connection_that_is_closed_on_one_side_was_sent_may_be_read() {
        let (mut ours, mut theirs) = connection().await;
        theirs.shutdown().await.unwrap();
        ours.write_all(b"second").await.unwrap();
        assert_eq!(ours.read(&mut [0; 9]).await.unwrap(), 0);
        assert!(!was_unread(&ours, 6, End::Closed, &Method::POST).await);
        theirs.read_exact(&mut [0; 6]).await.unwrap();
    }

    #[tokio::test]
    async fn s08_what_was_read_after_one_side_was_closed_is_read() {
        let (mut ours, mut theirs) = connection().await;
        theirs.shutdown().await.unwrap();
        ours.write_all(&[b'-'; 16_000]).await.unwrap();
        theirs.read_exact(&mut [0; 200]).await.unwrap();
        drop(theirs);
        assert_eq!(ours.read(&mut [0; 9]).await.unwrap(), 0);
        refusal(&ours).await;
        assert!(!was_unread(&ours, 16_000, End::Closed, &Method::POST).await);
    }

    #[tokio::test]
    async fn s08_what_was_read_before_an_end_is_read() {
        for method in [Method::GET, Method::POST] {
            let (mut ours, mut theirs) = connection().await;
            ours.write_all(b"second").await.unwrap();
            theirs.read_exact(&mut [0; 6]).await.unwrap();
            drop(theirs);
            assert_eq!(ours.read(&mut [0; 9]).await.unwrap(), 0);
            assert!(!was_unread(&ours, 6, End::Closed, &method).await, "{method}");
        }
    }

    /// Whether a second request is taken for unread. `before` is what the instance does before that comes.
    async fn watched(before: impl AsyncFnOnce(TcpStream) -> Option<TcpStream>) -> bool {
        let (ours, theirs) = connection().await;
        let (mut ours, heard) = Counted::new(ours);
        let mark = heard.mark();
        let left = before(theirs).await;
        ours.write_all(b"second").await.unwrap();
        assert!(!heard.is_untouched_since(mark));
        if let Some(mut left) = left {
            left.read_exact(&mut [0; 3]).await.unwrap();
            left.write_all(b"an").await.unwrap();
            ours.read_exact(&mut [0; 2]).await.unwrap();
        }
        // An end or a reset.
        let _ = ours.read(&mut [0; 9]).await;
        heard.is_untouched_since(mark)
    }

    #[tokio::test]
    async fn s08_a_watched_connection_that_was_reset_before_a_request_is_untouched() {
        let (ours, theirs) = connection().await;
        let (mut ours, heard) = Counted::new(ours);
        let mark = heard.mark();
        nix::sys::socket::setsockopt(&theirs, Linger, &libc::linger { l_onoff: 1, l_linger: 0 }).unwrap();
        drop(theirs);
        while ours.write_all(b"second").await.is_ok() {}
        assert!(heard.is_untouched_since(mark));
    }

    #[tokio::test]
    async fn s08_a_watched_connection_tells_what_was_read() {
        assert!(watched(async |_| None).await);
        // It reads half of the request, begins to answer and leaves the rest.
        assert!(!watched(async |theirs| Some(theirs)).await);
    }
}
