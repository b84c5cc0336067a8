//! The balanced layout of a file, built while its chunks arrive.
//!
//! Memory is bounded by one node per level: [`Profile::file_links`] children each, with one more level each time the
//! number of chunks grows by that factor.

use bytes::Bytes;
use cid::Version;

use super::{Profile, UnixfsData, UnixfsKind};
use crate::{Block, Cid, PbLink, PbNode, Result};

/// Receives finished blocks from a builder.
pub(crate) trait Sink {
    fn put(&mut self, block: Block) -> Result<()>;
}

/// A finished part of a DAG, as its parent links to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Child {
    pub(crate) cid: Cid,
    /// Bytes of content below; 0 for a directory.
    pub(crate) content: u64,
    /// Bytes of blocks below, including itself.
    pub(crate) tsize: u64,
}

/// Builds the leaf block of a chunk.
pub(crate) fn leaf_block(profile: &Profile, chunk: Bytes) -> Result<Block> {
    if profile.raw_leaves {
        return Block::raw(chunk);
    }
    let mut data = UnixfsData::new(UnixfsKind::File);
    data.file_size = Some(chunk.len() as u64);
    data.data = (!chunk.is_empty()).then_some(chunk);
    node_block(profile, Vec::new(), &data)
}

/// Builds a dag-pb block.
pub(crate) fn node_block(profile: &Profile, links: Vec<PbLink>, data: &UnixfsData) -> Result<Block> {
    let node = PbNode { links, data: Some(data.encode().into()) };
    let block = Block::dag_pb(node.encode())?;
    Ok(if profile.cid_version == Version::V0 { block.with_cid_v0() } else { block })
}

/// Builds the tree over the leaves of one file.
#[derive(Clone, Debug)]
pub(crate) struct FileBuilder {
    profile: Profile,
    /// Children without a parent so far, leaves first.
    levels: Vec<Vec<Child>>,
}

impl FileBuilder {
    pub(crate) fn new(profile: Profile) -> Self {
        Self { profile, levels: Vec::new() }
    }

    /// Adds the next leaf: its block, and the number of content bytes in it.
    pub(crate) fn push(&mut self, leaf: Block, content: u64, sink: &mut impl Sink) -> Result<()> {
        let child = Child { cid: *leaf.cid(), content, tsize: leaf.data().len() as u64 };
        sink.put(leaf)?;
        self.add(0, child, sink)
    }

    /// A full level is closed only when another child is added, so that a full root needs no parent.
    fn add(&mut self, level: usize, child: Child, sink: &mut impl Sink) -> Result<()> {
        if self.levels.len() == level {
            self.levels.push(Vec::new());
        }
        if self.levels[level].len() == self.profile.file_links {
            self.close(level, sink)?;
        }
        self.levels[level].push(child);
        Ok(())
    }

    /// Builds a parent for the children of `level`.
    fn close(&mut self, level: usize, sink: &mut impl Sink) -> Result<()> {
        let children = std::mem::take(&mut self.levels[level]);
        let mut data = UnixfsData::new(UnixfsKind::File);
        data.file_size = Some(children.iter().map(|child| child.content).sum());
        data.block_sizes = children.iter().map(|child| child.content).collect();
        let link = |child: &Child| PbLink::new(child.cid, Bytes::new(), child.tsize);
        let block = node_block(&self.profile, children.iter().map(link).collect(), &data)?;
        let parent = Child {
            cid: *block.cid(),
            content: children.iter().map(|child| child.content).sum(),
            tsize: block.data().len() as u64 + children.iter().map(|child| child.tsize).sum::<u64>(),
        };
        sink.put(block)?;
        self.add(level + 1, parent, sink)
    }

    /// Completes the file. An empty file has one empty leaf.
    pub(crate) fn finish(mut self, sink: &mut impl Sink) -> Result<Child> {
        if self.levels.is_empty() {
            let leaf = leaf_block(&self.profile, Bytes::new())?;
            self.push(leaf, 0, sink)?;
        }
        let mut level = 0;
        while level + 1 < self.levels.len() || self.levels[level].len() > 1 {
            self.close(level, sink)?;
            level += 1;
        }
        Ok(self.levels[level][0])
    }
}
