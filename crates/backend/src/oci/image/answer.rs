//! What a registry's failed answers mean.

use oci_client::errors::{OciDistributionError, OciErrorCode};

/// What a failed request means.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    NoConnection,
    NotFound,
    Refused,
    Other,
}

impl Answer {
    pub(super) fn of(error: &OciDistributionError) -> Answer {
        use OciDistributionError as E;
        match error {
            E::RequestError(_) => Answer::NoConnection,
            E::UnauthorizedError { .. } | E::AuthenticationFailure(_) => Answer::Refused,
            E::ImageManifestNotFoundError(_) => Answer::NotFound,
            E::ServerError { code: 404, .. } => Answer::NotFound,
            E::ServerError { code: 401 | 403, .. } => Answer::Refused,
            E::RegistryError { envelope, .. } => envelope
                .errors
                .iter()
                .find_map(|error| match error.code {
                    OciErrorCode::ManifestUnknown | OciErrorCode::NameUnknown | OciErrorCode::NotFound => {
                        Some(Answer::NotFound)
                    }
                    OciErrorCode::Unauthorized | OciErrorCode::Denied => Some(Answer::Refused),
                    _ => None,
                })
                .unwrap_or(Answer::Other),
            _ => Answer::Other,
        }
    }
}

/// Whether the same request may well succeed a moment later.
pub(super) fn is_passing(error: &OciDistributionError) -> bool {
    use OciDistributionError as E;
    match error {
        E::RequestError(_) => true,
        E::ServerError { code, .. } => *code >= 500 || *code == 429,
        E::RegistryError { envelope, .. } => envelope.errors.iter().any(|e| e.code == OciErrorCode::Toomanyrequests),
        _ => false,
    }
}
