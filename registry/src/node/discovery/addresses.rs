//! Which addresses a node uses: pure rules.

use std::net::{Ipv4Addr, Ipv6Addr};

use libp2p::{Multiaddr, multiaddr::Protocol};

/// The range an address belongs to, nearest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scope {
    /// This machine.
    Loopback,
    /// This network: private, link-local and unique-local ranges.
    Private,
    /// The internet, and DNS names.
    Public,
}

/// Maximum number of addresses taken from one peer's identify message.
const MAX_ADDRESSES_PER_PEER: usize = 16;

/// First 96 bits of the IPv6 addresses that a NAT64 translates to the IPv4 address in their last 32 (RFC 6052).
const NAT64_PREFIX: [u16; 6] = [0x64, 0xff9b, 0, 0, 0, 0];

/// Returns the range of `address`. `None` if it has no host (an unspecified address, a memory transport), or if its
/// only host is not its first part: transports differ in whether they read such an address from the start or the end.
pub(crate) fn scope(address: &Multiaddr) -> Option<Scope> {
    let mut parts = address.iter();
    let first = parts.next()?;
    if parts.any(|part| names_host(&part)) {
        return None;
    }
    match first {
        Protocol::Ip4(ip) => scope_v4(ip),
        Protocol::Ip6(ip) => match within(ip) {
            Some(ip) => scope_v4(ip),
            None if ip.is_unspecified() => None,
            None if ip.is_loopback() => Some(Scope::Loopback),
            None if ip.is_unique_local() || ip.is_unicast_link_local() => Some(Scope::Private),
            None => Some(Scope::Public),
        },
        part if names_host(&part) => Some(Scope::Public),
        _ => None,
    }
}

fn scope_v4(ip: Ipv4Addr) -> Option<Scope> {
    let is_shared = ip.octets()[0] == 100 && (64..128).contains(&ip.octets()[1]);
    match ip {
        ip if ip.is_unspecified() => None,
        ip if ip.is_loopback() => Some(Scope::Loopback),
        ip if ip.is_private() || ip.is_link_local() || is_shared => Some(Scope::Private),
        _ => Some(Scope::Public),
    }
}

/// The IPv4 address that an IPv6 address embeds (mapped or NAT64), if any.
fn within(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let mapped = || ip.to_ipv4_mapped();
    let translated = || {
        let [.., a, b, c, d] = ip.octets();
        (ip.segments()[..6] == NAT64_PREFIX).then(|| Ipv4Addr::new(a, b, c, d))
    };
    mapped().or_else(translated)
}

fn names_host(part: &Protocol<'_>) -> bool {
    matches!(part, Protocol::Ip4(_) | Protocol::Ip6(_)) || is_name_part(part)
}

fn is_name_part(part: &Protocol<'_>) -> bool {
    matches!(part, Protocol::Dns(_) | Protocol::Dns4(_) | Protocol::Dns6(_) | Protocol::Dnsaddr(_))
}

/// Whether an address contains a DNS name, so that the owner of the name decides where the dial goes.
pub(crate) fn is_name(address: &Multiaddr) -> bool {
    address.iter().any(|part| is_name_part(&part))
}

/// Whether to keep an address that a peer reports of itself: only if it is in the range where the peer was seen, or in
/// a wider one. A public peer cannot report a private address, a private one no loopback address, and no peer a DNS
/// name.
fn is_plausible(told: &Multiaddr, seen_from: Option<Scope>) -> bool {
    if is_name(told) {
        return false;
    }
    match (scope(told), seen_from) {
        (Some(told), Some(seen)) => told >= seen,
        (Some(told), None) => told == Scope::Public,
        (None, _) => false,
    }
}

/// Returns those of a peer's reported addresses that are kept. If there are too many, the nearest come first, since the
/// peer was seen at such an address.
pub(crate) fn usable_addresses(mut named: Vec<Multiaddr>, seen_from: Option<Scope>) -> Vec<Multiaddr> {
    named.retain(|address| is_plausible(address, seen_from));
    named.sort_by_key(scope);
    named.truncate(MAX_ADDRESSES_PER_PEER);
    named
}

/// Returns the addresses of a peer for the DHT of the local network: private and loopback ones, and none if the peer
/// was not seen at such an address.
pub(crate) fn local_addresses(told: &[Multiaddr], seen_from: Option<Scope>) -> Vec<Multiaddr> {
    if !seen_from.is_some_and(is_local) {
        return Vec::new();
    }
    told.iter().filter(|address| scope(address).is_some_and(is_local)).cloned().collect()
}

fn is_local(scope: Scope) -> bool {
    scope < Scope::Public
}

/// Whether a node serves the IPFS DHT: if it is known to be reachable from the internet, or if no bootstrap node and no
/// connected peer is public, which makes this an IPFS network of its own. Behind the NAT of a public network it stays a
/// client, so that routing tables do not fill with unreachable nodes.
pub(crate) fn serves_ipfs_dht<'a>(
    bootstrap: impl IntoIterator<Item = &'a Multiaddr>,
    confirmed: impl IntoIterator<Item = &'a Multiaddr>,
    seen: impl IntoIterator<Item = Option<Scope>>,
) -> bool {
    let is_public = |address: &Multiaddr| scope(address) == Some(Scope::Public);
    let meets_the_public = seen.into_iter().any(|scope| scope == Some(Scope::Public));
    confirmed.into_iter().any(is_public) || !(meets_the_public || bootstrap.into_iter().any(is_public))
}

