//! The types of the published definition, field by field.
//!
//! Every field is optional, as there: what must be given is a rule of the model. Absent fields are not
//! written; `null` reads as absent, as in every JSON that Google's servers take. `tests/published.rs`
//! holds the types against the definition.

#![allow(missing_docs, reason = "the fields are the published ones; their meaning is published with them")]

mod container;
mod meta;
mod policy;
mod resource;

pub use container::*;
pub use meta::*;
pub use policy::*;
pub use resource::*;
