//! What every backend guarantees.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use homerun_backend::{LogStream, PullError};
use homerun_model::instance::{ContainerSpec, Failure, InstanceState};
use homerun_model::names::InstanceId;

use crate::Test;
use crate::images::{PLAIN, pinned};
use crate::world::{World, container, instance, tcp_probe, with_env};

/// Which backend is asked.
#[derive(Clone, Copy)]
enum Kind {
    Sim,
    Oci,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Sim => "sim",
            Self::Oci => "oci",
        }
    }

    async fn world(self) -> World {
        match self {
            Self::Sim => World::sim(),
            Self::Oci => World::oci().await,
        }
    }

    /// A container that answers.
    async fn answers(self, world: &World) -> ContainerSpec {
        match self {
            Self::Sim => container("sim/hello"),
            Self::Oci => container(&pinned(world.backend.as_ref(), PLAIN).await),
        }
    }

    /// A container that uses CPU whenever it is asked for something.
    async fn works(self, world: &World) -> ContainerSpec {
        match self {
            Self::Sim => container("sim/busy?cpu=1000"),
            Self::Oci => self.answers(world).await,
        }
    }

    /// A container that ends at once with code 1.
    async fn exits(self, world: &World) -> ContainerSpec {
        match self {
            Self::Sim => container("sim/exits"),
            Self::Oci => with_env(&pinned(world.backend.as_ref(), PLAIN).await, "EXIT_AT_START", "1"),
        }
    }

    /// A container that never opens its port.
    async fn never_listens(self, world: &World) -> ContainerSpec {
        let made = match self {
            Self::Sim => container("sim/never-listens"),
            Self::Oci => with_env(&pinned(world.backend.as_ref(), PLAIN).await, "LISTEN", "0.0.0.0:9000"),
        };
        ContainerSpec { startup_probe: Some(tcp_probe(1)), ..made }
    }

    fn missing(self) -> &'static str {
        match self {
            Self::Sim => "sim/missing",
            Self::Oci => "localhost/missing:1",
        }
    }

    async fn end(self, world: World) {
        match self {
            Self::Sim => drop(world.backend.shutdown(false).await),
            Self::Oci => world.end().await,
        }
    }
}

/// The tests, once per backend.
pub fn tests() -> Vec<Test> {
    let mut tests = Vec::new();
    for kind in [Kind::Sim, Kind::Oci] {
        let mut add =
            |name: &str, test: Test| tests.push(Test { name: format!("every::{}::{name}", kind.name()), ..test });
        add("an_instance_becomes_ready_answers_stops_and_is_forgotten", Test::new("", move || life(kind)));
        add("cpu_time_grows_with_work", Test::new("", move || cpu_time(kind)));
        add("starting_twice_starts_one", Test::new("", move || twice(kind)));
        add("unknown_and_ended_instances_are_ignored", Test::new("", move || unknown(kind)));
        add("changes_tell_of_every_state", Test::new("", move || changes(kind)));
        add("a_container_that_exits_fails_the_instance", Test::new("", move || exits(kind)));
        add("a_container_that_never_listens_fails_its_startup_probe", Test::new("", move || never_listens(kind)));
        add("an_image_that_is_missing_is_not_found", Test::new("", move || missing(kind)));
        add("gpus_are_listed_as_simulated_ones", Test::new("", move || gpus(kind)));
        add("a_simulated_gpu_is_in_use_while_its_holder_works", Test::new("", move || gpu_use(kind)));
        add("many_instances_start_at_once", Test::new("", move || many(kind)));
        add("stopping_is_heard_at_any_moment_of_a_start", Test::new("", move || stopped_early(kind)));
        add("shutdown_ends_every_instance", Test::new("", move || shutdown(kind)));
    }
    tests
}

async fn life(kind: Kind) {
    let world = kind.world().await;
    let spec = instance("one", kind.answers(&world).await);
    let ready = world.ready(&spec).await;
    assert_eq!(ready.spec, spec);
    let stamps = ready.stamps;
    assert!(stamps.creating <= stamps.started && stamps.started <= stamps.ready, "{stamps:?}");
    assert!(stamps.creating.is_some() && stamps.started.is_some() && stamps.ready.is_some(), "{stamps:?}");
    assert_eq!((stamps.stopping, stamps.ended), (None, None));
    world.body(&spec.id, "/").await;
    world.body(&spec.id, "/").await;

    world.backend.remove(&spec.id).await;
    assert!(world.observed(&spec.id).is_some(), "what runs is not forgotten");
    world.backend.stop(&spec.id, Duration::from_secs(10)).await;
    let over = world.wait_for(&spec.id, InstanceState::is_over).await;
    assert_eq!(over.state, InstanceState::Stopped);
    assert!(over.stamps.ended >= over.stamps.ready, "{:?}", over.stamps);
    let error = world.backend.connect(&spec.id, crate::world::PORT).await.expect_err("nothing runs");
    assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
    world.backend.remove(&spec.id).await;
    assert_eq!(world.backend.list(), []);
    kind.end(world).await;
}

