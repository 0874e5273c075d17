//! What the `oci` backend guarantees besides: how containers begin, run, write and end.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use homerun_backend::LogStream;
use homerun_model::container::{Check, Probe};
use homerun_model::instance::{ContainerSpec, Failure, InstanceState};
use homerun_model::quantity::Memory;

use crate::images::{PLAIN, RICH, pinned};
use crate::world::{PORT, World, container, instance, plain, tcp_probe, with_env, with_sidecar};

tests![
    "oci":
    exit_codes_are_told_and_whether_it_was_ready,
    a_missing_program_is_named,
    a_port_that_is_not_the_service_s_is_named,
    running_out_of_memory_is_told_apart,
    what_the_image_says_holds_unless_the_service_says_otherwise,
    a_command_drops_the_image_s_arguments_and_arguments_replace_them,
    the_file_system_is_writable_and_forgotten,
    containers_of_an_instance_share_network_and_volumes,
    a_sidecar_that_exits_ends_the_instance,
    everything_written_arrives_in_order,
    fast_writers_are_slowed_and_nothing_is_lost,
    loopback_only_is_warned_of,
    sigterm_is_heard_and_deaf_programs_are_killed_after_the_grace,
    http_probes_gate_and_liveness_ends,
    a_sidecar_that_is_not_ready_holds_the_app_back,
];

async fn exit_codes_are_told_and_whether_it_was_ready() {
    let world = World::oci().await;
    let image = pinned(world.backend.as_ref(), PLAIN).await;
    let seven = world.over(&instance("seven", with_env(&image, "EXIT_AT_START", "7"))).await;
    let expected = |code, was_ready| {
        InstanceState::Failed(Failure::Exited {
            container: "app".to_owned(),
            code: Some(code),
            out_of_memory: false,
            was_ready,
        })
    };
    assert_eq!(seven.state, expected(7, false));
    let late = instance("late", container(&image));
    world.ready(&late).await;
    // It ends without an answer.
    let mut stream = world.backend.connect(&late.id, PORT).await.expect("connect");
    tokio::io::AsyncWriteExt::write_all(&mut stream, b"GET /exit?code=9 HTTP/1.1\r\n\r\n").await.expect("ask");
    let over = world.wait_for(&late.id, InstanceState::is_over).await;
    assert_eq!(over.state, expected(9, true));
    world.end().await;
}

async fn a_missing_program_is_named() {
    let world = World::oci().await;
    let mut missing = plain(&world).await;
    missing.command = vec!["/no/such/program".to_owned()];
    let over = world.over(&instance("one", missing.clone())).await;
    let InstanceState::Failed(Failure::Create { message }) = over.state else { panic!("{:?}", over.state) };
    assert!(message.contains("/no/such/program") && message.contains("no such file"), "{message}");
    missing.command = vec!["nowhere".to_owned()];
    let over = world.over(&instance("two", missing.clone())).await;
    let InstanceState::Failed(Failure::Create { message }) = over.state else { panic!("{:?}", over.state) };
    assert!(message.contains("nowhere") && message.contains("PATH"), "{message}");
    missing.command = vec!["/from-image".to_owned()];
    let over = world.over(&instance("three", missing)).await;
    let InstanceState::Failed(Failure::Create { message }) = over.state else { panic!("{:?}", over.state) };
    assert!(message.contains("/from-image"), "{message}");
    world.end().await;
}

async fn a_port_that_is_not_the_service_s_is_named() {
    let world = World::oci().await;
    let image = pinned(world.backend.as_ref(), PLAIN).await;
    let elsewhere = ContainerSpec { startup_probe: Some(tcp_probe(1)), ..with_env(&image, "LISTEN", "0.0.0.0:9000") };
    let over = world.over(&instance("one", elsewhere)).await;
    let InstanceState::Failed(Failure::StartupProbe { last_error, .. }) = over.state else {
        panic!("{:?}", over.state)
    };
    assert!(last_error.contains("8080") && last_error.contains("9000"), "{last_error}");
    world.end().await;
}

