//! The canonical tarball of a tree: the same bytes for the same tree and list of executables.
//!
//! Entries are sorted by the bytes of their paths, the root (`./`) first. Every field that is not content is fixed:
//! mtime, uid and gid 0, no user or group, mode 0755 for directories and executables, 0644 for other files, 0777 for
//! symlinks. The format is POSIX ustar; a path or target over 100 bytes, or a size of 8 GiB or more, is stored in a PAX
//! header named `PaxHeader`. Two blocks of zeros end it.

use std::{collections::HashSet, io::Write, path::Path, slice};

use bytes::Bytes;

use super::{
    ExportOptions, ExportProgress, Exported,
    jobs::{Job, Jobs, Part, file_size},
};
use crate::{
    Blockstore, Cid, Error, Result,
    unixfs::{
        Entry, EntryKind, list_tree,
        pipeline::{run_in_order, threads},
    },
};

/// Bytes of a header, to which content is padded.
const BLOCK_BYTES: usize = 512;
/// Longest path or target in a header.
const MAX_FIELD_BYTES: usize = 100;
/// Largest size in a header: eleven octal digits.
const MAX_FIELD_SIZE: u64 = (1 << 33) - 1;

/// Writes the directory `root` as a tarball, uncompressed.
///
/// # Errors
/// The errors of [`list_tree`]; [`Error::InvalidNode`] if the root is a file; an I/O error of the writer.
pub fn export_tar<S: Blockstore + ?Sized>(
    store: &S,
    root: Cid,
    writer: &mut dyn Write,
    options: &ExportOptions<'_>,
) -> Result<Exported> {
    write_tar(store, root, writer, Path::new(TARBALL), options)
}

/// As [`export_tar`]; I/O errors of the writer name `name`.
pub(super) fn write_tar<S: Blockstore + ?Sized>(
    store: &S,
    root: Cid,
    writer: &mut dyn Write,
    name: &Path,
    options: &ExportOptions<'_>,
) -> Result<Exported> {
    let mut tree = list_tree(store, root, &options.limits)?;
    if tree.is_file() {
        return Err(Error::NotADirectory { cid: Box::new(root) });
    }
    tree.entries.sort_unstable_by(|left, right| left.path.as_bytes().cmp(right.path.as_bytes()));
    let executables = options.executables.iter().map(String::as_str).collect();
    let progress = ExportProgress { bytes: 0, total_bytes: tree.size_bytes };
    let mut tar = TarWriter { writer, name, executables, options, progress, entries: tree.entries.iter() };
    tar.header(&Header { path: "./", mode: 0o755, kind: b'5', size: 0, link: "" })?;
    let jobs = Jobs::new(store, tree.entries.iter().map(Ok));
    run_in_order(
        threads(options.threads),
        jobs,
        |job| read(store, job),
        |parts| parts.iter().try_for_each(|part| tar.part(part)),
    )?;
    tar.entries_before(None)?;
    tar.put(&[0; 2 * BLOCK_BYTES])?;
    tar.writer.flush().map_err(Error::io("write", name))?;
    Ok(Exported { files: tree.files, size_bytes: tree.size_bytes })
}

/// Verified content of a file, in order.
#[derive(Debug)]
struct Read<'a> {
    entry: &'a Entry,
    offset: u64,
    pieces: Vec<Bytes>,
}

fn read<'a, S: Blockstore + ?Sized>(store: &S, job: Job<&'a Entry>) -> Result<Vec<Read<'a>>> {
    let read = |entry, offset, part: Part| {
        let mut pieces = Vec::new();
        part.read(store, |piece| {
            pieces.push(piece);
            Ok(())
        })?;
        Ok(Read { entry, offset, pieces })
    };
    match job {
        Job::Bundle(entries) => entries.into_iter().map(|entry| read(entry, 0, Part::whole(entry))).collect(),
        Job::Part { entry, offset, part } => Ok(vec![read(entry, offset, part)?]),
    }
}

/// Name of the output in errors if it has no path.
const TARBALL: &str = "tarball";

struct Header<'a> {
    path: &'a str,
    mode: u32,
    kind: u8,
    size: u64,
    link: &'a str,
}

struct TarWriter<'a> {
    writer: &'a mut dyn Write,
    /// Name of the output in errors.
    name: &'a Path,
    executables: HashSet<&'a str>,
    options: &'a ExportOptions<'a>,
    progress: ExportProgress,
    /// Entries whose headers are still to be written.
    entries: slice::Iter<'a, Entry>,
}

