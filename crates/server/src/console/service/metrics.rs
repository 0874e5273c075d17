//! What happened to a service over time, as plots.

use chrono::{FixedOffset, TimeDelta};
use fluent_bundle::FluentValue;
use homerun_model::Timestamp;
use homerun_model::metrics::{STEPS, State, StatusClass};
use homerun_model::receipt::Step;
use homerun_model::service::Service;
use maud::{Markup, html};

use super::super::failure::Failure;
use super::super::lang::Lang;
use super::super::plot::{self, Part, Plot, Series, Texts, Unit};
use super::super::visit::Visit;
use super::super::words;
use super::Asked;
use crate::app::metrics::{self, Metrics, Range};

/// Ranges that can be chosen: name in the address, text, and how long it is.
const RANGES: [(&str, &str, TimeDelta); 5] = [
    ("1h", "range-hour", TimeDelta::hours(1)),
    ("24h", "range-day", TimeDelta::hours(24)),
    ("7d", "range-week", TimeDelta::days(7)),
    ("30d", "range-month", TimeDelta::days(30)),
    ("365d", "range-year", TimeDelta::days(365)),
];

pub(super) fn show(visit: &Visit, service: &Service, asked: &Asked) -> Result<Markup, Failure> {
    let lang = visit.lang;
    let wanted = asked.get("range").map(String::as_str).unwrap_or_default();
    let (chosen, _, length) = RANGES.into_iter().find(|(name, ..)| *name == wanted).unwrap_or(RANGES[0]);
    let now = visit.platform().clock.now();
    let range = Range { from: now - length, to: now };
    let (platform, caller) = (visit.platform(), visit.caller());
    let metrics = metrics::read(platform, caller, &visit.project, Some(&service.key), range)?;
    Ok(html! {
        nav .tabs.ranges aria-label=(lang.t("range")) {
            ul {
                @for (name, text, _) in RANGES {
                    li {
                        a href={ (words::path(&service.key, "metrics")) "?range=" (name) }
                            aria-current=[(name == chosen).then_some("true")] { (lang.t(text)) }
                    }
                }
            }
        }
        div .plots { (plots(visit, &metrics)) }
        p .hint { (lang.with("times-in", [("zone", zone(visit.offset))])) }
    })
}

/// The name of an offset from UTC.
fn zone(offset: FixedOffset) -> String {
    if offset.local_minus_utc() == 0 { "UTC".to_owned() } else { format!("UTC{offset}") }
}

fn plots(visit: &Visit, metrics: &Metrics) -> Markup {
    let lang = visit.lang;
    html! {
        (requests(visit, metrics))
        (latency(visit, metrics))
        (instances(visit, metrics))
        (cold_starts(lang, metrics))
        (gpu_busy(visit, metrics))
        (gpu_memory(visit, metrics))
    }
}

/// Whether a bucket has just begun: what happened in so short a time says little about a whole one.
fn is_young(metrics: &Metrics, bucket: &metrics::Bucket) -> bool {
    bucket.length * 3 < metrics.step
}

/// How long what happened in a bucket is spread over, in seconds. A single request in a bucket's first second is not one
/// per second.
fn spread(metrics: &Metrics, bucket: &metrics::Bucket) -> f64 {
    bucket.length.max(metrics.step / 3).as_seconds_f64()
}

/// What plots over time share.
struct Frame<'a> {
    visit: &'a Visit,
    times: Vec<Timestamp>,
    end: Timestamp,
    texts: [std::borrow::Cow<'static, str>; 4],
}

impl<'a> Frame<'a> {
    fn of(visit: &'a Visit, metrics: &Metrics, empty: &'static str) -> Self {
        let lang = visit.lang;
        let times = metrics.buckets.iter().map(|bucket| bucket.time).collect();
        let end = metrics.buckets.last().map_or(metrics.range.to, |bucket| bucket.time + metrics.step);
        Self { visit, times, end, texts: [lang.t(empty), lang.t("plot-table"), lang.t("time"), lang.t("none")] }
    }

