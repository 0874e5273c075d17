//! What the `oci` backend guarantees besides.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use homerun_backend::LogStream;
use homerun_model::container::{Check, Probe, Volume, VolumeMount, VolumeSource};
use homerun_model::instance::{ContainerSpec, Failure, InstanceSpec, InstanceState};
use homerun_model::quantity::{Cpu, Memory};

use crate::Test;
use crate::images::{PLAIN, RICH, pinned};
use crate::world::{PATIENCE, PORT, World, container, host_address, instance, tcp_probe, with_env};

macro_rules! tests {
    ($($name:ident),* $(,)?) => {
        /// The tests.
        pub fn tests() -> Vec<Test> {
            vec![$(Test::new(concat!("oci::", stringify!($name)), $name)),*]
        }
    };
}

tests![
    exit_codes_are_told_and_whether_it_was_ready,
    a_missing_program_is_named,
    a_port_that_is_not_the_service_s_is_named,
    running_out_of_memory_is_told_apart,
    what_the_image_says_holds_unless_the_service_says_otherwise,
    a_command_drops_the_image_s_arguments_and_arguments_replace_them,
    the_file_system_is_writable_and_forgotten,
    writing_is_limited_by_memory,
    containers_of_an_instance_share_network_and_volumes,
    a_sidecar_that_exits_ends_the_instance,
    a_link_in_a_volume_does_not_lead_out_of_it,
    everything_written_arrives_in_order,
    fast_writers_are_slowed_and_nothing_is_lost,
    containers_are_confined,
    the_kernel_s_files_are_masked,
    calls_that_no_container_needs_are_refused,
    limits_hold_and_are_capped_at_the_machine,
    a_gpu_is_in_one_container_only,
    loopback_only_is_warned_of,
    sigterm_is_heard_and_deaf_programs_are_killed_after_the_grace,
    http_probes_gate_and_liveness_ends,
    the_host_is_out_of_reach,
    instances_do_not_reach_each_other,
    a_sidecar_that_is_not_ready_holds_the_app_back,
    the_host_s_files_and_processes_are_out_of_sight,
];

async fn plain(world: &World) -> ContainerSpec {
    container(&pinned(world.backend.as_ref(), PLAIN).await)
}

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

async fn writing_is_limited_by_memory() {
    let world = World::oci().await;
    let spec = instance("one", ContainerSpec { memory: Memory::mib(64), ..plain(&world).await });
    world.ready(&spec).await;
    world.body(&spec.id, "/write?path=/tmp/a&bytes=20000000").await;
    let mut stream = world.backend.connect(&spec.id, PORT).await.expect("connect");
    tokio::io::AsyncWriteExt::write_all(&mut stream, b"GET /write?path=/tmp/b&bytes=60000000 HTTP/1.1\r\n\r\n")
        .await
        .expect("ask");
    let over = world.wait_for(&spec.id, InstanceState::is_over).await;
    assert!(
        matches!(over.state, InstanceState::Failed(Failure::Exited { out_of_memory: true, .. })),
        "{:?}",
        over.state
    );
    world.end().await;
}

