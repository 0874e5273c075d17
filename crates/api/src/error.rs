//! What went wrong with a call, in Google's words and JSON.

use homerun_model::violation::Violation;
use serde_json::{Value, json};

use crate::run_v1::{ParseError, UnknownField};

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
    #[error("Permission '{permission}' denied on resource '{resource}' (or resource may not exist).")]
    PermissionDenied {
        /// The permission that is missing.
        permission: String,
        /// What it is missing on.
        resource: String,
    },
    /// The caller may not let instances have a service account's identity, or there is no such account.
    #[error("Permission 'iam.serviceaccounts.actAs' denied on service account {email} (or it may not exist).")]
    ActAsDenied {
        /// The service account's email.
        email: String,
    },
    /// There is a service account of this id already.
    #[error("Service account {id} already exists within project projects/{project}.")]
    ServiceAccountExists {
        /// The project's id.
        project: String,
        /// What stands before the `@`.
        id: String,
    },
    /// There is a preference for this limit already.
    #[error("Quota preference '{id}' already exists for {bucket}; update it instead of creating another.")]
    QuotaPreferenceExists {
        /// The other's id.
        id: String,
        /// What the limit is for.
        bucket: String,
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
    /// A limit or a quota is used up; the sentence.
    #[error("{0}")]
    ResourceExhausted(String),
    /// It cannot be done right now, and the same call may succeed later; the sentence.
    #[error("{0}")]
    Unavailable(String),
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
            // Not 501: gcloud tries again for half a minute after any 5xx, and then speaks of the network.
            Self::FailedPrecondition(_) | Self::Unimplemented(_) => (400, "FAILED_PRECONDITION"),
            Self::Unauthenticated => (401, "UNAUTHENTICATED"),
            Self::PermissionDenied { .. } | Self::ActAsDenied { .. } | Self::ServiceDisabled { .. } => {
                (403, "PERMISSION_DENIED")
            }
            Self::NotFound { .. } => (404, "NOT_FOUND"),
            Self::AlreadyExists { .. } | Self::ServiceAccountExists { .. } | Self::QuotaPreferenceExists { .. } => {
                (409, "ALREADY_EXISTS")
            }
            Self::Conflict(_) => (409, "ABORTED"),
            Self::ResourceExhausted(_) => (429, "RESOURCE_EXHAUSTED"),
            Self::Unavailable(_) => (503, "UNAVAILABLE"),
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
                // As Google's servers have it: the field is the object that the name stands in.
                let violation = |unknown: &UnknownField| {
                    let description = ParseError::Unknown(vec![unknown.clone()]).to_string();
                    json!({"field": unknown.parent, "description": description})
                };
                Some(bad_request(fields.iter().map(violation).collect()))
            }
            Self::Malformed(error @ ParseError::Type { path, .. }) => {
                Some(bad_request(vec![json!({"field": path, "description": error.to_string()})]))
            }
            Self::ServiceDisabled { api, project } => Some(json!({
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": "SERVICE_DISABLED", "domain": "googleapis.com",
                "metadata": {"service": api, "consumer": format!("projects/{project}")},
            })),
            Self::PermissionDenied { permission, resource } => Some(iam_denied(permission, resource)),
            Self::ActAsDenied { email } => Some(iam_denied("iam.serviceAccounts.actAs", email)),
            _ => None,
        }
    }
}

fn iam_denied(permission: &str, resource: &str) -> Value {
    json!({
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": "IAM_PERMISSION_DENIED", "domain": "iam.googleapis.com",
        "metadata": {"permission": permission, "resource": resource},
    })
}

fn bad_request(violations: Vec<Value>) -> Value {
    json!({"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": violations})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run_v1::{Service, parse_strict};

    #[test]
    fn s01_every_violation_is_in_the_message_and_in_the_details() {
        let error = ApiError::InvalidArgument(vec![
            Violation::new("metadata.name", "is too long."),
            Violation::new("spec.template.spec.containers[0].image", "is missing."),
        ]);
        assert_eq!(
            error.body(),
            json!({"error": {
                "code": 400,
                "status": "INVALID_ARGUMENT",
                "message": "metadata.name: is too long.\nspec.template.spec.containers[0].image: is missing.",
                "details": [{
                    "@type": "type.googleapis.com/google.rpc.BadRequest",
                    "fieldViolations": [
                        {"field": "metadata.name", "description": "is too long."},
                        {"field": "spec.template.spec.containers[0].image", "description": "is missing."},
                    ],
                }],
            }})
        );
    }

    #[test]
    fn s01_what_cannot_be_read_names_its_field_in_the_details() {
        for (body, field, words) in [
            (r#"{"spec": {"templat": {}}}"#, "spec", "Unknown name \"templat\" at 'spec': Cannot find field."),
            (r#"{"templat": {}}"#, "", "Unknown name \"templat\": Cannot find field."),
            (r#"{"spec": {"traffic": 1}}"#, "spec.traffic", "Invalid value at 'spec.traffic': "),
        ] {
            let error = ApiError::from(parse_strict::<Service>(body.as_bytes()).expect_err(body));
            let body = error.body();
            let violation = &body["error"]["details"][0]["fieldViolations"][0];
            assert_eq!((&body["error"]["code"], &violation["field"]), (&json!(400), &json!(field)));
            for text in [&body["error"]["message"], &violation["description"]] {
                assert!(text.as_str().is_some_and(|text| text.contains(words)), "{text}");
            }
        }
    }

    #[test]
    fn g22_a_refusal_names_permission_and_resource() {
        let denied = ApiError::PermissionDenied { permission: "run.services.get".to_owned(), resource: "r".to_owned() };
        let body = denied.body();
        assert_eq!((denied.code(), &body["error"]["status"]), (403, &json!("PERMISSION_DENIED")));
        assert_eq!(
            body["error"]["message"],
            "Permission 'run.services.get' denied on resource 'r' (or resource may not exist)."
        );
        let expected = json!({"permission": "run.services.get", "resource": "r"});
        assert_eq!(body["error"]["details"][0]["metadata"], expected);
    }

    /// Codes and names as google/rpc/code.proto pairs them.
    #[test]
    fn s01_each_kind_has_its_code_and_its_canonical_name() {
        let text = || "sentence".to_owned();
        let (kind, name) = ("Service", "ocr".to_owned());
        for (error, code, status, message) in [
            (ApiError::NotFound { kind, name: name.clone() }, 404, "NOT_FOUND", "Service 'ocr' was not found."),
            (ApiError::AlreadyExists { kind, name }, 409, "ALREADY_EXISTS", "Service 'ocr' already exists."),
            (ApiError::Conflict(text()), 409, "ABORTED", "sentence"),
            (ApiError::FailedPrecondition(text()), 400, "FAILED_PRECONDITION", "sentence"),
            (ApiError::ResourceExhausted(text()), 429, "RESOURCE_EXHAUSTED", "sentence"),
            (ApiError::Internal(text()), 500, "INTERNAL", "sentence"),
            (ApiError::Unimplemented(text()), 400, "FAILED_PRECONDITION", "sentence"),
            (ApiError::Unavailable(text()), 503, "UNAVAILABLE", "sentence"),
        ] {
            assert_eq!(error.code(), code);
            assert_eq!(error.body(), json!({"error": {"code": code, "status": status, "message": message}}));
        }
        assert_eq!(
            (ApiError::Unauthenticated.code(), ApiError::Unauthenticated.body()["error"]["status"].clone()),
            (401, json!("UNAUTHENTICATED"))
        );
    }
}
