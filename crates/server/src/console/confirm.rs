//! Asks once more before something is done that is noticed at once and by others.

use axum::response::Response;
use maud::{Markup, html};

use super::layout::{Page, Section, form_secret};
use super::visit::{Posted, Visit};

/// The field of an answer: the form was sent from a question.
const CONFIRMED: &str = "confirmed";

/// A question before something is done.
pub(super) struct Question<'a> {
    /// What would be done.
    pub(super) title: String,
    /// What that means.
    pub(super) means: String,
    /// The button that does it.
    pub(super) button: String,
    /// Where the answer goes.
    pub(super) action: String,
    /// Where to go instead.
    pub(super) back: String,
    /// What was sent, and is sent again.
    pub(super) fields: &'a [(&'a str, &'a str)],
}

/// Whether what a form asks for was confirmed.
pub(super) fn given(posted: &Posted) -> bool {
    posted.get(CONFIRMED) == Some("yes")
}

impl Question<'_> {
    /// The page that asks.
    pub(super) fn ask(self, visit: &Visit, section: Section, crumbs: &Markup) -> Response {
        let content = html! {
            (crumbs)
            div .heading { h1 { (self.title) } }
            form .card method="post" action=(self.action) {
                (form_secret(visit))
                @for (name, value) in self.fields { input type="hidden" name=(name) value=(value); }
                p { (self.means) }
                div .actions {
                    button .danger.primary type="submit" name=(CONFIRMED) value="yes" { (self.button) }
                    a .button href=(self.back) { (visit.lang.t("cancel")) }
                }
            }
        };
        Page { title: self.title, section, live: false, content }.show(visit)
    }
}
