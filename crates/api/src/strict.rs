//! JSON that must be right: an unknown field is an error, not something to pass over.

use serde::de::DeserializeOwned;

/// Why a body cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// It is no JSON, or a value has the wrong type; the path and what is expected.
    #[error("Invalid JSON payload received. {0}")]
    Malformed(String),
    /// It has fields that do not exist: their names, and the paths they stand at.
    #[error("{}", unknown(.0))]
    Unknown(Vec<(String, String)>),
}

fn unknown(fields: &[(String, String)]) -> String {
    let sentence = |(name, path): &(String, String)| {
        let at = if path.is_empty() { String::new() } else { format!(" at '{path}'") };
        format!("Invalid JSON payload received. Unknown name \"{name}\"{at}: Cannot find field.")
    };
    fields.iter().map(sentence).collect::<Vec<_>>().join("\n")
}

/// Reads JSON into `T`.
///
/// # Errors
/// [`ParseError`], naming every unknown field with its path.
pub fn parse_strict<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ParseError> {
    let bytes = if bytes.trim_ascii().is_empty() { b"{}" } else { bytes };
    let mut fields = Vec::new();
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let mut track = serde_path_to_error::Track::new();
    let tracked = serde_path_to_error::Deserializer::new(&mut json, &mut track);
    let parsed = serde_ignored::deserialize(tracked, |path| {
        let path = path.to_string().replace(".?", "");
        let (at, name) = path.rsplit_once('.').unwrap_or(("", &path));
        fields.push((name.to_owned(), indexes(at)));
    });
    let value = parsed.map_err(|error: serde_json::Error| {
        let path = track.path().to_string();
        let at = if path == "." { String::new() } else { format!(" at '{path}'") };
        ParseError::Malformed(format!("Invalid value{at}: {error}"))
    })?;
    json.end().map_err(|error| ParseError::Malformed(error.to_string()))?;
    if fields.is_empty() { Ok(value) } else { Err(ParseError::Unknown(fields)) }
}

/// `a.0.b` as `a[0].b`.
fn indexes(path: &str) -> String {
    path.split('.').fold(String::new(), |mut text, part| {
        if !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()) {
            text.push_str(&format!("[{part}]"));
        } else {
            if !text.is_empty() {
                text.push('.');
            }
            text.push_str(part);
        }
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run_v1::Service;

    #[test]
    fn s01_an_unknown_field_is_named_with_its_path() {
        let body = br#"{"spec": {"template": {"spec": {"containers": [{"image": "i", "imaje": "j"}], "x": 1}}}}"#;
        let error = parse_strict::<Service>(body).expect_err("two unknown fields").to_string();
        assert!(
            error.contains("Unknown name \"imaje\" at 'spec.template.spec.containers[0]': Cannot find field."),
            "{error}"
        );
        assert!(error.contains("Unknown name \"x\" at 'spec.template.spec'"), "{error}");
    }

    #[test]
    fn s01_a_wrong_type_is_named_with_its_path() {
        let body = br#"{"spec": {"template": {"spec": {"timeoutSeconds": "soon"}}}}"#;
        let error = parse_strict::<Service>(body).expect_err("no number").to_string();
        assert!(error.contains("spec.template.spec.timeoutSeconds"), "{error}");
    }

    #[test]
    fn s01_an_empty_body_is_an_empty_object_and_half_a_body_is_an_error() {
        assert_eq!(parse_strict::<Service>(b""), Ok(Service::default()));
        assert!(parse_strict::<Service>(b"{\"spec\": {").is_err());
        assert!(parse_strict::<Service>(b"{} {}").is_err());
    }
}
