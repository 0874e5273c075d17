//! Whether an entry is one that a filter asks for, and whether any entry of a file can be.

use std::cmp::Ordering;

use chrono::{DateTime, Utc};
use homerun_api::logging::{LogEntry, Severity};
use regex::Regex;
use serde_json::Value;

use super::field::{Field, Kind, Scalar, any_json, any_text};
use super::lex::Op;

/// A filter, ready for use.
#[derive(Debug, Clone)]
pub(super) enum Expr {
    All(Vec<Expr>),
    Any(Vec<Expr>),
    Not(Box<Expr>),
    Compare(Comparison),
    /// Some field contains the text, which is in lower case.
    Contains(String),
    /// The log's id, as it stands in `logName`.
    LogId(String),
}

#[derive(Debug, Clone)]
pub(super) struct Comparison {
    pub(super) field: Field,
    pub(super) test: Test,
}

#[derive(Debug, Clone)]
pub(super) enum Test {
    Present,
    Compare { op: Op, operand: Operand },
    Matches { regex: Regex, wanted: bool },
}

/// The value that a field is compared with.
#[derive(Debug, Clone)]
pub(super) struct Operand {
    pub(super) text: String,
    /// In lower case: texts are compared without regard to case.
    pub(super) folded: String,
    /// The value in the field's type, if that is not text.
    pub(super) typed: Option<Typed>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Typed {
    Time(DateTime<Utc>),
    Severity(Severity),
    Integer(i64),
    /// Nanoseconds.
    Duration(i64),
    Boolean(bool),
    /// For fields of no fixed type, where the text is a number.
    Number(f64),
}

/// What is known of every entry of a file.
#[derive(Debug, Clone)]
pub struct Known<'a> {
    /// An entry with the resource that all of them have; nothing else of it is looked at. Its
    /// `revision_name` is not known.
    pub resource: &'a LogEntry,
    /// The first and the last `timestamp`, `None` where not known.
    pub timestamp: (Option<DateTime<Utc>>, Option<DateTime<Utc>>),
    /// The same of `receiveTimestamp`.
    pub receive_timestamp: (Option<DateTime<Utc>>, Option<DateTime<Utc>>),
}

impl Expr {
    pub(super) fn matches(&self, entry: &LogEntry) -> bool {
        match self {
            Self::All(parts) => parts.iter().all(|part| part.matches(entry)),
            Self::Any(parts) => parts.iter().any(|part| part.matches(entry)),
            Self::Not(part) => !part.matches(entry),
            Self::Compare(comparison) => comparison.matches(entry),
            Self::Contains(text) => any_text(entry, "", &|value| value.to_lowercase().contains(text)),
            Self::LogId(id) => {
                entry.log_name.split_once("/logs/").is_some_and(|(_, found)| found.eq_ignore_ascii_case(id))
            }
        }
    }

    /// `Some` where every entry of the file gets the same answer.
    pub(super) fn decided(&self, known: &Known<'_>) -> Option<bool> {
        match self {
            Self::All(parts) => together(parts, known, false),
            Self::Any(parts) => together(parts, known, true),
            Self::Not(part) => part.decided(known).map(|answer| !answer),
            Self::Compare(comparison) => comparison.decided(known),
            Self::Contains(_) | Self::LogId(_) => None,
        }
    }
}

/// The answer of parts of which one that says `decisive` decides.
fn together(parts: &[Expr], known: &Known<'_>, decisive: bool) -> Option<bool> {
    let answers: Vec<Option<bool>> = parts.iter().map(|part| part.decided(known)).collect();
    if answers.contains(&Some(decisive)) {
        return Some(decisive);
    }
    answers.iter().all(Option::is_some).then_some(!decisive)
}

impl Comparison {
    fn matches(&self, entry: &LogEntry) -> bool {
        match &self.field {
            Field::Scalar(field) => {
                let value = (field.get)(entry);
                match &self.test {
                    Test::Present => value.is_some_and(|value| value != default_of(field.kind)),
                    test => test.scalar(value.unwrap_or(default_of(field.kind))),
                }
            }
            Field::ResourceLabel(key) => self.test.label(entry.resource.labels.get(key)),
            Field::Label(key) => self.test.label(entry.labels.get(key)),
            Field::Json(path) => match entry.json_payload.as_ref() {
                None => false,
                Some(json) if path.is_empty() => json.values().any(|value| self.test.json(value)),
                Some(json) => json.get(&path[0]).is_some_and(|value| self.test.json_at(value, &path[1..])),
            },
            Field::Group(group) => match &self.test {
                Test::Compare { operand, .. } => {
                    any_text(entry, group, &|value| value.to_lowercase().contains(&operand.folded))
                }
                _ => any_text(entry, group, &|_| true),
            },
            Field::Absent => false,
        }
    }

    fn decided(&self, known: &Known<'_>) -> Option<bool> {
        match (&self.field, &self.test) {
            (Field::Scalar(field), _) if field.name == "resource.type" => Some(self.matches(known.resource)),
            (Field::ResourceLabel(key), _) if key != "revision_name" => Some(self.matches(known.resource)),
            (Field::Absent, _) => Some(false),
            (Field::Scalar(field), Test::Compare { op, operand: Operand { typed: Some(Typed::Time(time)), .. } }) => {
                let range = match field.name {
                    "timestamp" => known.timestamp,
                    "receiveTimestamp" => known.receive_timestamp,
                    _ => return None,
                };
                decided_by_time(range, *op, *time)
            }
            _ => None,
        }
    }
}

