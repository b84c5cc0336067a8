//! A bulk request: blocks of a manifest, requested from one peer in one stream, and its outcome.

use ggen_blockstore::Cid;
use libp2p::PeerId;

use crate::manifest::ManifestEntry;
use crate::node::exchange::bulk::message::MAX_REFERENCES;

/// Identifies a bulk request of this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BulkRequestId(pub u64);

/// A request for blocks to one peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::node::exchange) struct BulkRequest {
    /// Chosen by the client, never reused.
    pub(in crate::node::exchange) id: BulkRequestId,
    /// The peer. It must be connected.
    pub(in crate::node::exchange) peer: PeerId,
    /// The manifest.
    pub(in crate::node::exchange) list: Cid,
    /// Manifests of which the local store has every block, the most similar first.
    pub(in crate::node::exchange) references: Vec<Cid>,
    /// The wanted blocks.
    pub(in crate::node::exchange) wanted: Wanted,
}

impl BulkRequest {
    /// The references that are sent: at most [`MAX_REFERENCES`].
    pub(super) fn references(&self) -> &[Cid] {
        &self.references[..self.references.len().min(MAX_REFERENCES)]
    }
}

/// The wanted blocks of a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::node::exchange) enum Wanted {
    /// The manifest's own blocks. The root is reported last.
    Own {
        /// Maximum number of bytes to receive.
        max_bytes: u64,
        /// All entries too, if together they fit into `max_bytes`. They are reported before the root.
        whole: bool,
    },
    /// Entries, with their indices in ascending sequence.
    Listed(Vec<(u32, ManifestEntry)>),
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::node::exchange) enum End {
    /// The peer has sent all that it has of the request.
    Done,
    /// The peer does not have the manifest, or the manifest exceeds `max_bytes`.
    NotHere,
    /// The peer is busy.
    Busy,
    /// The peer does not support the protocol, or not this request.
    Unsupported,
    /// The stream failed, or the peer was silent for too long.
    Broken,
    /// A block that the peer used in a dictionary is no longer in the local store.
    Unreferenced,
    /// The peer sent bytes that do not match the requested blocks.
    WrongBytes,
    /// The peer violated the protocol.
    Malformed,
}
