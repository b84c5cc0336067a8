//! Listing a catalog tree.

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
