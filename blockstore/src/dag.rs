//! DAGs of blocks, independent of their meaning: links, and the walk in depth-first order.
//!
//! This module performs no I/O of its own. [`links`] decodes one block. [`DagWalk`] returns the next block to visit,
//! and receives the block's bytes from its caller. The same walk therefore works on a complete store ([`dfs_blocks`])
//! and in a fetch whose blocks are still arriving.

mod cbor;
mod json;
mod pb;
mod tokens;
mod walk;

use bytes::Bytes;

pub use pb::{MAX_NODE_LINKS, PbLink, PbNode};
pub use walk::{DagWalk, DfsBlocks, MAX_WALK_BLOCKS, MAX_WALK_DEPTH, MAX_WALK_PENDING, Visit, dfs_blocks};

use self::{cbor::Cbor, json::Json};
use crate::{Cid, DAG_CBOR, DAG_JSON, DAG_PB, Error, RAW, Result};

pub(crate) use tokens::Lookup;

/// Multicodecs whose blocks contain no links: raw, cbor, libp2p-key and json.
const LEAF_CODECS: [u64; 4] = [RAW, 0x51, 0x72, 0x0200];

/// Returns whether a block of this CID can link to others. If not, a walk does not need its bytes.
pub fn may_have_links(cid: &Cid) -> bool {
    !LEAF_CODECS.contains(&cid.codec())
}

/// Lists the links of a block, in order, including repeated ones: at most [`MAX_NODE_LINKS`].
///
/// # Errors
/// [`Error::InvalidNode`] if the block is invalid for its CID's codec; [`Error::UnsupportedCodec`].
pub fn links(cid: &Cid, block: &Bytes) -> Result<Vec<Cid>> {
    let invalid = |why: &str| Error::InvalidNode { cid: Box::new(*cid), reason: why.to_owned() };
    match cid.codec() {
        DAG_PB => Ok(PbNode::decode(block).map_err(invalid)?.links.into_iter().map(|link| link.cid).collect()),
        DAG_CBOR => tokens::links(Cbor::new(block)).map_err(invalid),
        DAG_JSON => tokens::links(Json::new(block)).map_err(invalid),
        codec if LEAF_CODECS.contains(&codec) => Ok(Vec::new()),
        codec => Err(Error::UnsupportedCodec { cid: Box::new(*cid), codec }),
    }
}

/// Resolves names within a block of dag-cbor or dag-json, up to the first link; `None` for other codecs.
///
/// # Errors
/// [`Error::InvalidNode`] if the block is invalid for its CID's codec.
pub(crate) fn lookup(cid: &Cid, block: &Bytes, names: &[String]) -> Result<Option<Lookup>> {
    if ![DAG_CBOR, DAG_JSON].contains(&cid.codec()) {
        return Ok(None);
    }
    // The whole block must be valid for its codec, not only the part that the names resolve through.
    links(cid, block)?;
    let found = match cid.codec() {
        DAG_CBOR => tokens::find(Cbor::new(block), names),
        _ => tokens::find(Json::new(block), names),
    };
    found.map(Some).map_err(|why| Error::InvalidNode { cid: Box::new(*cid), reason: why.to_owned() })
}

#[cfg(test)]
mod tests;
