//! The CIDs this project accepts: versions, codecs, hashes and size limits, in one table.

mod parse;

use std::fmt;

pub use parse::parse_cid;

/// A content identifier, version 0 or 1, with room for the longest identity digest that IPFS tools inline
/// (IPIP-512: 128 bytes).
pub type Cid = cid::CidGeneric<{ MAX_IDENTITY_BYTES }>;

/// A multihash of the same capacity as [`Cid`]. Blocks are stored and provided under it: CIDs that differ only in
/// version or codec identify the same bytes.
pub type Multihash = cid::multihash::Multihash<{ MAX_IDENTITY_BYTES }>;

/// Multicodec of raw bytes.
pub const RAW: u64 = 0x55;
/// Multicodec of dag-pb nodes (UnixFS).
pub const DAG_PB: u64 = 0x70;
/// Multicodec of dag-cbor nodes (records of this project).
pub const DAG_CBOR: u64 = 0x71;
/// Multicodec of dag-json nodes.
pub const DAG_JSON: u64 = 0x0129;
/// Multihash code of sha2-256.
pub const SHA2_256: u64 = 0x12;
/// Multihash code of the identity "hash", whose digest is the data itself.
pub const IDENTITY: u64 = 0x00;

/// Largest block stored or exchanged, in bytes (Bitswap specification: peers must handle 2 MiB).
pub const MAX_BLOCK_BYTES: usize = 2 << 20;
/// Longest binary CID that is read from a peer or a record, in bytes: 4 varints of up to 10 bytes, and 128 of a digest.
pub const MAX_CID_BYTES: usize = 168;
/// Largest identity digest accepted, in bytes (IPIP-512).
pub const MAX_IDENTITY_BYTES: usize = 128;

/// Returns the data inlined in `cid` if it is an identity CID. Such a block needs neither a store nor a peer.
pub fn identity_data(cid: &Cid) -> Option<&[u8]> {
    (cid.hash().code() == IDENTITY).then(|| cid.hash().digest())
}

/// Names of codecs in the multicodec table, for the codecs that occur in CIDs.
const CODEC_NAMES: &[(u64, &str)] = &[
    (0x51, "cbor"),
    (RAW, "raw"),
    (0x60, "rlp"),
    (0x63, "bencode"),
    (DAG_PB, "dag-pb"),
    (DAG_CBOR, "dag-cbor"),
    (0x72, "libp2p-key"),
    (0x78, "git-raw"),
    (0x7b, "torrent-info"),
    (0x7c, "torrent-file"),
    (0x81, "leofcoin-block"),
    (0x85, "dag-jose"),
    (0x86, "dag-cose"),
    (0x90, "eth-block"),
    (0x91, "eth-block-list"),
    (0x92, "eth-tx-trie"),
    (0x93, "eth-tx"),
    (0x94, "eth-tx-receipt-trie"),
    (0x95, "eth-tx-receipt"),
    (0x96, "eth-state-trie"),
    (0x97, "eth-account-snapshot"),
    (0x98, "eth-storage-trie"),
    (0xb0, "bitcoin-block"),
    (0xb1, "bitcoin-tx"),
    (0xb2, "bitcoin-witness-commitment"),
    (0xc0, "zcash-block"),
    (0xc1, "zcash-tx"),
    (DAG_JSON, "dag-json"),
    (0x0200, "json"),
    (0x0202, "car"),
    (0x0300, "ipns-record"),
    (0xf101, "fil-commitment-unsealed"),
    (0xf102, "fil-commitment-sealed"),
];

/// A codec for display: its name if the multicodec table has one, else its code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodecName(
    /// Its multicodec code.
    pub u64,
);

impl fmt::Display for CodecName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match CODEC_NAMES.iter().find(|(code, _)| *code == self.0) {
            Some((_, name)) => formatter.write_str(name),
            None => write!(formatter, "codec 0x{:x}", self.0),
        }
    }
}
