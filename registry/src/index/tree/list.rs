//! Listing the packages of a catalog tree.

use bytes::Bytes;
use ggen_blockstore::Cid;

use crate::{
    identity::RecordCid,
    index::{
        TreeError,
        tree::{MAX_DEPTH, Node, broken, read_node},
    },
    package::PackageId,
};

/// A listing in progress. It requests the nodes of the tree level by level.
#[derive(Debug)]
pub struct TreeListing {
    level: Vec<RecordCid>,
    depth: usize,
    packages: Vec<PackageId>,
    limit: usize,
}

impl TreeListing {
    /// Starts at `root`; lists at most `limit` packages.
    pub fn new(root: RecordCid, limit: usize) -> Self {
        Self { level: vec![root], depth: 0, packages: Vec::new(), limit }
    }

    /// The nodes that are needed next; empty when the listing is complete.
    pub fn wants(&self) -> Vec<Cid> {
        self.level.iter().map(|node| *node.cid()).collect()
    }

    /// Reads these nodes with `get`.
    ///
    /// # Errors
    /// [`TreeError`] for a node that is missing or broken.
    pub fn supply<G>(&mut self, get: G) -> Result<(), TreeError>
    where
        G: Fn(&Cid) -> ggen_blockstore::Result<Option<Bytes>>,
    {
        let mut below = Vec::new();
        for node in std::mem::take(&mut self.level) {
            let data = get(node.cid())?.ok_or_else(|| TreeError::Missing { cid: Box::new(*node.cid()) })?;
            let room = self.limit - self.packages.len();
            match read_node(node.cid(), &data)? {
                Node::Leaf(entries) => self.packages.extend(entries.into_iter().take(room).map(|(package, _)| package)),
                Node::Branch(_) if self.depth == MAX_DEPTH => return Err(broken(node.cid(), "it stands too deep")),
                // Every subtree contains at least one package, so subtrees beyond the remaining room can be skipped.
                Node::Branch(branch) => {
                    let places = room.saturating_sub(below.len());
                    below.extend(branch.children.into_iter().take(places));
                }
            }
        }
        self.level = below;
        self.depth += 1;
        Ok(())
    }

    /// The packages.
    pub fn finish(self) -> Vec<PackageId> {
        self.packages
    }
}

/// Lists the packages of a catalog tree in the order of the tree, at most `limit`. Memory is bounded by what is
/// returned and one path.
///
/// # Errors
/// [`TreeError`] for a node that is missing or broken.
pub fn list_packages<G>(root: &RecordCid, limit: usize, get: G) -> Result<Vec<PackageId>, TreeError>
where
    G: Fn(&Cid) -> ggen_blockstore::Result<Option<Bytes>>,
{
    let mut packages = Vec::new();
    let mut pending = vec![(*root, 0)];
    while let Some((node, depth)) = pending.pop() {
        if packages.len() >= limit {
            break;
        }
        let data = get(node.cid())?.ok_or_else(|| TreeError::Missing { cid: Box::new(*node.cid()) })?;
        match read_node(node.cid(), &data)? {
            Node::Leaf(entries) => {
                let room = limit - packages.len();
                packages.extend(entries.into_iter().take(room).map(|(package, _)| package));
            }
            Node::Branch(_) if depth == MAX_DEPTH => return Err(broken(node.cid(), "it stands too deep")),
            Node::Branch(branch) => {
                pending.extend(branch.children.into_iter().rev().map(|child| (child, depth + 1)));
            }
        }
    }
    Ok(packages)
}
