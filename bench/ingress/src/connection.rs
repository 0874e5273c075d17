//! One client connection, with as little of HTTP/1.1 as a load needs.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    filled: usize,
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

impl Connection {
    pub async fn open(to: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(to).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: vec![0; 64 * 1024], filled: 0 })
    }

    /// One exchange; anything but a 200 with a length is an error.
    pub async fn exchange(&mut self, request: &[u8]) -> io::Result<()> {
        self.stream.write_all(request).await?;
        let head = self.head().await?;
        if !self.buffer.starts_with(b"HTTP/1.1 200") {
            let line = self.buffer[..head].split(|byte| *byte == b'\r').next().unwrap_or_default();
            return Err(wrong(&String::from_utf8_lossy(line)));
        }
        let length = length(&self.buffer[..head]).ok_or_else(|| wrong("a response without Content-Length"))?;
        let mut missing = length.saturating_sub(self.filled - head);
        while missing > 0 {
            match self.stream.read(&mut self.buffer).await? {
                0 => return Err(wrong("a response that ends early")),
                read => missing = missing.saturating_sub(read),
            }
        }
        Ok(())
    }

    /// Changes to WebSocket.
    pub async fn upgrade(&mut self, request: &[u8]) -> io::Result<()> {
        self.stream.write_all(request).await?;
        self.head().await?;
        self.buffer.starts_with(b"HTTP/1.1 101").then_some(()).ok_or_else(|| wrong("no 101"))
    }

    /// Sends a frame and waits for as many bytes as its echo has.
    pub async fn echo(&mut self, frame: &[u8], echo: usize) -> io::Result<()> {
        self.stream.write_all(frame).await?;
        self.stream.read_exact(&mut self.buffer[..echo]).await.map(drop)
    }

    /// Reads a response's headers; where they end.
    async fn head(&mut self) -> io::Result<usize> {
        self.filled = 0;
        loop {
            let read = self.stream.read(&mut self.buffer[self.filled..]).await?;
            if read == 0 {
                return Err(wrong("the connection was closed"));
            }
            self.filled += read;
            if let Some(end) = find(&self.buffer[..self.filled], b"\r\n\r\n") {
                return Ok(end + 4);
            }
        }
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

fn length(head: &[u8]) -> Option<usize> {
    let lines = head.split(|byte| *byte == b'\n').filter_map(|line| std::str::from_utf8(line).ok());
    let mut fields = lines.filter_map(|line| line.split_once(':'));
    let (_, value) = fields.find(|(name, _)| name.eq_ignore_ascii_case("content-length"))?;
    value.trim().parse().ok()
}
