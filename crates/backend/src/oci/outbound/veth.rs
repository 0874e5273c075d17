//! Pairs of connected interfaces. The host's end bears the instance's id as its alias, so the kernel is
//! the only record of which belongs to whom.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::sched::{CloneFlags, setns};

use super::netlink::{Message, Socket, attributes};
use super::{GATEWAY, OutboundError};

/// The instance's end.
const INSIDE: &str = "eth0";
/// How many addresses are tried.
const MOST_TRIES: usize = 64;
/// Bytes of `ifinfomsg`.
const LINK_HEADER: usize = 16;
/// `VETH_INFO_PEER`.
const PEER: u16 = 1;
const NEW_EXCLUSIVE: i32 = libc::NLM_F_CREATE | libc::NLM_F_EXCL | libc::NLM_F_ACK;

/// See [`super::Outbound::attach`].
pub(super) fn attach(
    prefix: &str,
    network: [u8; 2],
    instance: &str,
    namespace: BorrowedFd<'_>,
) -> Result<(), OutboundError> {
    let mut host = route_socket()?;
    let present = own_links(&mut host, prefix)?;
    if present.iter().any(|link| link.alias == instance) {
        return Ok(());
    }
    let free = (1..u16::MAX)
        .map(|number| (number, format!("{prefix}{number:04x}")))
        .filter(|(_, name)| !present.iter().any(|link| link.name == *name));
    // Others may be quicker, in this homerun or, with the same addresses, in another.
    for (number, name) in free.take(MOST_TRIES) {
        let [third, fourth] = number.to_be_bytes();
        let address = Ipv4Addr::new(network[0], network[1], third, fourth);
        match make_pair(&mut host, &name, namespace) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            made => made.map_err(interface("the pair"))?,
        }
        match configure(&mut host, &name, instance, address, namespace) {
            Ok(()) => return Ok(()),
            Err(error) => {
                remove(&mut host, &name)?;
                if !matches!(&error, OutboundError::Interface { source, .. } if source.kind() == io::ErrorKind::AlreadyExists)
                {
                    return Err(error);
                }
            }
        }
    }
    Err(OutboundError::NoAddress)
}

