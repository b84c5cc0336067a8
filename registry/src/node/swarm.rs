//! The owner of the swarm: one task that receives commands and events in turn and dispatches them.
//!
//! `swarm/dht.rs` handles DHT events, `swarm/peers.rs` connections and identify results, `swarm/bootstrap.rs` bootstrap
//! nodes and the rendezvous. Pure state machines decide when something is due.

mod bootstrap;
mod connections;
mod dht;
mod listen;
mod peers;
mod redial;
mod requests;

pub(super) use listen::listen;

use std::{
    collections::{HashMap, HashSet},
    future::poll_fn,
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use futures::{FutureExt, StreamExt};
use libp2p::{
    Multiaddr, PeerId, Swarm, gossipsub,
    kad::Mode,
    mdns, ping,
    swarm::{ConnectionId, SwarmEvent},
};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
};

use crate::node::{
    StartError,
    behaviour::{Behaviour, BehaviourEvent, Dht},
    command::{Command, DialFailed, Gossip, GossipId, Snapshot, Tried, Verdict},
    dht::{
        announcements::{Item, Republisher},
        queries::Pending,
        validator::RecordValidator,
    },
    discovery::{
        addresses::{self, Scope},
        dial_policy::DialPolicy,
        dnsaddr::{NameError, Names, Target},
        redial_schedule::Redials,
        rendezvous,
    },
    exchange,
    gossip::Pace,
    peer_observation::PeerObservation,
    rpc::{Asked, Met, Protocol},
};

/// Interval at which expired DHT records are removed and missing bootstrap nodes are dialled again.
const HOUSEKEEPING: Duration = Duration::from_secs(30);

/// Owns the swarm.
pub(crate) struct Driver {
    swarm: Swarm<Behaviour>,
    commands: mpsc::Receiver<Command>,
    gossip: mpsc::Sender<Gossip>,
    observations: mpsc::Sender<PeerObservation>,
    topic: gossipsub::IdentTopic,
    bootstrap: Vec<Multiaddr>,
    policy: Arc<dyn RecordValidator>,
    pending: Pending,
    republisher: Republisher,
    pace: Pace,
    /// Values of the records this node publishes.
    values: HashMap<Vec<u8>, Vec<u8>>,
    /// Callers that wait until everything published has been announced once.
    settling: Vec<oneshot::Sender<()>>,
    /// Callers that wait until a peer is connected.
    alone: Vec<oneshot::Sender<()>>,
    /// Callers that wait until a peer of the ggen DHT is known.
    acquainting: Vec<oneshot::Sender<()>>,
    /// Callers that wait until listeners have reported their addresses.
    openings: listen::Openings,
    dials: HashMap<ConnectionId, Dialler>,
    /// Dials of bootstrap nodes that are under way.
    entering: HashSet<ConnectionId>,
    /// Callers that wait until identify with a connected peer has finished.
    greeting: HashMap<PeerId, Vec<oneshot::Sender<Result<PeerId, DialFailed>>>>,
    identified: HashSet<PeerId>,
    /// The address at which each connected peer was dialled; only peers that this node dialled.
    dialled: HashMap<PeerId, Multiaddr>,
    redials: Redials,
    /// The range of the address at which each connected peer was seen.
    seen_from: HashMap<PeerId, Option<Scope>>,
    /// The address of this node that each peer on the internet reports.
    observed: HashMap<PeerId, Multiaddr>,
    was_visited: bool,
    was_visited_publicly: bool,
    reach: DialPolicy,
    names: Names,
    /// DNS lookups of bootstrap nodes that are under way.
    lookups: JoinSet<Result<Vec<Target>, NameError>>,
    /// `None` if this node does not take part in the rendezvous.
    meeting: Option<bootstrap::Meeting>,
    admissions: JoinSet<dht::Admission>,
    requests: requests::Requests,
    bytes_sent: u64,
    bytes_received: u64,
    dht_walks: u64,
}

/// What waits for the outcome of a dial.
#[derive(Debug)]
enum Dialler {
    /// A caller that requested the connection.
    Asker(oneshot::Sender<Result<PeerId, DialFailed>>),
    /// A caller that wants to know whether a connected peer answers at an address.
    Checker(oneshot::Sender<Result<PeerId, DialFailed>>),
    /// A provider lookup that reports the outcome of dialling this provider.
    Trial(PeerId, mpsc::Sender<Tried>),
    /// A redial of a peer that sessions use.
    Again(PeerId),
}

