//! The end of each measurement: the first answer.

use std::error::Error;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};

use crate::PORT;

/// Pause between two attempts to connect, the same for all.
pub const PAUSE: Duration = Duration::from_micros(200);
/// Longest wait for an answer.
pub const PATIENCE: Duration = Duration::from_secs(10);
pub const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n";

/// Waits for the answer of a process's network namespace. Changes the thread's namespace.
pub fn of_process(pid: i32) -> Result<(), Box<dyn Error>> {
    setns(File::open(format!("/proc/{pid}/ns/net"))?, CloneFlags::CLONE_NEWNET)?;
    let begun = Instant::now();
    let mut stream = loop {
        match TcpStream::connect((Ipv4Addr::LOCALHOST, PORT)) {
            Ok(stream) => break stream,
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused && begun.elapsed() < PATIENCE => {
                std::thread::sleep(PAUSE);
            }
            Err(error) => return Err(error.into()),
        }
    };
    stream.set_nodelay(true)?;
    stream.write_all(REQUEST)?;
    let mut answer = [0; 64];
    let count = stream.read(&mut answer)?;
    check(&answer[..count])
}

/// Only a 200 counts.
pub fn check(answer: &[u8]) -> Result<(), Box<dyn Error>> {
    if answer.starts_with(b"HTTP/1.1 200") {
        return Ok(());
    }
    Err(format!("unexpected answer: {}", String::from_utf8_lossy(answer)).into())
}

/// Gives this thread a mount namespace whose mounts the host never sees.
pub fn private_mounts() -> nix::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
}

/// Brings up `lo` of the network namespace that this thread is in.
pub fn loopback_up() -> io::Result<()> {
    let socket = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    // SAFETY: an all-zero ifreq is valid, and the kernel only reads it.
    unsafe {
        let mut request: libc::ifreq = std::mem::zeroed();
        request.ifr_name[0] = b'l' as libc::c_char;
        request.ifr_name[1] = b'o' as libc::c_char;
        request.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
        match libc::ioctl(std::os::fd::AsRawFd::as_raw_fd(&socket), libc::SIOCSIFFLAGS, &request) {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}
