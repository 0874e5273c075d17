//! A response's body from the instance's form into the client's.

use super::chunked::{Decoder, Step};

/// What the instance sent is no HTTP that can be passed on.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// What is still to come of a response's body, and how its end is known.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// By the number of bytes left.
    Length(u64),
    /// By its coding.
    Chunked(Decoder),
    /// By the connection's end.
    Close,
}

/// What has been taken of an instance's bytes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Taken {
    /// Bytes of the body.
    pub(super) data: usize,
    /// Bytes behind the body's end.
    pub(super) behind: usize,
}

impl Body {
    pub(super) fn is_whole(&self) -> bool {
        match self {
            Self::Length(left) => *left == 0,
            Self::Chunked(decoder) => decoder.is_at_end(),
            Self::Close => false,
        }
    }

    /// Takes what the instance sent and writes it as the client is to have it.
    pub(super) fn take(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<Taken, Malformed> {
        match self {
            Self::Length(left) => {
                let data = input.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                out.extend_from_slice(&input[..data]);
                *left -= data as u64;
                Ok(Taken { data, behind: input.len() - data })
            }
            Self::Close => {
                write_chunk(out, input);
                Ok(Taken { data: input.len(), behind: 0 })
            }
            Self::Chunked(decoder) => rechunk(decoder, input, out),
        }
    }

    /// The instance has ended the connection: whether the body is whole by that.
    pub(super) fn end(&mut self, out: &mut Vec<u8>) -> bool {
        if *self == Self::Close {
            out.extend_from_slice(LAST_CHUNK);
            *self = Self::Length(0);
        }
        self.is_whole()
    }
}

/// The end of a chunked body without trailers, which the client of a plain request has not asked for.
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Chunks as large as what has come, without extensions.
fn rechunk(decoder: &mut Decoder, mut input: &[u8], out: &mut Vec<u8>) -> Result<Taken, Malformed> {
    let mut taken = Taken::default();
    loop {
        match decoder.step(input).map_err(|_| Malformed)? {
            Step::Data(data, rest) => {
                write_chunk(out, data);
                taken.data += data.len();
                input = rest;
            }
            Step::More => return Ok(taken),
            Step::End(rest) => {
                out.extend_from_slice(LAST_CHUNK);
                return Ok(Taken { behind: rest.len(), ..taken });
            }
        }
    }
}

fn write_chunk(out: &mut Vec<u8>, data: &[u8]) {
    if !data.is_empty() {
        out.extend_from_slice(format!("{:x}\r\n", data.len()).as_bytes());
        out.extend_from_slice(data);
        out.extend_from_slice(b"\r\n");
    }
}
