//! `/ggen/blocks/1.0.0`: blocks that a list names, as one stream, compressed, and against what the asker has already.
//!
//! A *list* is a DAG of two levels that names blocks in a request: what a release calls its block manifest. Because the
//! asker holds the list, and the list is signed for, it knows the length and the hash of everything before it comes: the
//! list is the framing, and nothing in the stream has to be believed.
//!
//! ```text
//! asker                                   server
//! request: list, which of its blocks,  -> reads the list out of its store
//!   encodings, references (lists of
//!   which the asker holds every block)
//!                                      <- status
//!                                      <- part, part, ... end
//! a byte for each part of blocks taken ->
//! the next request                     ->
//! ```
//! | request (length as varint first, to 64 KiB) | |
//! |---|---|
//! | flags: bit 0 zstd is accepted, bit 1 the list's own blocks are wanted, bit 2 (with 1) and then all that it names, if together they are no more than the most | 1 byte |
//! | list | length as varint, CID |
//! | bytes that a dictionary may have, in all for one part | varint |
//! | references | number as varint (to 3), then as the list |
//! | own blocks wanted: most bytes of them; else runs of indices: blocks left out, blocks wanted | varint; pairs of varints |
//!
//! | answer | |
//! |---|---|
//! | status: 0 here it is, 1 I do not have that list, 2 too much to do, 3 not understood | 1 byte |
//! | parts, each a header (length as varint first, to 64 KiB) and its payload | |
//! | header: kind 0 end, 1 the next blocks are not here, 2 as they are, 3 zstd | 1 byte |
//! | number of blocks; kinds 2 and 3 only: length of the payload | varints |
//! | kinds 2 and 3, own blocks only: the length of each | varints |
//! | kind 3: pieces of the dictionary: their number, then for each source, first, number | varints |
//!
//! A source is 2n for the own blocks of list n (0: the one asked for, n: the n-th reference), and 2n + 1 for the blocks
//! that it names. The dictionary of a part is the bytes of its pieces in their order. Every part is a zstd frame of its
//! own, so that memory is that of one part on both sides. Both sides hold what a dictionary is made of, so only its
//! names travel, and the server alone decides what goes into it.
//!
//! *Invariants*: a block that leaves here hashes to its CID. The stream is cut at the first byte that cannot be right.
//! Memory and time that a peer can cost are bounded on both sides by the constants of each part.
//!
//! *Non-goals*: who is asked for what is Bitswap's client to decide, which asks some peers so and some in its own way.

mod behaviour;
mod codec;
mod compression_effort;
mod compression_policy;
mod dictionary;
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

pub use behaviour::{Behaviour, Setup};
pub use event::Event;
pub use request::{BulkRequest, BulkRequestId, End, Wanted};

#[cfg(test)]
mod tests;
