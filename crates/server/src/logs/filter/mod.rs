//! Cloud Logging's query language: which entries a reader asks for. Pure.
//!
//! Comparisons (`=`, `!=`, `<`, `<=`, `>`, `>=`, `:` has, `=~` and `!~` regular expressions) of a field
//! with a value or with several (`field=(a OR b)`), texts to look for in all fields, `field:*`,
//! `log_id(ID)`, AND, OR, NOT and `-`, parentheses, and `--` comments. As Google documents it:
//!
//! - OR binds closer than AND, and AND may be left out.
//! - Texts are equal without regard to case; regular expressions (RE2's syntax) regard it.
//! - A field of `LogEntry` that is unset has its type's default value (`""`, 0, DEFAULT). A label or a
//!   value of the JSON payload that is not there fails every comparison, `!=` too.
//! - A field that `LogEntry` has not is an error, as is a value that is not of its field's type.
//!
//! <https://cloud.google.com/logging/docs/view/logging-query-language>

mod eval;
mod field;
mod lex;
mod parse;
#[cfg(test)]
mod tests;

use homerun_api::logging::LogEntry;

pub use eval::Known;

/// Most characters of a filter, Cloud Logging's limit.
const MAX_CHARS: usize = 20_000;

/// A filter, understood.
#[derive(Debug, Clone)]
pub struct Filter(eval::Expr);

/// Why a filter cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("at character {position}: {message}")]
pub struct FilterError {
    /// The character where it goes wrong, from 1.
    pub position: usize,
    /// What is wrong and what would be right.
    pub message: String,
}

impl FilterError {
    fn at(index: usize, message: impl Into<String>) -> Self {
        Self { position: index + 1, message: message.into() }
    }
}

impl Filter {
    /// Reads a filter. The empty one asks for everything.
    ///
    /// # Errors
    /// Where it goes wrong and why.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        parse::parse(text).map(Self)
    }

    /// Whether it asks for this entry.
    pub fn matches(&self, entry: &LogEntry) -> bool {
        self.0.matches(entry)
    }

    /// Whether there can be an entry that it asks for among those of which this much is known.
    pub fn may_match(&self, known: &Known<'_>) -> bool {
        self.0.decided(known) != Some(false)
    }
}
