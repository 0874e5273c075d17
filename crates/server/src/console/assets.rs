//! The console's style and script.

use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};

/// Name, type and content of every file.
const FILES: [(&str, &str, &str); 5] = [
    ("console.css", "text/css; charset=utf-8", include_str!("static/console.css")),
    ("plot.css", "text/css; charset=utf-8", include_str!("static/plot.css")),
    ("console.js", "text/javascript; charset=utf-8", include_str!("static/console.js")),
    ("idiomorph.min.js", "text/javascript; charset=utf-8", include_str!("static/idiomorph.min.js")),
    ("icon.svg", "image/svg+xml", include_str!("static/icon.svg")),
];

/// A file; its address has the version in it, so that browsers may keep it for good.
pub(super) async fn serve(Path((_, name)): Path<(String, String)>) -> Response {
    match FILES.iter().find(|(file, _, _)| *file == name) {
        Some((_, kind, content)) => {
            let kept = "public, max-age=31536000, immutable";
            ([(header::CONTENT_TYPE, *kind), (header::CACHE_CONTROL, kept)], *content).into_response()
        }
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// Where a file is served.
pub(super) fn href(name: &str) -> String {
    format!("/console/-/static/{:016x}/{name}", version())
}

/// Changes with the files' content.
fn version() -> u64 {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    static VERSION: std::sync::LazyLock<u64> = std::sync::LazyLock::new(|| {
        let mut hasher = DefaultHasher::new();
        FILES.hash(&mut hasher);
        hasher.finish()
    });
    *VERSION
}
