//! How a node learns of peers and their addresses, which addresses it dials, and which connections it protects.

pub(super) mod addresses;
pub(super) mod dial_policy;
pub(super) mod dnsaddr;
pub(super) mod identify;
pub(super) mod redial_schedule;
pub(super) mod rendezvous;
