//! What a form must know besides the service.

use std::collections::BTreeMap;
use std::sync::Arc;

use homerun_model::container::Container;
use homerun_model::gpu::GpuInventory;
use homerun_model::names::{ProjectId, Region};
use homerun_model::quota::Quotas;
use homerun_model::service::{self, Service};

use super::draft::{CONTAINERS, Draft, NAME};
use crate::app;
use crate::console::visit::Visit;
use crate::console::words;

/// What a form must know besides the service.
pub(super) struct Around<'a> {
    visit: &'a Visit,
    pub(super) project: ProjectId,
    /// Where the service is, or is to be.
    pub(super) region: Region,
    /// Where it could be.
    pub(super) regions: Vec<Region>,
    pub(super) inventory: &'a GpuInventory,
    /// Whether GPUs here are simulated.
    pub(super) simulated: bool,
    pub(super) quotas: Arc<Quotas>,
    /// Names of the images that are here, as far as the visitor may see them.
    pub(super) images: Vec<String>,
    /// Emails of service accounts; `None` if the visitor may not see them.
    pub(super) accounts: Option<Vec<String>>,
    /// Whether the service exists.
    pub(super) stored: bool,
    /// Where to go back to.
    pub(super) back: String,
}

impl<'a> Around<'a> {
    /// Around a new service, in a region if it exists.
    pub(super) fn of_new(visit: &'a Visit, region: Option<&str>) -> Self {
        let regions = visit.platform().config.all_regions();
        let chosen = regions.iter().find(|known| Some(known.as_str()) == region).or(regions.first());
        let region = chosen.cloned().unwrap_or_else(|| Region::new(""));
        Self::new(visit, region, visit.path("services"), false)
    }

    /// Around a service that exists.
    pub(super) fn of(visit: &'a Visit, service: &Service) -> Self {
        Self::new(visit, service.key.region.clone(), words::path(&service.key, ""), true)
    }

    fn new(visit: &'a Visit, region: Region, back: String, stored: bool) -> Self {
        let (platform, caller) = (visit.platform(), visit.caller());
        let mut images: Vec<String> = app::images::list(platform, caller)
            .map(|images| images.into_iter().map(|image| image.name).collect())
            .unwrap_or_default();
        images.sort();
        images.dedup();
        let accounts = app::accounts::list(platform, caller, &visit.project.id).ok();
        let usable = |accounts: Vec<crate::store::ServiceAccount>| {
            accounts.into_iter().filter(|account| !account.disabled).map(|account| account.email).collect()
        };
        Self {
            visit,
            project: visit.project.id.clone(),
            region,
            regions: platform.config.all_regions(),
            inventory: &platform.gpus.inventory,
            simulated: words::gpus_are_simulated(visit),
            quotas: platform.quotas.now(),
            images,
            accounts: accounts.map(usable),
            stored,
            back,
        }
    }

    /// What the fields of a draft get that are left empty, as far as it can be read.
    pub(super) fn unset(&self, draft: &Draft) -> BTreeMap<String, String> {
        let Ok(wire) = draft.service() else { return BTreeMap::new() };
        let project = &self.visit.project;
        let Ok((parsed, key)) = app::wire::parse(project, self.region.clone(), wire, &draft.text(NAME)) else {
            return BTreeMap::new();
        };
        let around = self.visit.platform().surroundings(project, &self.regions, &self.quotas);
        let template = service::defaults(parsed.spec, &key, &around).template;
        let number = |number: Option<u32>| number.map(|number| number.to_string());
        let spec = "spec.template.spec";
        let mut unset = BTreeMap::new();
        let mut add = |path: String, value: Option<String>| unset.extend(value.map(|value| (path, value)));
        add(format!("{spec}.timeoutSeconds"), number(template.timeout_seconds));
        add(format!("{spec}.containerConcurrency"), number(template.concurrency));
        let most = "spec.template.metadata.annotations[autoscaling.knative.dev/maxScale]";
        add(most.to_owned(), number(template.max_instances));
        for (index, Container { cpu, memory, port, .. }) in template.containers.iter().enumerate() {
            let path = format!("{CONTAINERS}[{index}]");
            add(format!("{path}.resources.limits[cpu]"), cpu.map(|cpu| cpu.to_string()));
            add(format!("{path}.resources.limits[memory]"), memory.map(|memory| memory.to_string()));
            add(format!("{path}.ports[0].containerPort"), port.as_ref().map(|port| port.number.to_string()));
        }
        unset
    }
}
