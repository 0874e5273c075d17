//! GPUs under load: row G08, on the whole platform.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::{SERVICES, Stack, service};
use homerun_model::quota::QuotaSettings;
use homerun_server::platform::Platform;
use reqwest::Method;
use serde_json::json;

/// What was seen by looking at the backend all the time.
#[derive(Default)]
struct Watch {
    looks: usize,
    most: u32,
}

/// Looks at the backend until told to stop: no device twice, and never more than the greatest limit.
fn watch(platform: Arc<Platform>, most: u32, stop: Arc<AtomicBool>) -> std::thread::JoinHandle<Watch> {
    std::thread::spawn(move || {
        let mut watch = Watch::default();
        while !stop.load(Ordering::Relaxed) {
            let instances = platform.backend.list();
            let held: Vec<_> =
                instances.iter().filter(|i| !i.state.is_over()).flat_map(|i| i.spec.gpus.iter()).collect();
            assert_eq!(held.iter().collect::<BTreeSet<_>>().len(), held.len(), "a GPU has two holders: {held:?}");
            assert!(held.len() as u32 <= most, "{} GPUs are held, and {most} were granted", held.len());
            watch.looks += 1;
            watch.most = watch.most.max(held.len() as u32);
        }
        watch
    })
}

/// A small generator, so that a failure can be had again by its seed.
struct Random(u64);

impl Random {
    fn below(&mut self, count: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % count
    }
}

/// The whole platform under load with restarts; the model's test `ledger` tries far more interleavings.
#[tokio::test(flavor = "multi_thread")]
async fn g08_a_platform_under_load_never_holds_more_than_the_quota() {
    const SEEDS: u64 = 6;
    const QUOTA: u32 = 2;
    let begun = Instant::now();
    let mut looks = 0;
    for seed in 1..=SEEDS {
        let mut random = Random(seed);
        let change = |config: &mut homerun_server::config::Config| {
            config.quotas = QuotaSettings { default_project: Some(QUOTA), ..QuotaSettings::default() };
        };
        let mut stack = Stack::start_with("simulated:nvidia-l4=4", change).await;
        let mut most_held = 0;
        for _restart in 0..2 {
            let stop = Arc::new(AtomicBool::new(false));
            let watching = watch(stack.up.platform.clone(), QUOTA, stop.clone());
            churn(&stack, &mut random).await;
            stop.store(true, Ordering::Relaxed);
            let watch = watching.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            looks += watch.looks;
            most_held = most_held.max(watch.most);
            let dir = stack.end().await;
            stack = Stack::start_in(dir, "simulated:nvidia-l4=4", change).await;
        }
        assert_eq!(most_held, QUOTA, "seed {seed}: the quota was never used up, so nothing was shown");
        stack.end().await;
    }
    println!("{SEEDS} seeds, {looks} looks in {:.1} s", begun.elapsed().as_secs_f64());
}

/// Requests, deployments, failing revisions and deletions, all at the same time.
async fn churn(stack: &Stack, random: &mut Random) {
    let images = ["sim/hello", "sim/slow?ms=30", "sim/exits", "sim/slow?ms=80"];
    let mut requests = tokio::task::JoinSet::new();
    let mut deployed = BTreeMap::new();
    for step in 0..30 {
        let name = format!("s{}", random.below(5));
        match random.below(6) {
            0 => {
                let path = format!("{SERVICES}/{name}");
                drop(stack.call(Method::DELETE, &path, None).await);
                deployed.remove(&name);
            }
            1 | 2 => {
                let image = images[random.below(4) as usize];
                let mut wanted = service(&name, &format!("{image}&step={step}"), true);
                let annotations = &mut wanted["spec"]["template"]["metadata"]["annotations"];
                annotations["autoscaling.knative.dev/minScale"] = json!(random.below(2).to_string());
                let method = if deployed.contains_key(&name) { Method::PUT } else { Method::POST };
                let path = if method == Method::PUT { format!("{SERVICES}/{name}") } else { SERVICES.to_owned() };
                let (status, _) = stack.call(method, &path, Some(wanted)).await;
                if status.is_success() {
                    stack.make_public(&name).await;
                    deployed.insert(name, image);
                }
            }
            _ => {
                let host = format!("{name}-100000000001.us-central1.run.localhost");
                let request = stack.client.get(format!("http://{}/", stack.up.ingress)).header("host", host);
                requests.spawn(async move { request.timeout(Duration::from_secs(2)).send().await.is_ok() });
            }
        }
        tokio::time::sleep(Duration::from_millis(random.below(40))).await;
    }
    requests.shutdown().await;
}
