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
//! | `sim/prints` | answer, and write what a request's path has behind its `?` as a line |
//! | `sim/busy?cpu=N&takes=MS` | answer after MS milliseconds, and say that they use N thousandths of a vCPU |
//! | `sim/pauses?after=MS&for=MS` | answer; so long after their start and for so long their readiness probe fails |
//! | `sim/floods?mib=N` | answer, and write N MiB of lines per second |
//! | anything else | answer |

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use homerun_model::gpu::published_types;
use homerun_model::instance::{Failure, InstanceSpec, InstanceState, ObservedInstance, Stamps, SteadyStamps};
use homerun_model::names::InstanceId;
use homerun_model::plan::standby::Memory;
use homerun_model::receipt::Receipt;
use homerun_model::revision::PinnedImage;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::gpu::{Device, Driver, GpuSetting, GpuUse, Gpus, Holder, SimulationError};
use crate::{Backend, CpuUse, LocalImage, LogLine, LogSink, LogStream, PullError, PulledImage};

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
        self.print(&spec, LogStream::System, "simulated instance: no container runs");
        let fail = |failure| {
            self.update(&id, |instance| {
                end(&mut instance.observed, InstanceState::Failed(failure));
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
            instance.observed.stamps.steady.ready = Some(crate::steady());
        });
        if !ready {
            return;
        }
        let stamps = self.lock().get(&id).map(|instance| instance.observed.stamps.clone()).unwrap_or_default();
        let receipt = Receipt::of(spec.decided_at, &stamps);
        self.print(&spec, LogStream::System, &format!("Instance {id} is ready after {receipt}."));
        if let Some(pause) = image.strip_prefix("sim/pauses") {
            let millis = |word| Duration::from_millis(number(pause, word).unwrap_or(0));
            let (after, lasts) = (millis("after="), millis("for="));
            tokio::select! {
                () = self.pause(&spec, after, lasts) => {}
                () = self.accept(&listener, &spec) => {}
            }
        } else if let Some(mib) = image.strip_prefix("sim/floods").and_then(|rest| number(rest, "mib=")) {
            // It ends with this task.
            tokio::select! {
                () = self.flood(&spec, mib) => {}
                () = self.accept(&listener, &spec) => {}
            }
        } else {
            self.accept(&listener, &spec).await;
        }
    }

    async fn accept(self: &Arc<Self>, listener: &TcpListener, spec: &InstanceSpec) {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(self.clone().answer(stream, spec.clone()));
        }
    }

    fn print(&self, spec: &InstanceSpec, stream: LogStream, text: &str) {
        let container = &spec.containers[0].name;
        self.logs.line(LogLine { spec, container, stream, time: chrono::Utc::now(), text });
    }

    /// Fails and passes its readiness probe, and then goes on for ever.
    async fn pause(&self, spec: &InstanceSpec, after: Duration, lasts: Duration) {
        let container = spec.containers[0].name.clone();
        tokio::time::sleep(after).await;
        self.update(&spec.id, |instance| {
            instance.observed.unready.insert(container.clone(), "it pauses".to_owned());
        });
        tokio::time::sleep(lasts).await;
        self.update(&spec.id, |instance| drop(instance.observed.unready.remove(&container)));
        std::future::pending().await
    }

    /// Writes lines of 1 KiB for ever.
    async fn flood(&self, spec: &InstanceSpec, mib_per_second: u64) {
        const TICKS_PER_SECOND: u64 = 100;
        let mut ticks = tokio::time::interval(Duration::from_millis(1000 / TICKS_PER_SECOND));
        let mut count = 0_u64;
        loop {
            ticks.tick().await;
            for _ in 0..mib_per_second * 1024 / TICKS_PER_SECOND {
                count += 1;
                self.print(spec, LogStream::Stdout, &format!("line {count} {:.<1000}", ""));
            }
        }
    }

    /// Answers every request of a connection alike. Bodies are not read: nobody sends any to a simulation.
    async fn answer(self: Arc<Self>, mut stream: TcpStream, spec: InstanceSpec) {
        let prints = spec.containers[0].image.starts_with("sim/prints");
        let body = format!("simulated instance {} of {}\n", spec.id, spec.revision.name);
        let response = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nX-Homerun-Simulated: true\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let takes = Duration::from_millis(number(&spec.containers[0].image, "takes=").unwrap_or(0));
        let mut seen = Vec::new();
        loop {
            match stream.read_buf(&mut seen).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
            while let Some(end) = seen.windows(4).position(|window| window == b"\r\n\r\n") {
                let head: Vec<u8> = seen.drain(..end + 4).collect();
                if let Some(text) = query(&head).filter(|_| prints) {
                    self.print(&spec, LogStream::Stdout, &text);
                }
                tokio::time::sleep(takes).await;
                if stream.write_all(response.as_bytes()).await.is_err() {
                    return;
                }
            }
        }
    }
}

