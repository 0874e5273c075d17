//! Logs of services, as Cloud Logging shows them.

use homerun_api::error::ApiError;
use homerun_api::logging::{ListLogEntriesRequest, ListLogEntriesResponse};
use homerun_model::iam::Resource;
use homerun_model::names::ProjectId;
use homerun_model::violation::Violation;

use super::{access, projects};
use crate::auth::Caller;
use crate::logs::filter::Filter;
use crate::logs::read::{self, Position, Query};
use crate::platform::Platform;

/// Entries of a page where the request does not say, and at most.
const PAGE_SIZE: usize = 50;
const MAX_PAGE_SIZE: usize = 1000;
/// Bytes of logs that are searched for a page; one that is not full by then has what was found.
const SCAN_BYTES: u64 = 128 << 20;
/// Most resources of a request.
const MAX_RESOURCES: usize = 100;

/// A page of log entries. Blocks on files.
///
/// # Errors
/// `PermissionDenied` for a project that the caller may not read, else what is wrong with the request.
pub fn list(
    platform: &Platform,
    caller: &Caller,
    request: &ListLogEntriesRequest,
) -> Result<ListLogEntriesResponse, ApiError> {
    let mut wrong = Vec::new();
    let mut note = |field: &str, message: String| wrong.push(Violation::new(field, message));
    let names = project_names(&request.resource_names).map_err(|message| note("resourceNames", message));
    let filter = Filter::parse(&request.filter).map_err(|error| note("filter", error.to_string()));
    let newest_first = newest_first(&request.order_by).map_err(|message| note("orderBy", message));
    let limit = page_size(request.page_size).map_err(|message| note("pageSize", message));
    let after =
        position(&request.page_token, newest_first.unwrap_or(true)).map_err(|message| note("pageToken", message));
    let (Ok(names), Ok(filter), Ok(newest_first), Ok(limit), Ok(after)) = (names, filter, newest_first, limit, after)
    else {
        return Err(ApiError::InvalidArgument(wrong));
    };
    let projects: Result<_, ApiError> = names.into_iter().map(|name| readable(platform, caller, name)).collect();
    let query = Query { projects: projects?, filter, newest_first, after, limit, scan_bytes: SCAN_BYTES };
    let dir = platform.config.data_dir.join("logs");
    let page = read::page(&dir, &platform.config.logs, &query, platform.clock.now())
        .map_err(|error| ApiError::Internal(format!("the logs in {} cannot be read: {error}", dir.display())))?;
    let next_page_token = page.next.map_or_else(String::new, |next| token(&next, newest_first));
    Ok(ListLogEntriesResponse { entries: page.entries, next_page_token })
}

/// The project of this id or number, if the caller may read its log entries.
fn readable(platform: &Platform, caller: &Caller, id_or_number: &str) -> Result<ProjectId, ApiError> {
    let project = projects::find(platform, id_or_number)?.project.id;
    access::require(platform, caller, "logging.logEntries.list", &Resource::Project(project.clone()))?;
    Ok(project)
}

/// The projects that resources name: `projects/P`, or a view of one of the log buckets that a project has.
fn project_names(resources: &[String]) -> Result<Vec<&str>, String> {
    if resources.is_empty() || resources.len() > MAX_RESOURCES {
        return Err(format!("name 1 to {MAX_RESOURCES} resources, for instance projects/PROJECT"));
    }
    let mut names: Vec<&str> = Vec::new();
    for resource in resources {
        let name = project_name(resource).ok_or_else(|| {
            format!("\"{resource}\" is none; homerun keeps logs of projects, in projects/PROJECT or its view _Default")
        })?;
        if !names.contains(&name) {
            names.push(name);
        }
    }
    Ok(names)
}

fn project_name(resource: &str) -> Option<&str> {
    let rest = resource.strip_prefix("projects/")?;
    let (project, view) = rest.split_once('/').unwrap_or((rest, ""));
    let views =
        ["", "locations/global/buckets/_Default/views/_Default", "locations/global/buckets/_Default/views/_AllLogs"];
    (!project.is_empty() && views.contains(&view)).then_some(project)
}

fn newest_first(order: &str) -> Result<bool, String> {
    match order.split_whitespace().collect::<Vec<_>>()[..] {
        [] | ["timestamp"] | ["timestamp", "asc"] => Ok(false),
        ["timestamp", "desc"] => Ok(true),
        _ => Err(format!("\"{order}\" is no order; there are \"timestamp asc\" and \"timestamp desc\"")),
    }
}

fn page_size(asked: i32) -> Result<usize, String> {
    match usize::try_from(asked) {
        Ok(0) => Ok(PAGE_SIZE),
        Ok(size) => Ok(size.min(MAX_PAGE_SIZE)),
        Err(_) => Err(format!("{asked} is less than 0; a page has 1 to {MAX_PAGE_SIZE} entries, {PAGE_SIZE} for 0")),
    }
}

fn token(position: &Position, newest_first: bool) -> String {
    let order = if newest_first { "desc" } else { "asc" };
    format!("{order}:{}:{}", position.timestamp, position.insert_id)
}

/// The place that a token of [`token`] names, if it is of the same order.
fn position(token: &str, newest_first: bool) -> Result<Option<Position>, String> {
    if token.is_empty() {
        return Ok(None);
    }
    let order = if newest_first { "desc:" } else { "asc:" };
    let read = || {
        let (timestamp, insert_id) = token.strip_prefix(order)?.split_once(':')?;
        Some(Position { timestamp: timestamp.parse().ok()?, insert_id: insert_id.to_owned() })
    };
    read().map(Some).ok_or_else(|| "it is not from the answer to the same request's page before".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s12_a_page_token_leads_to_the_place_that_it_was_made_of() {
        for insert_id in ["", "00ff", "a:b", "\u{10ffff}"] {
            for newest_first in [true, false] {
                let place = Position { timestamp: 7, insert_id: insert_id.to_owned() };
                let token = token(&place, newest_first);
                assert_eq!(position(&token, newest_first), Ok(Some(place)));
                assert!(position(&token, !newest_first).is_err(), "another order");
            }
        }
        for wrong in ["x", "desc:", "desc:x:y", "desc:7"] {
            assert!(position(wrong, true).is_err(), "{wrong}");
        }
    }

    #[test]
    fn s12_projects_are_named_by_themselves_or_by_their_views() {
        let names = |resources: &[&str]| {
            let owned: Vec<String> = resources.iter().map(|name| (*name).to_owned()).collect();
            project_names(&owned).map(|names| names.into_iter().map(str::to_owned).collect::<Vec<_>>())
        };
        let view = "projects/demo/locations/global/buckets/_Default/views/_AllLogs";
        assert_eq!(names(&["projects/demo", view, "projects/7"]), Ok(vec!["demo".to_owned(), "7".to_owned()]));
        for wrong in ["", "projects/", "demo", "folders/1", "projects/demo/locations/global/buckets/x/views/y"] {
            assert!(names(&[wrong]).is_err(), "{wrong}");
        }
        assert!(names(&[]).is_err());
    }
}
