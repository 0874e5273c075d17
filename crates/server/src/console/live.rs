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
use tokio::sync::watch;

use super::Console;

/// Longest time until a change shows.
const LONGEST: Duration = Duration::from_secs(1);
/// Shortest time from one look to the next.
const SHORTEST: Duration = Duration::from_millis(200);
/// Bytes per second that a page may take: a large one, with many plots, is sent less often.
const RATE: usize = 64 << 10;
/// Largest page that is read, in bytes.
const LARGEST: usize = 16 << 20;

/// Answers a request for an event stream, and leaves others alone.
pub(super) async fn stream(State(console): State<Console>, request: Request, next: Next) -> Response {
    if request.method() != Method::GET || !wants_events(request.headers()) {
        return next.run(request).await;
    }
    let (parts, _) = request.into_parts();
    let changes = console.platform.backend.changes();
    let watcher = Watcher { parts, next, changes, last: None, over: false };
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
    last: Option<String>,
    over: bool,
}

impl Watcher {
    /// Waits until the page has changed. The first event is its content as it is.
    async fn next_event(&mut self) -> Option<Event> {
        while !self.over {
            if let Some(last) = &self.last {
                let sent = SHORTEST.max(Duration::from_millis((last.len() * 1000 / RATE) as u64));
                tokio::time::sleep(sent).await;
                // Not every change is the backend's, and how it ended does not matter.
                let _ = tokio::time::timeout(LONGEST.saturating_sub(sent), self.changes.changed()).await;
            }
            let Some(content) = self.look().await else {
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

    /// The page's content; `None` if there is none for this visitor.
    async fn look(&self) -> Option<String> {
        let response = self.next.clone().run(Request::from_parts(self.parts.clone(), Body::empty())).await;
        if response.status() != StatusCode::OK {
            return None;
        }
        let page = axum::body::to_bytes(response.into_body(), LARGEST).await.ok()?;
        let page = String::from_utf8(page.to_vec()).ok()?;
        content(&page).map(str::to_owned)
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
