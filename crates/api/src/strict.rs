//! JSON that must be right: an unknown field is an error, not something to pass over.

use std::fmt::Write as _;

use serde::de::DeserializeOwned;
use serde_ignored::Path;

/// Why a body cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// It is no JSON; what was found where.
    #[error("Invalid JSON payload received. {0}")]
    Syntax(String),
    /// A value has the wrong type.
    #[error("{}", wrong_type(.path, .mismatch))]
    Type {
        /// The value's path; empty for the body as a whole.
        path: String,
        /// The value, and what is expected.
        mismatch: String,
    },
    /// It has fields that do not exist.
    #[error("{}", each(.0))]
    Unknown(Vec<UnknownField>),
}

/// A field that does not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownField {
    /// Path of the object that it stands in; empty for the body itself.
    pub parent: String,
    /// Its name.
    pub name: String,
}

fn wrong_type(path: &str, mismatch: &str) -> String {
    format!("Invalid value{}: {mismatch}.", at(path))
}

fn each(fields: &[UnknownField]) -> String {
    let sentence = |UnknownField { parent, name }: &UnknownField| {
        format!("Invalid JSON payload received. Unknown name \"{name}\"{}: Cannot find field.", at(parent))
    };
    fields.iter().map(sentence).collect::<Vec<_>>().join("\n")
}

fn at(path: &str) -> String {
    if path.is_empty() { String::new() } else { format!(" at '{path}'") }
}

/// Reads JSON into `T`. An empty body is an empty object.
///
/// # Errors
/// [`ParseError`]: every unknown field with its path, else the first value of a wrong type.
pub fn parse_strict<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ParseError> {
    let bytes = if bytes.trim_ascii().is_empty() { b"{}" } else { bytes };
    let mut unknown = Vec::new();
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let mut track = serde_path_to_error::Track::new();
    let tracked = serde_path_to_error::Deserializer::new(&mut json, &mut track);
    let parsed = serde_ignored::deserialize(tracked, |path| unknown.extend(unknown_field(&path)));
    let value = parsed.map_err(|error: serde_json::Error| fault(&error, &track.path()))?;
    json.end().map_err(|error| ParseError::Syntax(error.to_string()))?;
    if unknown.is_empty() { Ok(value) } else { Err(ParseError::Unknown(unknown)) }
}

fn fault(error: &serde_json::Error, path: &serde_path_to_error::Path) -> ParseError {
    if !error.is_data() {
        return ParseError::Syntax(error.to_string());
    }
    // The path says better where it is; a client that composed the JSON itself knows no lines.
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    let path = if path.iter().next().is_none() { String::new() } else { path.to_string() };
    ParseError::Type { path, mismatch: text.strip_suffix(&place).unwrap_or(&text).to_owned() }
}

/// The last step of a path is the field, the steps before it are the object.
fn unknown_field(path: &Path<'_>) -> Option<UnknownField> {
    match path {
        Path::Map { parent, key } => Some(UnknownField { parent: text(parent), name: key.clone() }),
        Path::Some { parent } | Path::NewtypeStruct { parent } | Path::NewtypeVariant { parent } => {
            unknown_field(parent)
        }
        Path::Root | Path::Seq { .. } => None,
    }
}

/// A path as `a[0].b`.
fn text(path: &Path<'_>) -> String {
    match path {
        Path::Root => String::new(),
        Path::Some { parent } | Path::NewtypeStruct { parent } | Path::NewtypeVariant { parent } => text(parent),
        Path::Seq { parent, index } => {
            let mut path = text(parent);
            // Writing to a String cannot fail.
            let _ = write!(path, "[{index}]");
            path
        }
        Path::Map { parent, key } => {
            let mut path = text(parent);
            if !path.is_empty() {
                path.push('.');
            }
            path.push_str(key);
            path
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run_v1::Service;

    fn refused(body: &str) -> String {
        parse_strict::<Service>(body.as_bytes()).expect_err(body).to_string()
    }

    #[test]
    fn s01_every_unknown_field_is_named_with_its_path() {
        let body = r#"{"spec": {"template": {"spec": {"containers": [{"image": "i", "imaje": "j"}], "x": 1}}}}"#;
        assert_eq!(
            refused(body),
            "Invalid JSON payload received. Unknown name \"imaje\" at 'spec.template.spec.containers[0]': Cannot find \
             field.\nInvalid JSON payload received. Unknown name \"x\" at 'spec.template.spec': Cannot find field."
        );
    }

    #[test]
    fn s01_an_odd_name_is_given_back_as_it_was_written() {
        let error = refused(r#"{"a.b": 1, "spec": {"?x": {"y": 2}, "0": 3}}"#);
        for sentence in ["\"a.b\": Cannot", "\"?x\" at 'spec': Cannot", "\"0\" at 'spec': Cannot"] {
            assert!(error.contains(sentence), "{sentence}: {error}");
        }
    }

    #[test]
    fn s01_a_wrong_type_is_named_with_its_path_its_value_and_what_is_expected() {
        for (body, sentence) in [
            (
                r#"{"spec": {"template": {"spec": {"timeoutSeconds": "soon"}}}}"#,
                "Invalid value at 'spec.template.spec.timeoutSeconds': invalid value: string \"soon\", expected a whole number \
                 of 32 bits.",
            ),
            (
                r#"{"spec": {"template": {"spec": {"containerConcurrency": 3000000000}}}}"#,
                "Invalid value at 'spec.template.spec.containerConcurrency': invalid value: integer `3000000000`, expected a \
                 whole number of 32 bits.",
            ),
            (
                r#"{"spec": {"template": {"spec": {"containers": [{"image": 7}]}}}}"#,
                "Invalid value at 'spec.template.spec.containers[0].image': invalid type: integer `7`, expected a string.",
            ),
            (
                r#"{"metadata": {"annotations": {"a/b": true}}}"#,
                "Invalid value at 'metadata.annotations.a/b': invalid type: boolean `true`, expected a string.",
            ),
        ] {
            assert_eq!(refused(body), sentence);
        }
        assert!(refused("7").starts_with("Invalid value: invalid type: integer `7`"), "{}", refused("7"));
    }

    #[test]
    fn s01_an_empty_body_is_an_empty_object_and_half_a_body_is_an_error() {
        assert_eq!(parse_strict::<Service>(b" \n"), Ok(Service::default()));
        for body in ["{\"spec\": {", "{} {}", "no"] {
            assert!(refused(body).starts_with("Invalid JSON payload received. "), "{body}");
        }
    }

    #[test]
    fn s01_null_is_unset_and_an_integer_may_stand_in_quotes() {
        let null = r#"{"kind": null, "metadata": {"annotations": null}, "spec": {"template": {"spec": {
            "containers": [{"image": "i", "env": null, "ports": [{"containerPort": "8080"}]}], "timeoutSeconds": null}}}}"#;
        let plain = r#"{"metadata": {}, "spec": {"template": {"spec": {
            "containers": [{"image": "i", "ports": [{"containerPort": 8080}]}]}}}}"#;
        assert_eq!(parse_strict::<Service>(null.as_bytes()), parse_strict::<Service>(plain.as_bytes()));
    }
}
