//! Random identifiers.

use std::fmt::Write as _;

/// A random UUID (version 4).
pub fn uuid() -> String {
    let mut bytes = random::<16>();
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let hex = hex(&bytes);
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// `count` random letters without vowels, so that they never form a word.
pub fn letters(count: usize) -> String {
    const LETTERS: &[u8; 20] = b"bcdfghjklmnpqrstvwxz";
    let bytes = random::<16>();
    bytes.iter().take(count).map(|byte| char::from(LETTERS[usize::from(*byte) % LETTERS.len()])).collect()
}

/// `count` random digits, at most 32, the first of them not 0.
pub fn digits(count: usize) -> String {
    let bytes = random::<32>();
    let digit = |(index, byte): (usize, &u8)| char::from(if index == 0 { b'1' + byte % 9 } else { b'0' + byte % 10 });
    bytes.iter().enumerate().take(count).map(digit).collect()
}

/// A random secret of 256 bits, in hexadecimal.
pub fn secret() -> String {
    hex(&random::<32>())
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the kernel's random numbers are always there once it has booted");
    bytes
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
