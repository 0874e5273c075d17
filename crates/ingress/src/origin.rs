//! Where a request comes from, for services that not everybody may reach.

use std::net::IpAddr;
use std::str::FromStr;

use homerun_model::service::IngressSetting;

use crate::settings::Settings;

/// Addresses that begin alike, for instance `10.0.0.0/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// Text that is not a network.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a network; expected one such as 10.0.0.0/8 or 192.0.2.7")]
pub struct NotANetwork(String);

impl FromStr for Network {
    type Err = NotANetwork;

    fn from_str(text: &str) -> Result<Self, NotANetwork> {
        let wrong = || NotANetwork(text.to_owned());
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Ok(most), str::parse).map_err(|_| wrong())?;
        if prefix > most {
            return Err(wrong());
        }
        Ok(Self { address, prefix })
    }
}

impl Network {
    /// The addresses whose first `prefix` bits are those of `address`.
    pub fn of(address: IpAddr, prefix: u8) -> Self {
        Self { address, prefix }
    }

    pub(crate) fn contains(self, address: IpAddr) -> bool {
        let differ = match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => (own.to_bits() ^ other.to_bits()).leading_zeros(),
            (IpAddr::V6(own), IpAddr::V6(other)) => (own.to_bits() ^ other.to_bits()).leading_zeros(),
            _ => return false,
        };
        differ >= u32::from(self.prefix)
    }
}

/// Whether a service with this setting takes requests from this address. A load balancer's requests come from
/// anywhere, wherever it stands itself.
pub(crate) fn may_enter(setting: IngressSetting, peer: IpAddr, settings: &Settings) -> bool {
    let among = |networks: &[Network]| networks.iter().any(|network| network.contains(peer));
    let balanced = || among(&settings.load_balancers);
    match setting {
        IngressSetting::All => true,
        IngressSetting::InternalAndCloudLoadBalancing => balanced() || among(&settings.internal),
        IngressSetting::Internal => !balanced() && among(&settings.internal),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s10_networks_are_read_and_contain_what_begins_alike() {
        let network = |text: &str| text.parse::<Network>().unwrap();
        let cases = [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.0.0.0/8", "::ffff:10.1.1.1", true),
            ("192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7", "192.0.2.6", false),
            ("0.0.0.0/0", "203.0.113.9", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("2001:db8::/32", "2001:db8:1::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
        ];
        for (text, address, contained) in cases {
            assert_eq!(network(text).contains(address.parse().unwrap()), contained, "{address} in {text}");
        }
        for wrong in ["", "10.0.0.0/33", "10.0.0/8", "::/129", "a", "10.0.0.0/", "10.0.0.0/-1"] {
            assert_eq!(wrong.parse::<Network>().unwrap_err(), NotANetwork(wrong.to_owned()));
        }
    }
}