    fn texts(&self) -> Texts<'_> {
        let [empty, table, first, none] = &self.texts;
        Texts { empty, table, first, none }
    }

    fn plot<'b>(&'b self, title: &'b str, summary: &'b str, unit: Unit<'b>) -> Plot<'b> {
        let (times, end, offset) = (self.times.as_slice(), self.end, self.visit.offset);
        Plot { title, summary, unit, times, end, offset, texts: self.texts() }
    }
}

fn requests(visit: &Visit, metrics: &Metrics) -> Markup {
    let lang = visit.lang;
    let frame = Frame::of(visit, metrics, "plot-no-requests");
    let series = StatusClass::ALL.map(|class| {
        let (label, class_name) = match class {
            StatusClass::Ok => ("2xx", "good"),
            StatusClass::Redirect => ("3xx", "series-1"),
            StatusClass::ClientError => ("4xx", "busy"),
            StatusClass::ServerError => ("5xx", "bad"),
        };
        let rate = |bucket: &metrics::Bucket| bucket.point.requests[class as usize] as f64 / spread(metrics, bucket);
        Series { label, class: class_name, values: metrics.buckets.iter().map(|bucket| Some(rate(bucket))).collect() }
    });
    let whole = metrics.whole();
    let errors = whole.requests[StatusClass::ServerError as usize];
    let summary = lang.with("plot-requests-summary", [("requests", whole.all_requests()), ("errors", errors)]);
    let (title, unit) = (lang.t("requests"), lang.t("per-second"));
    plot::stack(&frame.plot(&title, &summary, Unit::Rate(&unit)), &series)
}

fn latency(visit: &Visit, metrics: &Metrics) -> Markup {
    let lang = visit.lang;
    let frame = Frame::of(visit, metrics, "plot-no-requests");
    let series = [("p50", "series-1", 500), ("p95", "series-2", 950), ("p99", "series-4", 990)].map(
        |(label, class, thousandths)| {
            let values = metrics.buckets.iter().map(|bucket| bucket.latency_millis(thousandths)).collect();
            Series { label, class, values }
        },
    );
    let latency = metrics.whole().latency;
    let of = |thousandths| latency.percentile(thousandths).map_or(0.0, |micros| micros as f64 / 1000.0);
    let [half, most] = [of(500), of(990)].map(|value| Unit::Millis.write(value));
    let summary = lang.with("plot-latency-summary", [("half", half), ("most", most)]);
    plot::lines(&frame.plot(&lang.t("request-latency"), &summary, Unit::Millis), &series)
}

fn instances(visit: &Visit, metrics: &Metrics) -> Markup {
    let lang = visit.lang;
    let frame = Frame::of(visit, metrics, "plot-no-instances");
    let states = [
        (State::Ready, "instance-ready", "good"),
        (State::Creating, "instance-creating", "series-1"),
        (State::Starting, "instance-starting", "busy"),
        (State::Stopping, "instance-stopping", "series-5"),
    ];
    let labels = states.map(|(_, text, _)| lang.t(text));
    let series: Vec<Series<'_>> = states
        .iter()
        .zip(&labels)
        .map(|((state, _, class), label)| {
            // Of a bucket that has just begun instances were looked at for too small a part.
            let count = |bucket: &metrics::Bucket| match &bucket.point.instances[*state as usize] {
                gauge if is_young(metrics, bucket) => gauge.most as f64,
                gauge => gauge.mean(bucket.millis()),
            };
            Series { label, class, values: metrics.buckets.iter().map(|bucket| Some(count(bucket))).collect() }
        })
        .collect();
    let most = metrics.whole().all_instances.most;
    let summary = lang.with("plot-instances-summary", [("most", most)]);
    plot::stack(&frame.plot(&lang.t("instances"), &summary, Unit::Count), &series)
}

