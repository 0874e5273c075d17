//! Which ports a container's programs listen on, to explain probes that fail.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// State `LISTEN` in `/proc/PID/net/tcp`.
const LISTEN: &str = "0A";

/// Every address and port that is listened on in a process's network namespace.
fn sockets(pid: i32) -> Vec<(IpAddr, u16)> {
    let read = |name: &str| fs::read_to_string(format!("/proc/{pid}/net/{name}")).unwrap_or_default();
    parse(&read("tcp")).into_iter().chain(parse(&read("tcp6"))).collect()
}

fn parse(table: &str) -> Vec<(IpAddr, u16)> {
    let line = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (address, port) = fields.get(1)?.split_once(':')?;
        (*fields.get(3)? == LISTEN).then_some(())?;
        let address = match address.len() {
            8 => Ipv4Addr::from(u32::from_str_radix(address, 16).ok()?.to_le_bytes()).into(),
            _ => {
                let mut bytes = [0; 16];
                for (word, part) in bytes.chunks_exact_mut(4).zip(address.as_bytes().chunks_exact(8)) {
                    let part = u32::from_str_radix(std::str::from_utf8(part).ok()?, 16).ok()?;
                    word.copy_from_slice(&part.to_le_bytes());
                }
                Ipv6Addr::from(bytes).into()
            }
        };
        Some((address, u16::from_str_radix(port, 16).ok()?))
    };
    table.lines().skip(1).filter_map(line).collect()
}

/// Whether the port is listened on, but on loopback addresses only: that works here and would not on
/// Cloud Run.
pub(super) fn only_loopback(pid: i32, port: u16) -> bool {
    let on_port: Vec<_> = sockets(pid).into_iter().filter(|(_, listening)| *listening == port).collect();
    !on_port.is_empty() && on_port.iter().all(|(address, _)| address.is_loopback())
}

/// What to add to a refused probe: where the container listens instead.
pub(super) fn elsewhere(pid: i32, port: u16) -> String {
    let mut others: Vec<u16> =
        sockets(pid).into_iter().map(|(_, listening)| listening).filter(|other| *other != port).collect();
    others.sort_unstable();
    others.dedup();
    let others: Vec<String> = others.iter().map(ToString::to_string).collect();
    match others.is_empty() {
        true => format!("nothing listens on port {port}"),
        false => format!("nothing listens on port {port}; the container listens on {}", others.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s05_listening_sockets_are_read_from_the_kernels_tables() {
        let four = "  sl  local_address rem_address   st\n   0: 0100007F:1F90 00000000:0000 0A 0\n   1: 00000000:2328 00000000:0000 0A\n   2: 0100007F:1F90 0100007F:AAAA 01\n";
        assert_eq!(parse(four), [(Ipv4Addr::LOCALHOST.into(), 8080), (Ipv4Addr::UNSPECIFIED.into(), 9000)]);
        let six = "  sl\n   0: 00000000000000000000000001000000:1F90 00000000000000000000000000000000:0000 0A\n";
        assert_eq!(parse(six), [(Ipv6Addr::LOCALHOST.into(), 8080)]);
    }
}
