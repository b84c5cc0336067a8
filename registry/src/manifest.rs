//! The block manifest: every block of a release's content, in DFS order, so that all blocks can be requested at once.
//!
//! A DAG of two levels. The root is dag-cbor: `type` (`ggen/manifest/v1`), `entries`, `bytes` (of the content's blocks
//! together) and `chunks`, a list of `{entries, bytes, link}` whose links are the only ones. A chunk is a raw block of
//! entries, cut before the entry that would exceed [`MANIFEST_CHUNK_BYTES`]. The listed blocks are bytes, not links, so
//! pinning the manifest does not pin the content a second time.
//!
//! | entry | bytes |
//! |---|---|
//! | form: 0 = CIDv1 raw sha2-256, 1 = CIDv1 dag-pb sha2-256, 2 = any other CID | 1 |
//! | size of the block | unsigned varint, 1-4 |
//! | form 0 and 1: the digest | 32 |
//! | form 2: length of the binary CID, the CID | unsigned varint, then that many |

mod error;

use std::collections::HashSet;

use ggen_blockstore::{
    Block, Cid, DAG_CBOR, DAG_PB, IDENTITY, MAX_BLOCK_BYTES, MAX_CID_BYTES, MAX_WALK_BLOCKS, Multihash, RAW, SHA2_256,
};
use serde::{Deserialize, Serialize};

pub use error::ManifestError;

use crate::identity::{decode_canonical, encode_canonical};

/// Most entries in a manifest.
pub const MAX_MANIFEST_ENTRIES: u64 = MAX_WALK_BLOCKS as u64;
/// Largest chunk in bytes: about 7,000 entries.
pub const MANIFEST_CHUNK_BYTES: usize = 256 << 10;
/// Largest root in bytes; one of [`MAX_MANIFEST_ENTRIES`] common entries takes about 20 KiB.
const MAX_ROOT_BYTES: usize = 1 << 20;
/// Longest entry: form, size, length, CID.
const MAX_ENTRY_BYTES: usize = 1 + 5 + 2 + MAX_CID_BYTES;

/// Most bytes of a manifest with this number of entries.
pub(crate) fn most_manifest_bytes(entries: u64) -> u64 {
    MAX_ROOT_BYTES as u64 + entries.min(MAX_MANIFEST_ENTRIES) * MAX_ENTRY_BYTES as u64
}

const TYPE: &str = "ggen/manifest/v1";
const WHAT: &str = "block manifest";
const FORM_RAW: u8 = 0;
const FORM_DAG_PB: u8 = 1;
const FORM_OTHER: u8 = 2;

/// A block of the content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ManifestEntry {
    /// Its CID.
    pub cid: Cid,
    /// Its length in bytes.
    pub size: u32,
}

/// A part of the manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManifestChunk {
    /// The chunk's block.
    pub link: Cid,
    /// Entries in it.
    pub entries: u32,
    /// Its length in bytes.
    pub bytes: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Root {
    r#type: String,
    entries: u64,
    bytes: u64,
    chunks: Vec<ManifestChunk>,
}

/// The summary of a manifest that its release contains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ManifestSummary {
    /// The manifest's root.
    pub root: Cid,
    /// Total bytes of the manifest's own blocks.
    pub manifest_bytes: u64,
    /// Number of entries: the blocks of the content.
    pub entries: u64,
    /// Total bytes of the content's blocks.
    pub content_bytes: u64,
}

/// Builds a manifest entry by entry. Memory is bounded by one chunk and 40 bytes for each finished one.
#[derive(Debug, Default)]
pub struct ManifestBuilder {
    current: Vec<u8>,
    current_entries: u32,
    chunks: Vec<ManifestChunk>,
    entries: u64,
    content_bytes: u64,
}

impl ManifestBuilder {
    /// An empty manifest.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a block of the content, in DFS order, and returns a chunk to store if one is full.
    ///
    /// # Errors
    /// [`ManifestError`] for a block over the block limit, an identity CID (which is no block), or too many entries.
    pub fn push(&mut self, cid: &Cid, size: u32) -> Result<Option<Block>, ManifestError> {
        check_entry(cid, size)?;
        self.entries += 1;
        if self.entries > MAX_MANIFEST_ENTRIES {
            return Err(ManifestError::TooManyEntries { entries: self.entries, limit: MAX_MANIFEST_ENTRIES });
        }
        let mut entry = Vec::with_capacity(40);
        write_entry(&mut entry, cid, size);
        let full = match self.current.len() + entry.len() > MANIFEST_CHUNK_BYTES {
            true => Some(self.cut()?),
            false => None,
        };
        self.current.extend_from_slice(&entry);
        self.current_entries += 1;
        self.content_bytes += u64::from(size);
        Ok(full)
    }

