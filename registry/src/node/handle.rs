//! The cloneable handle to a running node.

use ggen_blockstore::Cid;
use libp2p::{Multiaddr, PeerId};
use tokio::sync::{mpsc, oneshot};

use super::{
    bitswap::session_channel,
    command::{Command, DialFailed, GossipId, Snapshot, Verdict},
    session::Session,
};

/// Commands waiting for the swarm's owner.
pub(crate) const COMMAND_QUEUE: usize = 256;
/// Providers or values waiting for whoever looks them up.
const FOUND_QUEUE: usize = 64;

/// Bytes of blocks that have arrived in a session and are not yet taken from it.
const SESSION_BYTES: u64 = 32 << 20;

/// The node has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the node has stopped")]
pub(crate) struct Stopped;

/// A running node, as the operations see it: connect, find, provide, announce, fetch blocks.
#[derive(Clone, Debug)]
pub(crate) struct Handle {
    commands: mpsc::Sender<Command>,
    peer_id: PeerId,
}

impl Handle {
    pub(crate) fn new(commands: mpsc::Sender<Command>, peer_id: PeerId) -> Self {
        Self { commands, peer_id }
    }

    pub(crate) fn peer_id(&self) -> PeerId {
        self.peer_id
    }

    /// Dials an address, with or without `/p2p/`, and waits until the peer has said what it speaks: then it is in the
    /// routing tables of the DHTs it serves.
    pub(crate) async fn connect(&self, address: Multiaddr) -> Result<PeerId, DialFailed> {
        let stopped = |_| DialFailed(Stopped.to_string());
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command::Connect { address, reply }).await.map_err(|_| DialFailed(Stopped.to_string()))?;
        answer.await.map_err(stopped)?
    }

    /// Looks for providers of a multihash on both DHTs. The channel closes when both lookups have ended; dropping it
    /// ends them.
    pub(crate) async fn find_providers(&self, key: Vec<u8>) -> Result<mpsc::Receiver<PeerId>, Stopped> {
        let (found, receiver) = mpsc::channel(FOUND_QUEUE);
        self.send(Command::FindProviders { key, found }).await?;
        Ok(receiver)
    }

    /// Looks a value up on the ggen DHT: each peer that has one contributes its own.
    pub(crate) async fn find_record(&self, key: Vec<u8>) -> Result<mpsc::Receiver<Vec<u8>>, Stopped> {
        let (found, receiver) = mpsc::channel(FOUND_QUEUE);
        self.send(Command::FindRecord { key, found }).await?;
        Ok(receiver)
    }

    /// Provides a multihash on both DHTs from now on.
    pub(crate) async fn provide(&self, key: Vec<u8>) -> Result<(), Stopped> {
        self.send(Command::Provide { key }).await
    }

    /// Keeps a value in the ggen DHT from now on.
    pub(crate) async fn publish(&self, key: Vec<u8>, value: Vec<u8>) -> Result<(), Stopped> {
        self.send(Command::Publish { key, value }).await
    }

    /// Sends `data` to all who follow the packages topic and returns how many peers that are.
    pub(crate) async fn announce(&self, data: Vec<u8>) -> Result<usize, Stopped> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Announce { data, reply }).await?;
        answer.await.map_err(|_| Stopped)
    }

    /// Says what a gossip message was worth.
    pub(crate) async fn judge(&self, gossip: GossipId, verdict: Verdict) -> Result<(), Stopped> {
        self.send(Command::Judge { gossip, verdict }).await
    }

    /// Opens a block session.
    pub(crate) async fn open_session(&self) -> Result<Session, Stopped> {
        let (events, receiver) = session_channel(SESSION_BYTES);
        let (reply, answer) = oneshot::channel();
        self.send(Command::OpenSession { events, reply }).await?;
        let id = answer.await.map_err(|_| Stopped)?;
        Ok(Session::new(id, self.clone(), receiver))
    }

    /// Wakes peers that wait for blocks which have come into the store.
    pub(crate) async fn new_blocks(&self, cids: Vec<Cid>) -> Result<(), Stopped> {
        self.send(Command::NewBlocks { cids }).await
    }

    /// As [`new_blocks`](Self::new_blocks), from a thread that may block. A stopped node has nobody to wake.
    pub(crate) fn new_blocks_blocking(&self, cids: Vec<Cid>) {
        if self.commands.blocking_send(Command::NewBlocks { cids }).is_err() {
            tracing::trace!(target: "ggen_marketplace::backend::p2p", "new blocks, and the node has stopped");
        }
    }

    /// Waits until everything published so far was announced, with success or without.
    pub(crate) async fn settle(&self) -> Result<(), Stopped> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Settle { reply }).await?;
        answer.await.map_err(|_| Stopped)
    }

    /// Describes the node.
    pub(crate) async fn snapshot(&self) -> Result<Snapshot, Stopped> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Snapshot { reply }).await?;
        answer.await.map_err(|_| Stopped)
    }

    /// Returns once the node has stopped.
    pub(crate) async fn stopped(&self) {
        self.commands.closed().await;
    }

    /// Stops the node. Returns at once; the owner's task ends.
    pub(crate) async fn shutdown(&self) -> Result<(), Stopped> {
        self.send(Command::Shutdown).await
    }

    /// Sends from where nobody can wait; a stopped node needs no command.
    pub(super) fn send_when_possible(&self, command: Command) {
        let commands = self.commands.clone();
        if let Err(mpsc::error::TrySendError::Full(command)) = commands.try_send(command)
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(async move { commands.send(command).await });
        }
    }

    pub(super) async fn send(&self, command: Command) -> Result<(), Stopped> {
        self.commands.send(command).await.map_err(|_| Stopped)
    }
}
