//! A cache of import results for the files of a directory, so that unchanged files are not read again.
//!
//! The cache is a file of its own, which is written at the end of an import. It may be missing or outdated. It is
//! bounded by [`MAX_FILES`], and contains no file whose stamp may stand for two contents (see `stamp`). A damaged
//! cache, or one of another version or profile, is ignored. A file in it is used only if all of its blocks are in the
//! store.
//!
//! ```text
//! bytes  field (integers little endian)
//!     8  magic `gIMPORT4`: what of a file is inspected before it is remembered has a version too
//!    18  version of the CIDs, whether leaves are raw (1 each), chunk length, links of a node (8 each)
//!     8  device of all files
//!    97  per file: xxh3-128 of its path (16), inode (8), length (8), times of writing and of change
//!        (seconds 8, nanoseconds 4 each), form of the CID (1: raw, dag-pb, dag-pb as CIDv0),
//!        sha2-256 (32), bytes of its blocks together (8)
//!     8  xxh3-64 of everything before
//! ```

use std::{
    collections::HashMap,
    fs,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::SystemTime,
};

use cid::Version;
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use super::{
    EntryKind, Listing, Profile,
    file::Child,
    node::Node,
    stamp::{Moment, Stamp},
};
use crate::{Blockstore, Cid, DAG_PB, Error, Multihash, RAW, Result, SHA2_256};

/// Most files of one directory in a cache: some 24 MiB. Further files are read every time.
const MAX_FILES: usize = 1 << 18;

const MAGIC: &[u8; 8] = b"gIMPORT4";
const HEAD_BYTES: usize = 34;
const FILE_BYTES: usize = 97;
const HASH_BYTES: usize = 8;
/// Number of files whose blocks are looked up at once.
const BATCH_FILES: usize = 1024;

/// Offsets in the record of a file.
const STAMP_AT: usize = 16;
const FORM_AT: usize = 56;
const DIGEST_AT: usize = 57;
const TSIZE_AT: usize = 89;
const STAMP_BYTES: usize = FORM_AT - STAMP_AT;

const FORM_RAW: u8 = 0;
const FORM_DAG_PB: u8 = 1;
const FORM_DAG_PB_V0: u8 = 2;

/// The cached files of a directory, and the cache that will be written.
#[derive(Debug)]
pub(crate) struct KnownFiles {
    place: PathBuf,
    device: u64,
    /// The time from which on files are read.
    begun: Moment,
    /// The cache as read from disk; empty if it was unusable.
    old: Vec<u8>,
    /// Offset of each file in `old`, by the hash of its path.
    index: HashMap<u128, usize>,
    /// The cache as it will be written.
    new: Vec<u8>,
}

impl KnownFiles {
    /// Reads the cache at `place` for files on `device`; empty if it is missing or invalid.
    pub(crate) fn load(place: &Path, profile: &Profile, device: u64, begun: Moment) -> Self {
        let head = head(profile, device);
        let old = match read_bounded(place) {
            Ok(bytes) if is_sound(&bytes, &head) => bytes,
            Ok(_) => {
                tracing::debug!(place = %place.display(), "what was remembered of a directory is of no use here");
                Vec::new()
            }
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::warn!(place = %place.display(), %error, "cannot read what was remembered of a directory");
                }
                Vec::new()
            }
        };
        let files = (HEAD_BYTES..old.len().saturating_sub(HASH_BYTES)).step_by(FILE_BYTES);
        let index = files.map(|at| (u128::from_le_bytes(array(&old, at)), at)).collect();
        let place = place.to_owned();
        Self { place, device, begun, old, index, new: head }
    }

    /// Determines which files of a listing are unchanged and completely in the store, where the caller's lease protects
    /// them: one flag per entry.
    pub(crate) fn recognise<S: Blockstore + ?Sized>(
        &self,
        store: &S,
        listing: &Listing,
        stamps: &[Stamp],
    ) -> Result<Vec<bool>> {
        let mut unchanged = vec![false; listing.entries.len()];
        let mut batch = Vec::new();
        for (number, (entry, stamp)) in listing.entries.iter().zip(stamps).enumerate() {
            if let EntryKind::File { .. } = entry.kind
                && let Some(child) = self.find(&entry.path, stamp)
            {
                batch.push((number, child.cid));
            }
            if batch.len() == BATCH_FILES {
                mark_whole(store, std::mem::take(&mut batch), &mut unchanged)?;
            }
        }
        mark_whole(store, batch, &mut unchanged)?;
        Ok(unchanged)
    }

    /// The file's root in the DAG, if it is cached with this stamp.
    pub(crate) fn find(&self, path: &str, stamp: &Stamp) -> Option<Child> {
        let at = *self.index.get(&xxh3_128(path.as_bytes()))?;
        let file = self.old.get(at..at + FILE_BYTES)?;
        let same = stamp.device == self.device && file[STAMP_AT..FORM_AT] == encode_stamp(stamp);
        let cid = same.then(|| decode_cid(file[FORM_AT], &file[DIGEST_AT..TSIZE_AT])).flatten()?;
        Some(Child { cid, content: stamp.size, tsize: u64::from_le_bytes(array(file, TSIZE_AT)) })
    }

    /// Adds the result for a file, if its stamp allows changes to be detected.
    pub(crate) fn learn(&mut self, path: &str, stamp: &Stamp, child: &Child) {
        let full = self.new.len() >= HEAD_BYTES + MAX_FILES * FILE_BYTES;
        if full || stamp.device != self.device || stamp.size != child.content || !stamp.is_settled(self.begun) {
            return;
        }
        let Some(form) = form_of(&child.cid) else { return };
        self.new.extend(xxh3_128(path.as_bytes()).to_le_bytes());
        self.new.extend(encode_stamp(stamp));
        self.new.push(form);
        self.new.extend(child.cid.hash().digest());
        self.new.extend(child.tsize.to_le_bytes());
    }

    /// Writes the new cache. A failure does not fail the import; the next import then reads more.
    pub(crate) fn save(mut self) {
        self.new.extend(xxh3_64(&self.new).to_le_bytes());
        let saved = if self.new == self.old { touch(&self.place) } else { replace(&self.place, &self.new) };
        if let Err(error) = saved {
            tracing::warn!(place = %self.place.display(), %error, "cannot remember the files of a directory");
        }
    }
}

