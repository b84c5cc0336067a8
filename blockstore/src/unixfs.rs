//! Files and directories as DAGs, as IPFS tools create and read them (UnixFS).
//!
//! Imports: [`import_directory`], [`import_file`], [`import_tarball`]. Exports: [`export_directory`],
//! [`export_tarball`]. Queries: [`list_tree`] and [`resolve`]. Imports produce the CIDs of a [`Profile`] of IPIP-499.
//! Exports accept the DAGs of any IPFS tool: CIDv0, dag-pb leaves, any legal fanout, trickle layout, inlined blocks.
//!
//! *Only safe trees* are imported or exported: no name that is a path, no symlink that leaves the tree, no device, no
//! duplicate, bounded depth, size and count. A refusal names the entry and the reason.

mod archive;
mod data;
mod directory;
mod error;
mod export;
mod file;
mod finding;
mod hamt;
mod ignore;
mod import;
mod known;
mod listing;
mod murmur;
mod name;
mod node;
mod pipeline;
mod profile;
mod reader;
mod resolve;
mod sink;
mod stamp;
mod tree;
mod tree_builder;

pub use archive::{
    ARCHIVE_RATIO_FREE_BYTES, ArchiveLimits, ArchiveNote, MAX_ARCHIVE_BYTES, MAX_ARCHIVE_RATIO, import_tarball,
    list_tarball,
};
pub use data::{UnixfsData, UnixfsKind};
pub use error::Refusal;
pub use export::{
    Compression, ExportOptions, ExportProgress, Exported, Former, MAX_FORMER_ENTRIES, MAX_UNTRACKED, Staged,
    UpdateBegin, UpdateOptions, Updated, export_directory, export_tar, export_tarball, is_vacant, stage_directory,
    update_directory,
};
pub use finding::Finding;
pub use ignore::{PathPatterns, PatternError};
pub use import::{
    INSPECTED_BYTES, ImportOptions, ImportProgress, Imported, Inspect, Inspected, import_directory, import_file,
    inspect_parts,
};
pub use listing::{EntryKind, LeavesOut, Listed, Listing, LookUp, Selection, list_directory};
pub use name::{MAX_DEPTH, MAX_ENTRIES, MAX_LINK_BYTES, MAX_NAME_BYTES, MAX_PATH_BYTES, MAX_TREE_PATH_BYTES};
pub use node::{DirectoryNode, FileNode, Node, ShardNode};
pub use profile::{Profile, ShardEstimate};
pub use reader::FileReader;
pub use resolve::{PathStep, PathWalk, resolve};
pub use tree::{Entry, Tree, TreeLimits, list_tree};

#[cfg(test)]
mod tests;
