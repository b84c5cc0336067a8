//! Bitswap 1.2.0 (and 1.1.0, 1.0.0 for old peers) on the wire: streams, frames, messages, want-lists, and the server.
//!
//! Specification: <https://specs.ipfs.tech/bitswap-protocol/>.

mod answer;
mod endpoint;
mod frame;
mod handler;
mod message;
mod outbound_stream;
mod protocol;
mod server;
mod wantlist;

pub(super) use endpoint::{Endpoint, Event};
pub(super) use frame::FrameError;
pub(super) use handler::{Arrived, Handler, Malformed, now};
#[cfg(test)]
pub(super) use message::WantKind;
pub(super) use message::{Message, Presence};
pub(super) use wantlist::{MAX_LIVE_WANTS, Wantlist};
