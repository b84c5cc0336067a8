//! How the driver finds peers: bootstrap nodes, and the rendezvous through the IPFS DHT.

use std::time::Instant;

use libp2p::{
    kad::RecordKey,
    swarm::dial_opts::{DialOpts, PeerCondition},
};

use crate::node::{
    behaviour::Dht,
    dht::{announcements::Item, queries::Purpose},
    discovery::{
        addresses::{Scope, scope, split_peer},
        dnsaddr::{NameError, Target, is_dnsaddr},
        rendezvous::{Action, Event, Rendezvous},
    },
    swarm::{Driver, peers::dial_options},
};

/// The rendezvous of a node that takes part in it.
#[derive(Debug)]
pub(super) struct Meeting {
    key: Vec<u8>,
    schedule: Rendezvous,
    is_provided: bool,
}

impl Meeting {
    pub(super) fn new(key: Vec<u8>) -> Self {
        Self { key, schedule: Rendezvous::new(Instant::now()), is_provided: false }
    }

    pub(super) fn wake_at(&self) -> Option<Instant> {
        self.schedule.wake_at()
    }
}

impl Driver {
    /// Dials the bootstrap nodes that are not connected. A bootstrap address without a peer ID, other than a
    /// `/dnsaddr`, is dialled only while no peer is connected.
    pub(super) fn dial_bootstrap_nodes(&mut self) {
        let is_alone = self.swarm.connected_peers().next().is_none();
        // The next round starts only after the DNS lookups of the last one have ended.
        let may_look_up = self.lookups.is_empty();
        for address in self.bootstrap.clone() {
            let peer = split_peer(address.clone()).1;
            if is_dnsaddr(&address) {
                if may_look_up && (is_alone || peer.is_none_or(|peer| !self.swarm.is_connected(&peer))) {
                    let names = self.names.clone();
                    self.lookups.spawn(async move { names.targets(&address).await });
                }
            } else if peer.is_some() || is_alone {
                self.dial_bootstrap_node(Target { peer, addresses: vec![address] });
            }
        }
    }

    /// Dials the nodes that a `/dnsaddr` resolved to.
    pub(super) fn on_looked_up(&mut self, outcome: Result<Vec<Target>, NameError>) {
        match outcome {
            Ok(targets) => targets.into_iter().for_each(|target| self.dial_bootstrap_node(target)),
            Err(error) => {
                tracing::warn!(target: crate::LOG_TARGET, %error, "a bootstrap node is not found");
            }
        }
    }

    fn dial_bootstrap_node(&mut self, target: Target) {
        if let Some(peer) = target.peer {
            if self.swarm.behaviour().connections.passes_over(&peer, Instant::now()) {
                return;
            }
            self.connections().name(peer);
        }
        let Some(options) = dial_options(&target, PeerCondition::DisconnectedAndNotDialing) else { return };
        let id = options.connection_id();
        match self.swarm.dial(options) {
            Ok(()) => {
                self.entering.insert(id);
            }
            Err(error) => {
                let addresses = &target.addresses;
                tracing::debug!(target: crate::LOG_TARGET, ?addresses, %error, "bootstrap node not dialled");
            }
        }
    }

    /// Sets which address ranges may be dialled on the word of third parties: the ranges of connected peers and
    /// bootstrap nodes, and all wider ones.
    pub(super) fn choose_reach(&mut self) {
        let seen = self.seen_from.values().copied().flatten();
        let nearest = seen.chain(self.bootstrap.iter().filter_map(scope)).min().unwrap_or(Scope::Public);
        self.reach.set(nearest);
    }

    /// Starts to provide the rendezvous key on the IPFS DHTs, once. A node without listeners must not: the peers that
    /// find it could not dial it.
    pub(super) fn provide_rendezvous(&mut self, now: Instant) {
        if let Some(Meeting { key, is_provided, .. }) = &mut self.meeting
            && !std::mem::replace(is_provided, true)
        {
            for dht in [Dht::Ipfs, Dht::Lan] {
                self.republisher.add(Item::Provide(dht, key.clone()), now);
            }
        }
    }

    /// Looks up other nodes of this network, if the rendezvous schedule requests it.
    pub(super) fn meet(&mut self, event: Event, now: Instant) {
        let jitter = f64::from(getrandom::u32().unwrap_or_default()) / f64::from(u32::MAX);
        let Some(Meeting { key, schedule, .. }) = &mut self.meeting else { return };
        let Some(Action::LookUp) = schedule.on(event, now, jitter) else { return };
        let key = RecordKey::from(key.clone());
        // Without peers of the public IPFS DHT, only the DHT of the local network can answer.
        let dht = if self.routing_peers(Dht::Ipfs) > 0 { Dht::Ipfs } else { Dht::Lan };
        let id = self.kad(dht).get_providers(key);
        self.pending.add(dht, id, Purpose::Rendezvous);
        tracing::debug!(target: crate::LOG_TARGET, "looking for others of this network");
    }

    /// Passes the sizes of the routing tables to the rendezvous schedule, and replies to callers that wait for a peer
    /// of the ggen DHT. Without any connection the tables count as empty: their entries may belong to a network that is
    /// gone.
    pub(super) fn count_peers(&mut self, now: Instant) {
        if self.meeting.is_none() && self.acquainting.is_empty() {
            return;
        }
        let is_alone = self.swarm.connected_peers().next().is_none();
        let mut count = |dht| if is_alone { 0 } else { self.routing_peers(dht) };
        let (ggen, ipfs) = (count(Dht::Ggen), count(Dht::Ipfs) + count(Dht::Lan));
        self.acquainting.retain(|waiting| !waiting.is_closed());
        if ggen > 0 {
            for reply in self.acquainting.drain(..) {
                // A caller that no longer waits needs no reply.
                let _unasked = reply.send(());
            }
        }
        self.meet(Event::Tables { ggen, ipfs }, now);
    }

    pub(super) fn routing_peers(&mut self, dht: Dht) -> usize {
        self.kad(dht).kbuckets().map(|bucket| bucket.num_entries()).sum()
    }

    /// Dials a peer that a lookup found.
    pub(super) fn dial_found(&mut self, peer: libp2p::PeerId) {
        let dial = DialOpts::peer_id(peer).condition(PeerCondition::DisconnectedAndNotDialing).build();
        if let Err(error) = self.swarm.dial(dial) {
            tracing::trace!(target: crate::LOG_TARGET, %peer, %error, "not dialled");
        }
    }
}