async fn running_out_of_memory_is_told_apart() {
    let world = World::oci().await;
    let spec = instance("one", ContainerSpec { memory: Memory::mib(64), ..plain(&world).await });
    world.ready(&spec).await;
    let mut stream = world.backend.connect(&spec.id, PORT).await.expect("connect");
    tokio::io::AsyncWriteExt::write_all(&mut stream, b"GET /eat?bytes=200000000 HTTP/1.1\r\n\r\n").await.expect("ask");
    let over = world.wait_for(&spec.id, InstanceState::is_over).await;
    let expected =
        Failure::Exited { container: "app".to_owned(), code: Some(137), out_of_memory: true, was_ready: true };
    assert_eq!(over.state, InstanceState::Failed(expected));
    world.end().await;
}

async fn what_the_image_says_holds_unless_the_service_says_otherwise() {
    let world = World::oci().await;
    let image = pinned(world.backend.as_ref(), RICH).await;
    let spec = instance("rich", with_env(&image, "BOTH", "service"));
    world.ready(&spec).await;
    let (code, _) = world.get(&spec.id, "/read?path=/etc/resolv.conf").await;
    assert_eq!(code, 200, "the image's own is a link that leads nowhere");
    assert_eq!(world.body(&spec.id, "/ids").await, "1234 1235 [77]");
    assert_eq!(world.body(&spec.id, "/cwd").await, "/made/up");
    let env = world.body(&spec.id, "/env").await;
    let env: BTreeMap<&str, &str> = env.lines().filter_map(|line| line.split_once('=')).collect();
    let expected =
        [("FROM_IMAGE", "yes"), ("BOTH", "service"), ("PATH", "/usr/bin:/"), ("HOME", "/srv/web"), ("PORT", "8080")];
    assert_eq!(env, BTreeMap::from(expected));

    let elsewhere = ContainerSpec { working_dir: Some("/tmp/of/service".to_owned()), ..plain(&world).await };
    let spec = instance("plain", elsewhere);
    world.ready(&spec).await;
    assert_eq!(world.body(&spec.id, "/cwd").await, "/tmp/of/service");
    assert!(world.body(&spec.id, "/ids").await.starts_with("0 0 "));
    let env = world.body(&spec.id, "/env").await;
    assert!(env.contains("PATH=/usr/local/sbin:") && env.contains("HOME=/\n"), "{env}");
    world.end().await;
}

async fn a_command_drops_the_image_s_arguments_and_arguments_replace_them() {
    let world = World::oci().await;
    let image = pinned(world.backend.as_ref(), RICH).await;
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let table = [
        ("", "", "/inside from-entrypoint from-cmd"),
        ("/inside own", "", "/inside own"),
        ("", "a b", "/inside from-entrypoint a b"),
        ("inside own", "a b", "inside own a b"),
    ];
    for (number, (command, args, expected)) in table.into_iter().enumerate() {
        let made = ContainerSpec { command: words(command), args: words(args), ..container(&image) };
        let spec = instance(&format!("case-{number}"), made);
        world.ready(&spec).await;
        assert_eq!(world.body(&spec.id, "/args").await, words(expected).join("\n"), "{command} / {args}");
    }
    world.end().await;
}

async fn the_file_system_is_writable_and_forgotten() {
    let world = World::oci().await;
    let first = instance("first", plain(&world).await);
    world.ready(&first).await;
    world.body(&first.id, "/write?path=/from-image&bytes=3").await;
    world.body(&first.id, "/write?path=/tmp/own&bytes=3").await;
    assert_eq!(world.body(&first.id, "/read?path=/from-image").await, "xxx");
    let second = instance("second", plain(&world).await);
    world.ready(&second).await;
    assert_eq!(world.body(&second.id, "/read?path=/from-image").await, "of the image\n");
    assert_eq!(world.get(&second.id, "/read?path=/tmp/own").await.0, 500);
    world.body(&second.id, "/write?path=/dev/shm/x&bytes=100").await;
    world.end().await;
}

