//! Which revisions a service keeps (row S03).

use std::collections::BTreeSet;

use super::{Service, ServingTarget};
use crate::names::RevisionName;

/// Revisions that a service keeps, as Cloud Run's quota page states it; beyond them the oldest that
/// nothing addresses go.
pub const REVISIONS_MAX: usize = 1000;

/// Why a revision may not be deleted, if it may not: every reason, each with what would remove it.
pub fn why_kept(service: &Service, name: &RevisionName) -> Option<String> {
    let newest = service.status.latest_created_revision.as_ref() == Some(name);
    let newest_ready = service.status.latest_ready_revision.as_ref() == Some(name);
    let mut reasons = Vec::new();
    if newest {
        reasons.push("it is the service's latest revision; deploy another revision first".to_owned());
    } else if newest_ready {
        reasons.push("it is the service's latest ready revision; deploy another revision first".to_owned());
    }
    // What goes to the latest revision moves with the next deployment.
    let moves = |target: &ServingTarget| target.latest && !reasons.is_empty();
    let serving = service.status.traffic.iter().filter(|target| &target.revision == name && !moves(target));
    let percent: u32 = serving.map(|target| target.percent).sum();
    let targets = || service.spec.traffic.iter().filter(|target| target.revision.as_ref() == Some(name));
    let tags: Vec<&str> = targets().filter_map(|target| target.tag.as_deref()).collect();
    if percent > 0 {
        reasons.push(format!("it receives {percent} % of the service's traffic; send that to another revision first"));
    } else if tags.is_empty() && targets().next().is_some() {
        reasons.push("the service's traffic names it; remove that target first".to_owned());
    }
    if !tags.is_empty() {
        reasons.push(format!("it has the traffic tag {}; remove that first", tags.join(", ")));
    }
    (!reasons.is_empty()).then(|| format!("Revision '{name}' cannot be deleted: {}.", reasons.join("; and ")))
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
            manual_instances: None,
            max_instances: None,
            invoker_iam_disabled: None,
            default_url_disabled: None,
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

    #[test]
    fn s03_a_refusal_says_all_that_must_be_done_first() {
        let mut service = service();
        let name = RevisionName::from("a-00001-abc");
        let serving = |latest, percent| ServingTarget { revision: name.clone(), latest, percent, tag: None };
        service.status.traffic = vec![serving(true, 100)];
        let deploy = "Revision 'a-00001-abc' cannot be deleted: it is the service's latest revision; deploy another \
                      revision first.";
        assert_eq!(why_kept(&service, &name).as_deref(), Some(deploy), "to move the traffic alone would not help");

        service.status.latest_created_revision = Some("a-00002-abc".into());
        service.status.traffic = vec![serving(false, 40)];
        service.spec.traffic[0].revision = Some(name.clone());
        service.spec.traffic[0].tag = Some("old".to_owned());
        let both = "Revision 'a-00001-abc' cannot be deleted: it receives 40 % of the service's traffic; send that to \
                    another revision first; and it has the traffic tag old; remove that first.";
        assert_eq!(why_kept(&service, &name).as_deref(), Some(both));
    }
}