    /// Completes the manifest. Returns the blocks still to store (the root last), and the summary for the release.
    ///
    /// # Errors
    /// [`ManifestError::Malformed`] for a manifest without entries, or one whose root is too large.
    pub fn finish(mut self) -> Result<(Vec<Block>, ManifestSummary), ManifestError> {
        if self.entries == 0 {
            return Err(malformed("it has no entries"));
        }
        let last = self.cut()?;
        let chunk_bytes: u64 = self.chunks.iter().map(|chunk| u64::from(chunk.bytes)).sum();
        let (entries, content_bytes) = (self.entries, self.content_bytes);
        let root = Root { r#type: TYPE.to_owned(), entries, bytes: content_bytes, chunks: self.chunks };
        let root = encode_canonical(WHAT, &root, MAX_ROOT_BYTES).map_err(|error| malformed(&error.to_string()))?;
        let root = Block::dag_cbor(root).map_err(|error| malformed(&error.to_string()))?;
        let manifest_bytes = chunk_bytes + root.data().len() as u64;
        let summary = ManifestSummary { root: *root.cid(), manifest_bytes, entries, content_bytes };
        Ok((vec![last, root], summary))
    }

    fn cut(&mut self) -> Result<Block, ManifestError> {
        let bytes = std::mem::take(&mut self.current);
        let length = bytes.len() as u32;
        let block = Block::raw(bytes).map_err(|error| malformed(&error.to_string()))?;
        let entries = std::mem::take(&mut self.current_entries);
        self.chunks.push(ManifestChunk { link: *block.cid(), entries, bytes: length });
        Ok(block)
    }
}

/// Decodes the chunks of a manifest from its root, without reference to a release. Only limits are checked.
///
/// # Errors
/// [`ManifestError`] if it is malformed or larger than its limits.
pub(crate) fn manifest_chunks(root: &[u8]) -> Result<Vec<ManifestChunk>, ManifestError> {
    Ok(read_root(root)?.chunks)
}

/// Decodes the entries of a chunk, without reference to a manifest. Only limits are checked.
///
/// # Errors
/// [`ManifestError`] if it is malformed.
pub(crate) fn manifest_entries(chunk: &[u8]) -> Result<Vec<ManifestEntry>, ManifestError> {
    let mut entries = Vec::new();
    let mut rest = chunk;
    while !rest.is_empty() {
        entries.push(read_entry(&mut rest)?);
    }
    Ok(entries)
}

/// Decodes a manifest and checks it against its release. The caller checks the hash of every block.
#[derive(Clone, Debug)]
pub struct ManifestReader {
    content: Cid,
    chunks: Vec<ManifestChunk>,
    entries: u64,
    content_bytes: u64,
}

impl ManifestReader {
    /// Decodes the root of a manifest with this number of `entries`, of which the first is `content`, and whose own
    /// blocks have `manifest_bytes` bytes in total.
    ///
    /// # Errors
    /// [`ManifestError`] if it is malformed, larger than its limits, or different from the arguments.
    pub fn new(content: Cid, entries: u64, manifest_bytes: u64, root: &[u8]) -> Result<Self, ManifestError> {
        let decoded = read_root(root)?;
        expect_equal("entries", decoded.entries, entries)?;
        let in_chunks: u64 = decoded.chunks.iter().map(|chunk| u64::from(chunk.entries)).sum();
        expect_equal("entries in its chunks", in_chunks, entries)?;
        if decoded.entries > MAX_MANIFEST_ENTRIES {
            return Err(ManifestError::TooManyEntries { entries: decoded.entries, limit: MAX_MANIFEST_ENTRIES });
        }
        let bytes: u64 = decoded.chunks.iter().map(|chunk| u64::from(chunk.bytes)).sum();
        expect_equal("bytes", bytes + root.len() as u64, manifest_bytes)?;
        let mut links = HashSet::new();
        for chunk in &decoded.chunks {
            if !links.insert(chunk.link) {
                // A manifest lists each chunk once; a repeated chunk would only increase the reader's memory.
                return Err(malformed(&format!("chunk {} occurs twice", chunk.link)));
            }
            let form = chunk.link.codec() == RAW && chunk.link.hash().code() == SHA2_256;
            if !form || chunk.entries == 0 || chunk.bytes as usize > MANIFEST_CHUNK_BYTES {
                return Err(malformed(&format!("chunk {} is out of bounds", chunk.link)));
            }
        }
        let Root { chunks, entries, bytes: content_bytes, .. } = decoded;
        Ok(Self { content, chunks, entries, content_bytes })
    }

    /// The chunks, in order.
    pub fn chunks(&self) -> &[ManifestChunk] {
        &self.chunks
    }

    /// Number of entries.
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// Total bytes of the content's blocks, as the root states; [`Self::read_all`] checks it.
    pub fn content_bytes(&self) -> u64 {
        self.content_bytes
    }

    /// Decodes the chunk at `index`.
    ///
    /// # Errors
    /// [`ManifestError`] if it is malformed, has a different number of entries than the root states, or is the first
    /// and does not begin with the content's root.
    pub fn read_chunk(&self, index: usize, bytes: &[u8]) -> Result<Vec<ManifestEntry>, ManifestError> {
        let chunk = self.chunks.get(index).ok_or_else(|| malformed(&format!("it has no chunk {index}")))?;
        expect_equal("bytes in a chunk", bytes.len() as u64, u64::from(chunk.bytes))?;
        let entries = manifest_entries(bytes)?;
        expect_equal("entries in a chunk", entries.len() as u64, u64::from(chunk.entries))?;
        if index == 0 && entries[0].cid != self.content {
            return Err(ManifestError::Mismatch {
                what: "first block",
                actual: entries[0].cid.to_string(),
                expected: self.content.to_string(),
            });
        }
        Ok(entries)
    }

