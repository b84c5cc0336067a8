//! `/ggen/blocks/1.0.0`: blocks of a manifest in one stream, compressed, with blocks that the client has as dictionary.
//!
//! A *block manifest* is a DAG of two levels that names blocks in sequence. It has *own blocks* (its root and chunks)
//! and *entries* (the blocks that it names). The client has the manifest, whose CID stands in a signed release, so it
//! knows length and hash of every block in advance: the manifest is the framing, and the client trusts nothing in the
//! stream.
//!
//! ```text
//! client                                  server
//! request: manifest, its blocks,       -> reads the manifest from its store
//!   encodings, references (manifests
//!   of which it has every block)
//!                                      <- status
//!                                      <- frame, frame, ... end
//! a byte for each frame of blocks      ->
//! the next request                     ->
//! ```
//! | request (length as varint first, to 64 KiB) | |
//! |---|---|
//! | flags: bit 0 zstd is accepted, bit 1 own blocks of the manifest, bit 2 (only with 1) and then all its entries, if together they fit into the byte limit | 1 byte |
//! | manifest | length as varint, CID |
//! | byte limit of the dictionary of one frame | varint |
//! | references | number as varint (to 3), then each like the manifest |
//! | with bit 1: byte limit of the blocks; else runs of indices: entries to skip, entries wanted | varint; pairs of varints |
//!
//! | response | |
//! |---|---|
//! | status: 0 accepted, 1 the manifest is not in the store, 2 busy, 3 not understood | 1 byte |
//! | frames, each a header (length as varint first, to 64 KiB) and its payload | |
//! | header: kind 0 end, 1 the next blocks are absent, 2 uncompressed, 3 zstd | 1 byte |
//! | number of blocks; kinds 2 and 3 only: length of the payload | varints |
//! | kinds 2 and 3, if the request has bit 1: the length of each block | varints |
//! | kind 3: pieces of the dictionary: their number, then for each source, first, count | varints |
//!
//! Source 2n is the own blocks of manifest n (0: the requested one, n: the n-th reference), source 2n + 1 its entries.
//! The dictionary of a frame is the bytes of its pieces in sequence. Every payload of kind 3 is an independent zstd
//! frame, so both sides need memory for one frame only. Both sides have the blocks of a dictionary, so only its pieces
//! are named, and the server alone chooses them.
//!
//! *Invariants*: a block that is reported hashes to its CID. The client closes the stream at the first byte that cannot
//! be right. The constants of each module bound the memory and time that a peer can cost, on both sides.
//!
//! *Non-goals*: Bitswap's client decides which peer gets which request, and over which of the two protocols.

mod codec;
mod compression_effort;
mod compression_policy;
mod dictionary;
mod endpoint;
mod event;
mod handler;
mod input;
mod limits;
mod message;
mod paths;
mod receive;
mod request;
mod response;
mod serve;
mod stored_manifest;
mod stream_pool;

pub(super) use endpoint::Endpoint;
pub(super) use event::Event;
pub(super) use handler::Handler;
pub(super) use request::{BulkRequest, BulkRequestId, End, Wanted};

#[cfg(test)]
mod tests;
