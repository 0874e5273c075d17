//! The run v1 API (Knative's shape): `Service` and what belongs to it.

pub mod convert;
mod types;

pub use crate::strict::{ParseError, parse_strict};
pub use types::*;