/// Whether a node can be reached from the internet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nat {
    /// A peer on the internet has dialled this node.
    Public,
    /// Peers on the internet report an address of this node that it does not listen on, and none of them has dialled
    /// it.
    Private,
    /// No peer has given evidence for either.
    Unknown,
}

/// Whether this node can be reached from the internet. `visited`: a peer on the internet has dialled it. `observed`:
/// the addresses of this node that peers on the internet report. `listening`: its own.
pub(crate) fn nat<'a>(
    visited: bool,
    observed: impl IntoIterator<Item = &'a Multiaddr>,
    listening: impl IntoIterator<Item = &'a Multiaddr>,
) -> Nat {
    if visited {
        return Nat::Public;
    }
    let own: Vec<_> = listening.into_iter().filter_map(ip).collect();
    let mut seen = observed.into_iter().filter(|address| scope(address) == Some(Scope::Public)).filter_map(ip);
    match seen.any(|ip| !own.contains(&ip)) {
        true => Nat::Private,
        false => Nat::Unknown,
    }
}

/// The IP address of the host that an address names.
pub(crate) fn ip(address: &Multiaddr) -> Option<std::net::IpAddr> {
    address.iter().find_map(|part| match part {
        Protocol::Ip4(ip) => Some(ip.into()),
        Protocol::Ip6(ip) => Some(ip.into()),
        _ => None,
    })
}

/// Splits a trailing `/p2p/` off an address.
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
            ("/ip6/::ffff:127.0.0.1/udp/1/quic-v1", Some(Scope::Loopback)),
            ("/ip6/::ffff:10.1.2.3/tcp/1", Some(Scope::Private)),
            ("/ip6/64:ff9b::192.168.1.1/tcp/1", Some(Scope::Private)),
            ("/ip6/64:ff9b::8.8.8.8/tcp/1", Some(Scope::Public)),
            ("/ip4/0.0.0.0/tcp/1", None),
            ("/ip4/8.8.8.8/tcp/1/ip4/127.0.0.1/tcp/5001", None),
            ("/ip4/8.8.8.8/tcp/1/dns4/localhost/tcp/5001", None),
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
        assert!(!is_plausible(&address("/ip4/8.8.8.8/tcp/1/ip4/127.0.0.1/tcp/5001"), Some(Scope::Public)));
    }

    /// Regression test: of a Kubo in a private network that announces 120 addresses, 16 public ones were kept.
    #[test]
    fn of_more_addresses_than_are_kept_the_nearest_are() {
        let public = (0..120).map(|port| address(&format!("/ip4/8.8.8.8/tcp/{port}")));
        let named: Vec<_> = public.chain([address("/ip4/127.0.0.1/tcp/1"), address("/ip4/10.0.0.1/tcp/1")]).collect();
        let kept = usable_addresses(named.clone(), Some(Scope::Loopback));
        assert_eq!(kept[..3], [named[120].clone(), named[121].clone(), named[0].clone()]);
        assert_eq!(kept.len(), MAX_ADDRESSES_PER_PEER);
        assert_eq!(usable_addresses(named.clone(), Some(Scope::Public)), named[..MAX_ADDRESSES_PER_PEER]);
    }

    #[test]
    fn a_peer_cannot_make_us_dial_a_name() {
        assert!(!is_plausible(&address("/dns4/router.local/tcp/80"), Some(Scope::Loopback)));
        assert!(!is_plausible(&address("/dnsaddr/x.io"), Some(Scope::Public)));
    }

    #[test]
    fn the_dht_of_the_local_network_knows_only_local_addresses_of_local_peers() {
        let told = ["/ip4/127.0.0.1/tcp/1", "/ip4/10.1.2.3/tcp/1", "/ip4/8.8.8.8/tcp/1"].map(address);
        assert_eq!(local_addresses(&told, Some(Scope::Loopback)), told[..2]);
        assert_eq!(local_addresses(&told, Some(Scope::Private)), told[..2]);
        assert_eq!(local_addresses(&told, Some(Scope::Public)), []);
        assert_eq!(local_addresses(&told, None), []);
    }

    #[test]
    fn only_what_peers_of_the_internet_saw_tells_of_a_nat() {
        let (router, own) = (address("/ip4/8.8.8.8/tcp/4001"), address("/ip4/192.168.1.7/tcp/4001"));
        assert_eq!(nat(true, [&router], [&own]), Nat::Public);
        assert_eq!(nat(false, [&router], [&own]), Nat::Private);
        assert_eq!(nat(false, [&router], [&own, &address("/ip4/8.8.8.8/tcp/1")]), Nat::Unknown);
        assert_eq!(nat(false, [&address("/ip4/10.0.0.1/tcp/1")], [&own]), Nat::Unknown);
        assert_eq!(nat(false, [], [&own]), Nat::Unknown);
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
