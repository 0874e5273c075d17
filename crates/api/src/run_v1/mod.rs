//! The run v1 API (Knative's shape): `Service` and what belongs to it.

pub mod convert;
mod domains;
mod lenient;
mod types;

pub use crate::strict::{ParseError, UnknownField, parse_strict};
pub use domains::*;
pub use types::*;
