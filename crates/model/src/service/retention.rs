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
        format!("it receives {percent} % of the service's traffic; send that to another revision first")
    } else if !tags.is_empty() {
        format!("it has the traffic tag {}; remove that first", tags.join(", "))
    } else if targets().next().is_some() {
        "the service's traffic names it; remove that target first".to_owned()
    } else if service.status.latest_created_revision.as_ref() == Some(name) {
        "it is the service's latest revision; deploy another first".to_owned()
    } else if service.status.latest_ready_revision.as_ref() == Some(name) {
        "it is the service's latest ready revision; deploy another first".to_owned()
    } else {
        return None;
    };
    Some(format!("Revision '{name}' cannot be deleted: {reason}."))
}

/// The revisions to drop so that at most [`REVISIONS_MAX`] are kept. `revisions` are all of the
/// service's, the oldest first.
pub fn excess(service: &Service, revisions: &[RevisionName]) -> Vec<RevisionName> {
    let many = revisions.len().saturating_sub(REVISIONS_MAX);
    if many == 0 {
        return Vec::new();
    }
    let addressed: BTreeSet<&RevisionName> =
        revisions.iter().filter(|name| why_kept(service, name).is_some()).collect();
    revisions.iter().filter(|name| !addressed.contains(name)).take(many).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::{Origin, ServiceSettings, ServiceSpec, Surroundings};

    fn service() -> Service {
        let project = crate::names::Project { id: "demo".into(), number: 1 };
        let key = crate::names::ServiceKey {
            project: "demo".into(),
            region: "here".into(),
            name: crate::names::ServiceName::from("a"),
        };
        let container = crate::container::Container { image: "i".to_owned(), ..Default::default() };
        let template = crate::revision::RevisionTemplate { containers: vec![container], ..Default::default() };
        let spec = ServiceSpec {
            labels: Default::default(),
            annotations: Default::default(),
            template,
            traffic: Vec::new(),
            ingress: None,
            min_instances: None,
            max_instances: None,
            invoker_iam_disabled: None,
        };
        let (gpus, quotas, settings) = (Default::default(), Default::default(), ServiceSettings::default());
        let regions = ["here".into()];
        let around =
            Surroundings { project: &project, gpus: &gpus, quotas: &quotas, regions: &regions, settings: &settings };
        let origin = Origin {
            uid: "u".to_owned(),
            revision_uid: "r".to_owned(),
            suffix: "abc".to_owned(),
            actor: "ann".to_owned(),
            now: crate::Timestamp::default(),
        };
        Service::create(&key, spec, &around, origin).expect("a valid service").service
    }

    #[test]
    fn s03_the_oldest_that_nothing_addresses_go() {
        let mut service = service();
        let names: Vec<RevisionName> =
            (1..=REVISIONS_MAX + 3).map(|number| RevisionName::new(format!("a-{number:05}-abc"))).collect();
        service.status.latest_created_revision = names.last().cloned();
        service.spec.traffic[0].revision = Some(names[0].clone());
        service.spec.traffic[0].tag = Some("old".to_owned());
        assert!(why_kept(&service, &names[0]).is_some_and(|reason| reason.contains("traffic tag old")));
        assert!(why_kept(&service, &names[REVISIONS_MAX + 2]).is_some_and(|reason| reason.contains("latest revision")));
        assert_eq!(why_kept(&service, &names[1]), None);
        assert_eq!(excess(&service, &names), names[1..4]);
        assert_eq!(excess(&service, &names[..REVISIONS_MAX]), []);
    }
}
