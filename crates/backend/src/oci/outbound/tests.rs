//! Packets really flow here, through network namespaces that the tests make:
//!
//! ```text
//! instance --veth--> host --veth--> outside
//! ```
//!
//! Each namespace is a thread's; they end with the tests.

use std::fs::File;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::process::Command;
use std::time::Duration;

use nix::sched::{CloneFlags, setns, unshare};

use super::Outbound;

const HOST_OUTSIDE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
const ENOUGH: Duration = Duration::from_secs(2);
/// Long enough for an answer on one machine, had it not been dropped.
const DROPPED: Duration = Duration::from_millis(300);

/// Runs on a thread in a new network namespace.
fn in_new_namespace(test: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).expect("these tests need root");
            test();
        });
    });
}

fn this_namespace() -> OwnedFd {
    File::open("/proc/thread-self/ns/net").expect("a namespace").into()
}

/// A new namespace with `lo` up.
fn new_namespace() -> OwnedFd {
    let make = || {
        unshare(CloneFlags::CLONE_NEWNET).expect("these tests need root");
        ip("link set lo up");
        this_namespace()
    };
    std::thread::scope(|scope| scope.spawn(make).join()).expect("a namespace")
}

/// Runs in a namespace.
fn within<T: Send>(namespace: &OwnedFd, work: impl FnOnce() -> T + Send) -> T {
    let enter = || {
        setns(namespace.as_fd(), CloneFlags::CLONE_NEWNET).expect("enter a namespace");
        work()
    };
    std::thread::scope(|scope| scope.spawn(enter).join()).expect("the work inside a namespace")
}

