//! A self-signed certificate, byte by byte (X.690 for the encoding, RFC 5280 for the parts).
//!
//! Some 60 lines, where the crates for it bring twenty others.

use std::net::IpAddr;

use aws_lc_rs::error::{KeyRejected, Unspecified};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const OBJECT: u8 = 0x06;
const UTF8: u8 = 0x0c;
const UTC_TIME: u8 = 0x17;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
/// The version and the extensions, which are optional parts and so have a tag of their own around them.
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
/// Kinds of a subject's alternative names.
const DNS_NAME: u8 = 0x82;
const IP_ADDRESS: u8 = 0x87;

/// ecdsa-with-SHA256, 1.2.840.10045.4.3.2.
const SIGNATURE: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
/// id-ecPublicKey, 1.2.840.10045.2.1, and prime256v1, 1.2.840.10045.3.1.7.
const EC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
/// commonName, 2.5.4.3, and subjectAltName, 2.5.29.17.
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
const ALTERNATIVE_NAMES: &[u8] = &[0x55, 0x1d, 0x11];

/// A certificate and its key, both PEM.
pub(super) struct SelfSigned {
    pub(super) certificate: String,
    pub(super) key: String,
}

/// Why one could not be made.
#[derive(Debug, thiserror::Error)]
pub enum MakeError {
    /// The system has no randomness, or something like it.
    #[error("a key cannot be made or used")]
    Key(#[from] Unspecified),
    /// The key that was made is not taken.
    #[error("the key that was made is rejected")]
    Rejected(#[from] KeyRejected),
}

/// Makes one for these host names and addresses.
pub(super) fn self_signed(
    names: &[String],
    from: DateTime<Utc>,
    until: DateTime<Utc>,
) -> Result<SelfSigned, MakeError> {
    let random = SystemRandom::new();
    let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random)?;
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, key.as_ref())?;
    let mut serial = [0; 16];
    aws_lc_rs::rand::fill(&mut serial)?;
    // Positive, and without a leading zero.
    serial[0] = serial[0] & 0x7f | 0x40;

    let algorithm = node(SEQUENCE, &[&node(OBJECT, &[SIGNATURE])]);
    let common_name = node(SEQUENCE, &[&node(OBJECT, &[COMMON_NAME]), &node(UTF8, &[b"homerun, self-made"])]);
    let subject = node(SEQUENCE, &[&node(SET, &[&common_name])]);
    let time = |time: DateTime<Utc>| node(UTC_TIME, &[time.format("%y%m%d%H%M%SZ").to_string().as_bytes()]);
    let key_kind = node(SEQUENCE, &[&node(OBJECT, &[EC_KEY]), &node(OBJECT, &[P256])]);
    let names: Vec<u8> = names.iter().flat_map(|name| alternative(name)).collect();
    let names = node(OCTET_STRING, &[&node(SEQUENCE, &[&names])]);
    let extension = node(SEQUENCE, &[&node(OBJECT, &[ALTERNATIVE_NAMES]), &names]);
    let to_be_signed = node(
        SEQUENCE,
        &[
            &node(VERSION, &[&node(INTEGER, &[&[2]])]),
            &node(INTEGER, &[&serial]),
            &algorithm,
            &subject,
            &node(SEQUENCE, &[&time(from), &time(until)]),
            &subject,
            &node(SEQUENCE, &[&key_kind, &bits(pair.public_key().as_ref())]),
            &node(EXTENSIONS, &[&node(SEQUENCE, &[&extension])]),
        ],
    );
    let signature = pair.sign(&random, &to_be_signed)?;
    let certificate = node(SEQUENCE, &[&to_be_signed, &algorithm, &bits(signature.as_ref())]);
    Ok(SelfSigned { certificate: pem("CERTIFICATE", &certificate), key: pem("PRIVATE KEY", key.as_ref()) })
}

/// A tag, the content's length, the content.
fn node(tag: u8, content: &[&[u8]]) -> Vec<u8> {
    let content = content.concat();
    let length = content.len().to_be_bytes();
    let significant = &length[length.iter().position(|byte| *byte != 0).unwrap_or(length.len() - 1)..];
    match content.len() {
        short @ 0..=0x7f => [&[tag, short as u8], &*content].concat(),
        _ => [&[tag, 0x80 | significant.len() as u8], significant, &content].concat(),
    }
}

/// Whole bytes: no bit of the last is unused.
fn bits(bytes: &[u8]) -> Vec<u8> {
    node(BIT_STRING, &[&[0], bytes])
}

fn alternative(name: &str) -> Vec<u8> {
    match name.parse() {
        Ok(IpAddr::V4(address)) => node(IP_ADDRESS, &[&address.octets()]),
        Ok(IpAddr::V6(address)) => node(IP_ADDRESS, &[&address.octets()]),
        Err(_) => node(DNS_NAME, &[name.as_bytes()]),
    }
}

fn pem(label: &str, bytes: &[u8]) -> String {
    let text = STANDARD.encode(bytes);
    let lines: Vec<&str> = text.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}
