//! Events of requests and of requests.

use ggen_blockstore::{Block, Cid};
use libp2p::{PeerId, swarm::ConnectionId};

use crate::node::exchange::bulk::{
    request::{BulkRequest, BulkRequestId, End},
    stream_pool::PooledStream,
};

/// What the tasks of transfers report to the behaviour.
#[derive(Debug)]
pub(super) enum TaskEvent {
    /// For the owner of the swarm.
    Event(Event),
    /// A request is over; with its stream, if that can be used again.
    Over { peer: PeerId, id: BulkRequestId, end: End, idle: Option<(ConnectionId, PooledStream)> },
    /// The stream that a request was given was closed while it was idle.
    Stale(Box<BulkRequest>),
}

/// What the behaviour reports to the owner of the swarm.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A connected peer supports this protocol, or no more.
    Supports {
        /// The peer.
        peer: PeerId,
        /// Whether it does.
        supports: bool,
    },
    /// Blocks came for a request, each verified, in its order.
    Arrived {
        /// Who sent them.
        peer: PeerId,
        /// The order.
        id: BulkRequestId,
        /// The blocks.
        blocks: Vec<Block>,
    },
    /// The peer does not have these blocks of a request.
    Absent {
        /// The peer.
        peer: PeerId,
        /// The order.
        id: BulkRequestId,
        /// The blocks.
        cids: Vec<Cid>,
    },
    /// Bytes came, and no whole block yet.
    Progress {
        /// Who sent them.
        peer: PeerId,
        /// The order.
        id: BulkRequestId,
        /// How many bytes of blocks they are since the last blocks.
        bytes: u64,
    },
    /// Nothing more comes for a request.
    Ended {
        /// The peer.
        peer: PeerId,
        /// The order.
        id: BulkRequestId,
        /// Why.
        end: End,
    },
    /// Blocks were sent to a peer.
    Served {
        /// The peer.
        peer: PeerId,
        /// How many.
        blocks: u64,
        /// Their bytes.
        bytes: u64,
    },
}
