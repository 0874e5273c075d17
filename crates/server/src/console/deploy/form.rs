//! The parts of a form: fields with their labels, hints and errors.

use std::cell::RefCell;
use std::collections::BTreeMap;

use homerun_api::error::ApiError;
use homerun_api::run_v1::ParseError;
use homerun_model::violation::Violation;
use maud::{Markup, html};

use super::draft::{BOXES, Draft, ROWS};
use super::rows::{ADD, REMOVE};
use crate::console::lang::Lang;

/// A form on its way to a page.
pub(super) struct Form<'a> {
    pub(super) lang: Lang,
    pub(super) draft: &'a Draft,
    /// What is wrong, by the field where it stands.
    pub(super) errors: Vec<Violation>,
    /// What fields get that are left empty.
    pub(super) unset: BTreeMap<String, String>,
    /// The fields whose errors are beside them, and the elements to go to.
    shown: RefCell<BTreeMap<String, String>>,
}

/// A field: its path, the text of its label, and what is said below it.
#[derive(Clone, Copy)]
pub(super) struct Named<'a> {
    path: &'a str,
    label: &'a str,
    hint: Option<&'a str>,
}

/// A field with a label.
pub(super) fn named<'a>(path: &'a str, label: &'a str) -> Named<'a> {
    Named { path, label, hint: None }
}

impl<'a> Named<'a> {
    /// With something said below it.
    pub(super) fn hint(self, hint: Option<&'a str>) -> Self {
        Self { hint, ..self }
    }
}

/// What an input must say about itself.
pub(super) struct Input<'a> {
    pub(super) id: &'a str,
    /// The elements that describe it.
    pub(super) by: Option<&'a str>,
    /// `true` if it is wrong.
    pub(super) wrong: Option<&'a str>,
}

/// What is wrong, field by field.
pub(super) fn violations(error: ApiError) -> Vec<Violation> {
    match error {
        ApiError::InvalidArgument(violations) => violations,
        ApiError::Malformed(ParseError::Type { ref path, .. }) => {
            vec![Violation::new(path.clone(), error.to_string())]
        }
        ApiError::AlreadyExists { .. } => vec![Violation::new(super::draft::NAME, error.to_string())],
        ApiError::ActAsDenied { .. } => {
            vec![Violation::new("spec.template.spec.serviceAccountName", error.to_string())]
        }
        other => vec![Violation::new("", other.to_string())],
    }
}

/// A path as an element's id.
pub(super) fn id(path: &str) -> String {
    path.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '-' }).collect()
}

impl<'a> Form<'a> {
    pub(super) fn new(lang: Lang, draft: &'a Draft) -> Self {
        let (errors, unset, shown) = (Vec::new(), BTreeMap::new(), RefCell::default());
        Self { lang, draft, errors, unset, shown }
    }

    /// What is wrong with a field, and that it is said beside it.
    fn errors_at(&self, path: &str, element: &str) -> Vec<&str> {
        let found: Vec<&str> =
            self.errors.iter().filter(|wrong| wrong.field == path).map(|wrong| wrong.message.as_str()).collect();
        if !found.is_empty() {
            self.shown.borrow_mut().insert(path.to_owned(), element.to_owned());
        }
        found
    }

    /// What is wrong with something that is no single field.
    pub(super) fn wrong(&self, path: &str) -> Markup {
        let element = format!("{}-error", id(path));
        let wrong = self.errors_at(path, &element);
        html! { @if !wrong.is_empty() { p .wrong id=(element) tabindex="-1" { (wrong.join(" ")) } } }
    }

    /// Whether something within is wrong.
    pub(super) fn is_wrong(&self, within: &str) -> bool {
        self.errors.iter().any(|wrong| wrong.field.starts_with(within))
    }