/// Marks the files of which every block is in the store.
fn mark_whole<S: Blockstore + ?Sized>(store: &S, files: Vec<(usize, Cid)>, whole: &mut [bool]) -> Result<()> {
    let mut level = files;
    level.iter().for_each(|(number, _)| whole[*number] = true);
    while !level.is_empty() {
        let cids: Vec<_> = level.iter().map(|(_, cid)| *cid).collect();
        let here = store.retain(&cids)?;
        let mut below = Vec::new();
        for ((number, cid), here) in level.into_iter().zip(here) {
            match if here { parts(store, &cid)? } else { None } {
                Some(parts) => below.extend(parts.into_iter().map(|cid| (number, cid))),
                None => whole[number] = false,
            }
        }
        below.retain(|(number, _)| whole[*number]);
        level = below;
    }
    Ok(())
}

/// The children of a block of a file; `None` if it can no longer be read.
fn parts<S: Blockstore + ?Sized>(store: &S, cid: &Cid) -> Result<Option<Vec<Cid>>> {
    if cid.codec() == RAW {
        return Ok(Some(Vec::new()));
    }
    let block = match store.get(cid) {
        Ok(Some(block)) => block,
        Ok(None) | Err(Error::Corrupt { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok(match Node::parse(cid, &block) {
        Ok(Node::File(file)) => Some(file.parts.into_iter().map(|(cid, _)| cid).collect()),
        _ => None,
    })
}

fn head(profile: &Profile, device: u64) -> Vec<u8> {
    let mut head = MAGIC.to_vec();
    head.push(u8::from(profile.cid_version == Version::V1));
    head.push(u8::from(profile.raw_leaves));
    head.extend((profile.chunk_bytes as u64).to_le_bytes());
    head.extend((profile.file_links as u64).to_le_bytes());
    head.extend(device.to_le_bytes());
    head
}

fn is_sound(bytes: &[u8], head: &[u8]) -> bool {
    let Some((body, hash)) = bytes.split_last_chunk::<HASH_BYTES>() else { return false };
    body.starts_with(head)
        && (body.len() - head.len()).is_multiple_of(FILE_BYTES)
        && xxh3_64(body) == u64::from_le_bytes(*hash)
}

fn read_bounded(place: &Path) -> io::Result<Vec<u8>> {
    let most = HEAD_BYTES + MAX_FILES * FILE_BYTES + HASH_BYTES;
    if fs::metadata(place)?.len() > most as u64 {
        return Ok(Vec::new());
    }
    fs::read(place)
}

/// Writes a temporary file and renames it, so that readers never see a part; the hash detects what a crash leaves
/// behind.
fn replace(place: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = place.with_extension("partial");
    // Access for the owner only, whatever the process's umask, because it describes the contents of a directory.
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(bytes)?;
    fs::rename(&beside, place)
}

/// Marks the cache as used, for callers that limit the number of cache files.
fn touch(place: &Path) -> io::Result<()> {
    fs::OpenOptions::new().write(true).open(place)?.set_modified(SystemTime::now())
}

fn encode_stamp(stamp: &Stamp) -> [u8; STAMP_BYTES] {
    let mut bytes = [0; STAMP_BYTES];
    let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
    put(0, &stamp.inode.to_le_bytes());
    put(8, &stamp.size.to_le_bytes());
    put(16, &stamp.modified.seconds.to_le_bytes());
    put(24, &stamp.modified.nanos.to_le_bytes());
    put(28, &stamp.changed.seconds.to_le_bytes());
    put(36, &stamp.changed.nanos.to_le_bytes());
    bytes
}

fn form_of(cid: &Cid) -> Option<u8> {
    if cid.hash().code() != SHA2_256 {
        return None;
    }
    match (cid.version(), cid.codec()) {
        (Version::V1, RAW) => Some(FORM_RAW),
        (Version::V1, DAG_PB) => Some(FORM_DAG_PB),
        (Version::V0, _) => Some(FORM_DAG_PB_V0),
        _ => None,
    }
}

fn decode_cid(form: u8, digest: &[u8]) -> Option<Cid> {
    let hash = Multihash::wrap(SHA2_256, digest).ok()?;
    match form {
        FORM_RAW => Some(Cid::new_v1(RAW, hash)),
        FORM_DAG_PB => Some(Cid::new_v1(DAG_PB, hash)),
        FORM_DAG_PB_V0 => Cid::new_v0(hash).ok(),
        _ => None,
    }
}

/// `N` bytes of a record that has them.
fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("a slice of N bytes")
}

/// There is no gap between the fields of a file.
const _: () = assert!(TSIZE_AT == DIGEST_AT + 32 && FILE_BYTES == TSIZE_AT + 8 && DIGEST_AT == FORM_AT + 1);
