//! Chunked coding (RFC 9112, section 7.1) as instances send it.

/// Bytes of a chunk's size line, its extensions included, and of a trailer's line.
const MAX_LINE: usize = 16 * 1024;
/// Bytes of all trailers together.
const MAX_TRAILERS: usize = 64 * 1024;

/// How far the decoding has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// In a chunk's size.
    Size {
        digits: u32,
        size: u64,
    },
    /// Behind the size: whitespace and extensions, which say nothing to us.
    Extension {
        size: u64,
        length: usize,
    },
    /// Before the line feed that ends the size's line.
    SizeEnd {
        size: u64,
    },
    /// In the data, of which so much is left.
    Data {
        left: u64,
    },
    /// Behind the data.
    DataReturn,
    DataFeed,
    /// At the beginning of a trailer or of the last line.
    Line {
        total: usize,
    },
    /// In a trailer.
    Trailer {
        length: usize,
        total: usize,
    },
    TrailerFeed {
        total: usize,
    },
    LastFeed,
    End,
}

/// Decodes a chunked body piece by piece.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Decoder(At);

/// The bytes are no chunked body.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NotChunked;

/// What the beginning of the input is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step<'a> {
    /// Data, and what follows it.
    Data(&'a [u8], &'a [u8]),
    /// The input is used up, and the body is not whole.
    More,
    /// The body is whole; what follows it.
    End(&'a [u8]),
}

impl Decoder {
    pub(super) fn new() -> Self {
        Self(At::Size { digits: 0, size: 0 })
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.0 == At::End
    }

    /// Decodes up to the next data, or to the end.
    pub(super) fn step<'a>(&mut self, mut input: &'a [u8]) -> Result<Step<'a>, NotChunked> {
        loop {
            if let At::Data { left } = self.0 {
                let here = input.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                let (data, rest) = input.split_at(here);
                let left = left - here as u64;
                self.0 = if left == 0 { At::DataReturn } else { At::Data { left } };
                return Ok(if data.is_empty() { Step::More } else { Step::Data(data, rest) });
            }
            if self.0 == At::End {
                return Ok(Step::End(input));
            }
            let Some((byte, rest)) = input.split_first() else { return Ok(Step::More) };
            self.0 = self.0.after(*byte)?;
            input = rest;
        }
    }
}

impl At {
    fn after(self, byte: u8) -> Result<Self, NotChunked> {
        Ok(match (self, byte) {
            (Self::Size { digits, size }, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') if digits < 16 => {
                let digit = char::from(byte).to_digit(16).unwrap_or_default();
                Self::Size { digits: digits + 1, size: size << 4 | u64::from(digit) }
            }
            (Self::Size { digits: 1.., size }, b'\r') => Self::SizeEnd { size },
            (Self::Size { digits: 1.., size }, b';' | b' ' | b'\t') => Self::Extension { size, length: 0 },
            (Self::Extension { size, .. }, b'\r') => Self::SizeEnd { size },
            (Self::Extension { size, length }, _) if byte != b'\n' && length < MAX_LINE => {
                Self::Extension { size, length: length + 1 }
            }
            (Self::SizeEnd { size: 0 }, b'\n') => Self::Line { total: 0 },
            (Self::SizeEnd { size }, b'\n') => Self::Data { left: size },
            (Self::DataReturn, b'\r') => Self::DataFeed,
            (Self::DataFeed, b'\n') => Self::Size { digits: 0, size: 0 },
            (Self::Line { .. }, b'\r') => Self::LastFeed,
            (Self::Line { total }, _) if byte != b'\n' => Self::Trailer { length: 1, total },
            (Self::Trailer { length, total }, b'\r') if total + length < MAX_TRAILERS => {
                Self::TrailerFeed { total: total + length }
            }
            (Self::Trailer { length, total }, _) if byte != b'\n' && length < MAX_LINE => {
                Self::Trailer { length: length + 1, total }
            }
            (Self::TrailerFeed { total }, b'\n') => Self::Line { total },
            (Self::LastFeed, b'\n') => Self::End,
            _ => return Err(NotChunked),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The data and what follows the body, of input that comes in such pieces.
    fn decode(input: &[u8], piece: usize) -> Result<(Vec<u8>, Option<usize>), NotChunked> {
        let (mut decoder, mut data) = (Decoder::new(), Vec::new());
        for (index, mut part) in input.chunks(piece).enumerate() {
            let read = index * piece + part.len();
            loop {
                match decoder.step(part)? {
                    Step::Data(some, rest) => {
                        data.extend_from_slice(some);
                        part = rest;
                    }
                    Step::More => break,
                    Step::End(rest) => return Ok((data, Some(read - rest.len()))),
                }
            }
        }
        Ok((data, None))
    }

    #[test]
    fn s09_chunks_are_read_with_extensions_and_trailers() {
        let body =
            b"4\r\nWiki\r\n5;a=\"b\"\r\npedia\r\n00E \r\n in\r\n\r\nchunks.\r\n0\r\nExpires: never\r\nA: b\r\n\r\nHTTP";
        for piece in [1, 2, 3, 7, 1000] {
            let (data, _) = decode(body, piece).unwrap();
            assert_eq!(data, b"Wikipedia in\r\n\r\nchunks.", "in pieces of {piece}");
        }
        assert_eq!(decode(b"0\r\n\r\n", 1000), Ok((Vec::new(), Some(5))));
    }

    #[test]
    fn s09_what_is_not_chunked_is_refused() {
        let wrong =
            ["zz\r\n", "\r\n", "-1\r\n", "+1\r\n", "0x1\r\na\r\n", "1\na\r\n", "1\r\nab\r\n", "1\r\na\n", ";\r\n"];
        for text in wrong {
            assert_eq!(decode(text.as_bytes(), 1000), Err(NotChunked), "{text:?}");
        }
        assert_eq!(decode(b"11111111111111111\r\n", 1000), Err(NotChunked));
        let long = format!("1;{}\r\na\r\n", "x".repeat(MAX_LINE + 1));
        assert_eq!(decode(long.as_bytes(), 1000), Err(NotChunked));
        let trailers = format!("0\r\n{}", "a: b\r\n".repeat(MAX_TRAILERS));
        assert_eq!(decode(trailers.as_bytes(), 1000), Err(NotChunked));
    }

    proptest! {
        #[test]
        fn s09_any_pieces_make_the_same_body(bytes in proptest::collection::vec(any::<u8>(), 0..200), piece in 1_usize..20) {
            let whole = decode(&bytes, 1000).map(|(data, end)| (data, end.is_some()));
            prop_assert_eq!(decode(&bytes, piece).map(|(data, end)| (data, end.is_some())), whole);
        }

        #[test]
        fn s09_what_was_chunked_is_read_as_it_was(parts in proptest::collection::vec("[a-z\r\n]{1,30}", 0..8), piece in 1_usize..20) {
            let mut text: String = parts.iter().map(|part| format!("{:X}\r\n{part}\r\n", part.len())).collect();
            text.push_str("0\r\n\r\n");
            let (data, end) = decode(text.as_bytes(), piece).unwrap();
            prop_assert_eq!(data, parts.concat().into_bytes());
            prop_assert!(end.is_some());
        }
    }
}
