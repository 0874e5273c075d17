//! Outbound access: instances reach the outside, and nothing of this machine.
//!
//! Each instance has a pair of connected interfaces (veth), one end in its own network namespace, with
//! an address that only this machine knows. What leaves is masqueraded behind the machine's addresses.
//! Requests do not come in this way (see `network`), so it can be attached after the start.
//!
//! ```text
//! instance                          host
//! eth0 100.A.B.C/32  ============  hrKEY-BBCC 169.254.1.1/32     uplink
//! default via 169.254.1.1           route 100.A.B.C/32    forward, masquerade ->
//! ```
//!
//! The packet filter's table (`inet homerun-KEY`) drops what instances send to the host itself, to each
//! other and to link-local addresses, where clouds have their metadata servers with the host's
//! credentials. Both are made by talking netlink, so no program need be installed.
//!
//! IPv4 alone: Cloud Run's default outbound access is IPv4 too. A packet filter of somebody else that
//! drops forwarded packets (Docker's `FORWARD` policy, firewalld) drops those of instances as well.

mod netlink;
mod nft;
mod veth;

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::BorrowedFd;

/// Gateway of every instance: an address that is never routed.
const GATEWAY: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
/// Names of the host's interfaces begin with this and the key.
const INTERFACE: &str = "hr";
/// Characters of the key in an interface's name, which has 15 at most.
const KEY_LENGTH: usize = 6;
/// Whether the host forwards packets, in the network namespace of who asks.
const FORWARDING: &str = "/proc/sys/net/ipv4/ip_forward";

/// Why there is no outbound access.
#[derive(Debug, thiserror::Error)]
pub enum OutboundError {
    /// No netlink socket.
    #[error("the kernel's network configuration cannot be reached")]
    Socket(#[source] io::Error),
    /// The packet filter refused, most likely because the kernel lacks nf_tables or masquerading.
    #[error("the packet filter's rules cannot be set")]
    Filter(#[source] io::Error),
    /// Packets are not forwarded and that cannot be changed.
    #[error("forwarding cannot be turned on by writing 1 to {FORWARDING}")]
    Forwarding(#[source] io::Error),
    /// A step of making an instance's interfaces.
    #[error("an instance's interface cannot be made: {step}")]
    Interface {
        /// What was tried.
        step: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The addresses that were tried are all in use.
    #[error("no address is left for an instance")]
    NoAddress,
}

/// Outbound access of one homerun's instances.
#[derive(Debug, Clone)]
pub(super) struct Outbound {
    key: String,
    /// First two octets of the instances' addresses.
    network: [u8; 2],
}

impl Outbound {
    /// Sets the packet filter's rules, replacing those of an earlier homerun with the same key at once,
    /// and turns forwarding on. `key` tells homeruns apart: letters and digits, at least six.
    ///
    /// # Errors
    /// See [`OutboundError`].
    pub(super) fn open(key: &str) -> Result<Self, OutboundError> {
        let key: String = key.chars().take(KEY_LENGTH).collect();
        let digest = key.bytes().fold(0_u8, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte));
        // 100.64.0.0/10 is for networks like this one (RFC 6598).
        let outbound = Self { network: [100, 64 + digest % 64], key };
        if std::fs::read_to_string(FORWARDING).is_ok_and(|text| text.trim() == "0") {
            std::fs::write(FORWARDING, "1").map_err(OutboundError::Forwarding)?;
        }
        nft::install(&outbound.table(), &outbound.prefix(), outbound.network)?;
        Ok(outbound)
    }

    fn table(&self) -> String {
        format!("homerun-{}", self.key)
    }

    /// What the names of the host's interfaces begin with.
    fn prefix(&self) -> String {
        format!("{INTERFACE}{}-", self.key)
    }

    /// Connects an instance, whose `lo` is up, to the outside. Takes about two milliseconds; blocks.
    ///
    /// # Errors
    /// See [`OutboundError`]; nothing is left of the attempt.
    pub(super) fn attach(&self, instance: &str, namespace: BorrowedFd<'_>) -> Result<(), OutboundError> {
        veth::attach(&self.prefix(), self.network, instance, namespace)
    }

    /// Removes an instance's interfaces. The kernel would do so too, some time after the last process of
    /// the namespace has ended.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub(super) fn detach(&self, instance: &str) -> Result<(), OutboundError> {
        self.retain(|given| given != instance)
    }

    /// Removes the interfaces of all instances but those that `keep` names.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub(super) fn retain(&self, keep: impl Fn(&str) -> bool) -> Result<(), OutboundError> {
        veth::retain(&self.prefix(), keep)
    }

    /// Removes every interface and rule of this homerun. Forwarding stays on: others may count on it by
    /// now.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub(super) fn close(&self) -> Result<(), OutboundError> {
        self.retain(|_| false)?;
        nft::remove(&self.table())
    }
}

#[cfg(test)]
mod tests;
