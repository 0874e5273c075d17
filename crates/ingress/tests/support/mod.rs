//! An ingress on a real socket with small HTTP servers as its instances.
#![allow(missing_docs, dead_code, clippy::unwrap_used, clippy::expect_used)]

pub mod abuse;
pub mod container;

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use homerun_ingress::*;
use homerun_model::Timestamp;
use homerun_model::container::Protocol;
use homerun_model::instance::{IngressPort, Stamps};
use homerun_model::names::{InstanceId, RevisionKey, ServiceKey};
use homerun_model::receipt::Receipt;
use homerun_model::service::IngressSetting;
use http::{Method, Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};

pub const HOST: &str = "hello-100000000001.us-central1.run.localhost";
/// Nothing in these tests takes this long unless it hangs.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub type AnyBody = BoxBody<Bytes, hyper::Error>;

pub fn full(text: impl Into<Bytes>) -> AnyBody {
    Full::new(text.into()).map_err(|never| match never {}).boxed()
}

pub fn empty() -> AnyBody {
    Empty::new().map_err(|never| match never {}).boxed()
}

/// Waits for something that is about to become true.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "still not so: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

pub async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("took too long: {what}"))
}

/// Instances by name, each an address.
#[derive(Default)]
pub struct Machines {
    addresses: Mutex<HashMap<InstanceId, SocketAddr>>,
    pub connections: AtomicUsize,
    /// Whose CPU was given or taken, in this order.
    pub cpu: Mutex<Vec<(InstanceId, bool)>>,
}

#[async_trait]
impl Connect for Machines {
    async fn connect(&self, instance: &InstanceId, _port: u16) -> io::Result<TcpStream> {
        let address = self.addresses.lock().unwrap().get(instance).copied();
        let stream = TcpStream::connect(address.ok_or(io::ErrorKind::NotFound)?).await?;
        self.connections.fetch_add(1, Ordering::SeqCst);
        Ok(stream)
    }

    fn set_cpu(&self, instance: &InstanceId, allocated: bool) {
        self.cpu.lock().unwrap().push((instance.clone(), allocated));
    }
}

/// `owner` may invoke, `stranger` is known and may not, anything else is nobody's token.
#[derive(Default)]
pub struct Doorman {
    pub asked: Mutex<Vec<(String, Option<String>)>>,
}

#[async_trait]
impl Authorize for Doorman {
    async fn may_invoke(&self, service: &ServiceKey, bearer: Option<&str>) -> Invocation {
        self.asked.lock().unwrap().push((service.to_string(), bearer.map(str::to_owned)));
        match bearer {
            Some(token) if token.starts_with("owner") => Invocation::Allowed,
            Some("stranger") => Invocation::Forbidden,
            _ => Invocation::Unauthenticated,
        }
    }
}

pub struct Records(mpsc::Sender<RequestRecord>);

impl Observe for Records {
    fn request(&self, record: &RequestRecord) {
        // A test that is over takes no records; one that runs takes all.
        let sent = self.0.try_send(record.clone());
        assert!(!matches!(sent, Err(mpsc::error::TrySendError::Full(_))));
    }
}

pub struct Bench {
    pub ingress: Arc<Ingress>,
    pub address: SocketAddr,
    pub machines: Arc<Machines>,
    pub doorman: Arc<Doorman>,
    records: mpsc::Receiver<RequestRecord>,
    stop: Option<oneshot::Sender<()>>,
    pub served: tokio::task::JoinHandle<io::Result<()>>,
}

pub async fn bench() -> Bench {
    bench_with(Settings::default()).await
}

pub async fn bench_with(settings: Settings) -> Bench {
    let (machines, doorman) = (Arc::new(Machines::default()), Arc::new(Doorman::default()));
    let (sender, records) = mpsc::channel(10_000);
    let ingress = Ingress::new(machines.clone(), doorman.clone(), Arc::new(Records(sender)), settings);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let served = tokio::spawn(ingress.clone().serve(listener, async {
        let _ = stopped.await;
    }));
    Bench { ingress, address, machines, doorman, records, stop: Some(stop), served }
}

impl Bench {
    pub fn instance(&self, name: &str, address: SocketAddr) {
        self.machines.addresses.lock().unwrap().insert(name.into(), address);
    }

    /// Publishes the service `hello`.
    pub fn publish(&self, routes: ServiceRoutes) {
        self.ingress.publish(&service("hello"), routes);
    }

    pub fn stop(&mut self) {
        drop(self.stop.take());
    }

    pub async fn record(&mut self) -> RequestRecord {
        in_time("a record", self.records.recv()).await.unwrap()
    }

    pub fn no_more_records(&mut self) -> bool {
        self.records.try_recv().is_err()
    }

    pub fn load(&self, revision: &str) -> Load {
        self.ingress.sample().get(&key(revision)).copied().unwrap_or_default()
    }

    pub async fn get(&self, path: &str) -> Response<Bytes> {
        self.send(Request::get(path).body(empty()).unwrap()).await
    }

    /// Sends a request on a connection of its own; the host is [`HOST`] unless it has one.
    pub async fn send(&self, request: Request<AnyBody>) -> Response<Bytes> {
        let response = in_time("the response's headers", self.open(request)).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = in_time("the response's body", body.collect()).await.unwrap().to_bytes();
        Response::from_parts(parts, body)
    }

    pub async fn open(&self, mut request: Request<AnyBody>) -> hyper::Result<Response<Incoming>> {
        let mut sender = self.http1().await;
        request.headers_mut().entry("host").or_insert(HOST.parse().unwrap());
        sender.send_request(request).await
    }

