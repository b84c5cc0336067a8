//! A record of what an earlier export wrote to a destination, so that an update can distinguish former files from local
//! edits.
//!
//! It may describe more than one tree, because an update that was killed leaves files of both. The record is a file
//! that may be missing. A damaged file, or one of another version, is ignored:
//!
//! ```text
//! bytes  field (integers little endian)
//!     8  magic `gFORMER1`
//!        per entry: kind (1: directory, file, executable file, symlink), length of its path (4), the path,
//!        length of its CID (2), the CID, length of the file (8) or, of a symlink, of its target (8), the target,
//!        whether a stamp follows (1), the stamp: inode, times of writing and of change (seconds 8, nanoseconds 4 each)
//!     8  xxh3-64 of everything before
//! ```

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use xxhash_rust::xxh3::xxh3_64;

use super::update::Spot;
use crate::{
    Cid, RAW,
    unixfs::{
        Entry, EntryKind,
        stamp::{Moment, Stamp},
    },
};

/// Most entries in a record; a larger tree is not recorded.
pub const MAX_FORMER_ENTRIES: usize = 1 << 18;

const MAGIC: &[u8; 8] = b"gFORMER1";
const HASH_BYTES: usize = 8;
/// Longest file that is decoded, in bytes.
const MAX_FILE_BYTES: u64 = 256 << 20;

const DIRECTORY: u8 = 0;
const FILE: u8 = 1;
const EXECUTABLE: u8 = 2;
const SYMLINK: u8 = 3;

/// The record; see the module documentation. The default is an unknown former tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Former {
    /// `None` if the former tree is unknown.
    entries: Option<Vec<Kept>>,
}

/// An entry of a former tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) entry: Entry,
    /// The stamp of a file of several blocks. If the store has evicted its upper nodes, only the stamp shows whether
    /// the file was edited.
    pub(super) stamp: Option<Stamp>,
}

impl Former {
    /// Reads the record from a file; unknown if it is missing or invalid.
    pub fn load(file: &Path) -> Self {
        match read_bounded(file) {
            Ok(bytes) => Self { entries: decode(&bytes) },
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::warn!(file = %file.display(), %error, "cannot read what was written to a place before");
                }
                Self::default()
            }
        }
    }

    /// Writes the record to a temporary file, which then replaces `file`. A crash may leave a file that is ignored. If
    /// the former tree is unknown, the file is removed.
    ///
    /// # Errors
    /// An I/O error.
    pub fn save(&self, file: &Path) -> io::Result<()> {
        let Some(entries) = &self.entries else {
            return match fs::remove_file(file) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            };
        };
        let beside = file.with_extension("partial");
        // Access for the owner only, because it contains file names, and the umask may be that of a caller.
        let mut new = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        new.write_all(&encode(entries))?;
        fs::rename(&beside, file)
    }

    /// Returns whether the former tree is known.
    pub fn is_known(&self) -> bool {
        self.entries.is_some()
    }

    /// A record of a tree without entries so far.
    pub(super) fn begin() -> Self {
        Self { entries: Some(Vec::new()) }
    }

    /// Adds an entry of the tree.
    pub(super) fn add(&mut self, entry: &Entry) {
        let is_full = self.entries.as_ref().is_some_and(|entries| entries.len() >= MAX_FORMER_ENTRIES);
        match &mut self.entries {
            Some(entries) if !is_full => entries.push(Kept { entry: entry.clone(), stamp: None }),
            entries => *entries = None,
        }
    }

    /// The record of a tree that was just written.
    pub(super) fn of<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Self {
        let mut former = Self::begin();
        entries.into_iter().for_each(|entry| former.add(entry));
        former
    }

    /// The union of two trees; unknown if either is unknown.
    pub(super) fn or(&self, other: &Self) -> Self {
        let (Some(entries), Some(others)) = (&self.entries, &other.entries) else { return Self::default() };
        let both: Vec<_> = entries.iter().chain(others).cloned().collect();
        Self { entries: (both.len() <= MAX_FORMER_ENTRIES).then_some(both) }
    }

    /// Adds the stamps of files of several blocks at a destination.
    pub(super) fn stamped(mut self, destination: &Path) -> Self {
        let is_of_several = |entry: &Entry| matches!(entry.kind, EntryKind::File { .. }) && entry.cid.codec() != RAW;
        let mut several = self.entries.iter_mut().flatten().filter(|kept| is_of_several(&kept.entry)).peekable();
        if several.peek().is_none() {
            return self;
        }
        if let Ok(spot) = Spot::of(destination) {
            several.for_each(|kept| kept.stamp = spot.stamp(&kept.entry.path));
        }
        self
    }

    pub(super) fn entries(&self) -> &[Kept] {
        self.entries.as_deref().unwrap_or_default()
    }
}

fn read_bounded(file: &Path) -> io::Result<Vec<u8>> {
    if fs::metadata(file)?.len() > MAX_FILE_BYTES {
        return Ok(Vec::new());
    }
    fs::read(file)
}

