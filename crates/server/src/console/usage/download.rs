//! Usage as files: CSV, and CSV with FOCUS columns.

use axum::extract::Query;
use axum::response::{IntoResponse, Response};
use homerun_api::error::ApiError;
use homerun_cli::CliError;
use homerun_model::billing::report::{self, Dimension};
use homerun_model::iam::Resource;
use homerun_model::names::{Region, ServiceName};
use http::header;
use maud::{Markup, html};
use serde::Deserialize;

use super::super::failure::Failure;
use super::super::visit::Visit;
use super::period::Asked;
use crate::app::usage::{self, READ, Scope};
use crate::app::{access, usage_wire};

/// Whose usage.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in super::super) struct Of {
    service: Option<String>,
    region: Option<String>,
}

impl Of {
    fn scope(self, visit: &Visit) -> Result<Scope, Failure> {
        access::require(visit.platform(), visit.caller(), READ, &Resource::Project(visit.project.id.clone()))?;
        Ok(Scope {
            project: Some(visit.project.id.clone()),
            service: self.service.as_deref().map(ServiceName::from),
            region: self.region.as_deref().map(Region::from),
        })
    }
}

/// Links to the files with what is on the page.
pub(super) fn links(visit: &Visit, asked: &Asked, scope: &Scope) -> Markup {
    let mut query = form_urlencoded::Serializer::new(asked.query());
    for (name, value) in [
        ("service", scope.service.as_ref().map(ToString::to_string)),
        ("region", scope.region.as_ref().map(ToString::to_string)),
    ] {
        if let Some(value) = value {
            query.append_pair(name, &value);
        }
    }
    let query = query.finish();
    html! {
        p .actions {
            a .button href={ (visit.path("usage.csv")) "?" (query) } download { (visit.lang.t("usage-csv")) }
            a .button href={ (visit.path("usage-focus.csv")) "?" (query) } download { (visit.lang.t("usage-focus")) }
        }
    }
}

pub(in super::super) async fn csv(
    visit: Visit,
    Query(asked): Query<Asked>,
    Query(of): Query<Of>,
) -> Result<Response, Failure> {
    let (platform, scope) = (visit.platform(), of.scope(&visit)?);
    let (from, to) = asked.time(visit.lang, platform.clock.now())?;
    let by = vec![Dimension::Region, Dimension::Service, Dimension::Sku];
    let usage = usage::usage(platform, &scope, report::Query { from, to, by })?;
    file(&visit, "usage", homerun_cli::report_csv(&usage_wire::report(platform, usage)))
}

pub(in super::super) async fn focus(
    visit: Visit,
    Query(asked): Query<Asked>,
    Query(of): Query<Of>,
) -> Result<Response, Failure> {
    let (platform, scope) = (visit.platform(), of.scope(&visit)?);
    let now = platform.clock.now();
    let (from, to) = asked.time(visit.lang, now)?;
    // Rows are a day long, and today's is not over.
    let to = (to < now).then_some(to);
    file(&visit, "focus", homerun_cli::focus_csv(usage_wire::export(platform, &scope, (Some(from), to), false)?))
}

fn file(visit: &Visit, name: &str, content: Result<Vec<u8>, CliError>) -> Result<Response, Failure> {
    let failed = |error: CliError| visit.lang.with("usage-file-failed", [("error", error.to_string())]);
    let content = content.map_err(|error| ApiError::Internal(failed(error)))?;
    let disposition = format!("attachment; filename=\"{name}.csv\"");
    let headers =
        [(header::CONTENT_TYPE, "text/csv; charset=utf-8".to_owned()), (header::CONTENT_DISPOSITION, disposition)];
    Ok((headers, content).into_response())
}
