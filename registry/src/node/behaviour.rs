//! The protocols of one node, composed.

use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use ggen_blockstore::Blockstore;
use libp2p::{
    PeerId, StreamProtocol, Swarm, gossipsub,
    identity::Keypair,
    kad, mdns, memory_connection_limits, ping,
    swarm::{self, NetworkBehaviour, behaviour::toggle::Toggle},
};
use sha2::{Digest as _, Sha256};

use crate::{
    Config,
    config::DEFAULT_TOPIC,
    node::{
        StartError,
        connections::{self, marks::Marks},
        dht::records::RecordStore,
        discovery::{
            dial_policy::{AddressFilter, DialPolicy},
            dnsaddr::configuration,
            identify,
        },
        exchange,
        rpc::{self, Protocol},
        transport::{
            self,
            direct::{self, Directs},
            idle_streams::IdleStreams,
            tls::Tls,
        },
    },
};

/// Kademlia of the public IPFS network (Amino).
const IPFS_KAD: StreamProtocol = StreamProtocol::new("/ipfs/kad/1.0.0");
/// Kademlia of the nodes of one local network, which Kubo also runs beside the public one.
const LAN_KAD: StreamProtocol = StreamProtocol::new("/ipfs/lan/kad/1.0.0");
/// Kademlia of ggen nodes, which stores claims, in the network of the default topic.
const GGEN_KAD: StreamProtocol = StreamProtocol::new("/ggen/kad/1.0.0");
/// Hashed before the topic of another network to name the Kademlia of that network.
const NETWORK_DOMAIN: &[u8] = b"ggen:network:v1\0";
/// Number of bytes of that hash in the name.
const NETWORK_BYTES: usize = 8;
/// Agent name and version that identify sends.
pub(crate) const AGENT: &str = concat!("ggen/", env!("CARGO_PKG_VERSION"));

/// Requests in flight per lookup (Amino: alpha).
const KAD_PARALLELISM: NonZeroUsize = NonZeroUsize::new(10).expect("10 is not zero");
/// How long provider and value records live (Amino).
const RECORD_TTL: Duration = Duration::from_secs(48 * 3600);
/// Largest message accepted on the two DHTs of IPFS nodes, in bytes.
const IPFS_KAD_PACKET_BYTES: usize = 1 << 20;
/// Largest message accepted on the ggen DHT, in bytes: a full set of claims and the peers around it.
const GGEN_KAD_PACKET_BYTES: usize = 1 << 20;
/// How often the routing tables are refreshed (Amino).
const KAD_REFRESH: Duration = Duration::from_secs(600);
/// Largest gossip message, in bytes.
pub(crate) const GOSSIP_BYTES: usize = 64 << 10;
/// How long a validated announcement may wait for a peer's stream before gossipsub drops it.
const GOSSIP_PATIENCE: Duration = Duration::from_secs(5);
/// Timeout of an idle connection. Some peers are [exempt](connections::standing::Standing::stays_idle).
const IDLE_CONNECTION: Duration = Duration::from_secs(60);
/// Interval between two pings, longer than [`IDLE_CONNECTION`]: go-libp2p and js-libp2p close a ping stream after 10 s without
/// a ping, and after 30 s in any case. The negotiation of the next one counts as use, so that more pings would keep every
/// connection to them open.
const PING_EVERY: Duration = Duration::from_secs(90);
/// No new connections while the process uses more memory than this.
const MEMORY_LIMIT_BYTES: usize = 1 << 30;

/// A DHT whose lookup results are filtered before they are dialled, and whose idle streams do not keep a connection
/// open.
type Kademlia = IdleStreams<AddressFilter<kad::Behaviour<RecordStore>>>;

/// All protocols of a node.
#[derive(NetworkBehaviour)]
pub(crate) struct Behaviour {
    /// Comes first, so that no other behaviour sees a connection that it denies.
    pub(crate) connections: connections::behaviour::Behaviour,
    pub(crate) memory: memory_connection_limits::Behaviour,
    pub(crate) identify: AddressFilter<identify::Behaviour>,
    pub(crate) ping: ping::Behaviour,
    pub(crate) ipfs_kad: Kademlia,
    pub(crate) lan_kad: Kademlia,
    pub(crate) ggen_kad: Kademlia,
    pub(crate) gossip: IdleStreams<gossipsub::Behaviour>,
    pub(crate) mdns: Toggle<mdns::tokio::Behaviour>,
    pub(crate) exchange: exchange::Behaviour,
    pub(crate) search: rpc::Behaviour,
    pub(crate) catalog: rpc::Behaviour,
    pub(crate) claim: rpc::Behaviour,
}

