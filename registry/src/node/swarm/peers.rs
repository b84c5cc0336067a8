//! What the driver does about connections, and about what peers say of themselves.

use libp2p::{
    Multiaddr, PeerId,
    core::ConnectedPoint,
    identify,
    multiaddr::Protocol,
    swarm::{
        ConnectionId, DialError,
        dial_opts::{DialOpts, PeerCondition},
    },
};
use tokio::sync::oneshot;

use super::Driver;
use crate::node::{
    addresses::{MAX_ADDRESSES_PER_PEER, is_plausible, scope, split_peer},
    behaviour::Dht,
    command::DialFailed,
};

/// Peers of the local network dialled for one mDNS answer.
const MAX_NEIGHBOURS: usize = 16;

impl Driver {
    /// Dials the bootstrap nodes that are not connected; those whose peer id is not known, only when nobody is.
    pub(super) fn dial_bootstrap_nodes(&mut self) {
        let is_alone = self.swarm.connected_peers().next().is_none();
        for address in self.bootstrap.clone() {
            if split_peer(address.clone()).1.is_none() && !is_alone {
                continue;
            }
            if let Err(error) = self.swarm.dial(dial_options(address.clone(), PeerCondition::DisconnectedAndNotDialing))
            {
                tracing::debug!(target: "ggen_marketplace::backend::p2p", %address, %error, "bootstrap node not dialled");
            }
        }
    }

    pub(super) fn connect(&mut self, address: Multiaddr, reply: oneshot::Sender<Result<PeerId, DialFailed>>) {
        let (_, peer) = split_peer(address.clone());
        if let Some(peer) = peer.filter(|peer| self.swarm.is_connected(peer)) {
            return self.greet(peer, reply);
        }
        let options = dial_options(address, PeerCondition::Disconnected);
        let id = options.connection_id();
        match self.swarm.dial(options) {
            Ok(()) => {
                self.dials.insert(id, reply);
            }
            Err(error) => {
                let _unasked = reply.send(Err(DialFailed(plain(&error))));
            }
        }
    }

    pub(super) fn on_listening(&mut self, address: Multiaddr) {
        tracing::debug!(target: "ggen_marketplace::backend::p2p", %address, "listening");
        self.swarm.add_external_address(address);
        self.choose_ipfs_mode();
    }

    pub(super) fn on_connected(&mut self, peer: PeerId, connection: ConnectionId, endpoint: &ConnectedPoint) {
        let remote = endpoint.get_remote_address();
        tracing::debug!(target: "ggen_marketplace::backend::p2p", %peer, %remote, "connected");
        self.seen_from.insert(peer, scope(remote));
        self.choose_ipfs_mode();
        if let Some(reply) = self.dials.remove(&connection) {
            self.greet(peer, reply);
        }
    }

    /// Answers once the peer has said what it speaks.
    fn greet(&mut self, peer: PeerId, reply: oneshot::Sender<Result<PeerId, DialFailed>>) {
        if self.identified.contains(&peer) {
            // An asker that no longer waits needs no answer.
            let _unasked = reply.send(Ok(peer));
        } else {
            self.greeting.entry(peer).or_default().push(reply);
        }
    }

    pub(super) fn on_gone(&mut self, peer: PeerId) {
        self.seen_from.remove(&peer);
        self.choose_ipfs_mode();
        self.identified.remove(&peer);
        for reply in self.greeting.remove(&peer).into_iter().flatten() {
            let _unasked = reply.send(Err(DialFailed("the peer closed the connection".to_owned())));
        }
    }

    fn on_greeted(&mut self, peer: PeerId) {
        self.identified.insert(peer);
        for reply in self.greeting.remove(&peer).into_iter().flatten() {
            let _unasked = reply.send(Ok(peer));
        }
    }

