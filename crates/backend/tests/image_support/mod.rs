//! Images made by hand, Debian's docker-registry, and a tiny HTTP server that misbehaves on request.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::collections::HashMap;
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use homerun_backend::oci::image::{Digest, ImageError, ImageStore, LayerProgress, Settings};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// A tar archive with the given files.
pub fn tar_of(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_uid(7);
        header.set_gid(8);
        header.set_mtime(1_600_000_000);
        header.set_size(content.len() as u64);
        builder.append_data(&mut header, name, *content).expect("append");
    }
    builder.into_inner().expect("tar")
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("gzip");
    encoder.finish().expect("gzip")
}

pub fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).expect("zstd")
}

/// Bytes that don't compress, so that sizes on the wire are what they seem.
pub fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..len).map(next).collect()
}

/// One layer in its stored and its plain form.
#[derive(Clone)]
pub struct Layer {
    pub plain: Vec<u8>,
    pub stored: Vec<u8>,
    pub media_type: String,
}

impl Layer {
    pub fn new(files: &[(&str, &[u8])], compression: &str) -> Layer {
        let plain = tar_of(files);
        let stored = match compression {
            "gzip" => gzip(&plain),
            "zstd" => zstd(&plain),
            _ => plain.clone(),
        };
        let suffix = if compression.is_empty() { String::new() } else { format!("+{compression}") };
        Layer { plain, stored, media_type: format!("{OCI_LAYER}{suffix}") }
    }

    pub fn digest(&self) -> String {
        Digest::of(&self.stored).to_string()
    }

    pub fn diff_id(&self) -> String {
        Digest::of(&self.plain).to_string()
    }
}

/// An image with all of its blobs.
#[derive(Clone)]
pub struct Image {
    pub layers: Vec<Layer>,
    pub config: Vec<u8>,
    pub manifest: Vec<u8>,
    pub media_type: &'static str,
}

impl Image {
    pub fn new(layers: Vec<Layer>) -> Image {
        Image::with(layers, architecture(), json!({"Cmd": ["/app"], "Env": ["A=1"]}), OCI_MANIFEST)
    }

    pub fn with(layers: Vec<Layer>, architecture: &str, run: Value, media_type: &'static str) -> Image {
        let diff_ids: Vec<String> = layers.iter().map(Layer::diff_id).collect();
        let config = json!({
            "architecture": architecture, "os": "linux", "config": run,
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let config = config.to_string().into_bytes();
        let docker = media_type == DOCKER_MANIFEST;
        let layer_list: Vec<Value> = layers
            .iter()
            .map(|layer| {
                let kind = match docker {
                    true => "application/vnd.docker.image.rootfs.diff.tar.gzip",
                    false => &layer.media_type,
                };
                json!({"mediaType": kind, "digest": layer.digest(), "size": layer.stored.len()})
            })
            .collect();
        let config_type = match docker {
            true => "application/vnd.docker.container.image.v1+json",
            false => "application/vnd.oci.image.config.v1+json",
        };
        let manifest = json!({
            "schemaVersion": 2, "mediaType": media_type,
            "config": {"mediaType": config_type, "digest": Digest::of(&config).to_string(), "size": config.len()},
            "layers": layer_list,
        });
        Image { layers, config, manifest: manifest.to_string().into_bytes(), media_type }
    }

    pub fn digest(&self) -> String {
        Digest::of(&self.manifest).to_string()
    }

    pub fn entry(&self, architecture: &str) -> Value {
        json!({"mediaType": self.media_type, "digest": self.digest(), "size": self.manifest.len(),
               "platform": {"os": "linux", "architecture": architecture}})
    }

    /// Configuration and layers by digest.
    pub fn blobs(&self) -> HashMap<String, Vec<u8>> {
        let layers = self.layers.iter().map(|layer| (layer.digest(), layer.stored.clone()));
        layers.chain([(Digest::of(&self.config).to_string(), self.config.clone())]).collect()
    }
}

pub fn index_of(entries: Vec<Value>) -> Vec<u8> {
    json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}).to_string().into_bytes()
}

/// A store in a temporary folder, with short timeouts and no credentials but those given.
pub struct TestStore {
    pub dir: tempfile::TempDir,
    pub store: ImageStore,
    pub settings: Settings,
}

