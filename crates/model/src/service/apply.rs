//! How a service changes: what a request makes of it, and the revision that follows.

use super::rules::validate;
use super::{Service, ServiceSpec, ServiceStatus, Surroundings, defaults};
use crate::Timestamp;
use crate::condition::{Condition, ConditionType};
use crate::names::{RevisionKey, RevisionName, ServiceKey};
use crate::revision::{Phase, Revision, RevisionTemplate};
use crate::violation::Violation;

/// Where a change comes from, and what of it is chance: the rules themselves know neither clock nor
/// randomness.
#[derive(Debug, Clone)]
pub struct Origin {
    /// Uid of the service, used when it is made.
    pub uid: String,
    /// Uid of the revision, used if one is made; it also names the change.
    pub revision_uid: String,
    /// Three lower-case letters that end the name of a revision whose user chose none.
    pub suffix: String,
    /// Email of who asked for the change.
    pub actor: String,
    /// When it was asked for.
    pub now: Timestamp,
}

/// What a request makes of a service. If it changes nothing, `service` equals the one before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The service as it is to be stored.
    pub service: Service,
    /// The revision that the change makes, if it makes one.
    pub revision: Option<Revision>,
}

/// Which client wrote the service last. Clients write this into every request, so it is no change by
/// itself: replacing a service by its own export is a no-op with whichever client (row G12).
const CLIENT_ANNOTATIONS: [&str; 2] = ["run.googleapis.com/client-name", "run.googleapis.com/client-version"];

impl Service {
    /// A new service and its first revision.
    ///
    /// # Errors
    /// Every rule that the service breaks.
    pub fn create(
        key: &ServiceKey,
        spec: ServiceSpec,
        around: &Surroundings<'_>,
        origin: Origin,
    ) -> Result<Change, Vec<Violation>> {
        let spec = defaults(spec, key, around);
        let name = revision_name(key, &spec.template, 1, &[], &origin.suffix);
        let mut violations = validate(&spec, key, around);
        violations.extend(unknown_targets(&spec, &[], Some(&name)));
        if !violations.is_empty() {
            return Err(violations);
        }
        let pending = [ConditionType::Ready, ConditionType::ConfigurationsReady, ConditionType::RoutesReady];
        let service = Self {
            key: key.clone(),
            uid: origin.uid.clone(),
            generation: 1,
            revisions_made: 1,
            spec,
            created_at: origin.now,
            creator: origin.actor.clone(),
            updated_at: origin.now,
            last_modifier: origin.actor.clone(),
            operation_id: origin.revision_uid.clone(),
            deleted_at: None,
            status: ServiceStatus {
                latest_created_revision: Some(name.clone()),
                conditions: pending.map(|kind| deploying(kind, origin.now)).to_vec(),
                ..ServiceStatus::default()
            },
        };
        let revision = service.revision(name, origin);
        Ok(Change { service, revision: Some(revision) })
    }

    /// The service after its configuration is replaced by `spec`, and the revision that this makes.
    /// `existing` are the service's own revisions.
    ///
    /// A revision is made exactly when the template, with its defaults, is not the one before. Labels
    /// belong to the template, so the label `client.knative.dev/nonce`, which gcloud sets anew with each
    /// deployment, makes a revision even where nothing else changes, as on Cloud Run. A revision name
    /// that is only taken away makes none, nor do the annotations that name the client.
    ///
    /// # Errors
    /// Every rule that the service would break. Where the template stays as it is, its own rules are not
    /// asked again: traffic can be moved back even if, say, a quota has been lowered since.
    pub fn apply(
        &self,
        spec: ServiceSpec,
        existing: &[RevisionName],
        around: &Surroundings<'_>,
        origin: Origin,
    ) -> Result<Change, Vec<Violation>> {
        let spec = defaults(spec, &self.key, around);
        if without_client(spec.clone()) == without_client(self.spec.clone()) {
            return Ok(Change { service: self.clone(), revision: None });
        }
        let needs_revision = self.needs_revision(&spec.template);
        let mut violations = validate(&spec, &self.key, around);
        if !needs_revision {
            violations.retain(|violation| !violation.field.starts_with("spec.template."));
        }
        let next = self.revisions_made + 1;
        let name = needs_revision.then(|| revision_name(&self.key, &spec.template, next, existing, &origin.suffix));
        if let Some(name) = name.as_ref().filter(|name| existing.contains(name)) {
            let message = format!("Revision named '{name}' with different configuration already exists.");
            violations.push(Violation::new("spec.template.metadata.name", message));
        }
        violations.extend(unknown_targets(&spec, existing, name.as_ref()));
        if !violations.is_empty() {
            return Err(violations);
        }
        let mut service = Self {
            generation: self.generation + 1,
            spec,
            updated_at: origin.now,
            last_modifier: origin.actor.clone(),
            operation_id: origin.revision_uid.clone(),
            ..self.clone()
        };
        let revision = name.map(|name| {
            service.revisions_made = next;
            service.status.latest_created_revision = Some(name.clone());
            service.revision(name, origin)
        });
        Ok(Change { service, revision })
    }