    /// Decodes all chunks through `chunk`, which returns the verified bytes of one, and checks the total. It takes
    /// `size_of::<ManifestEntry>()` bytes of memory per entry; for a package of very many blocks use
    /// [`Self::read_chunk`].
    ///
    /// # Errors
    /// The error of `chunk`, or a [`ManifestError`].
    pub fn read_all<E: From<ManifestError>>(
        &self,
        mut chunk: impl FnMut(&ManifestChunk) -> Result<bytes::Bytes, E>,
    ) -> Result<Vec<ManifestEntry>, E> {
        let mut all = Vec::new();
        for (index, part) in self.chunks.iter().enumerate() {
            all.extend(self.read_chunk(index, &chunk(part)?)?);
        }
        let total = all.iter().map(|entry| u64::from(entry.size)).sum();
        expect_equal("bytes of content", total, self.content_bytes)?;
        Ok(all)
    }
}

fn read_root(root: &[u8]) -> Result<Root, ManifestError> {
    let decoded: Root = decode_canonical(WHAT, root, MAX_ROOT_BYTES).map_err(|error| malformed(&error.to_string()))?;
    if decoded.r#type != TYPE {
        return Err(malformed(&format!("its type is not `{TYPE}`")));
    }
    Ok(decoded)
}

fn write_entry(out: &mut Vec<u8>, cid: &Cid, size: u32) {
    let mut buffer = unsigned_varint::encode::u32_buffer();
    let size = unsigned_varint::encode::u32(size, &mut buffer);
    let form = form_of(cid);
    out.push(form);
    out.extend_from_slice(size);
    if form != FORM_OTHER {
        out.extend_from_slice(cid.hash().digest());
        return;
    }
    let bytes = cid.to_bytes();
    let mut buffer = unsigned_varint::encode::usize_buffer();
    out.extend_from_slice(unsigned_varint::encode::usize(bytes.len(), &mut buffer));
    out.extend_from_slice(&bytes);
}

fn read_entry(rest: &mut &[u8]) -> Result<ManifestEntry, ManifestError> {
    let short = || malformed("an entry is cut short");
    let (&form, tail) = rest.split_first().ok_or_else(short)?;
    let (size, tail) = unsigned_varint::decode::u32(tail).map_err(|_| malformed("a size is not a varint"))?;
    let (cid, tail) = match form {
        FORM_RAW | FORM_DAG_PB => {
            let (digest, tail) = tail.split_first_chunk::<32>().ok_or_else(short)?;
            let hash = Multihash::wrap(SHA2_256, digest).expect("32 bytes fit the capacity of 128");
            (Cid::new_v1(if form == FORM_RAW { RAW } else { DAG_PB }, hash), tail)
        }
        FORM_OTHER => {
            let (length, tail) =
                unsigned_varint::decode::usize(tail).map_err(|_| malformed("a length is not a varint"))?;
            if length > MAX_CID_BYTES || length > tail.len() {
                return Err(short());
            }
            let (bytes, tail) = tail.split_at(length);
            let cid = Cid::try_from(bytes).map_err(|error| malformed(&error.to_string()))?;
            if form_of(&cid) != FORM_OTHER || cid.to_bytes() != bytes {
                return Err(malformed("a CID is not in its shortest form"));
            }
            (cid, tail)
        }
        form => return Err(malformed(&format!("an entry has the unknown form {form}"))),
    };
    check_entry(&cid, size)?;
    *rest = tail;
    Ok(ManifestEntry { cid, size })
}

fn form_of(cid: &Cid) -> u8 {
    let common = cid.version() == cid::Version::V1 && cid.hash().code() == SHA2_256 && cid.hash().size() == 32;
    match cid.codec() {
        RAW if common => FORM_RAW,
        DAG_PB if common => FORM_DAG_PB,
        _ => FORM_OTHER,
    }
}

fn check_entry(cid: &Cid, size: u32) -> Result<(), ManifestError> {
    let known = [RAW, DAG_PB, DAG_CBOR].contains(&cid.codec());
    if size as usize > MAX_BLOCK_BYTES || cid.hash().code() == IDENTITY || !known {
        return Err(ManifestError::Entry { cid: Box::new(*cid), size });
    }
    Ok(())
}

fn expect_equal(what: &'static str, actual: u64, expected: u64) -> Result<(), ManifestError> {
    if actual != expected {
        return Err(ManifestError::Mismatch { what, actual: actual.to_string(), expected: expected.to_string() });
    }
    Ok(())
}

fn malformed(reason: &str) -> ManifestError {
    ManifestError::Malformed { reason: reason.to_owned() }
}

/// The largest entry must fit in a chunk.
const _: () = assert!(MAX_ENTRY_BYTES < MANIFEST_CHUNK_BYTES);

#[cfg(test)]
mod tests;
