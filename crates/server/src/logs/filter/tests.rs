//! Filters, as a table and as laws.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use homerun_api::logging::{HttpRequest, LogEntry, MonitoredResource, Severity};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Filter, Known};

fn time(text: &str) -> DateTime<Utc> {
    text.parse().expect("a time")
}

/// A request's entry, with something in nearly every field.
fn request() -> LogEntry {
    let labels = [("project_id", "demo"), ("location", "us-central1"), ("service_name", "hello")];
    LogEntry {
        log_name: "projects/demo/logs/run.googleapis.com%2Frequests".to_owned(),
        resource: MonitoredResource {
            r#type: "cloud_run_revision".to_owned(),
            labels: labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        },
        timestamp: time("2026-05-01T10:00:00.5Z"),
        receive_timestamp: time("2026-05-01T10:00:01Z"),
        severity: Severity::Warning,
        insert_id: "abc123".to_owned(),
        labels: BTreeMap::from([("run.googleapis.com/x".to_owned(), "Blue".to_owned())]),
        http_request: Some(HttpRequest {
            request_method: "GET".to_owned(),
            request_url: "http://hello/find?q=1".to_owned(),
            status: Some(404),
            response_size: Some(1000),
            latency: "0.123s".to_owned(),
            ..HttpRequest::default()
        }),
        operation: None,
        trace: "projects/demo/traces/7".to_owned(),
        span_id: String::new(),
        trace_sampled: true,
        source_location: None,
        text_payload: Some("Not found: C:\\dir \"quoted\" Ünïcode".to_owned()),
        json_payload: None,
    }
}

fn json_line(payload: Value) -> LogEntry {
    let Value::Object(json) = payload else { panic!("an object") };
    LogEntry { http_request: None, text_payload: None, json_payload: Some(json), ..request() }
}

fn check(entry: &LogEntry, table: &[(&str, bool)]) {
    for (filter, expected) in table {
        let parsed = Filter::parse(filter).unwrap_or_else(|error| panic!("{filter}: {error}"));
        assert_eq!(parsed.matches(entry), *expected, "{filter}");
    }
}

#[test]
fn s12_comparisons_of_every_type() {
    check(
        &request(),
        &[
            ("", true),
            ("  -- only a comment\n", true),
            ("severity>=DEFAULT", true),
            ("severity >= warning", true),
            ("severity > WARNING", false),
            ("severity = 400", true),
            ("severity < ERROR AND severity != INFO", true),
            ("resource.type = cloud_run_revision \n", true),
            ("resource.type = (\"gce_instance\" OR \"CLOUD_RUN_REVISION\")", true),
            ("resource.labels.service_name = hello", true),
            ("resource.labels.service_name != hello", false),
            ("resource.labels.nothing != hello", false),
            ("NOT resource.labels.nothing = hello", true),
            ("timestamp>=\"2026-05-01T10:00:00.500000Z\"", true),
            ("timestamp>\"2026-05-01T12:00:00.5+02:00\"", false),
            ("timestamp<\"2026-05-02\" timestamp>=\"2026-05-01\"", true),
            ("timestamp=\"2026-05-01T10:00:00.5\"", true),
            ("receiveTimestamp > \"2026-05-01T10:00:00.9Z\"", true),
            ("httpRequest.status >= 400 AND httpRequest.status < 500", true),
            ("httpRequest.status = 200 OR http_request.status = 404", true),
            ("httpRequest.latency > \"0.1s\"", true),
            ("httpRequest.latency > 200ms", false),
            ("httpRequest.responseSize:1000", true),
            ("httpRequest.requestUrl:FIND", true),
            ("httpRequest.requestUrl = \"http://hello/find?q=1\"", true),
            ("httpRequest.userAgent = \"\"", true),
            ("httpRequest.userAgent:*", false),
            ("httpRequest:*", true),
            ("httpRequest:find", true),
            ("operation:*", false),
            ("traceSampled = true", true),
            ("insertId > \"abc122\" AND insertId < abc124", true),
            ("labels.\"run.googleapis.com/x\" = blue", true),
            ("labels.run.googleapis.com/x = blue", true),
            ("labels.color:*", false),
            ("logName=projects/demo/logs/run.googleapis.com%2Frequests", true),
            ("logName:(\"stdout\" OR \"requests\")", true),
            ("log_id(\"run.googleapis.com/requests\")", true),
            ("log_id(\"run.googleapis.com/stdout\")", false),
            ("protoPayload.methodName:x", false),
        ],
    );
}

