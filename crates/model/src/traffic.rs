//! Where a service's requests go.

use serde::{Deserialize, Serialize};

use crate::names::{RevisionName, ServiceName};

/// What stands between a tag and the service's name in a host name. Neither may contain it, or two
/// services could have the same host.
pub const TAG_SEPARATOR: &str = "---";

/// One target of a service's traffic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrafficTarget {
    /// The revision, or `None` for the newest ready one.
    pub revision: Option<RevisionName>,
    /// Share of requests, 0 to 100. All of a service's add up to 100.
    pub percent: u32,
    /// Name under which this target alone is reachable.
    pub tag: Option<String>,
}

impl TrafficTarget {
    /// All traffic to the newest ready revision: what a service without a traffic block has.
    pub fn latest() -> Self {
        Self { revision: None, percent: 100, tag: None }
    }
}

/// The first label of a service's host name: `[TAG---]SERVICE-PROJECTNUMBER`. DNS allows it 63
/// characters.
pub fn host_label(tag: Option<&str>, service: &ServiceName, project_number: u64) -> String {
    match tag {
        Some(tag) => format!("{tag}{TAG_SEPARATOR}{service}-{project_number}"),
        None => format!("{service}-{project_number}"),
    }
}
