//! Which connections a node has: limits, trimming, and the way back of a node that was trimmed.
//!
//! * [`room`] admits a connection or turns it away, and names the connections to trim;
//! * [`standing`] says what the connection with a peer is worth;
//! * [`reentry`] says when a node with few peers dials others.
//!
//! These are pure state machines. [`behaviour`] drives them.

pub(super) mod behaviour;
pub(super) mod handler;
pub(super) mod marks;
pub(super) mod reentry;
pub(super) mod room;
pub(super) mod source;
pub(super) mod standing;
