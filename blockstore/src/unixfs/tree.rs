//! The entries of a DAG: what an export would write, validated before anything is written.

use bytes::Bytes;

use super::{
    EntryKind, Node, ShardNode, hamt,
    name::{MAX_ENTRIES, MAX_TREE_PATH_BYTES, case_collision, check_link, check_name, check_path, join},
    reader::read_node,
};
use crate::{Blockstore, Cid, Error, RAW, Refusal, Result};

/// Limits on a tree from an untrusted source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TreeLimits {
    /// Most bytes of files; a file that occurs twice counts twice.
    pub max_bytes: u64,
    /// Most entries; at most [`MAX_ENTRIES`].
    pub max_entries: usize,
}

impl Default for TreeLimits {
    fn default() -> Self {
        Self { max_bytes: u64::MAX, max_entries: MAX_ENTRIES }
    }
}

/// The entries of a DAG.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    /// The entries: directories before their contents, names in the order of their bytes, without the root. If the root
    /// is a file, it is the only entry and has an empty path.
    pub entries: Vec<Entry>,
    /// Number of files.
    pub files: u64,
    /// Sum of the files' lengths, in bytes.
    pub size_bytes: u64,
}

/// An entry of a DAG.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its path, with `/` between names.
    pub path: String,
    /// The CID of its root.
    pub cid: Cid,
    /// Its type; executable if its UnixFS mode is.
    pub kind: EntryKind,
}

impl Tree {
    /// Returns whether the root is a file.
    pub fn is_file(&self) -> bool {
        matches!(&self.entries[..], [Entry { path, .. }] if path.is_empty())
    }
}

/// Lists the tree under `root`. The store must contain all of it except the leaves of files, which are not read.
///
/// # Errors
/// [`Error::Refused`] for an unsafe entry: a name that is a path, occurs twice, or equals another one on some file
/// system, a symlink that leaves the tree, too deep or long a path. [`Error::LimitExceeded`], [`Error::InvalidNode`],
/// [`Error::NotFound`], a store error.
pub fn list_tree<S: Blockstore + ?Sized>(store: &S, root: Cid, limits: &TreeLimits) -> Result<Tree> {
    let mut walk = TreeWalk::new(store, root, limits);
    let entries = walk.by_ref().collect::<Result<_>>()?;
    Ok(Tree { entries, files: walk.files, size_bytes: walk.size_bytes })
}

/// Yields the entries of a tree in the order of [`Tree::entries`]. Each entry is validated before it is yielded, and
/// yielded before the next one is read. Ends after an error.
#[derive(Debug)]
pub(crate) struct TreeWalk<'a, S: ?Sized> {
    store: &'a S,
    limits: &'a TreeLimits,
    /// Entries still to visit, the next one last.
    stack: Vec<(String, Cid)>,
    /// Number of entries yielded.
    told: usize,
    /// Number of files yielded, and the sum of their lengths in bytes.
    pub(crate) files: u64,
    pub(crate) size_bytes: u64,
    /// Directories and shards read, which cost an export time even if they are empty.
    nodes: usize,
    path_bytes: usize,
}

impl<S: Blockstore + ?Sized> Iterator for TreeWalk<'_, S> {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        let entry = self.next_entry().transpose();
        if matches!(entry, Some(Err(_))) {
            self.stack.clear();
        }
        entry
    }
}

impl<'a, S: Blockstore + ?Sized> TreeWalk<'a, S> {
    pub(crate) fn new(store: &'a S, root: Cid, limits: &'a TreeLimits) -> Self {
        let stack = vec![(String::new(), root)];
        Self { store, limits, stack, told: 0, files: 0, size_bytes: 0, nodes: 0, path_bytes: 0 }
    }

    fn next_entry(&mut self) -> Result<Option<Entry>> {
        while let Some((path, cid)) = self.stack.pop() {
            let (kind, entries) = self.visit(&path, cid)?;
            // A directory as root is not yielded.
            let is_told = kind != EntryKind::Directory || !path.is_empty();
            self.told += usize::from(is_told);
            if entries.len() + self.stack.len() + self.told > self.limits.max_entries {
                return Err(self.too_many());
            }
            for (name, cid) in entries.into_iter().rev() {
                let path = join(&path, &name);
                self.path_bytes += path.len();
                if self.path_bytes > MAX_TREE_PATH_BYTES {
                    return Err(self.too_many());
                }
                self.stack.push((path, cid));
            }
            if is_told {
                return Ok(Some(Entry { path, cid, kind }));
            }
        }
        Ok(None)
    }

