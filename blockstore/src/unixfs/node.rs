//! Decoding of one block of a UnixFS DAG, validated as far as a single block allows.

use bytes::Bytes;

use super::{
    UnixfsData, UnixfsKind,
    hamt::{self, Bucket, MAX_FANOUT, MIN_FANOUT, MURMUR3_64},
};
use crate::{Cid, DAG_PB, Error, PbNode, RAW, Result};

/// A block of a UnixFS DAG.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// A file or a part of one, including raw leaves.
    File(FileNode),
    /// A directory in one block.
    Directory(DirectoryNode),
    /// A part of a sharded directory.
    Shard(ShardNode),
    /// A symbolic link.
    Symlink {
        /// Its target.
        target: Bytes,
    },
}

/// A file or a part of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileNode {
    /// Bytes of content in and below the node: the sum of `data` and `parts`.
    pub size: u64,
    /// Content in the node itself, before that of the parts.
    pub data: Bytes,
    /// The nodes below in order, each with its bytes of content.
    pub parts: Vec<(Cid, u64)>,
    /// Whether its mode allows its owner to execute it.
    pub executable: bool,
}

/// A directory in one block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryNode {
    /// Names and CIDs, as in the block: not validated, not sorted.
    pub entries: Vec<(Bytes, Cid)>,
}

/// A part of a sharded directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardNode {
    /// Number of buckets, a power of two.
    pub fanout: usize,
    /// The used buckets: number, name (empty for a shard of the next level), CID.
    pub buckets: Vec<(usize, Bytes, Cid)>,
}

impl Node {
    /// Decodes a block.
    ///
    /// # Errors
    /// [`Error::NotUnixfs`] for a block that is no file, directory, shard or symlink; [`Error::InvalidNode`] for an
    /// inconsistent one.
    pub fn parse(cid: &Cid, block: &Bytes) -> Result<Self> {
        match cid.codec() {
            RAW => Ok(Self::File(FileNode {
                size: block.len() as u64,
                data: block.clone(),
                parts: Vec::new(),
                executable: false,
            })),
            DAG_PB => parse_pb(block).map_err(|problem| match problem {
                Problem::NotUnixfs(reason) => Error::NotUnixfs { cid: Box::new(*cid), reason: format!(" ({reason})") },
                Problem::Invalid(reason) => Error::InvalidNode { cid: Box::new(*cid), reason: reason.to_owned() },
            }),
            _ => Err(Error::NotUnixfs { cid: Box::new(*cid), reason: String::new() }),
        }
    }
}

/// Why a dag-pb block was refused.
enum Problem {
    /// It is not part of a file or directory.
    NotUnixfs(&'static str),
    /// It is malformed.
    Invalid(&'static str),
}

impl From<&'static str> for Problem {
    fn from(reason: &'static str) -> Self {
        Self::Invalid(reason)
    }
}

fn parse_pb(block: &Bytes) -> Result<Node, Problem> {
    let node = PbNode::decode(block)?;
    let data = node.data.as_ref().ok_or(Problem::NotUnixfs("it has no UnixFS data"))?;
    let data = UnixfsData::decode(data).map_err(Problem::NotUnixfs)?;
    match data.kind {
        UnixfsKind::File | UnixfsKind::Raw => Ok(file(node, data).map(Node::File)?),
        UnixfsKind::Directory => {
            let entries = node.links.into_iter().map(|link| (link.name.unwrap_or_default(), link.cid)).collect();
            Ok(Node::Directory(DirectoryNode { entries }))
        }
        UnixfsKind::Shard => Ok(shard(node, &data).map(Node::Shard)?),
        UnixfsKind::Symlink if node.links.is_empty() => Ok(Node::Symlink { target: data.data.unwrap_or_default() }),
        UnixfsKind::Symlink => Err("it is a symlink with links below".into()),
        UnixfsKind::Metadata => Err(Problem::NotUnixfs("it is a metadata node, which nothing reads")),
    }
}

fn file(node: PbNode, data: UnixfsData) -> Result<FileNode, &'static str> {
    if data.block_sizes.len() != node.links.len() {
        return Err("it has another number of links than of block sizes");
    }
    let executable = data.is_executable();
    let content = data.data.unwrap_or_default();
    let size = data.block_sizes.iter().try_fold(content.len() as u64, |sum, size| sum.checked_add(*size));
    let size = size.ok_or("its block sizes overflow")?;
    if data.file_size.is_some_and(|stated| stated != size) {
        return Err("its file size is not the sum of its parts");
    }
    let parts = node.links.into_iter().map(|link| link.cid).zip(data.block_sizes).collect();
    Ok(FileNode { size, data: content, parts, executable })
}