impl TestStore {
    pub fn new(docker_config: &str) -> TestStore {
        let dir = tempfile::tempdir().expect("temp dir");
        let config = dir.path().join("config.json");
        std::fs::write(&config, docker_config).expect("config.json");
        let settings = Settings {
            docker_config: Some(config),
            connect_timeout: Duration::from_secs(2),
            stall_timeout: Duration::from_secs(2),
            ..Settings::default()
        };
        let store = ImageStore::open(&dir.path().join("images"), settings.clone()).expect("open");
        TestStore { dir, store, settings }
    }

    pub fn images(&self) -> PathBuf {
        self.dir.path().join("images")
    }

    pub async fn resolve(&self, image: &str) -> Result<homerun_backend::oci::image::ResolvedImage, ImageError> {
        self.store.resolve(image, &|_| {}).await
    }

    /// Asserts that a failed pull left no unfinished work and no layer but those in `good`, which
    /// were verified and spare the next pull some work. Threads may still be cleaning up.
    pub async fn assert_nothing_kept(&self, good: &[&Layer]) {
        let list = |folder: &str| -> Vec<String> {
            let entries = std::fs::read_dir(self.images().join(folder)).expect("folder");
            entries.map(|e| e.expect("entry").file_name().into_string().expect("text")).collect()
        };
        for _ in 0..100 {
            if list("tmp").is_empty() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(list("tmp").is_empty(), "unfinished work is removed");
        let good: Vec<String> = good.iter().map(|l| l.diff_id().replace(':', "-")).collect();
        for layer in list("layers") {
            assert!(good.contains(&layer), "{layer} is damaged and should not be kept");
        }
        assert!(self.store.list().is_empty());
    }
}

/// The whole chain of an error's messages.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

pub fn collect_progress() -> (Arc<Mutex<Vec<LayerProgress>>>, impl Fn(LayerProgress) + Send + Sync) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sink = seen.clone();
    (seen, move |progress| sink.lock().expect("lock").push(progress))
}

/// Debian's docker-registry on a free loopback port.
pub struct Registry {
    child: Child,
    pub host: String,
    auth: Option<(String, String)>,
    _dir: tempfile::TempDir,
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Registry {
    /// None, loudly, if the program isn't installed.
    pub async fn start(auth: Option<(&str, &str)>) -> Option<Registry> {
        let program = Path::new("/usr/bin/docker-registry");
        if !program.exists() {
            eprintln!("SKIPPED: docker-registry is not installed (apt-get install docker-registry)");
            return None;
        }
        let dir = tempfile::tempdir().expect("temp dir");
        let mut extra = String::new();
        if let Some((user, password)) = auth {
            let Ok(output) = Command::new("htpasswd").args(["-Bbn", user, password]).output() else {
                eprintln!("SKIPPED: htpasswd is not installed (apt-get install apache2-utils)");
                return None;
            };
            let file = dir.path().join("htpasswd");
            std::fs::write(&file, output.stdout).expect("htpasswd");
            extra = format!("auth:\n  htpasswd:\n    realm: test\n    path: {}\n", file.display());
        }
        let host = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("port");
        let host = host.to_string();
        let config = format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\n\
             http:\n  addr: {host}\n{extra}",
            dir.path().join("data").display()
        );
        let file = dir.path().join("config.yml");
        std::fs::write(&file, config).expect("config");
        let mut command = Command::new(program);
        command.arg("serve").arg(file).stdout(Stdio::null()).stderr(Stdio::null());
        // SAFETY: prctl is async-signal-safe. The registry ends with the test whatever happens.
        unsafe {
            command.pre_exec(|| {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                Ok(())
            });
        }
        let child = command.spawn().expect("docker-registry starts");
        let auth = auth.map(|(user, password)| (user.to_owned(), password.to_owned()));
        let registry = Registry { child, host, auth, _dir: dir };
        for _ in 0..200 {
            if tokio::net::TcpStream::connect(&registry.host).await.is_ok() {
                return Some(registry);
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("docker-registry did not come up on {}", registry.host);
    }

    fn request(&self, method: reqwest::Method, url: &str) -> reqwest::RequestBuilder {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().no_proxy().build().expect("client");
        let request = client.request(method, url);
        match &self.auth {
            Some((user, password)) => request.basic_auth(user, Some(password)),
            None => request,
        }
    }

    pub async fn push_blob(&self, path: &str, bytes: Vec<u8>) {
        let url = format!("http://{}/v2/{path}/blobs/uploads/", self.host);
        let begun = self.request(reqwest::Method::POST, &url).send().await.expect("begin upload");
        let location = begun.headers()["location"].to_str().expect("location").to_owned();
        let location = match location.starts_with('/') {
            true => format!("http://{}{location}", self.host),
            false => location,
        };
        let joint = if location.contains('?') { '&' } else { '?' };
        let url = format!("{location}{joint}digest={}", Digest::of(&bytes));
        let put = self.request(reqwest::Method::PUT, &url).body(bytes).send().await.expect("upload");
        assert_eq!(put.status(), 201, "{}", put.text().await.unwrap_or_default());
    }

    pub async fn push_manifest(&self, path: &str, tag: &str, media_type: &str, bytes: Vec<u8>) {
        let url = format!("http://{}/v2/{path}/manifests/{tag}", self.host);
        let request = self.request(reqwest::Method::PUT, &url).header("content-type", media_type);
        let put = request.body(bytes).send().await.expect("put manifest");
        assert_eq!(put.status(), 201, "{}", put.text().await.unwrap_or_default());
    }

    pub async fn push(&self, path: &str, tag: &str, image: &Image) {
        for bytes in image.blobs().into_values() {
            self.push_blob(path, bytes).await;
        }
        self.push_manifest(path, tag, image.media_type, image.manifest.clone()).await;
    }
}

/// What the fake server got.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub path: String,
    pub headers: HashMap<String, String>,
    pub body: String,
}

/// What the fake server answers.
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
    /// Close the connection after this many bytes of the body.
    pub cut: Option<usize>,
}

