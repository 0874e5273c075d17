//! What a service has used and what it costs.

use axum::extract::{Path, Query};
use axum::response::Response;

use super::super::failure::Failure;
use super::super::usage::{self, Period};
use super::super::visit::Visit;
use super::super::words;
use super::{At, find, show};
use crate::app::usage::Scope;

const TAB: &str = "usage";

pub(in super::super) async fn page(
    visit: Visit,
    Path(at): Path<At>,
    Query(asked): Query<Period>,
) -> Result<Response, Failure> {
    let service = find(&visit, &at)?.value;
    let key = &service.key;
    let scope =
        Scope { project: Some(key.project.clone()), service: Some(key.name.clone()), region: Some(key.region.clone()) };
    let (shown, wrong) = usage::show(&visit, &asked, &scope, &words::path(key, TAB))?;
    Ok(wrong.answer(show(&visit, &service, TAB, false, &shown)))
}