/// One of the DHTs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Dht {
    /// The public IPFS DHT, or a private one with the same protocol.
    Ipfs,
    /// The IPFS DHT of the local network: only peers that were seen at a private or loopback address.
    Lan,
    /// The ggen DHT.
    Ggen,
}

impl Dht {
    pub(crate) const ALL: [Self; 3] = [Self::Ggen, Self::Ipfs, Self::Lan];

    /// The protocol's name. One topic is one network: nodes of two networks may meet on an IPFS DHT, and must not join
    /// each other's ggen DHT.
    pub(crate) fn protocol(self, topic: &str) -> StreamProtocol {
        match self {
            Self::Ipfs => IPFS_KAD,
            Self::Lan => LAN_KAD,
            Self::Ggen if topic == DEFAULT_TOPIC => GGEN_KAD,
            Self::Ggen => {
                let hash = Sha256::new().chain_update(NETWORK_DOMAIN).chain_update(topic).finalize();
                let network: String = hash.iter().take(NETWORK_BYTES).map(|byte| format!("{byte:02x}")).collect();
                StreamProtocol::try_from_owned(format!("{GGEN_KAD}/{network}"))
                    .expect("a name that begins with a slash")
            }
        }
    }
}

impl Behaviour {
    pub(crate) fn kad(&mut self, dht: Dht) -> &mut kad::Behaviour<RecordStore> {
        match dht {
            Dht::Ipfs => &mut self.ipfs_kad.inner,
            Dht::Lan => &mut self.lan_kad.inner,
            Dht::Ggen => &mut self.ggen_kad.inner,
        }
    }

    pub(crate) fn requests(&mut self, protocol: Protocol) -> &mut rpc::Behaviour {
        match protocol {
            Protocol::Search => &mut self.search,
            Protocol::Catalog => &mut self.catalog,
            Protocol::Claim => &mut self.claim,
        }
    }
}

/// What a node's protocols read: blocks, and what is known of peers from earlier.
pub(crate) struct Knowledge {
    pub(crate) store: Arc<dyn Blockstore>,
    pub(crate) priors: Arc<dyn exchange::Priors>,
}

/// Builds the swarm of a node, without listeners or dials. If `answers`, it supports inbound search, catalog and claim
/// requests.
pub(crate) fn swarm(
    key: Keypair,
    config: &Config,
    knowledge: Knowledge,
    answers: bool,
    reach: &DialPolicy,
) -> Result<Swarm<Behaviour>, StartError> {
    idling(key, config, knowledge, answers, reach, IDLE_CONNECTION)
}

/// As [`swarm`], with `idle` as the timeout of idle connections.
fn idling(
    key: Keypair,
    config: &Config,
    knowledge: Knowledge,
    answers: bool,
    reach: &DialPolicy,
    idle: Duration,
) -> Result<Swarm<Behaviour>, StartError> {
    let failed = |error: &dyn std::fmt::Display| StartError::Transport(error.to_string());
    let tls = Tls::new(&key).map_err(|error| failed(&error))?;
    let (handover, directs) = direct::handover(tls.clone());
    let (resolver, within) = (configuration(&config.dns_servers), config.timeouts.dial());
    let transport = transport::all(&key, tls, handover, resolver, within).map_err(|error| failed(&error))?;
    let behaviour = compose(&key, config, knowledge, directs, answers, reach)?;
    let swarm = swarm::Config::with_tokio_executor().with_idle_connection_timeout(idle);
    Ok(Swarm::new(transport, behaviour, key.public().to_peer_id(), swarm))
}

fn compose(
    key: &Keypair,
    config: &Config,
    knowledge: Knowledge,
    directs: Directs,
    answers: bool,
    reach: &DialPolicy,
) -> Result<Behaviour, StartError> {
    let Knowledge { store, priors } = knowledge;
    let peer = key.public().to_peer_id();
    let marks = Marks::new(config.limits.connections, config.limits.connections_per_peer);
    Ok(Behaviour {
        connections: connections::behaviour::Behaviour::new(marks),
        memory: memory_connection_limits::Behaviour::with_max_bytes(MEMORY_LIMIT_BYTES),
        identify: AddressFilter::new(identify::Behaviour::new(key.clone(), AGENT), reach.clone()),
        ping: ping::Behaviour::new(ping::Config::new().with_interval(PING_EVERY)),
        ipfs_kad: kademlia(peer, Dht::Ipfs, IPFS_KAD_PACKET_BYTES, config, reach),
        lan_kad: kademlia(peer, Dht::Lan, IPFS_KAD_PACKET_BYTES, config, reach),
        ggen_kad: kademlia(peer, Dht::Ggen, GGEN_KAD_PACKET_BYTES, config, reach),
        gossip: IdleStreams::always(gossip(key, &gossipsub::IdentTopic::new(&config.packages_topic), marks)?),
        mdns: mdns(peer, config)?.into(),
        exchange: exchange::Behaviour::set_up(exchange::Setup {
            store,
            config: exchange::Config::default(),
            priors,
            directs: Some(directs),
        }),
        search: rpc::behaviour(Protocol::Search, answers),
        catalog: rpc::behaviour(Protocol::Catalog, answers),
        claim: rpc::behaviour(Protocol::Claim, answers),
    })
}

