//! A backend to test, and how to speak with its instances.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use homerun_backend::Backend;
use homerun_backend::gpu::GpuSetting;
use homerun_backend::oci::{OciBackend, Settings};
use homerun_backend::{LogLine, LogSink, LogStream};
use homerun_model::container::{Check, Probe, Protocol, Volume, VolumeMount, VolumeSource};
use homerun_model::instance::{ContainerSpec, IngressPort, InstanceSpec, InstanceState, ObservedInstance};
use homerun_model::names::{InstanceId, RevisionKey};
use homerun_model::quantity::{Cpu, Memory};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::images;

/// Longest wait for anything; slow, for a machine that is emulated.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// The port that instances serve on.
pub const PORT: u16 = 8080;

/// From now on this process and its children have a network of their own, with `lo` only.
pub fn enter_own_network() {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("a network namespace");
    let socket = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a socket");
    // SAFETY: an all-zero ifreq is valid, and the kernel only reads it.
    unsafe {
        let mut request: libc::ifreq = std::mem::zeroed();
        request.ifr_name[0] = b'l' as libc::c_char;
        request.ifr_name[1] = b'o' as libc::c_char;
        request.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
        let done = libc::ioctl(std::os::fd::AsRawFd::as_raw_fd(&socket), libc::SIOCSIFFLAGS, &request);
        assert_eq!(done, 0, "lo cannot be brought up");
    }
}

pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

/// Keeps what containers write.
#[derive(Default)]
pub struct Lines(Mutex<Vec<(String, LogStream, String)>>);

impl LogSink for Lines {
    fn line(&self, line: LogLine<'_>) {
        let mut lines = self.0.lock().expect("no test panics while it holds this");
        lines.push((line.container.to_owned(), line.stream, line.text.to_owned()));
    }
}

impl Lines {
    /// What was written to a stream of a container so far.
    pub fn of(&self, container: &str, stream: LogStream) -> Vec<String> {
        let lines = self.0.lock().expect("no test panics while it holds this");
        let wanted = lines.iter().filter(|(name, given, _)| name == container && *given == stream);
        wanted.map(|(_, _, text)| text.clone()).collect()
    }
}

/// A backend with its own data directory.
pub struct World {
    pub backend: Arc<dyn Backend>,
    pub lines: Arc<Lines>,
    pub folder: tempfile::TempDir,
    /// Processes that were there before this.
    pub before: Vec<u32>,
    /// Whether another process had the data directory before.
    pub adopted: bool,
}

impl Drop for World {
    /// A test that fails must not disturb those after it.
    fn drop(&mut self) {
        if std::thread::panicking() {
            let backend = self.backend.clone();
            let ended = std::thread::spawn(move || runtime().block_on(backend.shutdown(false)));
            let _ = ended.join();
        }
    }
}

impl World {
    /// The `oci` backend with two simulated GPUs and the test images.
    pub async fn oci() -> Self {
        let before = crate::leaks::descendants(std::process::id());
        let folder = images::data_dir().await;
        let lines = Arc::new(Lines::default());
        let backend = open(folder.path(), lines.clone()).await;
        Self { backend, lines, folder, before, adopted: false }
    }