    /// Whether the template is another one than that of the newest revision.
    fn needs_revision(&self, template: &RevisionTemplate) -> bool {
        let newest = self.status.latest_created_revision.as_ref().map(RevisionName::as_str);
        let renamed = template.name.is_some() && template.name.as_deref() != newest;
        renamed || content(template.clone()) != content(self.spec.template.clone())
    }

    fn revision(&self, name: RevisionName, origin: Origin) -> Revision {
        let pending = [
            ConditionType::Ready,
            ConditionType::Active,
            ConditionType::ContainerHealthy,
            ConditionType::ContainerReady,
            ConditionType::ResourcesAvailable,
        ];
        Revision {
            key: RevisionKey { project: self.key.project.clone(), region: self.key.region.clone(), name },
            service: self.key.name.clone(),
            uid: origin.revision_uid,
            generation: self.generation,
            template: self.spec.template.clone(),
            created_at: origin.now,
            creator: origin.actor,
            images: Vec::new(),
            images_at: None,
            phase: Phase::Deploying,
            conditions: pending.map(|kind| deploying(kind, origin.now)).to_vec(),
            warnings: Vec::new(),
        }
    }
}

fn deploying(kind: ConditionType, now: Timestamp) -> Condition {
    Condition::pending(kind, "Deploying", "Deploying revision.", now)
}

/// The name that the user chose, or `SERVICE-00001-abc` with the next number that is free.
fn revision_name(
    key: &ServiceKey,
    template: &RevisionTemplate,
    next: u64,
    existing: &[RevisionName],
    suffix: &str,
) -> RevisionName {
    if let Some(name) = &template.name {
        return RevisionName::new(name);
    }
    let mut number = next;
    loop {
        let name = RevisionName::new(format!("{}-{number:05}-{suffix}", key.name));
        if !existing.contains(&name) {
            return name;
        }
        number += 1;
    }
}

/// Traffic to revisions that do not exist and do not come into being now.
fn unknown_targets(spec: &ServiceSpec, existing: &[RevisionName], made: Option<&RevisionName>) -> Vec<Violation> {
    let unknown = |name: &RevisionName| !existing.contains(name) && made != Some(name);
    let targets = spec.traffic.iter().enumerate();
    targets
        .filter_map(|(index, target)| {
            let name = target.revision.as_ref().filter(|name| unknown(name))?;
            Some(Violation::new(
                format!("spec.traffic[{index}].revisionName"),
                format!("Revision '{name}' does not exist."),
            ))
        })
        .collect()
}

fn without_client(mut spec: ServiceSpec) -> ServiceSpec {
    for name in CLIENT_ANNOTATIONS {
        spec.annotations.remove(name);
        spec.template.annotations.remove(name);
    }
    spec
}

/// What of a template makes a revision another one.
fn content(mut template: RevisionTemplate) -> RevisionTemplate {
    template.name = None;
    for name in CLIENT_ANNOTATIONS {
        template.annotations.remove(name);
    }
    template
}
