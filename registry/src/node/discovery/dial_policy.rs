//! Which addresses learned from third parties are dialled.
//!
//! Any peer can write any address into the response of a lookup: the address may lead into our own network, or back to
//! this machine. Such ranges are dialled only while a peer in that range is connected, which may have reported it, or a
//! bootstrap node in that range is configured. DNS names are never dialled: their owner decides where they lead.
//! Addresses that the user gave, and addresses that a peer reports of itself in the range where it was seen (see
//! [`crate::node::discovery::addresses::usable_addresses`]), are not filtered.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll},
};

use libp2p::{
    Multiaddr, PeerId,
    core::{Endpoint, transport::PortUse},
    kad,
    swarm::{
        ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent, THandlerOutEvent,
        ToSwarm,
    },
};

use crate::node::{
    dht::records::RecordStore,
    discovery::{
        addresses::{Scope, is_name, scope},
        identify,
    },
};

/// Maximum number of addresses of one peer that are dialled on the word of third parties.
const MAX_TOLD_ADDRESSES: usize = 8;

/// The nearest range that may be dialled on the word of third parties. Shared by all behaviours that store such
/// addresses.
#[derive(Clone, Debug)]
pub(crate) struct DialPolicy(Arc<AtomicU8>);

impl DialPolicy {
    pub(crate) fn new() -> Self {
        Self(Arc::new(AtomicU8::new(Scope::Public as u8)))
    }

    /// Allows `nearest` and all wider ranges from now on.
    pub(crate) fn set(&self, nearest: Scope) {
        self.0.store(nearest as u8, Ordering::Relaxed);
    }

    /// Whether an address learned from a third party may be dialled.
    pub(crate) fn admits(&self, address: &Multiaddr) -> bool {
        !is_name(address) && scope(address).is_some_and(|scope| scope as u8 >= self.0.load(Ordering::Relaxed))
    }
}

/// A behaviour that can list the addresses which the filter may pass: they were checked when they were stored.
pub(crate) trait TrustedAddresses {
    fn vouched(&mut self, peer: PeerId) -> Vec<Multiaddr>;
}

impl TrustedAddresses for kad::Behaviour<RecordStore> {
    /// The routing table has only addresses that peers reported of themselves; all others come from lookups.
    fn vouched(&mut self, peer: PeerId) -> Vec<Multiaddr> {
        let Some(bucket) = self.kbucket(peer) else { return Vec::new() };
        let entry = bucket.iter().find(|entry| *entry.node.key.preimage() == peer);
        entry.map(|entry| entry.node.value.iter().cloned().collect()).unwrap_or_default()
    }
}

impl TrustedAddresses for identify::Behaviour {
    fn vouched(&mut self, _: PeerId) -> Vec<Multiaddr> {
        Vec::new()
    }
}

/// A behaviour whose addresses are filtered before they are dialled.
pub(crate) struct AddressFilter<B> {
    pub(crate) inner: B,
    reach: DialPolicy,
}

impl<B> AddressFilter<B> {
    pub(crate) fn new(inner: B, reach: DialPolicy) -> Self {
        Self { inner, reach }
    }
}

impl<B: NetworkBehaviour + TrustedAddresses> NetworkBehaviour for AddressFilter<B> {
    type ConnectionHandler = B::ConnectionHandler;
    type ToSwarm = B::ToSwarm;

    fn handle_pending_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: Option<PeerId>,
        addresses: &[Multiaddr],
        role: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        let mut known = self.inner.handle_pending_outbound_connection(connection, peer, addresses, role)?;
        let vouched = peer.map(|peer| self.inner.vouched(peer)).unwrap_or_default();
        known.retain(|address| vouched.contains(address) || self.reach.admits(address));
        // Addresses of the routing table come first.
        known.truncate(vouched.len() + MAX_TOLD_ADDRESSES);
        Ok(known)
    }

    fn handle_pending_inbound_connection(
        &mut self,
        connection: ConnectionId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        self.inner.handle_pending_inbound_connection(connection, local, remote)
    }

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.inner.handle_established_inbound_connection(connection, peer, local, remote)
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        role: Endpoint,
        port: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.inner.handle_established_outbound_connection(connection, peer, address, role, port)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        self.inner.on_swarm_event(event);
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, connection: ConnectionId, event: THandlerOutEvent<Self>) {
        self.inner.on_connection_handler_event(peer, connection, event);
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        self.inner.poll(context)
    }
}

