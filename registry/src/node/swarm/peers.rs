//! What the driver does about connections, dials and identify results.

use std::{io, time::Instant};

use libp2p::{
    Multiaddr, PeerId, TransportError,
    core::ConnectedPoint,
    swarm::{
        ConnectionDenied, ConnectionId, DialError,
        dial_opts::{DialOpts, PeerCondition},
    },
};
use tokio::sync::{mpsc, oneshot};

use crate::node::{
    behaviour::Dht,
    command::{DialCause, DialFailed, ITSELF, Tried},
    connections::behaviour::Refusal,
    discovery::{
        addresses::{Scope, local_addresses, scope, split_peer, usable_addresses},
        dnsaddr::Target,
        identify,
    },
    peer_observation::PeerObservation,
    swarm::{Dialler, Driver},
};

/// Maximum number of peers dialled for one mDNS response.
const MAX_NEIGHBOURS: usize = 16;
/// What libp2p says of a connection that was not established in time, and what it is called here.
const TRANSPORT_TIMEOUT: &str = "Timeout has been reached";
const NO_ANSWER: &str = "no answer within `timeouts.dial_seconds`";

impl Driver {
    pub(super) fn connect(
        &mut self,
        target: &Target,
        afresh: bool,
        reply: oneshot::Sender<Result<PeerId, DialFailed>>,
    ) {
        if let Some(peer) = target.peer.filter(|peer| self.is_denied(peer)) {
            // A connection with it may still be closing.
            let _unasked = reply.send(Err(denied(peer)));
            return;
        }
        if target.peer.as_ref() == Some(self.swarm.local_peer_id()) {
            let _unasked = reply.send(Err(own()));
            return;
        }
        let is_connected = target.peer.is_some_and(|peer| self.swarm.is_connected(&peer));
        if let Some(peer) = target.peer.filter(|_| is_connected && !afresh) {
            return self.greet(peer, reply);
        }
        let condition = if is_connected { PeerCondition::Always } else { PeerCondition::Disconnected };
        let Some(options) = dial_options(target, condition) else {
            // A caller that no longer waits needs no reply.
            let _unasked = reply.send(Err(DialFailed::for_reason("no address of it is known")));
            return;
        };
        let id = options.connection_id();
        match self.swarm.dial(options) {
            Ok(()) => {
                self.dials.insert(id, if is_connected { Dialler::Checker(reply) } else { Dialler::Asker(reply) });
            }
            Err(error) => {
                let _unasked = reply.send(Err(dial_failed(&error, target.peer)));
            }
        }
    }

    fn is_denied(&self, peer: &PeerId) -> bool {
        self.swarm.behaviour().connections.is_denied(peer)
    }

    /// Dials a provider that a lookup found, and reports the outcome to `tried`.
    pub(super) fn try_peer(&mut self, peer: PeerId, tried: mpsc::Sender<Tried>) {
        if self.swarm.is_connected(&peer) {
            return tell(&tried, peer, Ok(()));
        }
        let options = DialOpts::peer_id(peer).condition(PeerCondition::Disconnected).build();
        let id = options.connection_id();
        match self.swarm.dial(options) {
            Ok(()) => {
                self.dials.insert(id, Dialler::Trial(peer, tried));
            }
            Err(error) => tell(&tried, peer, Err(dial_failed(&error, Some(peer)))),
        }
    }

    pub(super) fn on_listening(&mut self, address: Multiaddr) {
        tracing::debug!(target: crate::LOG_TARGET, %address, "listening");
        self.swarm.add_external_address(address);
        self.choose_ipfs_mode();
        self.provide_rendezvous(Instant::now());
    }

