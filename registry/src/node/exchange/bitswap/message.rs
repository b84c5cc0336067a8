//! Bitswap messages and their wire form.
//!
//! ```text
//! Message   { wantlist = 1, blocks = 2 repeated bytes (1.0.0), payload = 3 repeated, blockPresences = 4 repeated,
//!             pendingBytes = 5 int32 }
//! Wantlist  { entries = 1 repeated, full = 2 bool }
//! Entry     { block = 1 CID, priority = 2 int32, cancel = 3 bool, wantType = 4 {Block=0, Have=1}, sendDontHave = 5 }
//! Block     { prefix = 1 (varints: CID version, codec, hash function, digest length), data = 2 }
//! Presence  { cid = 1, type = 2 {Have=0, DontHave=1} }
//! ```
//!
//! Specification: <https://specs.ipfs.tech/bitswap-protocol/>. A frame is an unsigned varint length and a message.

mod decode;
mod encode;

use bytes::Bytes;
use ggen_blockstore::Cid;
pub(in crate::node::exchange) use ggen_blockstore::MAX_CID_BYTES;
use ggen_blockstore::protobuf::WireError;

pub(in crate::node::exchange) use encode::{MAX_BLOCK_OVERHEAD_BYTES, max_want_len};

/// Longest message accepted from a peer, in bytes (Bitswap specification: 4 MiB).
pub(in crate::node::exchange) const MAX_MESSAGE_BYTES: usize = 4 << 20;
/// Longest message of wants that is sent, in bytes (the limit of Kubo's client).
pub(in crate::node::exchange) const MAX_WANTS_MESSAGE_BYTES: usize = 2 << 20;
/// Maximum number of wants, or presences, used from one message; further ones are ignored.
pub(in crate::node::exchange) const MAX_ENTRIES: usize = 16_384;
/// Maximum number of blocks in one message.
pub(in crate::node::exchange) const MAX_BLOCKS: usize = 16_384;

/// The version of the protocol that was negotiated for a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// `/ipfs/bitswap/1.0.0`: blocks without prefix, as CIDv0.
    V1_0,
    /// `/ipfs/bitswap/1.1.0`: blocks with their prefix.
    V1_1,
    /// `/ipfs/bitswap/1.2.0`: HAVE and DONT_HAVE.
    V1_2,
}

/// The type of a want.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(in crate::node::exchange) enum WantKind {
    /// Whether the peer has it.
    Have,
    /// Its bytes.
    Block,
}

/// One entry of a want-list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::node::exchange) struct Want {
    pub(in crate::node::exchange) cid: Cid,
    pub(in crate::node::exchange) kind: WantKind,
    /// Entries with higher priority are served first.
    pub(in crate::node::exchange) priority: i32,
    /// The entry cancels a want.
    pub(in crate::node::exchange) cancel: bool,
    /// The peer must answer with DONT_HAVE if it does not have the block.
    pub(in crate::node::exchange) send_dont_have: bool,
}

/// Whether a peer has a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::node::exchange) enum Presence {
    Have,
    DontHave,
}

/// A block on the wire, not hashed yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::node::exchange) struct Payload {
    pub(in crate::node::exchange) version: u64,
    pub(in crate::node::exchange) codec: u64,
    pub(in crate::node::exchange) hash_code: u64,
    pub(in crate::node::exchange) digest_bytes: u64,
    pub(in crate::node::exchange) data: Bytes,
}

/// A decoded message: well-formed, but nothing in it is verified.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::node::exchange) struct Received {
    /// The wants replace all earlier ones.
    pub(in crate::node::exchange) full: bool,
    pub(in crate::node::exchange) wants: Vec<Want>,
    pub(in crate::node::exchange) payloads: Vec<Payload>,
    pub(in crate::node::exchange) presences: Vec<(Cid, Presence)>,
}

/// A message to send.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::node::exchange) struct Message {
    /// The wants replace all earlier ones.
    pub(in crate::node::exchange) full: bool,
    pub(in crate::node::exchange) wants: Vec<Want>,
    /// Blocks from a store, which need not be hashed again.
    pub(in crate::node::exchange) blocks: Vec<(Cid, Bytes)>,
    pub(in crate::node::exchange) presences: Vec<(Cid, Presence)>,
}

impl Message {
    /// Size of its blocks, in bytes.
    pub(in crate::node::exchange) fn block_bytes(&self) -> u64 {
        self.blocks.iter().map(|(_, data)| data.len() as u64).sum()
    }

    /// Memory that it uses while it waits to be written, in bytes. Presences count too: otherwise a peer that wants
    /// missing blocks and never reads would have an unbounded queue.
    pub(in crate::node::exchange) fn queued_bytes(&self) -> u64 {
        self.block_bytes() + (self.presences.len() * size_of::<(Cid, Presence)>()) as u64
    }
}

/// Why bytes are not a Bitswap message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::node::exchange) enum DecodeError {
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error("field {field} of {message} has the wrong wire type")]
    FieldType { message: &'static str, field: u64 },
    #[error("undecodable CID in {message}")]
    InvalidCid { message: &'static str },
    #[error("undecodable block prefix")]
    InvalidPrefix,
    #[error("unknown {name} value {value}")]
    UnknownEnum { name: &'static str, value: u64 },
    #[error("more than {MAX_BLOCKS} blocks in one message")]
    TooManyBlocks,
}

#[cfg(test)]
mod tests;
