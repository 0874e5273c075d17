//! What containers write, line by line.
//!
//! A container's standard streams are FIFOs in its folder, open for reading and writing on its side, so
//! they outlive homerun: while nobody reads, a container that writes much waits, and the next homerun
//! reads on.

use std::io;
use std::path::Path;
use std::sync::Arc;

use homerun_model::instance::InstanceSpec;
use nix::sys::stat::Mode;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::{OpenOptions, Receiver};
use tokio::sync::watch;

use crate::{LogLine, LogSink, LogStream};

/// Longer lines are handed on in pieces.
const LONGEST_LINE: usize = 256 << 10;

/// Makes a FIFO that everybody may open: a program may open `/dev/stdout` again under its own user.
pub(super) fn make(path: &Path) -> io::Result<()> {
    nix::unistd::mkfifo(path, Mode::from_bits_truncate(0o600))?;
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o666))
}

/// Reads a stream until the container is over, and then what is left in the pipe.
pub(super) fn follow(
    path: &Path,
    spec: Arc<InstanceSpec>,
    container: String,
    (stream, sink): (LogStream, Arc<dyn LogSink>),
    mut over: watch::Receiver<bool>,
) -> io::Result<tokio::task::JoinHandle<()>> {
    let mut pipe = OpenOptions::new().read_write(true).open_receiver(path)?;
    Ok(tokio::spawn(async move {
        let tell = |text: &str| {
            sink.line(LogLine { spec: &spec, container: &container, stream, time: chrono::Utc::now(), text });
        };
        let mut buffer = Vec::with_capacity(4096);
        loop {
            tokio::select! {
                biased;
                read = pipe.read_buf(&mut buffer) => if read.is_err() { break },
                _ = over.wait_for(|over| *over) => {
                    drain(&pipe, &mut buffer, &tell);
                    break;
                }
            }
            lines(&mut buffer, &tell);
        }
        lines(&mut buffer, &tell);
        if !buffer.is_empty() {
            tell(&String::from_utf8_lossy(&buffer));
        }
    }))
}

fn drain(pipe: &Receiver, buffer: &mut Vec<u8>, tell: &impl Fn(&str)) {
    while pipe.try_read_buf(buffer).is_ok_and(|count| count > 0) {
        lines(buffer, tell);
    }
}

/// Hands on every whole line at the front of the buffer.
fn lines(buffer: &mut Vec<u8>, tell: &impl Fn(&str)) {
    let mut begin = 0;
    while let Some(length) = buffer[begin..].iter().position(|byte| *byte == b'\n') {
        let line = &buffer[begin..begin + length];
        tell(&String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line)));
        begin += length + 1;
    }
    buffer.drain(..begin);
    if buffer.len() >= LONGEST_LINE {
        tell(&String::from_utf8_lossy(buffer));
        buffer.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    #[test]
    fn s12_lines_are_split_and_long_ones_come_in_pieces() {
        let told = RefCell::new(Vec::new());
        let tell = |text: &str| told.borrow_mut().push(text.to_owned());
        let mut buffer = b"one\r\ntwo\n\nthr".to_vec();
        lines(&mut buffer, &tell);
        buffer.extend_from_slice(b"ee\n");
        lines(&mut buffer, &tell);
        assert_eq!(*told.borrow(), ["one", "two", "", "three"]);
        buffer.extend(vec![b'x'; LONGEST_LINE + 5]);
        lines(&mut buffer, &tell);
        assert_eq!(told.borrow().last().map(String::len), Some(LONGEST_LINE + 5));
        assert!(buffer.is_empty());
    }
}