fn end(observed: &mut ObservedInstance, state: InstanceState) {
    observed.state = state;
    observed.stamps.ended = Some(chrono::Utc::now());
    observed.stamps.steady.ended = Some(crate::steady());
}

/// `ms=N` of an image's name.
fn start_delay(image: &str) -> Duration {
    Duration::from_millis(number(image, "ms=").unwrap_or(0))
}

/// The number behind a word of an image's name.
fn number(image: &str, word: &str) -> Option<u64> {
    let (_, rest) = image.split_once(word)?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// What stands behind the `?` of a request's path, its escapes resolved.
fn query(head: &[u8]) -> Option<String> {
    let line = head.split(|byte| *byte == b'\r').next()?;
    let path = line.split(|byte| *byte == b' ').nth(1)?;
    let begin = path.iter().position(|byte| *byte == b'?')? + 1;
    let mut bytes = Vec::new();
    let mut rest = &path[begin..];
    while let Some((first, behind)) = rest.split_first() {
        let escaped = behind.get(..2).filter(|_| *first == b'%').and_then(|digits| std::str::from_utf8(digits).ok());
        match escaped.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &behind[2..];
            }
            None => {
                bytes.push(*first);
                rest = behind;
            }
        }
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
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
        let steady = SteadyStamps { started: Some(crate::steady()), ..SteadyStamps::default() };
        let stamps = Stamps { creating: Some(now), started: Some(now), steady, ..Stamps::default() };
        let observed = ObservedInstance {
            spec: spec.clone(),
            state: InstanceState::Starting,
            stamps,
            warnings: Vec::new(),
            unready: BTreeMap::new(),
            lost: false,
        };
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

    fn stand_by(&self, _specs: Vec<InstanceSpec>) {
        // A simulated instance has nothing that could be made ahead of need.
    }

    async fn stop(&self, id: &InstanceId, _grace: Duration) {
        self.shared.update(id, |instance| {
            instance.task.take().inspect(AbortHandle::abort);
            instance.port = None;
            end(&mut instance.observed, InstanceState::Stopped);
        });
    }

    async fn remove(&self, id: &InstanceId) {
        self.shared.lock().retain(|known, instance| known != id || !instance.observed.state.is_over());
        self.shared.changes.send_modify(|count| *count += 1);
    }

    fn list(&self) -> Vec<ObservedInstance> {
        self.shared.lock().values().map(|instance| instance.observed.clone()).collect()
    }

    fn cpu(&self, id: &InstanceId) -> Option<CpuUse> {
        let instances = self.shared.lock();
        let observed = &instances.get(id)?.observed;
        let since = observed.stamps.ready.filter(|_| observed.state == InstanceState::Ready)?;
        let image = observed.spec.containers[0].image.strip_prefix("sim/busy");
        let millis = image.and_then(|rest| number(rest, "cpu=")).unwrap_or(0);
        let ran = (chrono::Utc::now() - since).to_std().unwrap_or_default();
        // A machine without end: nothing is capped.
        Some(CpuUse::new(&observed.spec, u64::MAX, ran.mul_f64(millis as f64 / 1000.0)))
    }

    fn set_cpu(&self, _id: &InstanceId, _allocated: bool) {
        // The CPU that simulated instances say they use is that of their requests.
    }

    fn memory(&self) -> Option<Memory> {
        None
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.shared.changes.subscribe()
    }

    fn devices(&self) -> Vec<Device> {
        self.gpus.devices().to_vec()
    }

    fn gpu_use(&self) -> Vec<GpuUse> {
        self.gpus.usage(|device| {
            let instances = self.list();
            let mut live = instances.iter().filter(|instance| !instance.state.is_over());
            let spec = &live.find(|instance| instance.spec.gpus.contains(device))?.spec;
            // Simulated instances have no memory; they are said to use a quarter of their limit.
            let limits: u64 = spec.containers.iter().map(|container| container.memory.bytes()).sum();
            Some(Holder { instance: spec.id.clone(), cpu: self.cpu(&spec.id)?, memory_bytes: limits / 4 })
        })
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

    async fn shutdown(&self, _leave_running: bool) -> Vec<ObservedInstance> {
        let instances = std::mem::take(&mut *self.shared.lock());
        let ended = instances.into_values().map(|mut instance| {
            instance.task.take().inspect(AbortHandle::abort);
            if !instance.observed.state.is_over() {
                end(&mut instance.observed, InstanceState::Stopped);
            }
            instance.observed
        });
        ended.collect()
    }
}
