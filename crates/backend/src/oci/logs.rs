//! What containers write, line by line.
//!
//! A container's standard streams are FIFOs in its folder, open for reading and writing on its side, so
//! they outlive homerun: while nobody reads, a container that writes much waits, and the next homerun
//! reads on. One that writes more than anybody could keep waits too, rather than taking homerun's
//! processor.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use homerun_model::instance::InstanceSpec;
use nix::sys::stat::Mode;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::{OpenOptions, Receiver};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::{LogLine, LogSink, LogStream};

/// Bytes of a line; of a longer one the rest is dropped, as Cloud Logging limits entries.
const LONGEST_LINE: usize = 256 << 10;
/// Bytes that are read at once, at least.
const READ_BYTES: usize = 16 << 10;
/// Most bytes of a stream that are read per [`TICK`], 64 MiB per second.
const TICK_BYTES: usize = (64 << 20) / 20;
const TICK: Duration = Duration::from_millis(50);
/// Ends a line that was cut.
const CUT: &str = " [cut: the line is longer than 256 KiB]";

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
        let mut lines = Lines { buffer: Vec::with_capacity(READ_BYTES), cutting: false };
        let (mut tick, mut bytes) = (Instant::now() + TICK, 0);
        loop {
            tokio::select! {
                biased;
                read = pipe.read_buf(&mut lines.buffer) => match read {
                    Ok(count) => bytes += count,
                    Err(_) => break,
                },
                _ = over.wait_for(|over| *over) => {
                    drain(&pipe, &mut lines, &tell);
                    break;
                }
            }
            lines.hand_on(&tell);
            if Instant::now() >= tick {
                (tick, bytes) = (Instant::now() + TICK, 0);
            } else if bytes >= TICK_BYTES {
                tokio::time::sleep_until(tick).await;
            }
        }
        lines.hand_on(&tell);
        if !lines.buffer.is_empty() && !lines.cutting {
            tell(&String::from_utf8_lossy(&lines.buffer));
        }
    }))
}

fn drain(pipe: &Receiver, lines: &mut Lines, tell: &impl Fn(&str)) {
    while pipe.try_read_buf(&mut lines.buffer).is_ok_and(|count| count > 0) {
        lines.hand_on(tell);
    }
}

/// What has been read of a stream and not been handed on.
#[derive(Default)]
struct Lines {
    buffer: Vec<u8>,
    /// The buffer begins in the middle of a line whose front has been handed on.
    cutting: bool,
}

impl Lines {
    /// Hands on every whole line at the front of the buffer, and the front of one that is too long.
    fn hand_on(&mut self, tell: &impl Fn(&str)) {
        let mut begin = 0;
        while let Some(length) = self.buffer[begin..].iter().position(|byte| *byte == b'\n') {
            if !std::mem::take(&mut self.cutting) {
                let line = &self.buffer[begin..begin + length];
                whole(line.strip_suffix(b"\r").unwrap_or(line), tell);
            }
            begin += length + 1;
        }
        self.buffer.drain(..begin);
        if !self.cutting && self.buffer.len() > LONGEST_LINE {
            whole(&self.buffer, tell);
            self.cutting = true;
        }
        if self.cutting {
            self.buffer.clear();
        }
    }
}

fn whole(line: &[u8], tell: &impl Fn(&str)) {
    match line.get(..LONGEST_LINE).filter(|_| line.len() > LONGEST_LINE) {
        Some(front) => tell(&format!("{}{CUT}", String::from_utf8_lossy(front))),
        None => tell(&String::from_utf8_lossy(line)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    #[test]
    fn s12_lines_are_split_and_long_ones_are_cut() {
        let told = RefCell::new(Vec::new());
        let tell = |text: &str| told.borrow_mut().push(text.to_owned());
        let mut lines = Lines::default();
        let mut read = |bytes: &[u8]| {
            lines.buffer.extend_from_slice(bytes);
            lines.hand_on(&tell);
            std::mem::take(&mut *told.borrow_mut())
        };
        assert_eq!(read(b"one\r\ntwo\n\nthr"), ["one", "two", ""]);
        assert_eq!(read(b"ee\n"), ["three"]);

        let cut = format!("{}{CUT}", "x".repeat(LONGEST_LINE));
        assert_eq!(read(&vec![b'x'; LONGEST_LINE]), [""; 0], "it may yet be just long enough");
        assert_eq!(read(b"xx"), [cut.as_str()]);
        assert_eq!(read(&vec![b'y'; 3 * LONGEST_LINE]), [""; 0], "the rest is dropped");
        assert_eq!(read(b"yy\nnext\n"), ["next"]);
        let mut whole_line = vec![b'x'; LONGEST_LINE + 1];
        whole_line.extend_from_slice(b"\nnext\n");
        assert_eq!(read(&whole_line), [cut.as_str(), "next"]);
    }
}