async fn cpu_time(kind: Kind) {
    let world = kind.world().await;
    let spec = instance("one", kind.works(&world).await);
    let used = || world.backend.cpu(&spec.id).map(|cpu| cpu.time);
    assert_eq!(used(), None, "there is no such instance");
    world.ready(&spec).await;
    let before = used().expect("it runs");
    let deadline = Instant::now() + Duration::from_secs(20);
    while used().expect("it runs") < before + Duration::from_millis(10) {
        assert!(Instant::now() < deadline, "hundreds of requests take some CPU");
        world.body(&spec.id, "/").await;
    }
    world.backend.stop(&spec.id, Duration::from_secs(5)).await;
    world.wait_for(&spec.id, InstanceState::is_over).await;
    assert_eq!(used(), None, "nothing is left");
    kind.end(world).await;
}

async fn twice(kind: Kind) {
    let world = kind.world().await;
    let spec = instance("one", kind.answers(&world).await);
    tokio::join!(world.start(&spec), world.start(&spec), world.start(&spec));
    world.ready(&spec).await;
    let first = world.observed(&spec.id);
    world.start(&spec).await;
    assert_eq!(world.backend.list().len(), 1);
    assert_eq!(world.observed(&spec.id), first, "nothing happens to it");
    kind.end(world).await;
}

async fn unknown(kind: Kind) {
    let world = kind.world().await;
    let nobody = InstanceId::new("nobody");
    world.backend.stop(&nobody, Duration::ZERO).await;
    world.backend.remove(&nobody).await;
    assert_eq!(world.backend.connect(&nobody, 80).await.expect_err("unknown").kind(), std::io::ErrorKind::NotFound);
    let spec = instance("one", kind.exits(&world).await);
    let over = world.over(&spec).await;
    world.backend.stop(&spec.id, Duration::ZERO).await;
    assert_eq!(world.observed(&spec.id), Some(over), "it has ended already");
    kind.end(world).await;
}

async fn changes(kind: Kind) {
    let world = kind.world().await;
    let spec = instance("one", kind.answers(&world).await);
    let mut changes = world.backend.changes();
    changes.borrow_and_update();
    world.start(&spec).await;
    assert!(changes.has_changed().expect("the backend lives"), "a start changes the list");
    world.wait_for(&spec.id, |state| *state == InstanceState::Ready).await;
    changes.borrow_and_update();
    world.backend.stop(&spec.id, Duration::from_secs(5)).await;
    tokio::time::timeout(Duration::from_secs(20), changes.changed())
        .await
        .expect("a stop changes the list")
        .expect("it lives");
    world.wait_for(&spec.id, InstanceState::is_over).await;
    changes.borrow_and_update();
    world.backend.remove(&spec.id).await;
    assert!(changes.has_changed().expect("the backend lives"), "a removal changes the list");
    kind.end(world).await;
}

async fn exits(kind: Kind) {
    let world = kind.world().await;
    let spec = instance("one", kind.exits(&world).await);
    let over = world.over(&spec).await;
    let expected =
        Failure::Exited { container: "app".to_owned(), code: Some(1), out_of_memory: false, was_ready: false };
    assert_eq!(over.state, InstanceState::Failed(expected));
    assert!(over.stamps.ended.is_some() && over.stamps.ready.is_none());
    kind.end(world).await;
}

async fn never_listens(kind: Kind) {
    let world = kind.world().await;
    let spec = instance("one", kind.never_listens(&world).await);
    let over = world.over(&spec).await;
    let InstanceState::Failed(Failure::StartupProbe { container, last_error }) = over.state else {
        panic!("{:?}", over.state)
    };
    assert_eq!(container, "app");
    assert!(!last_error.is_empty());
    kind.end(world).await;
}

async fn missing(kind: Kind) {
    let world = kind.world().await;
    let error = world.backend.pull(kind.missing(), &|_| ()).await.expect_err("no such image");
    assert!(matches!(error, PullError::NotFound(_)), "{error}");
    assert_eq!(error.to_string(), format!("Image '{}' not found.", kind.missing()));
    kind.end(world).await;
}