/// An instance with a sidecar that starts first, serves on port 9100 and shares a volume.
pub async fn with_sidecar(world: &World) -> InstanceSpec {
    let image = pinned(world.backend.as_ref(), PLAIN).await;
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

/// The sidecar, which starts first, puts a link into the volume where the app's `subPath` will be.
async fn a_link_in_a_volume_does_not_lead_out_of_it() {
    let world = World::oci().await;
    let outside = tempfile::tempdir().expect("a folder");
    std::fs::set_permissions(outside.path(), std::os::unix::fs::PermissionsExt::from_mode(0o700))
        .expect("closed to others");
    let mut spec = with_sidecar(&world).await;
    spec.containers[1].volume_mounts[0].read_only = false;
    spec.containers[0].volume_mounts[0].sub_path = Some("trap".to_owned());
    // Ready only when the link is there: the probe itself makes it.
    let path = format!("/link?to={}&path=/shared/trap", outside.path().display());
    let check = Check::Http { path: Some(path), port: Some(9100), headers: Vec::new() };
    spec.containers[1].startup_probe = Some(Probe { check, ..tcp_probe(30) });
    std::fs::write(outside.path().join("secret"), "of the host").expect("a file");
    world.start(&spec).await;
    let seen = world.wait_for(&spec.id, |state| *state == InstanceState::Ready || state.is_over()).await;
    if seen.state == InstanceState::Ready {
        let (status, body) = world.get(&spec.id, "/read?path=/shared/secret").await;
        assert_ne!(status, 200, "{body}");
    }
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(outside.path()).expect("the folder"));
    assert_eq!(mode & 0o777, 0o700, "the host's folder is as it was");
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

async fn containers_are_confined() {
    let world = World::oci().await;
    let spec = instance("one", plain(&world).await);
    world.ready(&spec).await;
    let read = |path: &'static str| {
        let (world, id) = (&world, spec.id.clone());
        async move { world.get(&id, &format!("/read?path={path}")).await }
    };
    let status = read("/proc/self/status").await.1;
    let field =
        |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim().to_owned();
    assert_eq!(field("NoNewPrivs:"), "1");
    assert_eq!(field("Seccomp:"), "2");
    assert_eq!(field("Pid:"), "1");
    let sets = ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"];
    // chown, dac_override, fowner, fsetid, kill, setgid, setuid, setpcap, net_bind_service, sys_chroot.
    let kept = "00000000000405fb";
    let none = "0000000000000000";
    assert_eq!(sets.map(field), [none, kept, kept, kept, none]);
    let words = |text: String| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(words(read("/proc/self/uid_map").await.1), ["0", "1000000", "65536"]);
    assert_eq!(words(read("/proc/self/gid_map").await.1), ["0", "1000000", "65536"]);

    let spec = instance("of-a-user", container(&pinned(world.backend.as_ref(), RICH).await));
    world.ready(&spec).await;
    let status = world.body(&spec.id, "/read?path=/proc/self/status").await;
    let field =
        |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim().to_owned();
    assert_eq!(sets.map(field), [none, none, none, kept, none], "a user other than root has no capability");
    assert_eq!((field("NoNewPrivs:"), field("Seccomp:")), ("1".to_owned(), "2".to_owned()));
    world.end().await;
}

async fn the_kernel_s_files_are_masked() {
    let world = World::oci().await;
    let spec = instance("one", plain(&world).await);
    world.ready(&spec).await;
    let read = |path: &'static str| {
        let (world, id) = (&world, spec.id.clone());
        async move { world.get(&id, &format!("/read?path={path}")).await }
    };
    let words = |text: String| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    for path in ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/interrupts"] {
        let (code, text) = read(path).await;
        // Some kernels have not all of them.
        assert!(code == 500 || text.is_empty(), "{path}: {text}");
    }
    let (code, names) = world.get(&spec.id, "/list?path=/sys/firmware").await;
    assert!(code == 500 || names.is_empty(), "neither there nor readable: {names}");
    for path in ["/proc/sys/kernel/hostname", "/proc/sysrq-trigger", "/sys/class/x"] {
        let (code, body) = world.get(&spec.id, &format!("/write?path={path}&bytes=1")).await;
        assert_eq!(code, 500, "{path}: {body}");
    }
    let mut processes = words(world.body(&spec.id, "/list?path=/proc").await);
    processes.retain(|name| name.parse::<u32>().is_ok());
    assert_eq!(processes, ["1"]);
    assert_eq!(read("/etc/hostname").await.1.trim(), "localhost");
    assert!(read("/etc/hosts").await.1.contains("127.0.0.1"));
    assert_eq!(read("/etc/resolv.conf").await.0, 200);
    let devices = words(world.body(&spec.id, "/list?path=/dev").await);
    let usual = [
        "fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout", "tty", "urandom",
        "zero", "core", "console",
    ];
    assert!(devices.iter().all(|name| usual.contains(&name.as_str())), "{devices:?}");
    let mounts = read("/proc/self/mounts").await.1;
    let old_root = mounts.lines().filter(|line| line.contains("ext4") && !line.contains(" /etc/")).count();
    assert_eq!(old_root, 0, "{mounts}");
    world.end().await;
}

