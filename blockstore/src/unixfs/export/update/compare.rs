//! Compares files on disk with the content of a DAG. Raw leaves are not read from the store: the bytes on disk are
//! hashed and compared with their CIDs.

use std::{collections::HashSet, fs::File, os::unix::fs::FileExt};

use super::{
    super::{
        ExportOptions,
        jobs::{Job, Jobs, Part, file_size},
    },
    spot::Spot,
};
use crate::{
    Blockstore, Cid, Error, MAX_BLOCK_BYTES, MAX_WALK_DEPTH, MAX_WALK_PENDING, RAW, Result,
    hash::digest_like,
    unixfs::{
        Entry,
        pipeline::{run_in_order, threads},
        reader::read_part,
    },
};

/// The paths of the files that differ from their content in the DAG. Files that cannot be read count as different.
pub(super) fn differing<'a, S: Blockstore + ?Sized>(
    store: &S,
    files: &[&'a Entry],
    spot: &Spot,
    options: &ExportOptions<'_>,
) -> Result<HashSet<&'a str>> {
    let mut differing = HashSet::new();
    let jobs = Jobs::new(store, files.iter().copied().map(Ok));
    let work = |job| check(store, job, spot);
    run_in_order(threads(options.threads), jobs, work, |found: Vec<&'a Entry>| {
        differing.extend(found.into_iter().map(|entry| entry.path.as_str()));
        options.go_on()
    })?;
    Ok(differing)
}

/// Returns whether a file on disk has the content of the entry. Its length is known to match.
pub(super) fn matches<S: Blockstore + ?Sized>(store: &S, entry: &Entry, spot: &Spot) -> Result<bool> {
    let Ok(file) = spot.open_file(&entry.path) else { return Ok(false) };
    let part = Part::Node { cid: entry.cid, size: file_size(entry) };
    OnDisk { file, buffer: &mut Vec::new() }.holds(store, 0, part)
}

/// The files of a job that differ.
fn check<'a, S: Blockstore + ?Sized>(store: &S, job: Job<&'a Entry>, spot: &Spot) -> Result<Vec<&'a Entry>> {
    let parts = match job {
        Job::Bundle(entries) => entries.into_iter().map(|entry| (entry, 0, Part::whole(entry))).collect(),
        Job::Part { entry, offset, part } => vec![(entry, offset, part)],
    };
    let (mut differing, mut buffer) = (Vec::new(), Vec::new());
    for (entry, offset, part) in parts {
        let same = match spot.open_file(&entry.path) {
            Ok(file) => OnDisk { file, buffer: &mut buffer }.holds(store, offset, part)?,
            Err(_) => false,
        };
        if !same {
            differing.push(entry);
        }
    }
    Ok(differing)
}

/// A file that may have the expected content.
struct OnDisk<'a> {
    file: File,
    buffer: &'a mut Vec<u8>,
}

impl OnDisk<'_> {
    /// Returns whether the part of the content is at `offset`.
    fn holds<S: Blockstore + ?Sized>(&mut self, store: &S, offset: u64, part: Part) -> Result<bool> {
        let (cid, size) = match part {
            Part::Data(data) => return Ok(self.read(offset, data.len()) == Some(&data[..])),
            Part::Node { cid, size } => (cid, size),
        };
        // Nodes to compare: their level, and the offset of their content.
        let mut stack = vec![(0, offset, cid, size)];
        while let Some((level, mut offset, cid, size)) = stack.pop() {
            if cid.codec() == RAW {
                if !self.holds_leaf(offset, &cid, size) {
                    return Ok(false);
                }
                continue;
            }
            let node = read_part(store, &cid, size)?;
            if self.read(offset, node.data.len()) != Some(&node.data[..]) {
                return Ok(false);
            }
            offset += node.data.len() as u64;
            for (cid, size) in node.parts.into_iter().filter(|(_, size)| *size > 0) {
                stack.push((level + 1, offset, cid, size));
                offset += size;
            }
            if level > MAX_WALK_DEPTH || stack.len() > MAX_WALK_PENDING {
                return Err(Error::LimitExceeded { what: "links of one file", limit: MAX_WALK_PENDING as u64 });
            }
        }
        Ok(true)
    }

    fn holds_leaf(&mut self, offset: u64, cid: &Cid, size: u64) -> bool {
        // A leaf whose stated length exceeds the block limit cannot match; the export reports it.
        let Some(length) = usize::try_from(size).ok().filter(|length| *length <= MAX_BLOCK_BYTES) else { return false };
        let hash = self.read(offset, length).and_then(|data| digest_like(cid.hash(), data).ok());
        hash.as_ref() == Some(cid.hash())
    }

    fn read(&mut self, offset: u64, length: usize) -> Option<&[u8]> {
        if self.buffer.len() < length {
            self.buffer.resize(length, 0);
        }
        let data = &mut self.buffer[..length];
        self.file.read_exact_at(data, offset).ok()?;
        Some(data)
    }
}
