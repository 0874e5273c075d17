//! homerun's own call about metrics.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Query, State};
use chrono::TimeDelta;
use homerun_api::error::ApiError;
use homerun_api::own::metrics as wire;
use homerun_backend::gpu::Device;
use homerun_model::Timestamp;
use homerun_model::metrics::{DeviceUse, Point, STEPS, StatusClass, Times};
use homerun_model::names::{Region, ServiceKey, ServiceName};
use homerun_model::violation::Violation;
use serde::Deserialize;

use super::Api;
use super::error::Failure;
use super::path::Place;
use super::usage::time;
use crate::app::metrics::{self, Bucket, Metrics, Range};

/// How far back it goes where the call does not say.
const DEFAULT_RANGE: TimeDelta = TimeDelta::hours(1);

/// What is asked for.
#[derive(Debug, Deserialize)]
pub(super) struct Asked {
    service: Option<String>,
    region: Option<String>,
    from: Option<String>,
    to: Option<String>,
}

pub(super) async fn of_project(
    State(api): State<Api>,
    place: Place,
    Query(asked): Query<Asked>,
) -> Result<Json<wire::Metrics>, Failure> {
    let to = time("to", asked.to.as_deref())?.unwrap_or_else(|| api.platform.clock.now());
    let earlier = |to: Timestamp| to.checked_sub_signed(DEFAULT_RANGE).unwrap_or(to);
    let from = time("from", asked.from.as_deref())?.unwrap_or_else(|| earlier(to));
    if asked.service.is_none() && asked.region.is_some() {
        let violation = Violation::new("region", "is a service's; name the service too, or leave it out.");
        return Err(Failure(ApiError::InvalidArgument(vec![violation])));
    }
    let region = match &asked.region {
        Some(region) => Region::new(region),
        None => place.one_region()?,
    };
    let project = place.project.id.clone();
    let service = asked.service.map(|name| ServiceKey { project, region, name: ServiceName::new(name) });
    let range = Range { from, to };
    let found = metrics::read(&api.platform, &place.caller, &place.project, service.as_ref(), range)?;
    Ok(Json(render(service.as_ref(), &found)))
}

fn render(service: Option<&ServiceKey>, found: &Metrics) -> wire::Metrics {
    let gpu = |device: &Device| wire::Gpu {
        id: device.id.to_string(),
        r#type: device.gpu_type.to_string(),
        product: device.product.clone(),
        memory_bytes: device.memory_bytes,
        simulated: device.simulated,
    };
    let mut notes = Vec::new();
    if found.devices.values().any(|device| device.simulated) {
        notes.push(
            "GPUs of this machine are simulated; their use is a stand-in, made of what their instances use of CPU and memory."
                .to_owned(),
        );
    }
    wire::Metrics {
        from: found.range.from,
        to: found.range.to,
        service: service.map(|key| key.name.to_string()),
        region: service.map(|key| key.region.to_string()),
        step_seconds: found.step.num_seconds(),
        points: found.buckets.iter().map(point).collect(),
        gpus: found.devices.values().map(gpu).collect(),
        notes,
    }
}

fn point(bucket: &Bucket) -> wire::Point {
    let Point { requests, instances, devices, .. } = &bucket.point;
    let classes = StatusClass::ALL.into_iter().zip(requests).filter(|(_, count)| **count > 0);
    let latency = |thousandths| bucket.latency_millis(thousandths);
    let latency = latency(500).zip(latency(950)).zip(latency(990));
    let states = homerun_model::metrics::State::ALL.into_iter().zip(instances).filter(|(_, gauge)| gauge.most > 0);
    let count =
        |gauge: &homerun_model::metrics::Gauge| wire::Count { mean: gauge.mean(bucket.millis()), most: gauge.most };
    wire::Point {
        time: bucket.time,
        seconds: bucket.length.as_seconds_f64(),
        requests: classes.map(|(class, count)| (class.name().to_owned(), *count)).collect(),
        latency: latency.map(|((p50_millis, p95_millis), p99_millis)| wire::Latency {
            p50_millis,
            p95_millis,
            p99_millis,
        }),
        starts: starts(&bucket.point),
        instances: states.map(|(state, gauge)| (state.name().to_owned(), count(gauge))).collect(),
        gpus: devices
            .iter()
            .filter_map(|(id, device)| Some((id.to_string(), gpu_use(device)?)))
            .collect::<BTreeMap<_, _>>(),
    }
}

fn starts(point: &Point) -> Option<wire::Starts> {
    let steps = STEPS.into_iter().zip(&point.starts.steps);
    let step = |(step, took): (homerun_model::receipt::Step, &Times)| {
        Some(wire::StepTimes { step: step.name().to_owned(), times: times(took)? })
    };
    Some(wire::Starts { times: times(&point.starts.whole)?, steps: steps.filter_map(step).collect() })
}

fn times(times: &Times) -> Option<wire::Times> {
    let mean_millis = times.mean_millis()?;
    Some(wire::Times { count: times.count, mean_millis, most_millis: times.most_millis() })
}

fn gpu_use(device: &DeviceUse) -> Option<wire::GpuUse> {
    Some(wire::GpuUse {
        held_seconds: device.held as f64 / 1000.0,
        busy: device.mean_busy()?,
        most_busy: device.most_busy(),
        memory_bytes: device.mean_memory()?,
        most_memory_bytes: device.most_memory(),
    })
}