async fn calls_that_no_container_needs_are_refused() {
    let world = World::oci().await;
    let spec = instance("one", plain(&world).await);
    world.ready(&spec).await;
    let calls = [
        "mount",
        "unshare",
        "clone",
        "clone3",
        "bpf",
        "keyctl",
        "perf_event_open",
        "userfaultfd",
        "io_uring_setup",
        "kexec_load",
        "setns",
        "packet_socket",
        "raw_socket",
        "mknod",
        "umount2",
        "pivot_root",
        "open_tree",
        "move_mount",
        "fsopen",
        "mount_setattr",
        "open_by_handle_at",
        "fanotify_init",
        "syslog",
        "reboot",
        "init_module",
        "finit_module",
        "delete_module",
        "swapon",
        "acct",
        "settimeofday",
        "clock_settime",
        "adjtimex",
        "sethostname",
        "iopl",
        "ioperm",
        "add_key",
        "request_key",
        "kcmp",
        "quotactl",
        "x32_unshare",
        "x32_mount",
    ];
    for call in calls {
        let answer = world.body(&spec.id, &format!("/syscall?name={call}")).await;
        let refused = ["Operation not permitted", "Function not implemented", "Address family not supported"];
        assert!(refused.iter().any(|text| answer.starts_with(text)), "{call}: {answer}");
    }
    world.end().await;
}

async fn limits_hold_and_are_capped_at_the_machine() {
    let world = World::oci().await;
    let spec = instance(
        "one",
        ContainerSpec { cpu: Cpu::from_millis(512_000), memory: Memory::gib(4096), ..plain(&world).await },
    );
    let ready = world.ready(&spec).await;
    assert_eq!(ready.warnings.len(), 2, "{:?}", ready.warnings);
    assert!(ready.warnings[0].contains("512 CPU") && ready.warnings[1].contains("4Ti"), "{:?}", ready.warnings);
    let limits = world.body(&spec.id, "/read?path=/proc/self/limits").await;
    let files = limits.lines().find(|line| line.starts_with("Max open files")).expect("a limit");
    assert_eq!(files.split_whitespace().nth(3), Some(most_open_files().to_string().as_str()));
    assert_eq!(world.body(&spec.id, "/read?path=/proc/self/oom_score_adj").await.trim(), "500");
    world.end().await;
}

/// 25,000, unless the machine gives this process fewer and does not let it raise that.
fn most_open_files() -> u64 {
    const SYS_RESOURCE: u64 = 1 << 24;
    let field = |path: &str, name: &str, index: usize| {
        let text = std::fs::read_to_string(path).expect("a file of /proc");
        let line = text.lines().find(|line| line.starts_with(name));
        let word = line.and_then(|line| line.split_whitespace().nth(index));
        word.expect("the field").to_owned()
    };
    let capabilities = field("/proc/self/status", "CapEff:", 1);
    if u64::from_str_radix(&capabilities, 16).expect("a number") & SYS_RESOURCE != 0 {
        return 25_000;
    }
    let own = field("/proc/self/limits", "Max open files", 4);
    own.parse::<u64>().expect("a number").min(25_000)
}

