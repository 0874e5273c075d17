//! What the connections of a thread share: a buffer into which each reads what then is dealt with at once, and buffers
//! for what is on its way out.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes that are read in one piece, at most: few system calls for large bodies, and still within a core's cache.
const SIZE: usize = 128 * 1024;

/// Buffers that are kept, and bytes that each may have.
const SPARE: usize = 64;
const SPARE_BYTES: usize = 16 * 1024;
/// Bytes of a new one: a head and a small body.
const ROOM: usize = 4096;

thread_local! {
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; SIZE].into_boxed_slice());
    static SPARES: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Reads what there is, and has it dealt with. Nothing of it is kept.
pub(crate) fn poll_read<R: AsyncRead, T>(
    reader: Pin<&mut R>,
    cx: &mut Context<'_>,
    take: impl FnOnce(&mut Context<'_>, io::Result<&[u8]>) -> T,
) -> Poll<T> {
    poll_read_some(reader, cx, SIZE, take)
}

/// As [`poll_read`], but not more than so many bytes.
pub(crate) fn poll_read_some<R: AsyncRead, T>(
    reader: Pin<&mut R>,
    cx: &mut Context<'_>,
    most: usize,
    take: impl FnOnce(&mut Context<'_>, io::Result<&[u8]>) -> T,
) -> Poll<T> {
    BUFFER.with_borrow_mut(|buffer| {
        let mut buffer = ReadBuf::new(&mut buffer[..most.min(SIZE)]);
        let read = ready!(reader.poll_read(cx, &mut buffer));
        Poll::Ready(take(cx, read.map(|()| buffer.filled())))
    })
}

/// Writes at once what the other side takes at once; how much that was. An error is for the next write to tell.
pub(crate) fn write_through<W: AsyncWrite>(mut to: Pin<&mut W>, cx: &mut Context<'_>, bytes: &[u8]) -> usize {
    let mut written = 0;
    while written < bytes.len()
        && let Poll::Ready(Ok(more @ 1..)) = to.as_mut().poll_write(cx, &bytes[written..])
    {
        written += more;
    }
    written
}

/// An empty buffer, one that was given back if there is one.
pub(crate) fn take_spare() -> Vec<u8> {
    SPARES.with_borrow_mut(Vec::pop).unwrap_or_else(|| Vec::with_capacity(ROOM))
}

/// Takes a buffer back, whatever is in it.
pub(crate) fn give_back(mut buffer: Vec<u8>) {
    if (1..=SPARE_BYTES).contains(&buffer.capacity()) {
        buffer.clear();
        SPARES.with_borrow_mut(|spares| {
            if spares.len() < SPARE {
                spares.push(buffer);
            }
        });
    }
}
