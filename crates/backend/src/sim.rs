//! A backend without containers: every instance is a task of this process that answers HTTP on a
//! loopback port and says that it is simulated. For trying the API and for tests.
//!
//! What an image does is in its name:
//!
//! | image | its instances |
//! |---|---|
//! | `sim/hello` | answer |
//! | `sim/slow?ms=N` | answer, N milliseconds after their start |
//! | `sim/exits` | end at once with code 1 |
//! | `sim/never-listens` | fail their startup probe |
//! | `sim/missing` | have no image |
//! | anything else | answer |

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use homerun_model::gpu::published_types;
use homerun_model::instance::{Failure, InstanceSpec, InstanceState, ObservedInstance, Stamps};
use homerun_model::names::InstanceId;
use homerun_model::revision::PinnedImage;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::gpu::{Device, Driver, GpuSetting, Gpus, SimulationError};
use crate::{Backend, LocalImage, LogLine, LogSink, LogStream, PullError, PulledImage};

/// The simulation.
pub struct SimBackend {
    shared: Arc<Shared>,
    gpus: Gpus,
}

struct Shared {
    instances: Mutex<BTreeMap<InstanceId, Simulated>>,
    changes: watch::Sender<u64>,
    logs: Arc<dyn LogSink>,
}

struct Simulated {
    observed: ObservedInstance,
    port: Option<u16>,
    task: Option<AbortHandle>,
}

impl SimBackend {
    /// A simulation with the GPUs of the setting, described below `data_dir`.
    ///
    /// # Errors
    /// When the simulated GPUs' files cannot be written.
    pub fn open(gpu: &GpuSetting, data_dir: &Path, logs: Arc<dyn LogSink>) -> Result<Self, SimulationError> {
        let shared = Shared { instances: Mutex::default(), changes: watch::Sender::new(0), logs };
        Ok(Self { shared: Arc::new(shared), gpus: Gpus::open(gpu, &published_types(), data_dir)? })
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<InstanceId, Simulated>> {
        self.instances.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes one instance, unless it is over, and tells who listens; whether it was changed. A task that is
    /// aborted runs on to where it next waits, and must not bring back what has been stopped.
    fn update(&self, id: &InstanceId, change: impl FnOnce(&mut Simulated)) -> bool {
        let mut instances = self.lock();
        let lives = instances.get_mut(id).filter(|instance| !instance.observed.state.is_over());
        let changed = lives.map(change).is_some();
        drop(instances);
        if changed {
            self.changes.send_modify(|count| *count += 1);
        }
        changed
    }

    async fn live(self: Arc<Self>, spec: InstanceSpec) {
        let (id, image) = (spec.id.clone(), spec.containers[0].image.clone());
        let container = spec.containers[0].name.clone();
        let text = "simulated instance: no container runs";
        let time = chrono::Utc::now();
        self.logs.line(LogLine { spec: &spec, container: &container, stream: LogStream::System, time, text });
        let fail = |failure| {
            self.update(&id, |instance| {
                instance.observed.state = InstanceState::Failed(failure);
                instance.observed.stamps.ended = Some(chrono::Utc::now());
            });
        };
        if image.starts_with("sim/exits") {
            return fail(Failure::Exited { container, code: Some(1), out_of_memory: false, was_ready: false });
        }
        if image.starts_with("sim/never-listens") {
            return fail(Failure::StartupProbe { container, last_error: "connection refused".to_owned() });
        }
        tokio::time::sleep(start_delay(&image)).await;
        let listener = match TcpListener::bind(("127.0.0.1", 0)).await {
            Ok(listener) => listener,
            Err(error) => {
                return fail(Failure::Create { message: error.to_string() });
            }
        };
        let port = listener.local_addr().map(|address| address.port()).ok();
        let ready = self.update(&id, |instance| {
            instance.port = port;
            instance.observed.state = InstanceState::Ready;
            instance.observed.stamps.ready = Some(chrono::Utc::now());
        });
        if !ready {
            return;
        }
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, spec.clone()));
        }
    }
}