async fn gpu_use(kind: Kind) {
    let world = kind.world().await;
    let mut spec = instance("one", kind.works(&world).await);
    let device = world.backend.devices()[0].clone();
    spec.gpus = vec![device.id.clone()];
    let of_device = || {
        let found = world.backend.gpu_use().into_iter().find(|found| found.device == device.id);
        let found = found.expect("every device is told of");
        assert!(found.simulated && found.memory_total_bytes == device.memory_bytes, "{found:?}");
        found
    };
    let idle = of_device();
    assert_eq!((idle.busy, idle.memory_bytes), (0.0, 0), "nobody holds it");
    world.ready(&spec).await;
    of_device();
    let deadline = Instant::now() + Duration::from_secs(20);
    let busy = loop {
        world.body(&spec.id, "/").await;
        let found = of_device();
        if found.busy > 0.0 && found.memory_bytes > 0 {
            break found;
        }
        assert!(Instant::now() < deadline, "hundreds of requests take some CPU: {found:?}");
    };
    assert!(busy.busy <= 1.0 && busy.memory_bytes <= busy.memory_total_bytes, "{busy:?}");
    world.backend.stop(&spec.id, Duration::from_secs(5)).await;
    world.wait_for(&spec.id, InstanceState::is_over).await;
    assert_eq!(of_device(), idle, "nobody holds it any more");
    kind.end(world).await;
}

async fn gpus(kind: Kind) {
    let world = kind.world().await;
    let devices = world.backend.devices();
    let ids: BTreeSet<_> = devices.iter().map(|device| device.id.to_string()).collect();
    assert_eq!(ids.len(), 2, "{devices:?}");
    assert!(devices.iter().all(|device| device.simulated));
    assert!(world.backend.driver().is_some());
    kind.end(world).await;
}

async fn many(kind: Kind) {
    let world = kind.world().await;
    let container = kind.answers(&world).await;
    let specs: Vec<_> = (0..8).map(|number| instance(&format!("number-{number}"), container.clone())).collect();
    futures_util::future::join_all(specs.iter().map(|spec| world.ready(spec))).await;
    futures_util::future::join_all(specs.iter().map(|spec| world.body(&spec.id, "/"))).await;
    kind.end(world).await;
}

async fn shutdown(kind: Kind) {
    let world = kind.world().await;
    let spec = instance("one", kind.answers(&world).await);
    world.ready(&spec).await;
    // Also one that is still being made.
    let second = instance("two", kind.answers(&world).await);
    world.start(&second).await;
    let traces = matches!(kind, Kind::Oci).then(|| crate::leaks::of(world.folder.path(), world.before.clone()));
    let begun = Instant::now();
    let ended = world.backend.shutdown(false).await;
    let steady = ended.iter().find(|instance| instance.spec.id == spec.id).map(|instance| instance.stamps.steady);
    let steady = steady.expect("it is among those that ended");
    let stamps = [steady.started, steady.ready, steady.ended];
    assert!(stamps.iter().all(Option::is_some) && stamps.is_sorted(), "{steady:?}");
    assert!(begun.elapsed() < Duration::from_secs(30));
    assert!(world.backend.list().iter().all(|instance| instance.state.is_over()));
    assert!(world.backend.connect(&spec.id, crate::world::PORT).await.is_err());
    let system = world.lines.of("app", LogStream::System);
    assert!(!system.iter().any(|line| line.contains("Failed")), "{system:?}");
    traces.iter().for_each(crate::leaks::nothing_left);
}

/// Whatever the start has come to.
async fn stopped_early(kind: Kind) {
    let world = kind.world().await;
    let container = kind.answers(&world).await;
    for delay in (0..40).step_by(3) {
        let spec = instance(&format!("after-{delay}-ms"), container.clone());
        world.start(&spec).await;
        tokio::time::sleep(Duration::from_millis(delay)).await;
        world.backend.stop(&spec.id, Duration::from_secs(1)).await;
        let over = world.wait_for(&spec.id, InstanceState::is_over).await;
        assert_eq!(over.state, InstanceState::Stopped, "stopped after {delay} ms");
        assert!(over.stamps.ended.is_some(), "{:?}", over.stamps);
        world.backend.remove(&spec.id).await;
    }
    assert_eq!(world.backend.list(), []);
    kind.end(world).await;
}
