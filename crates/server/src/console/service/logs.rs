//! The newest log entries of a service.

use homerun_api::error::ApiError;
use homerun_api::logging::{ListLogEntriesRequest, LogEntry, Severity};
use homerun_model::service::Service;
use maud::{Markup, html};

use super::super::failure::Failure;
use super::super::visit::Visit;
use super::super::words;
use super::Asked;
use crate::app;

/// Entries that are shown.
const ENTRIES: i32 = 200;

/// Severities that can be chosen, and the texts for them.
const SEVERITIES: [(&str, &str); 4] =
    [("", "severity-all"), ("INFO", "severity-info"), ("WARNING", "severity-warning"), ("ERROR", "severity-error")];

pub(super) async fn show(visit: &Visit, service: &Service, asked: &Asked) -> Result<Markup, Failure> {
    let lang = visit.lang;
    let wanted = |name: &str| asked.get(name).map(String::as_str).unwrap_or_default().trim();
    let (severity, text) = (wanted("severity"), wanted("text"));
    let entries = read(visit, filter(service, severity, text)).await?;
    Ok(html! {
        form .filter role="search" method="get" {
            div .field {
                label for="severity" { (lang.t("severity")) }
                select #severity name="severity" data-submit {
                    @for (value, name) in SEVERITIES {
                        option value=(value) selected[value == severity] { (lang.t(name)) }
                    }
                }
            }
            div .field {
                label for="text" { (lang.t("log-text")) }
                input #text type="search" name="text" value=(text) autocomplete="off" spellcheck="false";
            }
            button type="submit" { (lang.t("search")) }
        }
        @if entries.is_empty() { p .empty { (lang.t("logs-empty")) } }
        @else {
            p .count { (lang.with("logs-newest", [("count", entries.len())])) }
            ol .log reversed aria-label=(lang.t("tab-logs")) { @for entry in &entries { (line(entry)) } }
        }
    })
}

async fn read(visit: &Visit, filter: String) -> Result<Vec<LogEntry>, Failure> {
    let request = ListLogEntriesRequest {
        resource_names: vec![format!("projects/{}", visit.project.id)],
        filter,
        order_by: "timestamp desc".to_owned(),
        page_size: ENTRIES,
        page_token: String::new(),
    };
    let (platform, caller) = (visit.console.platform.clone(), visit.caller().clone());
    let read = tokio::task::spawn_blocking(move || app::logs::list(&platform, &caller, &request)).await;
    Ok(read.map_err(|error| ApiError::Internal(format!("the logs cannot be read: {error}")))??.entries)
}

/// What the visitor wants to see, in the Logging query language.
fn filter(service: &Service, severity: &str, text: &str) -> String {
    let key = &service.key;
    let mut filter = format!(
        "resource.type=\"cloud_run_revision\" resource.labels.service_name=\"{}\" resource.labels.location=\"{}\"",
        key.name, key.region
    );
    if SEVERITIES.iter().any(|(known, _)| !known.is_empty() && *known == severity) {
        filter.push_str(&format!(" severity>={severity}"));
    }
    if !text.is_empty() {
        let quoted = text.replace('\\', "\\\\").replace('"', "\\\"");
        filter.push_str(&format!(
            " (textPayload:\"{quoted}\" OR jsonPayload:\"{quoted}\" OR httpRequest.requestUrl:\"{quoted}\")"
        ));
    }
    filter
}

fn line(entry: &LogEntry) -> Markup {
    let class = match entry.severity {
        Severity::Error | Severity::Critical | Severity::Alert | Severity::Emergency => "bad",
        Severity::Warning => "busy",
        _ => "idle",
    };
    html! {
        li #{ "l-" (entry.insert_id) } .(class) {
            (words::time(entry.timestamp)) " "
            span .severity { (entry.severity.to_string()) } " "
            @if let Some(request) = &entry.http_request {
                code {
                    (request.request_method) " " (request.status.unwrap_or_default()) " " (request.latency) " "
                    (request.request_url)
                }
                " "
            }
            @if let Some(text) = &entry.text_payload { code { (text) } }
            @if let Some(json) = &entry.json_payload { code { (serde_json::Value::Object(json.clone())) } }
        }
    }
}
