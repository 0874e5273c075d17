//! `homerun run deploy`: gcloud's flags, edited into the service as the server has it.

use clap::{ArgAction, Args};
use reqwest::Method;
use serde_json::{Value, json};

use crate::Target;
use crate::client::{CliError, Client};
use crate::services::{self, Place, Scope};

pub(crate) const EXAMPLES: &str = "Examples:
  homerun run deploy hello --image localhost/hello:latest --allow-unauthenticated
  homerun run deploy ocr --image localhost:5000/ocr --gpu 1 --concurrency 4 --max-instances 2
  homerun run deploy hello --update-env-vars GREETING=hi --idle-timeout 30";

/// Flags as `gcloud run deploy` has them.
#[derive(Debug, Args)]
pub struct DeployArgs {
    /// The service's name
    service: String,
    #[command(flatten)]
    scope: Scope,
    /// Container image, for instance localhost:5000/app:v1 or localhost/NAME:TAG for an imported one
    #[arg(long)]
    image: Option<String>,
    /// GPUs of each instance, 0 or 1
    #[arg(long)]
    gpu: Option<String>,
    /// GPU type, for instance nvidia-l4
    #[arg(long)]
    gpu_type: Option<String>,
    /// CPU limit, for instance 4
    #[arg(long)]
    cpu: Option<String>,
    /// Memory limit, for instance 16Gi
    #[arg(long)]
    memory: Option<String>,
    /// Port that the container listens on
    #[arg(long)]
    port: Option<u32>,
    /// Requests that an instance serves at the same time
    #[arg(long)]
    concurrency: Option<u32>,
    /// Longest a request may take, in seconds
    #[arg(long)]
    timeout: Option<u32>,
    /// Fewest instances of the revision
    #[arg(long)]
    min_instances: Option<u32>,
    /// Most instances of the revision
    #[arg(long)]
    max_instances: Option<u32>,
    /// Idle time after which an instance is stopped, in seconds (homerun's own)
    #[arg(long)]
    idle_timeout: Option<u32>,
    /// Put the image's CUDA forward-compatibility libraries (/usr/local/cuda/compat) before the driver's (homerun's own)
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "true|false")]
    cuda_compat: Option<bool>,
    /// Replace the environment: KEY=VALUE, repeated or separated by commas
    #[arg(long, value_delimiter = ',')]
    set_env_vars: Vec<String>,
    /// Add to the environment
    #[arg(long, value_delimiter = ',')]
    update_env_vars: Vec<String>,
    /// Replaces the image's entrypoint
    #[arg(long, value_delimiter = ',')]
    command: Vec<String>,
    /// Replaces the image's command
    #[arg(long, value_delimiter = ',', allow_hyphen_values = true)]
    args: Vec<String>,
    /// CPU only during requests; --no-cpu-throttling keeps it always
    #[arg(long, overrides_with = "no_cpu_throttling")]
    cpu_throttling: bool,
    #[arg(long, hide = true, action = ArgAction::SetTrue)]
    no_cpu_throttling: bool,
    /// Let everybody send requests
    #[arg(long, overrides_with = "no_allow_unauthenticated")]
    allow_unauthenticated: bool,
    /// Only who may invoke can send requests
    #[arg(long)]
    no_allow_unauthenticated: bool,
    /// Do not wait until it is ready
    #[arg(long = "async")]
    no_wait: bool,
}

pub(crate) async fn run(target: &Target, args: &DeployArgs) -> Result<(), CliError> {
    let client = Client::new(target)?;
    let place = Place::new(&client, &args.scope);
    let present = services::exists(&client, &place, &args.service).await?;
    if present.is_none() && args.image.is_none() {
        let message = "a new service needs an image, for instance --image localhost:5000/app:v1".to_owned();
        return Err(CliError::Flag { flag: "--image", message });
    }
    let exists = present.is_some();
    let mut service = present.unwrap_or_else(|| {
        json!({
            "apiVersion": "serving.knative.dev/v1", "kind": "Service",
            "metadata": {"name": args.service},
            "spec": {"template": {"metadata": {}, "spec": {"containers": [{}]}}},
        })
    });
    edit(&mut service, args)?;
    services::put(&client, &place, &args.service, &service, exists).await?;
    if args.allow_unauthenticated || args.no_allow_unauthenticated {
        set_public(&client, &place, &args.service, args.allow_unauthenticated).await?;
    }
    if args.no_wait { Ok(()) } else { services::wait(&client, &place, &args.service).await }
}

