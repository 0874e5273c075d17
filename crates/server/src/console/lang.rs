//! The console's languages: one catalogue each (`texts/*.ftl`), chosen by the browser or by the visitor.

use std::borrow::Cow;
use std::sync::LazyLock;

use axum::extract::Query;
use axum::response::{IntoResponse, Redirect, Response};
use fluent_bundle::concurrent::FluentBundle;
use fluent_bundle::{FluentArgs, FluentResource, FluentValue};
use fluent_langneg::{NegotiationStrategy, negotiate_languages, parse_accepted_languages};
use http::{HeaderMap, header};
use serde::Deserialize;
use unic_langid::LanguageIdentifier;

use super::visit::{back, cookie};

/// A language of the console.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lang {
    En,
    Ja,
}

type Bundle = FluentBundle<FluentResource>;

static ENGLISH: LazyLock<Bundle> = LazyLock::new(|| bundle(Lang::En, include_str!("texts/en.ftl")));
static JAPANESE: LazyLock<Bundle> = LazyLock::new(|| bundle(Lang::Ja, include_str!("texts/ja.ftl")));

/// The cookie of who has chosen.
const COOKIE: &str = "homerun_language";

impl Lang {
    /// Every language, in its own name.
    pub(super) const ALL: [(Self, &'static str); 2] = [(Self::En, "English"), (Self::Ja, "日本語")];

    /// As HTML names it.
    pub(super) fn code(self) -> &'static str {
        match self {
            Self::En => "en",
            Self::Ja => "ja",
        }
    }

    /// What the visitor has chosen, else what the browser would like best.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let by_code = |code: &str| Self::ALL.into_iter().map(|(lang, _)| lang).find(|lang| lang.code() == code);
        if let Some(chosen) = cookie(headers, COOKIE).and_then(|code| by_code(&code)) {
            return chosen;
        }
        let wanted = headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let wanted = parse_accepted_languages(wanted);
        let there = Self::ALL.map(|(lang, _)| lang.identifier());
        let best = negotiate_languages(&wanted, &there, Some(&there[0]), NegotiationStrategy::Lookup);
        let best = best.first().and_then(|best| there.iter().position(|lang| lang == *best));
        Self::ALL[best.unwrap_or(0)].0
    }

    fn identifier(self) -> LanguageIdentifier {
        self.code().parse().unwrap_or_default()
    }

    /// A text without variables.
    pub(super) fn t(self, id: &str) -> Cow<'static, str> {
        self.text(id, None)
    }

    /// A text and its variables.
    pub(super) fn with<'a, V: Into<FluentValue<'a>>>(
        self,
        id: &str,
        variables: impl IntoIterator<Item = (&'a str, V)>,
    ) -> String {
        let args: FluentArgs<'_> = variables.into_iter().collect();
        self.text(id, Some(&args)).into_owned()
    }

    fn text(self, id: &str, args: Option<&FluentArgs<'_>>) -> Cow<'static, str> {
        let bundle: &'static Bundle = match self {
            Self::En => &ENGLISH,
            Self::Ja => &JAPANESE,
        };
        let Some(pattern) = bundle.get_message(id).and_then(|message| message.value()) else {
            debug_assert!(false, "the text {id} of the console is missing in {}", self.code());
            tracing::error!(id, language = self.code(), "a text of the console is missing");
            return Cow::Owned(id.to_owned());
        };
        match args {
            None => bundle.format_pattern(pattern, None, &mut Vec::new()),
            Some(args) => Cow::Owned(bundle.format_pattern(pattern, Some(args), &mut Vec::new()).into_owned()),
        }
    }
}

fn bundle(language: Lang, catalogue: &str) -> Bundle {
    let resource = FluentResource::try_new(catalogue.to_owned());
    let resource = resource.unwrap_or_else(|(readable, errors)| {
        tracing::error!(language = language.code(), ?errors, "a catalogue of texts has mistakes");
        readable
    });
    let mut bundle = Bundle::new_concurrent(vec![language.identifier()]);
    // Marks around variables would end up in what people copy.
    bundle.set_use_isolating(false);
    // A second text of the same name would be ignored; a test finds it.
    let _ = bundle.add_resource(resource);
    bundle
}

/// Which language, and where to go on.
#[derive(Deserialize)]
pub(super) struct Switch {
    to: String,
    #[serde(default)]
    next: String,
}

/// Remembers the visitor's choice.
pub(super) async fn switch(Query(switch): Query<Switch>) -> Response {
    let known = Lang::ALL.into_iter().any(|(lang, _)| lang.code() == switch.to);
    let to = if known { switch.to.as_str() } else { Lang::En.code() };
    let cookie = format!("{COOKIE}={to}; Path=/console; Max-Age=31536000; SameSite=Lax");
    ([(header::SET_COOKIE, cookie)], Redirect::to(back(&switch.next))).into_response()
}

#[cfg(test)]
mod tests;
