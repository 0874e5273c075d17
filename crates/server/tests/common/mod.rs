//! A homerun of a test's own: simulated instances, free ports, a temporary data directory.

#![allow(dead_code, reason = "each test file uses its own part")]

pub mod browser;

use std::sync::Arc;
use std::time::{Duration, Instant};

use homerun_server::clock::{Clock, SystemClock};
use homerun_server::config::{BackendKind, Config};
use homerun_server::up::{self, Up};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;

pub struct Stack {
    pub up: Up,
    pub dir: TempDir,
    pub client: reqwest::Client,
    pub token: String,
}

pub const SERVICES: &str = "/apis/serving.knative.dev/v1/namespaces/demo/services";

impl Stack {
    pub async fn start(gpu: &str) -> Self {
        Self::start_with(gpu, |_| {}).await
    }

    pub async fn start_with(gpu: &str, change: impl FnOnce(&mut Config)) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        Self::start_in(dir, gpu, change).await
    }

    pub async fn start_in(dir: TempDir, gpu: &str, change: impl FnOnce(&mut Config)) -> Self {
        Self::start_at(dir, gpu, change, Arc::new(SystemClock)).await
    }

    pub async fn start_at(dir: TempDir, gpu: &str, change: impl FnOnce(&mut Config), clock: Arc<dyn Clock>) -> Self {
        let mut config = Config {
            listen: ([127, 0, 0, 1], 0).into(),
            ingress_listen: ([127, 0, 0, 1], 0).into(),
            data_dir: dir.path().to_owned(),
            gpu: gpu.parse().expect("a GPU setting"),
            backend: BackendKind::Sim,
            ..Config::default()
        };
        change(&mut config);
        let up = up::start(config, clock).await.expect("homerun starts");
        let token = std::fs::read_to_string(dir.path().join("token")).expect("the token is there");
        Self { up, dir, client: client(), token }
    }

    pub async fn end(self) -> TempDir {
        self.up.shutdown().await;
        self.dir
    }

    pub async fn call(&self, method: Method, path: &str, body: Option<Value>) -> (StatusCode, Value) {
        self.call_as(&self.token, method, path, body).await
    }

    pub async fn get(&self, path: &str) -> Value {
        let (status, body) = self.call(Method::GET, path, None).await;
        assert_eq!(status, StatusCode::OK, "{path}: {body:#}");
        body
    }

    pub async fn create(&self, service: Value) -> Value {
        let (status, body) = self.call(Method::POST, SERVICES, Some(service)).await;
        assert_eq!(status, StatusCode::OK, "{body:#}");
        body
    }

    /// Waits until a service is ready or has failed; its Ready condition.
    pub async fn settled(&self, name: &str) -> Value {
        let begun = Instant::now();
        loop {
            let service = self.get(&format!("{SERVICES}/{name}")).await;
            let current = service["status"]["observedGeneration"] == service["metadata"]["generation"];
            let ready = condition(&service, "Ready");
            if current && (ready["status"] == "True" || ready["status"] == "False") {
                return ready;
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "{name} did not settle: {service:#}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub async fn make_public(&self, name: &str) {
        let path = format!("/v1/projects/demo/locations/us-central1/services/{name}:setIamPolicy");
        let policy = json!({"policy": {"bindings": [{"role": "roles/run.invoker", "members": ["allUsers"]}]}});
        let (status, body) = self.call(Method::POST, &path, Some(policy)).await;
        assert_eq!(status, StatusCode::OK, "{body:#}");
    }

    /// An access token of somebody else.
    pub async fn access(&self, account: &str) -> String {
        self.token_for(json!({"account": account})).await
    }

    /// An identity token, of somebody else if given.
    pub async fn identity(&self, account: Option<&str>, audience: &str) -> String {
        self.token_for(json!({"account": account, "audience": audience})).await
    }

    async fn token_for(&self, request: Value) -> String {
        let (status, body) = self.call(Method::POST, "/homerun/v1/tokens", Some(request)).await;
        assert_eq!(status, StatusCode::OK, "{body:#}");
        body["token"].as_str().expect("a token").to_owned()
    }

    /// Gives a role on the default project (`""`), or on something in it such as `services/hello` or
    /// `serviceAccounts/EMAIL`.
    pub async fn grant(&self, resource: &str, role: &str, member: &str) {
        let path = match resource.split_once('/') {
            None => "/v1/projects/demo".to_owned(),
            Some(("services", name)) => format!("/v1/projects/demo/locations/us-central1/services/{name}"),
            Some(_) => format!("/v1/projects/demo/{resource}"),
        };
        let method = if resource.starts_with("services/") { Method::GET } else { Method::POST };
        let (status, mut policy) = self.call(method, &format!("{path}:getIamPolicy"), None).await;
        assert_eq!(status, StatusCode::OK, "{policy:#}");
        let mut bindings = policy["bindings"].as_array().cloned().unwrap_or_default();
        bindings.push(json!({"role": role, "members": [member]}));
        policy["bindings"] = json!(bindings);
        let body = json!({"policy": policy});
        let (status, body) = self.call(Method::POST, &format!("{path}:setIamPolicy"), Some(body)).await;
        assert_eq!(status, StatusCode::OK, "{body:#}");
    }

    /// A call as somebody else.
    pub async fn call_as(&self, token: &str, method: Method, path: &str, body: Option<Value>) -> (StatusCode, Value) {
        let mut request = self.client.request(method, format!("http://{}{path}", self.up.control)).bearer_auth(token);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.expect("an answer");
        let status = response.status();
        (status, response.json().await.unwrap_or(Value::Null))
    }

    /// A user's request to a service.
    pub async fn visit(&self, name: &str, path: &str) -> (StatusCode, String) {
        let host = format!("{name}-100000000001.us-central1.run.localhost");
        let request = self.client.get(format!("http://{}{path}", self.up.ingress)).header("host", host);
        let response = request.send().await.expect("an answer");
        (response.status(), response.text().await.unwrap_or_default())
    }

    /// Waits until `homerun status` shows what is looked for.
    pub async fn until(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let begun = Instant::now();
        loop {
            let status = self.get("/homerun/v1/status").await;
            if holds(&status) {
                return status;
            }
            assert!(begun.elapsed() < Duration::from_secs(30), "never: {what}: {status:#}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

pub fn client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().timeout(Duration::from_secs(40)).build().expect("a client")
}

pub fn condition(service: &Value, kind: &str) -> Value {
    let conditions = service["status"]["conditions"].as_array().cloned().unwrap_or_default();
    conditions.into_iter().find(|condition| condition["type"] == kind).unwrap_or(Value::Null)
}

/// A service as gcloud sends it for `deploy NAME --image IMAGE [--gpu 1]`.
pub fn service(name: &str, image: &str, gpu: bool) -> Value {
    let limits = if gpu { json!({"nvidia.com/gpu": "1"}) } else { json!({}) };
    json!({
        "apiVersion": "serving.knative.dev/v1", "kind": "Service",
        "metadata": {"name": name, "namespace": "demo", "annotations": {}, "labels": {}},
        "spec": {"template": {
            "metadata": {
                "annotations": {"homerun.dev/idle-timeout": "1s", "run.googleapis.com/startup-cpu-boost": "True"},
                "labels": {"client.knative.dev/nonce": "abcdefghij"},
            },
            "spec": {"containers": [{"name": "", "image": image, "resources": {"limits": limits, "requests": {}}}], "nodeSelector": {}},
        }},
        "status": {"address": {}},
    })
}
