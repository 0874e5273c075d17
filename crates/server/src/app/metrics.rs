//! What happened over time, for plots.

use std::collections::{BTreeMap, BTreeSet};

use chrono::TimeDelta;
use homerun_api::error::ApiError;
use homerun_backend::gpu::Device;
use homerun_model::Timestamp;
use homerun_model::iam::Resource;
use homerun_model::metrics::{DeviceUse, Point, Resolution};
use homerun_model::names::{DeviceId, Project, ServiceKey};
use homerun_model::violation::Violation;

use super::usage::days_ago;
use super::{access, stored};
use crate::auth::Caller;
use crate::platform::Platform;

/// What reading metrics needs, on the project: in the roles `viewer`, `editor`, `owner` and `monitoring.viewer`, and in
/// none of Cloud Run's own, as published.
pub const READ: &str = "monitoring.timeSeries.list";

/// A range of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// Its first moment.
    pub from: Timestamp,
    /// The first moment after it.
    pub to: Timestamp,
}

/// Metrics of a range of time.
#[derive(Debug, Clone, PartialEq)]
pub struct Metrics {
    /// The range, `to` not being later than now.
    pub range: Range,
    /// How long each bucket is.
    pub step: TimeDelta,
    /// All of the range's, the oldest first, also those in which nothing happened; some 300 at most.
    pub buckets: Vec<Bucket>,
    /// The GPUs that occur in them, as far as this machine still has them.
    pub devices: BTreeMap<DeviceId, Device>,
}

/// What happened in a part of the range.
#[derive(Debug, Clone, PartialEq)]
pub struct Bucket {
    /// When it begins.
    pub time: Timestamp,
    /// How much of it is over: the last one is not, often.
    pub length: TimeDelta,
    /// What happened.
    pub point: Point,
}

impl Bucket {
    /// Its length in milliseconds, by which a gauge's mean is made.
    pub fn millis(&self) -> u64 {
        u64::try_from(self.length.num_milliseconds()).unwrap_or(0)
    }

    /// Requests per second.
    pub fn request_rate(&self) -> f64 {
        self.point.all_requests() as f64 * 1000.0 / self.millis().max(1) as f64
    }

    /// A percentile of the latencies, in milliseconds; `None` without requests. 500 is the median.
    pub fn latency_millis(&self, thousandths: u32) -> Option<f64> {
        Some(self.point.latency.percentile(thousandths)? as f64 / 1000.0)
    }
}

impl Metrics {
    /// All of the range as one point.
    pub fn whole(&self) -> Point {
        self.buckets.iter().fold(Point::default(), |mut sum, bucket| {
            sum.merge(&bucket.point);
            sum
        })
    }

    /// Each GPU's use in the buckets: `None` where nobody held it.
    pub fn device_uses(&self, device: &DeviceId) -> Vec<Option<DeviceUse>> {
        self.buckets.iter().map(|bucket| bucket.point.devices.get(device).copied()).collect()
    }
}

/// Reads metrics of a service, or of all of a project's services together.
///
/// # Errors
/// When the caller may not, when there has never been such a service, when the range is none, when the store fails.
pub fn read(
    platform: &Platform,
    caller: &Caller,
    project: &Project,
    service: Option<&ServiceKey>,
    range: Range,
) -> Result<Metrics, ApiError> {
    access::require(platform, caller, READ, &Resource::Project(project.id.clone()))?;
    let now = platform.clock.now();
    let wrong = |message: &str| ApiError::InvalidArgument(vec![Violation::new("from", message)]);
    if range.from >= range.to {
        return Err(wrong("must be before 'to'."));
    }
    if range.from > now {
        return Err(wrong("lies in the future; nothing has happened then."));
    }
    // Beyond the present there is nothing: a day that has just begun is shown as finely as what there is of it.
    let range = Range { to: range.to.min(now + TimeDelta::milliseconds(1)), ..range };
    let services = services(platform, project, service)?;
    let minutes_since = days_ago(now, platform.config.metrics.minute_days);
    let resolution = Resolution::of((range.from, range.to), minutes_since);
    let starts: Vec<Timestamp> = resolution.starts((range.from, range.to)).collect();
    let step = TimeDelta::seconds(resolution.step);
    let first = resolution.floor(range.from);
    let end = starts.last().map_or(first, |last| *last + step);
    let place = |time: Timestamp| {
        let index = usize::try_from((time - first).num_seconds().div_euclid(resolution.step)).ok()?;
        (index < starts.len()).then_some(index)
    };
    let points = platform.metrics.read((resolution.grain, (first, end)), &services, starts.len(), place);
    let points = points.map_err(|error| stored(error, "Metrics", "records"))?;
    let bucket = |(time, point): (&Timestamp, Point)| {
        let length = ((*time + step).min(now) - *time).max(TimeDelta::milliseconds(1));
        Bucket { time: *time, length, point }
    };
    let buckets: Vec<Bucket> = starts.iter().zip(points).map(bucket).collect();
    let held: BTreeSet<&DeviceId> = buckets.iter().flat_map(|bucket| bucket.point.devices.keys()).collect();
    let devices = platform.backend.devices().into_iter().filter(|device| held.contains(&device.id));
    let devices = devices.map(|device| (device.id.clone(), device)).collect();
    Ok(Metrics { range, step, buckets, devices })
}

/// Whose metrics are meant.
fn services(
    platform: &Platform,
    project: &Project,
    service: Option<&ServiceKey>,
) -> Result<BTreeSet<ServiceKey>, ApiError> {
    let mut known: BTreeSet<ServiceKey> = platform.metrics.store().services(&project.id).into_iter().collect();
    known.extend(platform.metrics.pending_services().into_iter().filter(|key| key.project == project.id));
    let Some(key) = service.filter(|key| key.project == project.id) else {
        return match service {
            None => Ok(known),
            Some(other) => Err(ApiError::NotFound { kind: "Service", name: other.name.to_string() }),
        };
    };
    let exists = || platform.store.service(key).map_err(|error| stored(error, "Service", key.name.as_str()));
    if !known.contains(key) && exists()?.is_none() {
        return Err(ApiError::NotFound { kind: "Service", name: key.name.to_string() });
    }
    Ok(BTreeSet::from([key.clone()]))
}
