//! Sparse files: the archive has the parts that are not holes, and a map of where they lie.
//!
//! | form | where the map is | who writes it |
//! |---|---|---|
//! | old | in the header: 4 parts at 386, more in blocks of 21 after it; the length at 483 | `tar --sparse` |
//! | 0.0 | a PAX record `GNU.sparse.offset` and one `GNU.sparse.numbytes` for each part | `--sparse-version=0.0` |
//! | 0.1 | the PAX record `GNU.sparse.map` | `--sparse-version=0.1` |
//! | 1.0 | before the content: decimal lines, their number first, padded to a block | `tar --sparse --format=pax`, bsdtar |
//!
//! Holes are zeros, and count as bytes that the archive unpacks to.

use super::{
    block::{BLOCK_BYTES, number},
    decode::Source,
};
use crate::{Error, Result};

/// Most parts of a sparse file. Its map then takes 4 MiB.
const MAX_PARTS: usize = 1 << 18;
/// Bytes of an offset and a length in the old form.
const OLD_PART_BYTES: usize = 24;
/// Parts in a header of the old form, and in a block after it.
const OLD_PARTS: [usize; 2] = [4, 21];
/// Digits of a number in a map of the form 1.0, of which 64 bits take 20.
const MAX_DIGITS: usize = 20;

/// A part of a sparse file that is not a hole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Part {
    offset: u64,
    bytes: u64,
}

/// A sparse file on its way out of an archive.
#[derive(Debug, Default)]
pub(super) struct Sparse {
    /// Length of the file, holes included.
    pub(super) size: u64,
    parts: Vec<Part>,
    /// The part that comes next, or is being read.
    next: usize,
    /// Bytes that were read.
    position: u64,
}

/// The next bytes of a sparse file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Run {
    /// So many zeros.
    Hole(u64),
    /// So many bytes of the archive.
    Data(u64),
}

impl Sparse {
    fn push(&mut self, part: Part) -> Result<()> {
        if self.parts.len() >= MAX_PARTS {
            return Err(Error::archive(format!("a sparse file in it has more than {MAX_PARTS} parts")));
        }
        self.parts.push(part);
        Ok(())
    }

    /// Checks that the parts follow each other, end within the file, and are all the `stored` bytes that the archive has.
    pub(super) fn checked(self, stored: u64) -> Result<Self> {
        let (mut end, mut bytes) = (0_u64, 0_u64);
        for part in &self.parts {
            let after = part.offset.checked_add(part.bytes).filter(|after| *after <= self.size && part.offset >= end);
            end = after.ok_or_else(malformed)?;
            bytes += part.bytes;
        }
        if bytes == stored { Ok(self) } else { Err(malformed()) }
    }

    /// What comes next; nothing at the end of the file.
    pub(super) fn run(&self) -> Option<Run> {
        match self.parts.get(self.next) {
            Some(part) if self.position < part.offset => Some(Run::Hole(part.offset - self.position)),
            Some(part) => Some(Run::Data(part.offset + part.bytes - self.position)),
            None => (self.position < self.size).then(|| Run::Hole(self.size - self.position)),
        }
    }

    /// Goes on by so many bytes, which lie within the present run.
    pub(super) fn advance(&mut self, bytes: u64) {
        self.position += bytes;
        while self.parts.get(self.next).is_some_and(|part| self.position >= part.offset + part.bytes) {
            self.next += 1;
        }
    }

    /// Bytes of holes that are still to come.
    pub(super) fn holes_left(&self, stored: u64) -> u64 {
        (self.size - self.position).saturating_sub(stored)
    }

    /// Reads the map of the old form: the header, and the blocks after it.
    pub(super) fn read_old(header: &[u8; BLOCK_BYTES], input: &mut impl Source) -> Result<Self> {
        // Other writers (star) have the same type with other fields.
        if &header[257..265] != b"ustar  \0" {
            return Err(Error::archive("it has a sparse file in another form than that of GNU tar"));
        }
        let mut sparse = Self { size: number(&header[483..495])?, ..Self::default() };
        let mut more = sparse.read_old_parts(&header[386..], OLD_PARTS[0])?;
        while more {
            let mut block = [0; BLOCK_BYTES];
            if input.fill(&mut block)? < BLOCK_BYTES {
                return Err(Error::archive("it ends in the middle of a file"));
            }
            more = sparse.read_old_parts(&block, OLD_PARTS[1])?;
        }
        Ok(sparse)
    }

