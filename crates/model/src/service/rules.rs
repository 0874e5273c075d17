//! What makes a service wrong.

use super::{ServiceSpec, Surroundings};
use crate::names::ServiceKey;
use crate::violation::Violation;

/// Every rule that the service breaks; empty if it is right. `spec` has its defaults filled in.
pub fn validate(_spec: &ServiceSpec, _key: &ServiceKey, _around: &Surroundings<'_>) -> Vec<Violation> {
    Vec::new()
}
