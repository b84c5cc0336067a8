//! Blocks by CID, from peers and for peers, over two protocols: Bitswap with every peer, and bulk requests
//! (`/ggen/blocks/1.0.0`) with those that support them.
//!
//! ```text
//! Behaviour ─┬─ Scheduler ─ Session*   which peer gets which request, and over which protocol: (event, now) -> actions
//!            ├─ Callers                the callers of sessions and presence queries
//!            ├─ Accounts               traffic and misbehaviour, over both protocols
//!            ├─ bitswap::Endpoint      messages of wants and blocks; the wants of peers, served from the store
//!            └─ bulk::Endpoint         bulk requests, sent and served; the pool of streams
//! ```
//!
//! *Invariants*: a block that leaves a session hashes to its CID and was requested from the peer that sent it. What a
//! peer sends is bounded in memory (see the constants of each module), and only the peer itself pays for its offences.
//! Blocks are hashed in the connection's task and read on blocking threads; the swarm's event loop only moves
//! references to them.
//!
//! *Non-goals*: the caller finds providers, dials them, and stores the fetched blocks.
//!
//! One handler per connection carries both protocols; only the endpoints know its streams.

mod accounts;
mod behaviour;
mod bitswap;
mod bulk;
mod callers;
mod channel;
pub(super) mod handle;
mod meter;
mod prior;
mod scheduler;
mod session;

pub use accounts::{Event, Misbehaviour};
pub(crate) use behaviour::Setup;
pub use behaviour::{Behaviour, Config, SessionSpec};
pub use channel::{
    DropReason, MAX_NEEDED_CIDS, Offence, SessionEvent, SessionReceiver, SessionSender, session_channel,
};
pub use prior::{NoPriors, Prior, Priors};
pub use scheduler::MAX_PRESENCE_QUERY_CIDS;
pub use session::{BlockWant, ListSource, Place};

/// Identifies a session of one [`Behaviour`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(u64);

#[cfg(test)]
mod tests;
