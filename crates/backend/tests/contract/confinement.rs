//! What containers cannot see, reach, use or do.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use homerun_model::container::{Check, Probe};
use homerun_model::instance::{ContainerSpec, Failure, InstanceSpec, InstanceState};
use homerun_model::quantity::{Cpu, Memory};

use crate::images::{RICH, pinned};
use crate::world::{PATIENCE, PORT, World, container, host_address, instance, plain, tcp_probe, with_sidecar};

tests![
    "confinement":
    writing_is_limited_by_memory,
    a_link_in_a_volume_does_not_lead_out_of_it,
    containers_are_confined,
    the_kernel_s_files_are_masked,
    calls_that_no_container_needs_are_refused,
    limits_hold_and_are_capped_at_the_machine,
    a_gpu_is_in_one_container_only,
    the_host_is_out_of_reach,
    instances_do_not_reach_each_other,
    the_host_s_files_and_processes_are_out_of_sight,
];

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
    let cpus = std::thread::available_parallelism().expect("a number of CPUs").get();
    assert_eq!(world.backend.cpu(&spec.id).expect("it runs").limit, cpus as f64, "what scaling goes by");
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
