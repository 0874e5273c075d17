//! A small world with GPUs and quotas, and services to try the rules on.

use std::collections::BTreeMap;

use homerun_model::container::Container;
use homerun_model::gpu::{GpuInventory, GpuTypeInfo, published_types};
use homerun_model::names::{GpuType, Project, ProjectId, Region, ServiceKey, ServiceName};
use homerun_model::quantity::{Cpu, Memory};
use homerun_model::quota::{QuotaKey, Quotas};
use homerun_model::revision::RevisionTemplate;
use homerun_model::service::{ServiceSettings, ServiceSpec, Surroundings, defaults, validate};
use homerun_model::violation::Violation;

/// A region whose GPUs are in one zone.
pub const ONE_ZONE: &str = "us-central1";
/// A region that has GPUs in two zones.
pub const TWO_ZONES: &str = "europe-west1";
/// A region without GPUs.
pub const NO_GPU: &str = "asia-east1";

pub const CPU: &str = "spec.template.spec.containers[0].resources.limits[cpu]";
pub const MEMORY: &str = "spec.template.spec.containers[0].resources.limits[memory]";
pub const MAX_SCALE: &str = "spec.template.metadata.annotations[autoscaling.knative.dev/maxScale]";
pub const SELECTOR: &str = "spec.template.spec.nodeSelector[run.googleapis.com/accelerator]";

/// A service and everything the rules look at.
#[derive(Debug)]
pub struct Case {
    pub key: ServiceKey,
    pub spec: ServiceSpec,
    pub project: Project,
    pub gpus: GpuInventory,
    pub quotas: Quotas,
    pub regions: Vec<Region>,
    pub settings: ServiceSettings,
}

impl Case {
    /// A service of one container that gives nothing but its image.
    pub fn plain() -> Self {
        let project = Project { id: ProjectId::from("demo"), number: 100_000_000_001 };
        let mut case = Self {
            key: ServiceKey {
                project: project.id.clone(),
                region: Region::from(ONE_ZONE),
                name: ServiceName::from("hello"),
            },
            spec: spec(vec![container("")]),
            project,
            gpus: inventory(),
            quotas: Quotas::default(),
            regions: [ONE_ZONE, TWO_ZONES, NO_GPU].map(Region::from).to_vec(),
            settings: ServiceSettings::default(),
        };
        for region in [ONE_ZONE, TWO_ZONES] {
            case.grant(region, "nvidia-l4", false, 3);
            case.grant(region, "nvidia-rtx-4090", false, 1);
            case.grant(region, "nvidia-rtx-pro-6000", false, 1);
        }
        case
    }

    /// The same with `--gpu 1`.
    pub fn gpu() -> Self {
        let mut case = Self::plain();
        case.container().gpu_count = Some(1);
        case
    }

    /// An ingress container `app` and a sidecar `db`.
    pub fn sidecar() -> Self {
        let mut case = Self::plain();
        case.spec = spec(vec![container("app"), container("db")]);
        case.container().port = Some(http1(8080));
        case
    }

    pub fn grant(&mut self, region: &str, gpu: &str, zonal_redundancy: bool, limit: u32) {
        let key = QuotaKey {
            project: self.project.id.clone(),
            region: Region::from(region),
            gpu: GpuType::from(gpu),
            zonal_redundancy,
        };
        self.quotas.set(key, limit);
    }

    pub fn around(&self) -> Surroundings<'_> {
        Surroundings {
            project: &self.project,
            gpus: &self.gpus,
            quotas: &self.quotas,
            regions: &self.regions,
            settings: &self.settings,
        }
    }

    pub fn template(&mut self) -> &mut RevisionTemplate {
        &mut self.spec.template
    }

    pub fn container(&mut self) -> &mut Container {
        &mut self.spec.template.containers[0]
    }

    pub fn size(&mut self, cpu_millis: u64, memory: Memory) {
        self.container().cpu = Some(Cpu::from_millis(cpu_millis));
        self.container().memory = Some(memory);
    }

    pub fn region(&mut self, region: &str) {
        self.key.region = Region::from(region);
    }

    pub fn filled(&self) -> ServiceSpec {
        defaults(self.spec.clone(), &self.key, &self.around())
    }

    /// What is wrong with the service once its defaults are filled in.
    pub fn violations(&self) -> Vec<Violation> {
        validate(&self.filled(), &self.key, &self.around())
    }
}

fn inventory() -> GpuInventory {
    let mut types = published_types();
    types.push(GpuTypeInfo {
        name: GpuType::from("nvidia-rtx-4090"),
        product: "NVIDIA GeForce RTX 4090".to_owned(),
        memory: Memory::gib(24),
        min_cpu: Cpu::from_millis(2000),
        min_memory: Memory::gib(8),
        recommended_cpu: Cpu::from_millis(4000),
        recommended_memory: Memory::gib(16),
    });
    let zones = |zones: &[u32]| {
        let types = ["nvidia-l4", "nvidia-rtx-4090", "nvidia-rtx-pro-6000"].map(GpuType::from);
        types.into_iter().map(|gpu| (gpu, zones.to_vec())).collect::<BTreeMap<_, _>>()
    };
    let regions = BTreeMap::from([(Region::from(ONE_ZONE), zones(&[2])), (Region::from(TWO_ZONES), zones(&[2, 2]))]);
    GpuInventory { types, regions }
}

pub fn container(name: &str) -> Container {
    Container { name: name.to_owned(), image: "registry.example/app:1".to_owned(), ..Container::default() }
}

pub fn http1(number: u32) -> homerun_model::container::Port {
    homerun_model::container::Port { protocol: homerun_model::container::Protocol::Http1, number }
}

pub fn spec(containers: Vec<Container>) -> ServiceSpec {
    ServiceSpec {
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        template: RevisionTemplate { containers, ..RevisionTemplate::default() },
        traffic: Vec::new(),
        ingress: None,
        min_instances: None,
        manual_instances: None,
        max_instances: None,
        invoker_iam_disabled: None,
        default_url_disabled: None,
    }
}
