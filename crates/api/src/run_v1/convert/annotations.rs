//! Annotations: the names that have a meaning, and values as users write them.

use std::collections::BTreeMap;

use homerun_model::quantity::Cpu;
use homerun_model::revision::UtilizationTarget;
use homerun_model::violation::Violation;

pub(super) const MIN_SCALE: &str = "autoscaling.knative.dev/minScale";
pub(super) const MAX_SCALE: &str = "autoscaling.knative.dev/maxScale";
pub(super) const CPU_THROTTLING: &str = "run.googleapis.com/cpu-throttling";
pub(super) const STARTUP_BOOST: &str = "run.googleapis.com/startup-cpu-boost";
pub(super) const EXECUTION_ENVIRONMENT: &str = "run.googleapis.com/execution-environment";
pub(super) const SESSION_AFFINITY: &str = "run.googleapis.com/sessionAffinity";
pub(super) const DEPENDENCIES: &str = "run.googleapis.com/container-dependencies";
pub(super) const NO_ZONAL_REDUNDANCY: &str = "run.googleapis.com/gpu-zonal-redundancy-disabled";
pub(super) const CPU_TARGET: &str = "run.googleapis.com/scaling-cpu-target";
pub(super) const CONCURRENCY_TARGET: &str = "run.googleapis.com/scaling-concurrency-target";
pub(super) const IDLE_TIMEOUT: &str = "homerun.dev/idle-timeout";
pub(super) const CUDA_COMPAT: &str = "homerun.dev/cuda-compat";
pub(super) const INGRESS: &str = "run.googleapis.com/ingress";
pub(super) const SERVICE_MIN: &str = "run.googleapis.com/minScale";
pub(super) const SERVICE_MAX: &str = "run.googleapis.com/maxScale";
pub(super) const SCALING_MODE: &str = "run.googleapis.com/scalingMode";
pub(super) const MANUAL_COUNT: &str = "run.googleapis.com/manualInstanceCount";
pub(super) const INVOKER_DISABLED: &str = "run.googleapis.com/invoker-iam-disabled";
pub(super) const DEFAULT_URL_DISABLED: &str = "run.googleapis.com/default-url-disabled";
pub(super) const CREATOR: &str = "serving.knative.dev/creator";
pub(super) const LAST_MODIFIER: &str = "serving.knative.dev/lastModifier";
pub(super) const INGRESS_STATUS: &str = "run.googleapis.com/ingress-status";
pub(super) const URLS: &str = "run.googleapis.com/urls";
/// A label: the service that something belongs to.
pub(super) const SERVICE: &str = "serving.knative.dev/service";
/// A label: whether the startup probe is the platform's own or the user's.
pub(super) const STARTUP_PROBE_TYPE: &str = "run.googleapis.com/startupProbeType";
pub(super) const LOCATION: &str = "cloud.googleapis.com/location";

/// Annotations and labels that the server writes; a client that sends them back means nothing by it.
pub(super) const SYSTEM: [&str; 7] =
    [CREATOR, LAST_MODIFIER, INGRESS_STATUS, URLS, LOCATION, STARTUP_PROBE_TYPE, "run.googleapis.com/operation-id"];

/// A map of annotations that is read name by name; what is left at the end has no meaning here.
pub(super) struct Reader<'a> {
    pub(super) left: BTreeMap<String, String>,
    pub(super) path: &'static str,
    pub(super) violations: &'a mut Vec<Violation>,
}

impl Reader<'_> {
    /// Takes an annotation; an empty one counts as absent.
    pub(super) fn text(&mut self, name: &str) -> Option<String> {
        self.left.remove(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
    }

    /// Takes an annotation that `parse` understands.
    pub(super) fn parsed<T>(&mut self, name: &str, right: &str, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        let text = self.text(name)?;
        let value = parse(&text);
        if value.is_none() {
            let field = format!("{}[{name}]", self.path);
            self.violations.push(Violation::new(field, format!("'{text}' is not valid; it must be {right}.")));
        }
        value
    }

    pub(super) fn boolean(&mut self, name: &str) -> Option<bool> {
        self.parsed(name, "'true' or 'false'", |text| match text.to_ascii_lowercase().as_str() {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        })
    }

    /// A utilization: `0.6` or `disabled`.
    pub(super) fn target(&mut self, name: &str) -> Option<UtilizationTarget> {
        self.parsed(name, "a share such as '0.6', with at most three decimals, or 'disabled'", |text| {
            if text.eq_ignore_ascii_case("disabled") {
                return Some(UtilizationTarget::Disabled);
            }
            // The notation and precision are those of an amount of CPU, without its unit.
            let share = Cpu::parse(text).filter(|_| !text.ends_with('m'))?;
            u32::try_from(share.millis()).ok().map(UtilizationTarget::Thousandths)
        })
    }

    pub(super) fn count(&mut self, name: &str) -> Option<u32> {
        self.parsed(name, "a whole number that is not negative", |text| text.parse().ok())
    }
}

/// Whole seconds of `30`, `30s`, `5m` or `1h`.
pub(super) fn seconds(text: &str) -> Option<u32> {
    let (number, factor) = match text.char_indices().last()? {
        (end, 's') => (&text[..end], 1),
        (end, 'm') => (&text[..end], 60),
        (end, 'h') => (&text[..end], 3600),
        _ => (text, 1),
    };
    number.parse::<u32>().ok()?.checked_mul(factor)
}
