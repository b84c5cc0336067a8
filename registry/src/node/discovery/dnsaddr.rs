//! Resolution of `/dnsaddr/<name>`, which stands for the addresses in the TXT records of `_dnsaddr.<name>`; these may
//! contain further names. Resolved here and not by the transport, so that every peer behind a name is known before the
//! dial: each is dialled, verified against its peer ID, and reported separately if it cannot be reached.
//!
//! The transport resolves `/dns4/...` and the like, with the same servers.

use std::{collections::HashSet, net::SocketAddr, time::SystemTime};

use hickory_resolver::{
    TokioResolver,
    config::{ConnectionConfig, NameServerConfig, ResolverConfig, ResolverOpts},
    net::{NetError, runtime::TokioRuntimeProvider},
    proto::rr::RData,
    system_conf::read_system_conf,
};
use libp2p::{Multiaddr, PeerId, multiaddr::Protocol};

use crate::node::{
    discovery::addresses::split_peer,
    transport::clock_guard::{Clock, Since1970},
};

/// Prefix of the name whose TXT records are looked up.
const NAME_PREFIX: &str = "_dnsaddr.";
/// Prefix of a TXT record that holds an address.
const RECORD_PREFIX: &[u8] = b"dnsaddr=";
/// Maximum number of names looked up for one address, which also ends circular records.
const MAX_LOOKUPS: usize = 32;
/// Maximum number of addresses taken from one name.
const MAX_RECORDS: usize = 64;
/// Maximum number of addresses that one address resolves to.
const MAX_ADDRESSES: usize = 128;

/// Why a name does not resolve.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NameError {
    #[error("the name `{name}` does not exist")]
    NoSuchName { name: String },
    #[error("the name `{name}` has no TXT record with `dnsaddr=`")]
    NoAddresses { name: String },
    #[error("none of the addresses of `{name}` ends with `{suffix}`")]
    NoMatch { name: String, suffix: Multiaddr },
    #[error("the name `{name}` cannot be looked up: {reason}")]
    Lookup { name: String, reason: String },
    #[error("more than {MAX_LOOKUPS} names had to be looked up")]
    TooManyLookups,
    #[error("the names behind `{address}` lead in a circle")]
    Circle { address: Multiaddr },
}

/// A dial target: a peer with all its addresses, or one address without a peer ID.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) peer: Option<PeerId>,
    pub(crate) addresses: Vec<Multiaddr>,
}

/// Whether an address contains a `/dnsaddr` part.
pub(crate) fn is_dnsaddr(address: &Multiaddr) -> bool {
    address.iter().any(|part| matches!(part, Protocol::Dnsaddr(_)))
}

/// Resolves `/dnsaddr` addresses.
#[derive(Clone)]
pub(crate) struct Names {
    resolver: Option<TokioResolver>,
    clock: Since1970,
}

impl std::fmt::Debug for Names {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Names").finish_non_exhaustive()
    }
}

impl Names {
    /// Creates a resolver with these servers, or with those of the system if `servers` is empty.
    pub(crate) fn new(servers: &[SocketAddr]) -> Self {
        Self::with_clock(servers, SystemTime::now)
    }

