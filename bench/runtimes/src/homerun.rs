//! homerun's own backend, through its public interface.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use homerun_backend::oci::{OciBackend, Settings};
use homerun_backend::{Backend, LogLine, LogSink};
use homerun_model::container::Protocol;
use homerun_model::instance::{ContainerSpec, IngressPort, InstanceSpec, InstanceState};
use homerun_model::names::{InstanceId, RevisionKey};
use homerun_model::quantity::{Cpu, Memory};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{CPU_MILLIS, MEMORY_BYTES, PORT, answer};

struct Ignored;

impl LogSink for Ignored {
    fn line(&self, _: LogLine<'_>) {}
}

pub struct Homerun {
    runtime: tokio::runtime::Runtime,
    backend: OciBackend,
    image: String,
}

impl Homerun {
    pub fn open(folder: &Path, archive: &Path) -> Result<Self, Box<dyn Error>> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let settings = Settings { data_dir: folder.join("homerun"), gpu: "none".parse()? };
        let backend = runtime.block_on(OciBackend::open(settings, Arc::new(Ignored)))?;
        let image = runtime.block_on(backend.import(archive, "hello:bench", Vec::new()))?;

        Ok(Self { runtime, backend, image: image.reference })
    }

    pub fn measure(&self, number: usize) -> Result<Duration, Box<dyn Error>> {
        let spec = self.instance(number);
        let id = spec.id.clone();
        self.runtime.block_on(async {
            let begun = Instant::now();
            self.backend.start(spec).await?;
            self.first_answer(&id).await?;
            let took = begun.elapsed();
            self.backend.stop(&id, Duration::ZERO).await;
            self.until(&id, |state| state.is_over()).await?;
            self.backend.remove(&id).await;
            Ok(took)
        })
    }

    async fn first_answer(&self, id: &InstanceId) -> Result<(), Box<dyn Error>> {
        self.until(id, |state| *state != InstanceState::Creating).await?;
        let begun = Instant::now();
        let mut stream = loop {
            match self.backend.connect(id, PORT).await {
                Ok(stream) => break stream,
                Err(error)
                    if error.kind() == std::io::ErrorKind::ConnectionRefused && begun.elapsed() < answer::PATIENCE =>
                {
                    tokio::task::block_in_place(|| std::thread::sleep(answer::PAUSE));
                }
                Err(error) => return Err(format!("{error}; the instance: {:?}", self.backend.list()).into()),
            }
        };
        stream.write_all(answer::REQUEST).await?;
        let mut answer = [0; 64];
        let count = stream.read(&mut answer).await?;
        answer::check(&answer[..count])
    }

    async fn until(&self, id: &InstanceId, wanted: impl Fn(&InstanceState) -> bool) -> Result<(), Box<dyn Error>> {
        let mut changes = self.backend.changes();
        loop {
            changes.borrow_and_update();
            if self.backend.list().iter().any(|instance| instance.spec.id == *id && wanted(&instance.state)) {
                return Ok(());
            }
            tokio::time::timeout(answer::PATIENCE, changes.changed()).await??;
        }
    }

    fn instance(&self, number: usize) -> InstanceSpec {
        let container = ContainerSpec {
            name: "app".to_owned(),
            image: self.image.clone(),
            command: Vec::new(),
            args: Vec::new(),
            working_dir: None,
            env: BTreeMap::from([("PORT".to_owned(), PORT.to_string())]),
            cpu: Cpu::from_millis(CPU_MILLIS),
            startup_cpu: None,
            memory: Memory::mib(MEMORY_BYTES >> 20),
            gpu: false,
            cuda_compat: false,
            startup_probe: None,
            liveness_probe: None,
            readiness_probe: None,
            port: Some(PORT),
            volume_mounts: Vec::new(),
        };
        InstanceSpec {
            id: InstanceId::new(format!("bench-{number}")),
            revision: RevisionKey { project: "p".into(), region: "r".into(), name: "bench-00001-abc".into() },
            service: "bench".into(),
            containers: vec![container],
            start_waves: vec![vec![0]],
            volumes: Vec::new(),
            gpus: Vec::new(),
            gpu_zonal_redundancy: false,
            ingress: IngressPort { port: PORT, protocol: Protocol::Http1 },
            decided_at: chrono::Utc::now(),
        }
    }

    pub fn close(self) {
        self.runtime.block_on(self.backend.shutdown(false));
    }
}
