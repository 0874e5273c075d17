//! Lists of the v1 API: which part is asked for, and cutting it out.

use axum::extract::{FromRequestParts, Query};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use homerun_api::error::ApiError;
use homerun_api::run_v1::{ListMeta, ObjectMeta};
use homerun_model::violation::Violation;
use http::request::Parts;
use serde::Deserialize;

use super::Api;
use super::error::Failure;
use crate::app::selector::{self, Selector};

/// Items that are looked at together while a selector is applied.
const BATCH: usize = 500;

/// What of a list is asked for. `watch`, `resourceVersion` and `includeUninitialized` have no effect, as
/// their definition says.
pub(super) struct ListQuery {
    selector: Selector,
    /// Most items of a page; all of them where absent.
    limit: Option<usize>,
    /// Key of the last item of the page before.
    after: Option<String>,
    /// The service that a selector names, so that only its revisions need be read.
    pub(super) service: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    label_selector: Option<String>,
    field_selector: Option<String>,
    limit: Option<String>,
    #[serde(rename = "continue")]
    token: Option<String>,
}

impl FromRequestParts<Api> for ListQuery {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Failure> {
        let Query(raw) = Query::<Raw>::from_request_parts(parts, api)
            .await
            .map_err(|error| Failure(ApiError::FailedPrecondition(error.body_text())))?;
        let wrong =
            |field: &str, message: String| Failure(ApiError::InvalidArgument(vec![Violation::new(field, message)]));
        if let Some(text) = raw.field_selector.filter(|text| !text.is_empty()) {
            return Err(wrong(
                "fieldSelector",
                format!("'{text}' is not supported; select by labels with labelSelector."),
            ));
        }
        let limit = raw.limit.filter(|text| !text.is_empty()).map(|text| {
            let number = text.parse::<usize>().ok().filter(|number| i32::try_from(*number).is_ok());
            number.ok_or_else(|| wrong("limit", format!("'{text}' is no number of items; it must be 0 (all) or more.")))
        });
        let after = raw.token.filter(|text| !text.is_empty()).map(|text| {
            let bytes = URL_SAFE_NO_PAD.decode(&text).ok();
            let key = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
            key.ok_or_else(|| wrong("continue", format!("'{text}' is not the token of an earlier page.")))
        });
        let selector = selector::parse(raw.label_selector.as_deref().unwrap_or_default())?;
        Ok(Self {
            service: selector.exactly("serving.knative.dev/service").map(str::to_owned),
            selector,
            limit: limit.transpose()?.filter(|limit| *limit > 0),
            after: after.transpose()?,
        })
    }
}

impl ListQuery {
    /// Cuts the page out of what `fetch` gives: up to so many items after a key, in the order of their
    /// keys, each with its key.
    ///
    /// # Errors
    /// Those of `fetch`.
    pub(super) fn page<T, W>(
        &self,
        fetch: impl Fn(Option<&str>, usize) -> Result<Vec<(String, T)>, ApiError>,
        render: impl Fn(&T) -> W,
        metadata: impl Fn(&W) -> Option<&ObjectMeta>,
    ) -> Result<(Vec<W>, ListMeta), ApiError> {
        let mut items: Vec<W> = Vec::new();
        let mut after = self.after.clone();
        loop {
            let batch = self.limit.map_or(BATCH, |limit| (limit + 1).min(BATCH));
            let fetched = fetch(after.as_deref(), batch)?;
            let last = fetched.len() < batch;
            for (key, item) in fetched {
                let shown = render(&item);
                let labels = metadata(&shown).map(|metadata| &metadata.labels);
                if self.selector.matches(|name| labels.and_then(|labels| labels.get(name)).map(String::as_str)) {
                    if self.limit.is_some_and(|limit| items.len() == limit) {
                        let token = URL_SAFE_NO_PAD.encode(after.unwrap_or_default());
                        return Ok((items, ListMeta { r#continue: Some(token), ..ListMeta::default() }));
                    }
                    items.push(shown);
                }
                after = Some(key);
            }
            if last {
                return Ok((items, ListMeta::default()));
            }
        }
    }
}