/// The parts of a [`Driver`].
pub(crate) struct Parts {
    pub(crate) swarm: Swarm<Behaviour>,
    pub(crate) commands: mpsc::Receiver<Command>,
    pub(crate) gossip: mpsc::Sender<Gossip>,
    pub(crate) observations: mpsc::Sender<PeerObservation>,
    pub(crate) asked: mpsc::Sender<Asked>,
    pub(crate) met: mpsc::Sender<Met>,
    pub(crate) topic: gossipsub::IdentTopic,
    pub(crate) bootstrap: Vec<Multiaddr>,
    /// The rendezvous key of this network; `None` if this node does not take part in the rendezvous.
    pub(crate) rendezvous: Option<Vec<u8>>,
    pub(crate) names: Names,
    pub(crate) reach: DialPolicy,
    pub(crate) policy: Arc<dyn RecordValidator>,
}

/// Waits for the next event of the swarm. Returns `None` if `or_idle` is set and no event is ready.
async fn next_event(swarm: &mut Swarm<Behaviour>, or_idle: bool) -> Option<SwarmEvent<BehaviourEvent>> {
    poll_fn(|cx| match swarm.select_next_some().poll_unpin(cx) {
        Poll::Ready(event) => Poll::Ready(Some(event)),
        Poll::Pending if or_idle => Poll::Ready(None),
        Poll::Pending => Poll::Pending,
    })
    .await
}