fn encode(entries: &[Kept]) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    for Kept { entry, stamp } in entries {
        let (kind, length, target) = match &entry.kind {
            EntryKind::Directory => (DIRECTORY, 0, ""),
            EntryKind::File { size, executable: false } => (FILE, *size, ""),
            EntryKind::File { size, executable: true } => (EXECUTABLE, *size, ""),
            EntryKind::Symlink { target } => (SYMLINK, target.len() as u64, target.as_str()),
        };
        let cid = entry.cid.to_bytes();
        bytes.push(kind);
        bytes.extend((entry.path.len() as u32).to_le_bytes());
        bytes.extend(entry.path.as_bytes());
        bytes.extend((cid.len() as u16).to_le_bytes());
        bytes.extend(cid);
        bytes.extend(length.to_le_bytes());
        bytes.extend(target.as_bytes());
        bytes.push(u8::from(stamp.is_some()));
        if let Some(Stamp { inode, modified, changed, .. }) = stamp {
            bytes.extend(inode.to_le_bytes());
            for moment in [modified, changed] {
                bytes.extend(moment.seconds.to_le_bytes());
                bytes.extend(moment.nanos.to_le_bytes());
            }
        }
    }
    bytes.extend(xxh3_64(&bytes).to_le_bytes());
    bytes
}

/// Decodes the output of [`encode`]; `None` if it is invalid.
fn decode(bytes: &[u8]) -> Option<Vec<Kept>> {
    let (body, hash) = bytes.split_last_chunk::<HASH_BYTES>()?;
    if xxh3_64(body) != u64::from_le_bytes(*hash) {
        return None;
    }
    let mut reader = Reader { rest: body.strip_prefix(MAGIC)? };
    let mut entries = Vec::new();
    while !reader.rest.is_empty() {
        entries.push(reader.entry()?);
    }
    Some(entries)
}

/// The remaining bytes of a decoder.
struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn entry(&mut self) -> Option<Kept> {
        let [kind] = self.array()?;
        let length = u32::from_le_bytes(self.array()?) as usize;
        let path = self.text(length)?;
        let length = usize::from(u16::from_le_bytes(self.array()?));
        let cid = Cid::try_from(self.take(length)?).ok()?;
        let size = u64::from_le_bytes(self.array()?);
        let kind = match kind {
            DIRECTORY => EntryKind::Directory,
            FILE | EXECUTABLE => EntryKind::File { size, executable: kind == EXECUTABLE },
            SYMLINK => EntryKind::Symlink { target: self.text(usize::try_from(size).ok()?)? },
            _ => return None,
        };
        let stamp = match self.array()? {
            [0] => None,
            [1] => Some(self.stamp(size)?),
            _ => return None,
        };
        Some(Kept { entry: Entry { path, cid, kind }, stamp })
    }

    fn stamp(&mut self, size: u64) -> Option<Stamp> {
        let inode = u64::from_le_bytes(self.array()?);
        let (modified, changed) = (self.moment()?, self.moment()?);
        // Device numbers are not stable on every file system.
        Some(Stamp { device: 0, inode, size, modified, changed })
    }

    fn moment(&mut self) -> Option<Moment> {
        Some(Moment { seconds: i64::from_le_bytes(self.array()?), nanos: u32::from_le_bytes(self.array()?) })
    }

    fn text(&mut self, length: usize) -> Option<String> {
        String::from_utf8(self.take(length)?.to_vec()).ok()
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*array)
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Block;

    fn sample() -> Former {
        let cid = *Block::raw(&b"x"[..]).unwrap().cid();
        let entry = |path: &str, kind| Entry { path: path.to_owned(), cid, kind };
        let entries = [
            entry("d", EntryKind::Directory),
            entry("d/\u{e9}", EntryKind::File { size: 1 << 40, executable: false }),
            entry("d/run", EntryKind::File { size: 3, executable: true }),
            entry("link", EntryKind::Symlink { target: "d/run".to_owned() }),
        ];
        let mut former = Former::of(&entries);
        let moment = |seconds| Moment { seconds, nanos: 999_999_999 };
        let stamp = Stamp { device: 0, inode: 7, size: 3, modified: moment(-1), changed: moment(2) };
        former.entries.as_mut().unwrap()[2].stamp = Some(stamp);
        former
    }

    #[test]
    fn what_is_saved_is_loaded_and_what_is_damaged_is_nothing() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("former");
        assert!(!Former::load(&file).is_known());
        sample().save(&file).unwrap();
        assert_eq!(Former::load(&file), sample());
        let whole = fs::read(&file).unwrap();
        for damaged in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[damaged] ^= 1;
            fs::write(&file, &bytes).unwrap();
            assert!(!Former::load(&file).is_known(), "byte {damaged}");
            fs::write(&file, &whole[..damaged]).unwrap();
            assert!(!Former::load(&file).is_known(), "cut at {damaged}");
        }
        Former::default().save(&file).unwrap();
        Former::default().save(&file).unwrap();
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
    }

    /// The hash does not protect against a deliberately crafted file.
    #[test]
    fn nonsense_with_a_right_hash_is_nothing_either() {
        let whole = encode(sample().entries());
        let body = &whole[..whole.len() - HASH_BYTES];
        for cut in MAGIC.len() + 1..body.len() {
            let mut bytes = body[..cut].to_vec();
            bytes.extend(xxh3_64(&bytes).to_le_bytes());
            if let Some(entries) = decode(&bytes) {
                assert!(entries.len() < 4);
            }
        }
    }

    #[test]
    fn of_two_trees_both_are_known() {
        let other = Former::of(&[]);
        assert_eq!(sample().or(&other), sample());
        assert_eq!(sample().or(&sample()).entries().len(), 8);
        assert!(!sample().or(&Former::default()).is_known());
    }
}
