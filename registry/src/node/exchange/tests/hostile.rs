//! Misbehaving peers.

use std::{
    convert::Infallible,
    io,
    sync::{Arc, Condvar, Mutex},
};

use bytes::Bytes;
use futures::{AsyncWriteExt, FutureExt, future::BoxFuture};
use ggen_blockstore::{Blockstore, Cid, MemoryBlockstore, Result, forward_blockstore};
use libp2p::{
    StreamProtocol,
    core::upgrade::{DeniedUpgrade, OutboundUpgrade, UpgradeInfo},
    swarm::{
        ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, OneShotHandler, Stream, SubstreamProtocol,
        THandler, THandlerInEvent, THandlerOutEvent, ToSwarm, behaviour::ConnectionEstablished,
    },
};

/// How a store cheats its readers.
#[derive(Clone, Debug)]
pub(super) enum Trick {
    /// Every block is returned with wrong bytes.
    Lie,
    /// Reads do not return until the gate is opened.
    Hang(Gate),
}

#[derive(Clone, Debug, Default)]
pub(super) struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    pub(super) fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    fn wait(&self) {
        let open = self.0.0.lock().unwrap();
        drop(self.0.1.wait_while(open, |open| !*open).unwrap());
    }
}

/// Opens the gate at the end of a test, so that the runtime can end its blocking threads.
impl Drop for TrickStore {
    fn drop(&mut self) {
        if let Trick::Hang(gate) = &self.trick {
            gate.open();
        }
    }
}

#[derive(Debug)]
pub(super) struct TrickStore {
    pub(super) store: MemoryBlockstore,
    pub(super) trick: Trick,
}

impl Blockstore for TrickStore {
    fn get(&self, cid: &Cid) -> Result<Option<Bytes>> {
        match &self.trick {
            Trick::Lie => Ok(self.store.get(cid)?.map(|data| data.iter().map(|byte| !byte).collect())),
            Trick::Hang(gate) => {
                gate.wait();
                self.store.get(cid)
            }
        }
    }

    forward_blockstore!(self.store: size put_many retain delete_many lease delete_unused last_used reclaim sync cids
        pin unpin pins pins_of damage mend stats);
}

/// Reports that bytes were written.
#[derive(Debug)]
pub(super) struct Sent;

impl From<Infallible> for Sent {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

/// Bytes that are written to a Bitswap stream without any encoding.
#[derive(Clone, Debug)]
pub(super) struct Raw(Vec<u8>);

impl UpgradeInfo for Raw {
    type Info = StreamProtocol;
    type InfoIter = std::iter::Once<StreamProtocol>;

    fn protocol_info(&self) -> Self::InfoIter {
        std::iter::once(StreamProtocol::new("/ipfs/bitswap/1.2.0"))
    }
}

impl OutboundUpgrade<Stream> for Raw {
    type Output = Sent;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Sent>>;

    fn upgrade_outbound(self, mut stream: Stream, _: StreamProtocol) -> Self::Future {
        async move {
            stream.write_all(&self.0).await?;
            stream.close().await.map(|()| Sent)
        }
        .boxed()
    }
}

/// Sends each of these on its own stream to the first peer that connects.
pub(super) struct RawSender {
    pub(super) sends: Vec<Vec<u8>>,
    pub(super) queue: Vec<ToSwarm<(), Raw>>,
}

type RawHandler = OneShotHandler<DeniedUpgrade, Raw, Sent>;

impl NetworkBehaviour for RawSender {
    type ConnectionHandler = RawHandler;
    type ToSwarm = ();

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: libp2p::PeerId,
        _: &libp2p::Multiaddr,
        _: &libp2p::Multiaddr,
    ) -> std::result::Result<THandler<Self>, ConnectionDenied> {
        Ok(OneShotHandler::new(SubstreamProtocol::new(DeniedUpgrade, ()), Default::default()))
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: libp2p::PeerId,
        _: &libp2p::Multiaddr,
        _: libp2p::core::Endpoint,
        _: libp2p::core::transport::PortUse,
    ) -> std::result::Result<THandler<Self>, ConnectionDenied> {
        Ok(OneShotHandler::new(SubstreamProtocol::new(DeniedUpgrade, ()), Default::default()))
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        if let FromSwarm::ConnectionEstablished(ConnectionEstablished { peer_id, .. }) = event {
            let send = |bytes: Vec<u8>| ToSwarm::NotifyHandler {
                peer_id,
                handler: libp2p::swarm::NotifyHandler::Any,
                event: Raw(bytes),
            };
            self.queue.extend(self.sends.drain(..).map(send));
        }
    }

    fn on_connection_handler_event(&mut self, _: libp2p::PeerId, _: ConnectionId, _: THandlerOutEvent<Self>) {}

    fn poll(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        self.queue.pop().map_or(std::task::Poll::Pending, std::task::Poll::Ready)
    }
}
