//! Instances, concurrency and times.

use std::ops::RangeInclusive;

use super::{check_range, template_annotation};
use crate::container::Container;
use crate::revision::{RevisionTemplate, UtilizationTarget};
use crate::service::{ServiceSpec, Surroundings};
use crate::violation::Violation;

/// Most requests that an instance serves at the same time.
const CONCURRENCY_MAX: u32 = 1000;
/// Longest a request may take, in seconds.
const TIMEOUT_MAX_SECONDS: u32 = 3600;
/// Longest that Cloud Run keeps an idle instance, in seconds, without and with a GPU (row G19).
const IDLE_MAX_SECONDS: u32 = 900;
const IDLE_GPU_MAX_SECONDS: u32 = 600;
/// Utilizations that scaling may aim at, as Cloud Run's page on scaling controls has them.
const TARGET_THOUSANDTHS: RangeInclusive<u32> = 100..=950;

pub(super) fn check(spec: &ServiceSpec, around: &Surroundings<'_>, found: &mut Vec<Violation>) {
    let template = &spec.template;
    let path = "spec.template.spec.";
    let concurrency = format!("{path}containerConcurrency");
    check_range(&concurrency, "Concurrency", template.concurrency, 1..=CONCURRENCY_MAX, found);
    let timeout = format!("{path}timeoutSeconds");
    check_range(&timeout, "The request timeout in seconds", template.timeout_seconds, 1..=TIMEOUT_MAX_SECONDS, found);
    bounds(
        template.min_instances,
        template.max_instances,
        [
            &template_annotation("autoscaling.knative.dev/minScale"),
            &template_annotation("autoscaling.knative.dev/maxScale"),
        ],
        found,
    );
    let service = ["minScale", "maxScale"].map(|name| format!("metadata.annotations[run.googleapis.com/{name}]"));
    bounds(spec.min_instances, spec.max_instances, [&service[0], &service[1]], found);
    targets(template, found);
    let settings = around.settings;
    // An operator whose own default is longer has allowed that much.
    let longest = if template.containers.iter().any(Container::has_gpu) {
        IDLE_GPU_MAX_SECONDS.max(settings.idle_timeout_gpu_seconds)
    } else {
        IDLE_MAX_SECONDS.max(settings.idle_timeout_seconds)
    };
    let idle = template_annotation("homerun.dev/idle-timeout");
    check_range(&idle, "The idle timeout in seconds", template.idle_timeout_seconds, 1..=longest, found);
}

fn targets(template: &RevisionTemplate, found: &mut Vec<Violation>) {
    let cpu = (template_annotation("run.googleapis.com/scaling-cpu-target"), template.cpu_target);
    let concurrency =
        (template_annotation("run.googleapis.com/scaling-concurrency-target"), template.concurrency_target);
    if [cpu.1, concurrency.1] == [Some(UtilizationTarget::Disabled); 2] {
        let message = "CPU and concurrency cannot both be disabled as reasons to scale.";
        found.push(Violation::new(&cpu.0, message));
    }
    for (field, target) in [cpu, concurrency] {
        if let Some(UtilizationTarget::Thousandths(thousandths)) = target
            && !TARGET_THOUSANDTHS.contains(&thousandths)
        {
            let given = f64::from(thousandths) / 1000.0;
            let message = format!("The target must be between 0.1 and 0.95, or 'disabled'; it is {given}.");
            found.push(Violation::new(&field, message));
        }
    }
}

fn bounds(min: Option<u32>, max: Option<u32>, [min_field, max_field]: [&str; 2], found: &mut Vec<Violation>) {
    if max == Some(0) {
        found.push(Violation::new(max_field, "Max instances must be 1 or more; it is 0."));
    }
    if let (Some(min), Some(max)) = (min, max)
        && min > max
    {
        let message = format!("Min instances must not be greater than max instances; they are {min} and {max}.");
        found.push(Violation::new(min_field, message));
    }
}
