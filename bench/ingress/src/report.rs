//! What a run came to.

use std::time::Duration;

/// Latencies of one run, and how many requests failed.
#[derive(Default)]
pub struct Report {
    pub latencies: Vec<Duration>,
    pub errors: usize,
    /// The first error's words.
    pub error: Option<String>,
}

impl Report {
    pub fn add(&mut self, other: Self) {
        self.latencies.extend(other.latencies);
        self.errors += other.errors;
        self.error = self.error.take().or(other.error);
    }

    pub fn fail(&mut self, error: impl ToString) {
        self.errors += 1;
        self.error.get_or_insert_with(|| error.to_string());
    }

    pub fn print(mut self, took: Duration) {
        self.latencies.sort_unstable();
        let line = serde_json::json!({
            "requests": self.latencies.len(),
            "errors": self.errors,
            "error": self.error,
            "seconds": took.as_secs_f64(),
            "p50": self.percentile(50.0),
            "p99": self.percentile(99.0),
            "max": self.percentile(100.0),
        });
        println!("{line}");
    }

    /// In seconds.
    fn percentile(&self, percent: f64) -> f64 {
        let last = self.latencies.len().saturating_sub(1);
        let at = (self.latencies.len() as f64 * percent / 100.0) as usize;
        self.latencies.get(at.min(last)).map_or(0.0, Duration::as_secs_f64)
    }
}