fn ip(arguments: &str) -> String {
    let output = Command::new("ip").args(arguments.split(' ')).output().expect("ip");
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Gives this namespace an uplink to another one, with a listener there.
fn outside() -> (OwnedFd, TcpListener) {
    ip("link set lo up");
    let namespace = new_namespace();
    let host = this_namespace();
    within(&namespace, || {
        ip("link add up0 type veth peer name up1");
        // Only names and process ids can be given to ip, so the peer is moved by netlink.
        let mut socket = super::netlink::Socket::open(libc::NETLINK_ROUTE).expect("netlink");
        let descriptor = (std::os::fd::AsRawFd::as_raw_fd(&host) as u32).to_ne_bytes();
        let message = super::netlink::Message::new(libc::RTM_NEWLINK, libc::NLM_F_ACK, &[0; 16]);
        let message = message.text(libc::IFLA_IFNAME, "up1").attribute(libc::IFLA_NET_NS_FD, &descriptor);
        socket.change(message).expect("move the uplink");
        ip(&format!("addr add {OUTSIDE}/24 dev up0"));
        ip("link set up0 up");
    });
    ip(&format!("addr add {HOST_OUTSIDE}/24 dev up1"));
    ip("link set up1 up");
    let listener = within(&namespace, || TcpListener::bind((OUTSIDE, 0)).expect("listen outside"));
    (namespace, listener)
}

fn connect(namespace: &OwnedFd, to: SocketAddr, patience: Duration) -> std::io::Result<TcpStream> {
    within(namespace, || TcpStream::connect_timeout(&to, patience))
}

fn address_of(namespace: &OwnedFd) -> Ipv4Addr {
    let text = within(namespace, || ip("-4 -o addr show dev eth0"));
    let address = text.split_whitespace().skip_while(|word| *word != "inet").nth(1).expect("an address");
    address.trim_end_matches("/32").parse().expect("an IPv4 address")
}

#[test]
fn instances_reach_the_outside_under_the_machines_address() {
    in_new_namespace(|| {
        let (_outside, listener) = outside();
        let outbound = Outbound::open("a1b2c3d4").expect("open");
        let instance = new_namespace();
        outbound.attach("one", instance.as_fd()).expect("attach");
        let stream = connect(&instance, listener.local_addr().expect("address"), ENOUGH).expect("reach the outside");
        let (_, from) = listener.accept().expect("accept");
        assert_eq!(from.ip(), HOST_OUTSIDE, "masqueraded");
        drop(stream);
    });
}

#[test]
fn instances_reach_neither_the_host_nor_each_other_nor_metadata_servers() {
    in_new_namespace(|| {
        let (outside, _listener) = outside();
        let outbound = Outbound::open("b1b2c3d4").expect("open");
        let (one, two) = (new_namespace(), new_namespace());
        outbound.attach("one", one.as_fd()).expect("attach");
        outbound.attach("two", two.as_fd()).expect("attach");
        assert_ne!(address_of(&one), address_of(&two));

        let on_host = TcpListener::bind("0.0.0.0:0").expect("listen on the host");
        let port = on_host.local_addr().expect("address").port();
        let in_two = within(&two, || TcpListener::bind("0.0.0.0:0").expect("listen in an instance"));
        let two_port = in_two.local_addr().expect("address").port();
        within(&outside, || ip("addr add 169.254.169.254/32 dev lo"));
        ip(&format!("route add 169.254.169.254 via {OUTSIDE}"));
        let metadata =
            within(&outside, || TcpListener::bind("169.254.169.254:0").expect("listen as a metadata server"));
        let metadata = metadata.local_addr().expect("address");
        TcpStream::connect_timeout(&metadata, ENOUGH).expect("the host itself reaches the metadata server");

        let forbidden = [
            SocketAddr::from((HOST_OUTSIDE, port)),
            SocketAddr::from((super::GATEWAY, port)),
            SocketAddr::from((address_of(&two), two_port)),
            metadata,
        ];
        for to in forbidden {
            let error = connect(&one, to, DROPPED).expect_err("dropped");
            assert_eq!(error.kind(), ErrorKind::TimedOut, "{to}: {error}");
        }
        let error = within(&outside, || {
            ip(&format!("route add {} via {HOST_OUTSIDE}", address_of(&two)));
            TcpStream::connect_timeout(&SocketAddr::from((address_of(&two), two_port)), DROPPED)
        });
        assert_eq!(error.expect_err("nobody comes in this way").kind(), ErrorKind::TimedOut);
    });
}

#[test]
fn what_is_attached_can_be_removed_and_found_again_after_a_restart() {
    in_new_namespace(|| {
        let outbound = Outbound::open("c1b2c3d4").expect("open");
        let (one, two) = (new_namespace(), new_namespace());
        outbound.attach("one", one.as_fd()).expect("attach");
        outbound.attach("two", two.as_fd()).expect("attach");
        let again = Outbound::open("c1b2c3d4").expect("open again");
        again.attach("two", two.as_fd()).expect("attaching twice does no harm");
        again.retain(|instance| instance == "two").expect("remove stale interfaces");
        let links = ip("-o link");
        assert_eq!(links.matches("hrc1b2c3-").count(), 1, "{links}");
        assert!(ip("-d link").contains("alias two"));
        again.detach("two").expect("detach");
        assert!(!ip("-o link").contains("hrc1b2c3-"));
        within(&two, || assert!(!ip("-o link").contains("eth0"), "both ends are gone"));
        again.detach("two").expect("detaching twice does no harm");
    });
}

#[test]
fn closing_leaves_no_rule_and_no_interface_and_spares_another_homeruns() {
    in_new_namespace(|| {
        let (ours, theirs) = (Outbound::open("d1b2c3d4").expect("open"), Outbound::open("e1b2c3d4").expect("open"));
        let (one, two) = (new_namespace(), new_namespace());
        ours.attach("one", one.as_fd()).expect("attach");
        theirs.attach("two", two.as_fd()).expect("attach");
        ours.close().expect("close");
        ours.close().expect("closing twice does no harm");
        let rules = Command::new("nft").args(["list", "ruleset"]).output().expect("nft");
        let rules = String::from_utf8_lossy(&rules.stdout).into_owned();
        assert!(!rules.contains("homerun-d1b2c3"), "{rules}");
        assert!(rules.contains("homerun-e1b2c3") && rules.contains("masquerade"), "{rules}");
        let links = ip("-o link");
        assert!(!links.contains("hrd1b2c3-") && links.contains("hre1b2c3-"), "{links}");
    });
}
