//! Log entries as Cloud Run writes them. Pure.
//!
//! In a file, an entry leaves out what the file's place says ([`complete`]).

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use homerun_api::logging::{
    HttpRequest, LogEntry, LogEntryOperation, LogEntrySourceLocation, MonitoredResource, Severity,
};
use homerun_backend::{LogLine, LogStream};
use homerun_model::names::{RevisionName, ServiceKey};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// Seconds of JSON's special fields, at most those of year 9999.
const MAX_SECONDS: i64 = 253_402_300_799;

/// A line that a container wrote.
pub(super) struct Line {
    stream: LogStream,
    revision: RevisionName,
    instance: String,
    container: String,
    time: DateTime<Utc>,
    text: String,
}

/// Lines that were lost.
pub(super) struct Dropped {
    /// The revision that wrote the first of them.
    pub(super) revision: Option<RevisionName>,
    /// How many.
    pub(super) entries: u64,
    /// Bytes of their text.
    pub(super) bytes: u64,
}

impl Line {
    pub(super) fn of(line: LogLine<'_>) -> Self {
        Self {
            stream: line.stream,
            revision: line.spec.revision.name.clone(),
            instance: line.spec.id.to_string(),
            container: line.container.to_owned(),
            time: line.time,
            text: line.text.to_owned(),
        }
    }

    /// The line's entry. A JSON object's `time` is taken if it is neither in the future nor before `oldest`.
    pub(super) fn entry(self, oldest: DateTime<Utc>) -> LogEntry {
        let mut entry = blank(
            match self.stream {
                LogStream::Stdout => "run.googleapis.com%2Fstdout",
                LogStream::Stderr => "run.googleapis.com%2Fstderr",
                LogStream::System => "run.googleapis.com%2Fvarlog%2Fsystem",
            },
            Some(&self.revision),
            self.time,
        );
        entry.labels.insert("instanceId".to_owned(), self.instance);
        if !self.container.is_empty() {
            entry.labels.insert("container_name".to_owned(), self.container);
        }
        if self.stream == LogStream::System {
            entry.severity = Severity::Info;
            entry.text_payload = Some(self.text);
            return entry;
        }
        match object(&self.text) {
            Some(json) => lift(&mut entry, json, oldest),
            None => entry.text_payload = Some(self.text),
        }
        entry
    }
}

impl Dropped {
    /// The entry that tells about them, `rate` in bytes per second.
    pub(super) fn entry(&self, now: DateTime<Utc>, rate: u64) -> LogEntry {
        let mut entry = blank("run.googleapis.com%2Fvarlog%2Fsystem", self.revision.as_ref(), now);
        entry.severity = Severity::Warning;
        entry.text_payload = Some(format!(
            "{} log entries ({} bytes) were dropped: they came faster than the {} MiB per second that a service may log, or \
             than the disk took them.",
            self.entries,
            self.bytes,
            rate >> 20
        ));
        entry
    }
}

