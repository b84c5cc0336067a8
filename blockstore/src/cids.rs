//! The CIDs this project accepts: versions, codecs, hashes and size limits, in one table.

use std::str::FromStr;

use crate::{Error, Result};

/// A content identifier, version 0 or 1, with room for the longest identity digest that IPFS tools inline
/// (IPIP-512: 128 bytes).
pub type Cid = cid::CidGeneric<{ MAX_IDENTITY_BYTES }>;

/// A multihash of the same capacity as [`Cid`]. Blocks are stored and provided under it: CIDs that differ only in
/// version or codec name the same bytes.
pub type Multihash = cid::multihash::Multihash<{ MAX_IDENTITY_BYTES }>;

/// Multicodec of raw bytes.
pub const RAW: u64 = 0x55;
/// Multicodec of dag-pb nodes (UnixFS).
pub const DAG_PB: u64 = 0x70;
/// Multicodec of dag-cbor nodes (our records).
pub const DAG_CBOR: u64 = 0x71;
/// Multihash code of sha2-256.
pub const SHA2_256: u64 = 0x12;
/// Multihash code of the identity "hash", whose digest is the data itself.
pub const IDENTITY: u64 = 0x00;

/// Largest block stored or exchanged, in bytes (Bitswap specification: peers must handle 2 MiB).
pub const MAX_BLOCK_BYTES: usize = 2 << 20;
/// Largest identity digest accepted, in bytes (IPIP-512).
pub const MAX_IDENTITY_BYTES: usize = 128;

/// Parses the text form of a CID, any multibase.
///
/// # Errors
/// [`Error::InvalidCid`] with the text and the reason.
pub fn parse_cid(text: &str) -> Result<Cid> {
    Cid::from_str(text).map_err(|source| Error::InvalidCid { text: text.to_owned(), reason: source.to_string() })
}

/// Returns the data inlined in `cid` if it is an identity CID: such a block needs no store and no peer.
pub fn identity_data(cid: &Cid) -> Option<&[u8]> {
    (cid.hash().code() == IDENTITY).then(|| cid.hash().digest())
}