impl TarWriter<'_> {
    /// Writes a part of a file; before the first part, writes the headers up to the file's own.
    fn part(&mut self, part: &Read<'_>) -> Result<()> {
        if part.offset == 0 {
            self.entries_before(Some(&part.entry.path))?;
        }
        let mut end = part.offset;
        for piece in &part.pieces {
            self.put(piece)?;
            end += piece.len() as u64;
        }
        self.progress.bytes += end - part.offset;
        if let Some(report) = self.options.progress {
            report(self.progress);
        }
        self.options.go_on()?;
        let size = file_size(part.entry);
        if end == size { self.pad(size) } else { Ok(()) }
    }

    /// Writes headers up to and including that of the file at `path`, or all remaining ones.
    fn entries_before(&mut self, path: Option<&str>) -> Result<()> {
        while let Some(entry) = self.entries.next() {
            self.entry(entry)?;
            if path == Some(entry.path.as_str()) {
                break;
            }
        }
        Ok(())
    }

    fn entry(&mut self, entry: &Entry) -> Result<()> {
        let path = entry.path.as_str();
        match &entry.kind {
            EntryKind::Directory => {
                self.header(&Header { path: &format!("{path}/"), mode: 0o755, kind: b'5', size: 0, link: "" })
            }
            EntryKind::Symlink { target } => {
                self.header(&Header { path, mode: 0o777, kind: b'2', size: 0, link: target })
            }
            EntryKind::File { size, executable } => {
                let executable = *executable || self.executables.contains(path);
                let mode = if executable { 0o755 } else { 0o644 };
                self.header(&Header { path, mode, kind: b'0', size: *size, link: "" })
            }
        }
    }

    fn header(&mut self, header: &Header<'_>) -> Result<()> {
        let mut records = Vec::new();
        if header.path.len() > MAX_FIELD_BYTES {
            pax_record(&mut records, "path", header.path);
        }
        if header.link.len() > MAX_FIELD_BYTES {
            pax_record(&mut records, "linkpath", header.link);
        }
        if header.size > MAX_FIELD_SIZE {
            pax_record(&mut records, "size", &header.size.to_string());
        }
        if !records.is_empty() {
            let size = records.len() as u64;
            self.put(&encode(&Header { path: "PaxHeader", mode: 0o644, kind: b'x', size, link: "" }))?;
            self.put(&records)?;
            self.pad(size)?;
        }
        self.put(&encode(header))
    }

    fn pad(&mut self, size: u64) -> Result<()> {
        let padding = size.wrapping_neg() % BLOCK_BYTES as u64;
        self.put(&[0; BLOCK_BYTES][..padding as usize])
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.writer.write_all(bytes).map_err(Error::io("write", self.name))
    }
}

/// Appends `<length> <key>=<value>\n`, whose length counts its own digits.
fn pax_record(records: &mut Vec<u8>, key: &str, value: &str) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while rest + length.to_string().len() != length {
        length = rest + length.to_string().len();
    }
    records.extend_from_slice(format!("{length} {key}={value}\n").as_bytes());
}

fn encode(header: &Header<'_>) -> [u8; BLOCK_BYTES] {
    let mut block = [0; BLOCK_BYTES];
    let mut put = |offset: usize, bytes: &[u8]| block[offset..offset + bytes.len()].copy_from_slice(bytes);
    let fit = |text: &str| text.as_bytes()[..text.len().min(MAX_FIELD_BYTES)].to_vec();
    // A size that does not fit is stored in the PAX header, and readers ignore this field.
    let size = if header.size > MAX_FIELD_SIZE { 0 } else { header.size };
    put(0, &fit(header.path));
    put(100, format!("{:07o}", header.mode).as_bytes());
    put(108, b"0000000");
    put(116, b"0000000");
    put(124, format!("{size:011o}").as_bytes());
    put(136, b"00000000000");
    put(148, b"        ");
    put(156, &[header.kind]);
    put(157, &fit(header.link));
    put(257, b"ustar\x0000");
    put(329, b"0000000");
    put(337, b"0000000");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pax_record_counts_its_own_length() {
        for value in [1, 5, 80, 88, 89, 90, 91, 990, 991, 992, 993].map(|length| "x".repeat(length)) {
            let mut record = Vec::new();
            pax_record(&mut record, "path", &value);
            assert!(record.starts_with(format!("{} path=", record.len()).as_bytes()), "{}", value.len());
        }
    }
}
