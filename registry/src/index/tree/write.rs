//! Changing a catalog tree.

use std::collections::BTreeMap;

use bytes::Bytes;
use ggen_blockstore::{Block, Cid};

use crate::{
    identity::RecordCid,
    index::{
        TreeError, VersionEntry, Walk,
        tree::{
            Branch, FANOUT, Key, LEAF_ENTRIES, MAX_DEPTH, Node, broken, read_node, versions::write_versions,
            write_block,
        },
    },
    package::PackageId,
};

/// A catalog tree that is being changed: its root, and the blocks written since it was opened.
#[derive(Debug)]
pub struct CatalogTree<G> {
    root: Option<RecordCid>,
    get: G,
    written: BTreeMap<Cid, Block>,
}

impl<G: Fn(&Cid) -> ggen_blockstore::Result<Option<Bytes>>> CatalogTree<G> {
    /// Opens the tree at `root`; `None` for an empty tree. `get` reads its blocks.
    pub fn new(root: Option<RecordCid>, get: G) -> Self {
        Self { root, get, written: BTreeMap::new() }
    }

    /// The versions of a package, lowest first.
    ///
    /// # Errors
    /// [`TreeError`].
    pub fn versions(&self, package: &PackageId) -> Result<Vec<VersionEntry>, TreeError> {
        match &self.root {
            Some(root) => Ok(Walk::new(root, package).run(|cid| self.read(cid))?.entries),
            None => Ok(Vec::new()),
        }
    }

    /// Adds a version, or replaces the one with the same number. Writes O(log n) blocks.
    ///
    /// # Errors
    /// [`TreeError`].
    pub fn insert(&mut self, package: &PackageId, entry: VersionEntry) -> Result<(), TreeError> {
        let mut entries = self.versions(package)?;
        match entries.binary_search_by(|other| other.version.cmp(&entry.version)) {
            Ok(at) => entries[at] = entry,
            Err(at) => entries.insert(at, entry),
        }
        let (versions, blocks) = write_versions(package, &entries)?;
        for block in blocks {
            self.write(block);
        }
        let root = match self.root {
            Some(root) => self.insert_below(root, 0, package, versions)?,
            None => self.build(vec![(package.clone(), versions)], 0)?,
        };
        self.root = Some(root);
        Ok(())
    }

    /// The root and the blocks written since the tree was opened.
    pub fn finish(self) -> (Option<RecordCid>, Vec<Block>) {
        (self.root, self.written.into_values().collect())
    }

    fn insert_below(
        &mut self,
        node: RecordCid,
        depth: usize,
        package: &PackageId,
        versions: RecordCid,
    ) -> Result<RecordCid, TreeError> {
        let data = self.read(node.cid())?;
        let data = data.ok_or_else(|| TreeError::Missing { cid: Box::new(*node.cid()) })?;
        match read_node(node.cid(), &data)? {
            Node::Leaf(mut entries) => {
                match entries.binary_search_by(|(other, _)| other.cmp(package)) {
                    Ok(at) => entries[at].1 = versions,
                    Err(at) => entries.insert(at, (package.clone(), versions)),
                }
                self.build(entries, depth)
            }
            Node::Branch(_) if depth == MAX_DEPTH => Err(broken(node.cid(), "it stands too deep")),
            Node::Branch(mut branch) => {
                let slot = Key::of(package).slot(depth);
                match branch.position(slot) {
                    Ok(at) => {
                        branch.children[at] = self.insert_below(branch.children[at], depth + 1, package, versions)?;
                    }
                    Err(at) => {
                        let leaf = self.build(vec![(package.clone(), versions)], depth + 1)?;
                        branch.children.insert(at, leaf);
                        branch.mask |= 1 << slot;
                    }
                }
                self.write_node(&Node::Branch(branch))
            }
        }
    }

    /// Writes the subtree of `entries`, ordered by package, at `depth`.
    fn build(&mut self, entries: Vec<(PackageId, RecordCid)>, depth: usize) -> Result<RecordCid, TreeError> {
        if entries.len() <= LEAF_ENTRIES {
            return self.write_node(&Node::Leaf(entries));
        }
        if depth == MAX_DEPTH {
            return Err(broken(&Cid::default(), "more packages than a leaf holds have the same hash"));
        }
        let mut slots: [Vec<(PackageId, RecordCid)>; FANOUT] = Default::default();
        for entry in entries {
            slots[Key::of(&entry.0).slot(depth)].push(entry);
        }
        let mut branch = Branch { mask: 0, children: Vec::new() };
        for (slot, entries) in slots.into_iter().enumerate().filter(|(_, entries)| !entries.is_empty()) {
            branch.mask |= 1 << slot;
            branch.children.push(self.build(entries, depth + 1)?);
        }
        self.write_node(&Node::Branch(branch))
    }

    fn write_node(&mut self, node: &Node) -> Result<RecordCid, TreeError> {
        let (cid, block) = write_block(node)?;
        self.write(block);
        Ok(cid)
    }

    /// Writes a block even if the store has it: storing it again protects it from a concurrent garbage collection.
    fn write(&mut self, block: Block) {
        self.written.insert(*block.cid(), block);
    }

    fn read(&self, cid: &Cid) -> Result<Option<Bytes>, TreeError> {
        match self.written.get(cid) {
            Some(block) => Ok(Some(block.data().clone())),
            None => Ok((self.get)(cid)?),
        }
    }
}

/// Writes the whole tree of packages, each with its versions, lowest first. It equals the tree that inserting the
/// versions one by one produces in any sequence. Returns its root and its blocks, or `None` for no packages.
///
/// # Errors
/// [`TreeError`].
pub(crate) fn write_tree(
    packages: BTreeMap<PackageId, Vec<VersionEntry>>,
) -> Result<Option<(RecordCid, Vec<Block>)>, TreeError> {
    let mut tree = CatalogTree::new(None, |_: &Cid| Ok(None));
    let mut entries = Vec::with_capacity(packages.len());
    for (package, versions) in packages {
        let (top, blocks) = write_versions(&package, &versions)?;
        blocks.into_iter().for_each(|block| tree.write(block));
        entries.push((package, top));
    }
    if entries.is_empty() {
        return Ok(None);
    }
    let root = tree.build(entries, 0)?;
    Ok(Some((root, tree.finish().1)))
}
