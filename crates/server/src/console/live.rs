//! Keeps open pages up to date, by server-sent events.
//!
//! Whoever asks for a page as an event stream gets its content again whenever it has changed. The page is made by the
//! same handler, with the same checks, each time: who may not see it any more, or is signed out, sees no more of it.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode, header};
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::Console;
use super::layout::Live;

/// Longest time until a change shows.
const LONGEST: Duration = Duration::from_secs(1);
/// Shortest time from one look to the next.
const SHORTEST: Duration = Duration::from_millis(200);
/// Bytes per second that a page may take: a large one, with many plots, is sent less often.
const RATE: usize = 64 << 10;
/// Largest page that is read, in bytes.
const LARGEST: usize = 16 << 20;

/// Pages that are followed at a time, of all visitors together.
pub(super) const MOST: usize = 500;

/// Answers a request for an event stream of a live page, and leaves others alone.
pub(super) async fn stream(State(console): State<Console>, request: Request, next: Next) -> Response {
    if request.method() != Method::GET || !wants_events(request.headers()) {
        return next.run(request).await;
    }
    let Ok(permit) = console.followers.clone().try_acquire_owned() else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    let (parts, _) = request.into_parts();
    let changes = console.platform.backend.changes();
    let mut watcher = Watcher { parts, next, changes, first: None, last: None, over: false, _permit: permit };
    watcher.first = match watcher.look().await {
        Ok(content) => Some(content),
        Err(response) => return response,
    };
    let events = stream::unfold(watcher, |mut watcher| async move {
        let event = watcher.next_event().await?;
        Some((Ok::<_, Infallible>(event), watcher))
    });
    Sse::new(events).keep_alive(KeepAlive::default()).into_response()
}

fn wants_events(headers: &HeaderMap) -> bool {
    headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()) == Some("text/event-stream")
}

struct Watcher {
    parts: Parts,
    next: Next,
    changes: watch::Receiver<u64>,
    /// The content that is sent first.
    first: Option<String>,
    last: Option<String>,
    over: bool,
    _permit: OwnedSemaphorePermit,
}

impl Watcher {
    /// Waits until the page has changed. The first event is its content as it was at first.
    async fn next_event(&mut self) -> Option<Event> {
        while !self.over {
            if let Some(last) = &self.last {
                let sent = SHORTEST.max(Duration::from_millis((last.len() * 1000 / RATE) as u64));
                tokio::time::sleep(sent).await;
                // Not every change is the backend's, and how it ended does not matter.
                let _ = tokio::time::timeout(LONGEST.saturating_sub(sent), self.changes.changed()).await;
            }
            let found = match self.first.take() {
                Some(first) => Ok(first),
                None => self.look().await,
            };
            let Ok(content) = found else {
                self.over = true;
                return Some(Event::default().event("over").data(""));
            };
            if self.last.as_ref() != Some(&content) {
                self.last = Some(content.clone());
                return Some(Event::default().event("content").data(content));
            }
        }
        None
    }

    /// The page's content.
    ///
    /// # Errors
    /// What is answered instead, if there is none for this visitor or it is not live.
    async fn look(&self) -> Result<String, Response> {
        let response = self.next.clone().run(Request::from_parts(self.parts.clone(), Body::empty())).await;
        if response.status() != StatusCode::OK || response.extensions().get::<Live>().is_none() {
            return Err(response);
        }
        let page = axum::body::to_bytes(response.into_body(), LARGEST).await.ok();
        let page = page.and_then(|page| String::from_utf8(page.to_vec()).ok());
        let content = page.as_deref().and_then(content).map(str::to_owned);
        content.ok_or_else(|| StatusCode::INTERNAL_SERVER_ERROR.into_response())
    }
}

/// What is in a page's `main`.
fn content(page: &str) -> Option<&str> {
    let (_, rest) = page.split_once("<main")?;
    let (_, rest) = rest.split_once('>')?;
    rest.rsplit_once("</main>").map(|(content, _)| content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_content_is_what_is_in_main() {
        assert_eq!(content("<body><main id=a>b<p>c</p></main></body>"), Some("b<p>c</p>"));
        assert_eq!(content("<body></body>"), None);
    }
}
