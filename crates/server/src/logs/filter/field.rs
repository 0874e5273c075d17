//! The fields of a log entry that filters know.

use chrono::{DateTime, Utc};
use homerun_api::logging::{HttpRequest, LogEntry, Severity};
use serde_json::Value;

/// What a path in a filter leads to.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Field {
    /// A field that every entry has; unset, it has its type's default.
    Scalar(&'static ScalarField),
    /// A label of the resource.
    ResourceLabel(String),
    /// A label of the entry.
    Label(String),
    /// A value in the JSON payload; empty for the payload itself.
    Json(Vec<String>),
    /// Several fields together, for instance `httpRequest`: the name with a dot behind.
    Group(&'static str),
    /// A part of `LogEntry` that homerun never fills.
    Absent,
}

/// See [`Field::Scalar`].
pub(super) struct ScalarField {
    /// Its path.
    pub(super) name: &'static str,
    /// Its type.
    pub(super) kind: Kind,
    /// Its value, `None` where unset.
    pub(super) get: fn(&LogEntry) -> Option<Scalar<'_>>,
}

impl std::fmt::Debug for ScalarField {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl PartialEq for ScalarField {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

/// The types of fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Time,
    Severity,
    Integer,
    Duration,
    Boolean,
}

/// A field's value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Scalar<'a> {
    Text(&'a str),
    Time(DateTime<Utc>),
    Severity(Severity),
    Integer(i64),
    /// Nanoseconds.
    Duration(i64),
    Boolean(bool),
}

/// Every field with one value.
pub(super) static SCALARS: [ScalarField; 28] = [
    text("logName", |entry| filled(&entry.log_name)),
    text("resource.type", |entry| filled(&entry.resource.r#type)),
    field("timestamp", Kind::Time, |entry| Some(Scalar::Time(entry.timestamp))),
    field("receiveTimestamp", Kind::Time, |entry| Some(Scalar::Time(entry.receive_timestamp))),
    field("severity", Kind::Severity, |entry| Some(Scalar::Severity(entry.severity))),
    text("insertId", |entry| filled(&entry.insert_id)),
    text("trace", |entry| filled(&entry.trace)),
    text("spanId", |entry| filled(&entry.span_id)),
    field("traceSampled", Kind::Boolean, |entry| Some(Scalar::Boolean(entry.trace_sampled))),
    text("textPayload", |entry| entry.text_payload.as_deref().map(Scalar::Text)),
    text("httpRequest.requestMethod", |entry| filled(&http(entry)?.request_method)),
    text("httpRequest.requestUrl", |entry| filled(&http(entry)?.request_url)),
    field("httpRequest.requestSize", Kind::Integer, |entry| http(entry)?.request_size.map(Scalar::Integer)),
    field("httpRequest.status", Kind::Integer, |entry| Some(Scalar::Integer(http(entry)?.status?.into()))),
    field("httpRequest.responseSize", Kind::Integer, |entry| http(entry)?.response_size.map(Scalar::Integer)),
    text("httpRequest.userAgent", |entry| filled(&http(entry)?.user_agent)),
    text("httpRequest.remoteIp", |entry| filled(&http(entry)?.remote_ip)),
    text("httpRequest.serverIp", |entry| filled(&http(entry)?.server_ip)),
    text("httpRequest.referer", |entry| filled(&http(entry)?.referer)),
    field("httpRequest.latency", Kind::Duration, |entry| duration(&http(entry)?.latency).map(Scalar::Duration)),
    text("httpRequest.protocol", |entry| filled(&http(entry)?.protocol)),
    text("operation.id", |entry| filled(&entry.operation.as_ref()?.id)),
    text("operation.producer", |entry| filled(&entry.operation.as_ref()?.producer)),
    field("operation.first", Kind::Boolean, |entry| Some(Scalar::Boolean(entry.operation.as_ref()?.first))),
    field("operation.last", Kind::Boolean, |entry| Some(Scalar::Boolean(entry.operation.as_ref()?.last))),
    text("sourceLocation.file", |entry| filled(&entry.source_location.as_ref()?.file)),
    field("sourceLocation.line", Kind::Integer, |entry| entry.source_location.as_ref()?.line.map(Scalar::Integer)),
    text("sourceLocation.function", |entry| filled(&entry.source_location.as_ref()?.function)),
];

/// Fields that consist of others. A filter may only ask whether they are there, or contain a text.
const GROUPS: [&str; 6] = ["resource.labels.", "resource.", "labels.", "httpRequest.", "operation.", "sourceLocation."];

/// Parts of `LogEntry` that no entry of homerun has.
const ABSENT: [&str; 4] = ["protoPayload", "metadata", "split", "errorGroups"];

const fn field(name: &'static str, kind: Kind, get: fn(&LogEntry) -> Option<Scalar<'_>>) -> ScalarField {
    ScalarField { name, kind, get }
}

const fn text(name: &'static str, get: fn(&LogEntry) -> Option<Scalar<'_>>) -> ScalarField {
    field(name, Kind::Text, get)
}

fn http(entry: &LogEntry) -> Option<&HttpRequest> {
    entry.http_request.as_ref()
}

fn filled(text: &str) -> Option<Scalar<'_>> {
    (!text.is_empty()).then_some(Scalar::Text(text))
}

impl Field {
    /// The field at a path; the error says which there are.
    pub(super) fn at(path: &[String]) -> Result<Self, String> {
        let known = |name: &str, steps: usize| path.len() >= steps && plain(&path[..steps].join(".")) == plain(name);
        if let Some(field) = SCALARS.iter().find(|field| plain(field.name) == plain(&path.join("."))) {
            return Ok(Self::Scalar(field));
        }
        if let Some(group) = GROUPS.iter().find(|group| plain(group.trim_end_matches('.')) == plain(&path.join("."))) {
            return Ok(Self::Group(group));
        }
        if known("resource.labels", 2) {
            return Ok(Self::ResourceLabel(path[2..].join(".")));
        }
        if known("labels", 1) {
            return Ok(Self::Label(path[1..].join(".")));
        }
        if known("jsonPayload", 1) {
            return Ok(Self::Json(path[1..].to_vec()));
        }
        if ABSENT.iter().any(|absent| known(absent, 1)) {
            return Ok(Self::Absent);
        }
        let names: Vec<&str> = SCALARS.iter().map(|field| field.name).collect();
        Err(format!(
            "there is no field \"{}\"; there are {}, resource.labels.KEY, labels.KEY and jsonPayload.KEY",
            path.join("."),
            names.join(", ")
        ))
    }
}

/// A name as it is compared: Google's JSON takes `log_name` for `logName`, and filters take any case.
fn plain(name: &str) -> String {
    name.chars().filter(|c| *c != '_').map(|c| c.to_ascii_lowercase()).collect()
}

/// Every text in an entry, for who searches all of it; stops when told so.
pub(super) fn any_text(entry: &LogEntry, group: &str, found: &dyn Fn(&str) -> bool) -> bool {
    let scalar = |field: &ScalarField| {
        field.name.starts_with(group)
            && match (field.get)(entry) {
                Some(Scalar::Text(text)) => found(text),
                Some(Scalar::Integer(number)) => found(&number.to_string()),
                Some(Scalar::Severity(severity)) => found(severity.as_str()),
                _ => false,
            }
    };
    let resource_labels = || entry.resource.labels.values().any(|value| found(value));
    let labels = || entry.labels.values().any(|value| found(value));
    SCALARS.iter().any(scalar)
        || (("resource.labels.".starts_with(group)) && resource_labels())
        || ("labels.".starts_with(group) && labels())
        || (group.is_empty() && entry.json_payload.iter().flat_map(|json| json.values()).any(|v| any_json(v, found)))
}

/// Every text and number in a JSON value; stops when told so.
pub(super) fn any_json(value: &Value, found: &dyn Fn(&str) -> bool) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => found(if *value { "true" } else { "false" }),
        Value::Number(number) => found(&number.to_string()),
        Value::String(text) => found(text),
        Value::Array(values) => values.iter().any(|value| any_json(value, found)),
        Value::Object(fields) => fields.values().any(|value| any_json(value, found)),
    }
}

/// Nanoseconds of `1.5s`, `20ms` and so on; seconds where there is no unit.
pub(super) fn duration(text: &str) -> Option<i64> {
    let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let unit = match &text[split..] {
        "h" => 3600e9,
        "m" => 60e9,
        "s" | "" => 1e9,
        "ms" => 1e6,
        "us" => 1e3,
        "ns" => 1.0,
        _ => return None,
    };
    let number: f64 = text[..split].parse().ok()?;
    let nanos = number * unit;
    (nanos.abs() < i64::MAX as f64).then_some(nanos.round() as i64)
}