impl Driver {
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts {
            swarm,
            commands,
            gossip,
            observations,
            asked,
            met,
            topic,
            bootstrap,
            rendezvous,
            names,
            reach,
            policy,
        } = parts;
        Self {
            swarm,
            commands,
            gossip,
            observations,
            topic,
            bootstrap,
            policy,
            pending: Pending::default(),
            republisher: Republisher::default(),
            pace: Pace::default(),
            values: HashMap::new(),
            settling: Vec::new(),
            alone: Vec::new(),
            acquainting: Vec::new(),
            openings: listen::Openings::default(),
            dials: HashMap::new(),
            entering: HashSet::new(),
            greeting: HashMap::new(),
            identified: HashSet::new(),
            dialled: HashMap::new(),
            redials: Redials::default(),
            seen_from: HashMap::new(),
            observed: HashMap::new(),
            was_visited: false,
            was_visited_publicly: false,
            reach,
            names,
            lookups: JoinSet::new(),
            meeting: rendezvous.map(bootstrap::Meeting::new),
            admissions: JoinSet::new(),
            requests: requests::Requests::new(asked, met),
            bytes_sent: 0,
            bytes_received: 0,
            dht_walks: 0,
        }
    }

    /// Runs until [`Command::Shutdown`] arrives or every handle is dropped.
    pub(crate) async fn run(mut self) {
        let peer = *self.swarm.local_peer_id();
        tracing::debug!(target: crate::LOG_TARGET, %peer, topic = %self.topic, "the node has started");
        for address in self.swarm.listeners().cloned().collect::<Vec<_>>() {
            self.on_listening(address);
        }
        self.choose_reach();
        self.dial_bootstrap_nodes();
        let mut housekeeping = tokio::time::interval(HOUSEKEEPING);
        loop {
            let named = self.openings.give_up_at().unwrap_or_else(|| Instant::now() + HOUSEKEEPING);
            let meeting = self.meeting.as_ref().and_then(bootstrap::Meeting::wake_at);
            let wake_at = [self.republisher.wake_at(), self.pace.wake_at(), self.redials.wake_at(), meeting];
            let due = wake_at.into_iter().flatten().min().unwrap_or_else(|| Instant::now() + HOUSEKEEPING);
            tokio::select! {
                command = self.commands.recv() => match command {
                    None | Some(Command::Shutdown) => break,
                    Some(command) => self.on_command(command),
                },
                event = next_event(&mut self.swarm, self.openings.have_closed()) => match event {
                    Some(event) => self.on_swarm_event(event),
                    None => self.openings.tell_closed(),
                },
                Some(Ok(admission)) = self.admissions.join_next() => self.on_admission(admission),
                () = tokio::time::sleep_until(named.into()) => self.openings.give_up(Instant::now(), &self.swarm),
                Some(Ok(outcome)) = self.lookups.join_next() => self.on_looked_up(outcome),
                () = tokio::time::sleep_until(due.into()) => {
                    let now = Instant::now();
                    self.announce_due(now);
                    self.republish(now);
                    self.redial(now);
                    self.meet(rendezvous::Event::Tick, now);
                }
                _ = housekeeping.tick() => self.on_housekeeping(Instant::now()),
            }
        }
        for event in self.exchange().close_accounts() {
            self.on_exchange(event);
        }
        tracing::debug!(target: crate::LOG_TARGET, "the node has stopped");
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::Listen { addresses, reply } => self.listen(&addresses, reply),
            Command::Follow { reply } => {
                let topic = self.topic.clone();
                let followed = self.swarm.behaviour_mut().gossip.subscribe(&topic);
                tracing::debug!(target: crate::LOG_TARGET, %topic, "following announcements");
                // A caller that no longer waits needs no reply.
                let _unasked = reply.send(followed.map(|_| ()).map_err(|error| StartError::Gossip(error.to_string())));
            }
            Command::Explore { done } => self.explore(&done),
            Command::Connect { target, afresh, reply } => self.connect(&target, afresh, reply),
            Command::FindProviders { key, found } => self.find_providers(&key, &found),
            Command::TryProviders { key, tried } => self.try_providers(&key, &tried),
            Command::FindRecord { key, found, ended } => self.find_record(&key, found, ended),
            Command::Provide { key } => self.provide(&key, Instant::now()),
            Command::Withdraw { key } => self.withdraw(&key),
            Command::Unpublish { key } => self.unpublish(key),
            Command::FindProvidersOn { dht, key, found } => self.find_providers_on(dht, &key, found),
            Command::ProvideWord { key } => self.provide_word(key, Instant::now()),
            Command::Publish { key, value, kept } => self.publish(key, value, kept, Instant::now()),
            Command::Announce { subject, data, reply } => self.announce(subject, data, reply, Instant::now()),
            Command::Judge { gossip, verdict } => self.judge(&gossip, verdict),
            Command::Ask { peer, protocol, data, reply } => self.ask(&peer, protocol, data, reply),
            Command::Answer { protocol, reply, data } => self.answer(protocol, reply, data),
            Command::Speakers { protocol, reply } => {
                // A caller that no longer waits needs no reply.
                let _unasked = reply.send(self.requests.supporting(protocol));
            }
            Command::OpenSession { events, least_reputation, reply } => {
                let spec = exchange::SessionSpec { output: events, peers: Vec::new(), least_reputation };
                let id = self.exchange().open_session(spec);
                let connected = self.swarm.connected_peers().copied().collect();
                if reply.send((id, connected)).is_err() {
                    self.exchange().close_session(id);
                }
            }
            Command::Describe { session, list } => self.exchange().describe(session, list),
            Command::Want { session, wants } => self.exchange().want(session, wants),
            Command::CancelWants { session, cids } => self.exchange().cancel(session, cids),
            Command::AddPeer { session, peer, named } => self.exchange().add_peer(session, peer, named),
            Command::CloseSession { session } => self.exchange().close_session(session),
            Command::Treat { peer, access_policy } => self.connections().treat(peer, access_policy),
            Command::Question { peer, cids, reply } => self.exchange().question(peer, cids, reply),
            Command::NewBlocks { cids } => self.exchange().notify_new_blocks(&cids),
            Command::Snapshot { reply } => {
                // A caller that no longer waits needs no reply.
                let _unasked = reply.send(self.snapshot());
            }
            Command::Settle { reply } => {
                self.settling.push(reply);
                self.tell_settled(Instant::now());
            }
            Command::Meet { reply } => {
                self.alone.retain(|waiting| !waiting.is_closed());
                self.alone.push(reply);
                self.tell_met();
            }
            Command::Acquaint { reply } => {
                self.acquainting.push(reply);
                self.count_peers(Instant::now());
            }
            Command::Shutdown => {}
        }
    }

    fn on_swarm_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(event) => self.on_behaviour_event(event),
            SwarmEvent::NewListenAddr { listener_id, address } => {
                self.on_listening(address);
                self.openings.on_named(listener_id, &self.swarm);
            }
            SwarmEvent::ListenerClosed { listener_id, reason, .. } => {
                let failure = reason.err().map(|error| error.to_string());
                if let Some(error) = &failure {
                    tracing::warn!(target: crate::LOG_TARGET, %error, "a listener was closed");
                }
                self.on_listener_closed(listener_id, failure.as_deref());
            }
            SwarmEvent::ExpiredListenAddr { address, .. } => {
                self.swarm.remove_external_address(&address);
                self.choose_ipfs_mode();
            }
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, num_established, .. } => {
                self.on_connected(peer_id, connection_id, &endpoint, num_established.get());
            }
            SwarmEvent::ConnectionClosed { peer_id, num_established: 0, .. } => {
                self.on_gone(peer_id);
            }
            SwarmEvent::OutgoingConnectionError { connection_id, peer_id, error, .. } => {
                self.on_dial_failed(connection_id, peer_id, &error);
            }
            _ => {}
        }
    }

    fn on_behaviour_event(&mut self, event: BehaviourEvent) {
        match event {
            BehaviourEvent::Connections(event) => self.on_connections(event),
            BehaviourEvent::IpfsKad(event) => self.on_kad_event(Dht::Ipfs, event),
            BehaviourEvent::LanKad(event) => self.on_kad_event(Dht::Lan, event),
            BehaviourEvent::GgenKad(event) => self.on_kad_event(Dht::Ggen, event),
            BehaviourEvent::Identify(event) => self.on_identify(event),
            BehaviourEvent::Gossip(event) => self.on_gossip(event),
            BehaviourEvent::Mdns(mdns::Event::Discovered(found)) => self.on_neighbours(found),
            BehaviourEvent::Exchange(event) => self.on_exchange(event),
            BehaviourEvent::Search(event) => self.on_request_event(Protocol::Search, event),
            BehaviourEvent::Catalog(event) => self.on_request_event(Protocol::Catalog, event),
            BehaviourEvent::Claim(event) => self.on_request_event(Protocol::Claim, event),
            BehaviourEvent::Ping(ping::Event { peer, result: Ok(latency), .. }) => {
                self.tell(PeerObservation::Latency { peer, latency });
            }
            BehaviourEvent::Mdns(mdns::Event::Expired(_)) | BehaviourEvent::Ping(_) => {}
        }
    }

    fn on_gossip(&mut self, event: gossipsub::Event) {
        let (propagation_source, message_id, message) = match event {
            gossipsub::Event::Message { propagation_source, message_id, message } => {
                (propagation_source, message_id, message)
            }
            gossipsub::Event::Subscribed { peer_id: peer, .. } => return self.on_follower(peer, true),
            gossipsub::Event::Unsubscribed { peer_id: peer, .. } => return self.on_follower(peer, false),
            _ => return,
        };
        let id = GossipId { message: message_id, from: propagation_source };
        let gossip = Gossip { id: id.clone(), source: message.source, data: message.data };
        if self.gossip.try_send(gossip).is_err() {
            self.judge(&id, Verdict::Ignore);
        }
    }

    fn on_follower(&mut self, peer: PeerId, follows: bool) {
        self.connections().follows(peer, follows);
        self.tell(PeerObservation::Follows { peer });
    }

    fn on_exchange(&mut self, event: exchange::Event) {
        match event {
            exchange::Event::Served { peer, bytes, .. } => {
                self.bytes_sent += bytes;
                self.connections().used(peer, Instant::now());
                self.tell(PeerObservation::Traffic { peer, sent: bytes, received: 0, rate: None });
            }
            exchange::Event::Received { peer, bytes, rate, .. } => {
                self.bytes_received += bytes;
                self.connections().used(peer, Instant::now());
                self.tell(PeerObservation::Traffic { peer, sent: 0, received: bytes, rate });
            }
            exchange::Event::PeerMisbehaved { peer, reason, blamed } => {
                if !blamed {
                    use exchange::Misbehaviour::{Malformed, MalformedAnswer};
                    let malformed = matches!(reason, Malformed { .. } | MalformedAnswer);
                    self.tell(PeerObservation::Misbehaved { peer, malformed });
                }
                tracing::info!(target: crate::LOG_TARGET, %peer, ?reason, "a peer misbehaved");
                if self.swarm.disconnect_peer_id(peer).is_err() {
                    tracing::trace!(target: crate::LOG_TARGET, %peer, "it was gone already");
                }
            }
        }
    }

    /// Queues an observation of a peer; drops it if the queue is full.
    fn tell(&self, observation: PeerObservation) {
        if let Err(error) = self.observations.try_send(observation) {
            tracing::debug!(target: crate::LOG_TARGET, %error, "not noted");
        }
    }

    fn announce(&mut self, subject: Vec<u8>, data: Vec<u8>, reply: oneshot::Sender<usize>, now: Instant) {
        self.pace.add(subject, data);
        let went = self.announce_due(now);
        // A caller that no longer waits needs no reply.
        let _unasked = reply.send(if went { self.followers() } else { 0 });
    }

    /// Publishes the announcements that are due. Returns false if gossipsub could not publish one of them.
    fn announce_due(&mut self, now: Instant) -> bool {
        let mut went = true;
        while let Some(data) = self.pace.next_due(now) {
            if let Err(error) = self.swarm.behaviour_mut().gossip.publish(self.topic.clone(), data) {
                tracing::debug!(target: crate::LOG_TARGET, %error, "announced to no peer");
                went = false;
            }
        }
        went
    }

    fn followers(&self) -> usize {
        let topic = self.topic.hash();
        self.swarm.behaviour().gossip.all_peers().filter(|(_, topics)| topics.contains(&&topic)).count()
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
        for dht in Dht::ALL {
            self.kad(dht).store_mut().expire(now);
        }
        for (dht, query) in self.pending.abandoned() {
            if let Some(mut query) = self.kad(dht).query_mut(&query) {
                query.finish();
            }
        }
        self.tidy_redials();
        self.dial_bootstrap_nodes();
    }

    fn snapshot(&mut self) -> Snapshot {
        let serves_ggen_dht = self.kad(Dht::Ggen).mode() == Mode::Server;
        let ggen_routing_peers = self.routing_peers(Dht::Ggen);
        let ipfs_routing_peers = self.routing_peers(Dht::Ipfs);
        let lan_routing_peers = self.routing_peers(Dht::Lan);
        Snapshot {
            listen_addresses: self.swarm.listeners().cloned().collect(),
            external_addresses: self.swarm.external_addresses().cloned().collect(),
            connected: self.swarm.connected_peers().copied().collect(),
            followers: self.followers(),
            ggen_routing_peers,
            ipfs_routing_peers,
            lan_routing_peers,
            was_visited: self.was_visited,
            nat: addresses::nat(self.was_visited_publicly, self.observed.values(), self.swarm.listeners()),
            serves_ggen_dht,
            bytes_sent: self.bytes_sent,
            bytes_received: self.bytes_received,
            dht_walks: self.dht_walks,
        }
    }

    fn republish(&mut self, now: Instant) {
        while let Some(item) = self.republisher.next_due(now) {
            self.announce_item(item, now);
        }
        self.tell_settled(now);
    }

    fn tell_settled(&mut self, now: Instant) {
        if self.pace.is_empty() && self.republisher.is_settled(now) {
            for reply in self.settling.drain(..) {
                // A caller that no longer waits needs no reply.
                let _unasked = reply.send(());
            }
        }
    }

    /// Replies to the callers that wait for a peer, if one is connected.
    fn tell_met(&mut self) {
        if self.swarm.connected_peers().next().is_some() {
            for reply in self.alone.drain(..) {
                // A caller that no longer waits needs no reply.
                let _unasked = reply.send(());
            }
        }
    }

    fn kad(&mut self, dht: Dht) -> &mut libp2p::kad::Behaviour<crate::node::dht::records::RecordStore> {
        self.swarm.behaviour_mut().kad(dht)
    }

    fn connections(&mut self) -> &mut crate::node::connections::behaviour::Behaviour {
        &mut self.swarm.behaviour_mut().connections
    }

    fn exchange(&mut self) -> &mut exchange::Behaviour {
        &mut self.swarm.behaviour_mut().exchange
    }

    /// Sets the mode of the IPFS DHT by the addresses of this node and its peers. Called whenever these change.
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

    fn publish(&mut self, key: Vec<u8>, value: Vec<u8>, kept: oneshot::Sender<()>, now: Instant) {
        self.values.insert(key.clone(), value);
        // The local store gets the record first: this node serves it before its announcement is due.
        self.keep_own_record(&key, Some(kept));
        self.republisher.add(Item::Record(key), now);
        self.republish(now);
    }

    fn provide_word(&mut self, key: Vec<u8>, now: Instant) {
        self.republisher.add(Item::Word(key), now);
        self.republish(now);
    }

    fn provide(&mut self, key: &[u8], now: Instant) {
        for dht in Dht::ALL {
            self.republisher.add(Item::Provide(dht, key.to_vec()), now);
        }
        self.republish(now);
    }
}
