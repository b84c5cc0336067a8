//! A block session, as the operations see it.

use ggen_blockstore::Cid;
use libp2p::PeerId;
use tokio::sync::oneshot;

use crate::node::{
    command::Command,
    exchange::{BlockWant, ListSource, SessionEvent, SessionId, SessionReceiver, session_channel},
    handle::{Handle, Stopped},
};

/// Maximum size in bytes of the blocks that a session has requested, or that are not yet taken from it.
const SESSION_BYTES: u64 = 32 << 20;

/// A block session with many peers. Dropping it closes the session.
#[derive(Debug)]
pub(crate) struct Session {
    id: SessionId,
    node: Handle,
    events: SessionReceiver,
}

impl Session {
    /// Opens a session that sends no requests to peers with a reputation below `least_reputation`. Returns it with the
    /// connected peers.
    pub(crate) async fn open(node: &Handle, least_reputation: f64) -> Result<(Self, Vec<PeerId>), Stopped> {
        let (sender, events) = session_channel(SESSION_BYTES);
        let (reply, answer) = oneshot::channel();
        node.send(Command::OpenSession { events: sender, least_reputation, reply }).await?;
        let (id, connected) = answer.await.map_err(|_| Stopped)?;
        Ok((Self { id, node: node.clone(), events }, connected))
    }

    /// Sets the block manifest in which wants have places from now on.
    pub(crate) async fn describe(&self, list: ListSource) -> Result<(), Stopped> {
        self.node.send(Command::Describe { session: self.id, list }).await
    }

    /// Adds wants in descending priority. Known sizes, in bytes, make better use of the windows.
    pub(crate) async fn want(&self, wants: Vec<BlockWant>) -> Result<(), Stopped> {
        self.node.send(Command::Want { session: self.id, wants }).await
    }

    /// Removes wants. Their blocks may still arrive.
    pub(crate) async fn cancel(&self, cids: Vec<Cid>) -> Result<(), Stopped> {
        self.node.send(Command::CancelWants { session: self.id, cids }).await
    }

    /// Adds a peer that may have the wanted blocks.
    pub(crate) async fn add_peer(&self, peer: PeerId) -> Result<(), Stopped> {
        self.node.send(Command::AddPeer { session: self.id, peer, named: false }).await
    }

    /// Adds a peer that the caller names as a source: it is dialled again when its connection is lost.
    pub(crate) async fn keep_to(&self, peer: PeerId) -> Result<(), Stopped> {
        self.node.send(Command::AddPeer { session: self.id, peer, named: true }).await
    }

    /// Returns the next event. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Result<SessionEvent, Stopped> {
        self.events.recv().await.ok_or(Stopped)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.node.send_when_possible(Command::CloseSession { session: self.id });
    }
}