    pub(super) fn on_dial_failed(&mut self, connection: ConnectionId, error: &DialError) {
        if let Some(reply) = self.dials.remove(&connection) {
            // An asker that no longer waits needs no answer.
            let _unasked = reply.send(Err(DialFailed(plain(error))));
        }
    }

    /// Puts a peer into the routing tables of the DHTs it serves. A peer whose message does not fit (some Kubos) is as
    /// good as any, only in no table.
    pub(super) fn on_identify(&mut self, event: identify::Event) {
        let (peer_id, info) = match event {
            identify::Event::Received { peer_id, info, .. } => (peer_id, info),
            identify::Event::Error { peer_id, error, .. } => {
                tracing::debug!(target: "ggen_marketplace::backend::p2p", %peer_id, %error, "identify failed");
                return self.on_greeted(peer_id);
            }
            identify::Event::Sent { .. } | identify::Event::Pushed { .. } => return,
        };
        let seen_from = self.seen_from.get(&peer_id).copied().flatten();
        let told = info.listen_addrs.iter().filter(|address| is_plausible(address, seen_from));
        let addresses: Vec<_> = told.take(MAX_ADDRESSES_PER_PEER).cloned().collect();
        for dht in Dht::BOTH.into_iter().filter(|dht| info.protocols.contains(&dht.protocol())) {
            for address in &addresses {
                self.kad(dht).add_address(&peer_id, address.clone());
            }
            self.forget_other_addresses(dht, &peer_id, &addresses);
        }
        self.on_greeted(peer_id);
    }

    /// A peer has the addresses it tells now, and no others: kad's list of them would grow with every push.
    fn forget_other_addresses(&mut self, dht: Dht, peer: &PeerId, told: &[Multiaddr]) {
        if told.is_empty() {
            return;
        }
        let mut stale = Vec::new();
        if let Some(bucket) = self.kad(dht).kbucket(*peer)
            && let Some(entry) = bucket.iter().find(|entry| entry.node.key.preimage() == peer)
        {
            let is_told = |known: &Multiaddr| told.contains(known) || told.contains(&split_peer(known.clone()).0);
            stale.extend(entry.node.value.iter().filter(|known| !is_told(known)).cloned());
        }
        for address in stale {
            self.kad(dht).remove_address(peer, &address);
        }
    }

    pub(super) fn on_neighbours(&mut self, found: Vec<(PeerId, Multiaddr)>) {
        for (peer, address) in found.into_iter().take(MAX_NEIGHBOURS) {
            let options = DialOpts::peer_id(peer)
                .addresses(vec![address])
                .condition(PeerCondition::DisconnectedAndNotDialing)
                .build();
            if let Err(error) = self.swarm.dial(options) {
                tracing::trace!(target: "ggen_marketplace::backend::p2p", %peer, %error, "neighbour not dialled");
            }
        }
    }
}

/// Dials the peer an address names, or whoever answers there. `/dnsaddr` addresses name their peers only once they
/// are resolved.
fn dial_options(address: Multiaddr, condition: PeerCondition) -> DialOpts {
    let is_dnsaddr = address.iter().any(|part| matches!(part, Protocol::Dnsaddr(_)));
    match split_peer(address.clone()) {
        (_, Some(peer)) if !is_dnsaddr => DialOpts::peer_id(peer).addresses(vec![address]).condition(condition).build(),
        _ => DialOpts::unknown_peer_id().address(address).build(),
    }
}

/// A dial error in one line: the reason of each address instead of the library's nested text.
fn plain(error: &DialError) -> String {
    match error {
        DialError::Transport(attempts) => {
            let reasons: Vec<_> = attempts.iter().map(|(_, reason)| innermost(reason)).collect();
            reasons.join("; ")
        }
        DialError::WrongPeerId { obtained, .. } => format!("the peer there is {obtained}"),
        other => other.to_string(),
    }
}

pub(super) fn innermost(error: &dyn std::error::Error) -> String {
    let mut deepest = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string()
}