    /// Returns the type of an entry and, for a directory, its sorted entries.
    fn visit(&mut self, path: &str, cid: Cid) -> Result<(EntryKind, Vec<(String, Cid)>)> {
        check_path(path).map_err(|refusal| Error::refused(path, refusal))?;
        if cid.codec() == RAW {
            let size = self.store.size(&cid)?.ok_or(Error::NotFound { cid })?;
            return Ok((self.file(u64::from(size), false)?, Vec::new()));
        }
        let entries = match read_node(self.store, &cid)? {
            Node::File(file) => return Ok((self.file(file.size, file.executable)?, Vec::new())),
            Node::Symlink { target } => {
                if path.is_empty() {
                    let target = String::from_utf8_lossy(&target).into_owned();
                    return Err(Error::IsSymlink { cid: Box::new(cid), target });
                }
                check_link(path, &target).map_err(|refusal| Error::refused(path, refusal))?;
                let target = String::from_utf8_lossy(&target).into_owned();
                return Ok((EntryKind::Symlink { target }, Vec::new()));
            }
            Node::Directory(directory) => {
                self.count_node()?;
                directory.entries
            }
            Node::Shard(shard) => self.shard_entries(path, cid, shard)?,
        };
        Ok((EntryKind::Directory, checked_entries(path, entries)?))
    }

    fn file(&mut self, size: u64, executable: bool) -> Result<EntryKind> {
        self.files += 1;
        self.size_bytes = self.size_bytes.saturating_add(size);
        if self.size_bytes > self.limits.max_bytes {
            return Err(Error::LimitExceeded { what: "bytes of files", limit: self.limits.max_bytes });
        }
        Ok(EntryKind::File { size, executable })
    }

    /// Collects the entries of a sharded directory, and checks that each is in the bucket of its hash.
    fn shard_entries(&mut self, path: &str, cid: Cid, root: ShardNode) -> Result<Vec<(Bytes, Cid)>> {
        let fanout = root.fanout;
        let mut entries = Vec::new();
        // Shards to read: level, and the buckets on the path to them.
        let mut stack = vec![(cid, root, Vec::new())];
        while let Some((cid, shard, way)) = stack.pop() {
            self.count_node()?;
            let invalid = |reason: &str| Error::InvalidNode { cid: Box::new(cid), reason: reason.to_owned() };
            if shard.fanout != fanout {
                return Err(invalid("it is a shard with another fanout than its root"));
            }
            if hamt::bucket(0, way.len() as u32, fanout).is_none() {
                return Err(invalid("it is a shard deeper than its hash"));
            }
            for (bucket, name, child) in shard.buckets {
                let mut way = way.clone();
                way.push(bucket);
                if !name.is_empty() {
                    let hash = hamt::hash(&name);
                    let belongs =
                        way.iter().zip(0..).all(|(bucket, level)| hamt::bucket(hash, level, fanout) == Some(*bucket));
                    if !belongs {
                        return Err(Error::refused(join(path, &String::from_utf8_lossy(&name)), Refusal::Misplaced));
                    }
                    entries.push((name, child));
                    continue;
                }
                let Node::Shard(below) = read_node(self.store, &child)? else {
                    return Err(invalid("it is a shard with something else below"));
                };
                stack.push((child, below, way));
            }
            if entries.len() + stack.len() > self.limits.max_entries {
                return Err(self.too_many());
            }
        }
        Ok(entries)
    }

    fn count_node(&mut self) -> Result<()> {
        self.nodes += 1;
        if self.nodes > self.limits.max_entries { Err(self.too_many()) } else { Ok(()) }
    }

    fn too_many(&self) -> Error {
        Error::LimitExceeded { what: "files and directories", limit: self.limits.max_entries as u64 }
    }
}

/// Checks the names of a directory, and sorts its entries by them.
fn checked_entries(path: &str, entries: Vec<(Bytes, Cid)>) -> Result<Vec<(String, Cid)>> {
    let mut checked = Vec::with_capacity(entries.len());
    for (name, cid) in entries {
        let lossy = || join(path, &String::from_utf8_lossy(&name));
        checked.push((check_name(&name).map_err(|refusal| Error::refused(lossy(), refusal))?.to_owned(), cid));
    }
    if let Some((name, refusal)) = case_collision(checked.iter().map(|(name, _)| name.as_str())) {
        return Err(Error::refused(join(path, name), refusal));
    }
    checked.sort_unstable_by(|left, right| left.0.cmp(&right.0));
    Ok(checked)
}