fn shard(node: PbNode, data: &UnixfsData) -> Result<ShardNode, &'static str> {
    if data.hash_type != Some(MURMUR3_64) {
        return Err("it is a shard with an unknown hash function");
    }
    let fanout = data.fanout.unwrap_or_default();
    if !(MIN_FANOUT..=MAX_FANOUT).contains(&fanout) || !fanout.is_power_of_two() {
        return Err("it is a shard with an unsupported fanout");
    }
    let fanout = fanout as usize;
    let bits = data.data.clone().unwrap_or_default();
    let mut buckets: Vec<(usize, Bytes, Cid)> = Vec::with_capacity(node.links.len().min(fanout));
    for link in node.links {
        let name = link.name.unwrap_or_default();
        let bucket = Bucket::parse(&name, fanout).ok_or("it is a shard with a link that names no bucket")?;
        if buckets.last().is_some_and(|(last, ..)| *last >= bucket.index) {
            return Err("it is a shard with buckets out of order");
        }
        if !hamt::bit(&bits, bucket.index) {
            return Err("it is a shard whose bitfield lacks a bucket");
        }
        let entry = name.slice_ref(bucket.name);
        buckets.push((bucket.index, entry, link.cid));
    }
    if bits.iter().map(|byte| byte.count_ones() as usize).sum::<usize>() != buckets.len() {
        return Err("it is a shard whose bitfield has a bucket too many");
    }
    Ok(ShardNode { fanout, buckets })
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::{Block, PbLink};

    fn parse(links: &[(&str, u64)], data: &UnixfsData) -> Result<Node> {
        let leaf = *Block::raw(&b"leaf"[..]).unwrap().cid();
        let link = |(name, tsize): &(&str, u64)| PbLink::new(leaf, Bytes::copy_from_slice(name.as_bytes()), *tsize);
        let node = PbNode { links: links.iter().map(link).collect(), data: Some(data.encode().into()) };
        let block = Block::dag_pb(node.encode()).unwrap();
        Node::parse(block.cid(), block.data())
    }

    fn reason(result: Result<Node>) -> String {
        match result {
            Err(Error::InvalidNode { reason, .. }) => reason,
            other => panic!("{other:?}"),
        }
    }

    fn shard_data(fanout: u64, bits: &[u8]) -> UnixfsData {
        let mut data = UnixfsData::new(UnixfsKind::Shard);
        (data.fanout, data.hash_type, data.data) = (Some(fanout), Some(MURMUR3_64), Some(Bytes::copy_from_slice(bits)));
        data
    }

    #[test]
    fn a_file_must_agree_with_itself() {
        let mut data = UnixfsData::new(UnixfsKind::File);
        data.data = Some(Bytes::from_static(b"in the node"));
        data.block_sizes = vec![4, 4];
        let Ok(Node::File(file)) = parse(&[("", 4), ("", 4)], &data) else { panic!("refused") };
        assert_eq!((file.size, file.parts.len(), &file.data[..]), (19, 2, &b"in the node"[..]));
        assert!(reason(parse(&[("", 4)], &data)).contains("number of links"));
        data.file_size = Some(20);
        assert!(reason(parse(&[("", 4), ("", 4)], &data)).contains("sum of its parts"));
        (data.file_size, data.block_sizes) = (None, vec![u64::MAX, 1]);
        assert!(reason(parse(&[("", 4), ("", 4)], &data)).contains("overflow"));
    }

    #[test]
    fn a_shard_must_agree_with_itself() {
        let mut bits = [0; 32];
        (bits[0], bits[30]) = (0x80, 4);
        let shard = parse(&[("0A", 1), ("FFx", 1)], &shard_data(256, &bits)).unwrap();
        assert!(matches!(shard, Node::Shard(ShardNode { fanout: 256, buckets }) if buckets.len() == 2));
        assert!(matches!(parse(&[("3x", 1)], &shard_data(8, &[8])), Ok(Node::Shard(_))));
        assert!(reason(parse(&[("3x", 1)], &shard_data(8, &[]))).contains("lacks a bucket"));
        assert!(reason(parse(&[("3x", 1)], &shard_data(8, &[9]))).contains("a bucket too many"));
        assert!(reason(parse(&[("3x", 1), ("3y", 1)], &shard_data(8, &[8]))).contains("out of order"));
        assert!(reason(parse(&[("x", 1)], &shard_data(8, &[8]))).contains("names no bucket"));
        for fanout in [0, 1, 4, 12, 2048, u64::MAX] {
            assert!(reason(parse(&[], &shard_data(fanout, &[]))).contains("fanout"), "{fanout}");
        }
        let mut other_hash = shard_data(256, &[]);
        other_hash.hash_type = Some(0x12);
        assert!(reason(parse(&[], &other_hash)).contains("hash function"));
    }

    proptest! {
        #[test]
        fn any_block_is_read_or_refused_without_a_panic(links in vec(("[0-9A-F]{0,3}[a-z]{0,2}", any::<u64>()), 0..6), data: Vec<u8>) {
            let leaf = *Block::raw(&b"leaf"[..]).unwrap().cid();
            let link = |(name, tsize): (String, u64)| PbLink::new(leaf, name, tsize);
            let node = PbNode { links: links.into_iter().map(link).collect(), data: Some(data.into()) };
            let block = Block::dag_pb(node.encode()).unwrap();
            drop(Node::parse(block.cid(), block.data()));
        }
    }
}