    pub async fn http1(&self) -> http1::SendRequest<AnyBody> {
        let stream = TokioIo::new(TcpStream::connect(self.address).await.unwrap());
        let (sender, connection) = http1::handshake(stream).await.unwrap();
        tokio::spawn(connection.with_upgrades());
        sender
    }

    pub async fn http2(&self) -> http2::SendRequest<AnyBody> {
        let stream = TokioIo::new(TcpStream::connect(self.address).await.unwrap());
        let (sender, connection) = http2::handshake(TokioExecutor::new(), stream).await.unwrap();
        tokio::spawn(connection);
        sender
    }

    /// Sends bytes as they are and returns all that comes until the connection is closed.
    pub async fn raw(&self, bytes: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(bytes.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        in_time("the end of the connection", stream.read_to_end(&mut answer)).await.unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }
}

pub fn key(revision: &str) -> RevisionKey {
    RevisionKey { project: "demo".into(), region: "us-central1".into(), name: revision.into() }
}

pub fn service(name: &str) -> ServiceKey {
    ServiceKey { project: "demo".into(), region: "us-central1".into(), name: name.into() }
}

pub fn endpoint(instance: &str, protocol: Protocol) -> Endpoint {
    Endpoint {
        instance: instance.into(),
        ingress: IngressPort { port: 8080, protocol },
        receipt: receipt(),
        throttled: false,
    }
}

/// The receipt of a start that took 1 ms to be recorded, 8 to be created and 6 to be ready.
fn receipt() -> Receipt {
    let at = |millis: i64| Timestamp::from_timestamp_millis(1_800_000_000_000 + millis).expect("in range");
    let (creating, started, ready) = (Some(at(1)), Some(at(9)), Some(at(15)));
    Receipt::of(at(0), &Stamps { creating, started, ready, ..Stamps::default() })
}

/// A revision with HTTP/1.1 instances.
pub fn revision(concurrency: u32, instances: &[&str]) -> RevisionRoute {
    RevisionRoute {
        concurrency,
        timeout: Duration::from_secs(300),
        protocol: Protocol::Http1,
        affinity: false,
        endpoints: instances.iter().map(|name| endpoint(name, Protocol::Http1)).collect(),
        max_wait: Duration::from_secs(10),
        refuse_now: None,
        kept: 0,
        refuse_late: Refusal::NoInstance,
    }
}

pub fn route(targets: &[(&str, u32)]) -> Route {
    let target = |(name, percent): &(&str, u32)| Target { revision: key(name), percent: *percent };
    let targets = targets.iter().map(target).collect();
    Route { service: service("hello"), public: true, access: IngressSetting::All, targets, unready: None }
}

/// The service `hello` with everything on one revision.
pub fn table(name: &str, revision: RevisionRoute) -> ServiceRoutes {
    tables(&[(HOST, route(&[(name, 100)]))], &[(name, revision)])
}

pub fn tables(hosts: &[(&str, Route)], revisions: &[(&str, RevisionRoute)]) -> ServiceRoutes {
    ServiceRoutes {
        hosts: hosts.iter().map(|(host, route)| ((*host).to_owned(), Arc::new(route.clone()))).collect(),
        revisions: revisions.iter().map(|(name, revision)| (key(name), revision.clone())).collect(),
    }
}

pub fn request(method: Method, path: &str, body: AnyBody) -> Request<AnyBody> {
    Request::builder().method(method).uri(path).body(body).unwrap()
}

pub fn text(response: &Response<Bytes>) -> &str {
    std::str::from_utf8(response.body()).unwrap()
}

/// A body whose frames the test sends one by one.
pub fn piped() -> (mpsc::Sender<http_body::Frame<Bytes>>, AnyBody) {
    let (sender, mut frames) = mpsc::channel::<http_body::Frame<Bytes>>(1);
    let stream = futures_util::stream::poll_fn(move |cx| frames.poll_recv(cx).map(|frame| frame.map(Ok)));
    (sender, http_body_util::StreamBody::new(stream).map_err(|never: std::convert::Infallible| match never {}).boxed())
}

pub fn data(text: &'static str) -> http_body::Frame<Bytes> {
    http_body::Frame::data(Bytes::from_static(text.as_bytes()))
}

pub fn trailers(name: &'static str, value: &'static str) -> http_body::Frame<Bytes> {
    let mut map = http::HeaderMap::new();
    map.insert(name, http::HeaderValue::from_static(value));
    http_body::Frame::trailers(map)
}

pub fn to(mut request: Request<AnyBody>, host: &str) -> Request<AnyBody> {
    request.headers_mut().insert("host", host.parse().unwrap());
    request
}

pub fn h2c(instances: &[&str]) -> RevisionRoute {
    let endpoints: Vec<Endpoint> = instances.iter().map(|name| endpoint(name, Protocol::H2c)).collect();
    RevisionRoute { endpoints, protocol: Protocol::H2c, ..revision(80, &[]) }
}

/// Sends `GET path` and waits until it waits in the queue or is served.
pub async fn begin(bench: &Arc<Bench>, path: &'static str, revision: &str) -> tokio::task::JoinHandle<(u16, String)> {
    let before = bench.load(revision).arrivals;
    let sender = bench.clone();
    let task = tokio::spawn(async move {
        let response = sender.get(path).await;
        (response.status().as_u16(), text(&response).to_owned())
    });
    until("the request arrives", || bench.load(revision).arrivals > before).await;
    until("the request is counted", || {
        let load = bench.load(revision);
        task.is_finished() || load.in_flight + load.waiting > 0
    })
    .await;
    task
}