fn configure(
    host: &mut Socket,
    name: &str,
    instance: &str,
    address: Ipv4Addr,
    namespace: BorrowedFd<'_>,
) -> Result<(), OutboundError> {
    let index = index(host, name)?;
    let alias = Message::new(libc::RTM_NEWLINK, libc::NLM_F_ACK, &[0; LINK_HEADER])
        .text(libc::IFLA_IFNAME, name)
        .text(libc::IFLA_IFALIAS, instance);
    host.change(alias).map_err(interface("the name of its instance"))?;
    // Without an address of its own the host does not speak IPv6 there.
    let _ = std::fs::write(format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6"), "1");
    host.change(own_address(index, GATEWAY)).map_err(interface("the host's address"))?;
    host.change(bring_up(index)).map_err(interface("bringing up the host's end"))?;
    host.change(route(Some(address), None, index)).map_err(interface("the host's route"))?;
    // Entering a namespace changes a thread, so one is made for it.
    std::thread::scope(|scope| scope.spawn(|| configure_inside(address, namespace)).join())
        .unwrap_or_else(|_| Err(interface("the thread inside")(io::ErrorKind::Other.into())))
}

fn configure_inside(address: Ipv4Addr, namespace: BorrowedFd<'_>) -> Result<(), OutboundError> {
    setns(namespace, CloneFlags::CLONE_NEWNET)
        .map_err(|errno| interface("entering the instance's network")(errno.into()))?;
    let mut inside = route_socket()?;
    let index = index(&mut inside, INSIDE)?;
    inside.change(own_address(index, address)).map_err(interface("the instance's address"))?;
    inside.change(bring_up(index)).map_err(interface("bringing up the instance's end"))?;
    inside.change(route(Some(GATEWAY), None, index)).map_err(interface("the instance's route to the host"))?;
    inside.change(route(None, Some(GATEWAY), index)).map_err(interface("the instance's default route"))
}

/// See [`super::Outbound::retain`].
pub(super) fn retain(prefix: &str, keep: impl Fn(&str) -> bool) -> Result<(), OutboundError> {
    let mut host = route_socket()?;
    let links = own_links(&mut host, prefix)?;
    for link in links.iter().filter(|link| !keep(&link.alias)) {
        remove(&mut host, &link.name)?;
    }
    Ok(())
}

/// One of the host's interfaces.
struct Link {
    name: String,
    index: u32,
    /// The instance that it belongs to.
    alias: String,
}

/// The host's interfaces whose names begin with `prefix`.
fn own_links(socket: &mut Socket, prefix: &str) -> Result<Vec<Link>, OutboundError> {
    let request = Message::new(libc::RTM_GETLINK, libc::NLM_F_DUMP, &[0; LINK_HEADER]);
    let answers = socket.dump(request).map_err(interface("the list of interfaces"))?;
    let links = answers.iter().filter_map(|(_, body)| {
        let (header, rest) = body.split_at_checked(LINK_HEADER)?;
        let attributes = attributes(rest);
        let text = |kind| {
            let found = attributes.iter().find(|(given, _)| *given == kind)?;
            Some(String::from_utf8_lossy(found.1).trim_end_matches('\0').to_owned())
        };
        let index = u32::from_ne_bytes([header[4], header[5], header[6], header[7]]);
        let alias = text(libc::IFLA_IFALIAS).unwrap_or_default();
        Some(Link { name: text(libc::IFLA_IFNAME)?, index, alias })
    });
    Ok(links.filter(|link| link.name.starts_with(prefix)).collect())
}

fn route_socket() -> Result<Socket, OutboundError> {
    Socket::open(libc::NETLINK_ROUTE).map_err(OutboundError::Socket)
}

fn interface(step: &'static str) -> impl FnOnce(io::Error) -> OutboundError {
    move |source| OutboundError::Interface { step, source }
}

fn make_pair(host: &mut Socket, name: &str, namespace: BorrowedFd<'_>) -> io::Result<()> {
    let descriptor = (namespace.as_raw_fd() as u32).to_ne_bytes();
    let message = Message::new(libc::RTM_NEWLINK, NEW_EXCLUSIVE, &[0; LINK_HEADER]).text(libc::IFLA_IFNAME, name);
    host.change(message.nest(libc::IFLA_LINKINFO, |info| {
        info.text(libc::IFLA_INFO_KIND, "veth").nest(libc::IFLA_INFO_DATA, |data| {
            data.nest(PEER, |peer| {
                peer.raw(&[0; LINK_HEADER]).text(libc::IFLA_IFNAME, INSIDE).attribute(libc::IFLA_NET_NS_FD, &descriptor)
            })
        })
    }))
}

/// Removing one end removes both. One that is gone already has been removed by the kernel.
fn remove(host: &mut Socket, name: &str) -> Result<(), OutboundError> {
    let message = Message::new(libc::RTM_DELLINK, libc::NLM_F_ACK, &[0; LINK_HEADER]).text(libc::IFLA_IFNAME, name);
    match host.change(message) {
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(()),
        done => done.map_err(interface("removing it")),
    }
}

fn index(socket: &mut Socket, name: &str) -> Result<u32, OutboundError> {
    let links = own_links(socket, name)?;
    let found = links.iter().find(|link| link.name == name);
    found.map(|link| link.index).ok_or_else(|| interface("its index")(io::ErrorKind::NotFound.into()))
}

/// A message that brings an interface up, and may change more of it.
fn bring_up(index: u32) -> Message {
    let mut header = [0; LINK_HEADER];
    let up = (libc::IFF_UP as u32).to_ne_bytes();
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    // The flags, and which of them the message is about.
    header[8..12].copy_from_slice(&up);
    header[12..16].copy_from_slice(&up);
    Message::new(libc::RTM_NEWLINK, libc::NLM_F_ACK, &header)
}

/// Adds an address without a network around it.
fn own_address(index: u32, address: Ipv4Addr) -> Message {
    let [a, b, c, d] = index.to_ne_bytes();
    // Family, prefix length, flags, scope, interface.
    let header = [libc::AF_INET as u8, 32, 0, libc::RT_SCOPE_UNIVERSE, a, b, c, d];
    let octets = address.octets();
    Message::new(libc::RTM_NEWADDR, NEW_EXCLUSIVE, &header)
        .attribute(libc::IFA_LOCAL, &octets)
        .attribute(libc::IFA_ADDRESS, &octets)
}

/// A route to one address, or to everything, directly or by a gateway.
fn route(destination: Option<Ipv4Addr>, gateway: Option<Ipv4Addr>, index: u32) -> Message {
    let length = if destination.is_some() { 32 } else { 0 };
    let scope = if gateway.is_some() { libc::RT_SCOPE_UNIVERSE } else { libc::RT_SCOPE_LINK };
    // Family, lengths of destination and source, type of service, table, protocol, scope, type, flags.
    let header = [
        libc::AF_INET as u8,
        length,
        0,
        0,
        libc::RT_TABLE_MAIN,
        libc::RTPROT_STATIC,
        scope,
        libc::RTN_UNICAST,
        0,
        0,
        0,
        0,
    ];
    let mut message = Message::new(libc::RTM_NEWROUTE, NEW_EXCLUSIVE, &header);
    if let Some(address) = destination {
        message = message.attribute(libc::RTA_DST, &address.octets());
    }
    if let Some(address) = gateway {
        message = message.attribute(libc::RTA_GATEWAY, &address.octets());
    }
    message.attribute(libc::RTA_OIF, &index.to_ne_bytes())
}
