//! Cloud Logging v2: log entries, and the one call that reads them.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

/// `POST /v2/entries:list`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ListLogEntriesRequest {
    /// Whose entries: `projects/P`, or a log view of a project.
    #[serde(deserialize_with = "null_is_default")]
    pub resource_names: Vec<String>,
    /// Which entries, in the Logging query language; all where empty.
    #[serde(deserialize_with = "null_is_default")]
    pub filter: String,
    /// `timestamp asc` (also where empty) or `timestamp desc`.
    #[serde(deserialize_with = "null_is_default")]
    pub order_by: String,
    /// Most entries of an answer; 50 where 0, and never more than 1000.
    #[serde(deserialize_with = "null_is_default")]
    pub page_size: i32,
    /// `nextPageToken` of the answer before; empty for the first page.
    #[serde(deserialize_with = "null_is_default")]
    pub page_token: String,
}

fn null_is_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// The answer to [`ListLogEntriesRequest`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ListLogEntriesResponse {
    /// The entries. May be empty although there is another page: the search has not come to an end yet.
    pub entries: Vec<LogEntry>,
    /// Asks for the next page; empty where there is none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub next_page_token: String,
}

/// One entry of a log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LogEntry {
    /// `projects/P/logs/LOG_ID`, the id with `%2F` for `/`.
    pub log_name: String,
    /// What wrote it.
    pub resource: MonitoredResource,
    /// When it happened.
    pub timestamp: DateTime<Utc>,
    /// When it was taken into the log.
    pub receive_timestamp: DateTime<Utc>,
    /// How bad it is.
    #[serde(default, skip_serializing_if = "Severity::is_default")]
    pub severity: Severity,
    /// Tells it from every other entry of the same moment, and orders them.
    pub insert_id: String,
    /// More about who wrote it, for instance `instanceId`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The request that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_request: Option<HttpRequest>,
    /// The longer work that it is part of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<LogEntryOperation>,
    /// `projects/P/traces/TRACE_ID`, as a rule.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub trace: String,
    /// The span in the trace: 16 hexadecimal digits.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub span_id: String,
    /// Whether the trace was asked to be kept.
    #[serde(default, skip_serializing_if = "is_false")]
    pub trace_sampled: bool,
    /// Where in the source it was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_location: Option<LogEntrySourceLocation>,
    /// What was written, where it was plain text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text_payload: Option<String>,
    /// What was written, where it was a JSON object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub json_payload: Option<Map<String, Value>>,
}

/// What wrote an entry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MonitoredResource {
    /// `cloud_run_revision`.
    pub r#type: String,
    /// `project_id`, `location`, `service_name`, `revision_name` and `configuration_name`.
    pub labels: BTreeMap<String, String>,
}

/// The request that an entry is about.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpRequest {
    /// For instance `GET`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub request_method: String,
    /// The whole URL.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub request_url: String,
    /// Bytes of the request's body; a quoted number, as all 64-bit numbers in Google's JSON.
    #[serde(skip_serializing_if = "Option::is_none", with = "quoted")]
    pub request_size: Option<i64>,
    /// The response's status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<i32>,
    /// Bytes of the response's body.
    #[serde(skip_serializing_if = "Option::is_none", with = "quoted")]
    pub response_size: Option<i64>,
    /// The client's program.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user_agent: String,
    /// The client's address.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub remote_ip: String,
    /// The address of what answered.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub server_ip: String,
    /// The page that the client came from.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub referer: String,
    /// From the request's arrival to the response's end, in seconds with an `s` behind: `0.123s`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub latency: String,
    /// For instance `HTTP/1.1`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub protocol: String,
}

/// The longer work that an entry is part of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogEntryOperation {
    /// Which piece of work.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// Who does it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub producer: String,
    /// Whether this is its first entry.
    #[serde(skip_serializing_if = "is_false")]
    pub first: bool,
    /// Whether this is its last entry.
    #[serde(skip_serializing_if = "is_false")]
    pub last: bool,
}

/// Where in the source an entry was written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogEntrySourceLocation {
    /// The file.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub file: String,
    /// The line, from 1.
    #[serde(skip_serializing_if = "Option::is_none", with = "quoted")]
    pub line: Option<i64>,
    /// The function.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub function: String,
}