/// The answer of `op` for every time of a range, where it is the same.
fn decided_by_time(
    (first, last): (Option<DateTime<Utc>>, Option<DateTime<Utc>>),
    op: Op,
    time: DateTime<Utc>,
) -> Option<bool> {
    let all_before = last.is_some_and(|last| last < time);
    let all_up_to = last.is_some_and(|last| last <= time);
    let all_after = first.is_some_and(|first| first > time);
    let all_from = first.is_some_and(|first| first >= time);
    let (yes, no) = match op {
        Op::Less => (all_before, all_from),
        Op::LessOrEqual => (all_up_to, all_after),
        Op::Greater => (all_after, all_up_to),
        Op::GreaterOrEqual => (all_from, all_before),
        Op::Equal | Op::Has => (false, all_before || all_after),
        Op::NotEqual => (all_before || all_after, false),
        Op::Matches | Op::MatchesNot => (false, false),
    };
    if yes { Some(true) } else { no.then_some(false) }
}

fn default_of(kind: Kind) -> Scalar<'static> {
    match kind {
        Kind::Text => Scalar::Text(""),
        Kind::Time => Scalar::Time(DateTime::UNIX_EPOCH),
        Kind::Severity => Scalar::Severity(Severity::Default),
        Kind::Integer => Scalar::Integer(0),
        Kind::Duration => Scalar::Duration(0),
        Kind::Boolean => Scalar::Boolean(false),
    }
}

impl Test {
    fn scalar(&self, value: Scalar<'_>) -> bool {
        match self {
            Self::Present => true,
            Self::Matches { regex, wanted } => matches!(value, Scalar::Text(text) if regex.is_match(text) == *wanted),
            Self::Compare { op, operand } => {
                let order = match (value, operand.typed) {
                    (Scalar::Text(text), _) => return operand.text(*op, text),
                    (Scalar::Time(value), Some(Typed::Time(wanted))) => value.cmp(&wanted),
                    (Scalar::Severity(value), Some(Typed::Severity(wanted))) => value.cmp(&wanted),
                    (Scalar::Integer(value), Some(Typed::Integer(wanted)))
                    | (Scalar::Duration(value), Some(Typed::Duration(wanted))) => value.cmp(&wanted),
                    (Scalar::Boolean(value), Some(Typed::Boolean(wanted))) => value.cmp(&wanted),
                    _ => return false,
                };
                ordered(*op, order)
            }
        }
    }

    fn label(&self, value: Option<&String>) -> bool {
        value.is_some_and(|value| self.scalar(Scalar::Text(value)))
    }

    /// A value below `value`; in a list, that of any element.
    fn json_at(&self, value: &Value, path: &[String]) -> bool {
        match (value, path) {
            (Value::Array(values), _) if !path.is_empty() => values.iter().any(|value| self.json_at(value, path)),
            (_, []) => self.json(value),
            (Value::Object(fields), [key, rest @ ..]) => fields.get(key).is_some_and(|value| self.json_at(value, rest)),
            _ => false,
        }
    }

    fn json(&self, value: &Value) -> bool {
        match (self, value) {
            (Self::Present, _) => true,
            (_, Value::Array(values)) => values.iter().any(|value| self.json(value)),
            (_, Value::String(text)) => self.scalar(Scalar::Text(text)),
            (Self::Matches { regex, wanted }, Value::Number(number)) => regex.is_match(&number.to_string()) == *wanted,
            (Self::Matches { .. }, _) => false,
            (Self::Compare { op, operand }, Value::Number(number)) => {
                let (Some(Typed::Number(wanted)), Some(number)) = (operand.typed, number.as_f64()) else {
                    return *op == Op::NotEqual;
                };
                number.partial_cmp(&wanted).is_some_and(|order| ordered(*op, order))
            }
            (Self::Compare { op, operand }, Value::Bool(value)) => {
                let same = operand.folded == if *value { "true" } else { "false" };
                matches!((op, same), (Op::Equal | Op::Has, true) | (Op::NotEqual, false))
            }
            (Self::Compare { op, operand }, Value::Null) => {
                let same = operand.text == "NULL_VALUE";
                matches!((op, same), (Op::Equal | Op::Has, true) | (Op::NotEqual, false))
            }
            (Self::Compare { op: Op::Has, operand }, Value::Object(_)) => {
                any_json(value, &|text| text.to_lowercase().contains(&operand.folded))
            }
            (Self::Compare { .. }, Value::Object(_)) => false,
        }
    }
}

impl Operand {
    /// Texts are equal, and contain each other, without regard to case; their order is that of their bytes.
    fn text(&self, op: Op, value: &str) -> bool {
        match op {
            Op::Has => value.to_lowercase().contains(&self.folded),
            Op::Equal => value.to_lowercase() == self.folded,
            Op::NotEqual => value.to_lowercase() != self.folded,
            _ => ordered(op, value.cmp(&self.text)),
        }
    }
}

fn ordered(op: Op, order: Ordering) -> bool {
    match op {
        Op::Equal | Op::Has => order.is_eq(),
        Op::NotEqual => order.is_ne(),
        Op::Less => order.is_lt(),
        Op::LessOrEqual => order.is_le(),
        Op::Greater => order.is_gt(),
        Op::GreaterOrEqual => order.is_ge(),
        Op::Matches | Op::MatchesNot => false,
    }
}
