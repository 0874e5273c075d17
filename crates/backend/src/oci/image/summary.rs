//! The progress of a pull as sentences for people, and its errors as the backend's.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{Digest, ImageError, LayerPhase, LayerProgress};
use crate::PullError;

/// Between two sentences: enough for a terminal, and little to store for a status condition.
const PAUSE: Duration = Duration::from_millis(250);
const MB: f64 = 1_000_000.0;

/// Turns reports about layers into sentences like "Pulling 3 layers, 41 of 120 MB.", at most four
/// per second. An image that was here already yields none.
pub struct PullSummary<'a> {
    tell: &'a (dyn Fn(String) + Send + Sync),
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    layers: HashMap<Digest, LayerProgress>,
    told: Option<Instant>,
}

impl<'a> PullSummary<'a> {
    /// Sentences go to `tell`.
    pub fn new(tell: &'a (dyn Fn(String) + Send + Sync)) -> Self {
        PullSummary { tell, state: Mutex::default() }
    }

    /// Takes a report in.
    pub fn update(&self, progress: LayerProgress) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = progress.phase == LayerPhase::Waiting;
        state.layers.insert(progress.layer.clone(), progress);
        let complete = state.layers.values().all(|layer| layer.phase == LayerPhase::Done);
        // Not while layers are still being announced: the total would grow before people's eyes.
        if waiting || !complete && state.told.is_some_and(|told| told.elapsed() < PAUSE) {
            return;
        }
        state.told = Some(Instant::now());
        let sum = |bytes: fn(&LayerProgress) -> u64| {
            let sum: u64 = state.layers.values().map(bytes).sum();
            sum as f64 / MB
        };
        let (done, total) = (sum(|layer| layer.done), sum(|layer| layer.total));
        let layers = match state.layers.len() {
            1 => "1 layer".to_owned(),
            n => format!("{n} layers"),
        };
        (self.tell)(match complete {
            true => format!("Pulled {layers}, {total:.1} MB."),
            false => format!("Pulling {layers}, {done:.1} of {total:.1} MB."),
        });
    }
}

impl ImageError {
    /// The backend's error for `image`, with the whole chain of reasons: it is what the user sees.
    pub fn into_pull_error(self, image: &str) -> PullError {
        let image = image.to_owned();
        if matches!(self, ImageError::NotFound { .. }) {
            return PullError::NotFound(image);
        }
        let message = self.full_message();
        match self {
            ImageError::Unauthorized { .. } | ImageError::Credentials { .. } => PullError::Denied { image, message },
            ImageError::InvalidName { .. }
            | ImageError::NoPlatform { .. }
            | ImageError::DigestMismatch { .. }
            | ImageError::Malformed { .. }
            | ImageError::Layer { .. }
            | ImageError::NotAnImage { .. }
            | ImageError::NotLocal { .. } => PullError::Unusable { image, message },
            _ => PullError::Unavailable { image, message },
        }
    }

    /// This error and all of its causes in one line.
    pub fn full_message(&self) -> String {
        let mut message = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            message = format!("{}: {error}", message.trim_end_matches('.'));
            cause = error.source();
        }
        message
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(layer: &str, done: u64, phase: LayerPhase) -> LayerProgress {
        LayerProgress { layer: Digest::of(layer.as_bytes()), done, total: 2_000_000, phase }
    }

    #[test]
    fn a_pull_is_told_in_few_sentences_and_to_its_end() {
        let told = Mutex::new(Vec::new());
        let tell = |sentence| told.lock().expect("lock").push(sentence);
        let summary = PullSummary::new(&tell);
        for layer in ["a", "b"] {
            summary.update(report(layer, 0, LayerPhase::Waiting));
        }
        for done in 1..=200 {
            summary.update(report("a", done * 10_000, LayerPhase::Downloading));
        }
        for layer in ["a", "b"] {
            summary.update(report(layer, 2_000_000, LayerPhase::Done));
        }
        let told = told.into_inner().expect("lock");
        assert_eq!(told.first().map(String::as_str), Some("Pulling 2 layers, 0.0 of 4.0 MB."));
        assert_eq!(told.last().map(String::as_str), Some("Pulled 2 layers, 4.0 MB."));
        assert!(told.len() < 10, "{told:?}");
    }

    #[test]
    fn errors_keep_their_class_and_every_reason() {
        let not_found = ImageError::NotFound { image: "a".into() }.into_pull_error("a");
        assert_eq!(not_found.to_string(), "Image 'a' not found.");
        let source =
            super::super::UnpackError::Name { entry: "../x".into(), problem: super::super::NameRule::ParentFolder };
        let layer = ImageError::Layer { layer: "sha256:1".into(), source }.into_pull_error("a");
        assert!(matches!(layer, PullError::Unusable { .. }));
        let text = layer.to_string();
        assert!(text.contains("sha256:1") && text.contains("'../x' contains '..'"), "{text}");
    }
}
