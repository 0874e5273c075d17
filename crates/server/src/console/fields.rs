//! Fields of forms, and what is wrong with what was sent: in the words of the API, at the field.

use axum::response::Response;
use homerun_api::error::ApiError;
use http::StatusCode;
use maud::{Markup, html};

use super::failure::Failure;
use super::lang::Lang;

/// What is wrong, each with the id of its field if it has one.
#[derive(Debug, Default)]
pub(super) struct Mistakes(Vec<(Option<&'static str>, String)>);

/// What a control must say about itself.
pub(super) struct Says {
    /// Ids of what describes it, for `aria-describedby`.
    pub(super) described: Option<String>,
    /// For `aria-invalid`.
    pub(super) invalid: Option<&'static str>,
}

impl Mistakes {
    /// What an error says about a form; `field` tells the id of the field that the API's field is, if there is one.
    ///
    /// # Errors
    /// The error itself where another input would not help.
    pub(super) fn of(error: ApiError, field: impl Fn(&str) -> Option<&'static str>) -> Result<Self, Failure> {
        match error {
            ApiError::InvalidArgument(violations) => {
                let at = violations.into_iter().map(|violation| match field(&violation.field) {
                    Some(field) => (Some(field), violation.message),
                    None => (None, violation.to_string()),
                });
                Ok(Self(at.collect()))
            }
            ApiError::FailedPrecondition(_)
            | ApiError::Conflict(_)
            | ApiError::AlreadyExists { .. }
            | ApiError::QuotaPreferenceExists { .. } => Ok(Self(vec![(None, error.to_string())])),
            other => Err(Failure(other)),
        }
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them, with links to their fields.
    pub(super) fn summary(&self, lang: Lang) -> Markup {
        html! {
            @if !self.is_empty() {
                div .message.error role="alert" {
                    p { strong { (lang.t("mistakes")) } }
                    ul {
                        @for (field, message) in &self.0 {
                            li { @if let Some(field) = field { a href={ "#" (field) } { (message) } } @else { (message) } }
                        }
                    }
                }
            }
        }
    }

    /// A labelled control with its hint and what is wrong with it.
    pub(super) fn field(&self, (id, label): (&str, &str), hint: &str, control: impl FnOnce(&Says) -> Markup) -> Markup {
        let wrong: Vec<&str> =
            self.0.iter().filter(|(field, _)| *field == Some(id)).map(|(_, message)| message.as_str()).collect();
        let mut described = Vec::new();
        if !wrong.is_empty() {
            described.push(format!("{id}-error"));
        }
        if !hint.is_empty() {
            described.push(format!("{id}-hint"));
        }
        let says = Says {
            described: (!described.is_empty()).then(|| described.join(" ")),
            invalid: (!wrong.is_empty()).then_some("true"),
        };
        html! {
            div .field {
                label for=(id) { (label) }
                (control(&says))
                @if !wrong.is_empty() { p .wrong #{ (id) "-error" } { (wrong.join(" ")) } }
                @if !hint.is_empty() { p .hint #{ (id) "-hint" } { (hint) } }
            }
        }
    }

    /// The page of a form: with mistakes it is the answer to a bad request.
    pub(super) fn answer(&self, mut page: Response) -> Response {
        if !self.is_empty() {
            *page.status_mut() = StatusCode::BAD_REQUEST;
        }
        page
    }
}