/// Writes the flags into the service. An explicit revision name belongs to the revision before.
fn edit(service: &mut Value, args: &DeployArgs) -> Result<(), CliError> {
    let template = &mut service["spec"]["template"];
    template["metadata"]["labels"]["client.knative.dev/nonce"] = json!(nonce());
    if let Some(metadata) = template["metadata"].as_object_mut() {
        metadata.remove("name");
    }
    let annotations = [
        ("autoscaling.knative.dev/minScale", args.min_instances.map(|count| count.to_string())),
        ("autoscaling.knative.dev/maxScale", args.max_instances.map(|count| count.to_string())),
        ("homerun.dev/idle-timeout", args.idle_timeout.map(|seconds| format!("{seconds}s"))),
        ("homerun.dev/cuda-compat", args.cuda_compat.map(|wanted| wanted.to_string())),
        ("run.googleapis.com/cpu-throttling", throttling(args)),
    ];
    for (name, value) in annotations {
        if let Some(value) = value {
            template["metadata"]["annotations"][name] = json!(value);
        }
    }
    let spec = &mut template["spec"];
    if let Some(gpu_type) = &args.gpu_type {
        spec["nodeSelector"]["run.googleapis.com/accelerator"] = json!(gpu_type);
    }
    if args.gpu.as_deref() == Some("0")
        && let Some(spec) = spec.as_object_mut()
    {
        spec.remove("nodeSelector");
    }
    for (name, value) in [("containerConcurrency", args.concurrency), ("timeoutSeconds", args.timeout)] {
        if let Some(value) = value {
            spec[name] = json!(value);
        }
    }
    let container = ingress_container(spec);
    if let Some(image) = &args.image {
        container["image"] = json!(image);
    }
    for (name, value) in [("cpu", &args.cpu), ("memory", &args.memory), ("nvidia.com/gpu", &args.gpu)] {
        if let Some(value) = value {
            container["resources"]["limits"][name] = json!(value);
        }
    }
    if let Some(port) = args.port {
        container["ports"] = json!([{"containerPort": port}]);
    }
    if !args.command.is_empty() {
        container["command"] = json!(args.command);
    }
    if !args.args.is_empty() {
        container["args"] = json!(args.args);
    }
    environment(container, args)
}

/// Makes every deploy a revision, also where nothing else changes, as gcloud's does: ten letters that
/// were not used before.
fn nonce() -> String {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let mut rest = since.as_nanos();
    let letters = std::iter::repeat_with(|| {
        let letter = (rest % 26) as u8;
        rest /= 26;
        char::from(b'a' + letter)
    });
    letters.take(10).collect()
}

/// The container with a port, or the only one.
fn ingress_container(spec: &mut Value) -> &mut Value {
    let containers = spec["containers"].as_array().map_or(&[][..], Vec::as_slice);
    let index = containers.iter().position(|container| container.get("ports").is_some()).unwrap_or(0);
    &mut spec["containers"][index]
}

fn throttling(args: &DeployArgs) -> Option<String> {
    (args.cpu_throttling || args.no_cpu_throttling).then(|| args.cpu_throttling.to_string())
}

fn environment(container: &mut Value, args: &DeployArgs) -> Result<(), CliError> {
    let mut env: Vec<Value> = container["env"].as_array().cloned().unwrap_or_default();
    if !args.set_env_vars.is_empty() {
        env.clear();
    }
    for (flag, pairs) in [("--set-env-vars", &args.set_env_vars), ("--update-env-vars", &args.update_env_vars)] {
        for pair in pairs {
            let Some((name, value)) = pair.split_once('=') else {
                return Err(CliError::Flag { flag, message: format!("'{pair}' is not KEY=VALUE") });
            };
            env.retain(|var| var["name"] != name);
            env.push(json!({"name": name, "value": value}));
        }
    }
    if !env.is_empty() {
        container["env"] = json!(env);
    }
    Ok(())
}

async fn set_public(client: &Client, place: &Place, service: &str, public: bool) -> Result<(), CliError> {
    let resource = place.service(service);
    let mut policy = client.call(Method::GET, &format!("{resource}:getIamPolicy"), None).await?;
    let mut bindings: Vec<Value> = policy["bindings"].as_array().cloned().unwrap_or_default();
    let members = |binding: &Value| -> Vec<Value> {
        let all = binding["members"].as_array().cloned().unwrap_or_default();
        all.into_iter().filter(|member| member != "allUsers").collect()
    };
    for binding in bindings.iter_mut().filter(|binding| binding["role"] == "roles/run.invoker") {
        binding["members"] = json!(members(binding));
    }
    if public {
        bindings.push(json!({"role": "roles/run.invoker", "members": ["allUsers"]}));
    }
    bindings.retain(|binding| binding["members"].as_array().is_some_and(|members| !members.is_empty()));
    policy["bindings"] = json!(bindings);
    client.call(Method::POST, &format!("{resource}:setIamPolicy"), Some(&json!({"policy": policy}))).await.map(drop)
}
