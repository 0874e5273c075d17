//! What went wrong with a call, in Google's words and JSON.

use homerun_model::violation::Violation;
use serde_json::{Value, json};

use crate::run_v1::ParseError;

/// An error for the caller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// Rules that the request breaks.
    #[error("{}", join(.0))]
    InvalidArgument(Vec<Violation>),
    /// The body cannot be read.
    #[error(transparent)]
    Malformed(#[from] ParseError),
    /// There is no such thing.
    #[error("{kind} '{name}' was not found.")]
    NotFound {
        /// For instance `Service`.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// It is there already.
    #[error("{kind} '{name}' already exists.")]
    AlreadyExists {
        /// For instance `Service`.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// It was changed by somebody else in between; the sentence.
    #[error("{0}")]
    Conflict(String),
    /// No valid token.
    #[error(
        "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid \
         authentication credential. `homerun auth print-access-token` prints one."
    )]
    Unauthenticated,
    /// The caller may not.
    #[error("Permission '{permission}' denied on resource '{resource}'.")]
    PermissionDenied {
        /// The permission that is missing.
        permission: String,
        /// What it is missing on.
        resource: String,
    },
    /// The API is not enabled in the project.
    #[error(
        "{api} has not been used in project {project} before or it is disabled. Enable it with \
         `gcloud services enable {api} --project {project}`, then retry."
    )]
    ServiceDisabled {
        /// For instance `run.googleapis.com`.
        api: String,
        /// The project's id.
        project: String,
    },
    /// The request is right but not now, or not in this way; the sentence.
    #[error("{0}")]
    FailedPrecondition(String),
    /// homerun does not do this; the sentence.
    #[error("{0}")]
    Unimplemented(String),
    /// homerun has failed; the sentence.
    #[error("{0}")]
    Internal(String),
}

fn join(violations: &[Violation]) -> String {
    violations.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

impl ApiError {
    /// The HTTP status.
    pub fn code(&self) -> u16 {
        self.kind().0
    }

    /// HTTP status and canonical name.
    fn kind(&self) -> (u16, &'static str) {
        match self {
            Self::InvalidArgument(_) | Self::Malformed(_) => (400, "INVALID_ARGUMENT"),
            Self::FailedPrecondition(_) => (400, "FAILED_PRECONDITION"),
            Self::Unauthenticated => (401, "UNAUTHENTICATED"),
            Self::PermissionDenied { .. } | Self::ServiceDisabled { .. } => (403, "PERMISSION_DENIED"),
            Self::NotFound { .. } => (404, "NOT_FOUND"),
            Self::AlreadyExists { .. } => (409, "ALREADY_EXISTS"),
            Self::Conflict(_) => (409, "ABORTED"),
            Self::Unimplemented(_) => (501, "UNIMPLEMENTED"),
            Self::Internal(_) => (500, "INTERNAL"),
        }
    }

    /// The body.
    pub fn body(&self) -> Value {
        let (code, status) = self.kind();
        let mut error = json!({"code": code, "message": self.to_string(), "status": status});
        if let Some(detail) = self.detail() {
            error["details"] = json!([detail]);
        }
        json!({"error": error})
    }

    fn detail(&self) -> Option<Value> {
        match self {
            Self::InvalidArgument(violations) => {
                let violation = |v: &Violation| json!({"field": v.field, "description": v.message});
                Some(bad_request(violations.iter().map(violation).collect()))
            }
            Self::Malformed(ParseError::Unknown(fields)) => {
                let violation = |(name, path): &(String, String)| {
                    let field = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                    json!({"field": field, "description": "Cannot find field."})
                };
                Some(bad_request(fields.iter().map(violation).collect()))
            }
            Self::ServiceDisabled { api, project } => Some(json!({
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": "SERVICE_DISABLED", "domain": "googleapis.com",
                "metadata": {"service": api, "consumer": format!("projects/{project}")},
            })),
            _ => None,
        }
    }
}

fn bad_request(violations: Vec<Value>) -> Value {
    json!({"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": violations})
}