#[test]
fn s12_texts_and_regular_expressions() {
    check(
        &request(),
        &[
            ("textPayload:\"not FOUND\"", true),
            ("textPayload:\"\\\"quoted\\\"\"", true),
            ("textPayload:'c:\\\\DIR'", true),
            ("textPayload:ünïcode", true),
            ("\"not found\"", true),
            ("found AND 404", true),
            ("us-central1", true),
            ("nowhere", false),
            ("-nowhere", true),
            ("-logName=~\"requests$\"", false),
            ("textPayload =~ \"^Not\"", true),
            ("textPayload =~ \"^not\"", false),
            ("textPayload =~ \"(?i)^not\\s+\\w+\"", true),
            ("textPayload !~ \"\\\"quoted\\\"\"", false),
            ("logName =~ \"run\\.googleapis\\.com%2F(stdout|requests)$\"", true),
        ],
    );
    check(&json_line(json!({"message": "x"})), &[("textPayload !~ \"x\"", true), ("textPayload:*", false)]);
}

#[test]
fn s12_values_of_a_json_payload() {
    let entry = json_line(json!({
        "message": "Loaded", "gpu": {"name": "L4", "memory": 24}, "ok": true, "none": null,
        "tags": ["Warm", "cold"], "parts": [{"id": 1}, {"id": 2}], "a.b": "dotted", "number": "7",
    }));
    check(
        &entry,
        &[
            ("jsonPayload.message = loaded", true),
            ("jsonPayload:loaded", true),
            ("jsonPayload.gpu.name:l", true),
            ("jsonPayload.gpu.memory > 16", true),
            ("jsonPayload.gpu.memory = 24.0", true),
            ("jsonPayload.gpu.memory > plenty", false),
            ("jsonPayload.gpu.memory != plenty", true),
            ("jsonPayload.gpu.memory =~ \"^2\"", true),
            ("jsonPayload.gpu:*", true),
            ("jsonPayload.gpu:l4", true),
            ("jsonPayload.gpu = l4", false),
            ("jsonPayload.ok = true", true),
            ("jsonPayload.ok = false", false),
            ("jsonPayload.none = NULL_VALUE", true),
            ("jsonPayload.tags = warm", true),
            ("jsonPayload.tags = (warm AND cold)", true),
            ("jsonPayload.tags = (warm AND hot)", false),
            ("jsonPayload.parts.id = 2", true),
            ("jsonPayload.parts.id = 3", false),
            ("jsonPayload.\"a.b\" = dotted", true),
            ("jsonPayload.a.b = dotted", false),
            ("jsonPayload.number = 7", true),
            ("jsonPayload.absent = x", false),
            ("jsonPayload.absent != x", false),
            ("NOT jsonPayload.absent:*", true),
            ("warm", true),
            ("24", true),
        ],
    );
}

#[test]
fn s12_or_binds_closer_than_and() {
    check(
        &request(),
        &[
            // (found OR nowhere) AND nowhere
            ("found OR nowhere AND nowhere", false),
            ("found OR (nowhere AND nowhere)", true),
            ("nowhere AND found OR found", false),
            ("nowhere found OR found", false),
            ("NOT nowhere OR found AND NOT nowhere", true),
            ("NOT (found nowhere)", true),
            ("NOT NOT found", true),
            ("found\n  404 -- a comment (with a parenthesis\n severity=WARNING", true),
        ],
    );
}

#[test]
fn s12_the_filters_that_gcloud_makes() {
    let filter = "textPayload:found AND resource.type = cloud_run_revision \n AND resource.labels.service_name = hello \n \
                  AND resource.labels.location = us-central1 \n AND severity >= DEFAULT \n AND \
                  timestamp>=\"2026-04-30T10:00:00.000000Z\"";
    check(&request(), &[(filter, true)]);
    let tail = "resource.type=cloud_run_revision resource.labels.service_name=hello resource.labels.location=us-central1 \
                severity>=DEFAULT";
    check(&request(), &[(tail, true)]);
    let stream =
        "((timestamp=\"2026-05-01T10:00:00.5Z\" AND insertId>\"abc122\") OR timestamp>\"2026-05-01T10:00:00.5Z\")";
    check(&request(), &[(stream, true)]);
}

