//! What services mean on the wire, and how they are shown.

mod laws;
mod reading;
mod rendering;

use homerun_api::run_v1::convert::{Place, service_from_wire};
use homerun_api::run_v1::{self, parse_strict};
use homerun_model::gpu::{GpuInventory, published_types};
use homerun_model::names::{GpuType, Project, Region, ServiceKey};
use homerun_model::quota::{QuotaKey, Quotas};
use homerun_model::service::{Origin, ServiceSettings, ServiceSpec, Surroundings};
use serde_json::{Value, json};

/// A project with two L4 GPUs in one region.
struct World {
    project: Project,
    gpus: GpuInventory,
    quotas: Quotas,
    regions: Vec<Region>,
    settings: ServiceSettings,
}

impl World {
    fn new() -> Self {
        let (project, region, gpu) =
            (Project { id: "demo".into(), number: 7 }, Region::from("us-central1"), GpuType::from("nvidia-l4"));
        let mut quotas = Quotas::default();
        let key =
            QuotaKey { project: project.id.clone(), region: region.clone(), gpu: gpu.clone(), zonal_redundancy: false };
        quotas.set(key, 2);
        let gpus =
            GpuInventory { types: published_types(), regions: [(region.clone(), [(gpu, vec![2])].into())].into() };
        Self { project, gpus, quotas, regions: vec![region], settings: ServiceSettings::default() }
    }

    fn around(&self) -> Surroundings<'_> {
        Surroundings {
            project: &self.project,
            gpus: &self.gpus,
            quotas: &self.quotas,
            regions: &self.regions,
            settings: &self.settings,
        }
    }
}

fn key() -> ServiceKey {
    ServiceKey { project: "demo".into(), region: "us-central1".into(), name: "ocr".into() }
}

fn origin() -> Origin {
    Origin {
        uid: "uid-s".to_owned(),
        revision_uid: "uid-r".to_owned(),
        suffix: "abc".to_owned(),
        actor: "ann@example.com".to_owned(),
        now: chrono::DateTime::from_timestamp(1_800_000_000, 0).expect("in range"),
    }
}

fn tag_url(tag: &str) -> String {
    format!("http://{tag}---ocr")
}

fn place() -> Place<'static> {
    Place { project_number: 7, resource_version: 42, url: "http://ocr".to_owned(), tag_url: &tag_url }
}

fn parse(value: &Value) -> run_v1::Service {
    parse_strict(value.to_string().as_bytes()).expect("a service")
}

/// What a service says, or the fields that are wrong and why.
fn read(wire: run_v1::Service) -> Result<ServiceSpec, Vec<(String, String)>> {
    let (parsed, violations) = service_from_wire(wire);
    let pair = |violation: homerun_model::violation::Violation| (violation.field, violation.message);
    if violations.is_empty() { Ok(parsed.spec) } else { Err(violations.into_iter().map(pair).collect()) }
}

/// The page's own YAML with its placeholders filled in.
fn page() -> Value {
    json!({
        "apiVersion": "serving.knative.dev/v1", "kind": "Service",
        "metadata": {"name": "ocr", "annotations": {"run.googleapis.com/launch-stage": "BETA"}},
        "spec": {"template": {
            "metadata": {"annotations": {
                "autoscaling.knative.dev/maxScale": "1", "run.googleapis.com/cpu-throttling": "false"}},
            "spec": {
                "containers": [{
                    "image": "localhost/ocr", "ports": [{"containerPort": 8080, "name": "http1"}],
                    "resources": {"limits": {"cpu": "4", "memory": "16Gi", "nvidia.com/gpu": "1"}},
                    "startupProbe": {"failureThreshold": 1800, "periodSeconds": 1, "tcpSocket": {"port": 8080}, "timeoutSeconds": 1},
                }],
                "nodeSelector": {"run.googleapis.com/accelerator": "nvidia-l4"},
            },
        }},
    })
}
