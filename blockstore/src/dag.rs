//! DAGs of blocks, whatever they mean: links, and the walk in depth-first order.
//!
//! Nothing here does I/O of its own. [`links`] reads one block; [`DagWalk`] says which block comes next and is told what
//! it links to, so that one walk serves a complete store ([`dfs_blocks`]) and a fetch whose blocks are still on their way.

mod cbor;
mod pb;
pub(crate) mod protobuf;
mod walk;

use bytes::Bytes;

pub use pb::{MAX_NODE_LINKS, PbLink, PbNode};
pub use walk::{DagWalk, DfsBlocks, MAX_WALK_BLOCKS, MAX_WALK_DEPTH, MAX_WALK_PENDING, Visit, dfs_blocks};

use crate::{Cid, DAG_CBOR, DAG_PB, Error, RAW, Result};

/// Multicodecs whose blocks hold no links: raw, cbor, libp2p-key and json.
const LEAF_CODECS: [u64; 4] = [RAW, 0x51, 0x72, 0x0200];

/// Says whether a block of this CID can link to others; if not, its bytes are not needed to walk on.
pub fn may_have_links(cid: &Cid) -> bool {
    !LEAF_CODECS.contains(&cid.codec())
}

/// Lists the links of a block, in order, repeated ones included: at most [`MAX_NODE_LINKS`].
///
/// # Errors
/// [`Error::InvalidNode`] if the block is not of its CID's codec; [`Error::UnsupportedCodec`].
pub fn links(cid: &Cid, block: &Bytes) -> Result<Vec<Cid>> {
    let invalid = |why: &str| Error::InvalidNode { cid: Box::new(*cid), reason: why.to_owned() };
    match cid.codec() {
        DAG_PB => Ok(PbNode::decode(block).map_err(invalid)?.links.into_iter().map(|link| link.cid).collect()),
        DAG_CBOR => cbor::links(block).map_err(invalid),
        codec if LEAF_CODECS.contains(&codec) => Ok(Vec::new()),
        codec => Err(Error::UnsupportedCodec { cid: Box::new(*cid), codec }),
    }
}