    /// Reads up to `count` parts, and whether a block of more follows, which the byte after them says.
    fn read_old_parts(&mut self, fields: &[u8], count: usize) -> Result<bool> {
        for part in fields[..count * OLD_PART_BYTES].chunks_exact(OLD_PART_BYTES) {
            // One without a length ends them.
            if part[12] == 0 {
                break;
            }
            self.push(Part { offset: number(&part[..12])?, bytes: number(&part[12..])? })?;
        }
        Ok(fields[count * OLD_PART_BYTES] != 0)
    }

    /// Reads the map that stands before the content, and returns how many bytes it takes.
    fn read_lines(&mut self, input: &mut impl Source, stored: u64) -> Result<u64> {
        let mut lines = Lines { input, block: [0; BLOCK_BYTES], at: BLOCK_BYTES, bytes: 0, stored };
        for _ in 0..lines.number()? {
            let part = Part { offset: lines.number()?, bytes: lines.number()? };
            self.push(part)?;
        }
        Ok(lines.bytes)
    }
}

/// The lines of a map in the form 1.0.
struct Lines<'a, R> {
    input: &'a mut R,
    block: [u8; BLOCK_BYTES],
    at: usize,
    /// Bytes that were read, and how many the archive has of the file.
    bytes: u64,
    stored: u64,
}

impl<R: Source> Lines<'_, R> {
    fn number(&mut self) -> Result<u64> {
        let mut digits = String::new();
        loop {
            match self.byte()? {
                b'\n' => return digits.parse().map_err(|_| malformed()),
                digit if digit.is_ascii_digit() && digits.len() < MAX_DIGITS => digits.push(digit.into()),
                _ => return Err(malformed()),
            }
        }
    }

    fn byte(&mut self) -> Result<u8> {
        if self.at == BLOCK_BYTES {
            self.bytes += BLOCK_BYTES as u64;
            if self.bytes > self.stored || self.input.fill(&mut self.block)? < BLOCK_BYTES {
                return Err(malformed());
            }
            self.at = 0;
        }
        self.at += 1;
        Ok(self.block[self.at - 1])
    }
}

/// What PAX records say of a sparse file.
#[derive(Debug, Default)]
pub(super) struct SparseRecords {
    sparse: Sparse,
    /// The form 1.0.
    has_lines: bool,
    has_size: bool,
    /// The name of the file: that of the header is made up.
    pub(super) name: Option<Vec<u8>>,
    /// A part whose length is to come.
    offset: Option<u64>,
}

impl SparseRecords {
    /// Reads a record, by its key without `GNU.sparse.`.
    pub(super) fn read(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        match key {
            b"name" => self.name = Some(value.to_vec()),
            b"size" | b"realsize" => (self.sparse.size, self.has_size) = (decimal(value)?, true),
            b"offset" => self.offset = Some(decimal(value)?),
            b"numbytes" => {
                let offset = self.offset.take().ok_or_else(malformed)?;
                self.sparse.push(Part { offset, bytes: decimal(value)? })?;
            }
            b"map" => {
                self.sparse.parts.clear();
                let mut numbers = value.split(|byte| *byte == b',').filter(|number| !number.is_empty());
                while let Some(offset) = numbers.next() {
                    let bytes = numbers.next().ok_or_else(malformed)?;
                    self.sparse.push(Part { offset: decimal(offset)?, bytes: decimal(bytes)? })?;
                }
            }
            b"major" => match decimal(value)? {
                0 => {}
                1 => self.has_lines = true,
                major => return Err(Error::archive(format!("it has a sparse file in the unknown form {major}"))),
            },
            // How many parts there are is seen.
            _ => {}
        }
        Ok(())
    }

    /// The file, of which the archive has `stored` bytes, the map of the form 1.0 among them; and how many are left of them.
    pub(super) fn finish(self, input: &mut impl Source, stored: u64) -> Result<(Sparse, u64)> {
        let mut sparse = self.sparse;
        if !self.has_size || self.offset.is_some() {
            return Err(malformed());
        }
        let map = if self.has_lines { sparse.read_lines(input, stored)? } else { 0 };
        Ok((sparse, stored - map))
    }
}

fn decimal(text: &[u8]) -> Result<u64> {
    std::str::from_utf8(text).ok().and_then(|digits| digits.parse().ok()).ok_or_else(malformed)
}

fn malformed() -> Error {
    Error::archive("the map of a sparse file in it is malformed")
}
