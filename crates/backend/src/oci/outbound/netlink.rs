//! Netlink messages: just enough to configure interfaces, addresses, routes and the packet filter.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// Longest answer that is read at once; the kernel sends no longer ones to such a buffer.
const BUFFER: usize = 64 * 1024;
/// Set on the type of an attribute that holds attributes.
const NESTED: u16 = 1 << 15;
/// Bytes of a message's header: length, type, flags, sequence number, port.
const HEADER: usize = 16;

/// A message that is being written.
pub(super) struct Message {
    bytes: Vec<u8>,
}

impl Message {
    /// A message with its type, flags besides `NLM_F_REQUEST`, and the fixed part that the type has.
    pub(super) fn new(kind: u16, flags: i32, fixed: &[u8]) -> Self {
        let mut bytes = vec![0; HEADER];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&((flags | libc::NLM_F_REQUEST) as u16).to_ne_bytes());
        bytes.extend_from_slice(fixed);
        let mut message = Self { bytes };
        message.pad();
        message
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    /// Adds an attribute.
    pub(super) fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        self.bytes.extend_from_slice(&((value.len() + 4) as u16).to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        self.pad();
        self
    }

    /// Adds a text with the zero byte that ends it.
    pub(super) fn text(self, kind: u16, value: &str) -> Self {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.attribute(kind, &bytes)
    }

    /// Adds a number in the order that the packet filter wants: the network's.
    pub(super) fn number(self, kind: u16, value: u32) -> Self {
        self.attribute(kind, &value.to_be_bytes())
    }

    /// Adds an attribute that holds attributes.
    pub(super) fn nest(mut self, kind: u16, content: impl FnOnce(Self) -> Self) -> Self {
        let begin = self.bytes.len();
        self.bytes.extend_from_slice(&[0, 0]);
        self.bytes.extend_from_slice(&(kind | NESTED).to_ne_bytes());
        let mut this = content(self);
        let length = (this.bytes.len() - begin) as u16;
        this.bytes[begin..begin + 2].copy_from_slice(&length.to_ne_bytes());
        this
    }

    /// Adds plain bytes, for the fixed part inside an attribute.
    pub(super) fn raw(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend_from_slice(bytes);
        self.pad();
        self
    }

    fn finish(mut self, sequence: u32) -> Vec<u8> {
        let length = self.bytes.len() as u32;
        self.bytes[0..4].copy_from_slice(&length.to_ne_bytes());
        self.bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
        self.bytes
    }
}

/// A netlink socket of the network namespace that the thread is in when it is opened.
pub(super) struct Socket {
    fd: OwnedFd,
    sequence: u32,
}

/// An answer: its type and what follows its header.
pub(super) type Answer = (u16, Vec<u8>);

impl Socket {
    /// Opens a socket of a protocol, for instance `NETLINK_ROUTE`.
    pub(super) fn open(protocol: i32) -> io::Result<Self> {
        // SAFETY: the call takes numbers only.
        let fd = unsafe { libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, protocol) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just made this descriptor for us alone.
        Ok(Self { fd: unsafe { OwnedFd::from_raw_fd(fd) }, sequence: 0 })
    }

    /// Sends a change and waits until it is done.
    pub(super) fn change(&mut self, message: Message) -> io::Result<()> {
        self.batch(vec![message], 1)
    }

    /// Sends messages together, of which `acknowledged` have asked for an answer; the first error.
    pub(super) fn batch(&mut self, messages: Vec<Message>, acknowledged: usize) -> io::Result<()> {
        let mut bytes = Vec::new();
        for message in messages {
            self.sequence += 1;
            bytes.extend(message.finish(self.sequence));
        }
        self.send(&bytes)?;
        let mut left = acknowledged;
        while left > 0 {
            for (kind, body) in self.receive()? {
                if i32::from(kind) == libc::NLMSG_ERROR {
                    outcome(&body)?;
                    left = left.saturating_sub(1);
                }
            }
        }
        Ok(())
    }

    /// Sends a request for a list and reads all of it.
    pub(super) fn dump(&mut self, message: Message) -> io::Result<Vec<Answer>> {
        self.sequence += 1;
        let bytes = message.finish(self.sequence);
        self.send(&bytes)?;
        let mut answers = Vec::new();
        loop {
            for (kind, body) in self.receive()? {
                match i32::from(kind) {
                    libc::NLMSG_DONE => return Ok(answers),
                    libc::NLMSG_ERROR => outcome(&body)?,
                    _ => answers.push((kind, body)),
                }
            }
        }
    }

    fn send(&self, bytes: &[u8]) -> io::Result<()> {
        // SAFETY: the pointer and the length are those of one slice.
        let sent = unsafe { libc::send(self.fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), 0) };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    fn receive(&self) -> io::Result<Vec<Answer>> {
        let mut buffer = vec![0_u8; BUFFER];
        // SAFETY: the pointer and the length are those of one buffer.
        let length = unsafe { libc::recv(self.fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) };
        let length = usize::try_from(length).map_err(|_| io::Error::last_os_error())?;
        Ok(split(&buffer[..length]))
    }
}

fn split(mut bytes: &[u8]) -> Vec<Answer> {
    let mut answers = Vec::new();
    while bytes.len() >= HEADER {
        let length = u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize;
        if length < HEADER || length > bytes.len() {
            break;
        }
        answers.push((u16::from_ne_bytes([bytes[4], bytes[5]]), bytes[HEADER..length].to_vec()));
        bytes = &bytes[length.next_multiple_of(4).min(bytes.len())..];
    }
    answers
}

/// An error message begins with the negative error number, or 0 where all went well.
fn outcome(body: &[u8]) -> io::Result<()> {
    let code = body.first_chunk().map_or(-libc::EIO, |bytes| i32::from_ne_bytes(*bytes));
    if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(-code)) }
}

/// The attributes in `bytes`: type without flags, and value.
pub(super) fn attributes(mut bytes: &[u8]) -> Vec<(u16, &[u8])> {
    let mut found = Vec::new();
    while bytes.len() >= 4 {
        let length = usize::from(u16::from_ne_bytes([bytes[0], bytes[1]]));
        if length < 4 || length > bytes.len() {
            break;
        }
        found.push((u16::from_ne_bytes([bytes[2], bytes[3]]) & !NESTED, &bytes[4..length]));
        bytes = &bytes[length.next_multiple_of(4).min(bytes.len())..];
    }
    found
}
