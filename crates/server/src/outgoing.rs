//! Calls to others: the one place that makes clients for them.

/// What a client is built with. Each call sets its own timeout.
pub fn client() -> reqwest::ClientBuilder {
    // Fails only if a provider is installed already, and then that one serves as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
}