async fn containers_of_an_instance_share_network_and_volumes() {
    let world = World::oci().await;
    let spec = with_sidecar(&world).await;
    world.ready(&spec).await;
    assert_eq!(world.body(&spec.id, "/connect?to=127.0.0.1:9100").await, "connected");
    world.body(&spec.id, "/write?path=/shared/note&bytes=4").await;
    let sidecar = |path: &'static str| {
        let world = &world;
        let id = spec.id.clone();
        async move {
            let mut stream = world.backend.connect(&id, 9100).await.expect("connect to the sidecar");
            tokio::io::AsyncWriteExt::write_all(&mut stream, format!("GET {path} HTTP/1.1\r\n\r\n").as_bytes())
                .await
                .expect("ask");
            let mut answer = String::new();
            tokio::io::AsyncReadExt::read_to_string(&mut stream, &mut answer).await.expect("an answer");
            answer
        }
    };
    assert!(sidecar("/read?path=/shared/note").await.ends_with("xxxx"));
    let refused = sidecar("/write?path=/shared/other&bytes=1").await;
    assert!(refused.contains("Read-only"), "{refused}");
    let apart = sidecar("/list?path=/proc").await;
    assert!(!apart.lines().any(|name| name == "2"), "a container sees its own processes only: {apart}");
    world.end().await;
}

async fn a_sidecar_that_exits_ends_the_instance() {
    let world = World::oci().await;
    let spec = with_sidecar(&world).await;
    world.ready(&spec).await;
    let mut stream = world.backend.connect(&spec.id, 9100).await.expect("connect");
    tokio::io::AsyncWriteExt::write_all(&mut stream, b"GET /exit?code=3 HTTP/1.1\r\n\r\n").await.expect("ask");
    let over = world.wait_for(&spec.id, InstanceState::is_over).await;
    let expected =
        Failure::Exited { container: "sidecar".to_owned(), code: Some(3), out_of_memory: false, was_ready: true };
    assert_eq!(over.state, InstanceState::Failed(expected));
    world.end().await;
}

async fn everything_written_arrives_in_order() {
    let world = World::oci().await;
    let image = pinned(world.backend.as_ref(), PLAIN).await;
    let mut made = with_env(&image, "EXIT_AT_START", "4");
    made.env.insert("SAY".to_owned(), "no line feed at the end".to_owned());
    world.over(&instance("brief", made)).await;
    assert_eq!(world.lines.of("app", LogStream::Stdout), ["no line feed at the end"]);
    assert_eq!(world.lines.of("app", LogStream::Stderr), ["exiting with 4"]);

    let spec = instance("long", container(&image));
    world.ready(&spec).await;
    world.body(&spec.id, "/say?text=one&stream=stderr").await;
    world.body(&spec.id, "/say?text=two&stream=stderr").await;
    world.backend.stop(&spec.id, Duration::from_secs(20)).await;
    world.wait_for(&spec.id, InstanceState::is_over).await;
    assert_eq!(world.lines.of("app", LogStream::Stderr)[1..], ["one", "two"]);
    assert_eq!(world.lines.of("app", LogStream::Stdout).last().map(String::as_str), Some("terminating"));
    world.end().await;
}

async fn fast_writers_are_slowed_and_nothing_is_lost() {
    let world = World::oci().await;
    let spec = instance("one", plain(&world).await);
    world.ready(&spec).await;
    world.body(&spec.id, "/say?text=0123456789012345678901234567890123456789&times=50000").await;
    world.backend.stop(&spec.id, Duration::from_secs(20)).await;
    world.wait_for(&spec.id, InstanceState::is_over).await;
    let lines = world.lines.of("app", LogStream::Stdout);
    assert_eq!(lines.iter().filter(|line| line.starts_with("0123") && line.len() == 40).count(), 50_000);
    world.end().await;
}

async fn loopback_only_is_warned_of() {
    let world = World::oci().await;
    let image = pinned(world.backend.as_ref(), PLAIN).await;
    let spec = instance("one", with_env(&image, "LISTEN", "127.0.0.1:8080"));
    world.ready(&spec).await;
    // It comes a little later than the readiness, which does not wait for it.
    let warnings = world.warnings(&spec.id, Duration::from_secs(10)).await;
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("127.0.0.1") && warnings[0].contains("0.0.0.0"), "{warnings:?}");
    world.body(&spec.id, "/").await;
    let open = instance("two", container(&image));
    world.ready(&open).await;
    assert_eq!(world.warnings(&open.id, Duration::from_secs(2)).await, Vec::<String>::new());
    world.end().await;
}