impl Answer {
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Answer {
        Answer { status, headers: Vec::new(), body: body.into(), cut: None }
    }

    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Answer {
        self.headers.push((name, value.into()));
        self
    }
}

/// An HTTP/1.1 server with one request per connection.
pub struct FakeServer {
    pub host: String,
    pub requests: Arc<Mutex<Vec<Request>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for FakeServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl FakeServer {
    pub async fn start(handler: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> FakeServer {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let host = listener.local_addr().expect("address").to_string();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (seen, handler) = (requests.clone(), Arc::new(handler));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, seen.clone(), handler.clone()));
            }
        });
        FakeServer { host, requests, task }
    }

    /// Serves one image, and lets `twist` answer first.
    pub async fn with_image(
        image: &Image,
        twist: impl Fn(&Request) -> Option<Answer> + Send + Sync + 'static,
    ) -> FakeServer {
        let image = image.clone();
        FakeServer::start(move |request| twist(request).unwrap_or_else(|| serve_image(&image, request))).await
    }

    pub fn count(&self, part: &str) -> usize {
        self.requests.lock().expect("lock").iter().filter(|r| r.path.contains(part)).count()
    }
}

pub fn serve_image(image: &Image, request: &Request) -> Answer {
    let last = request.path.rsplit('/').next().unwrap_or_default();
    if request.path.contains("/manifests/") {
        return match last == "1" || last == image.digest() {
            true => Answer::new(200, image.manifest.clone()).header("content-type", image.media_type),
            false => Answer::new(404, r#"{"errors":[{"code":"MANIFEST_UNKNOWN"}]}"#),
        };
    }
    match image.blobs().remove(last) {
        Some(blob) => Answer::new(200, blob),
        None if request.path == "/v2/" => Answer::new(200, "{}"),
        None => Answer::new(404, r#"{"errors":[{"code":"BLOB_UNKNOWN"}]}"#),
    }
}

async fn serve(
    mut stream: tokio::net::TcpStream,
    seen: Arc<Mutex<Vec<Request>>>,
    handler: Arc<impl Fn(&Request) -> Answer>,
) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let mut lines = head.lines();
    let mut first = lines.next().unwrap_or_default().split(' ');
    let mut word = || first.next().unwrap_or_default().to_owned();
    let (method, path) = (word(), word());
    let headers: HashMap<String, String> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    let length = headers.get("content-length").and_then(|l| l.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    if stream.read_exact(&mut body).await.is_err() {
        return;
    }
    let body = String::from_utf8_lossy(&body).into_owned();
    let request = Request { method, path, headers, body };
    seen.lock().expect("lock").push(request.clone());
    let answer = handler(&request);
    let mut head =
        format!("HTTP/1.1 {} x\r\nconnection: close\r\ncontent-length: {}\r\n", answer.status, answer.body.len());
    for (name, value) in &answer.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    let body = &answer.body[..answer.cut.unwrap_or(answer.body.len())];
    let _ = stream.write_all(head.as_bytes()).await;
    let _ = stream.write_all(body).await;
    let _ = stream.shutdown().await;
}
