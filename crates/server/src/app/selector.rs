//! Label selectors as lists take them: `a = b, c != d, e in (f, g), h notin (i), j, !k`.

use homerun_api::error::ApiError;
use homerun_model::violation::Violation;

/// A parsed selector; all of its requirements must hold.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Selector(Vec<Requirement>);

#[derive(Debug, PartialEq, Eq)]
enum Requirement {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Missing(String),
}

impl Selector {
    /// The one value that a label must have, if the selector says so.
    pub fn exactly(&self, name: &str) -> Option<&str> {
        self.0.iter().find_map(|requirement| match requirement {
            Requirement::In(label, values) if label == name && values.len() == 1 => values.first().map(String::as_str),
            _ => None,
        })
    }

    /// Whether labels, looked up by name, meet every requirement.
    pub fn matches<'a>(&self, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.0.iter().all(|requirement| match requirement {
            Requirement::In(name, values) => label(name).is_some_and(|value| values.iter().any(|v| v == value)),
            Requirement::NotIn(name, values) => label(name).is_none_or(|value| values.iter().all(|v| v != value)),
            Requirement::Exists(name) => label(name).is_some(),
            Requirement::Missing(name) => label(name).is_none(),
        })
    }
}

/// Parses a selector; the empty one selects everything.
///
/// # Errors
/// When a requirement is of none of the forms above.
pub fn parse(text: &str) -> Result<Selector, ApiError> {
    split(text).into_iter().filter(|part| !part.is_empty()).map(requirement).collect::<Result<_, _>>().map(Selector)
}

/// Splits at commas outside parentheses.
fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut begin) = (Vec::new(), 0_u32, 0);
    for (index, byte) in text.bytes().enumerate() {
        match byte {
            b'(' => depth += 1,
            b')' => depth = depth.saturating_sub(1),
            b',' if depth == 0 => {
                parts.push(text[begin..index].trim());
                begin = index + 1;
            }
            _ => {}
        }
    }
    parts.push(text[begin..].trim());
    parts
}

fn requirement(part: &str) -> Result<Requirement, ApiError> {
    let set = |values: &str| -> Option<Vec<String>> {
        let inner = values.trim().strip_prefix('(')?.strip_suffix(')')?;
        Some(inner.split(',').map(|value| value.trim().to_owned()).collect())
    };
    let parsed = if let Some((name, value)) = part.split_once("!=") {
        Some(Requirement::NotIn(name.trim().to_owned(), vec![value.trim().to_owned()]))
    } else if let Some((name, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
        Some(Requirement::In(name.trim().to_owned(), vec![value.trim().to_owned()]))
    } else if let Some((name, values)) = part.split_once(" notin ") {
        set(values).map(|values| Requirement::NotIn(name.trim().to_owned(), values))
    } else if let Some((name, values)) = part.split_once(" in ") {
        set(values).map(|values| Requirement::In(name.trim().to_owned(), values))
    } else if let Some(name) = part.strip_prefix('!') {
        Some(Requirement::Missing(name.trim().to_owned()))
    } else {
        (!part.contains(char::is_whitespace)).then(|| Requirement::Exists(part.to_owned()))
    };
    parsed.ok_or_else(|| {
        let message = format!("'{part}' is no requirement; write for instance 'name = value' or 'name in (a, b)'");
        ApiError::InvalidArgument(vec![Violation::new("labelSelector", message)])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s01_selectors_select() {
        let label = |name: &str| match name {
            "a" => Some("1"),
            "n/b" => Some("2"),
            _ => None,
        };
        let table = [
            ("", true),
            ("a = 1", true),
            ("a==1,n/b=2", true),
            ("a = 2", false),
            ("a != 2", true),
            ("c != 2", true),
            ("a in (1, 2), n/b in (2)", true),
            ("a notin (1,2)", false),
            ("a", true),
            ("c", false),
            ("!c", true),
            ("!a", false),
        ];
        for (text, expected) in table {
            assert_eq!(parse(text).map(|selector| selector.matches(label)).ok(), Some(expected), "{text}");
        }
        assert!(parse("a in 1").is_err() && parse("a b").is_err());
    }
}
