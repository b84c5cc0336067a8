//! Bitswap 1.2.0 (and 1.1.0, 1.0.0 for old peers): blocks by CID, from peers and for peers.
//!
//! ```text
//! Behaviour ─ Client ─ Session*      which peer gets which request, and by which protocol (see `bulk`)
//!     │          └─ Peer* = Wantlist (the wants sent to it) + Meter (how fast it is)
//!     ├── Server ─ Ledger*           the wants of peers; the store is read on blocking threads
//!     └── Handler*                   one connection: streams, frames, messages, hashing
//! ```
//!
//! *Invariants*: a block that leaves a session hashes to its CID and was requested from the peer that sent it. What a
//! peer sends is bounded in memory (see the constants of each module), and only the peer itself pays for its offences.
//! Blocks are hashed in the connection's task and read on blocking threads; the swarm's event loop only moves
//! references to them.
//!
//! *Non-goals*: the caller finds providers, dials them, and stores the fetched blocks.
//!
//! Specification: <https://specs.ipfs.tech/bitswap-protocol/>.

mod behaviour;
mod bitswap;
pub mod bulk;
mod channel;
mod client;
pub(super) mod handle;
mod meter;
mod prior;
mod session;

pub use behaviour::{Behaviour, Config, Event, Misbehaviour, SessionSpec};
pub use channel::{
    DropReason, MAX_NEEDED_CIDS, Offence, SessionEvent, SessionReceiver, SessionSender, session_channel,
};
pub use client::MAX_PRESENCE_QUERY_CIDS;
pub use prior::{NoPriors, Prior, Priors};
pub use session::{BlockWant, ListSource, Place};

/// Identifies a session of one [`Behaviour`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(u64);

#[cfg(test)]
mod tests;
