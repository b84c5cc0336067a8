//! The parameters that determine the CID of a tree (IPIP-499).

use cid::Version;

/// Parameters of a DAG's shape: the same tree under the same profile has the same CID everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Profile {
    /// Its name in IPIP-499.
    pub name: &'static str,
    /// Version of the CIDs. Version 0 has dag-pb leaves.
    pub cid_version: Version,
    /// Length of every chunk of a file except the last, in bytes.
    pub chunk_bytes: usize,
    /// Whether leaves are raw blocks instead of dag-pb nodes.
    pub raw_leaves: bool,
    /// Most links in a node of a file.
    pub file_links: usize,
    /// Buckets in a shard of a directory, a power of two.
    pub fanout: usize,
    /// A directory whose size by `shard_estimate` is above this is sharded; in bytes.
    pub shard_threshold: usize,
    /// How a directory's size is estimated.
    pub shard_estimate: ShardEstimate,
}

/// The size that is compared with [`Profile::shard_threshold`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShardEstimate {
    /// The length of the directory as one block.
    Block,
    /// The lengths of the names and CIDs.
    Links,
}

impl Profile {
    /// `unixfs-v1-2025`: CIDv1, raw leaves, 1 MiB chunks, 1024 links.
    pub const V1_2025: Self = Self {
        name: "unixfs-v1-2025",
        cid_version: Version::V1,
        chunk_bytes: 1 << 20,
        raw_leaves: true,
        file_links: 1024,
        fanout: 256,
        shard_threshold: 256 << 10,
        shard_estimate: ShardEstimate::Block,
    };

    /// `unixfs-v0-2015`: CIDv0, Kubo's default.
    pub const V0_2015: Self = Self {
        name: "unixfs-v0-2015",
        cid_version: Version::V0,
        chunk_bytes: 256 << 10,
        raw_leaves: false,
        file_links: 174,
        fanout: 256,
        shard_threshold: 256 << 10,
        shard_estimate: ShardEstimate::Links,
    };
}

impl Profile {
    /// Number of blocks of a file with this number of bytes; equal blocks are counted each time.
    pub(crate) fn file_blocks(&self, bytes: u64) -> u64 {
        let mut level = bytes.div_ceil(self.chunk_bytes as u64).max(1);
        let mut blocks = level;
        while level > 1 {
            level = level.div_ceil(self.file_links as u64);
            blocks += level;
        }
        blocks
    }
}

impl Default for Profile {
    fn default() -> Self {
        Self::V1_2025
    }
}
