//! Directories: one block, or a hash trie of blocks if one block would be too large.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{
    Profile, UnixfsData, UnixfsKind,
    file::{Child, Sink, node_block},
    hamt::{self, Bucket},
    profile::ShardEstimate,
};
use crate::{Error, PbLink, PbNode, Refusal, Result};

/// Collects the entries of one directory.
#[derive(Debug)]
pub(crate) struct DirectoryBuilder {
    profile: Profile,
    entries: BTreeMap<String, Child>,
}

impl DirectoryBuilder {
    pub(crate) fn new(profile: Profile) -> Self {
        Self { profile, entries: BTreeMap::new() }
    }

    /// Adds an entry with a checked name, and returns whether the name was unused.
    pub(crate) fn add(&mut self, name: &str, child: Child) -> bool {
        self.entries.insert(name.to_owned(), child).is_none()
    }

    /// Builds the directory.
    pub(crate) fn finish(self, sink: &mut impl Sink) -> Result<Child> {
        let links = self.entries.iter().map(|(name, child)| link(name.clone(), child)).collect();
        let node = PbNode { links, data: Some(UnixfsData::new(UnixfsKind::Directory).encode().into()) };
        let estimate = match self.profile.shard_estimate {
            ShardEstimate::Block => node.encoded_len(),
            ShardEstimate::Links => node.links.iter().map(|link| link.name().len() + link.cid.encoded_len()).sum(),
        };
        if estimate > self.profile.shard_threshold {
            let entries = self.entries.into_iter().map(|(name, child)| (hamt::hash(name.as_bytes()), name, child));
            return self.profile.shard(entries.collect(), 0, sink);
        }
        finish_node(&self.profile, node.links, &UnixfsData::new(UnixfsKind::Directory), sink)
    }
}

impl Profile {
    /// Builds the shard of `entries` (hash, name, child), which share the hash bits above `level`. A bucket with one
    /// entry contains it; a bucket with more contains a shard.
    fn shard(&self, entries: Vec<(u64, String, Child)>, level: u32, sink: &mut impl Sink) -> Result<Child> {
        let mut buckets: BTreeMap<usize, Vec<_>> = BTreeMap::new();
        for (hash, name, child) in entries {
            let Some(bucket) = hamt::bucket(hash, level, self.fanout) else {
                return Err(Error::refused(name, Refusal::HashCollision));
            };
            buckets.entry(bucket).or_default().push((hash, name, child));
        }
        let mut bits = vec![0_u8; self.fanout / 8];
        let mut links = Vec::with_capacity(buckets.len());
        for (bucket, mut entries) in buckets {
            hamt::set_bit(&mut bits, bucket);
            let prefix = Bucket::prefix(bucket, self.fanout);
            if entries.len() == 1 {
                let (_, name, child) = entries.remove(0);
                links.push(link(prefix + &name, &child));
            } else {
                links.push(link(prefix, &self.shard(entries, level + 1, sink)?));
            }
        }
        let mut data = UnixfsData::new(UnixfsKind::Shard);
        let zeros = bits.iter().take_while(|byte| **byte == 0).count();
        data.data = Some(bits.split_off(zeros).into());
        data.hash_type = Some(hamt::MURMUR3_64);
        data.fanout = Some(self.fanout as u64);
        finish_node(self, links, &data, sink)
    }
}

/// Builds the node of a symlink.
pub(crate) fn symlink(profile: &Profile, target: &str, sink: &mut impl Sink) -> Result<Child> {
    let mut data = UnixfsData::new(UnixfsKind::Symlink);
    data.data = Some(Bytes::copy_from_slice(target.as_bytes()));
    finish_node(profile, Vec::new(), &data, sink)
}

fn finish_node(profile: &Profile, links: Vec<PbLink>, data: &UnixfsData, sink: &mut impl Sink) -> Result<Child> {
    let below: u64 = links.iter().filter_map(|link| link.tsize).sum();
    let block = node_block(profile, links, data)?;
    let child = Child { cid: *block.cid(), content: 0, tsize: block.data().len() as u64 + below };
    sink.put(block)?;
    Ok(child)
}

fn link(name: String, child: &Child) -> PbLink {
    PbLink::new(child.cid, name, child.tsize)
}
