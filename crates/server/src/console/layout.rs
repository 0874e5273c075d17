//! What is around every page.

use axum::response::{Html, IntoResponse, Response};
use maud::{DOCTYPE, Markup, html};

use super::assets;
use super::lang::Lang;
use super::visit::{FORM_SECRET, Visit};

/// Which entry of the navigation a page belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    Services,
    Gpus,
    Quotas,
    Usage,
    Activity,
}

/// Section, where it is and what it is called.
const SECTIONS: [(Section, &str, &str); 5] = [
    (Section::Services, "services", "nav-services"),
    (Section::Gpus, "gpus", "nav-gpus"),
    (Section::Quotas, "quotas", "nav-quotas"),
    (Section::Usage, "usage", "nav-usage"),
    (Section::Activity, "activity", "nav-activity"),
];

impl Section {
    /// What seeing it needs, on the project.
    pub(super) fn needs(self) -> &'static str {
        match self {
            Self::Services | Self::Gpus => "run.services.list",
            Self::Quotas => "cloudquotas.quotas.get",
            Self::Usage => crate::app::usage::READ,
            Self::Activity => "logging.logEntries.list",
        }
    }
}

/// A page's title and content.
pub(super) struct Page {
    /// Its title.
    pub(super) title: String,
    /// The entry of the navigation that it belongs to.
    pub(super) section: Section,
    /// Whether it is kept up to date while it is looked at. Forms are not: they are the visitor's.
    pub(super) live: bool,
    /// What is in it.
    pub(super) content: Markup,
}

impl Page {
    /// The page, with what is around it.
    pub(super) fn show(self, visit: &Visit) -> Response {
        let body = html! {
            a .skip href="#main" { (visit.lang.t("skip-to-content")) }
            (header(visit))
            (navigation(visit, Some(self.section)))
            main #main data-live[self.live] { (self.content) }
        };
        let mut response = document(visit.lang, &self.title, &body).into_response();
        if self.live {
            response.extensions_mut().insert(Live);
        }
        response
    }
}

/// Marks a page that may be followed ([`super::live`]).
#[derive(Debug, Clone)]
pub(super) struct Live;

/// A page that belongs to no entry of the navigation.
pub(super) fn bare(visit: &Visit, title: &str, content: &Markup) -> Html<String> {
    let body = html! {
        a .skip href="#main" { (visit.lang.t("skip-to-content")) }
        (header(visit))
        (navigation(visit, None))
        main #main { (content) }
    };
    document(visit.lang, title, &body)
}

/// A whole document.
pub(super) fn document(lang: Lang, title: &str, body: &Markup) -> Html<String> {
    let document = html! {
        (DOCTYPE)
        html lang=(lang.code()) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " – homerun" }
                link rel="icon" type="image/svg+xml" href=(assets::href("icon.svg"));
                link rel="stylesheet" href=(assets::href("console.css"));
                link rel="stylesheet" href=(assets::href("plot.css"));
                script src=(assets::href("idiomorph.min.js")) defer {}
                script src=(assets::href("console.js")) defer {}
            }
            body { (body) }
        }
    };
    Html(document.into_string())
}

/// Links to this page in every language.
pub(super) fn languages(lang: Lang, here: &str) -> Markup {
    let href = |to: Lang| {
        let query = form_urlencoded::Serializer::new(String::new())
            .append_pair("to", to.code())
            .append_pair("next", here)
            .finish();
        format!("/console/-/language?{query}")
    };
    html! {
        ul .languages aria-label=(lang.t("language")) {
            @for (other, name) in Lang::ALL {
                li {
                    @if other == lang { span lang=(other.code()) aria-current="true" { (name) } }
                    @else { a lang=(other.code()) hreflang=(other.code()) href=(href(other)) { (name) } }
                }
            }
        }
    }
}

fn header(visit: &Visit) -> Markup {
    let lang = visit.lang;
    html! {
        header .top {
            a .brand href="/console" { img src=(assets::href("icon.svg")) alt="" width="24" height="24"; "homerun" }
            form .chooser method="get" action="/console/-/project" {
                label for="project" { (lang.t("project")) }
                select #project name="to" data-submit {
                    @for project in visit.projects() {
                        option value=(project) selected[project == visit.project.id] { (project) }
                    }
                }
                button type="submit" { (lang.t("go")) }
            }
            (languages(lang, &visit.here))
            form .who method="post" action="/console/-/sign-out" {
                (form_secret(visit))
                span { (visit.caller().email()) }
                button .plain type="submit" { (lang.t("sign-out")) }
            }
        }
    }
}

fn navigation(visit: &Visit, current: Option<Section>) -> Markup {
    html! {
        nav .side aria-label=(visit.lang.t("nav")) {
            ul {
                @for (section, below, name) in SECTIONS.into_iter().filter(|(section, ..)| visit.may(section.needs())) {
                    li {
                        a href=(visit.path(below)) aria-current=[(Some(section) == current).then_some("page")] {
                            (visit.lang.t(name))
                        }
                    }
                }
            }
        }
    }
}

/// The field that every form that changes something has.
pub(super) fn form_secret(visit: &Visit) -> Markup {
    html! { input type="hidden" name=(FORM_SECRET) value=(visit.signed_in.form_secret()); }
}
