//! Bitswap 1.2.0 (and 1.1.0, 1.0.0 for old peers) on the wire: streams, frames, messages, want-lists, and the server.
//!
//! Specification: <https://specs.ipfs.tech/bitswap-protocol/>.

pub(super) mod answer;
pub(super) mod frame;
pub(super) mod handler;
pub(super) mod message;
pub(super) mod outbound_stream;
pub(super) mod protocol;
pub(super) mod server;
pub(super) mod wantlist;
