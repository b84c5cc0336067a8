//! The network that a connection comes from, as far as limits per network go.

use std::net::{IpAddr, Ipv6Addr};

use libp2p::Multiaddr;

use crate::node::discovery::addresses::{Scope, ip, scope};

/// Bits of an IPv6 address that name one subscriber: providers assign a /56 or more.
const IPV6_BITS: u32 = 56;

/// An IPv4 address, or a /56 of IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Source(IpAddr);

impl Source {
    /// The source of a remote address. `None` for loopback and private addresses, where many honest nodes share one: the
    /// nodes of one host, of a test network, or behind a proxy.
    pub(crate) fn of(address: &Multiaddr) -> Option<Self> {
        if scope(address) != Some(Scope::Public) {
            return None;
        }
        Some(Self(match ip(address)? {
            IpAddr::V6(ip) => match ip.to_ipv4_mapped() {
                Some(ip) => ip.into(),
                None => Ipv6Addr::from_bits(ip.to_bits() & !(u128::MAX >> IPV6_BITS)).into(),
            },
            ip => ip,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(address: &str) -> Option<Source> {
        Source::of(&address.parse().unwrap())
    }

    #[test]
    fn an_ipv4_address_and_a_56_of_ipv6_are_one_source_each() {
        assert_eq!(source("/ip4/8.8.8.8/tcp/1"), source("/ip4/8.8.8.8/udp/2/quic-v1"));
        assert_eq!(source("/ip4/8.8.8.8/tcp/1"), source("/ip6/::ffff:8.8.8.8/tcp/1"));
        assert_ne!(source("/ip4/8.8.8.8/tcp/1"), source("/ip4/8.8.8.9/tcp/1"));
        assert_eq!(source("/ip6/2001:db8:0:12ff::1/tcp/1"), source("/ip6/2001:db8:0:1200:1::/tcp/1"));
        assert_ne!(source("/ip6/2001:db8:0:1200::1/tcp/1"), source("/ip6/2001:db8:0:1300::1/tcp/1"));
    }

    #[test]
    fn loopback_and_private_addresses_have_no_source() {
        for address in ["/ip4/127.0.0.1/tcp/1", "/ip4/10.1.2.3/tcp/1", "/ip6/::1/tcp/1", "/ip6/fd00::1/tcp/1"] {
            assert_eq!(source(address), None, "{address}");
        }
    }
}
