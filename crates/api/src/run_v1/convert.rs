//! Wire to model and back.
//!
//! What a client may write in several ways (booleans in any case, empty strings for unset) is brought
//! to one form here. A field that exists in the published API and that homerun cannot honour is a
//! violation that names it; nothing is dropped in silence.

mod annotations;
mod containers;
mod domains;
mod from_wire;
mod policy;
mod to_wire;

pub use domains::{DOMAINS_API, DomainWish, domain_from_wire, domain_to_wire};
pub use from_wire::{ParsedService, service_from_wire};
pub use policy::{policy_from_wire, policy_to_wire};
pub use to_wire::{Place, configuration_to_wire, revision_to_wire, route_to_wire, service_to_wire};

/// The only API version and group that services have.
const API_VERSION: &str = "serving.knative.dev/v1";
