//! The catalog tree: a Merkle map from package to versions.
//!
//! A trie over the sha2-256 of the package id, four bits per level. A subtree of up to [`LEAF_ENTRIES`] packages is one
//! leaf, a larger one a branch, so the root depends on the packages alone and not on the sequence of insertions. Nodes
//! are dag-cbor blocks that refer to each other by CID *bytes*:
//!
//! | node | form |
//! |---|---|
//! | leaf | `{"leaf": [[package, versions], ...]}`, ordered by package |
//! | branch | `{"branch": {"mask": 16 bits, "children": [one per bit set, lowest first]}}` |
//! | versions | `{"all": [{version, release, yanked, reason?, signatures}, ...]}`, ordered by version |
//! | many versions | `{"chunks": [{first, count, chunk}, ...]}`, each chunk a versions node |
//!
//! A [`Walk`] reads the tree: it names the block that it needs next and accepts that block from any source. The blocks
//! that it has read form the proof.

use ggen_blockstore::{Block, Cid};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest as _, Sha256};

use crate::{
    identity::{RecordCid, decode_canonical, encode_canonical},
    index::TreeError,
    package::PackageId,
};

mod list;
mod versions;
mod walk;
mod write;

pub use list::{TreeListing, list_packages};
pub use versions::VersionEntry;
pub use walk::{Found, Walk};
pub use write::CatalogTree;
pub(crate) use write::write_tree;

/// Most packages in a leaf.
const LEAF_ENTRIES: usize = 16;
/// Children of a branch: four bits of the key.
const FANOUT: usize = 16;
/// Levels until the key's bits are exhausted.
const MAX_DEPTH: usize = 64;
/// Most versions in one node.
const NODE_VERSIONS: usize = 64;
/// Most chunks of versions: 16,384 versions of one package.
const MAX_VERSION_CHUNKS: usize = 256;
/// Largest node in bytes: a chunk of versions with the most signatures takes about 150 KiB. With the two limits above
/// it bounds what a walk through a hostile tree can hold, at 48 MiB.
const MAX_NODE_BYTES: usize = 192 << 10;

const WHAT: &str = "catalog node";

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Node {
    Leaf(Vec<(PackageId, RecordCid)>),
    Branch(Branch),
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Branch {
    mask: u16,
    children: Vec<RecordCid>,
}

impl Branch {
    /// Index of the slot's child, or `Err` with the insertion position if the slot is empty.
    fn position(&self, slot: usize) -> Result<usize, usize> {
        let before = (self.mask & ((1_u16 << slot) - 1)).count_ones() as usize;
        if self.mask & (1 << slot) == 0 { Err(before) } else { Ok(before) }
    }
}

/// The hash that determines a package's position in the tree.
#[derive(Clone, Copy, Debug)]
struct Key([u8; 32]);

impl Key {
    fn of(package: &PackageId) -> Self {
        Self(Sha256::digest(package.as_str().as_bytes()).into())
    }

    /// The slot of a branch at `depth`.
    fn slot(&self, depth: usize) -> usize {
        let byte = self.0[depth / 2];
        usize::from(if depth.is_multiple_of(2) { byte >> 4 } else { byte & 0x0f })
    }
}

fn broken(cid: &Cid, reason: &str) -> TreeError {
    TreeError::Broken { cid: Box::new(*cid), reason: reason.to_owned() }
}

fn read_block<T: Serialize + DeserializeOwned>(cid: &Cid, data: &[u8]) -> Result<T, TreeError> {
    decode_canonical(WHAT, data, MAX_NODE_BYTES).map_err(|error| broken(cid, &error.to_string()))
}

fn read_node(cid: &Cid, data: &[u8]) -> Result<Node, TreeError> {
    let node = read_block(cid, data)?;
    let sound = match &node {
        Node::Leaf(entries) => entries.len() <= LEAF_ENTRIES && entries.is_sorted_by(|a, b| a.0 < b.0),
        Node::Branch(Branch { mask, children }) => *mask != 0 && mask.count_ones() as usize == children.len(),
    };
    if sound { Ok(node) } else { Err(broken(cid, "its entries are not in order or not of the number they should be")) }
}

fn write_block<T: Serialize>(value: &T) -> Result<(RecordCid, Block), TreeError> {
    let none = Cid::default();
    let bytes = encode_canonical(WHAT, value, MAX_NODE_BYTES).map_err(|error| broken(&none, &error.to_string()))?;
    let block = Block::dag_cbor(bytes)?;
    Ok((RecordCid::new(*block.cid()).expect("a dag-cbor block's CID is CIDv1 with sha2-256"), block))
}

#[cfg(test)]
mod tests;
