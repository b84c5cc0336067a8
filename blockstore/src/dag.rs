//! DAGs of blocks, whatever they mean: links, and the walk in depth-first order.
//!
//! Nothing here does I/O of its own. [`links`] reads one block; [`DagWalk`] says which block comes next and is told what
//! it links to, so that one walk serves a complete store ([`dfs_blocks`]) and a fetch whose blocks are still on their way.

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
        DAG_CBOR => tokens::links(Cbor::new(block)).map_err(invalid),
        DAG_JSON => tokens::links(Json::new(block)).map_err(invalid),
        codec if LEAF_CODECS.contains(&codec) => Ok(Vec::new()),
        codec => Err(Error::UnsupportedCodec { cid: Box::new(*cid), codec }),
    }
}

/// Follows names through a block of dag-cbor or dag-json, as far as its first link; `None` for other codecs.
///
/// # Errors
/// [`Error::InvalidNode`] if the block is not of its CID's codec.
pub(crate) fn lookup(cid: &Cid, block: &Bytes, names: &[String]) -> Result<Option<Lookup>> {
    if ![DAG_CBOR, DAG_JSON].contains(&cid.codec()) {
        return Ok(None);
    }
    // All of it must be what its codec says, whatever of it the names lead through.
    links(cid, block)?;
    let found = match cid.codec() {
        DAG_CBOR => tokens::find(Cbor::new(block), names),
        _ => tokens::find(Json::new(block), names),
    };
    found.map(Some).map_err(|why| Error::InvalidNode { cid: Box::new(*cid), reason: why.to_owned() })
}

#[cfg(test)]
mod tests;
