//! Depth-first walks: pre-order, links in the order of the block, each CID once.

use std::{collections::HashSet, vec};

use cid::Version;

use super::{links, may_have_links};
use crate::{Blockstore, Cid, Error, Result, SHA2_256, identity_data};

/// Deepest path that a walk follows, in links. A file of 2^64 bytes needs 5, a HAMT 8.
pub const MAX_WALK_DEPTH: usize = 256;
/// Most distinct CIDs in one walk: a file of 2 TiB, or two million small files. The set takes some 40 bytes per CID.
pub const MAX_WALK_BLOCKS: usize = 2 << 20;
/// Most links pending on the stack of one walk: bounds its memory to tens of megabytes.
pub const MAX_WALK_PENDING: usize = 1 << 18;

/// A walk over a DAG that receives blocks from its caller instead of reading them.
///
/// ```
/// use ggen_blockstore::{Block, Cid, DagWalk};
///
/// let leaf = Block::raw(&b"hello"[..]).unwrap();
/// let mut walk = DagWalk::new(*leaf.cid());
/// let visit = walk.next_visit().unwrap();
/// assert!(!visit.may_have_links);
/// assert!(walk.next_visit().is_none());
/// ```
///
/// After a visit whose block may have links, call [`descend`](Self::descend); otherwise the walk continues as if the
/// block had none. Identity CIDs are visited too: they are part of the DAG, although no store contains them.
#[derive(Debug)]
pub struct DagWalk {
    stack: Vec<vec::IntoIter<Cid>>,
    pending: usize,
    seen: HashSet<Key>,
}

/// A CID that a walk reaches for the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Visit {
    /// The CID.
    pub cid: Cid,
    /// Whether the walk needs its bytes to descend; see [`may_have_links`].
    pub may_have_links: bool,
    /// Number of links between the root and it, on the path by which it was reached.
    pub depth: usize,
}

impl DagWalk {
    /// Starts at `root`.
    pub fn new(root: Cid) -> Self {
        Self { stack: vec![vec![root].into_iter()], pending: 1, seen: HashSet::new() }
    }

    /// The next CID that has not been visited.
    pub fn next_visit(&mut self) -> Option<Visit> {
        while let Some(top) = self.stack.last_mut() {
            let Some(cid) = top.next() else {
                self.stack.pop();
                continue;
            };
            self.pending -= 1;
            if self.seen.insert(Key::from(&cid)) {
                return Some(Visit { cid, may_have_links: may_have_links(&cid), depth: self.stack.len() - 1 });
            }
        }
        None
    }

    /// Continues below `cid`, the most recently visited CID, whose block is `block`.
    ///
    /// # Errors
    /// The errors of [`links`]; [`Error::LimitExceeded`] for a DAG that exceeds [`MAX_WALK_DEPTH`], [`MAX_WALK_BLOCKS`]
    /// or [`MAX_WALK_PENDING`].
    pub fn descend(&mut self, cid: &Cid, block: &bytes::Bytes) -> Result<()> {
        let links = links(cid, block)?;
        if links.is_empty() {
            return Ok(());
        }
        self.pending += links.len();
        self.stack.push(links.into_iter());
        let exceeded = [
            ("links on one path of a DAG", self.stack.len() - 1, MAX_WALK_DEPTH),
            ("blocks of one DAG", self.seen.len(), MAX_WALK_BLOCKS),
            ("links of one DAG at a time", self.pending, MAX_WALK_PENDING),
        ];
        match exceeded.into_iter().find(|(_, count, limit)| count > limit) {
            Some((what, _, limit)) => Err(Error::LimitExceeded { what, limit: limit as u64 }),
            None => Ok(()),
        }
    }

    /// Number of distinct CIDs visited so far.
    pub fn visited(&self) -> usize {
        self.seen.len()
    }
}

/// A CID as the walk's set stores it: a fraction of [`Cid`]'s size for sha2-256.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Key {
    Sha256 { is_v0: bool, codec: u32, digest: [u8; 32] },
    Other(Box<[u8]>),
}

impl From<&Cid> for Key {
    fn from(cid: &Cid) -> Self {
        let digest = (cid.hash().code() == SHA2_256).then(|| <[u8; 32]>::try_from(cid.hash().digest()));
        match (u32::try_from(cid.codec()), digest) {
            (Ok(codec), Some(Ok(digest))) => Self::Sha256 { is_v0: cid.version() == Version::V0, codec, digest },
            _ => Self::Other(cid.to_bytes().into()),
        }
    }
}

/// Walks the DAG under `root` in a store that contains all of it, and yields each block's CID and length: root first,
/// links in order, first visit only. A release's block manifest has this order. Only blocks that may have links are
/// read. Identity CIDs are followed and not yielded, because no store contains them as blocks. Ends after an error.
pub fn dfs_blocks<S: Blockstore + ?Sized>(store: &S, root: Cid) -> DfsBlocks<'_, S> {
    DfsBlocks { store, walk: Some(DagWalk::new(root)) }
}