fn is_false(value: &bool) -> bool {
    !*value
}

/// 64-bit numbers: written in quotes, read with and without.
mod quoted {
    use super::*;

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Number(i64),
        Text(String),
    }

    pub(super) fn serialize<S: Serializer>(value: &Option<i64>, serializer: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(number) => serializer.collect_str(number),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
        match Option::deserialize(deserializer)? {
            None => Ok(None),
            Some(Either::Number(number)) => Ok(Some(number)),
            Some(Either::Text(text)) => text.parse().map(Some).map_err(serde::de::Error::custom),
        }
    }
}

/// How bad what an entry tells is. The order is that of the numbers that Cloud Logging gives them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Nobody said; 0.
    #[default]
    Default,
    /// For who looks for a fault; 100.
    Debug,
    /// Routine; 200.
    Info,
    /// Normal but worth seeing; 300.
    Notice,
    /// May become a problem; 400.
    Warning,
    /// Likely a problem; 500.
    Error,
    /// A severe problem or an outage; 600.
    Critical,
    /// Somebody must act at once; 700.
    Alert,
    /// The system is unusable; 800.
    Emergency,
}

/// A text that is no severity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{0}\" is no severity; there are DEFAULT, DEBUG, INFO, NOTICE, WARNING, ERROR, CRITICAL, ALERT and EMERGENCY"
)]
pub struct NoSeverity(pub String);

impl Severity {
    /// Every severity with its name and number, from the least.
    pub const ALL: [(Self, &str, i32); 9] = [
        (Self::Default, "DEFAULT", 0),
        (Self::Debug, "DEBUG", 100),
        (Self::Info, "INFO", 200),
        (Self::Notice, "NOTICE", 300),
        (Self::Warning, "WARNING", 400),
        (Self::Error, "ERROR", 500),
        (Self::Critical, "CRITICAL", 600),
        (Self::Alert, "ALERT", 700),
        (Self::Emergency, "EMERGENCY", 800),
    ];

    /// Its name, for instance `WARNING`.
    pub fn as_str(self) -> &'static str {
        Self::ALL[self as usize].1
    }

    fn is_default(&self) -> bool {
        *self == Self::Default
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Severity {
    type Err = NoSeverity;

    /// Reads a name in any case, or a number.
    fn from_str(text: &str) -> Result<Self, NoSeverity> {
        let number = text.parse::<i32>().ok();
        let found = Self::ALL.iter().find(|(_, name, code)| name.eq_ignore_ascii_case(text) || number == Some(*code));
        found.map(|(severity, ..)| *severity).ok_or_else(|| NoSeverity(text.to_owned()))
    }
}

impl Serialize for Severity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Severity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn s12_an_entry_reads_back_as_it_was_written_and_leaves_out_what_is_unset() {
        let wire = json!({
            "logName": "projects/demo/logs/run.googleapis.com%2Frequests",
            "resource": {"type": "cloud_run_revision", "labels": {"service_name": "hello"}},
            "timestamp": "2026-05-01T10:00:00.000000001Z", "receiveTimestamp": "2026-05-01T10:00:01Z",
            "severity": "WARNING", "insertId": "1",
            "httpRequest": {"requestMethod": "GET", "status": 404, "responseSize": "12", "latency": "0.123s"},
        });
        let entry: LogEntry = serde_json::from_value(wire.clone()).expect("an entry");
        assert_eq!(entry.http_request.as_ref().and_then(|request| request.response_size), Some(12));
        assert_eq!(serde_json::to_value(&entry).expect("JSON"), wire);
    }

    #[test]
    fn s12_severities_are_ordered_and_read_by_name_or_number() {
        for pair in Severity::ALL.windows(2) {
            assert!(pair[0].0 < pair[1].0);
        }
        for (severity, name, number) in Severity::ALL {
            assert_eq!(severity.as_str(), name);
            assert_eq!(name.to_lowercase().parse(), Ok(severity));
            assert_eq!(number.to_string().parse(), Ok(severity));
        }
        assert_eq!("loud".parse::<Severity>(), Err(NoSeverity("loud".to_owned())));
    }
}