/// The bar of what cold starts spent their time on.
fn cold_starts(lang: Lang, metrics: &Metrics) -> Markup {
    let starts = metrics.whole().starts;
    let [empty, table, first, none] =
        [lang.t("plot-no-starts"), lang.t("plot-table"), lang.t("start-step"), lang.t("none")];
    let texts = Texts { empty: &empty, table: &table, first: &first, none: &none };
    let named = STEPS.iter().zip(&starts.steps).filter(|(_, times)| times.count > 0);
    let labels: Vec<_> = named.map(|(step, times)| (lang.t(step_name(*step)), times)).collect();
    // Of all starts, also of those without the step: a sandbox is either created or woken. So the parts add up to the
    // mean of a start.
    let mean = |micros: u64| micros as f64 / 1000.0 / starts.whole.count.max(1) as f64;
    let parts: Vec<Part<'_>> = labels
        .iter()
        .zip(plot::SERIES)
        .map(|((label, times), class)| Part {
            label,
            class,
            mean: times.mean_millis().unwrap_or(0.0),
            most: times.most_millis(),
        })
        .collect();
    let whole = Unit::Millis.write(mean(starts.whole.total));
    let count = FluentValue::from(starts.whole.count);
    let summary = lang.with("plot-starts-summary", [("count", count), ("mean", whole.into())]);
    let headings = [lang.t("mean"), lang.t("longest")];
    plot::steps(&lang.t("cold-starts"), &summary, &parts, [&headings[0], &headings[1]], &texts)
}

/// The text for a step of a start.
fn step_name(step: Step) -> &'static str {
    match step {
        Step::Record => "step-record",
        Step::Prepare => "step-prepare",
        Step::Create => "step-create",
        Step::Wake => "step-wake",
        Step::Start => "step-start",
    }
}

fn gpu_busy(visit: &Visit, metrics: &Metrics) -> Markup {
    let busy = |usage: &homerun_model::metrics::DeviceUse| usage.mean_busy();
    gpus(visit, metrics, ("gpu-busy", "plot-gpu-busy-summary"), Unit::Share, busy)
}

fn gpu_memory(visit: &Visit, metrics: &Metrics) -> Markup {
    let memory = |usage: &homerun_model::metrics::DeviceUse| usage.mean_memory();
    gpus(visit, metrics, ("gpu-memory", "plot-gpu-memory-summary"), Unit::Bytes, memory)
}

/// A line for each GPU that the service has held. Nothing for a service that has held none.
fn gpus(
    visit: &Visit,
    metrics: &Metrics,
    (title, summary): (&str, &str),
    unit: Unit<'_>,
    value: impl Fn(&homerun_model::metrics::DeviceUse) -> Option<f64>,
) -> Markup {
    let lang = visit.lang;
    let frame = Frame::of(visit, metrics, "plot-no-gpu");
    let whole = metrics.whole();
    let simulated = metrics.devices.values().any(|device| device.simulated);
    let labels: Vec<_> = whole.devices.keys().map(|device| (device, device.to_string())).collect();
    let series: Vec<Series<'_>> = labels
        .iter()
        .zip(plot::SERIES.iter().cycle())
        .map(|((device, label), class)| {
            let uses = metrics.device_uses(device);
            Series { label, class, values: uses.iter().map(|usage| usage.as_ref().and_then(&value)).collect() }
        })
        .collect();
    let means = whole.devices.values().filter_map(&value);
    let most = unit.write(means.fold(0.0, f64::max));
    let title = match simulated {
        true => format!("{} ({})", lang.t(title), lang.t("simulated")),
        false => lang.t(title).into_owned(),
    };
    let summary = lang.with(summary, [("most", most)]);
    html! {
        @if !series.is_empty() {
            div {
                (plot::lines(&frame.plot(&title, &summary, unit), &series))
                @if simulated { p .hint { (lang.t("simulated-use")) } }
            }
        }
    }
}
