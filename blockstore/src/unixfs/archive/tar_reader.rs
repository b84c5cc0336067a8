//! Tar headers: ustar, GNU long names, PAX (POSIX.1-2017, pax, "ustar Interchange Format").
//!
//! | offset | bytes | field | | offset | bytes | field |
//! |---|---|---|---|---|---|---|
//! | 0 | 100 | name | | 156 | 1 | type |
//! | 100 | 8 | mode | | 157 | 100 | link target |
//! | 124 | 12 | size | | 257 | 6 | magic |
//! | 148 | 8 | checksum | | 345 | 155 | prefix of the name |
//!
//! What GNU tar reads without complaint is read as GNU tar reads it: a size in the header of a link or directory means
//! nothing, an end marker may be missing (which is noted), holes of sparse files are zeros. Stricter than it where readers differ: nothing may follow the
//! end marker, extensions are bounded.

use super::{
    block::{BLOCK_BYTES, number},
    decode::Source,
    sparse::{Run, Sparse, SparseRecords},
};
use crate::{Error, Result};

/// Largest PAX header or GNU long name, in bytes.
const MAX_EXTENSION_BYTES: u64 = 1 << 20;

/// An entry of a tar archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TarEntry {
    /// Its path as the archive has it.
    pub(super) path: Vec<u8>,
    pub(super) kind: TarKind,
    /// Bytes of content, those of the holes of a sparse file among them.
    pub(super) size: u64,
    pub(super) executable: bool,
    /// Target of a link.
    pub(super) link: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TarKind {
    File,
    Directory,
    Symlink,
    HardLink,
    /// What no package may have, with its article.
    Other(&'static str),
}

/// Reads a tar archive. Content that is not read is skipped.
#[derive(Debug)]
pub(super) struct TarReader<R> {
    input: R,
    /// Bytes that the archive has of the last entry's content and that were not read.
    left: u64,
    /// Bytes of padding after it.
    padding: u64,
    /// The last entry, if it is a sparse file.
    sparse: Option<Sparse>,
    /// An entry was of an incremental archive.
    is_incremental: bool,
    /// The archive ended without its end marker.
    lacks_end: bool,
}

/// What extension headers say of the entry after them.
#[derive(Debug, Default)]
struct Extension {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    sparse: Option<SparseRecords>,
    /// It has the names in a directory, as incremental archives do.
    names: bool,
    any: bool,
}

impl<R: Source> TarReader<R> {
    pub(super) fn new(input: R) -> Self {
        Self { input, left: 0, padding: 0, sparse: None, is_incremental: false, lacks_end: false }
    }

    /// Whether the archive ended without its end marker, once [`next_entry`](Self::next_entry) has come to its end. It may
    /// have been cut off between two entries.
    pub(super) fn lacks_end(&self) -> bool {
        self.lacks_end
    }

    /// Whether an entry so far was of an incremental archive.
    pub(super) fn is_incremental(&self) -> bool {
        self.is_incremental
    }

    /// The next entry, or `None` at the end of the archive, which is checked to be its end.
    pub(super) fn next_entry(&mut self) -> Result<Option<TarEntry>> {
        let mut extension = Extension::default();
        loop {
            self.skip_content()?;
            let mut block = [0; BLOCK_BYTES];
            let length = self.input.fill(&mut block)?;
            if block == [0; BLOCK_BYTES] {
                if extension.any {
                    return Err(Error::archive("it ends in the middle of an entry"));
                }
                self.lacks_end = length < BLOCK_BYTES;
                if length == BLOCK_BYTES {
                    self.expect_end()?;
                }
                return Ok(None);
            }
            if length < BLOCK_BYTES {
                return Err(Error::archive("it is no tar archive, or ends in the middle of an entry"));
            }
            let header = Header { block: &block };
            let size = header.check()?;
            match header.kind() {
                b'L' => extension.path = Some(until_nul(&self.extension(size)?).to_vec()),
                b'K' => extension.link = Some(until_nul(&self.extension(size)?).to_vec()),
                b'x' | b'X' => {
                    let records = self.extension(size)?;
                    extension.read_pax(&records)?;
                }
                // Defaults for the whole archive (git puts its commit there) and volume labels say nothing of a tree.
                b'g' | b'V' => {
                    self.begin_content(size);
                    continue;
                }
                kind => return self.entry(&header, kind, size, extension).map(Some),
            }
            extension.any = true;
        }
    }

    /// Fills `buffer` with the next bytes of the last entry's content.
    pub(super) fn read_data(&mut self, buffer: &mut [u8]) -> Result<()> {
        let Some(mut sparse) = self.sparse.take() else { return self.read_stored(buffer) };
        let mut filled = 0;
        while filled < buffer.len() {
            let rest = &mut buffer[filled..];
            let fit = |bytes: u64| bytes.min(rest.len() as u64) as usize;
            let length = match sparse.run().expect("an entry's content is read within its size") {
                Run::Hole(bytes) => {
                    let length = fit(bytes);
                    rest[..length].fill(0);
                    self.input.unpacks(length as u64)?;
                    length
                }
                Run::Data(bytes) => {
                    let length = fit(bytes);
                    self.read_stored(&mut rest[..length])?;
                    length
                }
            };
            sparse.advance(length as u64);
            filled += length;
        }
        self.sparse = Some(sparse);
        Ok(())
    }

    fn read_stored(&mut self, buffer: &mut [u8]) -> Result<()> {
        debug_assert!(buffer.len() as u64 <= self.left, "an entry's content is read within its size");
        self.fill(buffer, "it ends in the middle of a file")?;
        self.left -= buffer.len() as u64;
        Ok(())
    }

    fn entry(&mut self, header: &Header<'_>, kind: u8, size: u64, extension: Extension) -> Result<TarEntry> {
        let named = extension.sparse.as_ref().and_then(|sparse| sparse.name.clone());
        let path = named.or(extension.path).unwrap_or_else(|| header.path());
        let link = extension.link.unwrap_or_else(|| until_nul(header.field(157, 100)).to_vec());
        let size = extension.size.unwrap_or(size);
        self.is_incremental |= extension.names || kind == b'D';
        let is_dump = kind == b'D';
        let kind = match kind {
            0 | b'0' if path.ends_with(b"/") => TarKind::Directory,
            b'0' | b'7' | b'S' | 0 => TarKind::File,
            b'1' => TarKind::HardLink,
            b'2' => TarKind::Symlink,
            b'3' | b'4' => TarKind::Other("a device"),
            b'5' | b'D' => TarKind::Directory,
            b'6' => TarKind::Other("a pipe"),
            b'M' => TarKind::Other("the rest of a file that begins in another volume of the archive"),
            _ => TarKind::Other("an unknown kind of entry"),
        };
        let executable = header.number(100, 8)? & 0o100 != 0;
        if kind != TarKind::File {
            // Others have no content, whatever size their header has (some writers put that of the file there), but for
            // the names in a directory of an incremental archive.
            self.begin_content(if is_dump { size } else { 0 });
            return Ok(TarEntry { path, kind, size: 0, executable, link });
        }
        let size = self.begin_file(header, size, extension.sparse)?;
        Ok(TarEntry { path, kind, size, executable, link })
    }

    /// Begins a file of which the archive has `stored` bytes, and returns its length.
    fn begin_file(&mut self, header: &Header<'_>, stored: u64, records: Option<SparseRecords>) -> Result<u64> {
        let (sparse, left) = match (header.kind(), records) {
            (b'S', _) => (Sparse::read_old(header.block, &mut self.input)?, stored),
            (_, Some(records)) => records.finish(&mut self.input, stored)?,
            (_, None) => {
                self.begin_content(stored);
                return Ok(stored);
            }
        };
        let sparse = sparse.checked(left)?;
        // The map of the form 1.0 takes whole blocks.
        self.begin_content(left);
        let size = sparse.size;
        self.sparse = Some(sparse);
        Ok(size)
    }

    fn begin_content(&mut self, size: u64) {
        self.left = size;
        self.padding = size.wrapping_neg() % BLOCK_BYTES as u64;
    }

    /// Reads an extension header's content.
    fn extension(&mut self, size: u64) -> Result<Vec<u8>> {
        if size > MAX_EXTENSION_BYTES {
            return Err(Error::archive(format!("a header in it is larger than {MAX_EXTENSION_BYTES} bytes")));
        }
        self.begin_content(size);
        let mut content = vec![0; size as usize];
        self.read_stored(&mut content)?;
        Ok(content)
    }

    fn fill(&mut self, buffer: &mut [u8], reason: &str) -> Result<()> {
        if self.input.fill(buffer)? == buffer.len() { Ok(()) } else { Err(Error::archive(reason)) }
    }

    /// Skips what was not read of the last entry.
    fn skip_content(&mut self) -> Result<()> {
        let holes = self.sparse.take().map_or(0, |sparse| sparse.holes_left(self.left));
        let mut bytes = self.left.saturating_add(self.padding);
        let mut buffer = [0; 16 * BLOCK_BYTES];
        while bytes > 0 {
            let length = bytes.min(buffer.len() as u64) as usize;
            self.fill(&mut buffer[..length], "it ends in the middle of a file")?;
            bytes -= length as u64;
        }
        (self.left, self.padding) = (0, 0);
        self.input.unpacks(holes)
    }

    /// Reads to the end of the input, so that its checksum is checked: zeros only.
    fn expect_end(&mut self) -> Result<()> {
        let mut buffer = [0; 16 * BLOCK_BYTES];
        loop {
            let length = self.input.fill(&mut buffer)?;
            if buffer[..length].iter().any(|byte| *byte != 0) {
                return Err(Error::archive("bytes follow its end marker"));
            }
            if length < buffer.len() {
                return Ok(());
            }
        }
    }
}

impl Extension {
    /// Reads PAX records: `<length> <key>=<value>\n`, the length counting the whole record.
    fn read_pax(&mut self, mut records: &[u8]) -> Result<()> {
        let malformed = || Error::archive("a PAX header in it is malformed");
        while !records.is_empty() {
            let space = records.iter().position(|byte| *byte == b' ').ok_or_else(malformed)?;
            let length = std::str::from_utf8(&records[..space]).ok().and_then(|digits| digits.parse::<usize>().ok());
            let length =
                length.filter(|length| *length > space + 1 && *length <= records.len()).ok_or_else(malformed)?;
            let record = records[space + 1..length].strip_suffix(b"\n").ok_or_else(malformed)?;
            let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(malformed)?;
            let (key, value) = (&record[..equals], &record[equals + 1..]);
            match key {
                b"path" => self.path = Some(value.to_vec()),
                b"linkpath" => self.link = Some(value.to_vec()),
                b"size" => {
                    let size = std::str::from_utf8(value).ok().and_then(|digits| digits.parse().ok());
                    self.size = Some(size.ok_or_else(malformed)?);
                }
                b"GNU.dumpdir" => self.names = true,
                _ => {
                    if let Some(key) = key.strip_prefix(b"GNU.sparse.") {
                        self.sparse.get_or_insert_default().read(key, value)?;
                    }
                }
            }
            records = &records[length..];
        }
        Ok(())
    }
}

struct Header<'a> {
    block: &'a [u8; BLOCK_BYTES],
}

