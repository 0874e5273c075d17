//! `homerun metrics`: what happened over time.

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use clap::Args;
use homerun_api::own::metrics::{Count, GpuUse, Metrics, Point};
use reqwest::Method;

use crate::Target;
use crate::client::{CliError, Client, segment};
use crate::logs::duration;
use crate::output::{self, Align, Format, columns};

/// Below `homerun metrics --help`.
pub(crate) const EXAMPLES: &str = "\
Times are UTC. Single minutes are kept for 7 days, hours and days for 400 ([metrics] in the server's settings); a longer
time is shown in longer steps, 300 at most.

Examples:
  homerun metrics ocr
  homerun metrics ocr --last 24h
  homerun metrics ocr --region us-central1 --last 30d --format json
  homerun metrics --last 365d                # all services of the project together";

/// Flags of `homerun metrics`.
#[derive(Debug, Args)]
pub struct MetricsArgs {
    /// The service; all of the project together without it
    service: Option<String>,
    /// The service's region; by default the server's
    #[arg(long, requires = "service")]
    region: Option<String>,
    /// Project; by default the server's
    #[arg(long)]
    project: Option<String>,
    /// How far back: 1h, 24h, 30d, 365d
    #[arg(long, value_name = "AGE", value_parser = age, default_value = "1h")]
    last: TimeDelta,
    /// How to print
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

/// An age with its unit, longer than nothing.
fn age(text: &str) -> Result<TimeDelta, String> {
    let unit = text.ends_with(|last: char| last.is_ascii_lowercase());
    match duration(text) {
        Ok(age) if unit && age > TimeDelta::zero() => Ok(age),
        _ => Err(format!("'{text}' is no age; write a number and a unit, for instance 1h, 24h, 30d or 365d")),
    }
}

pub(crate) async fn run(target: &Target, args: &MetricsArgs) -> Result<(), CliError> {
    let client = Client::new(target)?;
    let project = segment("--project", args.project.as_deref().unwrap_or(client.defaults().0))?;
    let from = Utc::now().checked_sub_signed(args.last).unwrap_or(DateTime::UNIX_EPOCH);
    let mut path =
        format!("/homerun/v1/projects/{project}/metrics?from={}", from.to_rfc3339_opts(SecondsFormat::Secs, true));
    if let Some(service) = &args.service {
        let region = args.region.as_deref().unwrap_or(client.defaults().1);
        path.push_str(&format!("&service={}&region={}", segment("SERVICE", service)?, segment("--region", region)?));
    }
    let answer = client.call(Method::GET, &path, None).await?;
    match args.format {
        Format::Json => Ok(output::json(&answer)?),
        Format::Yaml => Ok(output::yaml(&answer)?),
        Format::Table => {
            let metrics: Metrics = serde_json::from_value(answer).map_err(CliError::Answer)?;
            print!("{}", table(&metrics));
            Ok(())
        }
    }
}

/// The points in which something happened.
fn table(metrics: &Metrics) -> String {
    let happened = |point: &&Point| {
        !point.requests.is_empty() || point.starts.is_some() || !point.instances.is_empty() || !point.gpus.is_empty()
    };
    let points: Vec<&Point> = metrics.points.iter().filter(happened).collect();
    let step = step(metrics.step_seconds);
    if points.is_empty() {
        return format!("Nothing has happened in that time ({} steps of {step}).\n", metrics.points.len());
    }
    let has_gpus = points.iter().any(|point| !point.gpus.is_empty());
    let mut headings = vec!["REQUESTS", "2XX", "3XX", "4XX", "5XX", "P50 MS", "P95 MS", "P99 MS", "STARTS", "START MS"];
    headings.extend(["READY", "MOST"].into_iter().chain(["GPU %", "GPU MIB"].into_iter().filter(|_| has_gpus)));
    let right = headings.into_iter().map(|name| (name, Align::Right));
    let headings: Vec<_> = std::iter::once(("TIME", Align::Left)).chain(right).collect();
    let mut text = columns(&headings, &points.iter().map(|point| row(point, has_gpus)).collect::<Vec<_>>());
    if points.len() < metrics.points.len() {
        text.push_str(&format!(
            "Of {} steps of {step}, only those are shown in which something happened.\n",
            metrics.points.len()
        ));
    }
    metrics.notes.iter().for_each(|note| text.push_str(&format!("! {note}\n")));
    text
}

fn row(point: &Point, has_gpus: bool) -> Vec<String> {
    let class = |name: &str| point.requests.get(name).copied().unwrap_or(0).to_string();
    let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.1}"));
    let ready: Option<&Count> = point.instances.get("ready");
    let mut row = vec![
        point.time.to_rfc3339_opts(SecondsFormat::Secs, true),
        point.requests.values().sum::<u64>().to_string(),
        class("2xx"),
        class("3xx"),
        class("4xx"),
        class("5xx"),
        number(point.latency.map(|latency| latency.p50_millis)),
        number(point.latency.map(|latency| latency.p95_millis)),
        number(point.latency.map(|latency| latency.p99_millis)),
        point.starts.as_ref().map_or(0, |starts| starts.times.count).to_string(),
        number(point.starts.as_ref().map(|starts| starts.times.mean_millis)),
        format!("{:.2}", ready.map_or(0.0, |count| count.mean)),
        ready.map_or(0, |count| count.most).to_string(),
    ];
    if has_gpus {
        let held: f64 = point.gpus.values().map(|gpu| gpu.held_seconds).sum();
        let mean = |value: fn(&GpuUse) -> f64| {
            let sum: f64 = point.gpus.values().map(|gpu| value(gpu) * gpu.held_seconds).sum();
            (held > 0.0).then(|| sum / held)
        };
        row.push(number(mean(|gpu| gpu.busy * 100.0)));
        row.push(number(mean(|gpu| gpu.memory_bytes / f64::from(1 << 20))));
    }
    row
}

