//! The owner of the swarm: one task that takes commands and events in turn and dispatches them, nothing else.
//!
//! What is to be done about a DHT event stands in `swarm/dht.rs`, about a connection or an identify message in
//! `swarm/peers.rs`; when something is due is decided by pure schedules.

mod dht;
mod listen;
mod peers;

pub(super) use listen::listen;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use futures::StreamExt;
use libp2p::{
    Multiaddr, PeerId, Swarm, gossipsub,
    kad::Mode,
    mdns,
    swarm::{ConnectionId, SwarmEvent},
};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
};

use super::{
    addresses::{self, Scope},
    admission::RecordPolicy,
    behaviour::{Behaviour, BehaviourEvent, Dht},
    bitswap,
    command::{Command, DialFailed, Gossip, GossipId, Snapshot, Verdict},
    pending::Pending,
    republish::{Item, Republisher},
};

/// How often what has expired is forgotten and missing bootstrap nodes are dialled again.
const HOUSEKEEPING: Duration = Duration::from_secs(30);

/// Owns the swarm.
pub(crate) struct Driver {
    swarm: Swarm<Behaviour>,
    commands: mpsc::Receiver<Command>,
    gossip: mpsc::Sender<Gossip>,
    topic: gossipsub::IdentTopic,
    bootstrap: Vec<Multiaddr>,
    policy: Arc<dyn RecordPolicy>,
    pending: Pending,
    republisher: Republisher,
    /// Values of the records this node publishes.
    values: HashMap<Vec<u8>, Vec<u8>>,
    /// Who waits until everything published was announced once.
    settling: Vec<oneshot::Sender<()>>,
    dials: HashMap<ConnectionId, oneshot::Sender<Result<PeerId, DialFailed>>>,
    /// Who waits until a connected peer has said what it speaks.
    greeting: HashMap<PeerId, Vec<oneshot::Sender<Result<PeerId, DialFailed>>>>,
    identified: HashSet<PeerId>,
    /// Where each connected peer was seen.
    seen_from: HashMap<PeerId, Option<Scope>>,
    admissions: JoinSet<dht::Admission>,
    bytes_sent: u64,
    bytes_received: u64,
}

/// What a driver is made of.
pub(crate) struct Parts {
    pub(crate) swarm: Swarm<Behaviour>,
    pub(crate) commands: mpsc::Receiver<Command>,
    pub(crate) gossip: mpsc::Sender<Gossip>,
    pub(crate) topic: gossipsub::IdentTopic,
    pub(crate) bootstrap: Vec<Multiaddr>,
    pub(crate) policy: Arc<dyn RecordPolicy>,
}

