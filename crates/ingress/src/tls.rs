//! TLS with clients.

use std::fmt;
use std::io;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig};
use tokio_rustls::server::TlsStream;

/// The first byte of a TLS connection; no HTTP method begins with it.
const HANDSHAKE: u8 = 0x16;

/// What a client that speaks HTTP in clear text is told, as nginx does.
const NOT_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\n\
    content-length: 45\r\nconnection: close\r\n\r\nBad Request: this port speaks HTTPS, not HTTP";

/// A certificate with its key, ready for use. Its clones are one: what [`replace`](Self::replace) puts in the place of
/// one is in the place of all.
#[derive(Clone)]
pub struct Tls(Arc<ArcSwap<ServerConfig>>);

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The certificate is not PEM.
    #[error("the certificate is not PEM; expected one or more blocks that begin with -----BEGIN CERTIFICATE-----")]
    Certificate(#[source] pem::Error),
    /// There is nothing in it.
    #[error("there is no certificate; expected one or more blocks that begin with -----BEGIN CERTIFICATE-----")]
    NoCertificate,
    /// The key is not PEM.
    #[error("the key is not an unencrypted PEM key; expected a block such as -----BEGIN PRIVATE KEY-----")]
    Key(#[source] pem::Error),
    /// They do not go together, or are of a kind that is not understood.
    #[error("the certificate and the key cannot be used together")]
    Pair(#[source] rustls::Error),
}

impl Tls {
    /// Reads a certificate, behind it those that lead to its root, and its key. All of it is PEM.
    ///
    /// # Errors
    /// Where either is not what it should be, or the key is another certificate's.
    pub fn from_pem(certificate: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        let chain: Vec<CertificateDer<'static>> =
            CertificateDer::pem_slice_iter(certificate).collect::<Result<_, _>>().map_err(TlsError::Certificate)?;
        if chain.is_empty() {
            return Err(TlsError::NoCertificate);
        }
        let key = PrivateKeyDer::from_pem_slice(key).map_err(TlsError::Key)?;
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key));
        let mut config = config.map_err(TlsError::Pair)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self(Arc::new(ArcSwap::from_pointee(config))))
    }

    /// Takes another certificate for connections to come; those that there are go on.
    pub fn replace(&self, other: &Self) {
        self.0.store(other.0.load_full());
    }
}

/// Begins TLS with a client.
pub(crate) async fn accept(tls: &Tls, mut stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
    let mut first = [0];
    if stream.peek(&mut first).await? == 1 && first[0] != HANDSHAKE {
        stream.write_all(NOT_TLS).await?;
        return Err(io::Error::other("the client speaks no TLS"));
    }
    TlsAcceptor::from(tls.0.load_full()).accept(stream).await
}