    /// Lookups fail while the clock is before 1970: the resolver would panic.
    fn with_clock(servers: &[SocketAddr], clock: Clock) -> Self {
        let (config, options) = configuration(servers);
        let builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()).with_options(options);
        Self { resolver: builder.build().ok(), clock: Since1970(clock) }
    }

    /// Resolves an address to dial targets, one per peer.
    ///
    /// # Errors
    /// The first failure, if no name resolves to an address.
    pub(crate) async fn targets(&self, address: &Multiaddr) -> Result<Vec<Target>, NameError> {
        if !is_dnsaddr(address) {
            return Ok(vec![Target { peer: split_peer(address.clone()).1, addresses: vec![address.clone()] }]);
        }
        let addresses = self.follow(address).await?;
        Ok(by_peer(addresses))
    }

    async fn follow(&self, address: &Multiaddr) -> Result<Vec<Multiaddr>, NameError> {
        let mut found = Vec::new();
        let mut open = vec![address.clone()];
        let mut asked = HashSet::new();
        let mut first_error = None;
        while let Some(next) = open.pop() {
            let Some(question) = Question::of(&next) else {
                found.push(next);
                if found.len() >= MAX_ADDRESSES {
                    break;
                }
                continue;
            };
            if !asked.insert(next) {
                continue;
            }
            if asked.len() > MAX_LOOKUPS {
                first_error.get_or_insert(NameError::TooManyLookups);
                break;
            }
            match self.records(&question.name).await.and_then(|records| question.answer(&records)) {
                Ok(addresses) => open.extend(addresses.into_iter().rev()),
                Err(error) => {
                    first_error.get_or_insert(error);
                }
            }
        }
        match first_error {
            Some(error) if found.is_empty() => Err(error),
            _ if found.is_empty() => Err(NameError::Circle { address: address.clone() }),
            _ => Ok(found),
        }
    }

    /// Looks up the TXT records of a name, each as one string.
    async fn records(&self, name: &str) -> Result<Vec<Vec<u8>>, NameError> {
        let asked = format!("{NAME_PREFIX}{name}");
        let refuse = |error: NetError| match error {
            error if error.is_nx_domain() => NameError::NoSuchName { name: asked.clone() },
            error if error.is_no_records_found() => NameError::NoAddresses { name: asked.clone() },
            error => NameError::Lookup { name: asked.clone(), reason: error.to_string() },
        };
        if let Some(refusal) = self.clock.refusal() {
            return Err(NameError::Lookup { name: asked.clone(), reason: refusal.to_string() });
        }
        let Some(resolver) = &self.resolver else {
            return Err(refuse(NetError::NoConnections));
        };
        // With a final dot the name is absolute, and no search domain is tried.
        let lookup = resolver.txt_lookup(format!("{asked}.")).await.map_err(refuse)?;
        let texts = lookup.answers().iter().filter_map(|record| match &record.data {
            RData::TXT(text) => Some(text.txt_data.concat()),
            _ => None,
        });
        Ok(texts.take(MAX_RECORDS).collect())
    }
}

/// Resolver configuration for this resolver and for the transport's.
pub(crate) fn configuration(servers: &[SocketAddr]) -> (ResolverConfig, ResolverOpts) {
    if servers.is_empty() {
        // A machine without a resolver can still dial addresses without names.
        return read_system_conf().unwrap_or_default();
    }
    let server = |address: &SocketAddr| {
        let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
            connection.port = address.port();
            connection
        });
        NameServerConfig::new(address.ip(), true, connections.into())
    };
    (ResolverConfig::from_name_servers(servers.iter().map(server).collect()), ResolverOpts::default())
}

/// The first `/dnsaddr` part of an address, with the parts around it.
#[derive(Debug)]
struct Question {
    before: Multiaddr,
    name: String,
    /// Resolved addresses must end with it.
    suffix: Multiaddr,
}

impl Question {
    fn of(address: &Multiaddr) -> Option<Self> {
        let (place, name) = address.iter().enumerate().find_map(|(place, part)| match part {
            Protocol::Dnsaddr(name) => Some((place, name.into_owned())),
            _ => None,
        })?;
        let before = address.iter().take(place).collect();
        Some(Self { before, name, suffix: address.iter().skip(place + 1).collect() })
    }

    /// Replaces the name by the addresses in `records`.
    fn answer(&self, records: &[Vec<u8>]) -> Result<Vec<Multiaddr>, NameError> {
        let name = format!("{NAME_PREFIX}{}", self.name);
        let parse = |record: &Vec<u8>| {
            let text = std::str::from_utf8(record.strip_prefix(RECORD_PREFIX)?).ok()?;
            text.parse::<Multiaddr>().ok()
        };
        let addresses: Vec<Multiaddr> = records.iter().filter_map(parse).collect();
        if addresses.is_empty() {
            return Err(NameError::NoAddresses { name });
        }
        let whole = |address: &Multiaddr| self.before.iter().chain(address.iter()).collect();
        let matching: Vec<_> = addresses.iter().filter(|address| address.ends_with(&self.suffix)).map(whole).collect();
        match matching.is_empty() {
            true => Err(NameError::NoMatch { name, suffix: self.suffix.clone() }),
            false => Ok(matching),
        }
    }
}