/// The iterator of [`dfs_blocks`].
#[derive(Debug)]
pub struct DfsBlocks<'a, S: ?Sized> {
    store: &'a S,
    walk: Option<DagWalk>,
}

impl<S: Blockstore + ?Sized> Iterator for DfsBlocks<'_, S> {
    type Item = Result<(Cid, u32)>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let walk = self.walk.as_mut()?;
            let visit = walk.next_visit()?;
            let size = visit_block(self.store, walk, &visit);
            if size.is_err() {
                self.walk = None;
            }
            match size {
                Ok(_) if identity_data(&visit.cid).is_some() => {}
                size => return Some(size.map(|size| (visit.cid, size))),
            }
        }
    }
}

fn visit_block<S: Blockstore + ?Sized>(store: &S, walk: &mut DagWalk, visit: &Visit) -> Result<u32> {
    let missing = || Error::NotFound { cid: visit.cid };
    if !visit.may_have_links {
        return store.size(&visit.cid)?.ok_or_else(missing);
    }
    let block = store.get(&visit.cid)?.ok_or_else(missing)?;
    walk.descend(&visit.cid, &block)?;
    Ok(block.len() as u32)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::{Block, DAG_PB, IDENTITY, MemoryBlockstore, Multihash, PbLink, PbNode, RAW};

    fn node(store: &MemoryBlockstore, name: &str, links: &[Cid]) -> Cid {
        let link = |cid: &Cid| PbLink::new(*cid, Bytes::new(), 0);
        let node =
            PbNode { links: links.iter().map(link).collect(), data: Some(Bytes::copy_from_slice(name.as_bytes())) };
        let block = Block::dag_pb(node.encode()).unwrap();
        store.put(&block).unwrap();
        *block.cid()
    }

    fn leaf(store: &MemoryBlockstore, content: &str) -> Cid {
        let block = Block::raw(content.as_bytes().to_vec()).unwrap();
        store.put(&block).unwrap();
        *block.cid()
    }

    #[test]
    fn blocks_come_in_pre_order_and_once() {
        let store = MemoryBlockstore::new();
        let (a, b) = (leaf(&store, "a"), leaf(&store, "bb"));
        let shared = node(&store, "shared", &[b, a]);
        let inlined = node(&store, "unused", &[]);
        let inline = Cid::new_v1(DAG_PB, Multihash::wrap(IDENTITY, &[]).unwrap());
        let second = node(&store, "second", &[inline, a, shared, inlined]);
        let root = node(&store, "root", &[shared, second, shared]);
        let blocks = dfs_blocks(&store, root).collect::<Result<Vec<_>>>().unwrap();
        let cids: Vec<_> = blocks.iter().map(|(cid, _)| *cid).collect();
        assert_eq!(cids, [root, shared, b, a, second, inlined]);
        assert_eq!((blocks[2].1, blocks[3].1), (2, 1));
    }

    #[test]
    fn a_missing_block_is_named_and_ends_the_walk() {
        let store = MemoryBlockstore::new();
        let missing = *Block::raw(&b"nowhere"[..]).unwrap().cid();
        let root = node(&store, "root", &[missing]);
        let mut walk = dfs_blocks(&store, root);
        assert!(walk.next().unwrap().is_ok());
        assert!(matches!(walk.next(), Some(Err(Error::NotFound { cid })) if cid == missing));
        assert!(walk.next().is_none());
    }

    #[test]
    fn a_chain_deeper_than_the_limit_is_refused() {
        let store = MemoryBlockstore::new();
        let mut cid = leaf(&store, "end");
        for level in 0..=MAX_WALK_DEPTH {
            cid = node(&store, &level.to_string(), &[cid]);
        }
        let error = dfs_blocks(&store, cid).find_map(Result::err).unwrap();
        assert!(matches!(error, Error::LimitExceeded { limit, .. } if limit == MAX_WALK_DEPTH as u64));
    }

    #[test]
    fn wide_nodes_on_every_level_cannot_fill_the_stack() {
        let store = MemoryBlockstore::new();
        let mut cid = leaf(&store, "end");
        for level in 0..20 {
            let mut links = vec![cid];
            links.resize(20_000, leaf(&store, "again"));
            cid = node(&store, &level.to_string(), &links);
        }
        let error = dfs_blocks(&store, cid).find_map(Result::err).unwrap();
        assert!(matches!(error, Error::LimitExceeded { limit, .. } if limit == MAX_WALK_PENDING as u64));
    }

    #[test]
    fn a_block_of_another_codec_than_its_cid_says_is_refused() {
        let store = MemoryBlockstore::new();
        let block = Block::dag_pb(&b"not a node"[..]).unwrap();
        store.put(&block).unwrap();
        let error = dfs_blocks(&store, *block.cid()).find_map(Result::err).unwrap();
        assert!(matches!(error, Error::InvalidNode { .. }));
        assert!(dfs_blocks(&store, Cid::new_v1(RAW, *block.cid().hash())).all(|block| block.is_ok()));
    }
}
