//! A request: blocks of a list asked of one peer in one stream, and how it ends.

use ggen_blockstore::Cid;
use libp2p::PeerId;

use crate::manifest::ManifestEntry;
use crate::node::exchange::bulk::message::MAX_REFERENCES;

/// Names one order of this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BulkRequestId(pub u64);

/// Blocks asked of one peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BulkRequest {
    /// Chosen by the client, never twice.
    pub id: BulkRequestId,
    /// The peer that is asked; it is connected.
    pub peer: PeerId,
    /// The list.
    pub list: Cid,
    /// Lists of which every block is in our store, the most alike first.
    pub references: Vec<Cid>,
    /// What of it is wanted.
    pub wanted: Wanted,
}

impl BulkRequest {
    /// The references that the request names.
    pub(super) fn references(&self) -> &[Cid] {
        &self.references[..self.references.len().min(MAX_REFERENCES)]
    }
}

/// What of a list is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The list itself. Its root arrives last.
    Own {
        /// Most bytes that may come.
        max_bytes: u64,
        /// All that the list names is wanted with it, if together they are no more than that. It arrives before the root.
        whole: bool,
    },
    /// Blocks that it names, with their indices, which ascend.
    Listed(Vec<(u32, ManifestEntry)>),
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The peer has sent what it had.
    Done,
    /// It does not have the list.
    NotHere,
    /// It has too much to do.
    Busy,
    /// It does not speak this protocol, or not this much of it.
    Unsupported,
    /// The stream broke off.
    Broken,
    /// What the peer takes for known is not here any more.
    Unreferenced,
    /// It sent bytes that are not what was asked for.
    WrongBytes,
    /// It sent something that is not of this protocol.
    Malformed,
}