/// Adds what an entry's place says.
pub(super) fn complete(entry: &mut LogEntry, service: &ServiceKey) {
    let labels = &mut entry.resource.labels;
    for (key, value) in [
        ("project_id", service.project.as_str()),
        ("location", service.region.as_str()),
        ("service_name", service.name.as_str()),
        ("configuration_name", service.name.as_str()),
    ] {
        labels.insert(key.to_owned(), value.to_owned());
    }
    "cloud_run_revision".clone_into(&mut entry.resource.r#type);
    entry.log_name = format!("projects/{}/logs/{}", service.project, entry.log_name);
}

/// An entry without payload; its times are both `time`.
pub(super) fn blank(log: &str, revision: Option<&RevisionName>, time: DateTime<Utc>) -> LogEntry {
    let revision = revision.map_or("", RevisionName::as_str);
    LogEntry {
        log_name: log.to_owned(),
        resource: MonitoredResource {
            r#type: String::new(),
            labels: BTreeMap::from([("revision_name".to_owned(), revision.to_owned())]),
        },
        timestamp: time,
        receive_timestamp: time,
        severity: Severity::Default,
        insert_id: String::new(),
        labels: BTreeMap::new(),
        http_request: None,
        operation: None,
        trace: String::new(),
        span_id: String::new(),
        trace_sampled: false,
        source_location: None,
        text_payload: None,
        json_payload: None,
    }
}

/// A line that is a JSON object and nothing else.
fn object(text: &str) -> Option<Map<String, Value>> {
    let text = text.trim_ascii();
    (text.starts_with('{') && text.ends_with('}')).then(|| serde_json::from_str(text).ok())?
}

/// Moves the special fields of a JSON line to where they belong; what is not of the right type stays.
/// <https://cloud.google.com/logging/docs/structured-logging#special-payload-fields>
fn lift(entry: &mut LogEntry, mut json: Map<String, Value>, oldest: DateTime<Utc>) {
    if let Some(severity) = take(&mut json, "severity", |value| severity(value.as_str()?)) {
        entry.severity = severity;
    }
    if let Some(request) = take(&mut json, "httpRequest", parsed::<HttpRequest>) {
        entry.http_request = Some(request);
    }
    if let Some(time) = time(&mut json).filter(|time| (oldest..=entry.timestamp).contains(time)) {
        entry.timestamp = time;
    }
    let text = |value: &Value| value.as_str().map(str::to_owned);
    if let Some(id) = take(&mut json, "logging.googleapis.com/insertId", text) {
        entry.insert_id = id;
    }
    if let Some(labels) = take(&mut json, "logging.googleapis.com/labels", parsed::<BTreeMap<String, String>>) {
        entry.labels.extend(labels);
    }
    if let Some(operation) = take(&mut json, "logging.googleapis.com/operation", parsed::<LogEntryOperation>) {
        entry.operation = Some(operation);
    }
    let location = take(&mut json, "logging.googleapis.com/sourceLocation", parsed::<LogEntrySourceLocation>);
    entry.source_location = location;
    if let Some(span) = take(&mut json, "logging.googleapis.com/spanId", text) {
        entry.span_id = span;
    }
    if let Some(trace) = take(&mut json, "logging.googleapis.com/trace", text) {
        entry.trace = trace;
    }
    if let Some(sampled) = take(&mut json, "logging.googleapis.com/trace_sampled", Value::as_bool) {
        entry.trace_sampled = sampled;
    }
    // A message that is all there is left is the text.
    if json.len() == 1 && json.get("message").is_some_and(Value::is_string) {
        entry.text_payload = take(&mut json, "message", text);
    } else {
        entry.json_payload = Some(json);
    }
}

/// Takes a field out, if `read` understands it.
fn take<T>(json: &mut Map<String, Value>, key: &str, read: impl FnOnce(&Value) -> Option<T>) -> Option<T> {
    let value = read(json.get(key)?)?;
    json.remove(key);
    Some(value)
}

fn parsed<T: DeserializeOwned>(value: &Value) -> Option<T> {
    value.is_object().then(|| T::deserialize(value).ok())?
}

/// Cloud Logging's names and numbers, and what loggers commonly call them.
fn severity(text: &str) -> Option<Severity> {
    text.parse().ok().or_else(|| match text.to_ascii_lowercase().as_str() {
        "trace" => Some(Severity::Debug),
        "information" => Some(Severity::Info),
        "warn" => Some(Severity::Warning),
        "err" => Some(Severity::Error),
        "crit" | "fatal" => Some(Severity::Critical),
        "emerg" | "panic" => Some(Severity::Emergency),
        _ => None,
    })
}

/// The time of a line, in one of the three ways that there are to write it.
fn time(json: &mut Map<String, Value>) -> Option<DateTime<Utc>> {
    let at = |seconds: i64, nanos: i64| {
        let fits = (0..=MAX_SECONDS).contains(&seconds) && (0..1_000_000_000).contains(&nanos);
        fits.then(|| DateTime::from_timestamp(seconds, u32::try_from(nanos).ok()?))?
    };
    let integer = |value: &Value| value.as_i64().or_else(|| value.as_str()?.parse().ok());
    let written = |value: &Value| Some(DateTime::parse_from_rfc3339(value.as_str()?).ok()?.with_timezone(&Utc));
    if let Some(time) = take(json, "time", written) {
        return Some(time);
    }
    let pair = |value: &Value| at(integer(value.get("seconds")?)?, integer(value.get("nanos")?)?);
    if let Some(time) = take(json, "timestamp", |value| pair(value).or_else(|| written(value))) {
        return Some(time);
    }
    let (seconds, nanos) = (integer(json.get("timestampSeconds")?)?, integer(json.get("timestampNanos")?)?);
    let time = at(seconds, nanos)?;
    json.remove("timestampSeconds");
    json.remove("timestampNanos");
    Some(time)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const NOW: &str = "2026-05-01T10:00:00Z";

    fn written(text: &str) -> LogEntry {
        let line = Line {
            stream: LogStream::Stdout,
            revision: RevisionName::new("hello-00001-abc"),
            instance: "i-1".to_owned(),
            container: "hello-1".to_owned(),
            time: NOW.parse().expect("a time"),
            text: text.to_owned(),
        };
        line.entry("2026-04-01T00:00:00Z".parse().expect("a time"))
    }

    #[test]
    fn s12_a_plain_line_is_text() {
        for text in ["hello", "", "{not json}", "{\"a\":1} and more", "[1]", "7", "{\"a\":1", " {\"a\": }"] {
            let entry = written(text);
            assert_eq!((entry.text_payload.as_deref(), entry.json_payload), (Some(text), None));
            assert_eq!(entry.severity, Severity::Default);
            assert_eq!(entry.labels["instanceId"], "i-1");
        }
    }

    #[test]
    fn s12_special_fields_of_a_json_line_go_where_they_belong() {
        let line = json!({
            "severity": "error", "message": "It broke", "component": "loader", "time": "2026-05-01T09:59:58.5Z",
            "httpRequest": {"requestMethod": "GET", "status": 500, "responseSize": 7, "latency": "1s"},
            "logging.googleapis.com/insertId": "mine", "logging.googleapis.com/labels": {"user": "u1"},
            "logging.googleapis.com/operation": {"id": "op", "producer": "p", "first": true},
            "logging.googleapis.com/sourceLocation": {"file": "a.py", "line": "12", "function": "f"},
            "logging.googleapis.com/spanId": "00f067aa0ba902b7", "logging.googleapis.com/trace_sampled": true,
            "logging.googleapis.com/trace": "projects/demo/traces/06796866738c859f2f19b7cfb3214824",
        });
        let entry = written(&line.to_string());
        assert_eq!(Value::from(entry.json_payload.clone()), json!({"message": "It broke", "component": "loader"}));
        assert_eq!(entry.severity, Severity::Error);
        assert_eq!(entry.timestamp.to_rfc3339(), "2026-05-01T09:59:58.500+00:00");
        assert_eq!(entry.http_request.as_ref().and_then(|request| request.response_size), Some(7));
        assert_eq!((entry.insert_id.as_str(), entry.labels["user"].as_str()), ("mine", "u1"));
        assert_eq!(entry.labels["instanceId"], "i-1");
        assert!(entry.operation.as_ref().is_some_and(|operation| operation.id == "op" && operation.first));
        assert!(entry.source_location.as_ref().is_some_and(|place| place.line == Some(12)));
        assert_eq!((entry.span_id.as_str(), entry.trace_sampled), ("00f067aa0ba902b7", true));
        assert!(entry.trace.ends_with("06796866738c859f2f19b7cfb3214824"));
    }

    #[test]
    fn s12_a_message_alone_is_text_and_a_wrong_special_field_stays() {
        let entry = written(r#"{"message": "up", "severity": "WARN"}"#);
        assert_eq!((entry.text_payload.as_deref(), entry.json_payload), (Some("up"), None));
        assert_eq!(entry.severity, Severity::Warning);
        let odd = json!({"severity": "loud", "time": "noon", "httpRequest": "x", "message": "m"});
        let entry = written(&odd.to_string());
        assert_eq!(Value::from(entry.json_payload), odd);
        assert_eq!(
            (entry.severity, entry.timestamp.to_rfc3339()),
            (Severity::Default, "2026-05-01T10:00:00+00:00".into())
        );
    }

    #[test]
    fn s12_a_time_is_read_in_each_form_and_only_if_it_can_be() {
        let seconds = NOW.parse::<DateTime<Utc>>().expect("a time").timestamp() - 1;
        for line in [
            json!({"time": "2026-05-01T11:59:59+02:00", "a": 1}),
            json!({"timestamp": {"seconds": seconds, "nanos": 0}, "a": 1}),
            json!({"timestampSeconds": seconds.to_string(), "timestampNanos": "0", "a": 1}),
        ] {
            let entry = written(&line.to_string());
            assert_eq!(entry.timestamp.timestamp(), seconds, "{line}");
            assert_eq!(Value::from(entry.json_payload), json!({"a": 1}));
        }
        for line in [
            json!({"time": "2026-05-01T10:00:01Z"}),
            json!({"time": "2020-01-01T00:00:00Z"}),
            json!({"timestamp": {"seconds": i64::MAX, "nanos": 0}}),
            json!({"timestampSeconds": -1, "timestampNanos": 0}),
        ] {
            assert_eq!(written(&line.to_string()).timestamp.timestamp(), seconds + 1, "{line}");
        }
    }
}