    /// A field with its label before it.
    pub(super) fn field(&self, field: Named<'_>, input: impl Fn(&Input<'_>) -> Markup) -> Markup {
        html! {
            div .field {
                label for=(id(field.path)) { (self.lang.t(field.label)) }
                (self.described(field, &input))
            }
        }
    }

    fn described(&self, field: Named<'_>, input: &dyn Fn(&Input<'_>) -> Markup) -> Markup {
        let id = id(field.path);
        let wrong = self.errors_at(field.path, &id);
        let parts = [(!wrong.is_empty()).then_some("error"), field.hint.map(|_| "hint")];
        let by: Vec<String> = parts.into_iter().flatten().map(|part| format!("{id}-{part}")).collect();
        let by = (!by.is_empty()).then(|| by.join(" "));
        html! {
            (input(&Input { id: &id, by: by.as_deref(), wrong: (!wrong.is_empty()).then_some("true") }))
            @if let Some(hint) = field.hint { p .hint id={ (id) "-hint" } { (hint) } }
            @if !wrong.is_empty() { p .wrong id={ (id) "-error" } { (wrong.join(" ")) } }
        }
    }

    /// A line of text.
    pub(super) fn text(&self, path: &str, label: &str, hint: Option<&str>) -> Markup {
        self.line(path, label, hint, "text")
    }

    /// A line for a whole number.
    pub(super) fn number(&self, path: &str, label: &str, hint: Option<&str>) -> Markup {
        self.line(path, label, hint, "numeric")
    }

    fn line(&self, path: &str, label: &str, hint: Option<&str>, mode: &str) -> Markup {
        let unset = self.unset.get(path).map(|value| self.lang.with("unset", [("value", value.as_str())]));
        self.field(named(path, label).hint(hint), |Input { id, by, wrong }| {
            html! {
                input id=(id) type="text" inputmode=(mode) name=(path) value=(self.draft.text(path)) placeholder=[&unset]
                    aria-describedby=[by] aria-invalid=[wrong] autocomplete="off" spellcheck="false" autocapitalize="off";
            }
        })
    }

    /// A menu. A value that is none of the choices is kept as one; where there is none, it is the first.
    pub(super) fn menu(&self, field: Named<'_>, choices: &[(String, String)], refreshes: bool) -> Markup {
        let current = self.draft.text(field.path);
        self.field(field, |Input { id, by, wrong }| {
            html! {
                select id=(id) name=(field.path) data-refresh[refreshes] aria-describedby=[by] aria-invalid=[wrong] {
                    @if !current.is_empty() && !choices.iter().any(|(value, _)| *value == current) {
                        option value=(current) selected { (current) }
                    }
                    @for (value, text) in choices {
                        option value=(value) selected[*value == current] { (text) }
                    }
                }
            }
        })
    }

    /// A choice between buttons, of which `unset` is the one where nothing is chosen.
    pub(super) fn radios(&self, field: Named<'_>, choices: &[(&str, &str)], unset: &str) -> Markup {
        let current = self.draft.text(field.path);
        let current = if current.is_empty() { unset } else { current.as_str() };
        html! {
            fieldset .choice {
                legend { (self.lang.t(field.label)) }
                (self.described(field, &|Input { id: first, by, wrong }| html! {
                    @for (at, (value, text)) in choices.iter().enumerate() {
                        @let id = if at == 0 { (*first).to_owned() } else { format!("{first}-{at}") };
                        div .inline {
                            input id=(id) type="radio" name=(field.path) value=(value) checked[*value == current]
                                aria-describedby=[by] aria-invalid=[wrong];
                            label for=(id) { (self.lang.t(text)) }
                        }
                    }
                }))
            }
        }
    }

    /// A box to tick.
    pub(super) fn tick(&self, field: Named<'_>, ticked: bool, refreshes: bool) -> Markup {
        html! {
            div .field {
                input type="hidden" name=(BOXES) value=(field.path);
                (self.described(field, &|Input { id, by, wrong }| html! {
                    span .inline {
                        input id=(id) type="checkbox" name=(field.path) value="true" checked[ticked] data-refresh[refreshes]
                            aria-describedby=[by] aria-invalid=[wrong];
                        label for=(id) { (self.lang.t(field.label)) }
                    }
                }))
            }
        }
    }

    /// A field of a row, which has no room for a label beside it.
    pub(super) fn cell(&self, path: &str, label: &str, number: usize) -> Markup {
        let name = self.lang.t(label);
        let label = self.lang.with("row-field", [("field", name.to_string()), ("row", number.to_string())]);
        html! {
            div .cell {
                (self.described(named(path, ""), &|Input { id, by, wrong }| html! {
                    textarea id=(id) name=(path) rows="1" placeholder=(name) aria-label=(label) aria-describedby=[by] aria-invalid=[wrong]
                        spellcheck="false" { "\n" (self.draft.text(path)) }
                }))
            }
        }
    }

    /// Rows that can be added and removed. `row` makes one, of its path and number.
    pub(super) fn rows(&self, list: &str, title: &str, add: &str, row: impl Fn(&str, usize) -> Markup) -> Markup {
        let lang = self.lang;
        html! {
            fieldset .rows id=(id(list)) {
                legend { (lang.t(title)) }
                input type="hidden" name=(ROWS) value=(list);
                @for index in 0..self.draft.length(list) {
                    @let path = format!("{list}[{index}]");
                    div .row {
                        (row(&path, index + 1))
                        (self.remover(&path, &lang.with("row-remove", [("row", index + 1)])))
                    }
                }
                (self.wrong(list))
                (self.adder(list, add))
            }
        }
    }

    pub(super) fn adder(&self, list: &str, text: &str) -> Markup {
        html! {
            button type="submit" name="do" formnovalidate id={ (id(list)) "-add" } value={ (ADD) (list) } { (self.lang.t(text)) }
        }
    }

    pub(super) fn remover(&self, path: &str, label: &str) -> Markup {
        html! {
            button .plain type="submit" name="do" formnovalidate value={ (REMOVE) (path) } aria-label=(label) {
                (self.lang.t("remove"))
            }
        }
    }

    /// What is wrong, all together; made after the fields, for it leads to them.
    pub(super) fn summary(&self) -> Markup {
        let shown = self.shown.borrow();
        html! {
            @if !self.errors.is_empty() {
                div .message.error role="alert" tabindex="-1" {
                    p { strong { (self.lang.t("form-wrong")) } }
                    ul {
                        @for wrong in &self.errors {
                            li {
                                @if let Some(element) = shown.get(&wrong.field) { a href={ "#" (element) } { (wrong.message) } }
                                @else if wrong.field.is_empty() { (wrong.message) }
                                @else { code { (wrong.field) } " " (wrong.message) }
                            }
                        }
                    }
                }
            }
        }
    }
}