/// `ms=N` of an image's name.
fn start_delay(image: &str) -> Duration {
    let digits = |text: &str| text.chars().take_while(char::is_ascii_digit).collect::<String>().parse().ok();
    Duration::from_millis(image.split_once("ms=").and_then(|(_, rest)| digits(rest)).unwrap_or(0))
}

/// Answers every request of a connection alike. Bodies are not read: nobody sends any to a simulation.
async fn answer(mut stream: TcpStream, spec: InstanceSpec) {
    let body = format!("simulated instance {} of {}\n", spec.id, spec.revision.name);
    let response = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nX-Homerun-Simulated: true\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut seen = Vec::new();
    loop {
        match stream.read_buf(&mut seen).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        while let Some(end) = seen.windows(4).position(|window| window == b"\r\n\r\n") {
            seen.drain(..end + 4);
            if stream.write_all(response.as_bytes()).await.is_err() {
                return;
            }
        }
    }
}

#[async_trait]
impl Backend for SimBackend {
    fn name(&self) -> &'static str {
        "sim"
    }

    async fn pull(&self, image: &str, progress: &(dyn Fn(String) + Send + Sync)) -> Result<PulledImage, PullError> {
        progress("Simulating the image.".to_owned());
        if image.starts_with("sim/missing") {
            return Err(PullError::NotFound(image.to_owned()));
        }
        let pinned = PinnedImage { reference: image.to_owned(), digest: format!("sha256:{:064x}", 0) };
        Ok(PulledImage { pinned, env: Vec::new(), exposed_ports: Vec::new() })
    }

    async fn start(&self, spec: InstanceSpec) -> io::Result<()> {
        let id = spec.id.clone();
        let now = chrono::Utc::now();
        let stamps = Stamps { creating: Some(now), started: Some(now), ..Stamps::default() };
        let observed =
            ObservedInstance { spec: spec.clone(), state: InstanceState::Starting, stamps, warnings: Vec::new() };
        let mut instances = self.shared.lock();
        if instances.contains_key(&id) {
            return Ok(());
        }
        let task = Some(tokio::spawn(self.shared.clone().live(spec)).abort_handle());
        instances.insert(id, Simulated { observed, port: None, task });
        drop(instances);
        self.shared.changes.send_modify(|count| *count += 1);
        Ok(())
    }

    async fn stop(&self, id: &InstanceId, _grace: Duration) {
        self.shared.update(id, |instance| {
            instance.task.take().inspect(AbortHandle::abort);
            instance.port = None;
            instance.observed.state = InstanceState::Stopped;
            instance.observed.stamps.ended = Some(chrono::Utc::now());
        });
    }

    async fn remove(&self, id: &InstanceId) {
        self.shared.lock().retain(|known, instance| known != id || !instance.observed.state.is_over());
        self.shared.changes.send_modify(|count| *count += 1);
    }

    fn list(&self) -> Vec<ObservedInstance> {
        self.shared.lock().values().map(|instance| instance.observed.clone()).collect()
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.shared.changes.subscribe()
    }

    fn devices(&self) -> Vec<Device> {
        self.gpus.devices().to_vec()
    }

    fn driver(&self) -> Option<Driver> {
        self.gpus.driver().cloned()
    }

    async fn connect(&self, id: &InstanceId, _port: u16) -> io::Result<TcpStream> {
        let port = self.shared.lock().get(id).and_then(|instance| instance.port);
        TcpStream::connect(("127.0.0.1", port.ok_or(io::ErrorKind::NotFound)?)).await
    }

    async fn import(&self, _path: &Path, name: &str, _entrypoint: Vec<String>) -> Result<PinnedImage, PullError> {
        let message = "the sim backend keeps no images; use the oci backend".to_owned();
        Err(PullError::Unusable { image: name.to_owned(), message })
    }

    fn images(&self) -> Vec<LocalImage> {
        Vec::new()
    }

    async fn shutdown(&self, _leave_running: bool) {
        let mut instances = self.shared.lock();
        instances.values_mut().filter_map(|instance| instance.task.take()).for_each(|task| task.abort());
        instances.clear();
    }
}
