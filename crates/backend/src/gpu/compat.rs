//! Whether an image's CUDA fits the driver (row G17).

use super::CudaVersion;
use super::cdi::LIBRARY_FOLDER;

/// Where NVIDIA's packages put a toolkit's forward-compatibility libraries.
const COMPAT_FOLDER: &str = "/usr/local/cuda/compat";

/// Warns if an image declares a newer CUDA than the driver supports, and names what helps. `env` is the
/// container's environment as `NAME=value`, the image's and the service's together.
///
/// NVIDIA's images declare what they need in `NVIDIA_REQUIRE_CUDA`: alternatives separated by spaces,
/// each of conditions separated by commas, for instance `cuda>=12.4 brand=tesla,driver>=535,driver<536`.
/// Alternatives without a `cuda` condition name drivers on which the image's forward-compatibility
/// libraries work; they still have to be found, so they do not silence the warning. A
/// `LD_LIBRARY_PATH` that has those libraries in it does.
pub fn driver_warning(env: &[String], driver_cuda: CudaVersion) -> Option<String> {
    let required = variable(env, "NVIDIA_REQUIRE_CUDA").and_then(required_cuda);
    let built_with = variable(env, "CUDA_VERSION").and_then(parse_version);
    let (needed, source) = [(required, "NVIDIA_REQUIRE_CUDA"), (built_with, "CUDA_VERSION")]
        .into_iter()
        .filter_map(|(version, source)| version.map(|version| (version, source)))
        .reduce(|first, second| if second.0 > first.0 { second } else { first })?;
    if needed <= driver_cuda || finds_compat(env) {
        return None;
    }
    let CudaVersion { major, minor } = needed;
    Some(format!(
        "the image declares CUDA {needed} ({source}), but the driver supports CUDA up to {driver_cuda}: \
         use an image with NVIDIA's forward-compatibility package cuda-compat-{major}-{minor}, and set the annotation \
         homerun.dev/cuda-compat to 'true' (or put {COMPAT_FOLDER} first in LD_LIBRARY_PATH)"
    ))
}

/// Puts the forward-compatibility libraries before everything else in the library path.
pub fn prefer_compat(env: &mut Vec<String>) {
    let rest = variable(env, "LD_LIBRARY_PATH").unwrap_or(LIBRARY_FOLDER);
    let pair = format!("LD_LIBRARY_PATH={COMPAT_FOLDER}:{rest}");
    env.retain(|pair| !pair.starts_with("LD_LIBRARY_PATH="));
    env.push(pair);
}

fn variable<'a>(env: &'a [String], name: &str) -> Option<&'a str> {
    env.iter().rev().find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

/// The least CUDA version that fulfils one of the alternatives that speak of CUDA.
fn required_cuda(requirement: &str) -> Option<CudaVersion> {
    requirement.split_whitespace().filter_map(|alternative| alternative.split(',').filter_map(least_cuda).max()).min()
}

/// The bound of `cuda>=X.Y`, `cuda>X.Y` or `cuda=X.Y`; `None` for other conditions.
fn least_cuda(condition: &str) -> Option<CudaVersion> {
    let comparison = condition.strip_prefix("cuda")?;
    let bound = [">=", ">", "="].iter().find_map(|operator| comparison.strip_prefix(operator))?;
    parse_version(bound)
}

/// Reads `12.4`, `12.4.1` or `12`.
fn parse_version(text: &str) -> Option<CudaVersion> {
    let mut parts = text.trim().split('.');
    Some(CudaVersion {
        major: parts.next()?.parse().ok()?,
        minor: match parts.next() {
            Some(minor) => minor.parse().ok()?,
            None => 0,
        },
    })
}

/// Whether the library path reaches a toolkit's compat folder before the driver's own libraries.
fn finds_compat(env: &[String]) -> bool {
    let path = variable(env, "LD_LIBRARY_PATH").unwrap_or_default();
    path.split(':')
        .take_while(|folder| folder.trim_end_matches('/') != LIBRARY_FOLDER)
        .any(|folder| folder.starts_with("/usr/local/cuda") && folder.trim_end_matches('/').ends_with("/compat"))
}