impl<'a> Header<'a> {
    fn field(&self, offset: usize, length: usize) -> &'a [u8] {
        &self.block[offset..offset + length]
    }

    fn kind(&self) -> u8 {
        self.block[156]
    }

    /// Checks the checksum, the bytes' sum with itself as spaces, and returns the size.
    fn check(&self) -> Result<u64> {
        let stated = self.number(148, 8)?;
        let bytes =
            || self.block.iter().enumerate().map(|(at, byte)| if (148..156).contains(&at) { b' ' } else { *byte });
        let unsigned: u64 = bytes().map(u64::from).sum();
        // Some old writers summed signed bytes.
        let signed: i64 = bytes().map(|byte| i64::from(byte as i8)).sum();
        if stated != unsigned && i64::try_from(stated) != Ok(signed) {
            return Err(Error::archive("it is no tar archive, or damaged: a header's checksum is wrong"));
        }
        self.number(124, 12)
    }

    fn number(&self, offset: usize, length: usize) -> Result<u64> {
        number(self.field(offset, length))
    }

    fn path(&self) -> Vec<u8> {
        let name = until_nul(self.field(0, 100));
        let prefix = until_nul(self.field(345, 155));
        if self.field(257, 6) == b"ustar\0" && !prefix.is_empty() {
            [prefix, b"/", name].concat()
        } else {
            name.to_vec()
        }
    }
}

fn until_nul(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or(field)
}
