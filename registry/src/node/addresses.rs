//! Which addresses a node uses: pure rules.

use libp2p::{Multiaddr, multiaddr::Protocol};

/// How far an address reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scope {
    /// This machine.
    Loopback,
    /// This network: private, link-local and unique-local ranges.
    Private,
    /// The internet, names included.
    Public,
}

/// Most addresses taken from one peer's identify message.
pub(crate) const MAX_ADDRESSES_PER_PEER: usize = 16;

/// Says how far `address` reaches; `None` if it names no host (an unspecified address, a memory transport).
pub(crate) fn scope(address: &Multiaddr) -> Option<Scope> {
    address.iter().find_map(|part| match part {
        Protocol::Ip4(ip) if ip.is_unspecified() => None,
        Protocol::Ip4(ip) if ip.is_loopback() => Some(Scope::Loopback),
        Protocol::Ip4(ip) if ip.is_private() || ip.is_link_local() => Some(Scope::Private),
        Protocol::Ip4(ip) => {
            let shared = ip.octets()[0] == 100 && (64..128).contains(&ip.octets()[1]);
            Some(if shared { Scope::Private } else { Scope::Public })
        }
        Protocol::Ip6(ip) if ip.is_unspecified() => None,
        Protocol::Ip6(ip) if ip.is_loopback() => Some(Scope::Loopback),
        Protocol::Ip6(ip) if ip.is_unique_local() || ip.is_unicast_link_local() => Some(Scope::Private),
        Protocol::Ip6(_) | Protocol::Dns(_) | Protocol::Dns4(_) | Protocol::Dns6(_) | Protocol::Dnsaddr(_) => {
            Some(Scope::Public)
        }
        _ => None,
    })
}

/// Says whether an address that a peer tells us is worth keeping: only what can be reached from where that peer was
/// seen. A public peer names no private address, a private one names no loopback address.
pub(crate) fn is_plausible(told: &Multiaddr, seen_from: Option<Scope>) -> bool {
    match (scope(told), seen_from) {
        (Some(told), Some(seen)) => told >= seen,
        (Some(told), None) => told == Scope::Public,
        (None, _) => false,
    }
}

/// Says whether a node serves the IPFS DHT: when it is known to be reachable from the internet, or when all its
/// bootstrap nodes and all the peers it is connected to are on this machine or this network, which is then an IPFS
/// network of its own. Behind a NAT of the public network it stays a client and pollutes nobody's routing table.
pub(crate) fn serves_ipfs_dht<'a>(
    bootstrap: impl IntoIterator<Item = &'a Multiaddr>,
    confirmed: impl IntoIterator<Item = &'a Multiaddr>,
    seen: impl IntoIterator<Item = Option<Scope>>,
) -> bool {
    let is_public = |address: &Multiaddr| scope(address) == Some(Scope::Public);
    let meets_the_public = seen.into_iter().any(|scope| scope == Some(Scope::Public));
    confirmed.into_iter().any(is_public) || !(meets_the_public || bootstrap.into_iter().any(is_public))
}

/// Takes the peer id off the end of an address.
pub(crate) fn split_peer(mut address: Multiaddr) -> (Multiaddr, Option<libp2p::PeerId>) {
    match address.iter().last() {
        Some(Protocol::P2p(peer)) => {
            address.pop();
            (address, Some(peer))
        }
        _ => (address, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Multiaddr {
        text.parse().unwrap()
    }

    #[test]
    fn scopes_follow_the_ranges() {
        for (text, expected) in [
            ("/ip4/127.0.0.1/tcp/1", Some(Scope::Loopback)),
            ("/ip4/10.1.2.3/tcp/1", Some(Scope::Private)),
            ("/ip4/100.64.0.1/tcp/1", Some(Scope::Private)),
            ("/ip4/172.32.0.1/tcp/1", Some(Scope::Public)),
            ("/ip6/::1/tcp/1", Some(Scope::Loopback)),
            ("/ip6/fd00::1/udp/1/quic-v1", Some(Scope::Private)),
            ("/dnsaddr/bootstrap.libp2p.io", Some(Scope::Public)),
            ("/ip4/0.0.0.0/tcp/1", None),
            ("/memory/7", None),
        ] {
            assert_eq!(scope(&address(text)), expected, "{text}");
        }
    }

    #[test]
    fn a_public_peer_cannot_make_us_dial_private_ranges() {
        let private = address("/ip4/192.168.1.1/tcp/1");
        assert!(!is_plausible(&private, Some(Scope::Public)));
        assert!(!is_plausible(&address("/ip4/127.0.0.1/tcp/1"), Some(Scope::Private)));
        assert!(is_plausible(&private, Some(Scope::Private)));
        assert!(is_plausible(&address("/ip4/8.8.8.8/tcp/1"), Some(Scope::Loopback)));
    }

    #[test]
    fn an_unreachable_node_of_the_public_network_serves_no_dht() {
        let public = [address("/dnsaddr/bootstrap.libp2p.io")];
        let private = [address("/ip4/127.0.0.1/tcp/4001")];
        let reachable = [address("/ip4/8.8.8.8/tcp/4001")];
        assert!(!serves_ipfs_dht(&public, &private, []));
        assert!(serves_ipfs_dht(&public, &reachable, []));
        assert!(serves_ipfs_dht(&private, &private, [Some(Scope::Loopback)]));
        assert!(serves_ipfs_dht([], [], []));
        assert!(!serves_ipfs_dht([], &private, [Some(Scope::Private), Some(Scope::Public)]));
    }
}
