//! The inputs of the scheduler, and its actions.

use std::sync::Arc;

use ggen_blockstore::Cid;
use libp2p::PeerId;

use crate::node::exchange::{
    SessionId,
    accounts::Misbehaviour,
    bitswap::{self, Message},
    bulk::{self, BulkRequest, BulkRequestId},
    channel::{Credit, SessionEvent},
    session::{BlockWant, ListSource},
};

/// Events for the scheduler. Sessions and presence queries have IDs of one sequence.
#[derive(Debug)]
pub(in crate::node::exchange) enum Event {
    /// A session is opened. `least_reputation`: peers with a lower one get no requests.
    Open { id: SessionId, credit: Arc<Credit>, least_reputation: f64 },
    /// Sets the manifest that wants of a session have places in.
    Describe(SessionId, ListSource),
    /// A session wants these blocks too.
    Want(SessionId, Vec<BlockWant>),
    /// A session does not want these blocks any more.
    Cancel(SessionId, Vec<Cid>),
    /// A peer may have blocks of a session. `named`: the caller of the session named it.
    AddPeer { id: SessionId, peer: PeerId, named: bool },
    /// The consumer of a session has room again.
    HasRoom(SessionId),
    /// Does a connected peer have all of these blocks?
    Query { id: SessionId, peer: PeerId, cids: Vec<Cid> },
    /// The caller of a session or a query is gone.
    Close(SessionId),
    /// A peer has its first connection.
    Connected(PeerId),
    /// A peer has lost its last connection.
    Disconnected(PeerId),
    /// A redial of a lost peer failed.
    Unreachable { peer: PeerId, reason: String },
    /// An event of Bitswap.
    Bitswap(PeerId, bitswap::Event),
    /// An event of the bulk protocol.
    Bulk(bulk::Event),
    /// Time has passed. Must come every [`TICK_EVERY`](super::TICK_EVERY) while the scheduler is busy.
    Tick,
}

/// What the scheduler wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::node::exchange) enum Action {
    /// Send wants to a peer. The next ones follow when these are written or lost.
    SendWants(PeerId, Message),
    /// Send a bulk request.
    Request(Box<BulkRequest>),
    /// Cancel a bulk request.
    CancelRequest(BulkRequestId),
    /// Whether the connection to a peer is needed from now on.
    Use(PeerId, bool),
    /// Pass an event to the consumer of a session.
    Notify(SessionId, SessionEvent),
    /// Answer a presence query.
    Reply(SessionId, bool),
    /// Wanted blocks of `bytes` in total arrived, and `unwanted` others that had been requested.
    Count { peer: PeerId, blocks: u64, bytes: u64, unwanted: u64 },
    /// A peer violated the protocol. `blamed`: a session was notified of it.
    Report { peer: PeerId, reason: Misbehaviour, blamed: bool },
}