async fn a_gpu_is_in_one_container_only() {
    let world = World::oci().await;
    let mut spec = with_sidecar(&world).await;
    spec.containers[0].gpu = true;
    spec.gpus = vec![world.backend.devices()[0].id.clone()];
    world.ready(&spec).await;
    let devices = world.body(&spec.id, "/list?path=/dev").await;
    assert!(devices.contains("nvidia"), "{devices}");
    assert!(world.body(&spec.id, "/list?path=/usr/local/nvidia/lib64").await.contains("libcuda.so.1"));
    assert!(world.body(&spec.id, "/list?path=/usr/local/nvidia/bin").await.contains("nvidia-smi"));
    let env = world.body(&spec.id, "/env").await;
    assert!(env.contains("LD_LIBRARY_PATH=/usr/local/nvidia/lib64"), "{env}");
    // The sidecar's own view.
    let mut stream = world.backend.connect(&spec.id, 9100).await.expect("connect");
    tokio::io::AsyncWriteExt::write_all(&mut stream, b"GET /list?path=/dev HTTP/1.1\r\n\r\n").await.expect("ask");
    let mut answer = String::new();
    tokio::io::AsyncReadExt::read_to_string(&mut stream, &mut answer).await.expect("an answer");
    assert!(answer.contains("null") && !answer.contains("nvidia"), "{answer}");
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

/// What the host, or a homerun on it, listens on; although there is a way to the outside.
async fn the_host_is_out_of_reach() {
    let world = World::oci().await;
    let listener = TcpListener::bind("0.0.0.0:0").expect("listen on the host");
    let port = listener.local_addr().expect("an address").port();
    std::net::TcpStream::connect(host_address(port)).expect("the host itself reaches it");
    let one = instance("one", plain(&world).await);
    world.ready(&one).await;
    way_out(&world, &one).await;
    for address in [format!("127.0.0.1:{port}"), format!("169.254.1.1:{port}")] {
        let (status, body) = world.get(&one.id, &format!("/connect?to={address}")).await;
        assert_eq!(status, 500, "{address}: {body}");
    }
    world.end().await;
}

/// Waits for outbound access, which is attached beside the start; the instance's own address.
async fn way_out(world: &World, spec: &InstanceSpec) -> String {
    let begun = Instant::now();
    while !world.body(&spec.id, "/read?path=/proc/self/net/route").await.contains("eth0\t00000000\t") {
        assert!(begun.elapsed() < PATIENCE, "no default route");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let addresses = world.body(&spec.id, "/read?path=/proc/self/net/fib_trie").await;
    let own = addresses.lines().find_map(|line| line.trim().strip_prefix("|-- 100."));
    format!("100.{}", own.expect("an address of the shared range"))
}

/// They serve on the same port, and know each other's address.
async fn instances_do_not_reach_each_other() {
    let world = World::oci().await;
    let (one, two) = (instance("one", plain(&world).await), instance("two", plain(&world).await));
    world.ready(&one).await;
    world.ready(&two).await;
    let addresses = [way_out(&world, &one).await, way_out(&world, &two).await];
    for (spec, own, other) in [(&one, &addresses[0], &addresses[1]), (&two, &addresses[1], &addresses[0])] {
        assert_eq!(world.body(&spec.id, &format!("/connect?to={own}:{PORT}")).await, "connected", "to itself");
        let (status, body) = world.get(&spec.id, &format!("/connect?to={other}:{PORT}")).await;
        assert_eq!(status, 500, "{other}: {body}");
    }
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

/// By every name that a root file system could be left by.
async fn the_host_s_files_and_processes_are_out_of_sight() {
    let world = World::oci().await;
    let spec = instance("one", plain(&world).await);
    world.ready(&spec).await;
    let secret = tempfile::NamedTempFile::new().expect("a file of the host");
    let path = secret.path().display().to_string();
    assert_eq!(world.get(&spec.id, "/read?path=/proc/1/root/from-image").await.0, 200, "its own root is there");
    for prefix in ["", "/..", "/../../../..", "/proc/1/root", "/proc/1/root/..", "/proc/self/cwd/../.."] {
        let (status, body) = world.get(&spec.id, &format!("/read?path={prefix}{path}")).await;
        assert_eq!(status, 500, "{prefix}: {body}");
    }
    // Every descriptor that the program was born with is a standard stream.
    for number in 3..64 {
        let (status, body) = world.get(&spec.id, &format!("/list?path=/proc/self/fd/{number}/")).await;
        assert_eq!(status, 500, "descriptor {number} is a folder: {body}");
    }
    let (status, body) = world.get(&spec.id, &format!("/read?path=/proc/{}/status", std::process::id())).await;
    assert_eq!(status, 500, "{body}");
    let groups = world.body(&spec.id, "/read?path=/proc/self/cgroup").await;
    assert!(!groups.contains("homerun"), "its place in the host's cgroups is not told: {groups}");
    world.end().await;
}
