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

/// All requests to the newest ready revision. Targets with a tag stay, without a share of the requests.
pub fn all_to_latest(targets: &[TrafficTarget]) -> Vec<TrafficTarget> {
    let tagged = targets.iter().filter(|target| target.tag.is_some() || target.revision.is_none());
    let mut moved: Vec<TrafficTarget> = tagged.map(|target| TrafficTarget { percent: 0, ..target.clone() }).collect();
    match moved.iter_mut().find(|target| target.revision.is_none()) {
        Some(latest) => latest.percent = 100,
        None => moved.insert(0, TrafficTarget::latest()),
    }
    // What has neither a share nor a tag is no target.
    moved.retain(|target| target.percent > 0 || target.tag.is_some());
    moved
}

/// What goes to the newest ready revision goes to `serving`, whatever becomes ready; a tag of the newest ready revision
/// goes on following it.
pub fn pinned(targets: &[TrafficTarget], serving: &RevisionName) -> Vec<TrafficTarget> {
    let share: u32 = targets.iter().filter(|target| target.revision.is_none()).map(|target| target.percent).sum();
    let mut pinned: Vec<TrafficTarget> = targets.to_vec();
    for latest in pinned.iter_mut().filter(|target| target.revision.is_none()) {
        latest.percent = 0;
    }
    pinned.retain(|target| target.revision.is_some() || target.tag.is_some());
    let same = |target: &&mut TrafficTarget| target.revision.as_ref() == Some(serving);
    match pinned.iter_mut().find(same) {
        Some(target) => target.percent += share,
        None if share > 0 => {
            pinned.insert(0, TrafficTarget { revision: Some(serving.clone()), percent: share, tag: None });
        }
        None => {}
    }
    pinned
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(revision: Option<&str>, percent: u32, tag: Option<&str>) -> TrafficTarget {
        TrafficTarget { revision: revision.map(RevisionName::from), percent, tag: tag.map(str::to_owned) }
    }

    #[test]
    fn s03_all_requests_go_to_the_newest_revision_and_tags_stay() {
        let before = [target(Some("a-1"), 60, Some("old")), target(Some("a-2"), 30, None), target(None, 10, None)];
        let after = [target(Some("a-1"), 0, Some("old")), target(None, 100, None)];
        assert_eq!(all_to_latest(&before), after);
        assert_eq!(all_to_latest(&before[1..2]), [TrafficTarget::latest()]);
        assert_eq!(all_to_latest(&[TrafficTarget::latest()]), [TrafficTarget::latest()], "nothing changes");
        assert_eq!(
            all_to_latest(&[target(Some("a-1"), 100, None), target(None, 0, Some("new"))]),
            [target(None, 100, Some("new"))]
        );
    }

    #[test]
    fn s03_a_revision_without_requests_leaves_them_where_they_go() {
        let serving = RevisionName::from("a-1");
        assert_eq!(pinned(&[TrafficTarget::latest()], &serving), [target(Some("a-1"), 100, None)]);
        let before = [target(None, 40, Some("new")), target(Some("a-1"), 60, Some("old"))];
        assert_eq!(pinned(&before, &serving), [target(None, 0, Some("new")), target(Some("a-1"), 100, Some("old"))]);
        let named = [target(Some("a-2"), 100, None)];
        assert_eq!(pinned(&named, &serving), named, "nothing changes");
    }
}
