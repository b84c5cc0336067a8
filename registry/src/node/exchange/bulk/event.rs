//! Events of orders and of requests.

use ggen_blockstore::{Block, Cid};
use libp2p::{PeerId, swarm::ConnectionId};

use crate::node::exchange::bulk::{
    request::{End, Order, OrderId},
    stream_pool::Way,
};

/// What the tasks of transfers report to the behaviour.
#[derive(Debug)]
pub(super) enum TaskEvent {
    /// For the owner of the swarm.
    Event(Event),
    /// An order is over; with its stream, if that can be used again.
    Over { peer: PeerId, id: OrderId, end: End, idle: Option<(ConnectionId, Way)> },
    /// The stream that an order was given was closed while it was idle.
    Stale(Box<Order>),
}

/// What the behaviour reports to the owner of the swarm.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A connected peer speaks this protocol, or no more.
    Speaks {
        /// The peer.
        peer: PeerId,
        /// Whether it does.
        speaks: bool,
    },
    /// Blocks came for an order, each verified, in its order.
    Arrived {
        /// Who sent them.
        peer: PeerId,
        /// The order.
        id: OrderId,
        /// The blocks.
        blocks: Vec<Block>,
    },
    /// The peer does not have these blocks of an order.
    Absent {
        /// The peer.
        peer: PeerId,
        /// The order.
        id: OrderId,
        /// The blocks.
        cids: Vec<Cid>,
    },
    /// Bytes came, and no whole block yet.
    Progress {
        /// Who sent them.
        peer: PeerId,
        /// The order.
        id: OrderId,
        /// How many bytes of blocks they are since the last blocks.
        bytes: u64,
    },
    /// Nothing more comes for an order.
    Ended {
        /// The peer.
        peer: PeerId,
        /// The order.
        id: OrderId,
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