#[test]
fn s12_a_wrong_filter_is_told_where_and_why() {
    for (filter, error) in [
        ("severity>=LOUD", "at character 11: \"LOUD\" is no severity; there are DEFAULT, DEBUG, "),
        ("a AND", "at character 6: the filter ends where a comparison such as severity>=ERROR should be"),
        ("(severity=INFO", "at character 15: the filter ends where a closing parenthesis should be"),
        ("severity=INFO)", "at character 14: there is ) where a comparison such as severity>=ERROR should be"),
        ("severity=", "at character 10: the filter ends where a value should be"),
        ("thud=1", "at character 1: there is no field \"thud\"; there are logName, resource.type, "),
        ("a AND resource.thud=1", "at character 7: there is no field \"resource.thud\""),
        ("timestamp>=\"noon\"", "at character 12: \"noon\" is no time; "),
        ("timestamp>=2026-05-01T10:00:00Z", "at character 25: an operator follows a value; "),
        ("textPayload:\"open", "at character 13: this quotation mark has no second one"),
        ("textPayload=~\"(\"", "at character 14: the regular expression is wrong: "),
        ("textPayload=~x", "at character 14: a regular expression stands in quotes"),
        ("severity=~\"E\"", "at character 11: regular expressions are for fields that hold text"),
        ("httpRequest.status>=\"4xx\"", "at character 21: \"4xx\" is no whole number of 64 bits"),
        ("httpRequest=x", "at character 13: a field that consists of others has no value of its own"),
        ("httpRequest.latency>long", "at character 21: \"long\" is no duration; "),
        ("traceSampled=maybe", "at character 14: \"maybe\" is neither true nor false"),
        ("sample(insertId, 0.1)", "at character 1: there is no function sample; homerun has log_id"),
        ("\"textPayload\":x", "at character 1: a field's name begins without quotes"),
        ("jsonPayload..x=1", "at character 1: a field's name has a dot too many"),
        ("a{b", "at character 2: `{` may stand in quotes only"),
    ] {
        let found = Filter::parse(filter).map(|_| ()).expect_err(filter).to_string();
        assert!(found.starts_with(error), "{filter}: {found}");
    }
    let deep = format!("{}a{}", "(".repeat(5000), ")".repeat(5000));
    assert!(Filter::parse(&deep).is_err_and(|error| error.message.contains("nested deeper than 64")));
    let long = "a ".repeat(10_001);
    assert!(Filter::parse(&long).is_err_and(|error| error.message.contains("a filter may have 20000")));
}

/// An expression over four facts, to be compared with plain logic.
#[derive(Debug, Clone)]
enum Logic {
    Fact(usize),
    Not(Box<Logic>),
    And(Box<Logic>, Box<Logic>),
    Or(Box<Logic>, Box<Logic>),
}

const FACTS: [&str; 4] = ["severity>=WARNING", "textPayload:one", "-resource.labels.service_name=hello", "two"];

impl Logic {
    fn of(&self, facts: [bool; 4]) -> bool {
        match self {
            Self::Fact(index) => facts[*index],
            Self::Not(inner) => !inner.of(facts),
            Self::And(left, right) => left.of(facts) && right.of(facts),
            Self::Or(left, right) => left.of(facts) || right.of(facts),
        }
    }

    /// As a filter, with only those parentheses that it needs. OR binds closest.
    fn text(&self, implicit: bool) -> String {
        let inner = |part: &Self| match part {
            Self::And(..) => format!("({})", part.text(implicit)),
            _ => part.text(implicit),
        };
        match self {
            Self::Fact(index) => FACTS[*index].to_owned(),
            Self::Not(part) => match **part {
                Self::Fact(_) | Self::Not(_) => format!("NOT {}", part.text(implicit)),
                _ => format!("NOT ({})", part.text(implicit)),
            },
            Self::And(left, right) if implicit => format!("{}\n{}", left.text(implicit), right.text(implicit)),
            Self::And(left, right) => format!("{} AND {}", left.text(implicit), right.text(implicit)),
            Self::Or(left, right) => format!("{} OR {}", inner(left), inner(right)),
        }
    }
}

fn logic() -> impl Strategy<Value = Logic> {
    let leaf = (0..FACTS.len()).prop_map(Logic::Fact);
    leaf.prop_recursive(5, 24, 2, |inner| {
        prop_oneof![
            inner.clone().prop_map(|part| Logic::Not(Box::new(part))),
            (inner.clone(), inner.clone()).prop_map(|(left, right)| Logic::And(Box::new(left), Box::new(right))),
            (inner.clone(), inner).prop_map(|(left, right)| Logic::Or(Box::new(left), Box::new(right))),
        ]
    })
}

