//! Bytes by CID, and the DAGs made of them.
//!
//! The law of this crate: a stored block always hashes to its CID. A [`Block`] can only be made by hashing
//! its bytes or by checking them, a [`Blockstore`] only takes blocks, and never returns bytes that do not match.
//!
//! *Non-goals*: packages, names, signatures, peers and terminals live in other crates.

mod block;
mod cids;
#[cfg(any(test, feature = "testing"))]
pub mod conformance;
mod error;
mod lease;
mod memory;
mod segment;
mod store;

pub use block::Block;
pub use cids::{
    Cid, DAG_CBOR, DAG_PB, IDENTITY, MAX_BLOCK_BYTES, MAX_IDENTITY_BYTES, Multihash, RAW, SHA2_256, identity_data,
    parse_cid,
};
pub use error::{Error, Result};
pub use lease::Lease;
pub use memory::MemoryBlockstore;
pub use segment::{SegmentBlockstore, SegmentOptions};
pub use store::{Blockstore, MAX_PIN_LABEL_BYTES, Pin, PinMode, PutReport, StoreStats};