/// Amino's parameters, with the library's republication turned off: `dht::announcements` schedules it, with records
/// that name no publisher (kad drops an inbound record that names the local node).
fn kademlia(peer: PeerId, dht: Dht, packet_bytes: usize, config: &Config, reach: &DialPolicy) -> Kademlia {
    // The stores of the IPFS DHTs validate a value when it is put, before kad replies.
    let (store, inserts) = match dht {
        Dht::Ipfs | Dht::Lan => (RecordStore::amino(peer), kad::StoreInserts::Unfiltered),
        Dht::Ggen => (RecordStore::new(peer), kad::StoreInserts::FilterBoth),
    };
    let mut kad = kad::Config::new(dht.protocol(&config.packages_topic));
    kad.set_parallelism(KAD_PARALLELISM)
        .set_query_timeout(config.timeouts.dht_query())
        .set_record_ttl(Some(RECORD_TTL))
        .set_provider_record_ttl(Some(RECORD_TTL))
        .set_record_filtering(inserts)
        .set_publication_interval(None)
        .set_replication_interval(None)
        .set_provider_publication_interval(None)
        .set_caching(kad::Caching::Disabled)
        .set_periodic_bootstrap_interval(Some(KAD_REFRESH))
        .set_kbucket_inserts(kad::BucketInserts::Manual)
        .set_max_packet_size(packet_bytes);
    // The mode of the public DHT depends on the addresses of this node and its peers: `choose_ipfs_mode` sets it later.
    let mode = if dht != Dht::Ipfs && config.dht_server_mode { kad::Mode::Server } else { kad::Mode::Client };
    let mut behaviour = kad::Behaviour::with_config(peer, store, kad);
    behaviour.set_mode(Some(mode));
    IdleStreams::between_requests(AddressFilter::new(behaviour, reach.clone()))
}

fn gossip(key: &Keypair, topic: &gossipsub::IdentTopic, marks: Marks) -> Result<gossipsub::Behaviour, StartError> {
    let refuse = |reason: String| StartError::Gossip(reason);
    let [least, aim, most] = marks.mesh();
    let config = gossipsub::ConfigBuilder::default()
        .mesh_n_low(least)
        .mesh_n(aim)
        .mesh_n_high(most)
        .mesh_outbound_min(aim / 3)
        .validation_mode(gossipsub::ValidationMode::Strict)
        .validate_messages()
        .max_transmit_size(GOSSIP_BYTES)
        .forward_queue_duration(GOSSIP_PATIENCE)
        .build()
        .map_err(|error| refuse(error.to_string()))?;
    let mut behaviour = gossipsub::Behaviour::new(gossipsub::MessageAuthenticity::Signed(key.clone()), config)
        .map_err(|error| refuse(error.to_owned()))?;
    behaviour.with_peer_score(scoring(topic), gossipsub::PeerScoreThresholds::default()).map_err(refuse)?;
    Ok(behaviour)
}

/// The peer score: only rejected messages lower it. Many peers behind one IP address are no offence (a company, a CI, a
/// test).
fn scoring(topic: &gossipsub::IdentTopic) -> gossipsub::PeerScoreParams {
    let mut params = gossipsub::PeerScoreParams { ip_colocation_factor_weight: 0.0, ..Default::default() };
    // The mesh delivery terms punish quiet topics, and ours is quiet.
    let packages = gossipsub::TopicScoreParams {
        mesh_message_deliveries_weight: 0.0,
        mesh_failure_penalty_weight: 0.0,
        invalid_message_deliveries_weight: -10.0,
        invalid_message_deliveries_decay: 0.9,
        ..Default::default()
    };
    params.topics.insert(topic.hash(), packages);
    params
}

fn mdns(peer: PeerId, config: &Config) -> Result<Option<mdns::tokio::Behaviour>, StartError> {
    if !config.mdns {
        return Ok(None);
    }
    mdns::tokio::Behaviour::new(mdns::Config::default(), peer).map(Some).map_err(StartError::Mdns)
}

#[cfg(test)]
mod tests;
