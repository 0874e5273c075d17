//! Which revisions a service keeps (row S03).

use std::collections::BTreeSet;

use super::Service;
use crate::names::RevisionName;

/// Revisions that a service keeps, as Cloud Run's quota page states it; beyond them the oldest that
/// nothing addresses go.
pub const REVISIONS_MAX: usize = 1000;

/// Why a revision may not be deleted, if it may not.
pub fn why_kept(service: &Service, name: &RevisionName) -> Option<String> {
    let percent: u32 =
        service.status.traffic.iter().filter(|target| &target.revision == name).map(|target| target.percent).sum();
    let targets = || service.spec.traffic.iter().filter(|target| target.revision.as_ref() == Some(name));
    let tags: Vec<&str> = targets().filter_map(|target| target.tag.as_deref()).collect();
    let reason = if percent > 0 {
        format!("it receives {percent} % of the service's traffic")
    } else if !tags.is_empty() {
        format!("it has the traffic tag {}", tags.join(", "))
    } else if targets().next().is_some() {
        "the service's traffic names it".to_owned()
    } else if service.status.latest_created_revision.as_ref() == Some(name) {
        "it is the service's latest revision".to_owned()
    } else if service.status.latest_ready_revision.as_ref() == Some(name) {
        "it is the service's latest ready revision".to_owned()
    } else {
        return None;
    };
    Some(format!("Revision '{name}' cannot be deleted: {reason}. Send traffic to another revision first."))
}

/// The revisions to drop so that at most [`REVISIONS_MAX`] are kept. `revisions` are all of the
/// service's, the oldest first.
pub fn excess(service: &Service, revisions: &[RevisionName]) -> Vec<RevisionName> {
    let many = revisions.len().saturating_sub(REVISIONS_MAX);
    let addressed: BTreeSet<&RevisionName> =
        revisions.iter().filter(|name| why_kept(service, name).is_some()).collect();
    revisions.iter().filter(|name| !addressed.contains(name)).take(many).cloned().collect()
}
