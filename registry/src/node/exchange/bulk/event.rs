//! Events of bulk requests, and of the tasks that carry them out.

use ggen_blockstore::{Block, Cid};
use libp2p::{PeerId, swarm::ConnectionId};

use crate::node::exchange::bulk::{
    request::{BulkRequest, BulkRequestId, End},
    stream_pool::PooledStream,
};

/// Reports of transfer tasks to the endpoint.
#[derive(Debug)]
pub(super) enum TaskEvent {
    /// An event for the owner of the endpoint.
    Event(Event),
    /// A request has ended; with its stream, if that can be reused.
    Over { peer: PeerId, id: BulkRequestId, end: End, idle: Option<(ConnectionId, PooledStream)> },
    /// The pooled stream of a request had been closed by the peer while it was idle.
    Stale(Box<BulkRequest>),
}

/// Reports of the endpoint to its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::node::exchange) enum Event {
    /// A connected peer supports this protocol, or no longer does.
    Supports {
        /// The peer.
        peer: PeerId,
        /// Whether it does.
        supports: bool,
    },
    /// Blocks of a request have arrived, verified and in sequence; the root of a manifest last.
    Arrived {
        /// The sender.
        peer: PeerId,
        /// The request.
        id: BulkRequestId,
        /// The blocks.
        blocks: Vec<Block>,
    },
    /// The peer does not have these blocks of a request.
    Absent {
        /// The peer.
        peer: PeerId,
        /// The request.
        id: BulkRequestId,
        /// The blocks.
        cids: Vec<Cid>,
    },
    /// Bytes of a frame have arrived, or the peer has accepted the request.
    Progress {
        /// The sender.
        peer: PeerId,
        /// The request.
        id: BulkRequestId,
        /// Uncompressed bytes of the current frame so far, estimated from its compressed ones.
        bytes: u64,
    },
    /// A request has ended; no event of it follows.
    Ended {
        /// The peer.
        peer: PeerId,
        /// The request.
        id: BulkRequestId,
        /// Why.
        end: End,
    },
    /// Blocks were sent to a peer.
    Served {
        /// The peer.
        peer: PeerId,
        /// Number of blocks.
        blocks: u64,
        /// Total size of the blocks, in bytes.
        bytes: u64,
    },
}