/// Filters whose answer can often be told from a file's name alone.
fn about_files() -> impl Strategy<Value = String> {
    let op = prop::sample::select(vec!["=", "!=", "<", "<=", ">", ">=", ":"]);
    let field = prop::sample::select(vec!["timestamp", "receiveTimestamp"]);
    let times =
        (field, op, 0..20i64).prop_map(|(field, op, second)| format!("{field}{op}\"{}\"", at(second).to_rfc3339()));
    let labels = prop::sample::select(vec![
        "resource.type=cloud_run_revision",
        "resource.type:gce",
        "resource.labels.service_name=(hello OR world)",
        "resource.labels.service_name!=hello",
        "resource.labels.revision_name:*",
        "protoPayload:*",
        "text",
    ]);
    let leaf = prop_oneof![times, labels.prop_map(str::to_owned)];
    leaf.prop_recursive(4, 12, 2, |inner| {
        prop_oneof![
            inner.clone().prop_map(|part| format!("NOT ({part})")),
            (inner.clone(), inner.clone()).prop_map(|(left, right)| format!("({left}) AND ({right})")),
            (inner.clone(), inner).prop_map(|(left, right)| format!("({left}) OR ({right})")),
        ]
    })
}

fn at(second: i64) -> DateTime<Utc> {
    time("2026-05-01T10:00:00Z") + TimeDelta::seconds(second)
}

proptest! {
    #[test]
    fn s12_and_or_not_are_logic(
        logic in logic(), facts in prop::array::uniform4(any::<bool>()), implicit in any::<bool>(),
    ) {
        let mut entry = request();
        entry.severity = if facts[0] { Severity::Error } else { Severity::Info };
        entry.text_payload = Some(if facts[1] { "one".to_owned() } else { String::new() });
        let name = if facts[2] { "other" } else { "hello" };
        entry.resource.labels.insert("service_name".to_owned(), name.to_owned());
        entry.trace = if facts[3] { "two".to_owned() } else { String::new() };
        let text = logic.text(implicit);
        let filter = Filter::parse(&text).map_err(|error| TestCaseError::fail(format!("{text}: {error}")))?;
        prop_assert_eq!(filter.matches(&entry), logic.of(facts), "{}", text);
    }

    #[test]
    fn s12_any_text_is_a_filter_or_wrong_at_one_of_its_characters(text in "[a-zA-Z0-9\\\\ \"'().:=<>!~,*é\n-]{0,60}") {
        if let Err(error) = Filter::parse(&text) {
            prop_assert!((1..=text.chars().count() + 1).contains(&error.position), "{}", error);
        }
    }

    #[test]
    fn s12_a_text_is_found_whatever_is_in_it(text in "\\PC{0,20}") {
        let entry = LogEntry { text_payload: Some(text.clone()), ..request() };
        let quoted = text.replace('\\', "\\\\").replace('"', "\\\"");
        for op in ["=", ":"] {
            let filter = format!("textPayload{op}\"{quoted}\"");
            prop_assert!(Filter::parse(&filter).is_ok_and(|filter| filter.matches(&entry)), "{}", filter);
        }
    }

    #[test]
    fn s12_no_file_with_a_match_is_passed_over(
        text in about_files(), first in 0..20i64, length in 0..5i64, inside in 0..5i64, open in any::<[bool; 2]>(),
    ) {
        let mut entry = request();
        entry.timestamp = at(first + inside.min(length));
        entry.receive_timestamp = entry.timestamp;
        let range = ((!open[0]).then(|| at(first)), (!open[1]).then(|| at(first + length)));
        let resource = entry.clone();
        entry.resource.labels.insert("revision_name".to_owned(), "hello-1".to_owned());
        let known = Known { resource: &resource, timestamp: range, receive_timestamp: range };
        let filter = Filter::parse(&text).map_err(|error| TestCaseError::fail(format!("{text}: {error}")))?;
        prop_assert!(filter.may_match(&known) || !filter.matches(&entry), "{}", text);
    }
}

#[test]
fn s12_files_without_a_match_are_passed_over() {
    let entry = request();
    let known = Known { resource: &entry, timestamp: (Some(at(0)), Some(at(9))), receive_timestamp: (None, None) };
    for (filter, expected) in [
        ("timestamp>=\"2026-05-01T10:00:10Z\" AND found", false),
        ("timestamp<\"2026-05-01T10:00:00Z\"", false),
        ("timestamp>=\"2026-05-01T10:00:09Z\"", true),
        ("resource.labels.service_name=other OR resource.type=gce_instance", false),
        ("resource.labels.service_name=other OR found", true),
        ("NOT resource.labels.location=us-central1", false),
    ] {
        assert_eq!(Filter::parse(filter).expect(filter).may_match(&known), expected, "{filter}");
    }
}