/// Groups addresses by their peer, by first occurrence.
fn by_peer(addresses: Vec<Multiaddr>) -> Vec<Target> {
    let mut targets: Vec<Target> = Vec::new();
    for address in addresses {
        let peer = split_peer(address.clone()).1;
        match targets.iter_mut().find(|target| target.peer.is_some() && target.peer == peer) {
            Some(target) => target.addresses.push(address),
            None => targets.push(Target { peer, addresses: vec![address] }),
        }
    }
    targets
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: &str = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";
    const BOB: &str = "QmaCpDMGvV2BGHeYERUEnRQAwe3N8SzbUtfsmvsqQLuvuJ";

    fn address(text: &str) -> Multiaddr {
        text.parse().unwrap()
    }

    fn answer(asked: &str, records: &[&str]) -> Result<Vec<Multiaddr>, NameError> {
        let records: Vec<_> = records.iter().map(|text| text.as_bytes().to_vec()).collect();
        Question::of(&address(asked)).unwrap().answer(&records)
    }

    #[tokio::test]
    async fn no_name_is_looked_up_before_1970() {
        let before = || SystemTime::UNIX_EPOCH - std::time::Duration::from_secs(1);
        let names = Names::with_clock(&["127.0.0.1:1".parse().unwrap()], before);
        let error = names.targets(&address("/dnsaddr/x.io")).await.unwrap_err();
        assert!(error.to_string().contains("before 1970"), "{error}");
        // An address without a name needs no lookup.
        assert_eq!(names.targets(&address("/ip4/127.0.0.1/tcp/1")).await.unwrap().len(), 1);
    }

    #[test]
    fn records_stand_in_the_place_of_the_name() {
        let (one, other) = (format!("/ip4/1.2.3.4/tcp/4001/p2p/{ALICE}"), format!("/dnsaddr/sg1.x.io/p2p/{BOB}"));
        let records = [&*format!("dnsaddr={one}"), "v=spf1 -all", "dnsaddr=nonsense", &format!("dnsaddr={other}")];
        assert_eq!(answer("/dnsaddr/x.io", &records), Ok(vec![address(&one), address(&other)]));
        assert_eq!(answer(&format!("/dnsaddr/x.io/p2p/{BOB}"), &records), Ok(vec![address(&other)]));
    }

    #[test]
    fn records_of_other_peers_and_no_records_are_told_apart() {
        let record = format!("dnsaddr=/ip4/1.2.3.4/tcp/4001/p2p/{ALICE}");
        let error = answer(&format!("/dnsaddr/x.io/p2p/{BOB}"), &[&record]).unwrap_err();
        assert_eq!(error.to_string(), format!("none of the addresses of `_dnsaddr.x.io` ends with `/p2p/{BOB}`"));
        let error = answer("/dnsaddr/x.io", &["v=spf1 -all"]).unwrap_err();
        assert_eq!(error.to_string(), "the name `_dnsaddr.x.io` has no TXT record with `dnsaddr=`");
    }

    #[test]
    fn a_peer_is_dialled_once_with_all_its_addresses() {
        let addresses = [
            format!("/ip4/1.2.3.4/tcp/4001/p2p/{ALICE}"),
            format!("/ip4/9.9.9.9/tcp/4001/p2p/{BOB}"),
            format!("/ip4/1.2.3.4/udp/4001/quic-v1/p2p/{ALICE}"),
        ];
        let targets = by_peer(addresses.iter().map(|text| address(text)).collect());
        assert_eq!(targets.len(), 2);
        assert_eq!(targets[0].addresses, [address(&addresses[0]), address(&addresses[2])]);
        assert_eq!(targets[0].peer, Some(ALICE.parse().unwrap()));
    }
}
