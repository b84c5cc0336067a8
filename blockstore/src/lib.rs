//! Content-addressed blocks, and the DAGs made of them.
//!
//! The invariant of this crate: a stored block always hashes to its CID. A [`Block`] can only be created by hashing its
//! bytes or by verifying them. A [`Blockstore`] accepts only blocks, and never returns bytes that do not match.
//!
//! *Non-goals*: packages, names, signatures, peers and terminals live in other crates.

mod arrivals;
mod block;
mod buffers;
mod cids;
#[cfg(any(test, feature = "testing"))]
pub mod conformance;
mod dag;
mod error;
mod gc;
mod hash;
mod layer;
mod lease;
mod memory;
mod null;
pub mod protobuf;
mod segment;
mod store;
mod unixfs;

pub use bytes::Bytes;

pub use arrivals::{Arrivals, Awaiting};
pub use block::{Block, cid_from_prefix};
pub use buffers::Buffers;
pub use cids::{
    Cid, CodecName, DAG_CBOR, DAG_JSON, DAG_PB, IDENTITY, MAX_BLOCK_BYTES, MAX_CID_BYTES, MAX_IDENTITY_BYTES,
    Multihash, RAW, SHA2_256, identity_data, parse_cid,
};
pub use dag::{
    DagWalk, DfsBlocks, MAX_NODE_LINKS, MAX_WALK_BLOCKS, MAX_WALK_DEPTH, MAX_WALK_PENDING, PbLink, PbNode, Visit,
    dfs_blocks, links, may_have_links,
};
pub use error::{Error, Result};
pub use gc::{Collected, Collector, Marks};
pub use hash::{HashName, check_hash};
pub use lease::Lease;
pub use memory::MemoryBlockstore;
pub use null::NullBlockstore;
pub use segment::{SegmentBlockstore, SegmentOptions};
pub use store::{Blockstore, DAMAGE, Damage, MAX_PIN_LABEL_BYTES, Pin, PinMode, PutReport, StoreStats};
pub use unixfs::{
    ARCHIVE_RATIO_FREE_BYTES, ArchiveLimits, ArchiveNote, Compression, DirectoryNode, Entry, EntryKind, ExportOptions,
    ExportProgress, Exported, FileNode, FileReader, Finding, Former, INSPECTED_BYTES, ImportOptions, ImportProgress,
    Imported, Inspect, Inspected, LeavesOut, Listed, Listing, LookUp, MAX_ARCHIVE_BYTES, MAX_ARCHIVE_RATIO, MAX_DEPTH,
    MAX_ENTRIES, MAX_FORMER_ENTRIES, MAX_LINK_BYTES, MAX_NAME_BYTES, MAX_PATH_BYTES, MAX_TREE_PATH_BYTES,
    MAX_UNTRACKED, Node, PathPatterns, PathStep, PathWalk, PatternError, Profile, Refusal, Selection, ShardEstimate,
    ShardNode, Staged, Tree, TreeLimits, UnixfsData, UnixfsKind, UpdateBegin, UpdateOptions, Updated, export_directory,
    export_tar, export_tarball, import_directory, import_file, import_tarball, inspect_parts, is_vacant,
    list_directory, list_tarball, list_tree, resolve, stage_directory, update_directory,
};
