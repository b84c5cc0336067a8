//! Paths into a DAG: `/ipfs/<cid>/a/b`.

use super::{Node, hamt};
use crate::{
    Blockstore, Cid, Error, RAW, Result,
    dag::{Lookup, lookup},
};

/// The resolution of a path through a DAG. It receives blocks from its caller instead of reading them, so that it works
/// on a store as well as in a fetch.
///
/// It resolves names in files and directories, and keys of maps and positions in lists in dag-cbor and dag-json, up to
/// a link, and continues in the link's target. Symlinks are not followed: a symlink in the path counts as a missing
/// name.
#[derive(Clone, Debug)]
pub struct PathWalk {
    root: Cid,
    at: Cid,
    names: Vec<String>,
    /// Number of resolved names.
    done: usize,
    /// Level of the shard at `at`, 0 for a directory's root.
    level: u32,
}

/// The state of a resolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathStep {
    /// This block is needed next; pass it to [`PathWalk::advance`].
    Needs(Cid),
    /// The path ends at this CID.
    Ends(Cid),
}

impl PathWalk {
    /// Starts at `root`; empty names in `path` are skipped.
    pub fn new(root: Cid, path: &str) -> Self {
        let names = path.split('/').filter(|name| !name.is_empty()).map(str::to_owned).collect();
        Self { root, at: root, names, done: 0, level: 0 }
    }

    /// The state of the resolution.
    pub fn step(&self) -> PathStep {
        if self.done == self.names.len() { PathStep::Ends(self.at) } else { PathStep::Needs(self.at) }
    }

    /// Continues with the block that [`step`](Self::step) requested.
    ///
    /// # Errors
    /// [`Error::NoSuchPath`]; [`Error::NotUnixfs`] for a path that ends at a value of dag-cbor or dag-json that is no
    /// link, or that continues below a block of another codec; [`Error::InvalidNode`].
    pub fn advance(&mut self, block: &bytes::Bytes) -> Result<PathStep> {
        if let Some(name) = self.names.get(self.done) {
            if let Some(found) = lookup(&self.at, block, &self.names[self.done..])? {
                self.follow(found)?;
                return Ok(self.step());
            }
            let node = Node::parse(&self.at, block)?;
            let (next, below) = find(&node, name.as_bytes(), self.level).ok_or_else(|| self.missing())?;
            if below {
                self.level += 1;
            } else {
                self.level = 0;
                self.done += 1;
            }
            self.at = next;
        }
        Ok(self.step())
    }

    /// Follows the result of a lookup within a block of dag-cbor or dag-json.
    fn follow(&mut self, found: Lookup) -> Result<()> {
        match found {
            // A block that is only a link consumes no name, and a chain of such blocks need not end.
            Lookup::Link(_, 0) => Err(self.missing()),
            Lookup::Link(cid, names) => {
                self.at = *cid;
                self.done += names;
                Ok(())
            }
            Lookup::Value => {
                let reason = format!(" (`{}` is a value in it)", self.names.join("/"));
                Err(Error::NotUnixfs { cid: Box::new(self.at), reason })
            }
            Lookup::Missing(names) => {
                self.done += names;
                Err(self.missing())
            }
        }
    }

    fn missing(&self) -> Error {
        Error::NoSuchPath {
            root: Box::new(self.root),
            path: self.names[..(self.done + 1).min(self.names.len())].join("/"),
        }
    }
}

/// Finds a name in a node: its CID, or the shard of the next level that may contain it. The number of levels is bounded
/// by the bits of the hash, so a chain of shards ends.
fn find(node: &Node, name: &[u8], level: u32) -> Option<(Cid, bool)> {
    match node {
        Node::Directory(directory) => {
            directory.entries.iter().find(|(entry, _)| entry == name).map(|(_, cid)| (*cid, false))
        }
        Node::Shard(shard) => {
            let bucket = hamt::bucket(hamt::hash(name), level, shard.fanout)?;
            let (_, entry, cid) = shard.buckets.iter().find(|(index, ..)| *index == bucket)?;
            (entry.is_empty() || entry == name).then_some((*cid, entry.is_empty()))
        }
        Node::File(_) | Node::Symlink { .. } => None,
    }
}

/// Follows `path` from `root` in a store.
///
/// # Errors
/// [`Error::NoSuchPath`] with the path up to its first missing name; [`Error::NotFound`] for a missing block;
/// [`Error::InvalidNode`], a store error.
pub fn resolve<S: Blockstore + ?Sized>(store: &S, root: Cid, path: &str) -> Result<Cid> {
    let mut walk = PathWalk::new(root, path);
    let mut step = walk.step();
    while let PathStep::Needs(cid) = step {
        if cid.codec() == RAW {
            return Err(walk.missing());
        }
        let block = store.get(&cid)?.ok_or(Error::NotFound { cid })?;
        step = walk.advance(&block)?;
    }
    Ok(walk.at)
}