/// A step in words.
fn step(seconds: i64) -> String {
    match seconds {
        _ if seconds % 86_400 == 0 => format!("{} d", seconds / 86_400),
        _ if seconds % 3600 == 0 => format!("{} h", seconds / 3600),
        _ => format!("{} min", seconds / 60),
    }
}

#[cfg(test)]
mod tests {
    use homerun_api::own::metrics::{Latency, Starts, Times};

    use super::*;

    fn metrics(points: Vec<Point>) -> Metrics {
        let time = |text: &str| text.parse().expect("a time");
        Metrics {
            from: time("2026-11-26T10:00:00Z"),
            to: time("2026-11-26T10:02:00Z"),
            service: Some("ocr".to_owned()),
            region: Some("us-central1".to_owned()),
            step_seconds: 60,
            points,
            gpus: Vec::new(),
            notes: vec!["GPUs are simulated.".to_owned()],
        }
    }

    fn quiet() -> Point {
        Point {
            time: "2026-11-26T10:00:00Z".parse().expect("a time"),
            seconds: 60.0,
            requests: [].into(),
            latency: None,
            starts: None,
            instances: [].into(),
            gpus: [].into(),
        }
    }

    #[test]
    fn g24_a_table_shows_the_steps_in_which_something_happened() {
        let busy = Point {
            requests: [("2xx".to_owned(), 7), ("5xx".to_owned(), 1)].into(),
            latency: Some(Latency { p50_millis: 12.34, p95_millis: 50.0, p99_millis: 200.0 }),
            starts: Some(Starts { times: Times { count: 1, mean_millis: 18.0, most_millis: 18.0 }, steps: Vec::new() }),
            instances: [("ready".to_owned(), Count { mean: 0.5, most: 1 })].into(),
            gpus: [(
                "GPU-1".to_owned(),
                GpuUse {
                    held_seconds: 30.0,
                    busy: 0.25,
                    most_busy: 1.0,
                    memory_bytes: 1048576.0,
                    most_memory_bytes: 1,
                },
            )]
            .into(),
            ..quiet()
        };
        let shown = table(&metrics(vec![quiet(), busy]));
        let lines: Vec<&str> = shown.lines().collect();
        let words: Vec<&str> = lines[1].split_whitespace().collect();
        let expected = "2026-11-26T10:00:00Z 8 7 0 0 1 12.3 50.0 200.0 1 18.0 0.50 1 25.0 1.0";
        assert_eq!(words.join(" "), expected);
        assert_eq!(lines[2], "Of 2 steps of 1 min, only those are shown in which something happened.");
        assert_eq!(lines[3], "! GPUs are simulated.");
        assert_eq!(table(&metrics(vec![quiet()])), "Nothing has happened in that time (1 steps of 1 min).\n");
    }

    #[test]
    fn g24_an_age_has_a_unit() {
        assert_eq!(age("365d"), Ok(TimeDelta::days(365)));
        for text in ["1", "0h", "-1h", "week"] {
            assert!(age(text).is_err_and(|message| message.contains("365d")), "{text}");
        }
    }
}