    pub fn sim() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let lines = Arc::new(Lines::default());
        let backend = homerun_backend::sim::SimBackend::open(&gpus(), folder.path(), lines.clone()).expect("open");
        Self { backend: Arc::new(backend), lines, folder, before: Vec::new(), adopted: false }
    }

    pub async fn start(&self, spec: &InstanceSpec) {
        self.backend.start(spec.clone()).await.expect("the instance is recorded");
    }

    pub fn observed(&self, id: &InstanceId) -> Option<ObservedInstance> {
        self.backend.list().into_iter().find(|instance| instance.spec.id == *id)
    }

    /// Waits until the instance's state is as wanted.
    pub async fn wait_for(&self, id: &InstanceId, wanted: impl Fn(&InstanceState) -> bool) -> ObservedInstance {
        let mut changes = self.backend.changes();
        let found = tokio::time::timeout(PATIENCE, async {
            loop {
                changes.borrow_and_update();
                if let Some(instance) = self.observed(id).filter(|instance| wanted(&instance.state)) {
                    return instance;
                }
                changes.changed().await.expect("the backend lives");
            }
        });
        found.await.unwrap_or_else(|_| panic!("in vain; the instance is {:?}", self.observed(id)))
    }

    /// Its warnings as soon as there are any, or none after `patience`.
    pub async fn warnings(&self, id: &InstanceId, patience: Duration) -> Vec<String> {
        let begun = std::time::Instant::now();
        loop {
            let warnings = self.observed(id).map(|observed| observed.warnings).unwrap_or_default();
            if !warnings.is_empty() || begun.elapsed() >= patience {
                return warnings;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Starts an instance and waits until it takes requests.
    pub async fn ready(&self, spec: &InstanceSpec) -> ObservedInstance {
        self.start(spec).await;
        let instance = self.wait_for(&spec.id, |state| *state == InstanceState::Ready || state.is_over()).await;
        assert_eq!(instance.state, InstanceState::Ready, "{:?}", self.lines.of("app", LogStream::Stderr));
        instance
    }

    /// Starts an instance and waits until it is over.
    pub async fn over(&self, spec: &InstanceSpec) -> ObservedInstance {
        self.start(spec).await;
        self.wait_for(&spec.id, InstanceState::is_over).await
    }

    /// `GET` of a path on the instance's port: status and body.
    pub async fn get(&self, id: &InstanceId, path: &str) -> (u16, String) {
        let answer = tokio::time::timeout(PATIENCE, self.try_get(id, path)).await.expect("an answer in time");
        answer.unwrap_or_else(|error| panic!("GET {path}: {error}"))
    }

    async fn try_get(&self, id: &InstanceId, path: &str) -> std::io::Result<(u16, String)> {
        let mut stream = self.backend.connect(id, PORT).await?;
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").as_bytes()).await?;
        let mut answer = Vec::new();
        loop {
            let count = stream.read_buf(&mut answer).await?;
            let text = String::from_utf8_lossy(&answer).into_owned();
            let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
            let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")?.parse::<usize>().ok());
            if count == 0 || length.is_some_and(|length| body.len() >= length) {
                let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
                return Ok((status.ok_or(std::io::ErrorKind::UnexpectedEof)?, body.to_owned()));
            }
        }
    }

    /// The body of an answer that must be 200.
    pub async fn body(&self, id: &InstanceId, path: &str) -> String {
        let (status, body) = self.get(id, path).await;
        assert_eq!(status, 200, "GET {path}: {body}");
        body
    }

    /// Ends the backend; nothing may be left of it.
    pub async fn end(self) {
        let traces = crate::leaks::of(self.folder.path(), self.before.clone());
        self.backend.shutdown(false).await;
        if self.adopted {
            crate::leaks::reap_orphans();
        }
        crate::leaks::nothing_left(&traces);
    }
}

pub fn gpus() -> GpuSetting {
    "simulated:nvidia-l4=2".parse().expect("a GPU setting")
}

pub async fn open(folder: &std::path::Path, lines: Arc<Lines>) -> Arc<dyn Backend> {
    let settings = Settings { data_dir: folder.to_owned(), gpu: gpus() };
    Arc::new(OciBackend::open(settings, lines).await.expect("open the backend"))
}

/// The platform's own startup probe, with a shorter patience.
pub fn tcp_probe(seconds: u32) -> Probe {
    Probe {
        check: Check::Tcp { port: None },
        initial_delay_seconds: None,
        timeout_seconds: Some(seconds),
        period_seconds: Some(seconds),
        failure_threshold: Some(1),
        success_threshold: None,
    }
}

/// A container of an image, served from [`PORT`].
pub fn container(image: &str) -> ContainerSpec {
    ContainerSpec {
        name: "app".to_owned(),
        image: image.to_owned(),
        command: Vec::new(),
        args: Vec::new(),
        working_dir: None,
        env: BTreeMap::from([("PORT".to_owned(), PORT.to_string())]),
        cpu: Cpu::from_millis(1000),
        startup_cpu: None,
        memory: Memory::mib(128),
        gpu: false,
        cuda_compat: false,
        startup_probe: Some(tcp_probe(30)),
        liveness_probe: None,
        readiness_probe: None,
        port: Some(PORT),
        volume_mounts: Vec::new(),
    }
}

/// A container of an image with one program and nothing else.
pub async fn plain(world: &World) -> ContainerSpec {
    container(&images::pinned(world.backend.as_ref(), images::PLAIN).await)
}

/// An instance with a sidecar that starts first and serves on port 9100, and a volume that only the app may write.
pub async fn with_sidecar(world: &World) -> InstanceSpec {
    let image = images::pinned(world.backend.as_ref(), images::PLAIN).await;
    let mount = |sub_path: Option<&str>, read_only| VolumeMount {
        name: "shared".to_owned(),
        mount_path: "/shared".to_owned(),
        sub_path: sub_path.map(str::to_owned),
        read_only,
    };
    let mut app = container(&image);
    app.volume_mounts = vec![mount(None, false)];
    let mut sidecar = with_env(&image, "PORT", "9100");
    sidecar.name = "sidecar".to_owned();
    sidecar.port = None;
    sidecar.startup_probe = Some(Probe { check: Check::Tcp { port: Some(9100) }, ..tcp_probe(30) });
    sidecar.volume_mounts = vec![mount(None, true)];
    let mut spec = instance("pair", app);
    spec.containers.push(sidecar);
    spec.start_waves = vec![vec![1], vec![0]];
    let source = VolumeSource::EmptyDir { size_limit: None };
    spec.volumes = vec![Volume { name: "shared".to_owned(), source }];
    spec
}

/// Like [`container`], with one more variable.
pub fn with_env(image: &str, name: &str, value: &str) -> ContainerSpec {
    let mut container = container(image);
    container.env.insert(name.to_owned(), value.to_owned());
    container
}

/// An instance of one container.
pub fn instance(id: &str, container: ContainerSpec) -> InstanceSpec {
    InstanceSpec {
        id: InstanceId::new(id),
        revision: RevisionKey { project: "demo".into(), region: "us-central1".into(), name: "test-00001-abc".into() },
        service: "test".into(),
        containers: vec![container],
        start_waves: vec![vec![0]],
        volumes: Vec::new(),
        gpus: Vec::new(),
        gpu_zonal_redundancy: false,
        ingress: IngressPort { port: PORT, protocol: Protocol::Http1 },
        decided_at: chrono::Utc::now(),
    }
}

/// A connection from the host's side of the test's network.
pub fn host_address(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}