    pub(super) fn on_connected(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        endpoint: &ConnectedPoint,
        connections: u32,
    ) {
        let remote = endpoint.get_remote_address();
        tracing::debug!(target: crate::LOG_TARGET, %peer, %remote, "connected");
        self.seen_from.insert(peer, scope(remote));
        self.was_visited |= endpoint.is_listener();
        self.was_visited_publicly |= endpoint.is_listener() && scope(remote) == Some(Scope::Public);
        let address = endpoint.is_dialer().then(|| split_peer(remote.clone()).0);
        self.redials.on_connected(&peer);
        if let Some(address) = address.clone() {
            self.dialled.insert(peer, address);
        }
        self.tell(PeerObservation::Connected { peer, address });
        self.tell_met();
        self.choose_ipfs_mode();
        self.choose_reach();
        if self.entering.remove(&connection) {
            self.connections().name(peer);
        }
        match self.dials.remove(&connection) {
            Some(Dialler::Asker(reply)) => self.greet(peer, reply),
            Some(Dialler::Checker(reply)) => {
                // The address was all that mattered; what runs over the other connection stays there.
                if connections > 1 && !self.swarm.close_connection(connection) {
                    tracing::trace!(target: crate::LOG_TARGET, %peer, "it was closed already");
                }
                self.greet(peer, reply);
            }
            Some(Dialler::Trial(peer, tried)) => tell(&tried, peer, Ok(())),
            Some(Dialler::Again(_)) | None => {}
        }
    }

    /// Protects the connection to a peer that the caller named, and replies once identify with it has finished.
    fn greet(&mut self, peer: PeerId, reply: oneshot::Sender<Result<PeerId, DialFailed>>) {
        self.connections().name(peer);
        if self.identified.contains(&peer) {
            // A caller that no longer waits needs no reply.
            let _unasked = reply.send(Ok(peer));
        } else {
            self.greeting.entry(peer).or_default().push(reply);
        }
    }

    pub(super) fn on_gone(&mut self, peer: PeerId) {
        self.tell(PeerObservation::Gone { peer });
        self.on_lost(peer, Instant::now());
        self.seen_from.remove(&peer);
        self.observed.remove(&peer);
        self.choose_ipfs_mode();
        self.choose_reach();
        self.count_peers(Instant::now());
        self.identified.remove(&peer);
        self.requests.on_gone(&peer);
        for reply in self.greeting.remove(&peer).into_iter().flatten() {
            let _unasked = reply.send(Err(DialFailed::for_reason("the peer closed the connection")));
        }
    }

    fn on_greeted(&mut self, peer: PeerId) {
        self.identified.insert(peer);
        for reply in self.greeting.remove(&peer).into_iter().flatten() {
            let _unasked = reply.send(Ok(peer));
        }
    }

    pub(super) fn on_dial_failed(&mut self, connection: ConnectionId, peer: Option<PeerId>, error: &DialError) {
        self.entering.remove(&connection);
        let failed = || dial_failed(error, peer);
        match self.dials.remove(&connection) {
            Some(Dialler::Asker(reply) | Dialler::Checker(reply)) => {
                // A caller that no longer waits needs no reply.
                let _unasked = reply.send(Err(failed()));
            }
            Some(Dialler::Trial(peer, tried)) => tell(&tried, peer, Err(failed())),
            Some(Dialler::Again(peer)) => self.on_not_regained(peer, &plain(error), Instant::now()),
            None => {}
        }
    }

    /// Adds a peer to the routing tables of the DHTs that it serves. A peer that cannot be identified stays connected,
    /// and is in no table.
    pub(super) fn on_identify(&mut self, event: identify::Event) {
        let identify::Event { peer: peer_id, outcome } = event;
        let info = match outcome {
            Ok(info) => info,
            Err(error) => {
                tracing::debug!(target: crate::LOG_TARGET, %peer_id, %error, "identify failed");
                return self.on_greeted(peer_id);
            }
        };
        self.requests.on_identified(peer_id, &info.protocols);
        let seen_from = self.seen_from.get(&peer_id).copied().flatten();
        if seen_from == Some(Scope::Public)
            && let Some(observed) = info.observed
        {
            self.observed.insert(peer_id, observed);
        }
        let addresses = usable_addresses(info.addresses, seen_from);
        self.tell(PeerObservation::Introduced { peer: peer_id, agent: info.agent, addresses: addresses.clone() });
        for dht in Dht::ALL {
            if !self.kad(dht).protocol_names().iter().any(|name| info.protocols.contains(name)) {
                continue;
            }
            let addresses = match dht {
                Dht::Lan => local_addresses(&addresses, seen_from),
                Dht::Ipfs | Dht::Ggen => addresses.clone(),
            };
            for address in &addresses {
                self.kad(dht).add_address(&peer_id, address.clone());
            }
            self.forget_other_addresses(dht, &peer_id, &addresses);
        }
        // kad reports no new peer if the peer reconnects while it is still in the table.
        self.count_peers(Instant::now());
        self.on_greeted(peer_id);
    }

