//! Inspection of file contents as they are read: small files as a whole, longer files chunk by chunk and across chunk
//! boundaries.

use std::{
    io::{self, Read},
    mem,
};

use bytes::Bytes;

/// Longest content that is inspected as a whole, in bytes. Such a file is a single chunk in every profile.
pub const INSPECTED_BYTES: u64 = 256 << 10;
/// How far the parts of a longer content overlap, in bytes: a key of RSA with 16,384 bits has 13 KiB in PEM.
const OVERLAP_BYTES: usize = 32 << 10;
/// Bytes of a stream that are inspected at a time.
const PART_BYTES: usize = 1 << 20;

/// The part of a file that is inspected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inspected<'a> {
    /// Only its path in the tree.
    Path,
    /// Its whole content, at most [`INSPECTED_BYTES`].
    Content(&'a [u8]),
    /// A part of a longer content. Parts overlap, so that any 32 KiB of consecutive content are contained in one of
    /// them.
    Part(&'a [u8]),
}

/// Returns a description of what a file contains if it is to be excluded. It is called for every non-empty file with
/// its path alone, and then with its content or the parts of its content.
pub type Inspect<'a> = dyn Fn(&str, Inspected<'_>) -> Option<&'static str> + Sync + 'a;

/// A chunk of a file that was inspected on its own.
#[derive(Debug, Default)]
pub(crate) struct Scanned {
    found: Option<&'static str>,
    /// The beginning and the end of the chunk, unless it is a whole small file.
    ends: Option<(Bytes, Bytes)>,
}

impl Scanned {
    /// Inspects a chunk of a file with this number of bytes.
    pub(crate) fn chunk(inspect: Option<&Inspect<'_>>, path: &str, chunk: &Bytes, file_bytes: u64) -> Self {
        let Some(inspect) = inspect.filter(|_| !chunk.is_empty()) else { return Self::default() };
        if file_bytes <= INSPECTED_BYTES {
            return Self { found: inspect(path, Inspected::Content(chunk)), ends: None };
        }
        let edge = OVERLAP_BYTES.min(chunk.len());
        let ends = (chunk.slice(..edge), chunk.slice(chunk.len() - edge..));
        Self { found: inspect(path, Inspected::Part(chunk)), ends: Some(ends) }
    }
}

/// Inspects the boundaries between consecutive chunks of files. Only the last chunk of a file may be shorter than the
/// overlap.
#[derive(Debug, Default)]
pub(crate) struct Across {
    found: Option<&'static str>,
    tail: Bytes,
}

impl Across {
    /// Adds the next chunk, which may be the last of its file. Returns the finding in the file so far.
    pub(crate) fn add(
        &mut self,
        inspect: Option<&Inspect<'_>>,
        path: &str,
        chunk: Scanned,
        last: bool,
    ) -> Option<&'static str> {
        let (head, tail) = chunk.ends.unwrap_or_default();
        let before = mem::replace(&mut self.tail, tail);
        self.found = self.found.or(chunk.found);
        if let Some(inspect) = inspect.filter(|_| self.found.is_none() && !before.is_empty() && !head.is_empty()) {
            self.found = inspect(path, Inspected::Part(&[before, head].concat()));
        }
        let found = self.found;
        if last {
            *self = Self::default();
        }
        found
    }
}

/// Inspects a content of more than [`INSPECTED_BYTES`] while it is read.
///
/// # Errors
/// The errors of `reader`.
pub fn inspect_parts(inspect: &Inspect<'_>, path: &str, mut reader: impl Read) -> io::Result<Option<&'static str>> {
    let mut part = Vec::with_capacity(PART_BYTES);
    loop {
        let kept = part.len();
        let read = reader.by_ref().take((PART_BYTES - kept) as u64).read_to_end(&mut part)?;
        if read == 0 {
            return Ok(None);
        }
        if let Some(found) = inspect(path, Inspected::Part(&part)) {
            return Ok(Some(found));
        }
        part.drain(..part.len().saturating_sub(OVERLAP_BYTES));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEEDLE: &str = "needle";

    fn inspect(_: &str, inspected: Inspected<'_>) -> Option<&'static str> {
        let (Inspected::Content(content) | Inspected::Part(content)) = inspected else { return None };
        std::str::from_utf8(content).unwrap().contains(NEEDLE).then_some("a needle")
    }

    fn with_needle(at: usize, length: usize) -> Vec<u8> {
        let mut content = vec![b'n'; length];
        content[at..at + NEEDLE.len()].copy_from_slice(NEEDLE.as_bytes());
        content
    }

    fn in_chunks(content: &[u8], chunk_bytes: usize) -> Option<&'static str> {
        let mut across = Across::default();
        let mut found = None;
        let chunks: Vec<&[u8]> = content.chunks(chunk_bytes).collect();
        for (number, chunk) in chunks.iter().enumerate() {
            let scanned = Scanned::chunk(Some(&inspect), "x", &Bytes::copy_from_slice(chunk), content.len() as u64);
            found = across.add(Some(&inspect), "x", scanned, number + 1 == chunks.len());
        }
        found
    }

    #[test]
    fn what_lies_across_two_chunks_is_found_in_the_file_it_is_in() {
        let (chunk, length) = (256 << 10, (768 << 10) + 3);
        for border in [chunk, 2 * chunk, 3 * chunk] {
            for at in border - NEEDLE.len()..=(border + 1).min(length - NEEDLE.len()) {
                let content = with_needle(at, length);
                assert_eq!(in_chunks(&content, chunk), Some("a needle"), "{at}");
                assert_eq!(inspect_parts(&inspect, "x", &content[..]).unwrap(), Some("a needle"), "{at}");
            }
        }
        for at in [0, PART_BYTES - 3, 2 * PART_BYTES - OVERLAP_BYTES - 3, 2_999_994] {
            let found = inspect_parts(&inspect, "x", &with_needle(at, 3_000_000)[..]).unwrap();
            assert_eq!(found, Some("a needle"), "{at}");
        }
        assert_eq!(inspect_parts(&inspect, "x", &vec![b'n'; 3_000_000][..]).unwrap(), None);
    }

    #[test]
    fn the_end_of_one_file_and_the_beginning_of_the_next_are_no_find() {
        let mut across = Across::default();
        let mut add = |chunk: &'static str, last| {
            let scanned = Scanned::chunk(Some(&inspect), "x", &Bytes::from_static(chunk.as_bytes()), u64::MAX);
            across.add(Some(&inspect), "x", scanned, last)
        };
        assert_eq!((add("a nee", true), add("dle", true)), (None, None));
        assert_eq!((add("a nee", false), add("dle", false), add("", true)), (None, Some("a needle"), Some("a needle")));
        assert_eq!(add("dle", true), None);
    }
}