impl Driver {
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts { swarm, commands, gossip, topic, bootstrap, policy } = parts;
        Self {
            swarm,
            commands,
            gossip,
            topic,
            bootstrap,
            policy,
            pending: Pending::default(),
            republisher: Republisher::default(),
            values: HashMap::new(),
            settling: Vec::new(),
            dials: HashMap::new(),
            greeting: HashMap::new(),
            identified: HashSet::new(),
            seen_from: HashMap::new(),
            admissions: JoinSet::new(),
            bytes_sent: 0,
            bytes_received: 0,
        }
    }

    /// Runs until [`Command::Shutdown`] or until every handle is gone.
    pub(crate) async fn run(mut self) {
        for address in self.swarm.listeners().cloned().collect::<Vec<_>>() {
            self.on_listening(address);
        }
        self.dial_bootstrap_nodes();
        let mut housekeeping = tokio::time::interval(HOUSEKEEPING);
        loop {
            let due = self.republisher.wake_at().unwrap_or_else(|| Instant::now() + HOUSEKEEPING);
            tokio::select! {
                command = self.commands.recv() => match command {
                    None | Some(Command::Shutdown) => break,
                    Some(command) => self.on_command(command),
                },
                event = self.swarm.select_next_some() => self.on_swarm_event(event),
                Some(Ok(admission)) = self.admissions.join_next() => self.on_admission(admission),
                () = tokio::time::sleep_until(due.into()) => self.republish(Instant::now()),
                _ = housekeeping.tick() => self.on_housekeeping(Instant::now()),
            }
        }
        tracing::debug!(target: "ggen_marketplace::backend::p2p", "the node has stopped");
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::Connect { address, reply } => self.connect(address, reply),
            Command::FindProviders { key, found } => self.find_providers(&key, &found),
            Command::FindRecord { key, found } => self.find_record(&key, found),
            Command::Provide { key } => self.provide(&key, Instant::now()),
            Command::Publish { key, value } => self.publish(key, value, Instant::now()),
            Command::Announce { data, reply } => self.announce(data, reply),
            Command::Judge { gossip, verdict } => self.judge(&gossip, verdict),
            Command::OpenSession { events, reply } => {
                let id = self.bitswap().open_session(bitswap::SessionSpec { output: events, peers: Vec::new() });
                if reply.send(id).is_err() {
                    self.bitswap().close_session(id);
                }
            }
            Command::Want { session, wants } => self.bitswap().want(session, wants),
            Command::AddPeer { session, peer } => self.bitswap().add_peer(session, peer),
            Command::CloseSession { session } => self.bitswap().close_session(session),
            Command::NewBlocks { cids } => self.bitswap().notify_new_blocks(&cids),
            Command::Snapshot { reply } => {
                // An asker that no longer waits needs no answer.
                let _unasked = reply.send(self.snapshot());
            }
            Command::Settle { reply } => {
                self.settling.push(reply);
                self.tell_settled(Instant::now());
            }
            Command::Shutdown => {}
        }
    }

    fn on_swarm_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(event) => self.on_behaviour_event(event),
            SwarmEvent::NewListenAddr { address, .. } => self.on_listening(address),
            SwarmEvent::ExpiredListenAddr { address, .. } => {
                self.swarm.remove_external_address(&address);
                self.choose_ipfs_mode();
            }
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                self.on_connected(peer_id, connection_id, &endpoint);
            }
            SwarmEvent::ConnectionClosed { peer_id, num_established: 0, .. } => {
                self.on_gone(peer_id);
            }
            SwarmEvent::OutgoingConnectionError { connection_id, error, .. } => {
                self.on_dial_failed(connection_id, &error);
            }
            _ => {}
        }
    }

    fn on_behaviour_event(&mut self, event: BehaviourEvent) {
        match event {
            BehaviourEvent::IpfsKad(event) => self.on_kad_event(Dht::Ipfs, event),
            BehaviourEvent::GgenKad(event) => self.on_kad_event(Dht::Ggen, event),
            BehaviourEvent::Identify(event) => self.on_identify(event),
            BehaviourEvent::Gossip(event) => self.on_gossip(event),
            BehaviourEvent::Mdns(mdns::Event::Discovered(found)) => self.on_neighbours(found),
            BehaviourEvent::Bitswap(event) => self.on_bitswap(event),
            BehaviourEvent::Mdns(mdns::Event::Expired(_)) | BehaviourEvent::Ping(_) => {}
        }
    }

    fn on_gossip(&mut self, event: gossipsub::Event) {
        let gossipsub::Event::Message { propagation_source, message_id, message } = event else { return };
        let id = GossipId { message: message_id, from: propagation_source };
        let gossip = Gossip { id: id.clone(), data: message.data };
        if self.gossip.try_send(gossip).is_err() {
            self.judge(&id, Verdict::Ignore);
        }
    }

    fn on_bitswap(&mut self, event: bitswap::Event) {
        match event {
            bitswap::Event::Served { bytes, .. } => self.bytes_sent += bytes,
            bitswap::Event::Received { bytes, .. } => self.bytes_received += bytes,
            bitswap::Event::PeerMisbehaved { peer, reason } => {
                tracing::info!(target: "ggen_marketplace::backend::p2p", %peer, ?reason, "a peer misbehaved");
                if self.swarm.disconnect_peer_id(peer).is_err() {
                    tracing::trace!(target: "ggen_marketplace::backend::p2p", %peer, "it was gone already");
                }
            }
        }
    }

    fn announce(&mut self, data: Vec<u8>, reply: oneshot::Sender<usize>) {
        let topic = self.topic.clone();
        let followers =
            self.swarm.behaviour().gossip.all_peers().filter(|(_, topics)| topics.contains(&&topic.hash())).count();
        let reached = match self.swarm.behaviour_mut().gossip.publish(topic, data) {
            Ok(_) => followers,
            Err(error) => {
                tracing::debug!(target: "ggen_marketplace::backend::p2p", %error, "announced to nobody");
                0
            }
        };
        // An asker that no longer waits needs no answer.
        let _unasked = reply.send(reached);
    }

    fn judge(&mut self, gossip: &GossipId, verdict: Verdict) {
        let acceptance = match verdict {
            Verdict::Accept => gossipsub::MessageAcceptance::Accept,
            Verdict::Ignore => gossipsub::MessageAcceptance::Ignore,
            Verdict::Reject => gossipsub::MessageAcceptance::Reject,
        };
        self.swarm.behaviour_mut().gossip.report_message_validation_result(&gossip.message, &gossip.from, acceptance);
    }

    fn on_housekeeping(&mut self, now: Instant) {
        for dht in Dht::BOTH {
            self.kad(dht).store_mut().expire(now);
        }
        for (dht, query) in self.pending.abandoned() {
            if let Some(mut query) = self.kad(dht).query_mut(&query) {
                query.finish();
            }
        }
        self.dial_bootstrap_nodes();
    }

    fn snapshot(&mut self) -> Snapshot {
        let ggen = self.kad(Dht::Ggen);
        let serves_ggen_dht = ggen.mode() == Mode::Server;
        let ggen_routing_peers = ggen.kbuckets().map(|bucket| bucket.num_entries()).sum();
        Snapshot {
            listen_addresses: self.swarm.listeners().cloned().collect(),
            external_addresses: self.swarm.external_addresses().cloned().collect(),
            connected: self.swarm.connected_peers().copied().collect(),
            ggen_routing_peers,
            serves_ggen_dht,
            bytes_sent: self.bytes_sent,
            bytes_received: self.bytes_received,
        }
    }

    fn republish(&mut self, now: Instant) {
        while let Some(item) = self.republisher.next_due(now) {
            self.announce_item(item, now);
        }
        self.tell_settled(now);
    }

    fn tell_settled(&mut self, now: Instant) {
        if self.republisher.is_settled(now) {
            for reply in self.settling.drain(..) {
                // An asker that no longer waits needs no answer.
                let _unasked = reply.send(());
            }
        }
    }

    fn kad(&mut self, dht: Dht) -> &mut libp2p::kad::Behaviour<super::records::RecordStore> {
        self.swarm.behaviour_mut().kad(dht)
    }

    fn bitswap(&mut self) -> &mut bitswap::Behaviour {
        &mut self.swarm.behaviour_mut().bitswap
    }

    /// Whether the node serves the IPFS DHT depends on its addresses and its peers': looked at whenever these change.
    fn choose_ipfs_mode(&mut self) {
        if self.kad(Dht::Ggen).mode() == Mode::Client {
            return;
        }
        let seen = self.seen_from.values().copied();
        let serves = addresses::serves_ipfs_dht(&self.bootstrap, self.swarm.external_addresses(), seen);
        let mode = if serves { Mode::Server } else { Mode::Client };
        if self.kad(Dht::Ipfs).mode() != mode {
            self.kad(Dht::Ipfs).set_mode(Some(mode));
        }
    }

    fn publish(&mut self, key: Vec<u8>, value: Vec<u8>, now: Instant) {
        self.values.insert(key.clone(), value);
        self.republisher.add(Item::Record(key), now);
        self.republish(now);
    }

    fn provide(&mut self, key: &[u8], now: Instant) {
        for dht in Dht::BOTH {
            self.republisher.add(Item::Provide(dht, key.to_vec()), now);
        }
        self.republish(now);
    }
}
