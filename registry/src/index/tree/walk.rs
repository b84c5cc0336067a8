//! Looking up one package in a catalog tree, block by block.

use bytes::Bytes;
use ggen_blockstore::{Block, Cid};

use crate::{
    identity::RecordCid,
    index::{
        TreeError, VersionEntry,
        tree::{
            Key, MAX_DEPTH, Node, broken, read_node,
            versions::{Versions, read_versions},
        },
    },
    package::PackageId,
};

/// A lookup in progress. It requests blocks from the root down, then chunks of versions, newest first.
#[derive(Debug)]
pub struct Walk {
    package: PackageId,
    key: Key,
    root: RecordCid,
    next: Next,
    /// Chunks of versions still to read, oldest first, with the number of versions that the parent states for each.
    chunks: Vec<(Cid, u64)>,
    entries: Vec<VersionEntry>,
    proof: Vec<Bytes>,
}

#[derive(Debug)]
enum Next {
    Node(Cid, usize),
    Versions(Cid),
    Chunks,
}

/// Result of a walk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The package's versions, lowest first; none if the catalog does not have it.
    pub entries: Vec<VersionEntry>,
    /// Whether no version is missing: the walk read every block it requested.
    pub complete: bool,
    /// The blocks it read, in order. With the root, [`Walk::verify`] can check them.
    pub proof: Vec<Bytes>,
}

impl Walk {
    /// Starts a lookup of `package` under `root`.
    pub fn new(root: &RecordCid, package: &PackageId) -> Self {
        Self {
            package: package.clone(),
            key: Key::of(package),
            root: *root,
            next: Next::Node(*root.cid(), 0),
            chunks: Vec::new(),
            entries: Vec::new(),
            proof: Vec::new(),
        }
    }

    /// The block that is needed next; `None` when the walk is complete.
    pub fn wants(&self) -> Option<Cid> {
        match &self.next {
            Next::Node(cid, _) | Next::Versions(cid) => Some(*cid),
            Next::Chunks => self.chunks.last().map(|(cid, _)| *cid),
        }
    }

    /// Supplies the block that is needed next.
    ///
    /// # Errors
    /// [`TreeError`] for a different block, or an invalid one.
    pub fn supply(&mut self, block: &Block) -> Result<(), TreeError> {
        let expected = self.wants();
        if expected.as_ref() != Some(block.cid()) {
            let expected = Box::new(expected.unwrap_or(*self.root.cid()));
            return Err(TreeError::Unexpected { actual: Box::new(*block.cid()), expected });
        }
        match self.next {
            Next::Node(cid, depth) => self.take_node(&cid, depth, block.data())?,
            Next::Versions(cid) => match read_versions(&cid, block.data(), false)? {
                Versions::All(entries) => self.take_versions(entries),
                Versions::Chunks(chunks) => {
                    self.chunks = chunks.iter().map(|chunk| (*chunk.chunk.cid(), chunk.count)).collect();
                    self.next = Next::Chunks;
                }
            },
            Next::Chunks => self.take_chunk(block)?,
        }
        self.proof.push(block.data().clone());
        Ok(())
    }

    /// Ends the walk with what it has read so far.
    ///
    /// # Errors
    /// [`TreeError::Missing`] if it has not reached the package's versions.
    pub fn finish(self) -> Result<Found, TreeError> {
        let missing = |cid: &Cid| TreeError::Missing { cid: Box::new(*cid) };
        match &self.next {
            Next::Node(cid, _) | Next::Versions(cid) => Err(missing(cid)),
            Next::Chunks => Ok(Found { entries: self.entries, complete: self.chunks.is_empty(), proof: self.proof }),
        }
    }

    /// Runs the walk to its end with `get`, which reads blocks of a store.
    ///
    /// # Errors
    /// [`TreeError`]; [`TreeError::Missing`] for a block that `get` does not have.
    pub fn run<E: Into<TreeError>>(
        mut self,
        get: impl Fn(&Cid) -> Result<Option<Bytes>, E>,
    ) -> Result<Found, TreeError> {
        while let Some(cid) = self.wants() {
            let data = get(&cid).map_err(Into::into)?.ok_or_else(|| TreeError::Missing { cid: Box::new(cid) })?;
            let block = Block::verify(cid, data)?;
            self.supply(&block)?;
        }
        self.finish()
    }

    /// Verifies a proof: the blocks that a walk for `package` from `root` reads, or the first of them up to the
    /// package's versions.
    ///
    /// # Errors
    /// [`TreeError`] for blocks that do not lead from the root to the package, or for surplus blocks.
    pub fn verify(root: &RecordCid, package: &PackageId, proof: &[Bytes]) -> Result<Found, TreeError> {
        let mut walk = Self::new(root, package);
        for data in proof {
            let block = Block::dag_cbor(data.clone())?;
            walk.supply(&block)?;
        }
        walk.finish()
    }

    fn take_node(&mut self, cid: &Cid, depth: usize, data: &[u8]) -> Result<(), TreeError> {
        let child = match read_node(cid, data)? {
            Node::Leaf(entries) => {
                let found = entries.into_iter().find(|(package, _)| *package == self.package);
                found.map(|(_, versions)| Next::Versions(*versions.cid()))
            }
            Node::Branch(_) if depth == MAX_DEPTH => return Err(broken(cid, "it stands too deep")),
            Node::Branch(branch) => {
                let child = branch.position(self.key.slot(depth)).ok().map(|at| *branch.children[at].cid());
                child.map(|child| Next::Node(child, depth + 1))
            }
        };
        self.next = child.unwrap_or(Next::Chunks);
        Ok(())
    }

    fn take_versions(&mut self, entries: Vec<VersionEntry>) {
        self.entries = entries;
        self.next = Next::Chunks;
    }

    fn take_chunk(&mut self, block: &Block) -> Result<(), TreeError> {
        let (cid, count) = *self.chunks.last().expect("a wanted chunk stands in the list");
        let Versions::All(mut entries) = read_versions(&cid, block.data(), true)? else {
            return Err(broken(&cid, "chunks stand below chunks"));
        };
        let in_order =
            self.entries.first().is_none_or(|next| entries.last().is_some_and(|last| last.version < next.version));
        if entries.len() as u64 != count || !in_order {
            return Err(broken(&cid, "it is not the chunk its parent describes"));
        }
        self.chunks.pop();
        entries.append(&mut self.entries);
        self.entries = entries;
        Ok(())
    }
}