#[cfg(test)]
mod tests {
    use libp2p::swarm::dummy;

    use super::*;

    fn admitted(nearest: Scope) -> Vec<&'static str> {
        let told = ["/ip4/127.0.0.1/tcp/22", "/ip4/192.168.1.1/tcp/80", "/ip4/8.8.8.8/tcp/4001", "/dns4/router/tcp/80"];
        let reach = DialPolicy::new();
        reach.set(nearest);
        told.into_iter().filter(|address| reach.admits(&address.parse().unwrap())).collect()
    }

    #[test]
    fn strangers_reach_only_ranges_that_somebody_of_that_range_may_have_named() {
        assert_eq!(admitted(Scope::Public), ["/ip4/8.8.8.8/tcp/4001"]);
        assert_eq!(admitted(Scope::Private), ["/ip4/192.168.1.1/tcp/80", "/ip4/8.8.8.8/tcp/4001"]);
        assert_eq!(admitted(Scope::Loopback).len(), 3, "names lead nobody knows where");
    }

    /// Has addresses of third parties, except the first one.
    struct Hearsay(Vec<Multiaddr>);

    impl NetworkBehaviour for Hearsay {
        type ConnectionHandler = dummy::ConnectionHandler;
        type ToSwarm = std::convert::Infallible;

        fn handle_pending_outbound_connection(
            &mut self,
            _: ConnectionId,
            _: Option<PeerId>,
            _: &[Multiaddr],
            _: Endpoint,
        ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
            Ok(self.0.clone())
        }

        fn handle_established_inbound_connection(
            &mut self,
            _: ConnectionId,
            _: PeerId,
            _: &Multiaddr,
            _: &Multiaddr,
        ) -> Result<THandler<Self>, ConnectionDenied> {
            Ok(dummy::ConnectionHandler)
        }

        fn handle_established_outbound_connection(
            &mut self,
            _: ConnectionId,
            _: PeerId,
            _: &Multiaddr,
            _: Endpoint,
            _: PortUse,
        ) -> Result<THandler<Self>, ConnectionDenied> {
            Ok(dummy::ConnectionHandler)
        }

        fn on_swarm_event(&mut self, _: FromSwarm<'_>) {}

        fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
            match event {}
        }

        fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
            Poll::Pending
        }
    }

    impl TrustedAddresses for Hearsay {
        fn vouched(&mut self, _: PeerId) -> Vec<Multiaddr> {
            self.0.iter().take(1).cloned().collect()
        }
    }

    fn dialled(filter: &mut impl NetworkBehaviour, peer: PeerId) -> Vec<Multiaddr> {
        let id = ConnectionId::new_unchecked(1);
        filter.handle_pending_outbound_connection(id, Some(peer), &[], Endpoint::Dialer).unwrap()
    }

    #[test]
    fn a_dial_uses_what_is_vouched_for_and_a_few_of_what_strangers_may_say() {
        let (own, inside) = ("/ip4/10.0.0.7/tcp/4001".parse().unwrap(), "/ip4/10.0.0.8/tcp/22".parse().unwrap());
        let outside = (0..100).map(|port| format!("/ip4/8.8.8.8/tcp/{port}").parse().unwrap());
        let told: Vec<Multiaddr> = [own, inside].into_iter().chain(outside).collect();
        let mut filter = AddressFilter::new(Hearsay(told.clone()), DialPolicy::new());
        let used = dialled(&mut filter, PeerId::random());
        assert_eq!(used[0], told[0]);
        assert_eq!(used[1..], told[2..2 + MAX_TOLD_ADDRESSES]);
    }

    #[test]
    fn the_routing_table_is_vouched_for() {
        let (us, peer) = (PeerId::random(), PeerId::random());
        let mut kad = kad::Behaviour::new(us, RecordStore::new(us));
        let own: Multiaddr = format!("/ip4/10.0.0.7/tcp/4001/p2p/{peer}").parse().unwrap();
        kad.add_address(&peer, own.clone());
        let mut filter = AddressFilter::new(kad, DialPolicy::new());
        assert_eq!(dialled(&mut filter, peer), [own]);
        assert_eq!(dialled(&mut filter, PeerId::random()), Vec::<Multiaddr>::new());
    }
}