    /// Removes the addresses that a peer does not report any more: kad would keep the addresses of every identify push.
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
                tracing::trace!(target: crate::LOG_TARGET, %peer, %error, "neighbour not dialled");
            }
        }
    }
}

/// Options to dial a peer at its addresses, or the first address if the peer ID is unknown. `None` without an address.
pub(super) fn dial_options(target: &Target, condition: PeerCondition) -> Option<DialOpts> {
    let first = target.addresses.first()?.clone();
    Some(match target.peer {
        Some(peer) => {
            let options = DialOpts::peer_id(peer).addresses(target.addresses.clone()).condition(condition);
            match condition {
                // From the port of the connection that there is, the system would refuse another one.
                PeerCondition::Always => options.allocate_new_port().build(),
                _ => options.build(),
            }
        }
        None => DialOpts::unknown_peer_id().address(first).build(),
    })
}

/// Reports the outcome of a dial to the caller of the lookup, which may have gone.
fn tell(tried: &mpsc::Sender<Tried>, peer: PeerId, outcome: Result<(), DialFailed>) {
    if tried.try_send(Tried { peer, outcome }).is_err() {
        tracing::trace!(target: crate::LOG_TARGET, %peer, "no caller waits for the outcome");
    }
}

fn denied(peer: PeerId) -> DialFailed {
    let reason = format!("{peer} is on this home's list of denied peers");
    DialFailed { reason, cause: DialCause::Denied(peer) }
}

fn own() -> DialFailed {
    DialFailed { reason: ITSELF.to_owned(), cause: DialCause::Own }
}

/// Why a dial failed, for the user.
fn dial_failed(error: &DialError, peer: Option<PeerId>) -> DialFailed {
    let cause = match (error, peer) {
        (DialError::Denied { cause }, Some(peer)) if refusal(cause) == Some(Refusal::Denied) => return denied(peer),
        (DialError::Denied { cause }, _) if refusal(cause).is_some() => DialCause::Limit,
        (DialError::LocalPeerId { .. }, _) => return own(),
        (DialError::Transport(attempts), _) if attempts.iter().all(|(_, reason)| is_timeout(reason)) => {
            DialCause::TimedOut
        }
        _ => DialCause::Other,
    };
    DialFailed { reason: plain(error), cause }
}

/// Why the connection manager refused a connection, if it did.
fn refusal(cause: &ConnectionDenied) -> Option<Refusal> {
    std::error::Error::source(cause)?.downcast_ref().copied()
}

/// Whether an address did not answer in time, for the transport or for the system.
fn is_timeout(reason: &TransportError<io::Error>) -> bool {
    let mut error: &(dyn std::error::Error + 'static) = reason;
    loop {
        if error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::TimedOut) {
            return true;
        }
        match error.source() {
            Some(source) => error = source,
            // The transport's error has a type that libp2p does not export through its boxes.
            None => return error.to_string() == TRANSPORT_TIMEOUT,
        }
    }
}

/// A dial error in one line: the reason of each address instead of the library's nested text.
pub(super) fn plain(error: &DialError) -> String {
    match error {
        DialError::Transport(attempts) => match &attempts[..] {
            [(_, reason)] => innermost(reason),
            attempts => {
                let reasons = attempts.iter().map(|(address, reason)| format!("{address}: {}", innermost(reason)));
                reasons.collect::<Vec<_>>().join("; ")
            }
        },
        DialError::WrongPeerId { obtained, .. } => format!("the peer there is {obtained}"),
        DialError::LocalPeerId { .. } => ITSELF.to_owned(),
        DialError::NoAddresses => "no address of it is known that may be dialled".to_owned(),
        DialError::Denied { cause } => innermost(cause),
        other => other.to_string(),
    }
}

pub(super) fn innermost(error: &dyn std::error::Error) -> String {
    let mut deepest = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    match deepest.to_string() {
        text if text == TRANSPORT_TIMEOUT => NO_ANSWER.to_owned(),
        text => text,
    }
}