async fn sigterm_is_heard_and_deaf_programs_are_killed_after_the_grace() {
    let world = World::oci().await;
    let image = pinned(world.backend.as_ref(), PLAIN).await;
    let polite = instance("polite", container(&image));
    world.ready(&polite).await;
    let begun = Instant::now();
    world.backend.stop(&polite.id, Duration::from_secs(30)).await;
    let over = world.wait_for(&polite.id, InstanceState::is_over).await;
    assert!(begun.elapsed() < Duration::from_secs(20), "it need not wait out the grace");
    assert!(over.stamps.stopping.is_some() && over.stamps.stopping <= over.stamps.ended);

    let deaf = instance("deaf", with_env(&image, "IGNORE_TERM", "1"));
    world.ready(&deaf).await;
    let begun = Instant::now();
    world.backend.stop(&deaf.id, Duration::from_secs(1)).await;
    world.wait_for(&deaf.id, |state| *state == InstanceState::Stopping).await;
    world.body(&deaf.id, "/").await;
    let over = world.wait_for(&deaf.id, InstanceState::is_over).await;
    assert_eq!(over.state, InstanceState::Stopped);
    assert!(begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());
    world.end().await;
}

async fn http_probes_gate_and_liveness_ends() {
    let world = World::oci().await;
    let http = |path: &str, threshold| Probe {
        check: Check::Http { path: Some(path.to_owned()), port: None, headers: Vec::new() },
        initial_delay_seconds: None,
        timeout_seconds: Some(1),
        period_seconds: Some(1),
        failure_threshold: Some(threshold),
        success_threshold: None,
    };
    let never = ContainerSpec { startup_probe: Some(http("/read?path=/no/such/file", 2)), ..plain(&world).await };
    let over = world.over(&instance("never", never)).await;
    let InstanceState::Failed(Failure::StartupProbe { last_error, .. }) = over.state else {
        panic!("{:?}", over.state)
    };
    assert!(last_error.contains("500"), "{last_error}");

    let alive = ContainerSpec { liveness_probe: Some(http("/read?path=/from-image", 2)), ..plain(&world).await };
    let spec = instance("alive", alive);
    world.ready(&spec).await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(world.observed(&spec.id).map(|instance| instance.state), Some(InstanceState::Ready));

    let dying = ContainerSpec { liveness_probe: Some(http("/read?path=/no/such/file", 2)), ..plain(&world).await };
    let spec = instance("dying", dying);
    world.ready(&spec).await;
    let over = world.wait_for(&spec.id, InstanceState::is_over).await;
    assert!(matches!(over.state, InstanceState::Failed(Failure::LivenessProbe { .. })), "{:?}", over.state);
    world.end().await;
}

async fn a_sidecar_that_is_not_ready_holds_the_app_back() {
    let world = World::oci().await;
    let mut spec = with_sidecar(&world).await;
    spec.containers[0].env.insert("SAY".to_owned(), "the app runs\n".to_owned());
    spec.containers[1].env.insert("SAY".to_owned(), "the sidecar runs\n".to_owned());
    spec.containers[1].startup_probe = Some(Probe { check: Check::Tcp { port: Some(9101) }, ..tcp_probe(1) });
    let over = world.over(&spec).await;
    let InstanceState::Failed(Failure::StartupProbe { container, last_error }) = over.state else {
        panic!("{:?}", over.state)
    };
    assert_eq!(container, "sidecar");
    assert!(last_error.contains("9101") && last_error.contains("9100"), "{last_error}");
    assert_eq!(world.lines.of("sidecar", LogStream::Stdout)[0], "the sidecar runs");
    assert_eq!(world.lines.of("app", LogStream::Stdout), Vec::<String>::new());
    world.end().await;
}
